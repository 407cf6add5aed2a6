"""A page of memory in which a child shows that it lives, and the supervisor's judgement of it.

The engine writes its next deadline there before it sleeps and the number of its turns after it
wakes (core/engine.pxi, `pulse_t`), the child's loop the number of the last Ping it read. So a
healthy child costs nothing but a look now and then: no process wakes up to say that it lives.
"""

from __future__ import annotations

import fcntl
import mmap
import os
from typing import NamedTuple

SIZE = mmap.PAGESIZE
NEVER_NS = (1 << 63) - 1  # the engine has nothing to do: it may sleep for ever
_NS_PER_S = 1_000_000_000
_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL

# Indices of 64-bit words; the first two are `pulse_t`.
_DUE, _TURNS, _ANSWERED = 0, 1, 2

OVERDUE_S = 1.0
"""An engine or loop that is later than this is looked at again as soon as its time is over."""


def create() -> int:
    """A new page, as a descriptor that the caller closes. Raises OSError.

    Its size is sealed: a child cannot make the supervisor fault by truncating it.
    """
    fd = os.memfd_create("fastvrrp-pulse", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(fd, SIZE)
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS)
    except OSError:
        os.close(fd)
        raise
    return fd


class Signs(NamedTuple):
    """What a page says. `due_ns` is CLOCK_MONOTONIC; 0: there is no engine yet."""

    due_ns: int
    turns: int
    answered: int


class Page:
    """The mapping of a page; the descriptor stays the caller's. Raises OSError."""

    def __init__(self, fd: int) -> None:
        self._map = mmap.mmap(fd, SIZE)
        # Whole words, so that no value is seen half written.
        self._words = memoryview(self._map).cast("q")

    def read(self) -> Signs:
        return Signs(self._words[_DUE], self._words[_TURNS], self._words[_ANSWERED])

    def answer(self, number: int) -> None:
        """The loop of the child has read Ping `number`."""
        self._words[_ANSWERED] = number

    def turn(self, due_ns: int) -> None:
        """What an engine does, for a child without one."""
        self._words[_TURNS] += 1
        self._words[_DUE] = due_ns

    def close(self) -> None:
        self._words.release()
        self._map.close()


class Watch:
    """Judges a child by what its page says at each look. Times in seconds of CLOCK_MONOTONIC."""

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._turns = -1  # at the last look
        self._asked = 0  # number of the last Ping
        self._asked_s: float | None = None  # since when it waits for its answer
        self._since_s = 0.0  # nothing that was late before this counts

    def forgive(self, now_s: float) -> None:
        """The whole machine stood still: everybody gets the whole limit anew."""
        self._since_s = now_s

    def busy(self) -> None:
        """The loop has been given something that may take long: it owes no answer meanwhile."""
        self._asked_s = None

    def ask(self, now_s: float) -> int:
        """The number for a new Ping; its answer is waited for from now on."""
        self._asked += 1
        self._asked_s = now_s
        return self._asked

    def waits(self, signs: Signs) -> bool:
        """Whether the answer to a Ping is still owed."""
        if signs.answered >= self._asked:
            self._asked_s = None
        return self._asked_s is not None

    def look(self, signs: Signs, now_s: float) -> tuple[str, float | None]:
        """What is wrong, "" if nothing, and the time at which to look again if that is sooner
        than usual."""
        again_s: float | None = None
        moved, self._turns = signs.turns != self._turns, signs.turns
        if 0 < signs.due_ns < NEVER_NS:
            reason, again_s = self._judge(signs.due_ns / _NS_PER_S, now_s, still=not moved)
            if reason:
                return f"its engine {reason}", None
        if self.waits(signs) and self._asked_s is not None:
            reason, loop_again_s = self._judge(self._asked_s, now_s, still=True)
            if reason:
                return f"its event loop {reason}", None
            if again_s is None or (loop_again_s is not None and loop_again_s < again_s):
                again_s = loop_again_s
        return "", again_s

    def _judge(self, due_s: float, now_s: float, *, still: bool) -> tuple[str, float | None]:
        late_s = now_s - max(due_s, self._since_s)
        if late_s <= min(OVERDUE_S, self._limit_s / 4):
            return "", None
        if late_s > self._limit_s and still:
            return f"has stood still for {late_s:.1f} s", None
        # Late by more than the limit but moving since the last look: it has a second to move on.
        return "", now_s + max(self._limit_s - late_s, OVERDUE_S / 10) + 0.01
