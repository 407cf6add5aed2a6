"""What a new configuration changes: which old instance goes on as which new one. Pure.

An instance is recognised by what it is on the wire, not by its name: virtual router id, address
family, interface, multicast group or unicast, and the source address of a unicast one. A rename
therefore keeps the state, and so does a virtual MAC address that comes or goes. What else changed
is told by comparing content; where something is written in a file never counts.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from typing import Any

import msgspec

from fastvrrp.config import model
from fastvrrp.vrrp.links import is_unicast, multicast_text


def identity(instance: model.VrrpInstance) -> Hashable:
    """What makes two instances of two configurations the same virtual router."""
    kind: Hashable
    if is_unicast(instance):
        kind = ("unicast", instance.source, instance.vrf)
    else:
        kind = ("multicast", multicast_text(instance))
    return (instance.virtual_router_id, instance.family, instance.interface, kind)


class Pair(msgspec.Struct, frozen=True):
    """An instance of the new configuration and the one it continues; None: it is new."""

    new: model.VrrpInstance
    old: model.VrrpInstance | None


class Plan(msgspec.Struct, frozen=True):
    """A change from one configuration to another."""

    pairs: tuple[Pair, ...]  # in the order of the new configuration
    removed: tuple[model.VrrpInstance, ...]
    other_changes: tuple[str, ...]  # of what is no instance, for people

    @property
    def changes(self) -> tuple[str, ...]:
        """For people; empty when nothing changed."""
        return (*_instance_changes(self.pairs, self.removed), *self.other_changes)

    @property
    def renamed(self) -> dict[str, str]:
        """New name by old name, of instances that go on under another one."""
        return {
            pair.old.name: pair.new.name
            for pair in self.pairs
            if pair.old is not None and pair.old.name != pair.new.name
        }


def plan(old: model.Configuration, new: model.Configuration) -> Plan:
    """How to get from `old` to `new`."""
    pairs, removed = _match(old.vrrp_instances, new.vrrp_instances)
    return Plan(tuple(pairs), tuple(removed), tuple(_other_changes(old, new)))


def _match(
    old: Sequence[model.VrrpInstance], new: Sequence[model.VrrpInstance]
) -> tuple[list[Pair], list[model.VrrpInstance]]:
    """Several unicast instances may share an identity when their peers differ: then the same
    name is preferred, next the same peers, next the order in the file."""
    candidates: dict[Hashable, list[model.VrrpInstance]] = {}
    for instance in old:
        candidates.setdefault(identity(instance), []).append(instance)
    found: dict[str, model.VrrpInstance] = {}
    open_ones = [
        (instance, waiting)
        for instance in (new if old else ())
        if (waiting := candidates.get(identity(instance)))
    ]
    for preference in (_same_name, _same_peers, _anything):
        for instance, waiting in open_ones:
            if instance.name in found or not waiting:
                continue
            chosen = next((other for other in waiting if preference(instance, other)), None)
            if chosen is not None:
                waiting.remove(chosen)
                found[instance.name] = chosen
    left = {other.name for waiting in candidates.values() for other in waiting}
    pairs = [Pair(instance, found.get(instance.name)) for instance in new]
    return pairs, [instance for instance in old if instance.name in left]


def _same_name(one: model.VrrpInstance, other: model.VrrpInstance) -> bool:
    return one.name == other.name


def _same_peers(one: model.VrrpInstance, other: model.VrrpInstance) -> bool:
    return {p.address for p in one.unicast_peers} == {p.address for p in other.unicast_peers}


def _anything(one: model.VrrpInstance, other: model.VrrpInstance) -> bool:
    return True


def same(one: Any, other: Any) -> bool:
    """Whether two parts of a configuration say the same, wherever it is written."""
    return bool(one == other or _content(one) == _content(other))


def _content(value: Any) -> Any:
    """A value of the model without its positions, for comparison."""
    if isinstance(value, msgspec.Struct):
        fields = (name for name in value.__struct_fields__ if name != "position")
        return type(value), tuple(_content(getattr(value, name)) for name in fields)
    if isinstance(value, tuple | list):
        return tuple(_content(item) for item in value)
    return value


def _instance_changes(
    pairs: Iterable[Pair], removed: Iterable[model.VrrpInstance]
) -> Iterable[str]:
    for instance in removed:
        yield f"instance {instance.name} removed"
    for pair in pairs:
        new, old = pair.new, pair.old
        if old is None:
            yield f"instance {new.name} added"
            continue
        if old.name != new.name:
            yield f"instance {old.name} renamed to {new.name}"
        if not same(msgspec.structs.replace(old, name=new.name), new):
            yield f"instance {new.name} changed"


_NAMED = (
    ("sync_groups", "sync group"),
    ("track_scripts", "script"),
    ("track_processes", "process tracker"),
    ("track_files", "file tracker"),
)
_WHOLE = (
    ("static_addresses", "static addresses"),
    ("static_routes", "static routes"),
    ("static_rules", "static rules"),
    ("garp_groups", "garp groups"),
    ("global_defs", "global definitions"),
)


def _other_changes(old: model.Configuration, new: model.Configuration) -> Iterable[str]:
    for field, what in _NAMED:
        before = {part.name: part for part in getattr(old, field)}
        after = {part.name: part for part in getattr(new, field)}
        yield from (f"{what} {name} removed" for name in before if name not in after)
        for name, part in after.items():
            if name not in before:
                yield f"{what} {name} added"
            elif not same(before[name], part):
                yield f"{what} {name} changed"
    for field, what in _WHOLE:
        if not same(getattr(old, field), getattr(new, field)):
            yield f"{what} changed"
