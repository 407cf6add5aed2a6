"""An event loop with virtual time, and probes that answer as they are told."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from typing import Any

from fastvrrp.config.servers import Check
from fastvrrp.ipvs.checks.base import Done, Outcome, Verdict

MS = 1_000_000
S = 1_000_000_000

UP = Outcome(Verdict.UP, "connected", 1 * MS)
DOWN = Outcome(Verdict.DOWN, "connection refused", 2 * MS)
LOCAL = Outcome(Verdict.LOCAL, "no buffer space", 0)


class Handle:
    def __init__(self, callback: Callable[..., None], args: tuple[Any, ...]) -> None:
        self.callback = callback
        self.args = args
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class Loop:
    """The part of an event loop that the runner uses; time moves only in `run`."""

    def __init__(self) -> None:
        self.now_ns = 1000 * S
        self.calls = 0
        self._number = itertools.count()
        self._queue: list[tuple[int, int, Handle]] = []

    def clock(self) -> int:
        return self.now_ns

    def call_later(self, delay_s: float, callback: Callable[..., None], *args: Any) -> Handle:
        assert delay_s >= 0
        handle = Handle(callback, args)
        due = self.now_ns + round(delay_s * S)
        heapq.heappush(self._queue, (due, next(self._number), handle))
        return handle

    def call_soon(self, callback: Callable[..., None], *args: Any) -> Handle:
        return self.call_later(0, callback, *args)

    def run(self, duration_ns: int) -> None:
        """Everything that is due within this time, each at its moment."""
        end = self.now_ns + duration_ns
        while self._queue and self._queue[0][0] <= end:
            due, _, handle = heapq.heappop(self._queue)
            self.now_ns = max(self.now_ns, due)
            if not handle.cancelled:
                self.calls += 1
                handle.callback(*handle.args)
        self.now_ns = end

    @property
    def timers(self) -> int:
        return sum(not handle.cancelled for _, _, handle in self._queue)


class FakeProbe:
    """Answers after `takes_ns` with what `answers` says; with None never."""

    steps = 1

    def __init__(self, loop: Loop, check: Check) -> None:
        self.loop = loop
        self.check = check
        self.takes_ns = 10 * MS
        self.answers: Callable[[int], Outcome] | None = lambda step: UP
        self.begun: list[tuple[int, int]] = []  # (when, step)
        self.cancelled = 0
        self._handle: Handle | None = None

    @property
    def under_way(self) -> bool:
        return self._handle is not None

    def start(self, step: int, done: Done) -> None:
        assert self._handle is None
        assert 0 <= step < self.steps
        self.begun.append((self.loop.now_ns, step))
        if self.answers is None:
            self._handle = Handle(done, ())
            return
        self._handle = self.loop.call_later(self.takes_ns / S, self._end, done, self.answers(step))

    def _end(self, done: Done, outcome: Outcome) -> None:
        self._handle = None
        done(outcome)

    def cancel(self) -> None:
        self.cancelled += 1
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None


class FollowingFake(FakeProbe):
    """FILE_CHECK's kind."""

    changed: Callable[[], None] | None = None

    def follow(self, changed: Callable[[], None] | None) -> None:
        self.changed = changed
