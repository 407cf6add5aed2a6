"""Running checks: each distinct one once, whatever number of real servers it is for.

Who wants to know of a check subscribes. Checks of equal identity share one machine (`_core.Check`)
and one probe; a reload that changes neither the check nor the wish to know leaves it running.
All waiting is one heap and one timer of the event loop. What an attempt costs here is a heap
operation and a few attributes: news is told only when there is some.
"""

from __future__ import annotations

import asyncio
import enum
import functools
import heapq
import logging
import math
import random
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Generic, NamedTuple, TypeVar

from fastvrrp import _core
from fastvrrp.config.base import NS_PER_S
from fastvrrp.config.servers import Check, HttpCheck, MiscCheck
from fastvrrp.ipvs.checks.base import FollowingProbe, Outcome, Probe, Verdict
from fastvrrp.ipvs.identity import identity

log = logging.getLogger(__name__)

NEW_EVERY_NS = 1_000_000  # between the first attempts of checks that a reload adds
START_BATCH = 64  # attempts begun in one turn of the event loop; sockets are served in between
STALE_FACTOR, STALE_SPARE = 2, 64  # heap entries, of which one per check is not stale
NS_PER_MS = 1_000_000

S = TypeVar("S")  # names a subscriber; hashable


class Subscription(NamedTuple):
    """What a subscriber wants."""

    check: Check
    suspended: bool = False  # ha_suspend: the virtual address is elsewhere


class Kind(enum.Enum):
    """What a Report is about."""

    STATE = "state"  # the check is up or down now, and was not before
    WEIGHT = "weight"  # still up, but it says another weight
    FAILURE = "failure"  # an attempt failed and changed nothing: told where log_all_failures asks
    LOCAL = "local"  # first attempt of a series that this host itself made impossible


class Report(NamedTuple):
    """News of a check."""

    kind: Kind
    up: bool  # the state now; False before there is one
    first: bool  # there was no state before
    retries: int  # attempts that had failed before this one, and did not count
    outcome: Outcome  # of the attempt that made the news


class View(NamedTuple):
    """A check as status shows it."""

    state: str  # unknown, up, down, suspended
    outcome: Outcome | None  # of the last attempt
    at_ns: int  # CLOCK_MONOTONIC, when that ended; 0: never
    due_ns: int  # CLOCK_MONOTONIC, of the next attempt; NEVER while one runs or it is suspended
    failures: int  # in a row, that did not count yet
    attempts: int
    subscribers: int


Listener = Callable[[S, Report], None]
MakeProbe = Callable[[Check], Probe]

STATES = {
    _core.CHECK_UNKNOWN: "unknown",
    _core.CHECK_UP: "up",
    _core.CHECK_DOWN: "down",
}


class _Entry(Generic[S]):
    """One check that runs."""

    __slots__ = (
        "again",
        "at_ns",
        "attempts",
        "began_ns",
        "check",
        "decided",
        "done",
        "due_ns",
        "following",
        "from_start",
        "local",
        "machine",
        "outcome",
        "probe",
        "running",
        "said",
        "subscribers",
        "token",
    )

    def __init__(self, check: Check, probe: Probe) -> None:
        schedule = check.schedule
        self.check = check
        self.probe = probe
        self.following = probe if isinstance(probe, FollowingProbe) else None
        self.machine = _core.Check(
            delay_loop_ns=schedule.delay_loop_ns,
            delay_before_retry_ns=schedule.delay_before_retry_ns,
            warmup_ns=schedule.warmup_ns,
            retry=0 if self.following is not None else schedule.retry,
            steps=probe.steps,
            fast_recovery=isinstance(check, HttpCheck) and check.fast_recovery,
            http=isinstance(check, HttpCheck),
        )
        # a script that takes long does not make its period longer
        self.from_start = isinstance(check, MiscCheck)
        self.subscribers: dict[S, Subscription] = {}
        self.done: Callable[[Outcome], None] = _never
        self.due_ns = _core.NEVER
        self.token = 0  # of its place in the heap; others are stale
        self.running = False
        self.again = False  # the outcome changed while an attempt was under way
        self.local = False
        self.began_ns = 0
        self.at_ns = 0
        self.attempts = 0
        self.outcome: Outcome | None = None  # of the last attempt
        self.decided: Outcome | None = None  # of the one that made the state
        self.said: tuple[int, int | None] = (0, None)  # weight, weight_is of the last success

    @property
    def wanted(self) -> bool:
        return not all(s.suspended for s in self.subscribers.values())

    def known(self) -> Report | None:
        """For somebody who comes later: the state, None before there is one."""
        if self.decided is None:
            return None
        weight, weight_is = self.said
        outcome = self.decided._replace(weight=weight, weight_is=weight_is)
        return Report(Kind.STATE, self.machine.state == _core.CHECK_UP, True, 0, outcome)


