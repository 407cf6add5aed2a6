"""Where and as what the daemon runs: process 1, process names, odd run directories, full disks."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from operator_tools import Router, children

from fastvrrp.lab.network import wait_for
from fastvrrp.net.journal import Contents, Journal
from fastvrrp.supervisor.rundir import RunDirError, acquire
from keepalived_text import config, instance

TEXT = config(instance())


@pytest.mark.netns
def test_as_process_1(router: Router) -> None:
    """In a pid namespace: signals work, a reload too, an orderly stop ends with 0."""
    daemon = router.daemon
    usual = daemon.argv()
    inside = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", *usual]
    daemon.argv = lambda: inside  # type: ignore[method-assign]
    router.start(TEXT)
    (first,) = children(daemon.pid)
    router.wait_log("Entering MASTER STATE")
    assert Path(f"/proc/{first}/status").read_text().count("NSpid:\t") == 1
    os.kill(first, signal.SIGHUP)
    router.wait_log("Reloaded: nothing changed")
    os.kill(first, signal.SIGTERM)
    assert daemon.process is not None
    assert daemon.process.wait(10) == 0
    assert "192.0.2.100/24" not in router.held()


@pytest.mark.netns
@pytest.mark.parametrize("delay_s", [0, 0.02, 0.05, 0.1, 0.15])
def test_a_stop_while_it_starts(router: Router, delay_s: float) -> None:
    """The configuration is not in effect yet: an orderly stop all the same."""
    router.daemon.start(TEXT)
    router.wait_log("Starting VRRP child process")
    time.sleep(delay_s)
    assert router.daemon.stop() == 0
    assert " error: " not in router.daemon.log()
    assert "192.0.2.100/24" not in router.held()


@pytest.mark.netns
def test_names_of_the_processes(router: Router) -> None:
    """`pgrep fastvrrp` finds them, not `python`."""
    router.start(TEXT)
    names = [Path(f"/proc/{p}/comm").read_text() for p in (router.daemon.pid, router.child())]
    assert names == ["fastvrrp\n", "fastvrrp-vrrp\n"]


def test_a_link_is_no_run_directory(tmp_path: Path) -> None:
    """The journal is never read through a link; so it is refused at once, with the reason."""
    (tmp_path / "real").mkdir(mode=0o750)
    (tmp_path / "link").symlink_to("real")
    with pytest.raises(RunDirError, match="is a symbolic link: name the directory it points to"):
        acquire(tmp_path / "link")
    acquire(tmp_path / "real").close()


@pytest.fixture
def tiny(tmp_path: Path) -> Iterator[Path]:
    """A file system with room for very little."""
    place = tmp_path / "tiny"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48k,mode=750", "t", place], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", place], check=True)


def fill(place: Path) -> None:
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        (place / "fill").write_bytes(bytes(1 << 20))


@pytest.mark.netns
def test_the_disk_is_full(router: Router, tiny: Path) -> None:
    """It starts, reloads and comes back all the same, and says what is missing: the note of what
    a crash would leave behind. That is made up for as soon as there is room."""
    daemon = router.daemon
    (daemon.directory / "run").symlink_to(tiny)  # only the test's commands go through it
    daemon.argv = lambda: [  # type: ignore[method-assign]
        *(sys.executable, "-m", "fastvrrp", "run", "-f", str(daemon.config)),
        *("--run-dir", str(tiny)),
    ]
    fill(tiny)
    router.start(TEXT)
    router.wait_log("Entering MASTER STATE")
    router.wait_log(f"the journal {tiny}/journal cannot be written: No space left on device.")
    for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGRTMIN + 2):
        os.kill(daemon.pid, number)
    daemon.config.write_text(config(instance(vips=("192.0.2.100/24", "192.0.2.101/24"))))
    assert router.command("reload").returncode == 0
    wait_for(lambda: "192.0.2.101/24" in router.held(), 3, "the new address")
    assert router.states() == {"VI": "MASTER"}
    assert not Journal(tiny / "journal").path.exists()
    assert not [path.name for path in tiny.iterdir() if path.name.startswith(".")]
    os.kill(router.child(), signal.SIGKILL)
    router.wait_log("Entering MASTER STATE", 2)
    (tiny / "fill").unlink()
    router.wait_log("the journal is written again")
    child = router.child()
    os.kill(daemon.pid, signal.SIGSTOP)  # so that it cannot clean up
    for pid in (child, daemon.pid):
        os.kill(pid, signal.SIGKILL)
    assert daemon.process is not None
    daemon.process.wait(5)
    assert {"192.0.2.100/24", "192.0.2.101/24"} <= router.held()
    clean = [sys.executable, "-m", "fastvrrp", "clean", "--run-dir", str(tiny)]
    cleaned = router.node.call(subprocess.run, clean, env=daemon.environment(), capture_output=True)
    assert cleaned.returncode == 0, cleaned.stderr
    assert not {"192.0.2.100/24", "192.0.2.101/24"} & router.held()


@pytest.mark.netns
def test_a_journal_on_a_full_disk_leaves_nothing(tiny: Path) -> None:
    journal = Journal(tiny / "journal")
    fill(tiny)
    with pytest.raises(OSError, match="No space"):
        journal.write(Contents())
    assert [path.name for path in tiny.iterdir()] == ["fill"]


@pytest.mark.netns
def test_capture_goes_on_when_the_cable_is_pulled(router: Router, tmp_path: Path) -> None:
    """It is what one watches while pulling it."""
    router.start(TEXT)
    output = tmp_path / "capture"
    argv = [sys.executable, "-m", "fastvrrp", "capture", "-i", "eth0", "--json"]
    with output.open("wb") as stream:
        capture = router.node.start(argv, output=stream, env=router.daemon.environment())
    wait_for(lambda: output.read_bytes().count(b"\n") >= 3, 10, "adverts are shown")
    router.node.set_link("eth0", "down")
    wait_for(lambda: b"eth0 is down" in output.read_bytes(), 3, "it says so")
    router.node.set_link("eth0", "up")
    seen = output.read_bytes().count(b"\n")
    wait_for(lambda: output.read_bytes().count(b"\n") >= seen + 3, 10, "and shows more")
    router.node.delete_link("eth0")
    assert capture.wait(5) == 1
    assert b"capture: eth0: Network is down" in output.read_bytes()
