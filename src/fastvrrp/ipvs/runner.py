"""Running checks: each distinct one once, whatever number of real servers it is for.

Who wants to know of a check subscribes. Checks of equal identity share one run; a reload that
changes neither the check nor the wish to know leaves it running. TCP_CHECKs and most HTTP_GETs are
run by the prober (`connects`), all others in the event loop (`scheduler`).
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from typing import Generic, NamedTuple, TypeVar

from fastvrrp import _core
from fastvrrp.config.base import NS_PER_S
from fastvrrp.config.servers import Check
from fastvrrp.ipvs.checks.base import Outcome
from fastvrrp.ipvs.connects import CHECKS_MAX, Connects, takes
from fastvrrp.ipvs.identity import identity
from fastvrrp.ipvs.reports import Driver, Kind, Report, Running
from fastvrrp.ipvs.scheduler import MakeProbe, Scheduler

__all__ = ["Checks", "Kind", "Report", "Subscription", "View"]

NEW_EVERY_NS = 1_000_000  # between the first attempts of checks that a reload adds

log = logging.getLogger(__name__)

S = TypeVar("S")  # names a subscriber; hashable


class Subscription(NamedTuple):
    """What a subscriber wants."""

    check: Check
    suspended: bool = False  # ha_suspend: the virtual address is elsewhere


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


def _tell(listener: Listener[S], subscriber: S, report: Report) -> None:
    try:
        listener(subscriber, report)
    except Exception:  # the others are to hear of it, and of what comes next
        log.exception("news of a check: %s", report.outcome.detail)


class _Entry(Generic[S]):
    """One check that runs, or is about to."""

    __slots__ = ("_listener", "check", "decided", "said", "subscribers", "suspended", "work")

    def __init__(self, check: Check, listener: Listener[S]) -> None:
        self.check = check
        self._listener = listener
        self.work: Running | None = None  # None within `change` only
        self.suspended = False
        self.subscribers: dict[S, Subscription] = {}
        self.decided: Report | None = None  # what made the state
        self.said: tuple[int, int | None] = (0, None)  # weight, weight_is of the last success

    @property
    def unwanted(self) -> bool:
        return all(s.suspended for s in self.subscribers.values())

    def told(self, report: Report) -> None:
        """News of the check: for whoever wants it."""
        if report.kind is Kind.STATE:
            self.decided = report
        if report.up and report.kind in (Kind.STATE, Kind.WEIGHT):
            self.said = (report.outcome.weight, report.outcome.weight_is)
        for subscriber, subscription in list(self.subscribers.items()):
            if report.kind is not Kind.FAILURE or subscription.check.schedule.log_all_failures:
                _tell(self._listener, subscriber, report)

    def known(self) -> Report | None:
        """For somebody who comes later: the state, None before there is one."""
        if self.decided is None:
            return None
        weight, weight_is = self.said
        outcome = self.decided.outcome._replace(weight=weight, weight_is=weight_is)
        return self.decided._replace(first=True, retries=0, outcome=outcome)


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
        prober: _core.Prober | None = None,
        clock: Callable[[], int] = time.monotonic_ns,
        dice: random.Random | None = None,
    ) -> None:
        """Without `prober` everything runs in the event loop. It must be one that was started, and
        is not stopped before `stop`."""
        self._listener = listener
        dice = dice or random.Random()
        self._scheduler = Scheduler(loop, make_probe, clock=clock, dice=dice)
        self._connects = None if prober is None else Connects(loop, prober, dice=dice)
        self._entries: dict[Check, _Entry[S]] = {}
        self._of: dict[S, _Entry[S]] = {}

    def __len__(self) -> int:
        """How many distinct checks run."""
        return len(self._entries)

    def change(self, add: Mapping[S, Subscription], remove: Iterable[S] = ()) -> None:
        """Subscribe and unsubscribe. Who is in both keeps its check if that is the same.

        The first checks start a second from now, plus a random part of `warmup` so that thousands
        do not fire together. Those that are new while others run are what somebody waits for: the
        random part is at most a second, or more if they are many. Who subscribes to a check that
        has a state already hears of it within this call.
        """
        begin = not self._entries
        new: list[_Entry[S]] = []
        news: list[tuple[S, Report]] = []
        touched: list[_Entry[S]] = []
        gone = set(remove).difference(add)
        for subscriber, subscription in add.items():
            old = self._of.get(subscriber)
            key = identity(subscription.check)
            entry = self._entries.get(key)
            if entry is None:
                entry = self._entries[key] = _Entry(key, self._listener)
                new.append(entry)
            else:
                touched.append(entry)
            entry.subscribers[subscriber] = subscription
            self._of[subscriber] = entry
            if old is not entry:
                if old is not None:
                    del old.subscribers[subscriber]
                    touched.append(old)
                report = entry.known()
                if report is not None:
                    news.append((subscriber, report))
        for subscriber in gone:
            old = self._of.pop(subscriber, None)
            if old is not None:
                del old.subscribers[subscriber]
                touched.append(old)
        with nullcontext() if self._connects is None else self._connects.together():
            self._begin(new, begin)
            self._settle_all(touched)
        for subscriber, report in news:
            _tell(self._listener, subscriber, report)

    def _settle_all(self, touched: Iterable[_Entry[S]]) -> None:
        for entry in touched:
            if entry.subscribers:
                self._settle(entry)
            elif self._entries.pop(entry.check, None) is not None and entry.work is not None:
                entry.work.end()

    def suspend(self, subscribers: Iterable[S], suspended: bool) -> None:
        """ha_suspend: attempts stop when all who want to know are suspended, and states stay.

        Unknown subscribers are ignored.
        """
        for subscriber in subscribers:
            entry = self._of.get(subscriber)
            if entry is not None:
                subscription = entry.subscribers[subscriber]
                entry.subscribers[subscriber] = subscription._replace(suspended=suspended)
                self._settle(entry)

    def stop(self) -> None:
        """End all attempts. Nothing is told any more."""
        for entry in self._entries.values():
            if entry.work is not None:
                entry.work.end()
        self._entries.clear()
        self._of.clear()
        self._scheduler.stop()
        if self._connects is not None:
            self._connects.stop()

    def view(self, subscriber: S) -> View | None:
        """None: no such subscriber."""
        entry = self._of.get(subscriber)
        if entry is None or entry.work is None:
            return None
        state, suspended, outcome, at_ns, due_ns, failures, attempts = entry.work.progress()
        shown = "suspended" if suspended else state
        return View(shown, outcome, at_ns, due_ns, failures, attempts, len(entry.subscribers))

    # ------------------------------------------------------------------ details

    def _begin(self, new: list[_Entry[S]], begin: bool) -> None:
        crowd_ns = max(NS_PER_S, len(new) * NEW_EVERY_NS)
        for entry in new:
            warmup_ns = entry.check.schedule.warmup_ns
            if not begin:
                warmup_ns = min(warmup_ns, crowd_ns)
            entry.suspended = entry.unwanted
            driver = self._driver(entry.check)
            entry.work = driver.begin(entry.check, warmup_ns, entry.suspended, entry.told)

    def _driver(self, check: Check) -> Driver:
        connects = self._connects
        if connects is not None and takes(check) and len(connects) < CHECKS_MAX:
            return connects
        return self._scheduler

    def _settle(self, entry: _Entry[S]) -> None:
        """Suspend or resume, as those who want to know would have it."""
        unwanted = entry.unwanted
        if entry.work is None or entry.suspended == unwanted:
            return
        entry.suspended = unwanted
        if unwanted:
            entry.work.suspend()
        else:
            entry.work.resume()
