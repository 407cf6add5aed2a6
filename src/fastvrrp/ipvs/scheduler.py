"""Checks that run in the event loop: machine, probe, and one heap and one timer for all that wait.

What an attempt costs here is a heap operation and a few attributes: news is told only when there is
some. A probe ends its attempts itself. One that does not, because something in it went wrong that
should not have, is given up by a look at all attempts every few seconds: no check waits for ever.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
import math
import random
from collections.abc import Callable
from typing import cast

from fastvrrp import _core
from fastvrrp.config.base import NS_PER_S
from fastvrrp.config.servers import Check, FileCheck, HttpCheck, MiscCheck
from fastvrrp.ipvs.checks.base import FollowingProbe, Outcome, Probe, Verdict, detail
from fastvrrp.ipvs.checks.request import EXCHANGE_WAITS
from fastvrrp.ipvs.reports import STATES, Kind, Progress, Report, Tell

START_BATCH = 64  # attempts begun in one turn of the event loop; sockets are served in between
LOOK_S = 5.0  # between looks for attempts that do not end
SPARE_NS = 10 * NS_PER_S  # beyond all timeouts of an attempt
STALE_FACTOR, STALE_SPARE = 2, 64  # heap entries, of which one per check is not stale
NS_PER_MS = 1_000_000

MakeProbe = Callable[[Check], Probe]

log = logging.getLogger(__name__)


class Scheduled:
    """One check that runs; see `reports.Running`."""

    __slots__ = (
        "_again",
        "_at_ns",
        "_attempts",
        "_began_ns",
        "_check",
        "_complained",
        "_following",
        "_from_start",
        "_local",
        "_machine",
        "_outcome",
        "_overdue",
        "_patience_ns",
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
        self._check = check
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
        self._patience_ns = _longest_ns(check) + SPARE_NS
        self._overdue = False  # so the last look found it
        self._complained = False
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
        self._overdue = False
        self._began_ns = now
        self._scheduler.begun(self)
        try:
            self._probe.start(self._machine.step, self._done)
        except Exception as error:
            self._give_up(f"internal error: {error!r}", error)

    def look(self, now: int) -> None:
        """Whether the attempt under way should be over for long. Two looks say so: after a pause
        of this process its answer may be here, and is read between them."""
        if now - self._began_ns < self._patience_ns:
            return
        if self._overdue:
            self._give_up("internal error: the attempt does not end", None)
        self._overdue = True

    def _give_up(self, text: str, error: Exception | None) -> None:
        """By no fault of the server's, as far as is known; but nothing shows that it is well. The
        next attempt is another probe's: what this one remembers may be wrong."""
        if not self._complained:
            self._complained = True
            log.error("%s: %s", _name(self._check), text, exc_info=error)
        try:
            self._probe.cancel()
        except Exception as problem:
            log.debug("%s: %r while giving up", _name(self._check), problem)
        if self._following is not None:
            self._following.follow(None)
        self._probe = self._scheduler.make_probe(self._check)
        self._following = _following(self._probe)
        if self._following is not None:
            self._following.follow(self._followed)
        latency_ns = self._scheduler.clock() - self._began_ns
        self._done(Outcome(Verdict.DOWN, detail(text), latency_ns))

    def _drop(self) -> None:
        self._probe.cancel()
        self._running = False
        self._scheduler.over(self)
        self._scheduler.disarm(self)

    def _done(self, outcome: Outcome) -> None:
        if not self._running:
            return  # of one that was given up
        now = self._scheduler.clock()
        machine = self._machine
        first = machine.state == _core.CHECK_UNKNOWN
        failures = machine.failures
        due, change = machine.result(outcome.verdict, self._began_ns if self._from_start else now)
        self._outcome = outcome
        self._at_ns = now
        self._attempts += 1
        self._scheduler.arm(self, now if self._again else max(due, now))
        self._running = False
        self._scheduler.over(self)
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


def _longest_ns(check: Check) -> int:
    """How long an attempt of any probe may take by its own timeouts, at most."""
    if isinstance(check, FileCheck):
        return 0
    timeout_ns = check.timeout_ns if isinstance(check, MiscCheck) else check.connection.timeout_ns
    return EXCHANGE_WAITS * timeout_ns


def _name(check: Check) -> str:
    """For our own complaints, which are about no virtual server: several may share the check."""
    kind = check.__struct_config__.tag
    if isinstance(check, FileCheck):
        return f"{kind} of {check.track_file}"
    if isinstance(check, MiscCheck):
        return f"{kind} of {' '.join(check.command.argv)}"
    return f"{kind} of [{check.connection.address}]:{check.connection.port}"


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
        self.make_probe = make_probe
        self._loop = loop
        self._dice = dice
        self._heap: list[tuple[int, int, int, Scheduled]] = []  # due, number, token, check
        self._number = 0  # orders what is due at the same moment; nothing compares checks
        self._count = 0  # checks that run
        self._timer: asyncio.TimerHandle | None = None
        self._timer_ns = _core.NEVER
        self._soon: asyncio.Handle | None = None
        self._under_way: set[Scheduled] = set()
        self._looking: asyncio.TimerHandle | None = None

    def begin(self, check: Check, warmup_ns: int, suspended: bool, tell: Tell) -> Scheduled:
        """See `reports.Driver`."""
        one = Scheduled(self, check, self.make_probe(check), warmup_ns, tell)
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
        if self._looking is not None:
            self._looking.cancel()
            self._looking = None

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

    def begun(self, one: Scheduled) -> None:
        """An attempt is under way."""
        self._under_way.add(one)
        if self._looking is None:
            self._looking = self._loop.call_later(LOOK_S, self._look)

    def over(self, one: Scheduled) -> None:
        self._under_way.discard(one)

    def _look(self) -> None:
        self._looking = None
        now = self.clock()
        for one in list(self._under_way):
            one.look(now)
        if self._under_way and self._looking is None:
            self._looking = self._loop.call_later(LOOK_S, self._look)

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
