"""Checks that run in the event loop: machine, probe, and one heap and one timer for all that wait.

What an attempt costs here is a heap operation and a few attributes: news is told only when there is
some.
"""

from __future__ import annotations

import asyncio
import heapq
import math
import random
from collections.abc import Callable
from typing import cast

from fastvrrp import _core
from fastvrrp.config.servers import Check, HttpCheck, MiscCheck
from fastvrrp.ipvs.checks.base import FollowingProbe, Outcome, Probe, Verdict
from fastvrrp.ipvs.reports import STATES, Kind, Progress, Report, Tell

START_BATCH = 64  # attempts begun in one turn of the event loop; sockets are served in between
STALE_FACTOR, STALE_SPARE = 2, 64  # heap entries, of which one per check is not stale
NS_PER_MS = 1_000_000

MakeProbe = Callable[[Check], Probe]


class Scheduled:
    """One check that runs; see `reports.Running`."""

    __slots__ = (
        "_again",
        "_at_ns",
        "_attempts",
        "_began_ns",
        "_following",
        "_from_start",
        "_local",
        "_machine",
        "_outcome",
        "_probe",
        "_running",
        "_said",
        "_scheduler",
        "_tell",
        "due_ns",
        "token",
    )

    def __init__(
        self, scheduler: Scheduler, check: Check, probe: Probe, warmup_ns: int, tell: Tell
    ) -> None:
        schedule = check.schedule
        self._scheduler = scheduler
        self._probe = probe
        self._tell = tell
        self._following = _following(probe)
        # a script that takes long does not make its period longer
        self._from_start = isinstance(check, MiscCheck)
        self._machine = _core.Check(
            delay_loop_ns=schedule.delay_loop_ns,
            delay_before_retry_ns=schedule.delay_before_retry_ns,
            warmup_ns=warmup_ns,
            retry=0 if self._following is not None else schedule.retry,
            steps=probe.steps,
            fast_recovery=isinstance(check, HttpCheck) and check.fast_recovery,
            http=isinstance(check, HttpCheck),
        )
        self._running = False
        self._again = False  # the outcome changed while an attempt was under way
        self._local = False  # the last attempt was impossible
        self._began_ns = 0
        self._at_ns = 0
        self._attempts = 0
        self._outcome: Outcome | None = None
        self._said: tuple[int, int | None] = (0, None)  # weight, weight_is of the last success
        self.due_ns = _core.NEVER
        self.token = 0  # of its place in the heap; others are stale

    def first(self, suspended: bool) -> None:
        """Begin to wait for the first attempt."""
        now = self._scheduler.clock()
        if self._following is not None:
            self._following.follow(self._followed)
        if suspended:
            self._machine.suspend()
        elif self._following is not None:
            self._scheduler.arm(self, now)  # what it looks at is here and never waits
        else:
            self._scheduler.arm(self, self._machine.first(now, self._scheduler.random()))

    def suspend(self) -> None:
        """See `reports.Running`."""
        self._machine.suspend()
        self._drop()

    def resume(self) -> None:
        """See `reports.Running`."""
        now = self._scheduler.clock()
        due = self._machine.resume(now, self._scheduler.random())
        self._scheduler.arm(self, now if self._following is not None else due)

    def end(self) -> None:
        """See `reports.Running`."""
        if self._following is not None:
            self._following.follow(None)
        self._drop()
        self._scheduler.ended()

    def progress(self) -> Progress:
        """See `reports.Running`."""
        machine = self._machine
        return Progress(
            STATES[machine.state],
            machine.suspended,
            self._outcome,
            self._at_ns,
            self.due_ns,
            machine.failures,
            self._attempts,
        )

    def attempt(self, now: int) -> None:
        """Begin one: it is due."""
        self.due_ns = _core.NEVER
        self._running = True
        self._again = False
        self._began_ns = now
        self._probe.start(self._machine.step, self._done)

    def _drop(self) -> None:
        self._probe.cancel()
        self._running = False
        self._scheduler.disarm(self)

    def _done(self, outcome: Outcome) -> None:
        now = self._scheduler.clock()
        machine = self._machine
        first = machine.state == _core.CHECK_UNKNOWN
        failures = machine.failures
        self._running = False
        due, change = machine.result(outcome.verdict, self._began_ns if self._from_start else now)
        self._outcome = outcome
        self._at_ns = now
        self._attempts += 1
        self._scheduler.arm(self, now if self._again else max(due, now))
        up = machine.state == _core.CHECK_UP
        said = self._said
        local, self._local = self._local, outcome.verdict is Verdict.LOCAL
        if outcome.verdict is Verdict.UP:
            self._said = (outcome.weight, outcome.weight_is)
        if change:
            kind = Kind.STATE
        elif self._said != said:
            kind = Kind.WEIGHT
        elif self._local and not local:
            kind = Kind.LOCAL
        elif outcome.verdict is Verdict.DOWN and up:
            kind = Kind.FAILURE
        else:
            return
        self._tell(Report(kind, up, first, failures, outcome))

    def _followed(self) -> None:
        """What the probe looks at has changed."""
        if self._running:
            self._again = True
        elif not self._machine.suspended:
            self._scheduler.arm(self, self._scheduler.clock())


