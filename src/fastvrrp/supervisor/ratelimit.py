"""`RateLimit`: logging of causes that may come in floods, or thousands of them at once."""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable
from typing import Protocol

from fastvrrp.namelist import placed

MORE_CAUSES = "more causes than are counted"
_NONE = -1


class Log(Protocol):
    """The part of a Logger that a RateLimit needs."""

    def log(self, level: int, msg: str, /, *args: object) -> None: ...


class RateLimit:
    """Logs the first `burst` messages of a cause per interval, and later how many were left out.

    Keyed by cause, never by anything a sender chooses (a source address), so that nobody can
    get around the limit. `causes` bounds the memory all the same: beyond it new causes share one
    window, because to forget one that is still counted would let it log anew.
    """

    def __init__(
        self,
        logger: Log,
        *,
        burst: int = 5,
        interval_s: float = 60.0,
        causes: int = 16384,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._logger = logger
        self._burst = burst
        self._interval_s = interval_s
        self._causes = causes
        self._clock = clock
        self._windows = _Windows()
        self._swept = -interval_s

    def log(self, cause: str, level: int, text: str, *args: object) -> bool:
        """Log unless the cause had its share. Returns whether it was logged."""
        now = self._clock()
        windows = self._windows
        number = windows.find(cause)
        if number == _NONE and not self._has_room(now):
            cause = MORE_CAUSES
            number = windows.find(cause)
        if number == _NONE:
            number = windows.add(cause, now)
        elif now - windows.begins[number] >= self._interval_s:
            if left_out := windows.left_out[number]:
                self._logger.log(
                    level,
                    "%d more like this in the last %.0f s: %s",
                    left_out,
                    now - windows.begins[number],
                    cause,
                )
            windows.begin(number, now)
        if windows.logged[number] >= self._burst:
            windows.left_out[number] += 1
            return False
        windows.logged[number] += 1
        self._logger.log(level, text, *args)
        return True

    def _has_room(self, now: float) -> bool:
        """Whether one more cause may be counted; what is long over is forgotten for it."""
        limit = self._causes - 1  # one place is for those that share it
        if len(self._windows) >= limit and now - self._swept >= self._interval_s / 10:
            self._swept = now
            self._windows.forget(now - self._interval_s)
        return len(self._windows) < limit


class _Windows:
    """When messages of a cause began to be counted, and how many were logged and left out, in some
    thirty bytes: after a takeover there are thousands. A hash of 64 bits stands for the cause."""

    __slots__ = ("_hashes", "_places", "begins", "left_out", "logged")

    def __init__(self) -> None:
        self.begins = array("d")
        self.logged = array("I")
        self.left_out = array("Q")
        self._hashes = array("q")
        self._places = placed((), 0)

    def __len__(self) -> int:
        return len(self._hashes)

    def find(self, cause: str) -> int:
        """Its number, or _NONE."""
        places, hashes = self._places, self._hashes
        value = hash(cause)
        mask = len(places) - 1
        at = value & mask
        while number := places[at]:
            if hashes[number - 1] == value:
                return number - 1
            at = (at + 1) & mask
        return _NONE

    def add(self, cause: str, now: float) -> int:
        """Of one that is not there; its number."""
        value = hash(cause)
        self._hashes.append(value)
        self.begins.append(now)
        self.logged.append(0)
        self.left_out.append(0)
        count = len(self._hashes)
        if count + count // 2 > len(self._places):
            self._places = placed(self._hashes, count + count // 4)
        else:
            mask = len(self._places) - 1
            at = value & mask
            while self._places[at]:
                at = (at + 1) & mask
            self._places[at] = count
        return count - 1

    def begin(self, number: int, now: float) -> None:
        """Count anew."""
        self.begins[number] = now
        self.logged[number] = self.left_out[number] = 0

    def forget(self, before: float) -> None:
        """Leave out those that began no later."""
        kept = [number for number, begin in enumerate(self.begins) if begin > before]
        for name in ("_hashes", "begins", "logged", "left_out"):
            old = getattr(self, name)
            setattr(self, name, array(old.typecode, [old[number] for number in kept]))
        self._places = placed(self._hashes, len(kept))
