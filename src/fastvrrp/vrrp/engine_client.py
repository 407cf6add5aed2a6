"""The engine as the event loop sees it: mirrors of the instances, and events in their order.

The engine's events are hints, its status is the truth: a gap in an instance's sequence, or lost
events, make the client read the status again and report the transition that it missed, so every
consumer sees an unbroken chain of states that ends with the present one.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Protocol

import msgspec

from fastvrrp import _core
from fastvrrp._core import Mirror, Mirrors
from fastvrrp.supervisor.ratelimit import RateLimit
from fastvrrp.vrrp.shards import Engine

log = logging.getLogger(__name__)

EVENTS_PER_TURN = 512  # then other callbacks of the loop get their turn
POLL_LIMIT_S = 0.05
BURST_EVENTS = 16  # within a pause are the beginning of a burst
BURST_PAUSE_S = 0.025  # notify scripts of a takeover wait as long
STATE_ENTERED = _core.EV_STATE
_NOTED = frozenset((_core.EV_PRIORITY, _core.EV_MASTER_CHANGED))  # in mirrors


class Transition(msgspec.Struct, frozen=True, gc=False):
    """One state change of an instance, seen in an event or found in a status."""

    slot: int
    old: int
    new: int
    reason: int
    priority: int
    now_ns: int
    fault: int  # the reasons for FAULT at that time
    first: bool  # out of INIT for the first time
    seen: bool = True  # False: reconstructed after events were lost


class Listener(Protocol):
    """Who hears of it. Called in the loop, in the order of the engine's events."""

    def transition(self, change: Transition) -> None: ...
    def event(self, event: _core.Event) -> None:
        """Everything but EV_STATE, EV_COMMITTED and EV_STOPPED."""

    def committed(self, epoch: int) -> None: ...
    def resynced(self) -> None:
        """Events were lost; the transitions are reported, other events are gone."""

    def drained(self) -> None:
        """A batch of events is over: a good moment to send what was gathered."""


