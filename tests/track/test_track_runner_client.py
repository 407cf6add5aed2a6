"""Requests of a RunnerClient, carried over a real socket pair to a RunnerService."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from track_helpers import MakeScript, alive

from fastvrrp.config import model
from fastvrrp.supervisor.commands import allowed_commands, allows
from fastvrrp.supervisor.held import Held
from fastvrrp.supervisor.runner import Executor, RunnerService
from fastvrrp.track.runner import Outcome, RunnerClient
from looping import Run, S, command, until


@asynccontextmanager
async def pair(
    allowed: Callable[[model.Command], bool] | None = None,
) -> AsyncIterator[tuple[RunnerClient, RunnerService, Executor]]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    executor = Executor()
    service = RunnerService(theirs, executor, allowed=allowed)
    client = RunnerClient(ours)
    try:
        yield client, service, executor
    finally:
        client.close()
        await service.close()
        await executor.close()


def test_run_results(run: Run) -> None:
    async def scene() -> None:
        async with pair() as (client, _, _):
            result = await client.run(
                command("/bin/sh", "-c", 'exit "$1"', "sh"), timeout_ns=S, extra_args=("4",)
            )
            assert (result.outcome, result.code) == (Outcome.EXITED, 4)
            late = await client.run(command("/bin/sleep", "9"), timeout_ns=S // 20)
            assert late.outcome is Outcome.TIMED_OUT
            missing = await client.run(command("/nonexistent/x"), timeout_ns=S)
            assert (missing.outcome, missing.code) == (Outcome.FAILED, errno.ENOENT)
            started = await client.run(command("/bin/true"), timeout_ns=S, wait=False)
            assert started.outcome is Outcome.STARTED

    run(scene())


def test_many_requests_are_not_mixed_up(run: Run) -> None:
    async def scene() -> None:
        async with pair() as (client, _, _):
            # Enough in flight to fill the socket, so that both send queues are used.
            padding = "x" * 20_000
            runs = [
                client.run(command("/bin/sh", "-c", f"exit {n}", padding), timeout_ns=10 * S)
                for n in range(40)
            ]
            assert [r.code for r in await asyncio.gather(*runs)] == list(range(40))

    run(scene())


def test_too_large_a_request_is_refused_here(run: Run) -> None:
    async def scene() -> None:
        async with pair() as (client, _, executor):
            result = await client.run(command("/bin/true", "x" * 70_000), timeout_ns=S)
            assert (result.outcome, result.code) == (Outcome.FAILED, errno.E2BIG)
            assert not executor.pids

    run(scene())


def test_cancel_reaches_the_program(run: Run, make_script: MakeScript, tmp_path: Path) -> None:
    pidfile = tmp_path / "pid"
    script = make_script(f"echo $$ > {pidfile}.new; mv {pidfile}.new {pidfile}; sleep 30")

    async def scene() -> None:
        async with pair() as (client, _, _):
            task = asyncio.ensure_future(client.run(command(script), timeout_ns=60 * S))
            await until(pidfile.exists)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert not alive(int(pidfile.read_text()))
            assert (await client.run(command("/bin/true"), timeout_ns=S)).ok

    run(scene())


def test_long_running_program(run: Run) -> None:
    async def scene() -> None:
        async with pair() as (client, _, executor):
            handle = await client.start(command("/bin/sleep"), extra_args=("30",))
            (pid,) = executor.pids
            await client.terminate(handle)
            assert not alive(pid)
            await client.terminate(handle)
            with pytest.raises(FileNotFoundError):
                await client.start(command("/nonexistent/x"))

    run(scene())


def test_lost_client_takes_its_programs_along(run: Run) -> None:
    async def scene() -> None:
        async with pair() as (client, service, executor):
            await client.start(command("/bin/sleep", "30"))
            task = asyncio.ensure_future(client.run(command("/bin/sleep", "30"), timeout_ns=60 * S))
            await until(lambda: len(executor.pids) == 2)
            client.close()
            result = await task
            assert (result.outcome, result.code) == (Outcome.FAILED, errno.ECONNRESET)
            await service.wait_closed()
            await until(lambda: not executor.pids)

    run(scene())


def test_lost_supervisor_fails_requests(run: Run) -> None:
    async def scene() -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        client = RunnerClient(ours.detach())
        task = asyncio.ensure_future(client.run(command("/bin/true"), timeout_ns=S))
        await asyncio.sleep(0)
        theirs.close()
        for result in (await task, await client.run(command("/bin/true"), timeout_ns=S)):
            assert (result.outcome, result.code) == (Outcome.FAILED, errno.ECONNRESET)
        await client.terminate(1)
        client.close()

    run(scene())


def test_garbage_ends_the_connection(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    async def scene() -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        executor = Executor()
        service = RunnerService(theirs, executor)
        ours.send(b"\xc1 no MessagePack")
        await asyncio.wait_for(service.wait_closed(), 2)
        ours.close()
        await service.close()
        await executor.close()

    run(scene())
    assert "connection lost" in caplog.text


def test_only_configured_commands(run: Run, tmp_path: Path) -> None:
    account = model.Account(user="root", uid=0, gid=0)
    config = model.Configuration(
        global_defs=model.GlobalDefs(
            script_account=account,
            vrrp_notify_fifo=model.Fifo(path="/x", script=command("/bin/cat")),
        ),
        track_scripts=(model.TrackScript(name="s", command=command("/bin/sh", "-c", "exit 6")),),
        vrrp_instances=(
            model.VrrpInstance(
                name="A",
                virtual_router_id=1,
                family=4,
                version=2,
                notify=model.Notify(notify=command("/bin/echo", account=account)),
            ),
        ),
    )
    part = Held.of(config).parts["vrrp"]
    commands = allowed_commands(part.commands, config.global_defs.script_account)
    assert len(commands) == 3

    async def scene() -> None:
        async with pair(lambda asked: allows(commands, asked)) as (client, _, _):
            good = command("/bin/sh", "-c", "exit 6", account=account)
            assert (await client.run(good, timeout_ns=S)).code == 6
            echo = command("/bin/echo", account=account)
            extra = ("INSTANCE", "A", "MASTER", "100")
            assert (await client.run(echo, timeout_ns=S, extra_args=extra)).ok
            for bad in (
                command("/bin/sh", "-c", "exit 6"),
                command("/bin/sh", "-c", "exit 0", account=account),
                command("/usr/bin/id", account=account),
            ):
                result = await client.run(bad, timeout_ns=S)
                assert (result.outcome, result.code) == (Outcome.FAILED, errno.EPERM)

    run(scene())
