"""keepalived.data: indented text, read by exporters and by people.

Sections, labels and their order are keepalived 2.2's as far as both have the same; programs look
for lines `   Label = value` between one ` VRRP Instance = NAME` and the next line that is not
indented so far. So what has a `=` comes before the first list, and what only we can tell comes
last. Passwords are never written.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from fastvrrp import _core
from fastvrrp.config import model
from fastvrrp.vrrp.draft import Running
from fastvrrp.vrrp.plane import Plane
from fastvrrp.vrrp.report import address_text, fault_names
from fastvrrp.vrrp.status import core_status

MASK = "*" * 8
Statuses = Sequence[Mapping[str, Any]]
"""What `Trackers.status` says."""

_SCRIPTS = (
    ("Backup state", "notify_backup"),
    ("Master state", "notify_master"),
    ("Fault state", "notify_fault"),
    ("Stop state", "notify_stop"),
    ("Deleted state", "notify_deleted"),
    ("Generic state", "notify"),
    ("Master rx lower pri", "notify_master_rx_lower_pri"),
)


def command_text(command: model.Command) -> str:
    """A command as in every dump of keepalived's."""
    return " ".join(f"'{word}'" for word in command.argv)


def instance_lines(
    plane: Plane, running: Running, lists: Mapping[str, Sequence[str]]
) -> Iterator[str]:
    """One instance. `lists`: addresses, routes and rules as in keepalived.json."""
    instance = running.instance
    core = core_status(plane, running)
    state = "INIT" if core is None else _core.STATE_NAMES[core.state]
    wanted = instance.state if state == "INIT" else state
    yield f" VRRP Instance = {instance.name}"
    yield f"   VRRP Version = {instance.version}"
    if instance.sync_group is not None:
        yield f"   Sync group = {instance.sync_group}"
    yield f"   State = {state}"
    if core is not None and core.state == _core.BACKUP and core.master_address:
        yield f"   Master router = {address_text(core.master_address)}"
        yield f"   Master priority = {core.master_priority}"
    yield f"   Wantstate = {wanted}"
    if core is not None:
        yield f"   Last transition = {_moment(core.since_ns)}"
        yield f"   Master down timer = {core.master_down_interval_ns // 1000} usecs"
    if instance.interface is not None:
        yield f"   Interface = {instance.interface}"
    source = address_text(running.record.source) or "(none)"
    yield f"   Using src_ip = {source}{' (from configuration)' if instance.source else ''}"
    yield from _settings(instance, core)
    yield from _instance_lists(instance, lists)
    yield f"   Using smtp notification = {_yes(instance.notify.smtp_alert)}"
    deleted = instance.notify.report_deleted or instance.notify.notify_deleted is not None
    yield f"   Notify deleted = {'Deleted' if deleted else 'Fault'}"
    yield from _notify(instance.notify)
    yield f"   Notify priority changes = {_true(instance.notify.notify_priority_changes)}"
    if core is not None:
        yield f"   Reason = {_core.REASON_NAMES[core.reason]}"
        for fault in fault_names(core.fault):
            yield f"   Fault = {fault}"


def _settings(instance: model.VrrpInstance, core: _core.Status | None) -> Iterator[str]:
    garp = instance.garp
    yield f"   Gratuitous ARP delay = {garp.master_delay_s}"
    yield f"   Gratuitous ARP repeat = {garp.master_repeat}"
    yield f"   Gratuitous ARP refresh = {garp.master_refresh_s}"
    yield f"   Gratuitous ARP refresh repeat = {garp.master_refresh_repeat}"
    yield f"   Gratuitous ARP lower priority delay = {garp.lower_prio_delay_s}"
    yield f"   Gratuitous ARP lower priority repeat = {garp.lower_prio_repeat}"
    yield f"   Down timer adverts = {instance.down_timer_adverts}"
    lower, higher = not instance.lower_prio_no_advert, instance.higher_prio_send_advert
    yield f"   Send advert after receive lower priority advert = {_true(lower)}"
    yield f"   Send advert after receive higher priority advert = {_true(higher)}"
    yield f"   Virtual Router ID = {instance.virtual_router_id}"
    yield f"   Priority = {instance.priority}"
    effective = instance.priority if core is None else core.effective_priority
    yield f"   Effective priority = {effective}"
    yield f"   Total priority = {effective}"
    unit_ns, unit = (model.NS_PER_S, "sec") if instance.version == 2 else (1_000_000, "milli-sec")
    yield f"   Advert interval = {instance.advert_int_ns // unit_ns} {unit}"
    yield f"   Accept = {_enabled(instance.accept)}"
    yield f"   Preempt = {_enabled(not instance.nopreempt)}"
    if instance.preempt_delay_ns:
        yield f"   Preempt delay = {instance.preempt_delay_ns / model.NS_PER_S:g} secs"
    yield f"   Promote_secondaries = {_enabled(instance.promote_secondaries)}"
    if instance.auth_type:
        yield "   Authentication type = SIMPLE_PASSWORD"
        yield f"   Password = {MASK}"
    elif instance.version == 2:
        yield "   Authentication type = none"
    if instance.unicast_peers:
        yield f"   Unicast TTL = {instance.unicast_ttl}"


