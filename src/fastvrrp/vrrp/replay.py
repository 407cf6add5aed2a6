"""Putting back what somebody took from a master: at once, but not for ever at full speed.

Two daemons that fight over an address must not keep the kernel and the LAN busy, so after
`BURST` replays of an instance within a second every further one waits, twice as long each time,
until nothing was taken for a while.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Container

import msgspec

log = logging.getLogger(__name__)

BURST = 10  # replays of one instance per second before it has to wait
GATHER_S = 0.005  # deletions this close together are answered by one replay
BACKOFF_S = (1.0, 5.0)  # first and longest wait: meanwhile the address is nowhere
QUIET_S = 10.0  # when nothing is taken for this long after a replay, all is forgotten


class _History(msgspec.Struct, eq=False):
    recent: deque[float] = msgspec.field(default_factory=deque)
    last: float = 0.0  # loop time of the latest replay
    wait_s: float = 0.0  # of the latest wait; 0: no need to wait
    timer: asyncio.TimerHandle | None = None


class Replays:
    """Replays by instance name. `is_needed` is asked again before one that had to wait."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        replay: Callable[[str], None],
        is_needed: Callable[[str], bool],
    ) -> None:
        self._loop = loop
        self._replay = replay
        self._is_needed = is_needed
        self._histories: dict[str, _History] = {}

    def request(self, name: str) -> None:
        """Something of this master's is missing."""
        history = self._histories.setdefault(name, _History())
        if history.timer is not None:
            return
        now = self._loop.time()
        recent = history.recent
        if now - history.last > QUIET_S:
            history.wait_s = 0.0
        while recent and now - recent[0] > 1.0:
            recent.popleft()
        if len(recent) >= BURST or history.wait_s:
            before = history.wait_s
            history.wait_s = min(max(2 * before, BACKOFF_S[0]), BACKOFF_S[1])
            if history.wait_s != before:  # the longest is told once
                text = "(%s) what it needs keeps being removed: next attempt in %g s"
                log.warning(text, name, history.wait_s)
            self._later(name, history, history.wait_s)
        elif recent and now - recent[-1] < GATHER_S:
            self._later(name, history, GATHER_S)
        else:
            self._play(name, history)

    def retain(self, names: Container[str]) -> None:
        """Forget everybody else."""
        for name in [name for name in self._histories if name not in names]:
            history = self._histories.pop(name)
            if history.timer is not None:
                history.timer.cancel()

    def close(self) -> None:
        for history in self._histories.values():
            if history.timer is not None:
                history.timer.cancel()
        self._histories.clear()

    def _later(self, name: str, history: _History, delay_s: float) -> None:
        history.timer = self._loop.call_later(delay_s, self._due, name, history)

    def _due(self, name: str, history: _History) -> None:
        history.timer = None
        if self._is_needed(name):
            self._play(name, history)

    def _play(self, name: str, history: _History) -> None:
        history.last = self._loop.time()
        history.recent.append(history.last)
        self._replay(name)
