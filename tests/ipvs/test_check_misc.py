"""MISC_CHECK: what exit statuses mean, timeouts, cancelling; through a real script runner."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import resource
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from probing import DOWN, LOCAL, MS, UP, attempt, surroundings

from fastvrrp.config import model
from fastvrrp.config.servers import MiscCheck
from fastvrrp.ipvs.checks.base import Outcome, Surroundings, Verdict, make_probe
from fastvrrp.ipvs.checks.misc import TIMEOUT_GRACE_NS, judge
from fastvrrp.supervisor.runner import Executor, RunnerService
from fastvrrp.track.runner import Outcome as Ending
from fastvrrp.track.runner import Result, RunnerClient
from looping import FakeRunner, Run, S, command, until


def misc(*argv: str, timeout_ns: int = 5 * S, dynamic: bool = False) -> MiscCheck:
    return MiscCheck(command=command(*argv), timeout_ns=timeout_ns, dynamic=dynamic)


def shell(script: str, **more: object) -> MiscCheck:
    return misc("/bin/sh", "-c", script, **more)  # type: ignore[arg-type]


@asynccontextmanager
async def scripts() -> AsyncIterator[Surroundings]:
    """Surroundings whose programs are run by the supervisor's executor, over a socket."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    executor = Executor(term_grace_s=0.3)
    service = RunnerService(theirs, executor)
    client = RunnerClient(ours)
    try:
        yield surroundings(runner=client)
    finally:
        client.close()
        await service.close()
        await executor.close()


def exited(code: int) -> Result:
    return Result(outcome=Ending.EXITED, code=code)


@pytest.mark.parametrize(
    ("result", "plain", "dynamic"),
    [
        (exited(0), (UP, None), (UP, None)),
        (exited(1), (DOWN, None), (DOWN, None)),
        (exited(2), (DOWN, None), (UP, 0)),
        (exited(3), (DOWN, None), (UP, 1)),
        (exited(255), (DOWN, None), (UP, 253)),
        (Result(outcome=Ending.SIGNALLED, code=9), (DOWN, None), (DOWN, None)),
        (Result(outcome=Ending.TIMED_OUT), (DOWN, None), (DOWN, None)),
        (Result(outcome=Ending.FAILED, code=errno.ENOENT), (DOWN, None), (DOWN, None)),
        (Result(outcome=Ending.FAILED, code=errno.EACCES), (DOWN, None), (DOWN, None)),
        (Result(outcome=Ending.FAILED, code=errno.EAGAIN), (LOCAL, None), (LOCAL, None)),
        (Result(outcome=Ending.FAILED, code=errno.ECONNRESET), (LOCAL, None), (LOCAL, None)),
    ],
)
def test_results(
    result: Result, plain: tuple[Verdict, int | None], dynamic: tuple[Verdict, int | None]
) -> None:
    for check, expected in ((misc("x"), plain), (misc("x", dynamic=True), dynamic)):
        outcome = judge(result, check, 7)
        assert (outcome.verdict, outcome.weight_is) == expected
        assert (outcome.latency_ns, outcome.weight) == (7, 0)


def test_weights_are_differences_to_the_configured_one() -> None:
    at_20 = judge(exited(22), misc("x", dynamic=True), 0)
    assert (at_20.adds(5), at_20.adds(100)) == (15, -80)
    assert judge(exited(0), misc("x", dynamic=True), 0).adds(5) == 0


def test_programs(run: Run) -> None:
    async def scene() -> None:
        async with scripts() as around:
            for check, expected in (
                (misc("/bin/true"), (UP, "exited with status 0")),
                (misc("/bin/false"), (DOWN, "exited with status 1")),
                (shell("exit 22", dynamic=True), (UP, "exited with status 22")),
                (shell("kill -9 $$"), (DOWN, "due to signal 9")),
                (shell('[ "$*" = "two words" ]'), (DOWN, "exited with status 1")),
                (
                    misc("/bin/sh", "-c", '[ "$1" = "two words" ]', "sh", "two words"),
                    (UP, "exited with status 0"),
                ),
                (
                    misc("/nonexistent"),
                    (DOWN, "could not be started: No such file or directory"),
                ),
            ):
                assert (await attempt(make_probe(check, around)))[:2] == expected

    run(scene())


