"""What may change the priority of an instance or take it out of the election, on paper.

For `check` alone: which priorities an instance can have, and what the failure of one thing does.
The daemon's own arithmetic is track/weights.py, which is used here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from fastvrrp.config.model import (
    OWNER,
    Configuration,
    SyncGroup,
    Tracked,
    VirtualAddress,
    VirtualRoute,
    VrrpInstance,
)
from fastvrrp.track.weights import FILE_ADJUST_MAX, Kind, bindings_of, contribution

PRIORITY_MIN, PRIORITY_MAX = 1, OWNER - 1
FAULT = 0  # a priority that no instance in the election has
INTERFACE = "interface"


class Influence(NamedTuple):
    """Something that an instance follows.

    kind          INTERFACE, or the value of a `Kind`
    name          of the interface, the script ...
    fine, failed  what it adds to the priority in either case; None: FAULT
    least, most   what it adds at the extremes
    """

    kind: str
    name: str
    fine: int | None
    failed: int | None
    least: int
    most: int


def _influence(kind: str, name: str, weight: int, reverse: bool) -> Influence:
    if weight == 0:  # with `reverse` it is its being up that is the failure
        return Influence(kind, name, 0, None, 0, 0)
    fine, failed = (contribution(up, weight, reverse) for up in (True, False))
    return Influence(kind, name, fine, failed, min(fine, failed), max(fine, failed))


def _file(name: str, weight: int) -> Influence:
    """A file may have any value; its failure is only known where it has no weight."""
    if weight == 0:
        return Influence(Kind.FILE.value, name, 0, None, 0, 0)
    return Influence(Kind.FILE.value, name, 0, 0, -FILE_ADJUST_MAX, FILE_ADJUST_MAX)


def _interfaces(instance: VrrpInstance, group: SyncGroup | None) -> Iterator[Tracked]:
    """Tracked ones; those of addresses and routes count as tracked with weight 0."""
    named = {tracked.name: tracked for tracked in instance.track_interface}
    for tracked in group.track_interface if group is not None else ():
        if tracked.name not in named or named[tracked.name].weight:
            named[tracked.name] = tracked
    yield from named.values()
    entries: tuple[VirtualAddress | VirtualRoute, ...] = (
        *instance.virtual_ipaddress,
        *instance.virtual_ipaddress_excluded,
        *instance.virtual_routes,
    )
    for entry in entries:
        name = entry.dev
        if name is None or entry.no_track:
            continue
        if name != instance.interface and name not in named:
            named[name] = Tracked(name=name)
            yield named[name]


def influences(instance: VrrpInstance, group: SyncGroup | None) -> list[Influence]:
    """Everything that an instance follows but its own interface."""
    is_owner = instance.priority == OWNER
    found = [
        _influence(INTERFACE, tracked.name, tracked.weight, tracked.reverse)
        for tracked in _interfaces(instance, group)
        if not (is_owner and tracked.weight)
    ]
    for binding in bindings_of(instance, group):
        if binding.kind is Kind.FILE:
            found.append(_file(binding.name, binding.weight))
        else:
            kind = binding.kind.value
            found.append(_influence(kind, binding.name, binding.weight, binding.reverse))
    return found


def clamped(priority: int) -> int:
    """RFC 9568 5.2.4: 0 and 255 mean something else."""
    return max(PRIORITY_MIN, min(PRIORITY_MAX, priority))


class Reach(NamedTuple):
    """The priorities that an instance may have: while all is well, and at the extremes."""

    normal: int
    least: int
    most: int


def reach(instance: VrrpInstance, found: list[Influence]) -> Reach:
    """Of an instance with these influences."""
    base = instance.priority
    if base == OWNER or not found:
        return Reach(base, base, base)
    return Reach(
        clamped(base + sum([each.fine or 0 for each in found])),
        clamped(base + sum([each.least for each in found])),
        clamped(base + sum([each.most for each in found])),
    )


def useless(instance: VrrpInstance, found: list[Influence]) -> list[Influence]:
    """Those with a weight that the limits of a priority, 1 and 254, always swallow."""
    base = instance.priority
    least = sum([each.least for each in found])
    most = sum([each.most for each in found])
    swallowed = []
    for each in found:
        if each.least == each.most:
            continue  # no weight
        # What the others make of the priority at the least and at the most.
        low, high = base + least - each.least, base + most - each.most
        is_above = low + each.least >= PRIORITY_MAX
        is_below = high + each.most <= PRIORITY_MIN
        if is_above or is_below:
            swallowed.append(each)
    return swallowed


def groups_by_name(configuration: Configuration) -> dict[str, SyncGroup]:
    return {group.name: group for group in configuration.sync_groups}
