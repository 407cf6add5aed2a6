"""keepalived's dump files: the JSON and statistics its users' scripts read, and the state as text
(`datatext`).

Field names and shapes are keepalived's 2.x. Passwords are never written: they
appear as eight asterisks, as in keepalived since 2.4.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from fastvrrp import _core
from fastvrrp.config import model
from fastvrrp.net.programs import Kind
from fastvrrp.supervisor import dumpfile
from fastvrrp.vrrp import datatext
from fastvrrp.vrrp.datatext import MASK, command_text
from fastvrrp.vrrp.draft import Running
from fastvrrp.vrrp.plane import Plane
from fastvrrp.vrrp.status import core_status, group_record, is_held
from fastvrrp.vrrp.trackers_view import TrackersView, users

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
    dumpfile.replace(path, text.encode(errors="replace"))


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
    """keepalived.json. Version 1: an array of instances. Version 2: an object that has it as
    `vrrp`, and tracked processes as `track_process`."""
    records = [instance_record(plane, running) for running in plane.running.values()]
    content: Any = records
    if plane.configuration.global_defs.housekeeping.dumps.json_version == 2:
        content = {"vrrp": records}
        processes = process_records(plane.configuration.track_processes, view)
        if processes:
            content["track_process"] = processes
    return msgspec.json.encode(content).decode() + "\n"


def process_records(
    processes: Sequence[model.TrackProcess], view: TrackersView
) -> list[dict[str, Any]]:
    """The elements of `track_process`; delays in seconds."""
    known = {one["name"]: one for one in view.statuses if one["kind"] == "process"}
    records = []
    for process in processes:
        status = known.get(process.name, {})
        up, delayed = status.get("state") == "up", bool(status.get("delayed"))
        record: dict[str, Any] = {"process": process.process}
        if process.parameters:
            record["parameters"] = " ".join(process.parameters)
        record |= {"param_match": process.param_match, "min_processes": process.quorum}
        if process.quorum_max is not None:
            record["max_processes"] = process.quorum_max
        records.append(
            record
            | {
                "current_processes": status.get("matches", 0),
                "have_quorum": up,
                "weight": -process.weight if process.reverse else process.weight,
                "terminate_delay": process.terminate_delay_ns / model.NS_PER_S,
                "fork_delay": process.fork_delay_ns / model.NS_PER_S,
                "fork_delay_timer_running": delayed and not up,
                "terminate_delay_timer_running": delayed and up,
                "full_command": process.full_command,
            }
        )
    return records


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
        "vmac_ifname": instance.device or "",
    }
    if instance.interface is not None:
        data["ifp_ifname"] = instance.device or instance.interface
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
            data[name] = command_text(command)
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
            command_text(scripts[tracked.name].command)
            for tracked in instance.track_script
            if tracked.name in scripts
        ],
        "track_process": [tracked.name for tracked in instance.track_process],
    }
    return {name: entries for name, entries in lists.items() if entries}


def _seconds(nanoseconds: int) -> int | float:
    whole, rest = divmod(nanoseconds, model.NS_PER_S)
    return nanoseconds / model.NS_PER_S if rest else whole


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
    """keepalived.data; behind keepalived's sections the engine's counters."""
    configuration = plane.configuration
    lines = ["------< VRRP Topology >------"]
    for running in plane.running.values():
        lines += datatext.instance_lines(plane, running, _lists(plane, running))
    states = {
        group.name: group_record(plane, group)["state"] for group in configuration.sync_groups
    }
    used: dict[str, dict[str, list[str]]] = {}
    for (kind, name), instances in users(configuration).items():
        used.setdefault(kind, {})[name] = instances
    statuses = view.statuses
    for title, section in (
        ("Sync groups", datatext.group_lines(configuration.sync_groups, states)),
        (
            "Scripts",
            datatext.script_lines(configuration.track_scripts, statuses, used.get("script", {})),
        ),
        (
            "Track files",
            datatext.file_lines(configuration.track_files, statuses, used.get("file", {})),
        ),
        (
            "Track processes",
            datatext.process_lines(
                configuration.track_processes, statuses, used.get("process", {})
            ),
        ),
    ):
        found = list(section)
        if found:
            lines += [f"------< VRRP {title} >------", *found]
    lines.append("------< Engine >------")
    lines += [f" {name} = {value}" for name, value in plane.client.engine.counters().items()]
    return "\n".join(lines) + "\n"
