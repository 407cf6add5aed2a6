"""keepalived's dump files: the JSON and statistics its users' scripts read, and the state as text.

Field names and shapes are keepalived's 2.x (JSON version 1). Passwords are never written: they
appear as eight asterisks, as in keepalived since 2.4.
"""

from __future__ import annotations

import os
import shlex
import time
from pathlib import Path
from typing import Any

import msgspec

from fastvrrp import _core
from fastvrrp.config import model
from fastvrrp.net.programs import Kind
from fastvrrp.vrrp.draft import Running
from fastvrrp.vrrp.plane import Plane
from fastvrrp.vrrp.status import core_status, is_held, status
from fastvrrp.vrrp.trackers_view import TrackersView

MASK = "*" * 8
SCOPES = {0: "global", 200: "site", 253: "link", 254: "host"}
STATE_NUMBERS = {"MASTER": _core.MASTER, "BACKUP": _core.BACKUP}
_SCRIPTS = (
    ("script_backup", "notify_backup"),
    ("script_master", "notify_master"),
    ("script_fault", "notify_fault"),
    ("script_stop", "notify_stop"),
    ("script_deleted", "notify_deleted"),
    ("script", "notify"),
    ("script_master_rx_lower_pri", "notify_master_rx_lower_pri"),
)
# keepalived's name of a counter and the core's; None: cannot happen here
_STATISTICS = (
    ("advert_rcvd", "advert_rcvd"),
    ("advert_sent", "advert_sent"),
    ("become_master", "become_master"),
    ("release_master", "release_master"),
    ("packet_len_err", "length_err"),
    ("advert_interval_err", "advert_interval_err"),
    ("ip_ttl_err", "ttl_err"),
    ("invalid_type_rcvd", "invalid_type_rcvd"),
    ("addr_list_err", "addr_list_err"),
    ("invalid_authtype", None),
    ("authtype_mismatch", "authtype_mismatch"),
    ("auth_failure", "auth_failure"),
    ("pri_zero_rcvd", "pri_zero_rcvd"),
    ("pri_zero_sent", "pri_zero_sent"),
)


def write(kind: str, path: Path, plane: Plane, view: TrackersView) -> None:
    """Replace `path` by the dump of `kind` ("data", "stats" or "json").

    Without instances nothing is written, as with keepalived. Raises OSError; ValueError for an
    unknown kind.
    """
    builders = {"data": data_text, "stats": lambda p, v: stats_text(p), "json": json_text}
    if kind not in builders:
        raise ValueError(f"no dump is called {kind!r}")
    if not plane.running:
        return
    text = builders[kind](plane, view)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(temporary, flags, 0o640)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="replace") as stream:
            stream.write(text)
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)  # a full disk need not keep what is of no use
        raise


def statistics(counters: dict[str, int]) -> dict[str, int]:
    """The `stats` object of an instance."""
    return {name: counters.get(ours or "", 0) for name, ours in _STATISTICS}


def stats_text(plane: Plane) -> str:
    """keepalived.stats."""
    blocks = []
    for running in plane.running.values():
        core = core_status(plane, running)
        n = statistics({} if core is None else core.counters)
        blocks.append(
            f"VRRP Instance: {running.name}\n"
            "  Advertisements:\n"
            f"    Received: {n['advert_rcvd']}\n"
            f"    Sent: {n['advert_sent']}\n"
            f"  Became master: {n['become_master']}\n"
            f"  Released master: {n['release_master']}\n"
            "  Packet Errors:\n"
            f"    Length: {n['packet_len_err']}\n"
            f"    TTL: {n['ip_ttl_err']}\n"
            f"    Invalid Type: {n['invalid_type_rcvd']}\n"
            f"    Advertisement Interval: {n['advert_interval_err']}\n"
            f"    Address List: {n['addr_list_err']}\n"
            "  Authentication Errors:\n"
            f"    Invalid Type: {n['invalid_authtype']}\n"
            f"    Type Mismatch: {n['authtype_mismatch']}\n"
            f"    Failure: {n['auth_failure']}\n"
            "  Priority Zero:\n"
            f"    Received: {n['pri_zero_rcvd']}\n"
            f"    Sent: {n['pri_zero_sent']}\n"
        )
    return "".join(blocks)


def json_text(plane: Plane, view: TrackersView) -> str:
    """keepalived.json, version 1: an array of instances."""
    records = [instance_record(plane, running) for running in plane.running.values()]
    return msgspec.json.encode(records).decode() + "\n"


