"""Keeps one kind of child running: spawn, configure, clean up after a crash, back off, respawn."""

from __future__ import annotations

import asyncio
import contextlib
import enum
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

import msgspec

from fastvrrp.control.protocol import UNAVAILABLE, ControlError
from fastvrrp.supervisor import messages
from fastvrrp.supervisor.child import Child, ChildGone, ScriptService, Shortage
from fastvrrp.supervisor.held import Part
from fastvrrp.supervisor.process import describe_code
from fastvrrp.supervisor.spawn import Settings, Spawned, spawn

log = logging.getLogger(__name__)

EXIT_PERMISSION = 4
"""A child that ends with this lacks a permission: another attempt would end the same way."""


class State(enum.Enum):
    DISABLED = "disabled"  # nothing in the configuration needs the process
    STARTING = "starting"
    RUNNING = "running"
    DOWN = "down"  # it ended; the next attempt is scheduled
    STOPPING = "stopping"


class Refused(Exception):
    """A configuration was not taken; the text says why."""


class Hooks(msgspec.Struct, frozen=True):
    """What the keeper needs from its surroundings."""

    serve_scripts: Callable[[Any], ScriptService]
    clean: Callable[[Part, Sequence[messages.InstanceState]], Awaitable[None]]
    """The janitor: after a child that ended without undoing its work."""
    on_event: Callable[[dict[str, Any]], None]
    on_change: Callable[[], None]
    """State, summary, or the states of instances, changed."""
    on_running: Callable[[], None]
    """The child runs, the first one or a later one."""
    on_fatal: Callable[[int, str], bool]
    """Trying again will hardly help: exit code and reason. Returns whether everything ends now;
    otherwise the child is tried again all the same, as after a crash."""


