"""A page of memory in which a child shows that it lives, and the supervisor's judgement of it.

Each engine thread writes its next deadline there before it sleeps and the number of its turns after
it wakes (core/engine.pxi, `pulse_t`), the child's loop the number of the last Ping it read.

Beside it is the alarm, a timer of the kernel's that wakes the supervisor: the engine threads set it
for later every few seconds, when they are awake anyway, for as long as all of them turn and the
loop reads what they tell (core/alarm.pxi). So a healthy child costs nobody a wake-up: no process
says that it lives, and none looks. What an engine is to the VRRP process the prober is to the IPVS
process (core/probe.pxi).
"""

from __future__ import annotations

import fcntl
import mmap
import os
import time
from typing import NamedTuple

SIZE = mmap.PAGESIZE
NEVER_NS = (1 << 63) - 1  # the engine has nothing to do: it may sleep for ever
_NS_PER_S = 1_000_000_000
_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL

# Indices of 64-bit words in a line of the page; the first two are `pulse_t`, of which each engine
# thread has its own line. The third is in the first line only.
_DUE, _TURNS, _ANSWERED = 0, 1, 2
_LINE = 8
MAX_ENGINES = 64
_LOOP = -1  # among engine threads

OVERDUE_S = 1.0
"""An engine or loop that is later than this is looked at again as soon as its time is over."""
MOVING_S = 0.5
"""For who is late by more than its time, but has moved or may have slept with us: nobody counts as
standing still who has not been seen late for so long."""
_AFTER_S = 0.01  # so that a look at the end of somebody's time finds it over


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


class Ends(NamedTuple):
    """What a child holds of it, as descriptors."""

    page: int
    alarm: int


_TFD_CLOEXEC, _TFD_NONBLOCK = os.O_CLOEXEC, os.O_NONBLOCK  # include/uapi/linux/timerfd.h
_TFD_TIMER_ABSTIME = 1


def create_alarm() -> int:
    """A new alarm that is not set, as a descriptor that the caller closes; once it has rung it is
    readable until it is read. Raises OSError.

    Source: timerfd_create(2), which the os module has from Python 3.13 on only.
    """
    import ctypes  # not before the reader of the configuration is on its way

    libc = ctypes.CDLL(None, use_errno=True)
    fd = int(libc.timerfd_create(time.CLOCK_MONOTONIC, _TFD_CLOEXEC | _TFD_NONBLOCK))
    if fd < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return fd


def set_alarm(fd: int, due_ns: int) -> None:
    """What an engine does, for a child without one. CLOCK_MONOTONIC; 0: never. Raises OSError."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    due = (ctypes.c_long * 4)(0, 0, *divmod(due_ns, _NS_PER_S))
    if libc.timerfd_settime(fd, _TFD_TIMER_ABSTIME, due, None) != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


class Beat(NamedTuple):
    """What one engine thread says. `due_ns` is CLOCK_MONOTONIC."""

    due_ns: int
    turns: int


class Signs(NamedTuple):
    """What a page says. `due_ns` and `turns` are the first engine thread's; due 0: there is none
    yet. `others` are those of the further ones."""

    due_ns: int
    turns: int
    answered: int
    others: tuple[Beat, ...] = ()

    def beats(self) -> tuple[Beat, ...]:
        """Of all engine threads."""
        return (Beat(self.due_ns, self.turns), *self.others)


class Page:
    """The mapping of a page; the descriptor stays the caller's. Raises OSError."""

    def __init__(self, fd: int) -> None:
        self._map = mmap.mmap(fd, SIZE)
        # Whole words, so that no value is seen half written.
        self._words = memoryview(self._map).cast("q")

    def read(self) -> Signs:
        words = self._words
        others = []
        for line in range(_LINE, MAX_ENGINES * _LINE, _LINE):
            if words[line + _DUE] == 0:
                break
            others.append(Beat(words[line + _DUE], words[line + _TURNS]))
        return Signs(words[_DUE], words[_TURNS], words[_ANSWERED], tuple(others))

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

    def __init__(self, limit_s: float, worker: str = "engine") -> None:
        """`worker`: the thread or threads that write into the page, in texts."""
        self._limit_s = limit_s
        self._worker = worker
        # Of each engine thread, and of the loop: since when it is seen late, with which number of
        # turns or answers.
        self._late: dict[int, tuple[float, int]] = {}
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

    def doubt(self) -> None:
        """The alarm has rung, perhaps only because everybody stood still: nobody counts as standing
        still because of what was seen before."""
        self._late.clear()

    def look(self, signs: Signs, now_s: float) -> tuple[str, float | None]:
        """What is wrong, "" if nothing, and the time at which to look again, if there is one."""
        again: list[float | None] = []
        beats = signs.beats()
        # One by one: a thread that stands still must not hide behind another that turns.
        for number, beat in enumerate(beats):
            if 0 < beat.due_ns < NEVER_NS:
                reason, again_s = self._judge(number, beat.turns, beat.due_ns / _NS_PER_S, now_s)
                if reason:
                    which = "" if len(beats) == 1 else f" thread {number + 1}"
                    return f"its {self._worker}{which} {reason}", None
                again.append(again_s)
        if self.waits(signs) and self._asked_s is not None:
            reason, again_s = self._judge(_LOOP, self._asked, self._asked_s, now_s)
            if reason:
                return f"its event loop {reason}", None
            due_s = max(self._asked_s, self._since_s) + self._limit_s
            again.append(again_s if again_s is not None else due_s + _AFTER_S)
        return "", min((time_s for time_s in again if time_s is not None), default=None)

    def _judge(self, who: int, moves: int, due_s: float, now_s: float) -> tuple[str, float | None]:
        late_s = now_s - max(due_s, self._since_s)
        if late_s <= min(OVERDUE_S, self._limit_s / 4):
            self._late.pop(who, None)
            return "", None
        seen_s, before = self._late.get(who, (now_s, moves))
        if before != moves:
            seen_s = now_s
        self._late[who] = seen_s, moves
        if late_s > self._limit_s and now_s - seen_s >= MOVING_S:
            return f"has stood still for {late_s:.1f} s", None
        return "", now_s + max(self._limit_s - late_s, MOVING_S) + _AFTER_S