def instance_record(plane: Plane, running: Running) -> dict[str, Any]:
    """One element of the array: `data` and `stats`."""
    instance = running.instance
    core = core_status(plane, running)
    state = _core.INIT if core is None else core.state
    since_ns = time.monotonic_ns() if core is None else core.since_ns
    master_int_ns = instance.advert_int_ns if core is None else core.master_advert_int_ns
    data: dict[str, Any] = {
        "iname": instance.name,
        "dont_track_primary": int(instance.dont_track_primary),
        "skip_check_adv_addr": int(instance.skip_check_adv_addr),
        "strict_mode": int(instance.strict_mode),
        "vmac_ifname": "",
    }
    if instance.interface is not None:
        data["ifp_ifname"] = instance.interface
    garp = instance.garp
    data |= {
        "master_priority": 0 if core is None or not core.master_address else core.master_priority,
        "last_transition": (time.time_ns() - time.monotonic_ns() + since_ns) / model.NS_PER_S,
        "garp_delay": garp.master_delay_s,
        "garp_refresh": garp.master_refresh_s,
        "garp_rep": garp.master_repeat,
        "garp_refresh_rep": garp.master_refresh_repeat,
        "garp_lower_prio_delay": garp.lower_prio_delay_s,
        "garp_lower_prio_rep": garp.lower_prio_repeat,
        "lower_prio_no_advert": int(instance.lower_prio_no_advert),
        "higher_prio_send_advert": int(instance.higher_prio_send_advert),
        "vrid": instance.virtual_router_id,
        "base_priority": instance.priority,
        "effective_priority": instance.priority if core is None else core.effective_priority,
        "vipset": core is not None and core.vips_up,
        "promote_secondaries": instance.promote_secondaries,
        "adver_int": _seconds(instance.advert_int_ns),
        "master_adver_int": _seconds(master_int_ns),
        "accept": int(instance.accept),
        "nopreempt": instance.nopreempt,
        "preempt_delay": instance.preempt_delay_ns // model.NS_PER_S,
        "state": state,
        # keepalived's wish follows its state; before the first one it is the configured one
        "wantstate": STATE_NUMBERS.get(instance.state, _core.BACKUP)
        if state == _core.INIT
        else state,
        "version": instance.version,
        "smtp_alert": instance.notify.smtp_alert,
        "notify_deleted": instance.notify.report_deleted
        or instance.notify.notify_deleted is not None,
    }
    for name, field in _SCRIPTS:
        command = getattr(instance.notify, field)
        if command is not None:
            data[name] = _command(command)
    data |= _lists(plane, running)
    data["auth_type"] = instance.auth_type
    if instance.auth_type:
        data["auth_data"] = MASK
    return {"data": data, "stats": statistics({} if core is None else core.counters)}


def _lists(plane: Plane, running: Running) -> dict[str, list[str]]:
    instance = running.instance
    scripts = {script.name: script for script in plane.configuration.track_scripts}
    texts: dict[str, list[str]] = {kind: [] for kind in Kind}
    for item in running.compiled.objects.items:
        texts[item.kind].append(item.text.partition(" ")[2])
    lists = {
        "vips": [_address(a, running, plane) for a in instance.virtual_ipaddress],
        "evips": [_address(a, running, plane) for a in instance.virtual_ipaddress_excluded],
        "vroutes": texts[Kind.ROUTE],
        "vrules": texts[Kind.RULE],
        "track_ifp": [tracked.name for tracked in instance.track_interface],
        "track_script": [
            _command(scripts[tracked.name].command)
            for tracked in instance.track_script
            if tracked.name in scripts
        ],
        "track_process": [tracked.name for tracked in instance.track_process],
    }
    return {name: entries for name, entries in lists.items() if entries}


def _seconds(nanoseconds: int) -> int | float:
    whole, rest = divmod(nanoseconds, model.NS_PER_S)
    return nanoseconds / model.NS_PER_S if rest else whole


def _command(command: model.Command) -> str:
    return " ".join(f"'{word}'" for word in command.argv)


def _address(address: model.VirtualAddress, running: Running, plane: Plane) -> str:
    words = [address.address]
    if address.prefixlen != (32 if address.family == 4 else 128):
        words[0] += f"/{address.prefixlen}"
    words += ["dev", address.dev or running.instance.interface or "(none)"]
    words += ["scope", SCOPES.get(address.scope, str(address.scope))]
    if address.label is not None:
        words += ["label", address.label]
    if is_held(address, running.instance, plane.observed):
        words.append("set")
    return " ".join(words)


def data_text(plane: Plane, view: TrackersView) -> str:
    """keepalived.data: the status of everything and the configuration of the instances, indented
    text without a promised form."""
    lines = ["------< VRRP Topology >------"]
    current = status(plane, view)
    for record, running in zip(current["instances"], plane.running.values(), strict=True):
        lines.append(f" VRRP Instance = {record.pop('name')}")
        lines += _tree(record, 3)
        lines.append("   configuration:")
        lines += _tree(instance_record(plane, running)["data"], 5)
    for title, part in (("Groups", "groups"), ("Trackers", "trackers")):
        lines.append(f"------< VRRP {title} >------")
        for record in current[part]:
            lines.append(f" {record.pop('name')}")
            lines += _tree(record, 3)
    lines.append("------< Engine >------")
    lines += _tree(current["engine"], 1)
    return "\n".join(lines) + "\n"


def _tree(record: dict[str, Any], indent: int) -> list[str]:
    lines = []
    margin = " " * indent
    for name, value in record.items():
        if isinstance(value, dict):
            lines.append(f"{margin}{name}:")
            lines += _tree(value, indent + 2)
        elif isinstance(value, list):
            lines.append(f"{margin}{name}: {'' if value else '(none)'}".rstrip())
            for entry in value:
                text = entry if isinstance(entry, str) else _line(entry)
                lines.append(f"{margin}  {text}")
        else:
            lines.append(f"{margin}{name} = {value}")
    return lines


def _line(entry: Any) -> str:
    if isinstance(entry, dict):
        return " ".join(f"{name}={shlex.quote(str(value))}" for name, value in entry.items())
    return str(entry)
