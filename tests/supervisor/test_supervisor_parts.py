"""The supervisor's small parts: sd_notify, logging, run directory, orphans."""

from __future__ import annotations

import io
import json
import logging
import os
import signal
import socket
import stat
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fastvrrp.config import model
from fastvrrp.supervisor import dumpfile, logs
from fastvrrp.supervisor.given import Given
from fastvrrp.supervisor.link import adopt
from fastvrrp.supervisor.process import Orphans, describe_code
from fastvrrp.supervisor.ratelimit import RateLimit
from fastvrrp.supervisor.rundir import RunDirError, acquire
from fastvrrp.supervisor.sdnotify import Notifier
from fastvrrp.track.inotify import IN_CLOSE_WRITE, IN_MOVED_TO, Inotify
from fastvrrp.vrrp.lines import Lines

# ---------------------------------------------------------------------- sd_notify


@pytest.mark.parametrize("abstract", [False, True])
def test_notify_messages(tmp_path: Path, abstract: bool) -> None:
    name = f"@fastvrrp-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
    receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    receiver.bind(name.replace("@", "\0") if abstract else name)
    receiver.settimeout(5)
    environ = {"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}
    notifier = Notifier(environ)
    assert environ == {}, "children must not believe they are the service"
    assert notifier.watchdog_s == 15.0
    notifier.ready("2 instances")
    notifier.status("2 instances")  # unchanged: not sent
    notifier.status("1\ninstance")
    notifier.reloading()
    notifier.stopping()
    notifier.watchdog()
    notifier.error(1)
    got = [receiver.recv(1000).decode() for _ in range(6)]
    assert got[:2] == ["READY=1\nSTATUS=2 instances", "STATUS=1 instance"]
    first, second = got[2].splitlines()
    assert first == "RELOADING=1"
    key, _, value = second.partition("=")
    assert key == "MONOTONIC_USEC"
    assert abs(int(value) - time.monotonic_ns() // 1000) < 1_000_000
    assert got[3:] == ["STOPPING=1", "WATCHDOG=1", "ERRNO=1"]
    receiver.close()
    notifier.status("systemd is gone, which is no reason to fail")
    notifier.close()


@pytest.mark.parametrize(
    "environ",
    [{}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "relative"}, {"WATCHDOG_USEC": "1000"}],
)
def test_without_systemd_nothing_happens(environ: dict[str, str]) -> None:
    notifier = Notifier(environ)
    notifier.ready("x")
    assert not notifier.active
    assert notifier.watchdog_s is None


@pytest.mark.parametrize(("pid", "usec"), [("1", "1000"), ("", "0"), ("", "soon")])
def test_a_watchdog_that_is_not_ours(pid: str, usec: str) -> None:
    environ = {"NOTIFY_SOCKET": "@x", "WATCHDOG_USEC": usec, "WATCHDOG_PID": pid}
    notifier = Notifier(environ)
    assert notifier.watchdog_s is None
    notifier.close()


# ---------------------------------------------------------------------- logging


def logged(form: str, *, journal: bool = False) -> str:
    stream = io.StringIO()
    formatter = (
        logs.JsonFormatter("vrrp")
        if form == "json"
        else logs.TextFormatter("vrrp", journal=journal)
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter)
    logger = logging.Logger("fastvrrp.test")
    logger.addHandler(handler)
    logger.warning("(%s) two\nlines", "V1")
    return stream.getvalue()


def test_text_has_time_and_level() -> None:
    text = logged("text")
    assert text.endswith(" vrrp warning: (V1) two\nlines\n")
    time.strptime(text[:19], "%Y-%m-%d %H:%M:%S")


def test_journal_lines_have_a_priority_each() -> None:
    assert logged("text", journal=True) == "<4>vrrp: (V1) two\n<4>vrrp: lines\n"


@pytest.mark.parametrize("form", ["text", "json"])
def test_lines_gathered_in_one_record_are_lines_of_their_own(form: str) -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        logs.JsonFormatter("vrrp") if form == "json" else logs.TextFormatter("vrrp", journal=False)
    )
    logger = logging.Logger("fastvrrp.test")
    logger.addHandler(handler)
    lines = Lines(logger)
    lines.info("(%s) %d%%", "V1", 5)
    lines.info("100%")
    assert stream.getvalue() == ""
    lines.flush()
    if form == "json":
        assert [json.loads(line)["message"] for line in stream.getvalue().splitlines()] == [
            "(V1) 5%",
            "100%",
        ]
    else:
        assert [line[23:] for line in stream.getvalue().splitlines()] == [
            " vrrp info: (V1) 5%",
            " vrrp info: 100%",
        ]


