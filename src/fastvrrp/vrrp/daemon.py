"""The VRRP process: configured by the supervisor, it runs the engine and everything about it.

Start: monitor, journal, engine, trackers, notification, commit, READY. Reload: compile, prepare
the surroundings, one commit. Stop: priority 0 and the addresses first, everything else after.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from fastvrrp import light
from fastvrrp.config import model
from fastvrrp.control.protocol import UNAVAILABLE, ControlError
from fastvrrp.net.journal import Journal
from fastvrrp.net.monitor import Monitor
from fastvrrp.net.programs import assign_preferences
from fastvrrp.supervisor.link import Arguments, ConfigurationRefused, Link
from fastvrrp.supervisor.messages import InstanceState
from fastvrrp.supervisor.process import give_back_memory, keep_large_apart, settle_memory
from fastvrrp.supervisor.rundir import JOURNAL_NAME
from fastvrrp.supervisor.settling import Settling
from fastvrrp.track.runner import RunnerClient
from fastvrrp.vrrp import apart, tuning
from fastvrrp.vrrp.draft import Draft, RefusedError
from fastvrrp.vrrp.parts import Parts, start_monitor
from fastvrrp.vrrp.report import address_text
from fastvrrp.vrrp.status import answer
from fastvrrp.vrrp.surroundings import SurroundingsError
from fastvrrp.vrrp.trackers_view import TrackersView

log = logging.getLogger(__name__)

EXIT_FAILED = 1
EXIT_PERMISSION = 4
EXIT_INTERNAL = 70  # EX_SOFTWARE of sysexits.h, keepalived's code for a program error
STOP_LIMIT_S = 3.0  # for the engine to say goodbye and the kernel to give the addresses up
JOIN_LIMIT_S = 2.0
SETTLE_S = 0.3  # until the kernel has told of what a reload played
MEMORY_S = 0.5  # from a change until it is kept in little memory
CHORES_S = 3.0  # between looks at what nobody tells, while there is anything to look at


class Daemon:
    """Handlers of the supervisor's requests (supervisor.link.Handlers), and what they act on."""

    def __init__(self, arguments: Arguments) -> None:
        keep_large_apart()
        self._loop = asyncio.get_running_loop()
        self._runner = RunnerClient(arguments.scripts)
        self._journal = Journal(arguments.run_dir / JOURNAL_NAME)
        self._view = TrackersView()
        self._parts: Parts | None = None
        self._running: Parts | None = None  # the same, once a configuration is in effect
        self._stopping = False
        self._changing = asyncio.Lock()  # held while a configuration is put into effect
        self._subscribed = False
        self._view_handle: asyncio.Handle | None = None
        self._pulse = arguments.pulse
        self._chores_handle: asyncio.TimerHandle | None = None
        # After a change, when what it has set in motion is done: adverts, addresses, reports.
        self._settling = Settling(self._settle, MEMORY_S, is_changing=self._changing.locked)
        # After many events: what was made of them had memory of its own.
        self._is_bursting = False
        self._tidying = Settling(self._tidy, MEMORY_S, is_changing=lambda: self._is_bursting)
        self._exit_code = 0
        self._broken: asyncio.Future[None] = self._loop.create_future()
        self._servers: dict[str, bool] = {}  # tracked virtual servers: whether they have quorum
        self._statics: dict[str, bool] = {}  # track_groups: whether they lack nothing
        # Reads the kernel's tables while the configuration is still being read.
        self._monitor: asyncio.Task[Monitor] | None = self._loop.create_task(start_monitor())
        self._link = Link(arguments, self, on_states=self._server_states, decode=apart.decode)

    async def run(self) -> int:
        """Until stopped; returns the exit code."""
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._stop_soon)
        self._loop.set_exception_handler(_log_exception)
        closed = self._loop.create_task(self._link.closed())
        await asyncio.wait({closed, self._broken}, return_when=asyncio.FIRST_COMPLETED)
        closed.cancel()
        if self._monitor is not None:
            await self._forget_monitor(self._monitor)
        return self._exit_code

    async def _forget_monitor(self, starting: asyncio.Task[Monitor]) -> None:
        """No configuration ever came."""
        starting.cancel()
        await asyncio.wait({starting})
        if not starting.cancelled() and starting.exception() is None:
            starting.result().close()

    def _stop_soon(self) -> None:
        self._stop_task = self._loop.create_task(self._link.stop())

    def _arm_chores(self) -> None:
        """Nothing runs by time in an idle process, unless it was asked for."""
        if self._chores_handle is None and not self._stopping:
            self._chores_handle = self._loop.call_later(CHORES_S, self._chores)

    def _chores(self) -> None:
        self._chores_handle = None
        parts = self._running
        if parts is None:
            return
        unsettled = parts.reporter.settle()
        counting = parts.plane.configuration.global_defs.log_unknown_vrids
        if counting:
            parts.reporter.unknown_vrids(parts.engine.counters()["vrid_err"])
        if counting or unsettled:
            self._arm_chores()

    # ---------------------------------------------------------------- configure

    async def configure(self, configuration: model.Configuration, epoch: int) -> Sequence[str]:
        """Start with a configuration, or change to it; returns what changed.

        Raises ConfigurationRefused.
        """
        configuration = assign_preferences(configuration)
        if self._running is None:
            # What a start sets in motion takes more than what stays of it. After a reload that uses
            # the arenas that are there; apart it would lie among what the last one left.
            apart.hold()
        gc.disable()  # a large configuration is a million objects without a cycle
        try:
            async with self._changing:
                try:
                    if self._running is not None:
                        return await self._reload(self._running, configuration)
                    return await self._start(configuration)
                finally:
                    self._settling.soon()  # also after a refusal: its model took as much
        except PermissionError as exc:
            log.error("a permission is missing (NET_ADMIN, NET_RAW): %s", exc)
            return await self._give_up(EXIT_PERMISSION)
        except (ConfigurationRefused, asyncio.CancelledError):
            raise
        except Exception:
            # Whatever it was, it may have stopped half-way, and half a configuration must not
            # run: the supervisor cleans up and starts with the last one that did.
            log.exception("putting a configuration into effect failed")
            return await self._give_up(EXIT_INTERNAL)
        finally:
            gc.enable()

    async def _give_up(self, code: int) -> Sequence[str]:
        """End without an answer: the exit code tells the supervisor what is of use now."""
        self._exit_code = code
        if not self._broken.done():
            self._broken.set_result(None)
        never: asyncio.Future[Sequence[str]] = self._loop.create_future()
        return await never

    async def _start(self, configuration: model.Configuration) -> Sequence[str]:
        try:
            starting, self._monitor = self._monitor, None
            parts = self._parts = await Parts.make(
                configuration,
                await (starting or start_monitor()),
                self._journal,
                self._runner,
                self._link,
                servers=self._servers,
                statics=self._statics,
                pulse=self._pulse,
                on_tracked=self._tracked,
                on_left_out=self._arm_chores,
                on_burst=self._burst,
                on_calm=self._calm,
                on_static=self._static_groups,
            )
            parts.reporter.subscribed = self._subscribed
            parts.upkeep.freeze()  # until there is something to keep up
            draft = await self._prepare(parts, configuration)
        except PermissionError:
            raise
        except (OSError, RefusedError, SurroundingsError) as exc:
            raise ConfigurationRefused(str(exc)) from exc
        await parts.notifier.start()
        self._commit(parts, draft)
        self._running = parts
        parts.upkeep.thaw()
        await parts.client.committed(parts.client.epoch)
        await parts.surroundings.settle(draft.configuration)
        await parts.upkeep.run()
        await parts.trackers.start()
        self._view.update(parts.trackers.status())
        self._link.ready()
        _load_rest()
        self._arm_chores()
        return ()  # everything is new, and nobody is told of each

    def _settle(self) -> None:
        """Keep what there is now in little memory."""
        try:
            if self._running is not None:
                self._running.reporter.settle()
                self._running.notifier.share(self._running.plane.pack())
        finally:  # also if memory was too short for that
            self._end_burst()
            settle_memory()

    def _burst(self) -> None:
        self._is_bursting = True
        apart.hold()

    def _calm(self) -> None:
        self._is_bursting = False
        self._tidying.soon()

    def _tidy(self) -> None:
        if not self._settling.is_due and not self._changing.locked():  # else that follows
            self._end_burst()
            give_back_memory()

    def _end_burst(self) -> None:
        if self._is_bursting:
            return  # what is still made of it would lie among what stays
        self._tidying.close()
        address_text.cache_clear()
        apart.release()

    async def _prepare(self, parts: Parts, configuration: model.Configuration) -> Draft:
        """Everything up to the commit, looked at before anything is touched: what is refused
        leaves no trace. Raises OSError, RefusedError, SurroundingsError."""
        configuration = parts.surroundings.resolve(configuration)
        draft = parts.plane.prepare(configuration)
        old = parts.plane.configuration
        try:
            if await parts.surroundings.prepare(old, configuration):
                draft = parts.plane.prepare(configuration)  # with the devices there are now
        except (OSError, RefusedError):
            await parts.surroundings.restore(old)
            raise
        return draft

    def _commit(self, parts: Parts, draft: Draft) -> None:
        if self._stopping:
            raise ConfigurationRefused("the process is stopping")
        try:
            parts.plane.commit(draft)
        except RefusedError as exc:
            raise ConfigurationRefused(str(exc)) from exc

    async def _reload(self, parts: Parts, configuration: model.Configuration) -> Sequence[str]:
        old = parts.plane.configuration
        parts.upkeep.freeze()
        try:
            touches = parts.upkeep.touches
            try:
                draft = await self._prepare(parts, configuration)
            except PermissionError:
                raise
            except OSError as exc:  # no descriptors, say: what runs needs no new ones
                raise ConfigurationRefused(str(exc)) from exc
            configuration = draft.configuration
            await parts.trackers.reload(configuration)
            await parts.notifier.reload(configuration)
            try:
                self._commit(parts, draft)
            except ConfigurationRefused:
                await parts.trackers.reload(old)
                await parts.notifier.reload(old)
                await parts.surroundings.restore(old)
                raise
            for name in self._servers.keys() - parts.trackers.servers:
                del self._servers[name]  # it would be out of date when it is tracked again
            self._tell_names(parts, draft)
            await parts.client.committed(parts.client.epoch)
            await parts.surroundings.settle(configuration)
            await parts.upkeep.run()
        except (RefusedError, SurroundingsError) as exc:
            raise ConfigurationRefused(str(exc)) from exc
        finally:
            parts.upkeep.thaw()
        if parts.upkeep.touches != touches:
            # The draft may be older than what the kernel told meanwhile.
            parts.upkeep.touch(parts.plane.running, instances=True)
        parts.upkeep.schedule(SETTLE_S)
        parts.cpu_latency.ask(configuration.global_defs.vrrp_cpu_dma_latency_us)
        tuning.warn_of_changes(old.global_defs, configuration.global_defs)
        self._arm_chores()
        self._view.update(parts.trackers.status())
        return draft.plan.changes

    def _tell_names(self, parts: Parts, draft: Draft) -> None:
        for instance in draft.plan.removed:
            parts.notifier.instance_deleted(instance.name, instance.priority)
        for old_name, new_name in draft.plan.renamed.items():
            parts.reporter.renamed(old_name, parts.plane.running[new_name])
        parts.reporter.drained()

    # ---------------------------------------------------------------- trackers

    def _tracked(self, name: str, adjust: int, fault: int) -> None:
        if self._running is None:
            return  # the first commit asks for the present state
        self._running.plane.set_tracking(name, adjust, fault)
        if self._view_handle is None:
            self._view_handle = self._loop.call_soon(self._look_at_trackers)

    def _server_states(self, states: Sequence[InstanceState]) -> None:
        """What the IPVS process says of virtual servers that are tracked. While it is down the
        last word counts: the kernel goes on serving."""
        for state in states:
            if state.state not in ("UP", "DOWN"):
                continue
            self._servers[state.name] = state.state == "UP"
            if self._parts is not None:
                self._parts.trackers.server_changed(state.name)

    def _static_groups(self, lost: set[str]) -> None:
        """The track_groups of which a static address, route or rule is not there."""
        for name in {*self._statics, *lost}:
            is_whole = name not in lost
            if self._statics.get(name, True) == is_whole:
                continue
            self._statics[name] = is_whole
            if self._parts is not None:
                self._parts.trackers.static_changed(name)

    def _look_at_trackers(self) -> None:
        self._view_handle = None
        if self._running is None:
            return
        for one in self._view.update(self._running.trackers.status()):
            self._running.reporter.tracker(one.kind, one.name, one.up, one.detail)

    # ---------------------------------------------------------------- requests

    async def dump(self, kind: str, path: Path) -> None:
        """Write a dump file. Raises OSError."""
        if self._running is not None:
            self._view.update(self._running.trackers.status())
            _load_rest().write(kind, path, self._running.plane, self._view)

    async def call(self, method: str, params: dict[str, Any]) -> Any:
        """A control request. Raises ControlError."""
        if self._running is None:
            raise ControlError(UNAVAILABLE, "the VRRP process is starting or stopping")
        self._view.update(self._running.trackers.status())
        return answer(method, params, self._running.plane, self._view)

    def subscribe(self, on: bool) -> None:
        """Whether somebody listens to events now."""
        self._subscribed = on
        if self._parts is not None:
            self._parts.reporter.subscribed = on

    # ---------------------------------------------------------------- stop

    async def stop(self) -> None:
        """Hand over to the other routers, then undo everything."""
        self._stopping = True
        complete = True
        parts = self._running
        priorities: dict[str, int] = {}
        if parts is not None:
            parts.reporter.stopping = True
            parts.upkeep.leave()
            priorities = parts.priorities()
            complete = await parts.client.stop_instances(STOP_LIMIT_S)
            if not complete:
                log.error("the kernel did not give everything up within %g s", STOP_LIMIT_S)
                self._exit_code = EXIT_FAILED
        self._link.handed_over()
        async with self._changing:  # a change under way ends at its commit
            self._running = None
            self._settling.close()
            self._tidying.close()
            if self._chores_handle is not None:
                self._chores_handle.cancel()
            if parts is not None:
                await parts.upkeep.close()
                await parts.upkeep.remove_all()
                ending = self._loop.create_task(parts.trackers.stop())
                await parts.notifier.stop_all(priorities)
                await ending
            if self._parts is not None:
                await self._parts.surroundings.undo(complete=complete)
                if not await self._parts.end(JOIN_LIMIT_S):
                    self._exit_code = EXIT_FAILED
            self._runner.close()


def _load_rest() -> ModuleType:
    """Not before the first advert; but no later than then, because our files may be another
    version's, or gone, when somebody asks for a dump. Returns what writes those."""
    with apart.memory_of_what_stays():
        from fastvrrp.vrrp import dumps

        light.complete()

    return dumps


def _log_exception(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """A mistake in one callback must not stop the others; it is never silent."""
    log.error("%s", context.get("message", "error"), exc_info=context.get("exception"))
