"""Nothing that a killed script started outlives it, except a daemon it meant to start."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from track_helpers import MakeScript, alive

from fastvrrp.supervisor.kin import Kin
from fastvrrp.supervisor.process import become_subreaper
from fastvrrp.supervisor.runner import Executor
from fastvrrp.track import procfs
from fastvrrp.track.runner import Outcome
from looping import Run, S, command, until

PR_SET_CHILD_SUBREAPER = 36  # include/uapi/linux/prctl.h


@pytest.fixture
def reaper() -> Iterator[None]:
    """This process adopts orphans, as the supervisor does, and buries them in the end."""
    before = set(procfs.children())
    become_subreaper()
    yield
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, ctypes.c_ulong(0), 0, 0, 0)
    for pid in set(procfs.children()) - before:
        os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, 0)


class Scene:
    """Scripts that note the pids of what they start."""

    def __init__(self, make_script: MakeScript, directory: Path) -> None:
        self.pidfile = directory / "pids"
        self.pidfile.touch()
        note = f"echo $$ >> {self.pidfile}"
        self.sleeper = make_script(f"{note}; exec sleep 30")
        self.stubborn = make_script(f"trap '' TERM; {note}; while :; do sleep 0.05; done")
        self._make = make_script

    def pids(self) -> list[int]:
        return [int(word) for word in self.pidfile.read_text().split()]

    async def killed(self, body: str, count: int) -> list[int]:
        """Run a script until `count` pids are noted, then into its deadline; the pids."""
        executor = Executor(term_grace_s=0.3)
        script = command(self._make(body))
        run = asyncio.ensure_future(executor.run(script, timeout_ns=60 * S))
        await until(lambda: len(self.pids()) >= count, 10)
        assert all(map(alive, self.pids()))
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run
        assert not executor.pids
        await executor.close()
        return self.pids()


@pytest.fixture
def scene(make_script: MakeScript, tmp_path: Path, reaper: None) -> Scene:
    return Scene(make_script, tmp_path)


@pytest.mark.parametrize(
    "body",
    [
        "setsid {stubborn} & wait",  # a session of its own, the script being its parent
        "timeout 30 {stubborn} & wait",  # a process group of its own
        "sh -c 'setsid {stubborn} & setsid {sleeper} & wait' & wait",
        "sh -c 'set -m; {stubborn} & exec true'; sleep 30",  # an orphan, in the script's session
        "setsid sh -c 'set -m; {stubborn} & wait' & setsid {sleeper} & wait",
    ],
)
def test_nothing_outlives_a_kill(run: Run, scene: Scene, body: str) -> None:
    async def act() -> None:
        text = body.format(stubborn=scene.stubborn, sleeper=scene.sleeper)
        pids = await scene.killed(text, text.count(scene.stubborn) + text.count(scene.sleeper))
        await until(lambda: not any(map(alive, pids)))

    run(act())


def test_many_that_fled_at_once(run: Run, scene: Scene) -> None:
    async def act() -> None:
        many = f"i=0; while [ $i -lt 60 ]; do setsid {scene.sleeper} & i=$((i+1)); done; wait"
        pids = await scene.killed(many, 60)
        await until(lambda: not any(map(alive, pids)))

    run(act())


def test_a_daemon_that_a_script_started_stays(run: Run, scene: Scene) -> None:
    """Its own session, its parent ended: a notify script may start a service."""

    async def act() -> None:
        (pid,) = await scene.killed(f"setsid --fork {scene.sleeper}; sleep 30", 1)
        await asyncio.sleep(0.1)
        assert alive(pid)

    run(act())


def test_what_a_script_leaves_when_it_ends_by_itself_stays(run: Run, scene: Scene) -> None:
    async def act() -> None:
        executor = Executor()
        script = command("/bin/sh", "-c", f"{scene.sleeper} &")
        assert (await executor.run(script, timeout_ns=S)).outcome is Outcome.EXITED
        await until(scene.pids)
        await executor.close()
        assert all(map(alive, scene.pids()))

    run(act())


def test_programs_of_others_are_never_taken(run: Run, scene: Scene) -> None:
    """Neither another script that runs, nor the orphan of one."""

    async def act() -> None:
        executor = Executor()
        other = await executor.start(command(scene.sleeper))
        shell = f"set -m; {scene.sleeper} & exec true"
        assert (await executor.run(command("/bin/sh", "-c", shell), timeout_ns=S)).ok
        await until(lambda: len(scene.pids()) == 2)
        before = scene.pids()
        await scene.killed(f"setsid {scene.sleeper} & wait", 3)
        assert all(map(alive, before))
        await executor.terminate(other)
        await executor.close()

    run(act())


def test_signals_are_counted(scene: Scene) -> None:
    leader = os.posix_spawn(
        "/bin/sh",
        ["sh", "-c", f"{scene.sleeper} & setsid {scene.sleeper} & wait"],
        dict(os.environ),
        setsid=True,
    )
    kin = Kin(leader, lambda: ())

    async def act() -> None:
        await until(lambda: len(scene.pids()) == 2)
        assert kin.signal(signal.SIGCONT) == 1  # the other is in the leader's own group
        os.kill(leader, signal.SIGKILL)
        await until(lambda: not alive(leader))
        assert kin.signal(signal.SIGKILL) == 1  # an orphan by now, known by its session
        await until(lambda: sum(map(alive, scene.pids())) == 1)
        os.killpg(leader, signal.SIGKILL)
        assert kin.signal(signal.SIGKILL) == 0

    asyncio.run(act())
    os.waitpid(leader, 0)
