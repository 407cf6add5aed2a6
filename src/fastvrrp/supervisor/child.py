"""One life of a child process: spawned, spoken to, watched, collected.

A `Child` is never reused; `keeper.Keeper` decides what follows its end.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
import signal
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from fastvrrp.control.protocol import INTERNAL, UNAVAILABLE, ControlError
from fastvrrp.packets import close_all
from fastvrrp.supervisor import channel, messages, pulse
from fastvrrp.supervisor.held import Part
from fastvrrp.supervisor.spawn import Settings, Spawned
from fastvrrp.supervisor.states import States

log = logging.getLogger(__name__)


class ScriptService(Protocol):
    """Runs scripts for one child until closed; closing kills what still runs."""

    async def close(self) -> None: ...


class ChildGone(Exception):
    """The child ended before it answered."""


class Shortage(Exception):
    """There is no memory or descriptor for what the child should get; it has got nothing."""


class Child:
    """A running child, and all that `spawn` made for it but the socket for its scripts.

    `on_message` gets what the child says of itself (Ready, States, Summary, Event, Stopping,
    HandedOver, Stopped); the rest is answered here.
    `exited` resolves to the return code (negative: the signal that killed it) once the process
    is collected and everything it had sent was delivered.
    """

    def __init__(
        self,
        spawned: Spawned,
        settings: Settings,
        on_message: Callable[[messages.AnyMessage], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._process = spawned.process
        self._settings = settings
        self._title = settings.role.title
        self._on_message = on_message
        self._ids = itertools.count(1)
        self._calls: dict[int, asyncio.Future[messages.Reply]] = {}
        self._configures: dict[int, asyncio.Future[messages.Configured]] = {}
        self._killed_for = ""
        self.pid = spawned.process.pid
        self.stopped = False  # it said that it undid everything
        self._states = States()
        self.exited: asyncio.Future[int] = self._loop.create_future()
        self._configured = False
        self._ask_s = settings.ask_s
        self._asked_s = 0.0  # loop time of the last Ping, or of a configuration that was taken
        self._page = spawned.page
        self._alarm = spawned.alarm
        self._loop.add_reader(self._alarm, self._rung)
        self._watch = pulse.Watch(settings.hang_limit_s, settings.role.worker)
        self._look_handle: asyncio.TimerHandle | None = None
        self._ending: asyncio.TimerHandle | None = None
        self._pidfd = spawned.pidfd
        self._loop.add_reader(self._pidfd, self._collect)
        self._channel = channel.Channel(spawned.channel, self._received, self._broken)

    # ---------------------------------------------------------------- requests

    async def configure(self, configuration: Part, epoch: int) -> Sequence[str]:
        """Hand over a configuration; returns what changed, for people.

        Raises ChildGone, Shortage, or ValueError with the child's words when it refused; also if
        what is kept of `configuration` is damaged.
        """
        self._must_live()
        try:
            fd = channel.sealed_memfd("fastvrrp-configuration", configuration.data.get())
            try:
                self._channel.send(messages.Configure(epoch), [fd])
            finally:
                os.close(fd)
        except (OSError, MemoryError) as exc:
            reason = str(exc) or "no memory"
            raise Shortage(f"its configuration cannot be handed over: {reason}") from exc
        answer: asyncio.Future[messages.Configured] = self._loop.create_future()
        self._configures[epoch] = answer
        self._watch.busy()  # compiling thousands of instances takes its time
        try:
            done = await asyncio.wait_for(answer, self._settings.configure_timeout_s)
        except TimeoutError:
            self.kill(f"no answer to a configuration in {self._settings.configure_timeout_s:g} s")
            raise ChildGone(f"the {self._title} did not answer and was killed") from None
        finally:
            del self._configures[epoch]
        if not done.ok:
            raise ValueError(done.error)
        self._asked_s = self._loop.time()
        by_time = configuration.by_time
        self._ask_s = self._settings.ask_s if by_time else self._settings.rest_ask_s
        self.look()
        return done.changes

    async def call(self, method: str, params: dict[str, Any]) -> Any:
        """The result of a control request. Raises ControlError."""
        try:
            self._must_live()
        except ChildGone as exc:
            raise ControlError(UNAVAILABLE, str(exc)) from exc
        number = next(self._ids)
        answer: asyncio.Future[messages.Reply] = self._loop.create_future()
        self._calls[number] = answer
        self._channel.send(messages.Call(number, method, params))
        try:
            reply = await asyncio.wait_for(answer, self._settings.call_timeout_s)
        except TimeoutError:
            self.look(ask=True)
            raise ControlError(UNAVAILABLE, f"the {self._title} does not answer") from None
        except ChildGone as exc:
            raise ControlError(UNAVAILABLE, str(exc)) from exc
        finally:
            del self._calls[number]
        if reply.error or reply.code:
            raise ControlError(reply.code or INTERNAL, reply.error)
        return reply.result

    def _must_live(self) -> None:
        """Nobody answers for one that was collected, and the keeper may not know yet."""
        if self.exited.done():
            raise self._gone()

    def _gone(self) -> ChildGone:
        return ChildGone(f"the {self._title} ended")

    def send(self, message: messages.AnyMessage) -> None:
        """Send something that has no answer (Stop, Dump, Subscribe, States)."""
        self._channel.send(message)

    def kill(self, why: str) -> None:
        """SIGKILL, by pidfd, so that never another process is hit."""
        if self._process.returncode is not None:
            return
        self._killed_for = self._killed_for or why
        log.error("killing the %s %d: %s", self._title, self.pid, why)
        try:
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
        except ProcessLookupError:
            log.debug("process %d has ended already", self.pid)

    @property
    def killed_for(self) -> str:
        """Why we killed it ourselves; empty when we did not."""
        return self._killed_for

    @property
    def fresh(self) -> bool:
        """Whether it lives, as far as the last look could tell."""
        return not self._killed_for

    # ---------------------------------------------------------------- what happens

    def look(self, *, ask: bool = False) -> None:
        """See whether it lives, and end it when it has hung for too long.

        `ask`: its loop has to show it too; it does by itself when it has not for some time.
        """
        if self._process.returncode is not None:
            return
        now = self._loop.time()
        if self._look_handle is not None:
            self._look_handle.cancel()
            if now - self._look_handle.when() > self._settings.hang_limit_s / 2:
                self._watch.forgive(now)  # the whole machine stood still, or we did
        reason, again_s = self._watch.look(self._page.read(), now)
        if reason:
            self.kill(reason)
            return
        if (ask or now - self._asked_s >= self._settings.ask_s) and self._ask(now):
            answer_s = now + self._settings.hang_limit_s
            again_s = answer_s if again_s is None else min(again_s, answer_s)
        if again_s is None:
            again_s = max(self._asked_s + self._ask_s, now + self._settings.hang_limit_s)
        self._look_handle = self._loop.call_at(again_s, self.look)

    def _ask(self, now: float) -> bool:
        """Have the event loop answer, unless it is at a configuration or owes an answer already."""
        owed = self._watch.waits(self._page.read())
        if not self._configured or self._configures or owed:
            return False
        self._asked_s = now
        self._channel.send(messages.Ping(self._watch.ask(now)))
        return True

    def _rung(self) -> None:
        """The alarm: an engine stands still, or the loop does not read what it tells, or everybody
        slept and we are the first to wake up."""
        with contextlib.suppress(BlockingIOError):  # set for later while we were waking up
            os.read(self._alarm, 8)
        self._watch.doubt()
        self.look(ask=True)

    def _received(self, message: messages.AnyMessage, fds: list[int]) -> None:
        close_all(fds)
        match message:
            case messages.Configured():
                self._configured = True
                _resolve(self._configures.get(message.epoch), message)
                return
            case messages.Reply():
                _resolve(self._calls.get(message.id), message)
                return
            case messages.States():
                for state in message.states:
                    if state.state in ("STOPPED", "DELETED"):
                        self._states.forget(state.name)
                    else:
                        self._states.put(state)
            case messages.Stopped():
                self.stopped = True
        self._on_message(message)

    def state_of(self, name: str) -> messages.InstanceState | None:
        """What it last said of an instance or virtual server."""
        return self._states.get(name)

    def states(self) -> tuple[messages.InstanceState, ...]:
        """The same of all."""
        return tuple(self._states)

    def counted(self) -> Counter[str]:
        """How many are in each state."""
        return self._states.counted()

    def pack(self) -> None:
        """Keep what it said in little memory."""
        self._states = self._states.packed()

    def _broken(self, exc: Exception | None) -> None:
        # Without its channel a child cannot be governed; usually it is just about to end.
        if exc is not None:
            self.kill(f"its channel broke: {exc}")
        elif self._process.returncode is None:
            limit_s = self._settings.hang_limit_s
            self._ending = self._loop.call_later(
                limit_s, self.kill, f"its channel is closed and it goes on for {limit_s:g} s"
            )

    def _collect(self) -> None:
        self._loop.remove_reader(self._pidfd)
        self._loop.remove_reader(self._alarm)
        code = self._process.wait()
        self._channel.receive()  # what it said before it ended
        self._channel.close()
        for handle in (self._look_handle, self._ending):
            if handle is not None:
                handle.cancel()
        os.close(self._pidfd)
        os.close(self._alarm)
        self._page.close()
        gone = self._gone()
        waiting: list[asyncio.Future[Any]] = [*self._calls.values(), *self._configures.values()]
        for future in waiting:
            if not future.done():
                future.set_exception(gone)
        self.exited.set_result(code)


def _resolve(future: asyncio.Future[Any] | None, message: messages.AnyMessage) -> None:
    if future is not None and not future.done():
        future.set_result(message)
