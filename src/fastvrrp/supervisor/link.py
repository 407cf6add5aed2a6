"""A child's end of the supervisor: arguments, parent-death signal, and the channel as calls.

A child's main function is:

    arguments = adopt()                      # sys.argv, parent-death signal
    async def main() -> None:
        link = Link(arguments, handlers)
        await link.closed()

The link answers pings by itself.
"""

from __future__ import annotations

import asyncio
import ctypes
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import msgspec

from fastvrrp.config import compact, model
from fastvrrp.control.protocol import INTERNAL, ControlError
from fastvrrp.packets import ProtocolError, close_all
from fastvrrp.supervisor import destinations, messages, pulse
from fastvrrp.supervisor.channel import Channel, read_memfd
from fastvrrp.supervisor.given import Given
from fastvrrp.supervisor.housekeeping import set_name, settle
from fastvrrp.supervisor.roles import VRRP, Role
from fastvrrp.supervisor.spawn import FDS

log = logging.getLogger(__name__)

BACKLOG = 4096  # messages that wait for a supervisor that does not read, until fewer are sent

_PR_SET_PDEATHSIG = 1  # include/uapi/linux/prctl.h


OnStates = Callable[[Sequence[messages.InstanceState]], None]
Decode = Callable[[bytes], model.Configuration]  # raises msgspec.MsgspecError


class ConfigurationRefused(Exception):
    """Raised by `Handlers.configure`: the text says why; the child keeps what it had."""


class Arguments(NamedTuple):
    """What the supervisor passes to a child on its command line."""

    channel: socket.socket
    scripts: socket.socket  # requests to the script runner (track.runner, supervisor.runner)
    pulse: pulse.Ends  # in which the child shows that it lives
    run_dir: Path
    name: str = ""  # what ps calls the process, unless the configuration says otherwise
    umask: int | None = None  # whatever the configuration says
    keep_services: bool = False  # an orderly stop leaves the IPVS table as it is


class Handlers(Protocol):
    """What a child does when the supervisor asks. Called in the loop, one configure at a time."""

    async def configure(self, configuration: model.Configuration, epoch: int) -> Sequence[str]:
        """Start with, or change to, a configuration; returns lines that say what changed.

        Raises ConfigurationRefused.
        """

    async def stop(self) -> None:
        """Undo everything. When it returns, Stopped is sent and the channel closed."""

    async def dump(self, kind: str, path: Path) -> None:
        """Write keepalived's dump of `kind` ("data", "stats", "json") to `path`, atomically.

        Raises OSError.
        """

    async def call(self, method: str, params: dict[str, Any]) -> Any:
        """A control request ("status", "counters"); the result must be JSON-able.

        Raises ControlError.
        """

    def subscribe(self, on: bool) -> None:
        """Whether somebody listens to events now."""


