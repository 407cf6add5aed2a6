"""Slot numbers of the core: who has which, and when a number may be given out again.

The engine goes on using a removed slot until it has committed the removal, so a number that was
released with epoch N is free only after EV_COMMITTED of N. Tables are copied for a reload and
replaced when it succeeds, so a refused one leaves no trace.
"""

from __future__ import annotations

import heapq
from collections.abc import Hashable, Iterable, Mapping
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


class CapacityError(Exception):
    """More objects than the engine was made for."""


class Slots:
    """Numbers 0..capacity-1 for who remembers his own; the lowest free one is given out first."""

    def __init__(self, what: str, capacity: int) -> None:
        self._what = what
        self._capacity = capacity
        self._released: dict[int, int] = {}  # slot to the epoch of its removal
        self._free: list[int] = []
        self._next = 0  # every number from here on was never given out

    def copy(self) -> Slots:
        twin = Slots(self._what, self._capacity)
        twin._released = dict(self._released)
        twin._free = list(self._free)
        twin._next = self._next
        return twin

    def take(self) -> int:
        """A free one. Raises CapacityError."""
        if self._free:
            return heapq.heappop(self._free)
        if self._next >= self._capacity:
            raise CapacityError(f"more than {self._capacity} {self._what}")
        self._next += 1
        return self._next - 1

    def release(self, slot: int, epoch: int) -> None:
        """It is free once `epoch` is committed."""
        self._released[slot] = epoch

    def committed(self, epoch: int) -> None:
        """The engine has committed `epoch` and, as it keeps their order, all before it."""
        for slot in [s for s, removed in self._released.items() if removed <= epoch]:
            del self._released[slot]
            heapq.heappush(self._free, slot)


class SlotTable(Generic[K]):
    """Slots by key."""

    def __init__(self, what: str, capacity: int) -> None:
        self._numbers = Slots(what, capacity)
        self._slots: dict[K, int] = {}

    def copy(self) -> SlotTable[K]:
        twin: SlotTable[K] = SlotTable.__new__(SlotTable)
        twin._numbers = self._numbers.copy()
        twin._slots = dict(self._slots)
        return twin

    def __contains__(self, key: object) -> bool:
        return key in self._slots

    def __len__(self) -> int:
        return len(self._slots)

    def __getitem__(self, key: K) -> int:
        return self._slots[key]

    def get(self, key: K) -> int | None:
        return self._slots.get(key)

    @property
    def slots(self) -> Mapping[K, int]:
        return self._slots

    def take(self, key: K) -> int:
        """The slot of `key`, a new one if it has none. Raises CapacityError."""
        slot = self._slots.get(key)
        if slot is None:
            slot = self._slots[key] = self._numbers.take()
        return slot

    def move(self, old: K, new: K) -> int:
        """Give the slot of `old` to `new`. Raises KeyError."""
        slot = self._slots.pop(old)
        self._slots[new] = slot
        return slot

    def release(self, key: K, epoch: int) -> int:
        """Forget `key`; its slot is free once `epoch` is committed. Raises KeyError."""
        slot = self._slots.pop(key)
        self._numbers.release(slot, epoch)
        return slot

    def retain(self, keys: Iterable[K], epoch: int) -> list[int]:
        """Release everything but `keys`; returns the released slots."""
        kept = set(keys)
        return [self.release(key, epoch) for key in list(self._slots) if key not in kept]

    def committed(self, epoch: int) -> None:
        """See Slots.committed."""
        self._numbers.committed(epoch)
