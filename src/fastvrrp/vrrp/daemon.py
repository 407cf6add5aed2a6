"""The VRRP process: configured by the supervisor, it runs the engine and everything about it.

Start: monitor, journal, engine, trackers, notification, commit, READY. Reload: compile, prepare
the surroundings, one commit. Stop: priority 0 and the addresses first, everything else after.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fastvrrp import _core
from fastvrrp.config import model
from fastvrrp.net.journal import Journal
from fastvrrp.net.monitor import Monitor
from fastvrrp.net.programs import assign_preferences
from fastvrrp.notify.queue import Notifier
from fastvrrp.supervisor.link import Arguments, ConfigurationRefused, Link
from fastvrrp.supervisor.messages import BEAT_INTERVAL_S
from fastvrrp.supervisor.rundir import JOURNAL_NAME
from fastvrrp.track.manager import Trackers
from fastvrrp.track.runner import RunnerClient
from fastvrrp.vrrp import dumps, tuning
from fastvrrp.vrrp.engine_client import EngineClient
from fastvrrp.vrrp.plane import Draft, Plane, RefusedError
from fastvrrp.vrrp.report import NO_SLOT, Reporter
from fastvrrp.vrrp.status import answer
from fastvrrp.vrrp.surroundings import Surroundings, SurroundingsError
from fastvrrp.vrrp.trackers_view import TrackersView
from fastvrrp.vrrp.upkeep import Upkeep

log = logging.getLogger(__name__)

EXIT_FAILED = 1
EXIT_PERMISSION = 4
EXIT_INTERNAL = 70  # EX_SOFTWARE of sysexits.h, keepalived's code for a program error
STOP_LIMIT_S = 3.0  # for the engine to say goodbye and the kernel to give the addresses up
JOIN_LIMIT_S = 2.0
IPV6_FORWARDING = "/proc/sys/net/ipv6/conf/{}/forwarding"


def forwards_ipv6(interface: str) -> bool:
    """Whether the kernel forwards IPv6 packets that come in by an interface."""
    try:
        return Path(IPV6_FORWARDING.format(interface)).read_text("ascii").strip() != "0"
    except OSError:
        return False


class Daemon:
    """Handlers of the supervisor's requests (supervisor.link.Handlers), and what they act on."""

    def __init__(self, arguments: Arguments) -> None:
        self._loop = asyncio.get_running_loop()
        self._runner = RunnerClient(arguments.scripts)
        self._journal = Journal(arguments.run_dir / JOURNAL_NAME)
        self._view = TrackersView()
        self._monitor: Monitor
        self._engine: _core.Engine
        self._client: EngineClient
        self._plane: Plane
        self._reporter: Reporter
        self._upkeep: Upkeep
        self._surroundings: Surroundings
        self._trackers: Trackers
        self._notifier: Notifier
        self._running = False
        self._stopping = False
        self._changing = asyncio.Lock()  # held while a configuration is put into effect
        self._subscribed = False
        self._view_handle: asyncio.Handle | None = None
        self._turns = -1
        self._beat_handle: asyncio.TimerHandle | None = None
        self.exit_code = 0
        self.link = Link(arguments.channel, self)
        self.broken: asyncio.Future[None] = self._loop.create_future()

    async def run(self) -> int:
        """Until stopped; returns the exit code."""
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._stop_soon)
        self._loop.set_exception_handler(_log_exception)
        self._beat()
        closed = self._loop.create_task(self.link.closed())
        await asyncio.wait({closed, self.broken}, return_when=asyncio.FIRST_COMPLETED)
        closed.cancel()
        return self.exit_code

    def _stop_soon(self) -> None:
        self._stop_task = self._loop.create_task(self.link.stop())

    def _beat(self) -> None:
        """The supervisor hears of us only while both this loop and the engine make progress."""
        self._beat_handle = self._loop.call_later(BEAT_INTERVAL_S, self._beat)
        if not self._running:
            self.link.beat()
            return
        turns = self._engine.counters()["turns"]
        if turns != self._turns:
            self._turns = turns
            self.link.beat()
        # An engine with nothing to do makes no turns: a command that changes nothing is one.
        self._engine.fault(NO_SLOT)
        if self._plane.configuration.global_defs.log_unknown_vrids:
            self._reporter.unknown_vrids(self._engine.counters()["vrid_err"])

    # ---------------------------------------------------------------- configure

    async def configure(self, configuration: model.Configuration, epoch: int) -> Sequence[str]:
        """Start with a configuration, or change to it; returns what changed.

        Raises ConfigurationRefused.
        """
        configuration = assign_preferences(configuration)
        try:
            async with self._changing:
                if self._running:
                    return await self._reload(configuration)
                return await self._start(configuration)
        except PermissionError as exc:
            log.error("a permission is missing (NET_ADMIN, NET_RAW): %s", exc)
            await self._give_up(EXIT_PERMISSION)
        except (ConfigurationRefused, asyncio.CancelledError):
            raise
        except Exception:
            # Whatever it was, it may have stopped half-way, and half a configuration must not
            # run: the supervisor cleans up and starts with the last one that did.
            log.exception("putting a configuration into effect failed")
            await self._give_up(EXIT_INTERNAL)
        raise AssertionError("unreachable")

    async def _give_up(self, code: int) -> None:
        """End without an answer: the exit code tells the supervisor what is of use now."""
        self.exit_code = code
        if not self.broken.done():
            self.broken.set_result(None)
        await asyncio.Event().wait()

    async def _start(self, configuration: model.Configuration) -> Sequence[str]:
        tuning.tune_process(configuration.global_defs)
        try:
            await self._make(configuration)
            draft = self._plane.prepare(configuration)
            await self._surroundings.prepare(model.Configuration(), configuration)
        except PermissionError:
            raise
        except (OSError, RefusedError, SurroundingsError) as exc:
            raise ConfigurationRefused(str(exc)) from exc
        self._trackers = Trackers(configuration, self._runner, self._tracked)
        self._notifier = Notifier(configuration, self._runner)
        self._reporter.notifier = self._notifier
        await self._notifier.start()
        self._commit(draft)
        self._running = True
        await self._client.committed(self._client.epoch)
        await self._upkeep.run()
        await self._trackers.start()
        self._view.update(self._trackers.status())
        if self._engine.rt_errno:
            log.warning("vrrp_rt_priority is not effective: the kernel refuses it")
        _settle_memory()
        self.link.ready()
        return draft.plan.changes

    async def _make(self, configuration: model.Configuration) -> None:
        """The parts that live as long as the process. Raises OSError."""
        self._monitor = Monitor()
        await self._monitor.start()
        self._engine = tuning.start_engine(configuration)
        self._client = EngineClient(self._engine)
        self._plane = Plane(
            self._client,
            lambda: self._monitor.observed,
            tuning.capacity(configuration),
            tracker_state=lambda name: self._trackers.initial(name),
            hold_until_ns=tuning.hold_until_ns(configuration.global_defs),
            forwarding=forwards_ipv6,
        )
        self._surroundings = Surroundings(self._journal, lambda: self._monitor.observed)
        self._upkeep = Upkeep(
            self._plane,
            self._monitor,
            before_refresh=lambda: self._surroundings.interfaces_changed(self._plane.configuration),
        )
        self._reporter = Reporter(
            self._plane,
            self.link,
            on_committed=self._committed,
            on_unsettled=lambda: self._upkeep.schedule(1.0),
            on_outdated=lambda name: self._upkeep.touch((name,), instances=True),
        )
        self._reporter.subscribed = self._subscribed
        self._client.listen(self._reporter)
        self._client.attach(self._loop)
        self._monitor.on_link = self._upkeep.on_link
        self._monitor.on_address = self._upkeep.on_address
        self._monitor.on_route = self._upkeep.on_route
        self._monitor.on_rule = self._upkeep.on_rule
        self._monitor.on_resync = self._upkeep.on_resync

    def _commit(self, draft: Draft) -> None:
        if self._stopping:
            raise ConfigurationRefused("the process is stopping")
        try:
            self._plane.commit(draft)
        except RefusedError as exc:
            raise ConfigurationRefused(str(exc)) from exc

    def _committed(self, epoch: int) -> None:
        self._plane.confirmed(epoch)

    async def _reload(self, configuration: model.Configuration) -> Sequence[str]:
        old = self._plane.configuration
        self._upkeep.freeze()
        try:
            draft = self._plane.prepare(configuration)
            await self._surroundings.prepare(old, configuration)
            await self._trackers.reload(configuration)
            await self._notifier.reload(configuration)
            try:
                self._commit(draft)
            except ConfigurationRefused:
                await self._trackers.reload(old)
                await self._notifier.reload(old)
                await self._surroundings.restore(old)
                raise
            self._tell_names(draft)
            await self._client.committed(self._client.epoch)
            self._surroundings.settle(configuration)
            await self._upkeep.run()
        except (RefusedError, SurroundingsError) as exc:
            raise ConfigurationRefused(str(exc)) from exc
        finally:
            self._upkeep.thaw()
        # What the kernel told meanwhile was not acted upon, and the draft may be older than it.
        self._upkeep.touch(self._plane.running, instances=True)
        self._upkeep.schedule(0.3)
        self._view.update(self._trackers.status())
        _settle_memory()
        return draft.plan.changes

    def _tell_names(self, draft: Draft) -> None:
        for instance in draft.plan.removed:
            self._notifier.instance_deleted(instance.name, instance.priority)
        for old_name, new_name in draft.plan.renamed.items():
            self._reporter.renamed(old_name, self._plane.running[new_name])
        self._reporter.drained()

    # ---------------------------------------------------------------- trackers

    def _tracked(self, name: str, adjust: int, fault: int) -> None:
        self._plane.set_tracking(name, adjust, fault)
        if self._view_handle is None:
            self._view_handle = self._loop.call_soon(self._look_at_trackers)

    def _look_at_trackers(self) -> None:
        self._view_handle = None
        for one in self._view.update(self._trackers.status()):
            self._reporter.tracker(one.kind, one.name, one.up, one.detail)

    # ---------------------------------------------------------------- requests

    async def dump(self, kind: str, path: Path) -> None:
        """Write a dump file. Raises OSError."""
        if self._running:
            self._view.update(self._trackers.status())
            dumps.write(kind, path, self._plane, self._view)

    async def call(self, method: str, params: dict[str, Any]) -> Any:
        """A control request. Raises ControlError."""
        if not self._running:
            return {"instances": [], "groups": [], "trackers": [], "engine": {}}
        self._view.update(self._trackers.status())
        return answer(method, params, self._plane, self._view)

    def subscribe(self, on: bool) -> None:
        """Whether somebody listens to events now."""
        self._subscribed = on
        if self._running:
            self._reporter.subscribed = on

    # ---------------------------------------------------------------- stop

    async def stop(self) -> None:
        """Hand over to the other routers, then undo everything."""
        self._stopping = True
        if not self._running:
            async with self._changing:  # a start under way ends at its commit
                await self._stop_half_made(complete=True)
            return
        self._reporter.stopping = True
        priorities = {
            name: mirror.priority
            for name, running in self._plane.running.items()
            if (mirror := self._client.mirror(running.slot)) is not None
        }
        complete = await self._client.stop_instances(STOP_LIMIT_S)
        if not complete:
            log.error("the kernel did not give everything up within %g s", STOP_LIMIT_S)
            self.exit_code = EXIT_FAILED
        async with self._changing:
            self._running = False
            await self._upkeep.close()
            await self._upkeep.remove_all()
            ending = self._loop.create_task(self._trackers.stop())
            await self._notifier.stop_all(priorities)
            await ending
            await self._stop_half_made(complete=complete)

    async def _stop_half_made(self, *, complete: bool) -> None:
        """What exists even if a configuration was never put into effect."""
        if self._beat_handle is not None:
            self._beat_handle.cancel()
        if hasattr(self, "_surroundings"):
            await self._surroundings.undo(complete=complete)
        if hasattr(self, "_client"):
            self._client.detach()
            self._engine.stop()
            if not await asyncio.to_thread(self._engine.join, JOIN_LIMIT_S):
                log.error("the engine does not end")
                self.exit_code = EXIT_FAILED
        if hasattr(self, "_monitor"):
            self._monitor.close()
        self._runner.close()


def _settle_memory() -> None:
    """What was just built stays for long: the collector need not look at it any more."""
    began = time.monotonic()
    gc.unfreeze()
    gc.collect()
    gc.freeze()
    log.debug("collected garbage in %.0f ms", 1e3 * (time.monotonic() - began))


def _log_exception(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """A mistake in one callback must not stop the others; it is never silent."""
    log.error("%s", context.get("message", "error"), exc_info=context.get("exception"))