def _never(outcome: Outcome) -> None:
    raise AssertionError("an attempt ended before any began")


class Checks(Generic[S]):
    """See the module. Belongs to the thread of `loop`.

    `listener` is called once per subscriber and piece of news, from the event loop or from within
    `change`; it must not call this object's methods other than `view`.
    """

    def __init__(
        self,
        *,
        loop: asyncio.AbstractEventLoop,
        make_probe: MakeProbe,
        listener: Listener[S],
        clock: Callable[[], int] = time.monotonic_ns,
        dice: random.Random | None = None,
    ) -> None:
        self._loop = loop
        self._make_probe = make_probe
        self._listener = listener
        self._clock = clock
        self._dice = dice or random.Random()
        self._entries: dict[Check, _Entry[S]] = {}
        self._of: dict[S, _Entry[S]] = {}
        self._heap: list[tuple[int, int, int, _Entry[S]]] = []  # due, number, token, entry
        self._number = 0  # orders what is due at the same moment; nothing compares entries
        self._timer: asyncio.TimerHandle | None = None
        self._timer_ns = _core.NEVER
        self._soon: asyncio.Handle | None = None

    def __len__(self) -> int:
        """How many distinct checks run."""
        return len(self._entries)

    # ------------------------------------------------------------------ who wants what

    def change(self, add: Mapping[S, Subscription], remove: Iterable[S] = ()) -> None:
        """Subscribe and unsubscribe. Who is in both keeps its check if that is the same.

        The first checks start a second from now, plus a random part of `warmup` so that thousands
        do not fire together. Those that are new while others run are what somebody waits for: they
        start within a second, or a longer part of their `warmup` if they are many. Who subscribes
        to a check that has a state already hears of it within this call.
        """
        now = self._clock()
        begin = not self._entries
        new: list[_Entry[S]] = []
        news: list[tuple[S, Report]] = []
        left: list[_Entry[S]] = []
        gone = set(remove).difference(add)
        for subscriber, subscription in add.items():
            old = self._of.get(subscriber)
            key = identity(subscription.check)
            entry = self._entries.get(key) or self._make(key, new)
            entry.subscribers[subscriber] = subscription
            self._of[subscriber] = entry
            if old is not entry:
                if old is not None:
                    del old.subscribers[subscriber]
                    left.append(old)
                report = entry.known()
                if report is not None:
                    news.append((subscriber, report))
            self._settle(entry, now)
        self._first(new, now, begin)
        for subscriber in gone:
            old = self._of.pop(subscriber, None)
            if old is not None:
                del old.subscribers[subscriber]
                left.append(old)
        for entry in left:
            if entry.subscribers:
                self._settle(entry, now)
            elif self._entries.pop(entry.check, None) is not None:
                self._end(entry)
        self._rearm()
        for subscriber, report in news:
            self._listener(subscriber, report)

    def suspend(self, subscribers: Iterable[S], suspended: bool) -> None:
        """ha_suspend: attempts stop when all who want to know are suspended, and states stay.

        Unknown subscribers are ignored.
        """
        now = self._clock()
        for subscriber in subscribers:
            entry = self._of.get(subscriber)
            if entry is None:
                continue
            subscription = entry.subscribers[subscriber]
            if subscription.suspended != suspended:
                entry.subscribers[subscriber] = subscription._replace(suspended=suspended)
                self._settle(entry, now)
        self._rearm()

    def stop(self) -> None:
        """End all attempts. Nothing is told any more."""
        for entry in self._entries.values():
            self._end(entry)
        self._entries.clear()
        self._of.clear()
        self._heap.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._soon is not None:
            self._soon.cancel()
            self._soon = None

    def view(self, subscriber: S) -> View | None:
        """None: no such subscriber."""
        entry = self._of.get(subscriber)
        if entry is None:
            return None
        machine = entry.machine
        state = "suspended" if machine.suspended else STATES[machine.state]
        return View(
            state,
            entry.outcome,
            entry.at_ns,
            _core.NEVER if entry.running else entry.due_ns,
            machine.failures,
            entry.attempts,
            len(entry.subscribers),
        )

    # ------------------------------------------------------------------ entries

    def _make(self, key: Check, new: list[_Entry[S]]) -> _Entry[S]:
        entry = _Entry[S](key, self._make_probe(key))
        entry.done = functools.partial(self._done, entry)
        if entry.following is not None:
            entry.following.follow(functools.partial(self._followed, entry))
        self._entries[key] = entry
        new.append(entry)
        return entry

    def _first(self, new: list[_Entry[S]], now: int, begin: bool) -> None:
        """When new checks are due for the first time."""
        crowd_ns = max(NS_PER_S, len(new) * NEW_EVERY_NS)
        for entry in new:
            if entry.machine.suspended:
                continue
            if entry.following is not None:
                due = now  # what it looks at is here and never waits
            elif begin:
                due = entry.machine.first(now, self._dice.getrandbits(32))
            else:
                spread_ns = min(entry.check.schedule.warmup_ns, crowd_ns)
                due = now + int(self._dice.random() * spread_ns)
            self._arm(entry, due)

    def _end(self, entry: _Entry[S]) -> None:
        entry.token = -1
        if entry.following is not None:
            entry.following.follow(None)
        entry.probe.cancel()
        entry.running = False

    def _settle(self, entry: _Entry[S], now: int) -> None:
        """Suspend or resume, as those who want to know would have it."""
        machine = entry.machine
        if entry.wanted != machine.suspended:
            return
        if not machine.suspended:
            machine.suspend()
            entry.probe.cancel()
            entry.running = False
            self._disarm(entry)
        else:
            due = machine.resume(now, self._dice.getrandbits(32))
            self._arm(entry, now if entry.following is not None else due)

    # ------------------------------------------------------------------ attempts

    def _begin(self, entry: _Entry[S], now: int) -> None:
        entry.due_ns = _core.NEVER
        entry.running = True
        entry.again = False
        entry.began_ns = now
        entry.probe.start(entry.machine.step, entry.done)

    def _done(self, entry: _Entry[S], outcome: Outcome) -> None:
        now = self._clock()
        machine = entry.machine
        first = machine.state == _core.CHECK_UNKNOWN
        failures = machine.failures
        entry.running = False
        due, change = machine.result(outcome.verdict, entry.began_ns if entry.from_start else now)
        entry.outcome = outcome
        entry.at_ns = now
        entry.attempts += 1
        self._arm(entry, now if entry.again else max(due, now))
        self._rearm()
        up = machine.state == _core.CHECK_UP
        said = entry.said
        local, entry.local = entry.local, outcome.verdict is Verdict.LOCAL
        if outcome.verdict is Verdict.UP:
            entry.said = (outcome.weight, outcome.weight_is)
        if change:
            kind = Kind.STATE
            entry.decided = outcome
        elif entry.said != said:
            kind = Kind.WEIGHT
        elif entry.local and not local:
            kind = Kind.LOCAL
        elif outcome.verdict is Verdict.DOWN and up:
            kind = Kind.FAILURE
        else:
            return
        report = Report(kind, up, first, failures, outcome)
        for subscriber, subscription in list(entry.subscribers.items()):
            if kind is not Kind.FAILURE or subscription.check.schedule.log_all_failures:
                self._listener(subscriber, report)

    def _followed(self, entry: _Entry[S]) -> None:
        """What a probe looks at has changed."""
        if entry.running:
            entry.again = True
        elif not entry.machine.suspended:
            self._arm(entry, self._clock())
            self._rearm()

    # ------------------------------------------------------------------ time

    def _arm(self, entry: _Entry[S], due_ns: int) -> None:
        entry.token += 1
        entry.due_ns = due_ns
        if due_ns == _core.NEVER:
            return
        self._number += 1
        heapq.heappush(self._heap, (due_ns, self._number, entry.token, entry))
        if len(self._heap) > STALE_FACTOR * len(self._entries) + STALE_SPARE:
            self._heap = [item for item in self._heap if item[2] == item[3].token]
            heapq.heapify(self._heap)

    def _disarm(self, entry: _Entry[S]) -> None:
        entry.token += 1
        entry.due_ns = _core.NEVER

    def _rearm(self) -> None:
        """The timer of the event loop fires at the first deadline, and not before it."""
        if self._soon is not None or not self._heap:
            return
        due = self._heap[0][0]
        if self._timer is not None:
            if due >= self._timer_ns:
                return
            self._timer.cancel()
        self._timer_ns = due
        # loops know milliseconds, and round
        delay_ms = math.ceil(max(due - self._clock(), 0) / NS_PER_MS)
        self._timer = self._loop.call_later(delay_ms / 1000, self._fire)

    def _fire(self) -> None:
        self._timer = None
        self._soon = None
        now = self._clock()
        begun = 0
        while self._heap and self._heap[0][0] <= now:
            if begun == START_BATCH:
                self._soon = self._loop.call_soon(self._fire)
                return
            _, _, token, entry = heapq.heappop(self._heap)
            if token == entry.token:
                begun += 1
                self._begin(entry, now)
        self._rearm()
