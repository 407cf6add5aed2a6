"""The ordered script runs of one instance or group, or of one virtual server and its servers.

Every transition's scripts run one after the other, in the order the transitions happened. Unlike
keepalived, which starts them all at once, the last script to run is therefore always that of the
final state. Three rules keep a slow script from turning that into an outdated state:

* A transition that has waited for more than `BEHIND_S` when its turn comes is skipped if a newer
  one of the same subject waits too. The newest of a subject is never skipped.
* A script that keeps a newer transition waiting for `OVERDUE_S` is killed. One that keeps nobody
  waiting may take as long as it likes, up to a day.
* At the end (`stop`) nothing but the STOP scripts runs any more, each for at most a second.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

import msgspec

from fastvrrp.config import model
from fastvrrp.track.runner import Outcome, Runner

log = logging.getLogger(__name__)

BEHIND_S = 5.0
OVERDUE_S = 60.0
LIMIT_S = 24 * 3600
STOP_LIMIT_S = 1.0
PENDING_MAX = 64  # more than that is behind, however young it is


class Call(NamedTuple):
    """One program to run."""

    command: model.Command
    extra_args: tuple[str, ...] = ()


class Item(msgspec.Struct, frozen=True):
    """The scripts of one transition, or of an event that is none (`state` empty)."""

    state: str
    calls: tuple[Call, ...]
    queued_ns: int
    subject: str = ""  # whose state it is, in a queue of several


class ScriptQueue:
    """One queue. Uses no task while it is empty."""

    __slots__ = (
        "_clock",
        "_label",
        "_overdue",
        "_pending",
        "_run",
        "_runner",
        "_stopping",
        "_worker",
        "skipped",
    )

    def __init__(self, label: str, runner: Runner, *, clock: Callable[[], int]) -> None:
        self._label = label
        self._runner = runner
        self._clock = clock
        self._pending: deque[Item] = deque()
        self._worker: asyncio.Task[None] | None = None
        self._run: asyncio.Task[Outcome] | None = None
        self._overdue: asyncio.TimerHandle | None = None
        self._stopping = False
        self.skipped = 0

    @property
    def idle(self) -> bool:
        return self._worker is None

    def put(self, state: str, calls: tuple[Call, ...], subject: str = "") -> None:
        """Queue the scripts of a transition to `state`, or of another event (empty `state`).

        An event whose like is the last thing waiting anyway is not queued again. Ignored after
        `stop`.
        """
        if self._stopping or not calls:
            return
        if not state and self._pending and self._pending[-1].calls == calls:
            return
        self._pending.append(Item(state, calls, self._clock(), subject))
        if len(self._pending) > PENDING_MAX:
            self._skip_to_newest()
        if state and self._run is not None and self._overdue is None:
            self._kill_after(OVERDUE_S)
        self._ensure_worker()

    async def stop(self, calls: tuple[Call, ...]) -> None:
        """Forget what waits, let what runs finish within STOP_LIMIT_S, then run `calls`.

        Nothing is run afterwards.
        """
        if self._stopping:
            return
        self._stopping = True
        self._pending.clear()
        if self._run is not None:
            self._kill_after(STOP_LIMIT_S)
        if calls:
            self._pending.append(Item("STOP", calls, self._clock()))
            self._ensure_worker()
        if self._worker is not None:
            await asyncio.wait({self._worker})

    # ------------------------------------------------------------------ details

    def _ensure_worker(self) -> None:
        if self._worker is None:
            loop = asyncio.get_running_loop()
            self._worker = loop.create_task(self._work(), name=f"notify {self._label}")

    async def _work(self) -> None:
        try:
            while self._pending:
                if self._clock() - self._pending[0].queued_ns > BEHIND_S * model.NS_PER_S:
                    self._skip_to_newest()
                item = self._pending.popleft()
                for call in item.calls:
                    await self._call(call)
                    if self._stopping and item.state != "STOP":
                        break
        finally:
            self._worker = None

    async def _call(self, call: Call) -> None:
        limit_s = STOP_LIMIT_S if self._stopping else LIMIT_S
        self._run = asyncio.get_running_loop().create_task(self._outcome(call, limit_s))
        if not self._stopping and any(item.state for item in self._pending):
            self._kill_after(OVERDUE_S)
        try:
            # Not awaited directly: being killed must not look like the worker being cancelled.
            await asyncio.wait({self._run})
        finally:
            self._run.cancel()
            self._run = None
            if self._overdue is not None:
                self._overdue.cancel()
                self._overdue = None

    async def _outcome(self, call: Call, limit_s: float) -> Outcome:
        result = await self._runner.run(
            call.command, timeout_ns=int(limit_s * model.NS_PER_S), extra_args=call.extra_args
        )
        if not result.ok:
            log.warning("%s: script %s %s", self._label, call.command.argv[0], result)
        return result.outcome

    def _kill_after(self, delay_s: float) -> None:
        if self._overdue is not None:
            self._overdue.cancel()
        loop = asyncio.get_running_loop()
        self._overdue = loop.call_later(delay_s, self._kill)

    def _kill(self) -> None:
        self._overdue = None
        if self._run is not None:
            log.warning("%s: a script is killed, the next one has waited too long", self._label)
            self._run.cancel()

    def _skip_to_newest(self) -> None:
        """Drop what a newer transition of the same subject has made history; other events after
        it stay, the latest only if there are too many."""
        kept: deque[Item] = deque()
        decided: set[str] = set()
        for item in reversed(self._pending):
            if item.subject not in decided:
                kept.appendleft(item)
            if item.state:
                decided.add(item.subject)
        skipped = len(self._pending) - len(kept)
        while len(kept) > PENDING_MAX and not kept[-1].state:
            kept.pop()
        self._pending = kept
        if skipped:
            self.skipped += skipped
            log.warning("%s: %d transitions were too late for their scripts", self._label, skipped)