def test_json_is_one_object_per_line() -> None:
    (line,) = logged("json").splitlines()
    record = json.loads(line)
    assert record["message"] == "(V1) two\nlines"
    assert (record["level"], record["process"]) == ("warning", "vrrp")
    assert record["time"].endswith("Z")


def test_journal_is_recognised_by_its_inode(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (tmp_path / "stream").open("w") as stream:
        status = os.fstat(stream.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
        assert logs.under_journal(stream)
        monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino + 1}")
        assert not logs.under_journal(stream), "a terminal opened from a service"
        monkeypatch.setenv("JOURNAL_STREAM", "nonsense")
        assert not logs.under_journal(stream)


def test_rate_limit_by_cause() -> None:
    now = [0.0]
    lines: list[str] = []
    logger = logging.Logger("test")
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    logger.addHandler(handler)
    limit = RateLimit(logger, burst=2, interval_s=60, clock=lambda: now[0])
    logged = [limit.log("bad checksum", logging.WARNING, "from %d", n) for n in range(1000)]
    assert logged[:2] == [True, True]
    assert not any(logged[2:])
    assert limit.log("bad length", logging.WARNING, "other causes are not silenced")
    now[0] = 61.0
    assert limit.log("bad checksum", logging.WARNING, "from %d", 1000)
    assert lines == [
        "from 0",
        "from 1",
        "other causes are not silenced",
        "998 more like this in the last 61 s: bad checksum",
        "from 1000",
    ]


def test_rate_limit_has_bounded_memory() -> None:
    limit = RateLimit(logging.Logger("test"), causes=4)
    for number in range(1000):
        limit.log(f"cause {number}", logging.DEBUG, "x")
    assert len(limit._windows) == 4


def test_rate_limit_tells_thousands_of_causes_apart() -> None:
    """In little memory, and those that are over make room for others."""
    now = [0.0]
    lines: list[str] = []
    logger = logging.Logger("test")
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    handler.setLevel(logging.INFO)
    logger.addHandler(handler)
    limit = RateLimit(logger, burst=2, interval_s=60, causes=5001, clock=lambda: now[0])

    def count() -> None:
        for number in range(4000):
            limit.log(f"a {number}", logging.DEBUG, "shown nowhere")

    assert _traced(count) < 4000 * 48
    for number in range(4000):
        now[0] += 0.001
        for _ in range(1 + number % 3):
            limit.log(f"a {number}", logging.INFO, f"{number}")
    assert lines == [f"{number}" for number in range(4000)], "two of each, one of which came before"
    lines.clear()
    now[0] = 62.0
    for number in range(5000):
        limit.log(f"b {number}", logging.INFO, f"{number}")
    assert lines == [f"{number}" for number in range(5000)], "those that are over are forgotten"
    lines.clear()
    limit.log("a 2", logging.INFO, "anew")
    assert lines == ["anew"], "by the cause that all others share"
    now[0] = 125.0
    for number in (1, 2, 2, 2):
        limit.log(f"b {number}", logging.INFO, "again")
    assert lines == ["anew", "again", "again", "again"]


def _traced(act: Callable[[], object]) -> int:
    """Bytes that stay."""
    tracemalloc.start()
    try:
        act()
        return tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()


def test_rate_limit_is_not_evaded_by_many_causes() -> None:
    """Causes in turn, more than are counted: none is forgotten to be logged as new."""
    now = [0.0]
    limit = RateLimit(
        logging.Logger("test"), burst=2, interval_s=60, causes=4, clock=lambda: now[0]
    )

    def logged() -> int:
        causes = [f"cause {number}" for _ in range(50) for number in range(10)]
        return sum(limit.log(cause, logging.DEBUG, "x") for cause in causes)

    assert logged() == 4 * 2
    now[0] = 59.0
    assert logged() == 0
    now[0] = 61.0
    assert logged() == 4 * 2


# ---------------------------------------------------------------------- run directory


def test_run_directory_is_private_and_exclusive(tmp_path: Path) -> None:
    path = tmp_path / "a" / "run"
    first = acquire(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o750
    with pytest.raises(RunDirError, match=f"already running in {path} .process {os.getpid()}"):
        acquire(path)
    first.close()
    acquire(path).close()


def test_run_directory_that_others_can_write(tmp_path: Path) -> None:
    path = tmp_path / "run"
    path.mkdir()
    path.chmod(0o777)
    with pytest.raises(RunDirError, match="written by everybody"):
        acquire(path)


def test_run_directory_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("")
    with pytest.raises(RunDirError, match="not a directory"):
        acquire(tmp_path / "run")


def test_a_planted_lock_link_is_not_followed(tmp_path: Path) -> None:
    path = tmp_path / "run"
    path.mkdir(mode=0o750)
    (tmp_path / "precious").write_text("precious")
    (path / "lock").symlink_to(tmp_path / "precious")
    with pytest.raises(RunDirError, match="cannot use"):
        acquire(path)
    assert (tmp_path / "precious").read_text() == "precious"


def test_a_lock_left_to_a_child_is_waited_for(tmp_path: Path) -> None:
    run_dir = acquire(tmp_path)
    child = subprocess.Popen(["sleep", "0.3"], pass_fds=(run_dir.lock,))
    dead = subprocess.run(["sh", "-c", "echo $$"], capture_output=True, text=True, check=True)
    (tmp_path / "lock").write_text(dead.stdout)  # the holder is gone, its child is not
    run_dir.close()
    before = time.monotonic()
    with pytest.raises(RunDirError, match="a child of it still uses"):
        acquire(tmp_path, patience_s=0.05)
    acquire(tmp_path).close()
    assert 0.1 < time.monotonic() - before < 3
    child.wait()


def test_files_are_replaced_not_followed(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("precious")
    dump = tmp_path / "dump"
    dump.symlink_to(precious)
    before = os.umask(0o027)
    try:
        dumpfile.replace(dump, b"new")
    finally:
        os.umask(before)
    assert precious.read_text() == "precious"
    assert dump.read_bytes() == b"new"
    assert stat.S_IMODE(dump.stat().st_mode) == 0o640
    assert sorted(tmp_path.iterdir()) == [dump, precious]


def test_where_others_could_exchange_it_nothing_is_written(tmp_path: Path) -> None:
    """/tmp has its sticky bit; a directory without it is anybody's."""
    tmp_path.chmod(0o777)
    with pytest.raises(PermissionError, match="written by everybody"):
        dumpfile.replace(tmp_path / "dump", b"new")
    assert not list(tmp_path.iterdir())
    tmp_path.chmod(0o1777)
    dumpfile.replace(tmp_path / "dump", b"new")
    assert (tmp_path / "dump").read_bytes() == b"new"


def test_a_dump_does_not_take_the_place_of_a_device(tmp_path: Path) -> None:
    """`state_dump_file /dev/null`: renamed over, it would be a file for everybody from now on."""
    reader, writer = os.openpty()
    device = Path(os.ttyname(writer))
    dumpfile.replace(device, b"new")
    assert os.read(reader, 100) == b"new"
    assert device.is_char_device()
    os.close(reader)
    os.close(writer)


@pytest.mark.parametrize("what", ["fifo", "directory", "link"])
def test_what_is_no_file_stays(tmp_path: Path, what: str) -> None:
    dump = tmp_path / "dump"
    match what:
        case "fifo":
            os.mkfifo(dump)
        case "directory":
            dump.mkdir()
        case "link":
            dump.symlink_to("/dev/null")
    kind = dump.lstat().st_mode
    with pytest.raises(FileExistsError, match="no ordinary file"):
        dumpfile.replace(dump, b"new")
    assert dump.lstat().st_mode == kind
    assert list(tmp_path.iterdir()) == [dump]


def test_who_waits_for_a_dump_hears_of_it(tmp_path: Path) -> None:
    """Programs watch for a file of this name that was moved in, or closed after writing."""
    watch = Inotify()
    watch.watch_directory(str(tmp_path))
    dumpfile.replace(tmp_path / "dump", b"new")
    seen = [change.mask for change in watch.read() if change.name == "dump"]
    watch.close()
    assert seen == [IN_MOVED_TO, IN_CLOSE_WRITE]


@pytest.mark.parametrize(
    ("dumps", "path"),
    [
        ({}, "/run/d/keepalived_check.data"),
        ({"data": "/srv/state.txt"}, "/srv/state_check.txt"),
        ({"data": "/srv/"}, "/srv/keepalived_check.data"),
        ({"data": "state"}, "/run/d/state_check"),
        ({"use_instance": True}, "/run/d/keepalived_check.blue_edge.data"),
    ],
)
def test_places_of_dumps(dumps: dict[str, Any], path: str) -> None:
    """state_dump_file and data_use_instance."""
    keeping = model.Housekeeping(dumps=model.DumpFiles(**dumps))
    defs = model.GlobalDefs(housekeeping=keeping, net_namespace="blue", instance="edge")
    assert dumpfile.place("data", "ipvs", defs, Path("/run/d")) == Path(path)


# ---------------------------------------------------------------------- orphans


def test_orphans_are_collected_and_owned_processes_are_not() -> None:
    now = [0.0]
    owned = subprocess.Popen(["true"])
    stranger = subprocess.Popen(["true"])
    running = subprocess.Popen(["sleep", "60"])
    try:
        orphans = Orphans(lambda: {owned.pid}, grace_s=5.0, clock=lambda: now[0])
        for pid in (owned.pid, stranger.pid):
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        assert orphans.sweep() == [], "an owner gets time"
        now[0] = 4.9
        assert orphans.sweep() == []
        now[0] = 5.0
        collected = orphans.sweep()  # and what other tests have left to this process
        assert stranger.pid in collected
        assert owned.pid not in collected
        assert orphans.sweep() == []
        assert owned.wait() == 0
    finally:
        running.kill()
        running.wait()
        stranger.returncode = 0  # collected behind Popen's back


def test_ends_in_words() -> None:
    assert describe_code(3) == "exit status 3"
    assert describe_code(-signal.SIGSEGV) == "killed by SIGSEGV"
    assert describe_code(-64) in ("killed by SIGRTMAX", "killed by signal 64")
    assert describe_code(-77) == "killed by signal 77"


def test_what_processes_tell_each_other_on_a_command_line() -> None:
    given = Given(["--out=3", "--only=a=b", "--tolerant", "--", "--reload", "x"])
    assert (given.needed("out"), given.text("only"), given.files) == (3, "a=b", ("--reload", "x"))
    assert given.flag("tolerant")
    assert not given.flag("reload")
    assert given.number("last") is None
    given.done()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--run-dir=/",), "--channel is missing"),
        (("--run-dir=/", "--channel=x"), "--channel: 'x' is no number"),
        (("--channel=0",), "--run-dir is missing"),
        (("--run-dir=/", "--channel=0", "--strange"), "unknown option --strange"),
    ],
)
def test_a_child_that_somebody_else_starts_says_what_is_wrong(
    words: tuple[str, ...], said: str
) -> None:
    with pytest.raises(SystemExit, match=said):
        adopt(["--scripts=0", "--pulse=0", "--alarm=0", "--parent=1", *words])


def test_a_child_without_a_parent_does_not_start() -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "from fastvrrp.supervisor.link import adopt\n"
            "adopt(['--channel=0', '--scripts=0', '--pulse=0', '--alarm=0', "
            "'--parent=1', '--run-dir=/'])",
        ],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "the supervisor is gone" in done.stderr
