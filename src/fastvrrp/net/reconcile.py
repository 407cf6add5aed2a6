"""Desired against observed kernel state: what is missing, and what of ours should not be there.

Pure. `Desired` is an index of everything the configuration may install, by kernel identity, so
an event about one object finds its owners in one look-up, and a whole resync is one pass.
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from fastvrrp.namelist import NameList
from fastvrrp.net.objects import AddressKey, Hop, Link, Route, RouteKey, RuleKey
from fastvrrp.net.observed import Observed, hops_match
from fastvrrp.net.programs import STATIC, Item, Kind, Objects, Request
from fastvrrp.net.shelf import Shelf
from fastvrrp.net.wire import OK_EXIST, OK_GONE


class Verb(enum.Enum):
    ADD = "add"
    DELETE = "delete"


class Operation(NamedTuple):
    """One step from observed to desired."""

    verb: Verb
    item: Item

    @property
    def owner(self) -> str:
        return self.item.owner

    @property
    def request(self) -> tuple[bytes, int]:
        if self.verb is Verb.ADD:
            return Request(self.item.add, OK_EXIST)
        return Request(self.item.delete, OK_GONE)

    def __str__(self) -> str:
        return f"{self.verb.value} {self.item.text}"


class Desired:
    """What each owner installs while it is active (an instance in MASTER; STATIC always).

    Replaced owner by owner, so that one interface that appears costs only its own instances.
    """

    def __init__(self) -> None:
        self._shelf = Shelf(NameList(), ())  # what was packed; all else is in these two
        self._objects: dict[str, Objects] = {}
        # Nearly every identity is one item's: a list for each would be as large as the rest.
        self._index: dict[AddressKey | RouteKey | RuleKey, Item | list[Item]] = {}

    def put(self, objects: Objects) -> None:
        """Set or replace everything one owner may install."""
        self.remove(objects.owner)
        self._objects[objects.owner] = objects
        for item in objects.items:
            known = self._index.setdefault(item.key, item)
            if isinstance(known, list):
                known.append(item)
            elif known is not item:
                self._index[item.key] = [known, item]

    def remove(self, owner: str) -> None:
        """Forget an owner; unknown owners are fine."""
        objects = self._objects.pop(owner, None)
        if objects is None:
            self._shelf.take_away(owner)
            return
        for key in {item.key for item in objects.items}:  # routes of one key: several gateways
            left = [other for other in self._loose(key) if other.owner != owner]
            if left:
                self._index[key] = left if len(left) > 1 else left[0]
            else:
                del self._index[key]

    def pack(self, names: NameList) -> None:
        """Keep what these owners install in little memory, as far as that is possible."""
        shelf = Shelf(names, map(self.get, names))
        others = [self.get(owner) for owner in self.owners() if owner not in shelf]
        self._shelf = shelf
        self._objects, self._index = {}, {}
        for objects in others:
            assert objects is not None
            self.put(objects)

    def is_packed(self, owner: str) -> bool:
        return owner in self._shelf

    def get(self, owner: str) -> Objects | None:
        """What was put, or something equal."""
        return self._objects.get(owner) or self._shelf.get(owner)

    def owners(self) -> Iterable[str]:
        yield from self._shelf.owners()
        yield from self._objects

    def items(self, key: AddressKey | RouteKey | RuleKey) -> Sequence[Item]:
        """Every item with this identity; more than one when owners share it. O(1)."""
        loose = self._loose(key)
        if isinstance(key, AddressKey) and (packed := self._shelf.find(key)):
            return [*packed, *loose]
        return loose

    def knows(self, key: AddressKey | RouteKey | RuleKey) -> bool:
        """Whether there is any."""
        return key in self._index or (isinstance(key, AddressKey) and self._shelf.knows(key))

    def _loose(self, key: AddressKey | RouteKey | RuleKey) -> Sequence[Item]:
        found = self._index.get(key)
        if found is None:
            return ()
        return found if isinstance(found, list) else (found,)

    def wanted_by(self, key: AddressKey) -> Sequence[str]:
        """The owners of `items`."""
        return [*self._shelf.owners_of(key), *(item.owner for item in self._loose(key))]

    def owners_of(self, changed: AddressKey | Route | RuleKey) -> set[str]:
        """Who installs this object and wants it back when it vanishes (not `no_track`).

        For the deletion callbacks of the monitor: every active owner must be replayed. O(1).
        """
        if isinstance(changed, Route):
            return {
                item.owner
                for item in self.items(changed.key)
                if item.restore and hops_match(item.hops, changed.hops)
            }
        return {item.owner for item in self.items(changed) if item.restore}


def is_present(item: Item, observed: Observed) -> bool:
    """Whether the kernel has the object, whoever installed it."""
    return _is_there(item.key, item.hops, observed)


def lost_groups(objects: Objects, observed: Observed, excused: Collection[int] = ()) -> set[str]:
    """The track_groups of which an object is not there, or not on an interface that works.
    `excused` are interfaces that have not been down for long enough to count."""
    return {
        tracked.group
        for tracked in objects.tracked
        if not _is_there(tracked.key, tracked.hops, observed)
        or not all(_works(observed.links.get(index), excused) for index in tracked.interfaces)
    }


def _is_there(
    key: AddressKey | RouteKey | RuleKey | None, hops: tuple[Hop, ...], observed: Observed
) -> bool:
    if isinstance(key, AddressKey):
        return observed.address(key) is not None
    if isinstance(key, RouteKey):
        return observed.find_route(key, hops) is not None
    return key in observed.rules


def _works(link: Link | None, excused: Collection[int]) -> bool:
    return link is not None and (link.up or link.ifindex in excused)


def _removable(item: Item, observed: Observed) -> bool:
    """Whether the kernel has the object and it carries our mark. Routes and rules carry the
    protocol number in their identity, so an exact match is the mark."""
    if isinstance(item.key, AddressKey):
        address = observed.address(item.key)
        return not item.native and address is not None and observed.address_is_ours(address)
    return is_present(item, observed)


_REMOVAL_ORDER: Mapping[str, int] = {Kind.RULE: 0, Kind.ROUTE: 1, Kind.ADDRESS: 2}


def reconcile(desired: Desired, observed: Observed, active: Collection[str]) -> list[Operation]:
    """Operations that turn observed into desired: deletions first (rules, routes, addresses),
    then additions in program order.

    `active` names the instances that are MASTER now; STATIC is always active. Objects no owner
    of `desired` knows are never touched, nor addresses without our mark. Objects with
    `no_track` are not put back. Additions of an instance are for its replay (see
    `owners_to_replay`); those of STATIC and deletions are played by the caller.
    """
    deletions: dict[object, Operation] = {}  # shared objects go once
    additions = []
    for owner in desired.owners():
        objects = desired.get(owner)
        assert objects is not None
        is_active = owner == STATIC or owner in active
        for item in objects.items:
            if is_active:
                if item.restore and not is_present(item, observed):
                    additions.append(Operation(Verb.ADD, item))
            elif _removable(item, observed) and not _wanted_by_another(item, desired, active):
                deletions.setdefault((item.key, item.hops), Operation(Verb.DELETE, item))
    # Backwards within a kind: secondary addresses before the primary that takes them along.
    ordered = list(reversed(deletions.values()))
    ordered.sort(key=lambda operation: _REMOVAL_ORDER[operation.item.kind])
    return ordered + additions


def _wanted_by_another(item: Item, desired: Desired, active: Collection[str]) -> bool:
    return any(
        (other.owner == STATIC or other.owner in active)
        and (hops_match(item.hops, other.hops) or hops_match(other.hops, item.hops))
        for other in desired.items(item.key)
    )


def owners_to_replay(operations: Iterable[Operation]) -> set[str]:
    """Instances whose up program must be played again."""
    return {
        operation.owner
        for operation in operations
        if operation.verb is Verb.ADD and operation.owner != STATIC
    }


def to_play(operations: Iterable[Operation]) -> list[Operation]:
    """What the control plane plays itself: deletions, and additions of static objects."""
    return [o for o in operations if o.verb is Verb.DELETE or o.owner == STATIC]
