"""Process tracking: patterns and quorum as pure functions, then real processes."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastvrrp
from fastvrrp.config import model
from fastvrrp.track import process as process_module
from fastvrrp.track import procfs
from fastvrrp.track.process import Pattern, ProcessWatcher, Quorum
from looping import Run, S, until

MS = 1_000_000


def definition(process: str, *parameters: str, **changes: object) -> model.TrackProcess:
    values: dict[str, object] = {"name": "t", "process": process, "parameters": parameters}
    return model.TrackProcess(**{**values, **changes})  # type: ignore[arg-type]


PP = ("pp", "spawn.pl", "a", "bc", "d")


@pytest.mark.parametrize(
    ("parameters", "param_match", "expected"),
    [
        # What keepalived 2.2.7 counted for a process started as: pp spawn.pl a bc d
        (("spawn.pl",), "partial", True),
        (("spawn.pl",), "initial", True),
        (("spawn.pl", "a", "b"), "initial", True),
        (("spawn.pl", "a", "bc", "d"), "initial", True),
        (("spawn.pl", "a", "b"), "partial", False),
        (("spawn.pl", "a", "bc"), "partial", True),
        (("spawn.pl", "a", "bc", "d"), "partial", True),
        (("spawn.pl", "a", "bc", "d"), "none", True),
        (("spawn.pl", "a", "bc", "d"), "exact", True),
        (("spawn.pl", "a", "bc"), "none", False),
        (("spawn",), "initial", True),
        ((), "exact", False),
        ((), "partial", True),
        ((), "initial", True),
        (("a", "bc"), "partial", False),
        (("spawn.pl", "a", "bc", "d", "e"), "initial", False),
    ],
)
def test_parameters(parameters: tuple[str, ...], param_match: str, expected: bool) -> None:
    pattern = Pattern(definition("pp", *parameters, param_match=param_match))
    assert pattern.matches("perl", lambda: PP, lambda: "/usr/bin/perl") is expected


@pytest.mark.parametrize(
    ("process", "full_command", "comm", "argv", "exe", "expected"),
    [
        ("sleep", False, "sleep", ("/bin/sleep", "1"), "/usr/bin/sleep", True),
        ("sleep", True, "sleep", ("/bin/sleep", "1"), "/usr/bin/sleep", False),
        ("/bin/sleep", True, "sleep", ("/bin/sleep", "1"), "/usr/bin/sleep", True),
        ("/bin/sleep", False, "sleep", ("/bin/sleep", "1"), "/usr/bin/sleep", True),
        ("/usr/bin/sleep", False, "sleep", ("sleep", "1"), "/usr/bin/sleep", True),
        ("/usr/bin/other", False, "sleep", ("sleep", "1"), "/usr/bin/sleep", False),
        ("/sbin/x", False, "x", (), "", False),
        ("kworker", False, "kworker", (), "", True),
        ("averylongname12345", False, "averylongname12", ("x",), "", True),
        ("averylongname1", False, "averylongname12", ("x",), "", False),
        ("sle", False, "sleep", ("sle",), "", False),
    ],
)
def test_names(
    process: str, full_command: bool, comm: str, argv: tuple[str, ...], exe: str, expected: bool
) -> None:
    pattern = Pattern(definition(process, full_command=full_command))
    assert pattern.matches(comm, lambda: argv, lambda: exe) is expected


# ---------------------------------------------------------------------- quorum


@pytest.mark.parametrize(
    ("quorum", "quorum_max", "up_at"),
    [(1, None, {1, 2, 3, 4}), (2, 3, {2, 3}), (1, 0, {0}), (0, 0, {0}), (3, 3, {3})],
)
def test_quorum_range(quorum: int, quorum_max: int | None, up_at: set[int]) -> None:
    one = definition("x", quorum=quorum, quorum_max=quorum_max)
    assert {n for n in range(5) if Quorum(one, n).up} == up_at


def test_delays() -> None:
    one = definition("x", fork_delay_ns=100, terminate_delay_ns=50)
    quorum = Quorum(one, 0)
    assert not quorum.observe(1, 1000)
    assert quorum.due_ns == 1100
    assert not quorum.expire(1099)
    assert quorum.expire(1100)
    assert quorum.up
    assert not quorum.observe(0, 2000)
    assert quorum.due_ns == 2050
    assert not quorum.observe(1, 2040)  # back in time: nothing happened
    assert quorum.due_ns is None
    assert quorum.up


def test_fork_above_the_maximum_waits_for_fork_delay() -> None:
    quorum = Quorum(definition("x", quorum_max=1, fork_delay_ns=100), 1)
    assert not quorum.observe(2, 0)
    assert quorum.due_ns == 100
    assert not quorum.observe(1, 60)
    assert quorum.up
    assert quorum.due_ns is None


@given(
    st.integers(0, 3),
    st.none() | st.integers(0, 4),
    st.integers(0, 30),
    st.integers(0, 30),
    st.lists(st.tuples(st.integers(0, 20), st.integers(0, 5)), max_size=30),
)
def test_quorum_settles(
    least: int, most: int | None, fork: int, terminate: int, steps: list[tuple[int, int]]
) -> None:
    one = definition(
        "x", quorum=least, quorum_max=most, fork_delay_ns=fork, terminate_delay_ns=terminate
    )
    quorum = Quorum(one, 0)
    now = 0
    for pause, count in steps:
        now += pause
        before = quorum.up
        assert quorum.observe(count, now) == (quorum.up != before)
        if quorum.due_ns is not None:
            assert now < quorum.due_ns <= now + max(fork, terminate)
    quorum.expire(now + 31)
    assert quorum.due_ns is None
    assert quorum.up == Quorum(one, quorum.count).up


# ---------------------------------------------------------------------- real processes


@pytest.fixture
def sleeper(tmp_path: Path) -> str:
    """A copy of sleep(1) under a name that nobody else uses."""
    name = f"trk{os.getpid() % 100000}s"
    path = tmp_path / name
    shutil.copy(shutil.which("sleep") or "/bin/sleep", path)
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def processes() -> Iterator[list[subprocess.Popen[bytes]]]:
    started: list[subprocess.Popen[bytes]] = []
    yield started
    for process in started:
        process.kill()
        process.wait()


class Watched:
    def __init__(self, *definitions: model.TrackProcess) -> None:
        self.log: list[tuple[str, bool, float]] = []
        self.watcher = ProcessWatcher(definitions, self.changed, clock=time.monotonic_ns)

    def changed(self, name: str) -> None:
        self.log.append((name, self.watcher.up(name), time.monotonic()))

    @property
    def ups(self) -> list[bool]:
        return [up for _, up, _ in self.log]


def test_births_and_deaths(
    run: Run, sleeper: str, processes: list[subprocess.Popen[bytes]]
) -> None:
    async def scene() -> None:
        watched = Watched(definition(Path(sleeper).name))
        assert not watched.watcher.up("t")
        watched.watcher.start()
        processes.append(subprocess.Popen([sleeper, "30"]))  # noqa: ASYNC220
        await until(lambda: watched.ups == [True])
        start = time.monotonic()
        processes[0].kill()
        # Not collected, so it stays a zombie: that must not count.
        await until(lambda: watched.ups == [True, False])
        # By pidfd, not by the next look at /proc.
        assert watched.log[-1][2] - start < 0.2
        await watched.watcher.stop()

    run(scene())


def test_present_at_construction_and_quorum(
    run: Run, sleeper: str, processes: list[subprocess.Popen[bytes]]
) -> None:
    processes += [subprocess.Popen([sleeper, "30"]) for _ in range(3)]

    async def scene() -> None:
        name = Path(sleeper).name
        watched = Watched(
            definition(name, name="two", quorum=2),
            definition(name, name="none", quorum_max=0),
            definition(sleeper, "30", name="exact", quorum=3),
            definition(sleeper, name="path", quorum=3),
        )
        assert [watched.watcher.up(n) for n in ("two", "none", "exact", "path")] == [
            True,
            False,
            True,
            True,
        ]
        watched.watcher.start()
        for process in processes:
            process.kill()
        await until(lambda: len(watched.log) == 4)
        assert {name: up for name, up, _ in watched.log} == {
            "two": False,
            "none": True,
            "exact": False,
            "path": False,
        }
        assert [s["matches"] for s in watched.watcher.status()] == [0, 0, 0, 0]
        await watched.watcher.stop()

    run(scene())


def test_process_that_execs_later(
    run: Run, sleeper: str, processes: list[subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    go = tmp_path / "go"
    wait = f"while [ ! -e {go} ]; do sleep 0.02; done; exec {sleeper} 30"

    async def scene() -> None:
        watched = Watched(definition(Path(sleeper).name))
        watched.watcher.start()
        processes.append(subprocess.Popen(["/bin/sh", "-c", wait]))  # noqa: ASYNC220
        await asyncio.sleep(2 * process_module.PERIOD_NS / S)
        assert watched.ups == []
        go.touch()
        await until(lambda: watched.ups == [True])
        await watched.watcher.stop()

    run(scene())


def test_terminate_delay_rides_out_a_restart(
    run: Run, sleeper: str, processes: list[subprocess.Popen[bytes]]
) -> None:
    processes.append(subprocess.Popen([sleeper, "30"]))

    async def scene() -> None:
        watched = Watched(definition(Path(sleeper).name, terminate_delay_ns=600 * MS))
        watched.watcher.start()
        processes[0].kill()
        await until(lambda: watched.watcher.status()[0]["delayed"])
        processes.append(subprocess.Popen([sleeper, "30"]))  # noqa: ASYNC220
        await until(lambda: not watched.watcher.status()[0]["delayed"])
        assert watched.ups == []
        start = time.monotonic()
        processes[1].kill()
        await until(lambda: watched.ups == [False])
        assert 0.55 < watched.log[0][2] - start < 1.5
        await watched.watcher.stop()

    run(scene())


def test_redefine_keeps_unchanged_and_recounts_changed(
    run: Run, sleeper: str, processes: list[subprocess.Popen[bytes]]
) -> None:
    processes.append(subprocess.Popen([sleeper, "30"]))

    async def scene() -> None:
        name = Path(sleeper).name
        kept = definition(name, name="kept", terminate_delay_ns=400 * MS)
        watched = Watched(kept, definition(name, name="changed"))
        watched.watcher.start()
        processes[0].kill()
        await until(lambda: watched.ups == [False])  # "changed" has no delay
        await watched.watcher.redefine([kept, definition(name, name="changed", quorum_max=0)])
        assert watched.watcher.up("kept")
        assert watched.watcher.up("changed")
        await until(lambda: not watched.watcher.up("kept"))
        await watched.watcher.stop()

    run(scene())


def test_quiet_turns_do_not_list_proc(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    listings = 0
    pids = procfs.pids

    def counted() -> list[int]:
        nonlocal listings
        listings += 1
        return pids()

    monkeypatch.setattr(procfs, "pids", counted)
    monkeypatch.setattr(procfs, "last_pid", lambda: 4711)
    watched = Watched(definition("nobody-has-this"))
    for _ in range(2 * process_module.LIST_EVERY):
        watched.watcher._scan()
    assert listings == 3  # at construction, and every eighth turn


def test_an_unreadable_proc_is_told_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    watched = Watched(definition("nobody-has-this"))

    def unreadable() -> list[int]:
        raise OSError(errno.ENOENT, "No such file or directory")

    with monkeypatch.context() as patch:
        patch.setattr(procfs, "pids", unreadable)
        patch.setattr(procfs, "last_pid", lambda: None)
        for _ in range(5):
            watched.watcher._scan()
    assert len(caplog.records) == 1
    watched.watcher._scan()
    assert not watched.watcher._blind


NEW_NAMESPACES = ("unshare", "--net", "--pid", "--fork", "--kill-child", "--mount-proc")
NAMESPACE_SCENE = """
import asyncio, subprocess, sys, time
from fastvrrp.config import model
from fastvrrp.track.process import ProcessWatcher