class Keeper:
    """A child over all its lives."""

    def __init__(
        self,
        settings: Settings,
        hooks: Hooks,
        configuration: Part,
        epoch: int,
        *,
        spare: Callable[[], Spawned | None] = lambda: None,
    ) -> None:
        """`spare` gives a process that was started before it was needed, if there is one."""
        self.role = settings.role
        self._title = settings.role.title
        self._settings = settings
        self._hooks = hooks
        self._spare = spare
        self._configuration = configuration
        self._epoch = epoch
        self._proven = False  # the configuration has run
        self._before: tuple[Part, int] | None = None  # one that has, where this has not
        self._is_first = True  # it is what the daemon was started with
        self._refusal = ""  # of the configuration, by the last child
        self._child: Child | None = None
        self._subscribed = False
        self._wake = asyncio.Event()
        self._stopping = False
        self._retiring: asyncio.Future[None] | None = None  # the child stops, its work is over
        self._followed: dict[str, messages.InstanceState] = {}  # what the child is told of
        self._next_start: float | None = None  # loop time
        self._task: asyncio.Task[None] | None = None
        self.state = State.STARTING if configuration.needed else State.DISABLED
        self.restarts = 0
        self.last_exit: str | None = None
        self.summary = ""
        """What the child last said of itself; empty while it is down."""
        self.handed_over = asyncio.Event()
        """Set while stopping, as soon as this host is not reached by an address of the child."""

    # ---------------------------------------------------------------- for the supervisor

    def start(self) -> None:
        """Begin; does nothing yet when the configuration needs no process."""
        self._task = asyncio.get_running_loop().create_task(self._keep())
        self._task.add_done_callback(self._ended)

    async def stop(self, wait_s: float) -> None:
        """Stop the child in good order; after `wait_s` kill it and clean up in its place."""
        self._stopping = True
        self._wake.set()
        if self._child is None:
            self.handed_over.set()
        else:
            self._change(State.STOPPING)
            self._child.send(messages.Stop())
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(self._child.exited), wait_s)
            if self._child is not None:
                self._child.kill(f"it did not stop within {wait_s:g} s")
        if self._task is not None:
            await asyncio.wait({self._task})

    @property
    def configuration(self) -> Part:
        """What is in effect, or will be once the child runs."""
        return self._configuration

    async def configure(self, configuration: Part, epoch: int) -> Sequence[str]:
        """Change to `configuration`; returns what changed. Raises Refused: the old one stays."""
        if self._retiring is not None:
            await self._retiring
        child = self._child
        if child is None:
            self._is_first = False
            if not configuration.needed:
                self._before = None  # nobody can refuse that
            elif self._proven and self._configuration.needed:
                self._before = self._configuration, self._epoch
            self._configuration, self._epoch, self._proven = configuration, epoch, False
            self._wake.set()
            if not configuration.needed:
                return ()
            return (f"the {self._title} is not running; it starts with this configuration",)
        try:
            changes = await child.configure(configuration, epoch)
        except (ValueError, Shortage) as exc:
            raise Refused(str(exc)) from exc
        except ChildGone as exc:
            # It may be what the new configuration did to it: the old one is the safe one.
            raise Refused(f"{exc}; it is restarted with the old configuration") from exc
        self._configuration, self._epoch, self._proven = configuration, epoch, True
        self._before = None
        if self.role.retires and not configuration.needed and self._child is child:
            self._retiring = asyncio.get_running_loop().create_future()
            child.send(messages.Stop())
        return changes

    async def call(self, method: str, params: dict[str, Any]) -> Any:
        """A control request to the child. Raises ControlError."""
        if self._child is None:
            raise ControlError(UNAVAILABLE, f"the {self._title} is {self.state.value}")
        return await self._child.call(method, params)

    def dump(self, kind: str, path: str) -> None:
        if self._child is not None:
            self._child.send(messages.Dump(kind, path))

    def follow(self, states: Iterable[messages.InstanceState]) -> None:
        """Tell the child of those that it follows, now and when it is born again."""
        new = {state.name: state for state in states if state.name in self._configuration.follows}
        changed = {name: s for name, s in new.items() if self._followed.get(name) != s}
        self._followed = new  # who is followed again later is told of anew
        if changed and self._child is not None:
            self._child.send(messages.States(tuple(changed.values())))

    def subscribe(self, on: bool) -> None:
        self._subscribed = on
        if self._child is not None:
            self._child.send(messages.Subscribe(on))

    @property
    def healthy(self) -> bool:
        """Whether all is as it should be: a child that lives, or one that is rightly not there."""
        return self._child is None or self._child.fresh

    def look(self) -> None:
        """See whether the child lives (`Child.look`)."""
        if self._child is not None:
            self._child.look()

    @property
    def pid(self) -> int | None:
        return self._child.pid if self._child is not None else None

    def state_of(self, name: str) -> messages.InstanceState | None:
        """What the child last reported of one; None while it is down."""
        return self._child.state_of(name) if self._child is not None else None

    def state_counts(self) -> Counter[str]:
        """How many it last reported in each state; none while it is down."""
        return self._child.counted() if self._child is not None else Counter()

    def pack(self) -> None:
        """Keep what the child said in little memory."""
        if self._child is not None:
            self._child.pack()

    def record(self) -> dict[str, Any]:
        """The `daemon.vrrp` or `daemon.ipvs` object of docs/control-socket.md."""
        wait = None
        if self._next_start is not None:
            wait = max(0.0, self._next_start - asyncio.get_running_loop().time())
        return {
            "state": self.state.value,
            "pid": self.pid,
            "restarts": self.restarts,
            "last_exit": self.last_exit,
            "next_start_s": wait,
        }

    # ---------------------------------------------------------------- the life of children

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (exc := task.exception()) is not None:
            # A fault of ours. Nobody keeps the child any more, so everything has to end.
            log.critical("the supervisor failed", exc_info=exc)
            if self._child is not None:
                self._child.kill("its supervisor failed")
            self._hooks.on_fatal(70, "internal error")

    async def _keep(self) -> None:
        failures = 0
        while not self._stopping:
            if not self._configuration.needed:
                self._change(State.DISABLED)
                await self._sleep(None)
                continue
            ran_s = await self._one_life()
            retired, self._retiring = self._retiring is not None, None
            if self._stopping or ran_s is None:
                break
            if retired or not self._configuration.needed:
                continue
            failures = 0 if ran_s > self._settings.stable_s else failures
            delays = self._settings.backoff_s
            delay = delays[min(failures, len(delays) - 1)]
            failures += 1
            self.restarts += 1
            self._change(State.DOWN, self.last_exit or "")
            log.warning("starting the %s again in %g s", self._title, delay)
            if await self._sleep(delay):
                failures = 0  # a new configuration deserves a new attempt at once

    async def _one_life(self) -> float | None:
        """Run one child to its end; returns how long it ran, None after a fatal end."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        self._change(State.STARTING)
        try:
            spawned = self._spare() or spawn(self._settings)
        except OSError as exc:
            self.last_exit = f"could not be started: {exc}"
            log.error("cannot start the %s: %s", self._title, exc)
            return loop.time() - began
        log.info("Starting %s child process, pid=%d", self.role.birth, spawned.process.pid)
        self._refusal = ""
        child = self._child = Child(spawned, self._settings, self._received)
        scripts = self._hooks.serve_scripts(spawned.scripts)
        if self._subscribed:
            child.send(messages.Subscribe(True))
        if self._followed:
            child.send(messages.States(tuple(self._followed.values())))
        setup = loop.create_task(self._first_configuration(child))
        try:
            code = await asyncio.shield(child.exited)
            await setup
        finally:
            self._child = None
            self.summary = ""
            if self._stopping:
                self.handed_over.set()
            if self._retiring is not None:
                self._retiring.set_result(None)
        ran = self._configuration  # what is accepted from here on is for the next one
        await scripts.close()
        self.last_exit = self._refusal or child.killed_for or describe_code(code)
        orderly = child.stopped and code == 0
        if not orderly:
            log.error("the %s %d ended: %s", self._title, child.pid, self.last_exit)
            await self._clean(ran, child)
        elif not self._stopping and self._retiring is None:
            log.warning("the %s %d stopped without being told to", self._title, child.pid)
        if not self._settings.respawn and not self._stopping and self._retiring is None:
            self._hooks.on_fatal(1, f"the {self._title} ended, and is not to be started again")
            return None
        if code == EXIT_PERMISSION and not self._stopping:
            reason = f"the {self._title} lacks a permission, see above"
            if self._hooks.on_fatal(code, reason):
                return None
        return loop.time() - began

    async def _clean(self, ran: Part, child: Child) -> None:
        try:
            await self._hooks.clean(ran, child.states())
        except Exception:
            # Memory is short, say. The next child matters more: until then nobody does its work.
            log.exception("cleaning up after the %s failed", self._title)

    async def _first_configuration(self, child: Child) -> None:
        epoch = self._epoch
        try:
            await child.configure(self._configuration, epoch)
        except ChildGone:
            return  # its end is reported by _one_life
        except Shortage as exc:
            child.kill(str(exc))  # it would wait for ever; the next one may get it
            return
        except ValueError as exc:
            if self._stopping:
                return  # it has been told to stop meanwhile, and does so in good order
            log.error("the %s refuses the configuration: %s", self._title, exc)
            if self._before is not None:
                self._go_back(*self._before)
            elif self._is_first and not self._proven:
                self._hooks.on_fatal(2, f"the configuration cannot be run: {exc}")
            self._refusal = f"it refuses its configuration: {exc}"
            child.kill("it refuses its configuration")
            return
        self._proven = True
        self._before = None

    def _go_back(self, configuration: Part, epoch: int) -> None:
        """A reload came while nobody was there to refuse it: what it had counts, as otherwise."""
        log.error("the %s goes back to the configuration that it had", self._title)
        self._configuration, self._epoch, self._proven = configuration, epoch, True
        self._before = None
        self._wake.set()  # it has run: no reason to wait

    async def _sleep(self, delay: float | None) -> bool:
        """Wait; returns True when a configuration or a stop ends it, or came already."""
        if delay is not None:
            self._next_start = asyncio.get_running_loop().time() + delay
        try:
            await asyncio.wait_for(self._wake.wait(), delay)
        except TimeoutError:
            return False
        finally:
            self._next_start = None
            self._wake.clear()
        return True

    def _received(self, message: messages.AnyMessage) -> None:
        match message:
            case messages.Ready():
                if not self._stopping:
                    self._change(State.RUNNING)
                    self._hooks.on_running()
            case messages.States():
                self._hooks.on_change()
            case messages.Summary():
                self.summary = message.text
                self._hooks.on_change()
            case messages.HandedOver():
                if self._stopping:
                    self.handed_over.set()
            case messages.Event():
                self._hooks.on_event(message.record)
            case messages.Stopping():
                if message.reason:
                    log.warning("the %s stops: %s", self._title, message.reason)

    def _change(self, state: State, detail: str = "") -> None:
        if state is self.state:
            return
        self.state = state
        self._hooks.on_change()
        self._hooks.on_event(
            {"kind": "process", "process": self.role.name, "state": state.value, "detail": detail}
        )