class EngineClient:
    """Reads an engine's events into mirrors and a listener. Belongs to one event loop."""

    def __init__(
        self,
        engine: Engine,
        *,
        on_burst: Callable[[], None] = lambda: None,
        on_calm: Callable[[], None] = lambda: None,
    ) -> None:
        """`on_burst` is called when more events come than are delivered at once, `on_calm` when
        the last of these were."""
        self.engine = engine
        self._on_burst = on_burst
        self._on_calm = on_calm
        self.overflows = 0
        self._limit = RateLimit(log)
        self._listener: Listener | None = None
        self._mirrors = Mirrors()
        self._window = (0.0, 0)  # when it began, and events since: a window is as long as a pause
        self._paused: asyncio.Handle | None = None
        self._epoch = 0
        self._committed = 0
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []
        self._stopped: asyncio.Future[None] | None = None
        self._failure: Exception | None = None  # of a listener, in the present batch
        self._loop: asyncio.AbstractEventLoop | None = None

    # ---------------------------------------------------------------- the loop

    def listen(self, listener: Listener) -> None:
        """Whom to tell. Without a loop attached only `poll` delivers."""
        self._listener = listener

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to deliver events as they come."""
        self._loop = loop
        self._stopped = loop.create_future()
        loop.add_reader(self.engine.fileno(), self._readable)

    def detach(self) -> None:
        """Stop delivering; whoever waits for a commit waits no more."""
        if self._loop is not None:
            self._loop.remove_reader(self.engine.fileno())
            self._loop = None
        if self._paused is not None:
            self._paused.cancel()
            self._paused = None
        for _, future in self._waiting:
            future.cancel()
        self._waiting.clear()

    def poll(self) -> bool:
        """Deliver what has happened up to now, before deciding on something else's report.

        False when there is so much of it that the loop's other callbacks have to run first.
        """
        deadline = time.monotonic() + POLL_LIMIT_S
        while self._drain(EVENTS_PER_TURN) == EVENTS_PER_TURN:
            if time.monotonic() > deadline:
                return False
        return True

    async def catch_up(self) -> None:
        """Deliver what has happened up to now, however much, letting other callbacks run."""
        while True:
            if self.poll():
                return
            await asyncio.sleep(0)

    # ---------------------------------------------------------------- commits

    @property
    def epoch(self) -> int:
        """Of the last commit."""
        return self._epoch

    def commit(self, instances: Sequence[_core.Instance], *, remove: Collection[int] = ()) -> int:
        """One atomic change; returns its epoch. Raises ValueError when nothing was committed."""
        epoch = self._epoch + 1
        fresh = [i.slot for i in instances if self.mirror(i.slot) is None]
        sequences = [self.engine.sequence(slot) for slot in fresh]  # before anybody lives there
        self.engine.commit(list(instances), remove=list(remove), epoch=epoch)
        self._epoch = epoch
        for slot, sequence in sorted(zip(fresh, sequences, strict=True), reverse=True):
            self._mirrors.add(slot, sequence)  # the highest first: there is room for all then
        return epoch

    def forget(self, slot: int) -> None:
        """The instance of a removed slot is gone (its removal is committed)."""
        self._mirrors.drop(slot)

    async def committed(self, epoch: int, timeout_s: float = 10.0) -> None:
        """Return when the engine has committed `epoch`. Raises TimeoutError."""
        if epoch <= self._committed:
            return
        assert self._loop is not None
        future: asyncio.Future[None] = self._loop.create_future()
        self._waiting.append((epoch, future))
        await asyncio.wait_for(future, timeout_s)

    async def stop_instances(self, timeout_s: float) -> bool:
        """Stop them all; whether the engine confirmed that in time."""
        assert self._stopped is not None
        self.engine.stop_instances()
        done, _ = await asyncio.wait({self._stopped}, timeout=timeout_s)
        return bool(done)

    # ---------------------------------------------------------------- mirrors

    def mirror(self, slot: int) -> Mirror | None:
        return self._mirrors.get(slot)

    def state(self, slot: int) -> int:
        """INIT for an unknown slot."""
        return self._mirrors.state(slot)

    def masters(self) -> Iterable[int]:
        """Slots in MASTER."""
        return self._mirrors.in_state(_core.MASTER)

    # ---------------------------------------------------------------- events

    def _readable(self) -> None:
        """A few events are delivered at once. More are a burst (a takeover of many): what follows
        waits, so that reporting does not take a processor from the threads that do the work."""
        assert self._loop is not None
        now = self._loop.time()
        began, count = self._window
        if now - began >= BURST_PAUSE_S:
            began, count = now, 0
        count += self._drain(BURST_EVENTS - count)
        self._window = (began, count)
        if count >= BURST_EVENTS:
            self._loop.remove_reader(self.engine.fileno())
            self._paused = self._loop.call_later(BURST_PAUSE_S, self._resume, 0)
            self._on_burst()

    def _resume(self, count: int) -> None:
        """After a pause: deliver everything, `count` of it in earlier turns of the loop."""
        assert self._loop is not None
        fresh = self._drain(EVENTS_PER_TURN)
        count += fresh
        if fresh == EVENTS_PER_TURN:
            self._paused = self._loop.call_soon(self._resume, count)
        elif count >= BURST_EVENTS:
            self._paused = self._loop.call_later(BURST_PAUSE_S, self._resume, 0)
        else:
            self._paused = None
            self._loop.add_reader(self.engine.fileno(), self._readable)
            self._on_calm()

    def _drain(self, limit: int) -> int:
        """Deliver a batch of at most `limit`; how many there were."""
        assert self._listener is not None
        events = self.engine.events(limit)
        try:
            for event in events:
                if event.kind == STATE_ENTERED:
                    self._state_event(event)
                else:
                    self._deliver(event)
            if len(events) < limit and self.engine.overflowed():
                self._resync()
        finally:
            if events:
                self._call(self._listener.drained)
        if (failure := self._failure) is not None:
            self._failure = None
            self._report(failure)
        return len(events)

    def _call(self, told: Callable[..., None], *arguments: object) -> None:
        """A listener's mistake costs nobody else anything: neither the mirrors and the other
        events of the batch, for an instance that is missing in them would be taken for a backup,
        nor whoever polled. The first of a batch is reported; there may be hundreds alike."""
        try:
            told(*arguments)
        except Exception as error:
            self._failure = self._failure or error

    def _report(self, failure: Exception) -> None:
        if self._loop is None:
            raise failure
        self._loop.call_exception_handler(
            {"message": "an event of the engine could not be told", "exception": failure}
        )

    def _deliver(self, event: _core.Event) -> None:
        assert self._listener is not None
        kind = event.kind
        if kind == _core.EV_COMMITTED:
            self._commit_event(event.a)
        elif kind == _core.EV_STOPPED:
            if self._stopped is not None and not self._stopped.done():
                self._stopped.set_result(None)
        else:
            if kind in _NOTED:
                self._note(event)
            self._call(self._listener.event, event)

    def _note(self, event: _core.Event) -> None:
        mirror = self.mirror(event.slot)
        if mirror is None:
            return
        if event.kind == _core.EV_PRIORITY:
            mirror.priority = event.b
        else:
            mirror.master_address = event.address
            mirror.master_priority = event.a

    def _state_event(self, event: _core.Event) -> None:
        _, slot, sequence, now_ns, old, new, fault, reason, priority, _ = event
        known = self._mirrors.sequence(slot)
        if known < 0 or sequence <= known:
            return  # of a forgotten slot, or already known from a status
        if sequence > known + 1 and self._mirrors.state(slot) != old:
            # The transition into `old` is lost; that it happened is certain.
            self._limit.log("lost", logging.WARNING, "events of slot %d were lost", slot)
            self._enter(slot, sequence - 1, old, 0, priority, now_ns, fault, False)
        self._enter(slot, sequence, new, reason, priority, now_ns, fault, True)

    def _enter(
        self,
        slot: int,
        sequence: int,
        new: int,
        reason: int,
        priority: int,
        now_ns: int,
        fault: int,
        seen: bool,
    ) -> None:
        assert self._listener is not None
        old, first = self._mirrors.enter(slot, sequence, new, reason, priority, now_ns)
        change = Transition(slot, old, new, reason, priority, now_ns, fault, first, seen)
        self._call(self._listener.transition, change)

    def _commit_event(self, epoch: int) -> None:
        assert self._listener is not None
        self._committed = max(self._committed, epoch)
        ready = [f for e, f in self._waiting if e <= self._committed]
        self._waiting = [(e, f) for e, f in self._waiting if e > self._committed]
        for future in ready:
            if not future.done():
                future.set_result(None)
        self._call(self._listener.committed, self._committed)

    def _resync(self) -> None:
        """Events were lost: read every status and report what differs from the mirrors."""
        assert self._listener is not None
        self.overflows += 1
        self._limit.log(
            "resync",
            logging.WARNING,
            "the engine's events came faster than they were read: reading all states",
        )
        for slot in self._mirrors.slots():
            mirror = self._mirrors.get(slot)
            if mirror is None:
                continue  # somebody who was told of another one has forgotten it
            try:
                status = self.engine.status(slot)
            except KeyError:
                continue  # committed as removed; the confirmation follows
            if status.sequence <= mirror.sequence:
                continue
            mirror.sequence = status.sequence
            if status.state != mirror.state:
                self._enter(
                    slot,
                    status.sequence,
                    status.state,
                    status.reason,
                    status.effective_priority,
                    status.since_ns,
                    status.fault,
                    False,
                )
            mirror.priority = status.effective_priority
            mirror.master_address = status.master_address
            mirror.master_priority = status.master_priority
        if self._epoch > self._committed:
            # The confirmation may be among what was lost; an empty commit is confirmed after it.
            self._epoch += 1
            self.engine.commit([], remove=[], epoch=self._epoch)
        self._call(self._listener.resynced)