async def main():
    sleeper = sys.argv[1]
    name = sleeper.rsplit("/", 1)[1]
    log = []
    watcher = ProcessWatcher(
        [model.TrackProcess(name="t", process=name)],
        lambda name: log.append(watcher.up(name)),
        clock=time.monotonic_ns,
    )
    assert not watcher.up("t"), "processes of other namespaces must not count"
    watcher.start()
    process = subprocess.Popen([sleeper, "30"])
    deadline = time.monotonic() + 5
    while log != [True] and time.monotonic() < deadline:
        await asyncio.sleep(0.01)
    killed = time.monotonic()
    process.kill()
    while log != [True, False] and time.monotonic() < deadline:
        await asyncio.sleep(0.01)
    assert log == [True, False], log
    assert time.monotonic() - killed < 0.2
    await watcher.stop()
    print("followed")

asyncio.run(main())
"""


@pytest.mark.netns
def test_inside_network_and_pid_namespaces(
    sleeper: str, processes: list[subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    """Where the process connector says nothing."""
    processes.append(subprocess.Popen([sleeper, "30"]))  # outside: not to be counted
    script = tmp_path / "scene.py"
    script.write_text(textwrap.dedent(NAMESPACE_SCENE))
    source = str(Path(fastvrrp.__file__).parents[1])
    result = subprocess.run(
        [*NEW_NAMESPACES, sys.executable, str(script), sleeper],
        env={**os.environ, "PYTHONPATH": source},
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert (result.stdout, result.returncode) == ("followed\n", 0), result.stderr
