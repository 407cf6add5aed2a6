"""State changes that come too fast for a log: how many lines, and that the last state is told."""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec

BURST = 10  # changes of an instance that are logged within a window
WINDOW_S = 10.0
QUIET_S = 1.0  # without a change, before the state that was reached is told


class _Gap(msgspec.Struct, eq=False, gc=False):
    """Changes that were not logged: how many, and when the last one was."""

    last: float
    count: int = 0


class Flapping:
    """Counts the changes of each instance, by its slot."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began = clock()  # the window that runs, of all of them
        self._told = bytearray()  # in it
        self._gaps: dict[int, _Gap] = {}

    def changed(self, slot: int) -> tuple[bool, int]:
        """A change of this instance: whether to log it, and how many before it were not."""
        now = self._clock()
        self._look(now)
        if slot >= len(self._told):
            self._told += bytes(slot + 1 - len(self._told))
        if self._told[slot] >= BURST:
            gap = self._gaps.setdefault(slot, _Gap(now))
            gap.last = now
            gap.count += 1
            return False, 0
        self._told[slot] += 1
        over = self._gaps.pop(slot, None)
        return True, 0 if over is None else over.count

    def forget(self, slot: int) -> None:
        """The instance is gone, and the next one in its slot has changed nothing yet."""
        if slot < len(self._told):
            self._told[slot] = 0
        self._gaps.pop(slot, None)

    @property
    def unsettled(self) -> bool:
        """Whether changes were left out that nobody has been told of."""
        return bool(self._gaps)

    def settled(self) -> list[tuple[int, int]]:
        """Instances whose last change was not logged and is a while ago, with the number of those
        changes. Where there are none the window is over: who came up at a start is forgotten."""
        now = self._clock()
        self._look(now)
        if not self._gaps:
            self._told = bytearray()
        found = [(s, gap.count) for s, gap in self._gaps.items() if now - gap.last >= QUIET_S]
        for slot, _ in found:
            del self._gaps[slot]
        return found

    def _look(self, now: float) -> None:
        """Whether the window is over."""
        if now - self._began >= WINDOW_S:
            self._began = now
            self._told = bytearray()
