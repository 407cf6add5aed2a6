"""The VRRP process's part of the control socket's replies (docs/control-socket.md)."""

from __future__ import annotations

import time
from typing import Any

from fastvrrp import _core
from fastvrrp.config import model
from fastvrrp.control.protocol import NOT_FOUND, UNKNOWN_METHOD, ControlError
from fastvrrp.net.addresses import address_key
from fastvrrp.net.observed import Observed
from fastvrrp.vrrp.draft import Running
from fastvrrp.vrrp.plane import Plane
from fastvrrp.vrrp.report import address_text, fault_names
from fastvrrp.vrrp.shards import Engine, Shards
from fastvrrp.vrrp.trackers_view import TrackersView, instance_trackers, users
from fastvrrp.wallclock import utc

NS_PER_MS = 1_000_000


def answer(method: str, params: dict[str, Any], plane: Plane, view: TrackersView) -> dict[str, Any]:
    """The result of a control request. Raises ControlError."""
    if method == "status":
        return status(plane, view, name=params.get("name"))
    if method == "counters":
        return {
            "instances": {
                running.name: snapshot.counters
                for running in plane.running.values()
                if (snapshot := core_status(plane, running)) is not None
            },
            "engine": plane.client.engine.counters(),
        }
    raise ControlError(UNKNOWN_METHOD, f"the VRRP process has no method {method!r}")


def status(plane: Plane, view: TrackersView, *, name: str | None = None) -> dict[str, Any]:
    """`instances`, `groups`, `trackers`, `engine`, `lateness`; with `name` only what is called so.

    Raises ControlError(NOT_FOUND).
    """
    interfaces = {n: plane.observed.links[i].up for n, i in plane.observed.interfaces.items()}
    groups = {group.name: group for group in plane.configuration.sync_groups}
    instances = [
        instance_record(
            plane,
            running,
            instance_trackers(
                running.instance, groups.get(running.instance.sync_group or ""), view, interfaces
            ),
        )
        for running in plane.running.values()
        if name is None or running.name == name
    ]
    chosen = [group_record(plane, g) for g in groups.values() if name is None or g.name == name]
    trackers = [
        record
        for record in tracker_records(plane, view, interfaces)
        if name is None or record["name"] == name
    ]
    if name is not None and not (instances or chosen or trackers):
        raise ControlError(NOT_FOUND, f"no instance, sync group or tracker is called {name!r}")
    return {
        "instances": instances,
        "groups": chosen,
        "trackers": trackers,
        "engine": plane.client.engine.counters(),
        "lateness": lateness(plane.client.engine),
    }


def lateness(engine: Engine) -> dict[str, Any]:
    """LATENESS: how late deadlines were served, of all engine threads and of each."""
    each = engine.lateness_of_each() if isinstance(engine, Shards) else [engine.lateness()]
    return {
        "histogram": _counted(engine.lateness()),
        "threads": [_counted(histogram) for histogram in each],
    }


def _counted(histogram: list[int]) -> list[list[int]]:
    """Only what was counted, with the nanoseconds from which on it counts."""
    return [[1 << power, count] for power, count in enumerate(histogram) if count]


def core_status(plane: Plane, running: Running) -> _core.Status | None:
    """The core's snapshot; None while the very first commit is under way."""
    try:
        return plane.client.engine.status(running.slot)
    except KeyError:
        return None


