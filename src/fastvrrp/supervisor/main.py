"""The supervisor: from the first configuration to the exit code (`start` comes before it).

Order of a start: signals, configuration, network namespace, leftovers of a crash, startup_script,
the processes' configurations, READY. Order of a stop: STOPPING, the VRRP process (priority 0,
addresses), as soon as nobody reaches this host any more the IPVS process (its services),
shutdown_script, socket. It stays simple on purpose: everything else may crash, this may not.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import signal
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from fastvrrp import __version__, light
from fastvrrp.config import model
from fastvrrp.config.include import matching
from fastvrrp.control.protocol import SCHEMA
from fastvrrp.control.server import ControlServer
from fastvrrp.net.namespace import NamespaceError, enter
from fastvrrp.supervisor import dumpfile, janitor, process
from fastvrrp.supervisor.children import Children
from fastvrrp.supervisor.common_fifo import CommonFifo
from fastvrrp.supervisor.configuration import ReadError, Source, log_messages, wall_clock
from fastvrrp.supervisor.early import DUMPS, Early
from fastvrrp.supervisor.held import Held
from fastvrrp.supervisor.housekeeping import settle
from fastvrrp.supervisor.keeper import EXIT_PERMISSION
from fastvrrp.supervisor.planned import PlannedReload
from fastvrrp.supervisor.roles import VRRP
from fastvrrp.supervisor.rundir import RunDir
from fastvrrp.supervisor.runner import Executor
from fastvrrp.supervisor.sdnotify import Notifier
from fastvrrp.supervisor.settling import Settling
from fastvrrp.supervisor.signals import Signals
from fastvrrp.supervisor.spawn import Settings
from fastvrrp.supervisor.start import Options
from fastvrrp.supervisor.traces import Copies, checked, reading
from fastvrrp.track.runner import resolve
from fastvrrp.words import counted, stages

T = TypeVar("T")

log = logging.getLogger(__name__)

CHANGES_SHOWN = 20  # in the log, of one reload
ORPHAN_SWEEP_S = 2.0  # after a child ended, and as long as one waits to be collected
MEMORY_S = 0.5  # from a change until what came of it is kept in little memory
STATUS_S = 1.0  # from a change to systemd's status line: a takeover of many is one change


def supervise(
    options: Options,
    children: Sequence[Settings],
    run_dir: RunDir,
    notifier: Notifier,
    early: Early,
) -> int:
    """The supervisor's part of `start.run`; returns the exit code."""

    async def supervise() -> int:
        with contextlib.closing(Signals(early.signals)) as signals:
            return await Supervisor(options, children, run_dir, notifier, early, signals).run()

    with asyncio.Runner() as runner:
        return runner.run(supervise())