def set_parent_death_signal(number: int = signal.SIGTERM) -> None:
    """Have the kernel send `number` to this process when its parent ends. Raises OSError.

    Source: prctl(2), PR_SET_PDEATHSIG.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(number), 0, 0, 0) != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


def adopt(argv: Sequence[str] | None = None, *, role: Role = VRRP) -> Arguments:
    """Read the supervisor's arguments, set up logging and die with the parent.

    Raises SystemExit when the parent is already gone or the arguments are not the supervisor's.
    """
    given = Given(sys.argv[1:] if argv is None else argv)
    fds = [given.needed(name) for name in FDS]
    parent = given.needed("parent")
    run_dir = given.text("run-dir")
    if run_dir is None:
        raise SystemExit("--run-dir is missing")
    name, umask = given.text("name") or "", given.number("umask")
    keep_services = given.flag("keep-services")
    to = destinations.of(given)
    given.done()
    set_parent_death_signal()
    # The parent may have died before the line above: then no signal will ever come.
    if os.getppid() != parent:
        raise SystemExit("the supervisor is gone")
    # Reloads and dumps come through the channel; a stray signal must not end us.
    dumps = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGRTMIN + 2, signal.SIGRTMAX - 1)
    for number in (signal.SIGHUP, *dumps):
        signal.signal(number, signal.SIG_IGN)
    # asyncio would take it over first, with a handler of which it then makes a text.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    destinations.setup(to, role.name)
    set_name(name)
    channel, scripts = (socket.socket(fileno=fd) for fd in fds[:2])
    page, alarm = fds[2:]
    for sock in (channel, scripts):
        sock.set_inheritable(False)
        sock.setblocking(False)
    for fd in (page, alarm):
        os.set_inheritable(fd, False)
    return Arguments(
        channel,
        scripts,
        pulse.Ends(page, alarm),
        Path(run_dir),
        name=name,
        umask=umask,
        keep_services=keep_services,
    )


class Link:
    """The channel of a child as calls and handlers. Create it inside the running loop.

    SIGTERM and SIGINT stop the child in good order, as does the end of the supervisor.
    """

    def __init__(
        self,
        arguments: Arguments,
        handlers: Handlers,
        *,
        role: Role = VRRP,
        on_states: OnStates | None = None,
        decode: Decode = compact.decode,
    ) -> None:
        """`on_states` gets the states of what this child follows of the other (`held.Part`),
        `decode` makes a configuration of the bytes that arrive."""
        self._loop = asyncio.get_running_loop()
        self._handlers = handlers
        self._arguments = arguments
        self._defs = model.GlobalDefs()  # in effect
        self._role = role
        self._on_states = on_states
        self._decode = decode
        self._parent = os.getppid()
        self._left = False  # its end of the channel is closed; the kernel may not yet tell more
        self._configure_lock = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed: asyncio.Future[None] = self._loop.create_future()
        self._stopping = False
        self._untold: dict[str, messages.InstanceState] = {}
        self._catching_up = False
        self._losing = False  # events, which has been logged
        self._page = pulse.Page(arguments.pulse.page)
        self._channel = Channel(arguments.channel, self._on_message, self._on_close)
        # SIGTERM is also what the kernel sends when the supervisor dies.
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._terminated)

    # ---------------------------------------------------------------- child says

    def ready(self) -> None:
        """It works: the first configuration is in effect."""
        self._channel.send(messages.Ready())

    def summary(self, text: str) -> None:
        """How we are, in a few words for one line. Call it when that changed, not too often."""
        self._channel.send(messages.Summary(text))

    def handed_over(self) -> None:
        """While stopping: no address is held any more."""
        self._channel.send(messages.HandedOver())

    def states(self, states: Sequence[messages.InstanceState]) -> None:
        """Instances changed: call it at every transition, for the clean-up after a crash. Or
        virtual servers did.

        While the supervisor does not read, the last state of each waits for it.
        """
        self._untold.update((state.name, state) for state in states)
        if self._channel.backlog < BACKLOG:
            self._tell_states()
        elif not self._catching_up:
            self._catching_up = True
            self._spawn(self._catch_up())

    async def _catch_up(self) -> None:
        await self._channel.drain()
        self._catching_up = False
        self._tell_states()

    def _tell_states(self) -> None:
        if self._untold:
            self._channel.send(messages.States(tuple(self._untold.values())))
            self._untold = {}  # not before: there may have been no descriptor for that many

    def event(self, record: dict[str, Any]) -> None:
        """One record for the subscribers of the event stream; lost while the supervisor does not
        read."""
        if self._channel.backlog < BACKLOG:
            self._losing = False
            self._channel.send(messages.Event(record))
            return
        if not self._losing:
            log.warning("the supervisor does not read: events are lost")
        self._losing = True

    def stopping(self, reason: str = "") -> None:
        """The child stops on its own account (a signal, a broken engine)."""
        self._channel.send(messages.Stopping(reason))

    @property
    def orphaned(self) -> bool:
        """Whether the supervisor is gone without having stopped us."""
        return self._left or os.getppid() != self._parent

    async def closed(self) -> None:
        """Return when the channel is closed: after a stop, or because the supervisor is gone."""
        await asyncio.shield(self._closed)

    async def stop(self) -> None:
        """Stop in good order, as if the supervisor had asked (SIGTERM at the child itself)."""
        if self._stopping:
            await self.closed()
            return
        self._stopping = True
        self._channel.send(messages.Stopping())
        try:
            await self._handlers.stop()
            self._channel.send(messages.Stopped())
            await self._channel.drain()
        finally:
            self._channel.close()
            self._finish()

    # ---------------------------------------------------------------- supervisor says

    def _terminated(self) -> None:
        self._spawn(self.stop())

    def _spawn(self, coroutine: Any) -> None:
        task = self._loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (exc := task.exception()) is not None:
            self._loop.call_exception_handler(
                {"message": "a request of the supervisor failed", "exception": exc}
            )

    def _on_close(self, exc: Exception | None) -> None:
        if exc is not None:
            log.error("channel to the supervisor broke: %s", exc)
        if self._stopping:
            self._finish()
        else:
            # Without a supervisor nobody would clean up after us: stop in good order.
            log.error("the supervisor is gone: stopping")
            self._left = True
            self._spawn(self.stop())

    def _finish(self) -> None:
        if not self._closed.done():
            self._closed.set_result(None)

    def _on_message(self, message: messages.AnyMessage, fds: list[int]) -> None:
        match message:
            case messages.Configure():
                self._spawn(self._configure(message, fds))
                return
            case messages.Stop():
                self._spawn(self.stop())
            case messages.Dump():
                self._spawn(self._dump(message))
            case messages.Call():
                self._spawn(self._call(message))
            case messages.Subscribe():
                self._handlers.subscribe(message.on)
            case messages.States() if self._on_states is not None:
                self._on_states(message.states)
            case messages.Ping():
                self._page.answer(message.number)
            case _:
                log.error("unexpected message %s from the supervisor", type(message).__name__)
        close_all(fds)

    async def _configure(self, message: messages.Configure, fds: list[int]) -> None:
        async with self._configure_lock:
            answer = messages.Configured(message.epoch)
            try:
                if not fds:
                    raise ProtocolError("configuration descriptor is missing")
                configuration = decode_configuration(fds[0], self._decode)
                self._settle(configuration.global_defs)
                changes = await self._handlers.configure(configuration, message.epoch)
                self._defs = configuration.global_defs
                answer = messages.Configured(message.epoch, changes=tuple(changes))
            except (ConfigurationRefused, ProtocolError) as exc:
                answer = messages.Configured(message.epoch, ok=False, error=str(exc))
            except Exception:
                # A fault of ours while preparing a change. The engine goes on with what it has;
                # ending the process would take the routers away that run well.
                log.exception("configuration %d failed", message.epoch)
                error = f"internal error of the {self._role.title}, see the log"
                answer = messages.Configured(message.epoch, ok=False, error=error)
            finally:
                close_all(fds)
            if not answer.ok:
                self._settle(self._defs)
            self._channel.send(answer)

    def _settle(self, defs: model.GlobalDefs) -> None:
        given = self._arguments
        settle(self._role.name, defs, name=given.name, umask=given.umask)

    async def _dump(self, message: messages.Dump) -> None:
        try:
            await self._handlers.dump(message.kind, Path(message.path))
        except OSError as exc:
            log.error("cannot write %s: %s", message.path, exc)

    async def _call(self, message: messages.Call) -> None:
        try:
            result = await self._handlers.call(message.method, message.params)
            answer = messages.Reply(message.id, result=result)
        except ControlError as exc:
            answer = messages.Reply(message.id, error=str(exc), code=exc.code)
        except Exception:
            # A question must never harm who is asked, and the asker needs an answer.
            log.exception("request %s failed", message.method)
            answer = messages.Reply(message.id, error="see the log", code=INTERNAL)
        self._channel.send(answer)


def decode_configuration(fd: int, decode: Decode) -> model.Configuration:
    """The configuration in a sealed memfd. Raises ProtocolError."""
    try:
        return decode(read_memfd(fd))
    except msgspec.MsgspecError as exc:
        raise ProtocolError(f"configuration cannot be decoded: {exc}") from exc
