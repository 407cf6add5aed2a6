"""MISC_CHECK: what exit statuses mean, timeouts, cancelling; through a real script runner."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
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
