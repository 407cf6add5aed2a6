"""The script runner of the supervisor: the only place that starts programs.

`Executor` runs them: no shell, exactly the given arguments, the configured account with no other
groups than it names, a session of their own, a fixed environment, /dev/null for the three
standard streams, nothing else open, umask 022, working directory /. `RunnerService` serves an
Executor to a `track.runner.RunnerClient` in another process.

A program that outlives its deadline gets SIGTERM (its whole process group and what left it, see
kin.py), SIGKILL two seconds later, and SIGKILL again until all of it is gone. Its exit status is
collected only after the last signal, so that a process group number is never signalled after the
kernel may have reused it. Ends are noticed through pidfds and collected by process id, never
with waitpid(-1): the supervisor's other children, and orphans it adopted, stay theirs.
`Executor.pids` names the processes owned here, for whoever collects the orphans.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import msgspec

from fastvrrp.config import model
from fastvrrp.supervisor.kin import Kin
from fastvrrp.supervisor.readable import legacy_path, readable
from fastvrrp.track.runner import resolve
from fastvrrp.track.runner_wire import (
    CANCEL_WAIT_S,
    Cancel,
    Channel,
    Done,
    Ended,
    Outcome,
    Request,
    Result,
    Run,
    Start,
    encode,
    request_decoder,
)

log = logging.getLogger(__name__)

ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C"}
SHELL = "/bin/sh"
UMASK = 0o022
TERM_GRACE_S = 2.0  # from SIGTERM to SIGKILL, and from the first SIGKILL to the second
KILL_REPEAT_S = 10.0  # between further SIGKILLs
KIN_LOOKS = 20  # after SIGKILL, for what was started meanwhile
KIN_LOOK_S = 0.01
LAUNCH_THREADS = 8  # starting a program waits for its exec, which a dead file server can hold up


class _Launched(NamedTuple):
    """What a launch thread hands to the loop."""

    popen: subprocess.Popen[bytes]
    pidfd: int
    started_ns: int


class _Program(msgspec.Struct, eq=False):
    popen: subprocess.Popen[bytes]
    pidfd: int
    started_ns: int
    gone: asyncio.Future[None]  # ended, not yet collected
    stop: asyncio.Future[None]  # somebody wants it ended
    ending: bool = False  # its end is nothing to tell of

    @property
    def pid(self) -> int:
        return self.popen.pid

    def request_stop(self) -> None:
        if not self.stop.done():
            self.stop.set_result(None)

    def signal_group(self, number: signal.Signals) -> None:
        # The leader is not collected yet, so its process group number is still its own.
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:
            return
        except PermissionError as error:
            log.warning("cannot signal process group %d: %s", self.pid, error)


class Executor:
    """Runs programs for the event loop it is created in. Satisfies `track.runner.Runner`."""

    def __init__(
        self,
        *,
        default_account: model.Account | None = None,
        term_grace_s: float = TERM_GRACE_S,
        kill_repeat_s: float = KILL_REPEAT_S,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._default_account = default_account
        self._term_grace_s = term_grace_s
        self._kill_repeat_s = kill_repeat_s
        self._threads = ThreadPoolExecutor(LAUNCH_THREADS, thread_name_prefix="launch")
        self._programs: dict[int, _Program] = {}
        self._handles: dict[int, tuple[_Program, asyncio.Task[Result]]] = {}
        self._launches: set[asyncio.Future[_Launched]] = set()
        self._abandoned: set[asyncio.Task[None]] = set()
        self._next_handle = 1
        self._supervisions: set[asyncio.Task[Result]] = set()
        self._shebang_warned: set[str] = set()
        self._closed = False

    @property
    def pids(self) -> frozenset[int]:
        """Processes started here and not collected yet: nobody else may wait for them."""
        return frozenset(self._programs)

    async def run(
        self,
        command: model.Command,
        *,
        timeout_ns: int,
        extra_args: Sequence[str] = (),
        wait: bool = True,
    ) -> Result:
        """See `track.runner.Runner.run`. `</path` tests whether the account can read the file."""
        timeout_s = timeout_ns / model.NS_PER_S
        path = legacy_path(command.argv)
        if path is not None:
            return await self._test_readable(path, self._account(command), timeout_s)
        program = await self._launch(command, extra_args)
        if isinstance(program, Result):
            return program
        supervision = self._supervise(program, timeout_s)
        if not wait:
            return Result(outcome=Outcome.STARTED)
        try:
            return await asyncio.shield(supervision)
        except asyncio.CancelledError:
            program.request_stop()
            await asyncio.wait({supervision}, timeout=CANCEL_WAIT_S)
            raise

    async def start(self, command: model.Command, *, extra_args: Sequence[str] = ()) -> int:
        """See `track.runner.Runner.start`."""
        program = await self._launch(command, extra_args)
        if isinstance(program, Result):
            raise OSError(program.code, program.detail, command.argv[0])
        handle = self._next_handle
        self._next_handle += 1
        supervision = self._supervise(program, None)
        self._handles[handle] = (program, supervision)
        supervision.add_done_callback(lambda task: self._ended(handle, command, task))
        return handle

    async def terminate(self, handle: int, *, grace_ns: int = 0) -> None:
        """See `track.runner.Runner.terminate`."""
        if handle in self._handles:
            program, supervision = self._handles[handle]
            program.ending = True
            if grace_ns > 0:
                await asyncio.wait({program.gone}, timeout=grace_ns / model.NS_PER_S)
            program.request_stop()
            await asyncio.wait({supervision})

    async def close(self) -> None:
        """Kill everything that still runs; returns when all of it is gone and collected."""
        self._closed = True
        if self._launches:
            # Bounded: a launch can hang in exec. Whatever it starts later ends by its deadline.
            await asyncio.wait(self._launches, timeout=self._term_grace_s)
            await asyncio.sleep(0)  # whoever asked for the launch takes its program over
        for program in self._programs.values():
            program.request_stop()
        if self._supervisions:
            await asyncio.wait(self._supervisions)
        self._threads.shutdown(wait=False, cancel_futures=True)

    # ------------------------------------------------------------------ starting

    def _account(self, command: model.Command) -> model.Account | None:
        return resolve(command, self._default_account).account

    async def _launch(self, command: model.Command, extra_args: Sequence[str]) -> _Program | Result:
        if self._closed:
            return Result(outcome=Outcome.FAILED, code=errno.ECANCELED, detail="stopping")
        argv = (*command.argv, *extra_args)
        launch = self._loop.run_in_executor(
            self._threads, self._popen, argv, self._account(command)
        )
        self._launches.add(launch)
        launch.add_done_callback(self._launched)
        try:
            launched = await asyncio.shield(launch)
        except asyncio.CancelledError:
            ending = self._loop.create_task(self._abandon(launch))
            self._abandoned.add(ending)
            ending.add_done_callback(self._abandoned.discard)
            await asyncio.wait({ending}, timeout=CANCEL_WAIT_S)
            raise
        except OSError as error:
            number = error.errno or errno.EIO
            return Result(outcome=Outcome.FAILED, code=number, detail=os.strerror(number))
        except (ValueError, subprocess.SubprocessError) as error:
            # A NUL in an argument, or an account that cannot be taken on.
            return Result(outcome=Outcome.FAILED, code=errno.EINVAL, detail=str(error))
        return self._programs[launched.popen.pid]

    def _popen(self, argv: Sequence[str], account: model.Account | None) -> _Launched:
        """Runs in a launch thread. Raises OSError, ValueError, subprocess.SubprocessError."""
        started_ns = time.monotonic_ns()
        try:
            popen = _execute(argv, account)
        except OSError as error:
            if error.errno != errno.ENOEXEC:
                raise
            if argv[0] not in self._shebang_warned:
                self._shebang_warned.add(argv[0])
                log.warning(
                    "%s has no #! line: it is run by %s; add one to choose its interpreter",
                    argv[0],
                    SHELL,
                )
            popen = _execute((SHELL, *argv), account)
        try:
            pidfd = os.pidfd_open(popen.pid)
        except OSError:
            popen.kill()
            popen.wait()
            raise
        return _Launched(popen, pidfd, started_ns)

    def _launched(self, launch: asyncio.Future[_Launched]) -> None:
        # Runs before whoever awaits the launch, so a program is never known to nobody.
        self._launches.discard(launch)
        if launch.cancelled() or launch.exception() is not None:
            return
        popen, pidfd, started_ns = launch.result()
        gone: asyncio.Future[None] = self._loop.create_future()
        stop: asyncio.Future[None] = self._loop.create_future()
        self._programs[popen.pid] = _Program(popen, pidfd, started_ns, gone, stop)

        def ended() -> None:
            self._loop.remove_reader(pidfd)
            gone.set_result(None)

        self._loop.add_reader(pidfd, ended)

    async def _abandon(self, launch: asyncio.Future[_Launched]) -> None:
        """End the program of a launch whose caller was cancelled."""
        await asyncio.wait({launch})
        if not launch.cancelled() and launch.exception() is None:
            program = self._programs[launch.result().popen.pid]
            program.request_stop()
            await self._supervise(program, None)

    # ------------------------------------------------------------------ ending

    def _supervise(self, program: _Program, timeout_s: float | None) -> asyncio.Task[Result]:
        task = self._loop.create_task(self._watch(program, timeout_s))
        self._supervisions.add(task)
        task.add_done_callback(self._supervisions.discard)
        return task

    async def _watch(self, program: _Program, timeout_s: float | None) -> Result:
        await asyncio.wait(
            {program.gone, program.stop},
            timeout=timeout_s,
            return_when=asyncio.FIRST_COMPLETED,
        )
        if program.gone.done():
            return self._collect(program)
        timed_out = not program.stop.done()
        await self._kill(program)
        result = self._collect(program)
        if timed_out:
            return Result(outcome=Outcome.TIMED_OUT, duration_ns=result.duration_ns)
        return result

    async def _kill(self, program: _Program) -> None:
        """The kill ladder, until the leader is gone; what is left of it then dies at once."""
        gone = program.gone
        kin = Kin(program.pid, lambda: self.pids)
        kin.signal(signal.SIGTERM)
        program.signal_group(signal.SIGTERM)
        await asyncio.wait({gone}, timeout=self._term_grace_s)
        await self._kill_all(program, kin)
        pause_s = self._term_grace_s
        while not gone.done():
            await asyncio.wait({gone}, timeout=pause_s)
            await self._kill_all(program, kin)
            if not gone.done():
                log.warning("process %d does not die; is it stuck in the kernel?", program.pid)
            pause_s = self._kill_repeat_s

    async def _kill_all(self, program: _Program, kin: Kin) -> None:
        """SIGKILL until a later look finds nothing: one may have been started meanwhile."""
        for look in range(KIN_LOOKS):
            reached = kin.signal(signal.SIGKILL)
            program.signal_group(signal.SIGKILL)
            if reached:
                await asyncio.sleep(KIN_LOOK_S)
            elif look > 0:
                return
        log.warning("processes that %d started do not die", program.pid)

    def _collect(self, program: _Program) -> Result:
        code = program.popen.wait()
        del self._programs[program.pid]
        os.close(program.pidfd)
        duration_ns = time.monotonic_ns() - program.started_ns
        if code < 0:
            return Result(outcome=Outcome.SIGNALLED, code=-code, duration_ns=duration_ns)
        return Result(outcome=Outcome.EXITED, code=code, duration_ns=duration_ns)

    def _ended(self, handle: int, command: model.Command, task: asyncio.Task[Result]) -> None:
        program, _ = self._handles.pop(handle)
        if not program.ending and not program.stop.done() and not task.cancelled():
            log.warning("%s ended: %s", command.argv[0], task.result())

    # ------------------------------------------------------------------ `</path`

    async def _test_readable(
        self, path: str, account: model.Account | None, timeout_s: float
    ) -> Result:
        started_ns = time.monotonic_ns()
        test = self._loop.run_in_executor(self._threads, readable, path, account)
        try:
            ok = await asyncio.wait_for(asyncio.shield(test), timeout_s)
        except TimeoutError:
            # The thread stays with its open(2); nothing can take it back.
            outcome, code = Outcome.TIMED_OUT, 0
        else:
            outcome, code = Outcome.EXITED, 0 if ok else 1
        duration_ns = time.monotonic_ns() - started_ns
        return Result(outcome=outcome, code=code, duration_ns=duration_ns)


def _execute(argv: Sequence[str], account: model.Account | None) -> subprocess.Popen[bytes]:
    # Without root there is no other account to become, and setgroups(2) is not allowed.
    root = os.geteuid() == 0
    # Blocked signals survive execve(2), and whoever started us may have left some blocked.
    blocked = signal.pthread_sigmask(signal.SIG_SETMASK, ())
    try:
        return subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            close_fds=True,
            cwd="/",
            env=ENVIRONMENT,
            restore_signals=True,
            start_new_session=True,
            user=account.uid if account is not None and root else None,
            group=account.gid if account is not None and root else None,
            extra_groups=_groups(account) if root else None,
            umask=UMASK,
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


def _groups(account: model.Account | None) -> tuple[int, ...]:
    return () if account is None else account.groups


class RunnerService:
    """Serves one client's requests. When the client is gone what it waits for is killed.

    (Programs of `wait=False` run on, at most to their deadline.)

    `allowed`, when given, decides about each command: with it a client whose memory was taken
    over can still start nothing but what the configuration names. Create it inside the running
    loop; it owns the socket, not the executor.
    """

    def __init__(
        self,
        sock: socket.socket,
        executor: Executor,
        *,
        allowed: Callable[[model.Command], bool] | None = None,
    ) -> None:
        self._executor = executor
        self._allowed = allowed
        self._loop = asyncio.get_running_loop()
        self._runs: dict[int, asyncio.Task[None]] = {}
        self._handles: dict[int, int] = {}
        self._background: set[asyncio.Task[None]] = set()
        self._closed: asyncio.Future[None] = self._loop.create_future()
        self._channel: Channel[Request] = Channel(
            sock, request_decoder, self._received, self._disconnected
        )

    async def wait_closed(self) -> None:
        """Return when the client is gone and what it left running has been told to end."""
        await asyncio.shield(self._closed)

    async def close(self) -> None:
        """Hang up; what still runs for the client is killed. Returns when it is gone."""
        self._channel.close()
        self._disconnected()
        if self._background:
            await asyncio.wait(self._background)

    def _received(self, request: Request) -> None:
        match request:
            case Cancel():
                self._keep(self._cancel(request))
            case Run() | Start():
                self._runs[request.id] = self._keep(self._serve(request))

    async def _serve(self, request: Run | Start) -> None:
        try:
            result = await self._execute(request)
        except asyncio.CancelledError:
            result = Result(outcome=Outcome.FAILED, code=errno.ECANCELED, detail="cancelled")
        finally:
            self._runs.pop(request.id, None)
        self._channel.send(encode(Done(request.id, result)))

    async def _execute(self, request: Run | Start) -> Result:
        command = model.Command(argv=request.argv, account=request.account)
        if not request.argv or (self._allowed is not None and not self._allowed(command)):
            log.error("refused to run a command that is not configured: %s", request.argv[:1])
            return Result(
                outcome=Outcome.FAILED, code=errno.EPERM, detail="not a configured command"
            )
        if isinstance(request, Run):
            return await self._executor.run(
                command, timeout_ns=request.timeout_ns, wait=request.wait
            )
        try:
            handle = await self._executor.start(command)
        except OSError as error:
            return Result(
                outcome=Outcome.FAILED, code=error.errno or errno.EIO, detail=str(error.strerror)
            )
        self._handles[request.id] = handle
        return Result(outcome=Outcome.STARTED)

    async def _cancel(self, request: Cancel) -> None:
        run = self._runs.get(request.id)
        if run is not None:
            run.cancel()
            await asyncio.wait({run})
        handle = self._handles.pop(request.id, None)
        if handle is not None:
            await self._executor.terminate(handle, grace_ns=request.grace_ns)
        self._channel.send(encode(Ended(request.id)))

    def _disconnected(self) -> None:
        for run in self._runs.values():
            run.cancel()
        for handle in self._handles.values():
            self._keep(self._executor.terminate(handle))
        self._handles.clear()
        if not self._closed.done():
            self._closed.set_result(None)

    def _keep(self, coroutine: asyncio._CoroutineLike[None]) -> asyncio.Task[None]:
        task = self._loop.create_task(coroutine)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        return task
