"""The instances that run, in little memory: of thousands each is some bytes, and an object only
while somebody looks at it."""

from __future__ import annotations

import itertools
from array import array
from collections.abc import Iterator, Mapping, Sequence
from typing import overload

from fastvrrp.config import model
from fastvrrp.config.compact import Packed
from fastvrrp.namelist import NameList, array_up_to, narrow
from fastvrrp.net.reconcile import Desired
from fastvrrp.vrrp.compile import Compiled, Record
from fastvrrp.vrrp.draft import Fresh, Running


class Roster(Mapping[str, Running]):
    """By name. `desired` has what they install: some of it packed, and those who install it are
    views here; the others are objects."""

    def __init__(
        self, names: NameList, running: Sequence[Running], origin: Packed, desired: Desired
    ) -> None:
        """`names`, `running` and `origin` belong together, one by one."""
        self.names = names
        self.origin = origin
        self.desired = desired
        self.records: list[Record] = []
        self.objects: dict[int, Fresh] = {}  # those that are no views
        self.trackings: dict[int, tuple[int, int]] = {}  # of views, if there is anything
        self.vrids = bytearray()
        slots, record_of = array("I"), array("I")
        by_slot = array_up_to(len(running))  # numbers from 1 on, or 0
        by_slot.extend(itertools.repeat(0, max((one.slot for one in running), default=-1) + 1))
        numbers: dict[int, int] = {}  # of the records, each of which is one object
        for position, one in enumerate(running):
            compiled = one.compiled
            number = numbers.setdefault(id(compiled.record), len(numbers))
            if number == len(self.records):
                self.records.append(compiled.record)
            slots.append(one.slot)
            self.vrids.append(compiled.vrid)
            record_of.append(number)
            by_slot[one.slot] = position + 1
            if compiled.listed is not None or not desired.is_packed(compiled.objects.owner):
                self.objects[position] = Fresh(one.slot, origin, compiled, one.tracking, position)
            elif one.tracking != _UNTRACKED:
                self.trackings[position] = one.tracking
        self.slots, self.record_of = narrow(slots), narrow(record_of)
        self._by_slot = by_slot

    def __len__(self) -> int:
        return len(self.slots)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __contains__(self, name: object) -> bool:
        return name in self.names

    def __getitem__(self, name: str) -> Running:
        position = self.names.find(name)
        if position < 0:
            raise KeyError(name)
        return self.at(position)

    def at(self, position: int) -> Running:
        return self.objects.get(position) or View(self, position)

    def by_slot(self) -> Sequence[Running | None]:
        return BySlot(self, self._by_slot)


_UNTRACKED = (0, 0)


class BySlot(Sequence["Running | None"]):
    """The instances of a roster by their slots."""

    def __init__(self, roster: Roster, numbers: array[int]) -> None:
        """`numbers`: from 1 on, or 0."""
        self._roster = roster
        self._numbers = numbers

    def __len__(self) -> int:
        return len(self._numbers)

    @overload
    def __getitem__(self, index: int) -> Running | None: ...
    @overload
    def __getitem__(self, index: slice) -> list[Running | None]: ...
    def __getitem__(self, index: int | slice) -> Running | list[Running | None] | None:
        if isinstance(index, slice):
            return [self[n] for n in range(*index.indices(len(self)))]
        number = self._numbers[index]
        return self._roster.at(number - 1) if number else None


class View:
    """An instance of a roster (`Running`)."""

    __slots__ = ("_position", "_roster")

    def __init__(self, roster: Roster, position: int) -> None:
        self._roster = roster
        self._position = position

    @property
    def slot(self) -> int:
        return self._roster.slots[self._position]

    @property
    def name(self) -> str:
        return self._roster.names[self._position]

    @property
    def record(self) -> Record:
        roster, position = self._roster, self._position
        if position in roster.objects:  # meanwhile
            return roster.objects[position].record
        return roster.records[roster.record_of[position]]

    @property
    def instance(self) -> model.VrrpInstance:
        return self._roster.origin[self._position]

    @property
    def compiled(self) -> Compiled:
        roster, position = self._roster, self._position
        if position in roster.objects:
            return roster.objects[position].compiled
        objects = roster.desired.get(roster.names[position])
        assert objects is not None
        return Compiled(self.record, roster.vrids[position], objects, None)

    @compiled.setter
    def compiled(self, compiled: Compiled) -> None:
        one = self.fresh()
        one.compiled = compiled
        self._roster.objects[self._position] = one

    @property
    def tracking(self) -> tuple[int, int]:
        if self._position in self._roster.objects:
            return self._roster.objects[self._position].tracking
        return self._roster.trackings.get(self._position, _UNTRACKED)

    @tracking.setter
    def tracking(self, tracking: tuple[int, int]) -> None:
        if self._position in self._roster.objects:
            self._roster.objects[self._position].tracking = tracking
        elif tracking != _UNTRACKED:
            self._roster.trackings[self._position] = tracking
        else:
            self._roster.trackings.pop(self._position, None)

    def fresh(self) -> Fresh:
        return Fresh(self.slot, self._roster.origin, self.compiled, self.tracking, self._position)
