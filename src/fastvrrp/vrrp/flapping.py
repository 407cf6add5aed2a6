"""State changes that come too fast for a log: how many lines, and that the last state is told."""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec

BURST = 10  # changes of an instance that are logged within WINDOW_S
WINDOW_S = 10.0
QUIET_S = 1.0  # without a change, before the state that was reached is told


class _Window(msgspec.Struct, eq=False, gc=False):
    start: float
    last: float
    told: int = 0
    left_out: int = 0


class Flapping:
    """Counts the changes of each instance."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._windows: dict[str, _Window] = {}
        self._swept = clock()

    def changed(self, name: str) -> tuple[bool, int]:
        """A change of this instance: whether to log it, and how many before it were not."""
        now = self._clock()
        if now - self._swept >= WINDOW_S:
            self._sweep(now)
        window = self._windows.get(name)
        if window is None:
            self._windows[name] = _Window(now, now, 1)
            return True, 0
        left_out = 0
        if now - window.start >= WINDOW_S:
            left_out = window.left_out
            window = self._windows[name] = _Window(now, now)
        window.last = now
        if window.told >= BURST:
            window.left_out += 1
            return False, 0
        window.told += 1
        return True, left_out

    @property
    def unsettled(self) -> bool:
        """Whether changes were left out that nobody has been told of."""
        return any(window.left_out for window in self._windows.values())

    def settled(self) -> list[tuple[str, int]]:
        """Instances whose last change was not logged and is a while ago, with the number of those
        changes. What is long over is forgotten."""
        now = self._clock()
        found = []
        for name, window in self._windows.items():
            if window.left_out and now - window.last >= QUIET_S:
                found.append((name, window.left_out))
                window.left_out = 0
        self._sweep(now)
        return found

    def _sweep(self, now: float) -> None:
        self._swept = now
        self._windows = {
            name: window
            for name, window in self._windows.items()
            if window.left_out or now - window.start < WINDOW_S
        }