def instance_record(
    plane: Plane, running: Running, trackers: list[dict[str, Any]]
) -> dict[str, Any]:
    """One INSTANCE."""
    instance = running.instance
    mirror = plane.client.mirror(running.slot)
    now_ns = time.monotonic_ns()
    record: dict[str, Any] = {
        "name": running.name,
        "vrid": instance.virtual_router_id,
        "family": instance.family,
        "version": instance.version,
        "interface": instance.interface,
        "device": instance.device,
        "base_priority": instance.priority,
        "transitions": 0 if mirror is None else mirror.transitions,
        "source": address_text(running.record.source),
        "addresses": address_records(running, plane.observed),
        "trackers": trackers,
        "group": instance.sync_group,
    }
    core = core_status(plane, running)
    if core is None:
        return record | _not_yet(instance, now_ns)
    return record | {
        "state": _core.STATE_NAMES[core.state],
        "since": utc(core.since_ns),
        "since_s": (now_ns - core.since_ns) / model.NS_PER_S,
        "reason": _core.REASON_NAMES[core.reason],
        "effective_priority": core.effective_priority,
        "advert_int_ms": core.advert_int_ns / NS_PER_MS,
        "master_advert_int_ms": core.master_advert_int_ns / NS_PER_MS,
        "skew_time_ms": core.skew_time_ns / NS_PER_MS,
        "master_down_interval_ms": core.master_down_interval_ns / NS_PER_MS,
        "master": _master(running, core),
        "fault": fault_names(core.fault),
        "counters": core.counters,
    }


def _not_yet(instance: model.VrrpInstance, now_ns: int) -> dict[str, Any]:
    advert_ms = instance.advert_int_ns / NS_PER_MS
    return {
        "state": "INIT",
        "since": utc(now_ns),
        "since_s": 0.0,
        "reason": _core.REASON_NAMES[0],
        "effective_priority": instance.priority,
        "advert_int_ms": advert_ms,
        "master_advert_int_ms": advert_ms,
        "skew_time_ms": 0.0,
        "master_down_interval_ms": 0.0,
        "master": None,
        "fault": [],
        "counters": {},
    }


def _master(running: Running, core: _core.Status) -> dict[str, Any] | None:
    if core.state == _core.MASTER:
        address = address_text(running.record.source)
        return {"address": address, "priority": core.effective_priority} if address else None
    if not core.master_address:
        return None
    return {"address": address_text(core.master_address), "priority": core.master_priority}


def address_records(running: Running, observed: Observed) -> list[dict[str, Any]]:
    """The `addresses` of an INSTANCE, as they are in the kernel now."""
    instance = running.instance
    return [
        {
            "address": f"{address.address}/{address.prefixlen}",
            "dev": address.dev or instance.interface or "",
            "excluded": excluded,
            "present": is_held(address, instance, observed),
        }
        for excluded, addresses in (
            (False, instance.virtual_ipaddress),
            (True, instance.virtual_ipaddress_excluded),
        )
        for address in addresses
    ]


def is_held(
    address: model.VirtualAddress, instance: model.VrrpInstance, observed: Observed
) -> bool:
    """Whether the kernel has a virtual address of this instance now."""
    ifindex = observed.interfaces.get(address.dev or instance.interface or "")
    return ifindex is not None and observed.address(address_key(address, ifindex)) is not None


def group_record(plane: Plane, group: model.SyncGroup) -> dict[str, Any]:
    """One GROUP."""
    slot = plane.group_slot(group.name)
    state = _core.INIT if slot is None else plane.client.engine.group_state(slot)
    faults = []
    for member in group.members:
        running = plane.running.get(member)
        core = None if running is None else core_status(plane, running)
        own = 0 if core is None else core.fault & ~_core.FAULT_GROUP
        faults += [f"{member}: {text}" for text in fault_names(own)]
    return {
        "name": group.name,
        "state": _core.STATE_NAMES[state],
        "members": list(group.members),
        "fault": faults,
    }


def tracker_records(
    plane: Plane, view: TrackersView, interfaces: dict[str, bool]
) -> list[dict[str, Any]]:
    """Every TRACKER, tracked interfaces included."""
    by_tracker = users(plane.configuration)
    found = [
        {
            "kind": one.kind,
            "name": one.name,
            "up": one.up,
            "detail": one.detail,
            "since": utc(since_ns),
            "instances": by_tracker.get((one.kind, one.name), []),
        }
        for one, since_ns in view.entries()
    ]
    for (kind, name), instances in by_tracker.items():
        if kind == "interface":
            found.append(
                {
                    "kind": kind,
                    "name": name,
                    "up": interfaces.get(name, False),
                    "detail": "" if name in interfaces else "does not exist",
                    "since": None,
                    "instances": instances,
                }
            )
    return found