_follows: dict[type[Probe], bool] = {}


def _following(probe: Probe) -> FollowingProbe | None:
    """The probe, if it tells of itself. Asking a protocol is slow, so it is asked once a class."""
    kind = type(probe)
    if kind not in _follows:
        _follows[kind] = isinstance(probe, FollowingProbe)
    return cast(FollowingProbe, probe) if _follows[kind] else None


class Scheduler:
    """See the module; a `reports.Driver`. Belongs to the thread of `loop`."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        make_probe: MakeProbe,
        *,
        clock: Callable[[], int],
        dice: random.Random,
    ) -> None:
        self.clock = clock
        self._loop = loop
        self._make_probe = make_probe
        self._dice = dice
        self._heap: list[tuple[int, int, int, Scheduled]] = []  # due, number, token, check
        self._number = 0  # orders what is due at the same moment; nothing compares checks
        self._count = 0  # checks that run
        self._timer: asyncio.TimerHandle | None = None
        self._timer_ns = _core.NEVER
        self._soon: asyncio.Handle | None = None

    def begin(self, check: Check, warmup_ns: int, suspended: bool, tell: Tell) -> Scheduled:
        """See `reports.Driver`."""
        one = Scheduled(self, check, self._make_probe(check), warmup_ns, tell)
        self._count += 1
        one.first(suspended)
        return one

    def stop(self) -> None:
        """See `reports.Driver`."""
        self._heap.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._soon is not None:
            self._soon.cancel()
            self._soon = None

    # ------------------------------------------------------------------ for Scheduled

    def random(self) -> int:
        return self._dice.getrandbits(32)

    def arm(self, one: Scheduled, due_ns: int) -> None:
        """Its next attempt is due then, and at no other time."""
        one.token += 1
        one.due_ns = due_ns
        self._number += 1
        heapq.heappush(self._heap, (due_ns, self._number, one.token, one))
        if len(self._heap) > STALE_FACTOR * self._count + STALE_SPARE:
            self._heap = [item for item in self._heap if item[2] == item[3].token]
            heapq.heapify(self._heap)
        self._rearm()

    def disarm(self, one: Scheduled) -> None:
        one.token += 1
        one.due_ns = _core.NEVER

    def ended(self) -> None:
        self._count -= 1

    # ------------------------------------------------------------------ time

    def _rearm(self) -> None:
        """The timer of the event loop fires at the first deadline, and not before it."""
        due = self._heap[0][0]
        if self._soon is not None or (self._timer is not None and due >= self._timer_ns):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_ns = due
        # loops know milliseconds, and round
        delay_ms = math.ceil(max(due - self.clock(), 0) / NS_PER_MS)
        self._timer = self._loop.call_later(delay_ms / 1000, self._fire)

    def _fire(self) -> None:
        self._timer = None
        self._soon = None
        now = self.clock()
        begun = 0
        while self._heap and self._heap[0][0] <= now:
            if begun == START_BATCH:
                self._soon = self._loop.call_soon(self._fire)
                return
            _, _, token, one = heapq.heappop(self._heap)
            if token == one.token:
                begun += 1
                one.attempt(now)
        if self._heap:
            self._rearm()