class Supervisor:
    """One run of the daemon inside its run directory."""

    def __init__(
        self,
        options: Options,
        children: Sequence[Settings],
        run_dir: RunDir,
        notifier: Notifier,
        early: Early,
        signals: Signals,
    ) -> None:
        self._settings = children
        self._run_dir = run_dir
        self._notifier = notifier
        self._early = early
        self._signals = signals
        self._loop = asyncio.get_running_loop()
        self._source = Source(options.wanted)
        self._manner = options.manner
        self._started_text = wall_clock()
        self._started = self._loop.time()
        self._exit_code = 0
        self._ready = False
        self._tasks: set[asyncio.Task[Any]] = set()
        self._reloading = asyncio.Lock()
        self._reload_next: asyncio.Task[dict[str, Any]] | None = None  # waits for its turn
        self._orphans = process.Orphans(self._owned)
        self._sweep: asyncio.TimerHandle | None = None
        self._feeding: asyncio.TimerHandle | None = None
        self._status: asyncio.TimerHandle | None = None
        self._settling = Settling(self._settle, MEMORY_S, is_changing=self._reloading.locked)
        self._planned: PlannedReload
        self._executor: Executor
        self._common_fifo: CommonFifo
        self._children: Children
        self._server: ControlServer

    # ---------------------------------------------------------------- start and stop

    async def run(self) -> int:
        """The whole life; returns the exit code."""
        held = await self._unless_stopped(self._first_configuration())
        if held is None:
            return self._exit_code
        # No thread before this: it would stay behind in the old namespace.
        if not self._prepare(held):
            return 1
        self._accept(held)
        Copies(held.global_defs, 0).keep(held.source_files)
        defs = held.global_defs
        del held  # this frame is there to the end, and a reload brings another one
        self._planned = PlannedReload(lambda: self._spawn(self.reload()))
        self._executor = Executor()
        self._common_fifo = CommonFifo(self._executor)
        try:
            await janitor.clean_leftovers(self._run_dir.journal)
            await self._script("startup_script", defs.startup_script, defs.startup_script_timeout_s)
            if not self._signals.stopped:
                await self._serve()
            defs = self._source.held.global_defs
            await self._script(
                "shutdown_script", defs.shutdown_script, defs.shutdown_script_timeout_s
            )
        finally:
            await self._executor.close()
        log.info("Stopped")
        return self._exit_code

    async def _first_configuration(self) -> Held | None:
        try:
            outcome = await self._source.read(self._early.take_reading())
        except (OSError, ReadError) as exc:
            log.error("%s cannot be read: %s", self._source.path, exc)
            self._exit_code = 1
            return None
        telling = self._spawn(log_messages(outcome.messages))
        if outcome.held is None:
            await telling
            errors = counted(outcome.errors, "error")
            log.error("%s: %s: not started", self._source.path, errors)
            manner = self._manner
            is_there = any(file.exists() for file in matching(self._source.path))
            self._exit_code = manner.exit_configuration if is_there else manner.exit_missing
        return outcome.held

    def _accept(self, held: Held) -> None:
        self._source.accept(held)
        manner = self._manner
        settle("supervisor", held.global_defs, name=manner.names["supervisor"], umask=manner.umask)

    async def _unless_stopped(self, work: Coroutine[Any, Any, T]) -> T | None:
        """Its result; None, and it is cancelled, when a stop comes first."""
        task = self._loop.create_task(work)
        stop = self._loop.create_task(self._signals.wait_stop())
        await asyncio.wait({task, stop}, return_when=asyncio.FIRST_COMPLETED)
        stop.cancel()
        if task.done():
            return task.result()
        task.cancel()
        await asyncio.wait({task})
        return None

    def _prepare(self, held: Held) -> bool:
        try:
            process.become_subreaper()
        except OSError as exc:
            log.warning("orphans of scripts will not be seen: %s", exc)
        name = held.global_defs.net_namespace
        if name is not None:
            self._early.discard_child()  # it was born outside
            try:
                enter(name)
            except NamespaceError as exc:
                log.error("%s", exc)
                return False
        return True

    async def _serve(self) -> None:
        self._children = Children(
            self._settings,
            self._source.held,
            self._source.epoch,
            self._executor,
            clean=lambda part, states: janitor.clean_up(part, states, self._run_dir.journal),
            on_event=self._publish,
            on_change=self._changed,
            on_running=self._running,
            on_fatal=self._fatal,
            spare=self._early.take_child,
        )
        role = self._early.role
        if role is not None and not self._source.held.parts[role.name].needed:
            self._early.discard_child()
        self._server = ControlServer(
            self._run_dir.control,
            {
                "version": self._on_version,
                "status": self._on_status,
                "counters": self._children.counters,
                "reload": lambda params: self.reload(),
            },
            on_subscribers=self._children.subscribe,
        )
        try:
            await self._server.start()
        except OSError as exc:
            log.error("cannot create the control socket: %s", exc)
            self._exit_code = 1
            return
        if not self._children.needed:
            log.warning("%s configures nothing that could be run yet", self._source.path)
        await self._common_fifo.settle(self._source.held)
        self._children.start()
        self._changed()
        self._signals.connect(self)
        self._plan_reload()
        self.on_child_end()  # adopted before anybody listened
        if self._notifier.watchdog_s is not None:
            self._feed(self._notifier.watchdog_s)
        await self._signals.wait_stop()
        log.info("Stopping")
        self._notifier.stopping("stopping")
        self._planned.close()
        self._settling.close()
        for handle in (self._feeding, self._status, self._sweep):
            if handle is not None:
                handle.cancel()
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self._children.stop(self._source.held.global_defs.child_wait_time_s)
        await self._common_fifo.close()
        await self._server.stop()

    async def _script(self, what: str, command: model.Command | None, timeout_s: int) -> None:
        if command is None:
            return
        account = self._source.held.global_defs.script_account
        run = self._loop.create_task(
            self._executor.run(resolve(command, account), timeout_ns=timeout_s * model.NS_PER_S)
        )
        if not self._signals.stopped:
            stop = self._loop.create_task(self._signals.wait_stop())
            await asyncio.wait({run, stop}, return_when=asyncio.FIRST_COMPLETED)
            if not run.done():
                run.cancel()  # a stop does not wait for startup_script
                return
            stop.cancel()
        result = await run
        if not result.ok:
            log.warning("%s %s: %s", what, command.argv[0], result)

    def _fatal(self, code: int, reason: str) -> None:
        log.error("stopping: %s", reason)
        self._exit_code = code
        if code == EXIT_PERMISSION:
            self._notifier.error(errno.EPERM)
        self._signals.stop()

    # ---------------------------------------------------------------- while running

    def on_signal(self, number: int) -> None:
        """A signal other than those that stop us."""
        if number == signal.SIGHUP:
            self._spawn(self.reload())
            return
        kind = DUMPS[number]
        self._children.dump(kind, lambda role: self._dump_path(kind, role))
        if kind == "data":
            self._dump(self._dump_path(kind, "supervisor"))

    def _dump_path(self, kind: str, role: str) -> Path:
        directory = self._manner.dump_dir or self._run_dir.path
        return dumpfile.place(kind, role, self._source.held.global_defs, directory)

    def _dump(self, path: Path) -> None:
        """The supervisor's own part of the state dump."""
        record = msgspec.json.format(msgspec.json.encode(self._daemon_record()), indent=2)
        try:
            dumpfile.replace(path, record + b"\n")
        except OSError as exc:
            log.error("cannot write %s: %s", path, exc)

    def _feed(self, period_s: float) -> None:
        """Tell systemd's watchdog that all is well."""
        if self._children.healthy:
            self._notifier.watchdog()
        self._feeding = self._loop.call_later(period_s, self._feed, period_s)

    def on_child_end(self) -> None:
        """SIGCHLD: perhaps an adopted process that nobody waits for, or a child that was stopped.
        Nothing runs by time alone."""
        if self._sweep is None and not self._signals.stopped:
            self._sweep = self._loop.call_later(ORPHAN_SWEEP_S, self._collect_orphans)

    def _collect_orphans(self) -> None:
        self._sweep = None
        self._children.look()
        for pid in self._orphans.sweep():
            log.debug("collected orphan %d", pid)
        if self._orphans.waiting:
            self.on_child_end()

    def _owned(self) -> frozenset[int]:
        return self._executor.pids | self._children.pids

    def _spawn(self, coroutine: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """A task that does not outlive the stop."""
        task = self._loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _changed(self) -> None:
        if self._manner.pid_files is not None:
            self._manner.pid_files.update(self._children.pids_by_role)
        if not self._ready and self._children.settled:
            self._ready = True
            self._manner.on_ready()
            self._notifier.ready(self._children.status_line())
            log.info("Ready: %s", self._children.status_line())
            self._children.pack()  # its memory is what comes next can use
            self._prepare_for_a_crash()
            light.complete()
            self._settle_soon()
        elif self._notifier.active and self._status is None and not self._signals.stopped:
            self._status = self._loop.call_later(STATUS_S, self._tell_status)

    def _prepare_for_a_crash(self) -> None:
        if self._source.held.parts[VRRP.name].needed:
            janitor.load()

    def _running(self) -> None:
        """A child runs; after a start that is over, in place of another. That one's end and this
        one's beginning took the configuration out of little memory, and more."""
        if self._ready:
            self._settle_soon()

    def _settle_soon(self) -> None:
        """After a change, when the states that came of it were told."""
        if self._signals.stopped:
            return
        self._settling.soon()

    def _settle(self) -> None:
        self._children.pack()
        self._source.held.pack()
        process.settle_memory()

    def _tell_status(self) -> None:
        self._status = None
        self._notifier.status(self._children.status_line())

    def _publish(self, record: dict[str, Any]) -> None:
        record.setdefault("time", wall_clock())
        self._server.publish(record)

    # ---------------------------------------------------------------- reload

    async def reload(self) -> dict[str, Any]:
        """Read the file again and change to it; returns the result as on the control socket.

        At most one runs and one waits: whoever asks during a reload shares the next one.
        """
        if self._reload_next is None:
            self._reload_next = self._spawn(self._reload_in_turn())
        return await asyncio.shield(self._reload_next)

    async def _reload_in_turn(self) -> dict[str, Any]:
        async with self._reloading:
            # It reads the files from here on: who asks now may mean a later content.
            self._reload_next = None
            return await self._reload()

    async def _reload(self) -> dict[str, Any]:
        log.info("Reloading %s", self._source.path)
        self._notifier.reloading()
        try:
            result = await self._change_configuration()
        finally:
            if not self._signals.stopped:
                self._notifier.ready(self._children.status_line())
                self._plan_reload()
                self._settle_soon()
        if result["ok"]:
            took = stages(result["read_s"], result["apply_s"])
            log.info("Reloaded: %s (%s)", _brief(result["changes"]), took)
        else:
            log.error("reload refused, the old configuration stays: %s", result["error"])
        self._publish({"kind": "reload", **{k: result[k] for k in result if k != "error"}})
        return result

    def _plan_reload(self) -> None:
        keeping = self._source.held.global_defs.housekeeping
        self._planned.configure(keeping.reload_time_file, repeat=keeping.reload_repeat)

    async def _change_configuration(self) -> dict[str, Any]:
        defs = self._source.held.global_defs
        try:
            with reading(defs):
                outcome = await self._source.read_again()
        except (OSError, ReadError) as exc:
            log.error("%s cannot be read: %s", self._source.path, exc)
            checked(defs, [f"{self._source.path}: it cannot be read: {exc}"])
            return self._source.report(ok=False, messages=(), error=f"it cannot be read: {exc}")
        held, messages = outcome.held, outcome.messages
        checked(defs, messages)
        if held is None:
            error = f"{counted(outcome.errors, 'error')} in the configuration"
            return self._source.report(ok=False, messages=messages, error=error)
        obstacle = self._source.obstacle(held)
        if obstacle:
            return self._source.report(ok=False, messages=messages, error=obstacle)
        await self._common_fifo.prepare(held)
        copies = Copies(defs, self._source.epoch)
        copies.keep(held.source_files)
        self._keep_dump(copies, "before.data")
        began = self._loop.time()
        came = await self._children.configure(held, self._source.epoch + 1)
        apply_s = self._loop.time() - began
        self._keep_dump(copies, "after.data")
        if came.taken:
            self._accept(held)
            self._prepare_for_a_crash()
        await self._common_fifo.settle(self._source.held)
        error = "; ".join(came.refusals)
        if error and came.taken:
            error += "; the other process has changed to the new configuration"
        return self._source.report(
            ok=not came.refusals,
            messages=messages,
            changes=came.changes,
            error=error,
            apply_s=apply_s,
        )

    def _keep_dump(self, copies: Copies, name: str) -> None:
        """A child answers in turn: what it writes is from before or after the change."""
        directory = copies.directory()
        if directory is not None:
            self._children.dump("data", lambda role: directory / f"{role}-{name}")

    # ---------------------------------------------------------------- control requests

    async def _on_version(self, params: dict[str, Any]) -> dict[str, Any]:
        return {"version": __version__, "schema": SCHEMA}

    async def _on_status(self, params: dict[str, Any]) -> dict[str, Any]:
        parts, details = await self._children.status(params)
        daemon = self._daemon_record()
        for name, detail in details.items():
            daemon[name]["detail"] = detail
        return {"daemon": daemon, **parts}

    def _daemon_record(self) -> dict[str, Any]:
        return {
            "version": __version__,
            "pid": os.getpid(),
            "started": self._started_text,
            "uptime_s": self._loop.time() - self._started,
            "run_dir": str(self._run_dir.path),
            "configuration": self._source.record(),
            "last_reload": self._source.last_reload,
            **self._children.records(),
        }


def _brief(changes: Sequence[str]) -> str:
    """What a reload changed, for one line of the log; whoever asked for it gets everything."""
    shown = "; ".join(changes[:CHANGES_SHOWN]) or "nothing changed"
    more = len(changes) - CHANGES_SHOWN
    return f"{shown}; and {more} more" if more > 0 else shown