def test_the_account(run: Run, tmp_path: Path) -> None:
    nobody = model.Account(user="nobody", uid=65534, gid=65534)
    daemon = model.Account(user="daemon", uid=1, gid=1)
    asked = []

    class Asked(FakeRunner):
        async def program(self, command: model.Command, timeout_ns: int) -> Result:
            asked.append(command)
            return exited(0)

    async def scene() -> None:
        around = surroundings(runner=Asked(), script_account=nobody)
        for account in (None, daemon):
            wanted = MiscCheck(command=command("/bin/id", account=account), timeout_ns=S)
            await attempt(make_probe(wanted, around))

    run(scene())
    assert [one.account for one in asked] == [nobody, daemon]


def test_timeout_kills_the_program_and_its_children(run: Run, tmp_path: Path) -> None:
    pids = tmp_path / "pids"

    async def scene() -> None:
        async with scripts() as around:
            check = shell(f"sleep 60 & echo $! $$ >{pids}; wait", timeout_ns=300 * MS)
            outcome = await attempt(make_probe(check, around))
            assert outcome[:2] == (DOWN, "timed out")
            assert outcome.latency_ns >= 300 * MS
            await until(lambda: not living(pids))

    run(scene())


def test_what_ignores_the_signal_delays_only_its_own_next_run(run: Run, tmp_path: Path) -> None:
    log = tmp_path / "log"
    script = f"echo begin >>{log}; trap '' TERM; sleep 60 & wait; sleep 60; echo end >>{log}"

    async def scene() -> None:
        async with scripts() as around:
            probe = make_probe(shell(script, timeout_ns=200 * MS), around)
            outcome = await attempt(probe, cancel=False)
            assert outcome[:2] == (DOWN, "timed out")
            assert outcome.latency_ns < 200 * MS + TIMEOUT_GRACE_NS + S // 2
            began = time.monotonic()
            outcome = await attempt(probe)
            assert outcome.verdict is DOWN
            assert time.monotonic() - began < 1.2
            assert "end" not in log.read_text()

    run(scene())


DAEMON = """
import os, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        with open(sys.argv[1] + ".new", "w") as file:
            print(os.getpid(), *(os.readlink(f"/proc/self/fd/{fd}") for fd in range(3)), file=file)
            print(len(os.listdir("/proc/self/fd")), file=file)
        os.rename(sys.argv[1] + ".new", sys.argv[1])
        while True:
            print("still here", flush=True)
            time.sleep(0.01)
    os._exit(0)
os.wait()
sys.exit(int(sys.argv[2]))
"""


@pytest.mark.parametrize(("status", "verdict"), [(0, UP), (1, DOWN)])
def test_what_becomes_a_daemon_has_no_say_and_holds_up_nothing(
    run: Run, tmp_path: Path, status: int, verdict: Verdict
) -> None:
    """The end of the program itself counts, though what it left goes on with its streams. That is
    in a session of its own and not killed: it has nothing of ours but /dev/null."""
    said = tmp_path / "said"

    async def scene() -> None:
        async with scripts() as around:
            check = misc(sys.executable, "-c", DAEMON, str(said), str(status), timeout_ns=15 * S)
            outcome = await attempt(make_probe(check, around), 15)
            assert outcome[:2] == (verdict, f"exited with status {status}")
            await until(said.exists)

    try:
        run(scene())
        pid, *streams, opened = said.read_text().split()
        os.kill(int(pid), 0)
        assert streams == ["/dev/null"] * 3
        assert int(opened) == 3 + 2  # the file itself, and the directory that was listed
    finally:
        if said.exists():
            os.kill(int(said.read_text().split()[0]), signal.SIGKILL)