def _instance_lists(
    instance: model.VrrpInstance, lists: Mapping[str, Sequence[str]]
) -> Iterator[str]:
    vips = lists.get("vips", ())
    yield from _list(f"Virtual IP ({len(vips)}):", vips)
    yield from _list("Virtual IP Excluded :", lists.get("evips", ()))
    peers = [
        f"{peer.address} min_ttl {peer.min_ttl} max_ttl {peer.max_ttl}"
        for peer in instance.unicast_peers
    ]
    yield from _list("Unicast Peer :", peers)
    if not peers:
        yield f"   Multicast address {instance.mcast_dst_ip}"
    yield from _list("Virtual Routes :", lists.get("vroutes", ()))
    yield from _list("Virtual Rules :", lists.get("vrules", ()))
    for title, tracked in (
        ("interfaces", instance.track_interface),
        ("scripts", instance.track_script),
        ("files", instance.track_file),
        ("processes", instance.track_process),
        ("virtual servers", instance.track_virtual_server),
    ):
        entries = [f"{one.name} weight {_weight(one)}" for one in tracked]
        yield from _list(f"Tracked {title} :", entries)


def _notify(notify: model.Notify) -> Iterator[str]:
    for what, field in _SCRIPTS:
        command = getattr(notify, field)
        if command is not None:
            ids = "" if command.account is None else _ids(command.account)
            yield f"   {what} transition script = {command_text(command)}{ids}"


def _ids(account: model.Account) -> str:
    return f", uid:gid {account.uid}:{account.gid}"


def group_lines(groups: Iterable[model.SyncGroup], states: Mapping[str, str]) -> Iterator[str]:
    """Sync groups; `states` by name."""
    for group in groups:
        yield f" VRRP Sync Group = {group.name}, {states.get(group.name, 'INIT')}"
        yield from _list("VRRP member instances :", group.members)
        yield f"   Using smtp notification = {_yes(group.notify.smtp_alert)}"
        yield from _notify(group.notify)


def script_lines(
    scripts: Iterable[model.TrackScript], statuses: Statuses, users: Mapping[str, Sequence[str]]
) -> Iterator[str]:
    """Track scripts. Status is GOOD, BAD, or INIT before the first result; State what it does."""
    known = {status["name"]: status for status in statuses if status["kind"] == "script"}
    for script in scripts:
        status = known.get(script.name, {})
        yield f" VRRP Script = {script.name}"
        yield f"   Command = {command_text(script.command)}"
        yield f"   Interval = {script.interval_ns / model.NS_PER_S:g} sec"
        yield f"   Timeout = {script.timeout_ns / model.NS_PER_S:g} sec"
        yield f"   Weight = {script.weight}{' reverse' if script.reverse else ''}"
        yield f"   Rise = {script.rise}"
        yield f"   Fall = {script.fall}"
        yield f"   Result = {status.get('counter', 0)}"
        status_word = {"up": "GOOD", "down": "BAD"}.get(str(status.get("state")), "INIT")
        yield f"   Status = {status_word}"
        account = script.command.account
        if account is not None:
            yield f"   Script uid:gid = {account.uid}:{account.gid}"
        yield f"   State = {'running' if status.get('running') else 'idle'}"
        yield f"   Last result = {status.get('last_result')}"
        yield from _list("Tracking instances :", users.get(script.name, ()))


def file_lines(
    files: Iterable[model.TrackFile], statuses: Statuses, users: Mapping[str, Sequence[str]]
) -> Iterator[str]:
    """Tracked files."""
    known = {status["name"]: status for status in statuses if status["kind"] == "file"}
    for file in files:
        yield f" Track file = {file.name}"
        yield f"   File = {file.file}"
        yield f"   Status = {known.get(file.name, {}).get('value', 0)}"
        yield f"   Weight = {file.weight}{' reverse' if file.reverse else ''}"
        yield from _list("Tracking instances :", users.get(file.name, ()))


def process_lines(
    processes: Iterable[model.TrackProcess], statuses: Statuses, users: Mapping[str, Sequence[str]]
) -> Iterator[str]:
    """Tracked processes."""
    known = {status["name"]: status for status in statuses if status["kind"] == "process"}
    for process in processes:
        status = known.get(process.name, {})
        yield f" VRRP Track process = {process.name}"
        yield f"   Process = {process.process}"
        yield f"   Min processes = {process.quorum}"
        if process.quorum_max is not None:
            yield f"   Max processes = {process.quorum_max}"
        yield f"   Current processes = {status.get('matches', 0)}"
        yield f"   Have quorum = {_true(status.get('state') == 'up')}"
        yield f"   Weight = {process.weight}{' reverse' if process.reverse else ''}"
        yield f"   Terminate delay = {process.terminate_delay_ns / model.NS_PER_S:.6f}s"
        yield f"   Fork delay = {process.fork_delay_ns / model.NS_PER_S:.6f}s"
        yield f"   Full command = {_true(process.full_command)}"
        yield from _list("Tracking instances :", users.get(process.name, ()))


def _list(title: str, entries: Iterable[str]) -> Iterator[str]:
    entries = list(entries)
    if entries:
        yield f"   {title}"
        yield from (f"     {entry}" for entry in entries)


def _moment(monotonic_ns: int) -> str:
    """Seconds since 1970 and the same for people, local time."""
    at_ns = time.time_ns() - time.monotonic_ns() + monotonic_ns
    seconds, micro = at_ns // model.NS_PER_S, at_ns % model.NS_PER_S // 1000
    at = time.localtime(seconds)
    words = f"{time.strftime('%a %b %d %H:%M:%S', at)}.{micro:06d} {at.tm_year}"
    return f"{seconds}.{micro:06d} ({words})"


def _weight(tracked: model.Tracked) -> str:
    return f"{tracked.weight}{' reverse' if tracked.reverse else ''}"


def _true(value: bool) -> str:
    return "true" if value else "false"


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _enabled(value: bool) -> str:
    return "enabled" if value else "disabled"
