"""The script runner with real processes."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import time
from pathlib import Path

import msgspec
import pytest
from track_helpers import MakeScript, alive

from fastvrrp.config import model
from fastvrrp.supervisor.runner import ENVIRONMENT, Executor
from fastvrrp.track.runner import Outcome
from looping import Run, S, command, until


def test_exit_status_arguments_and_duration(
    run: Run, make_script: MakeScript, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    script = make_script(f'printf "%s|" "$@" > {out}; exit 3')

    async def scene() -> None:
        executor = Executor()
        result = await executor.run(
            command(script, "a b", "$HOME", "*"), timeout_ns=S, extra_args=("INSTANCE", "x;y")
        )
        assert (result.outcome, result.code, result.ok) == (Outcome.EXITED, 3, False)
        assert 0 < result.duration_ns < S
        assert out.read_text() == "a b|$HOME|*|INSTANCE|x;y|"
        assert (await executor.run(command("/bin/true"), timeout_ns=S)).ok
        killed = await executor.run(command(make_script("kill -9 $$")), timeout_ns=S)
        assert (killed.outcome, killed.code) == (Outcome.SIGNALLED, signal.SIGKILL)
        assert executor.pids == frozenset()
        await executor.close()

    run(scene())


def test_environment_is_fixed(
    run: Run, make_script: MakeScript, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LD_PRELOAD", "")
    monkeypatch.setenv("FASTVRRP_CANARY", "leaked")
    monkeypatch.setenv("IFS", "x")
    out = tmp_path / "out"
    leak = os.open(tmp_path / "leaked", os.O_RDONLY | os.O_CREAT, 0o600)
    os.set_inheritable(leak, True)
    script = make_script(
        f"tr '\\0' '\\n' < /proc/$$/environ > {out}.env\n"
        f"ls -l /proc/$$/fd > {out}.fds\n"
        f"pwd > {out}.pwd\n"
        # Not the shell's own: it blocks signals while it starts a program.
        f"exec cat /proc/self/status > {out}.status\n"
    )

    async def scene() -> None:
        executor = Executor()
        assert (await executor.run(command(script), timeout_ns=S)).ok
        await executor.close()

    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGUSR2})
    try:
        run(scene())
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        os.close(leak)
    lines = Path(f"{out}.env").read_text().split("\n")
    assert sorted(filter(None, lines)) == sorted(f"{k}={v}" for k, v in ENVIRONMENT.items())
    links = [line.split(" -> ") for line in Path(f"{out}.fds").read_text().splitlines()[1:]]
    targets = {target for _, target in links}
    # The shell keeps its script and a copy of what it redirected; nothing of ours is there.
    assert targets == {"/dev/null", script, f"{out}.fds"}
    standard = {head.split()[-1]: target for head, target in links}
    assert standard["0"] == standard["2"] == "/dev/null"
    status = dict(
        line.split(":\t", 1)
        for line in Path(f"{out}.status").read_text().splitlines()
        if "\t" in line
    )
    assert int(status["SigBlk"], 16) == 0
    # 32 and 33 are the C library's own: make(1) leaves them ignored and nobody can set them
    assert int(status["SigIgn"], 16) & ~0x180000000 == 0
    assert status["Umask"] == "0022"
    assert status["NSsid"].split()[-1] == status["Pid"]
    assert status["Groups"].strip() == ""
    assert Path(f"{out}.pwd").read_text() == "/\n"


def test_account_is_dropped(
    run: Run, make_script: MakeScript, public_path: Path, nobody: model.Account
) -> None:
    if os.geteuid() != 0:
        pytest.fail("needs root")
    out = public_path / "out"
    out.touch()
    out.chmod(0o666)
    script = make_script(f"id -u > {out}; id -G >> {out}")

    async def scene() -> None:
        executor = Executor(default_account=nobody)
        assert (await executor.run(command(script), timeout_ns=S)).ok
        assert out.read_text().split() == [str(nobody.uid), str(nobody.gid)]
        root = model.Account(user="root", uid=0, gid=0)
        assert (await executor.run(command(script, account=root), timeout_ns=S)).ok
        assert out.read_text().split() == ["0", "0"]
        more = msgspec.structs.replace(nobody, groups=tuple(sorted((1, nobody.gid))))
        assert (await executor.run(command(script, account=more), timeout_ns=S)).ok
        uid, *groups = map(int, out.read_text().split())
        assert (uid, set(groups)) == (nobody.uid, {1, nobody.gid})
        await executor.close()

    run(scene())


def test_deadline_kills_grandchildren(run: Run, make_script: MakeScript, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    child = make_script(f"trap '' TERM; echo $$ >> {pids}; while :; do sleep 0.05; done")
    # The leader ends at SIGTERM, its child does not.
    script = make_script(f"{child} & echo $! >> {pids}; wait")

    async def scene() -> None:
        executor = Executor(term_grace_s=0.3)
        start = time.monotonic()
        result = await executor.run(command(script), timeout_ns=S // 5)
        assert result.outcome is Outcome.TIMED_OUT
        assert 0.2 <= time.monotonic() - start < 1.0
        found = [int(word) for word in pids.read_text().split()]
        assert found
        await until(lambda: not any(map(alive, found)))
        await executor.close()

    run(scene())


def test_deadline_beats_a_script_that_ignores_sigterm(run: Run, make_script: MakeScript) -> None:
    script = make_script("trap 'exit 0' TERM HUP; trap '' TERM; while :; do sleep 0.05; done")

    async def scene() -> None:
        executor = Executor(term_grace_s=0.3)
        start = time.monotonic()
        result = await executor.run(command(script), timeout_ns=S // 10)
        assert result.outcome is Outcome.TIMED_OUT
        assert 0.4 <= time.monotonic() - start < 1.5
        assert executor.pids == frozenset()
        await executor.close()

    run(scene())


def test_exit_zero_at_sigterm_is_still_a_timeout(run: Run, make_script: MakeScript) -> None:
    script = make_script("trap 'exit 0' TERM; while :; do sleep 0.02; done")

    async def scene() -> None:
        executor = Executor()
        result = await executor.run(command(script), timeout_ns=S // 10)
        assert result.outcome is Outcome.TIMED_OUT
        assert not result.ok
        await executor.close()

    run(scene())


def test_what_cannot_be_started(run: Run, tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.write_text("#!/bin/sh\n")

    async def scene() -> None:
        executor = Executor()
        missing = await executor.run(command(str(tmp_path / "missing")), timeout_ns=S)
        assert (missing.outcome, missing.code) == (Outcome.FAILED, errno.ENOENT)
        denied = await executor.run(command(str(plain)), timeout_ns=S)
        assert (denied.outcome, denied.code) == (Outcome.FAILED, errno.EACCES)
        nul = await executor.run(command("/bin/true", "a\0b"), timeout_ns=S)
        assert (nul.outcome, nul.code) == (Outcome.FAILED, errno.EINVAL)
        with pytest.raises(FileNotFoundError):
            await executor.start(command(str(tmp_path / "missing")))
        await executor.close()

    run(scene())


def test_file_without_interpreter_line_runs_in_the_shell(
    run: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "noshebang"
    path.write_text('test "$1" = yes && exit 7\n')
    path.chmod(0o755)

    async def scene() -> None:
        executor = Executor()
        for _ in range(2):
            result = await executor.run(command(str(path), "yes"), timeout_ns=S)
            assert (result.outcome, result.code) == (Outcome.EXITED, 7)
        await executor.close()

    run(scene())
    assert [r.getMessage() for r in caplog.records if "#!" in r.getMessage()] == [
        f"{path} has no #! line: it is run by /bin/sh; add one to choose its interpreter"
    ]


@pytest.mark.parametrize("form", ["joined", "separate"])
def test_legacy_readability_test(
    run: Run, public_path: Path, nobody: model.Account, form: str
) -> None:
    path = public_path / "file"
    path.write_text("x")
    path.chmod(0o600)
    argv = (f"<{path}",) if form == "joined" else ("<", str(path))

    async def scene() -> None:
        executor = Executor()
        assert (await executor.run(command(*argv), timeout_ns=S)).ok
        if os.geteuid() == 0:
            result = await executor.run(command(*argv, account=nobody), timeout_ns=S)
            assert (result.outcome, result.code) == (Outcome.EXITED, 1)
            path.chmod(0o644)
            assert (await executor.run(command(*argv, account=nobody), timeout_ns=S)).ok
        path.unlink()
        result = await executor.run(command(*argv), timeout_ns=S)
        assert (result.outcome, result.code) == (Outcome.EXITED, 1)
        await executor.close()

    run(scene())


def test_cancelling_kills_and_waits(run: Run, make_script: MakeScript, tmp_path: Path) -> None:
    pidfile = tmp_path / "pid"
    script = make_script(f"echo $$ > {pidfile}.new; mv {pidfile}.new {pidfile}; sleep 30")

    async def scene() -> None:
        executor = Executor()
        task = asyncio.ensure_future(executor.run(command(script), timeout_ns=60 * S))
        await until(pidfile.exists)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not alive(int(pidfile.read_text()))
        assert executor.pids == frozenset()
        await executor.close()

    run(scene())


def test_cancelling_during_the_launch_leaves_nothing(run: Run) -> None:
    async def scene() -> None:
        executor = Executor()
        task = asyncio.ensure_future(executor.run(command("/bin/sleep", "30"), timeout_ns=60 * S))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(executor.close(), 3)
        assert executor.pids == frozenset()

    run(scene())


def test_not_waiting_still_has_a_deadline(
    run: Run, make_script: MakeScript, tmp_path: Path
) -> None:
    pidfile = tmp_path / "pid"
    script = make_script(f"echo $$ > {pidfile}.new; mv {pidfile}.new {pidfile}; sleep 30")

    async def scene() -> None:
        executor = Executor()
        result = await executor.run(command(script), timeout_ns=S // 3, wait=False)
        assert result.outcome is Outcome.STARTED
        await until(pidfile.exists)
        pid = int(pidfile.read_text())
        assert pid in executor.pids
        await until(lambda: not executor.pids)
        assert not alive(pid)
        await executor.close()

    run(scene())


def test_start_and_terminate(run: Run) -> None:
    async def scene() -> None:
        executor = Executor()
        handle = await executor.start(command("/bin/sleep"), extra_args=("30",))
        (pid,) = executor.pids
        await executor.terminate(handle)
        assert not alive(pid)
        await executor.terminate(handle)  # a second time does no harm
        start = time.monotonic()
        handle = await executor.start(command("/bin/sleep", "0.1"))
        await executor.terminate(handle, grace_ns=5 * S)
        assert 0.05 <= time.monotonic() - start < 2
        await executor.close()

    run(scene())


def test_other_children_are_left_alone(run: Run) -> None:
    foreign = os.posix_spawn("/bin/sh", ["sh", "-c", "exit 5"], {})

    async def scene() -> None:
        executor = Executor()
        for _ in range(5):
            assert (await executor.run(command("/bin/true"), timeout_ns=S)).ok
        await executor.close()

    run(scene())
    _, status = os.waitpid(foreign, 0)
    assert os.waitstatus_to_exitcode(status) == 5


def test_many_at_once(run: Run) -> None:
    async def scene() -> None:
        executor = Executor()
        runs = [
            executor.run(command("/bin/sh", "-c", f"exit {n}"), timeout_ns=10 * S)
            for n in range(40)
        ]
        results = await asyncio.gather(*runs)
        assert [r.code for r in results] == list(range(40))
        await executor.close()

    run(scene())


def test_nothing_runs_after_close(run: Run) -> None:
    async def scene() -> None:
        executor = Executor()
        running = asyncio.ensure_future(
            executor.run(command("/bin/sleep", "30"), timeout_ns=60 * S)
        )
        await until(lambda: executor.pids)
        await executor.close()
        assert (await running).outcome is Outcome.SIGNALLED
        late = await executor.run(command("/bin/true"), timeout_ns=S)
        assert (late.outcome, late.code) == (Outcome.FAILED, errno.ECANCELED)

    run(scene())