def test_output_without_end_takes_no_memory_and_ends_in_time(run: Run) -> None:
    async def scene() -> None:
        async with scripts() as around:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            flood = "head -c 300000000 /dev/zero; head -c 300000000 /dev/zero >&2"
            outcome = await attempt(make_probe(shell(f"{flood}; exit 3", dynamic=True), around), 15)
            assert (outcome[:2], outcome.weight_is) == ((UP, "exited with status 3"), 1)
            outcome = await attempt(make_probe(shell("yes >&2 & yes", timeout_ns=S), around), 15)
            assert outcome[:2] == (DOWN, "timed out")
            assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 24 * 1024

    run(scene())


class Slow(FakeRunner):
    """Programs that end when told, and take their time to die."""

    def __init__(self, dying_s: float) -> None:
        self.dying_s = dying_s
        self.running = 0
        self.runs = 0
        self.most = 0
        self.end = asyncio.Event()

    async def program(self, command: model.Command, timeout_ns: int) -> Result:
        self.runs += 1
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await self.end.wait()
            return exited(0)
        except asyncio.CancelledError:
            await asyncio.sleep(self.dying_s)
            raise
        finally:
            self.running -= 1


def test_no_overlap_after_a_cancel(run: Run) -> None:
    async def scene() -> None:
        runner = Slow(0.3)
        probe = make_probe(misc("x", timeout_ns=S), surroundings(runner=runner))
        outcomes: list[Outcome] = []
        for _ in range(3):
            probe.start(0, outcomes.append)
            await asyncio.sleep(0.05)
            probe.cancel()
        probe.start(0, outcomes.append)
        await until(lambda: runner.runs == 2)
        runner.end.set()
        await until(lambda: outcomes)
        assert [outcome.verdict for outcome in outcomes] == [UP]
        assert runner.most == 1
        assert runner.running == 0

    run(scene())


def test_a_run_that_does_not_end_is_a_failure_each_time(run: Run) -> None:
    async def scene() -> None:
        runner = Slow(0)
        probe = make_probe(misc("x", timeout_ns=100 * MS), surroundings(runner=runner))
        details = [(await attempt(probe, cancel=False)).detail for _ in range(3)]
        assert details == ["timed out", *["the run before does not end"] * 2]
        assert runner.runs == 1
        runner.end.set()
        assert (await attempt(probe)).verdict is UP
        assert runner.runs == 2

    run(scene())


def test_a_run_that_ends_late_makes_room_for_the_waiting_attempt(run: Run) -> None:
    async def scene() -> None:
        runner = Slow(0)
        probe = make_probe(misc("x", timeout_ns=300 * MS), surroundings(runner=runner))
        assert (await attempt(probe, cancel=False)).verdict is DOWN
        waiting = asyncio.ensure_future(attempt(probe))
        await asyncio.sleep(0.05)
        runner.end.set()
        assert (await waiting).verdict is UP
        assert (runner.runs, runner.most) == (2, 1)

    run(scene())


def test_cancel_kills(run: Run, tmp_path: Path) -> None:
    pids = tmp_path / "pids"

    async def scene() -> None:
        async with scripts() as around:
            probe = make_probe(shell(f"sleep 60 & echo $! $$ >{pids}; wait"), around)
            outcomes: list[Outcome] = []
            probe.start(0, outcomes.append)
            await until(lambda: pids.exists() and len(pids.read_text().split()) == 2)
            assert len(living(pids)) == 2
            probe.cancel()
            await until(lambda: not living(pids))
            assert not outcomes

    run(scene())


def living(pids: Path) -> list[int]:
    """Which of the processes named in the file are there."""
    found = []
    for word in pids.read_text().split():
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(word), 0)
            found.append(int(word))
    return found
