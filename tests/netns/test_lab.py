"""`fastvrrp lab`: the address really moves, the picture fits a terminal, failures are told."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from netns_tools import ALLOWANCE_NS, OUTAGE_NS
from rich.console import Console

from fastvrrp.cli import lab
from fastvrrp.lab import view
from fastvrrp.lab.daemons import process_tree
from fastvrrp.lab.network import wait_for
from fastvrrp.lab.scene import FAILURES, VIP, Scene
from machine import Machine

pytestmark = pytest.mark.netns

KIND = os.environ.get("NETNS_DAEMON", "fastvrrp")


@pytest.fixture(autouse=True)
def _own_interpreter_path(monkeypatch: pytest.MonkeyPatch) -> None:
    source = str(Path(lab.__file__).resolve().parents[2])
    monkeypatch.setenv("PYTHONPATH", source)


@pytest.mark.timing
@pytest.mark.parametrize("peer", [KIND, "keepalived"])
@pytest.mark.parametrize("failure", list(FAILURES))
def test_address_moves_there_and_back(failure: str, peer: str, machine: Machine) -> None:
    """Within what RFC 9568 6.1 promises; the way back costs nothing."""
    with Scene(failure=failure, kinds=(KIND, peer), pause_s=0.5) as scene:
        result = scene.play()
        assert result.complete
        # Whoever stops says so between two of its adverts.
        silence = scene.promise_ns() + (scene.interval_ns if failure == "stop" else 0)
        masters = [a for a in scene.sniffer.adverts() if a.priority]
        ordinary = "keepalived" in (KIND, peer)
        assert machine.gap_ns(masters, ordinary=ordinary) < silence + ALLOWANCE_NS
        silences = scene.prober.silences()
        losses = scene.prober.losses(since_ns=silences[0][0])
        assert machine.longest_ns(losses, ordinary=True) < scene.promise_ns() + OUTAGE_NS
        assert result.failover.outage_ns <= max(end - begin for begin, end in silences)
        assert scene.routers["r1"].holds
        assert not scene.routers["r2"].holds
        told = " ".join(line.text for line in scene.lines)
        assert ("priority 0" in told) == (failure == "stop")


def test_picture_fits_a_small_terminal() -> None:
    """80 columns, 24 lines with one left for the prompt, in every phase."""
    sizes: set[tuple[int, int]] = set()
    pictures: list[str] = []
    with Scene(kinds=(KIND, KIND), pause_s=0.5) as scene:
        player = threading.Thread(target=scene.play)
        player.start()
        while player.is_alive():
            console = Console(width=200, record=True, file=Path("/dev/null").open("w"))  # noqa: SIM115
            with console.file:
                console.print(view.screen(scene))
                picture = console.export_text()
            lines = picture.splitlines()
            sizes.add((max(len(line.rstrip()) for line in lines), len(lines)))
            pictures.append(picture)
            player.join(0.1)
        pictures.append(str(scene.lines))
        assert scene.result is not None
    assert max(width for width, _ in sizes) <= 80
    assert max(height for _, height in sizes) <= 23
    for word in ("● MASTER", "○ BACKUP", "✗ DEAD", f"★ {VIP}", "r1 answers", "r2 answers"):
        assert any(word in picture for picture in pictures), word


@pytest.mark.slow
def test_command_without_a_terminal(tmp_path: Path) -> None:
    picture = tmp_path / "lab.svg"
    done = subprocess.run(
        [sys.executable, "-m", "fastvrrp", "lab", "--svg", str(picture)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    failover = re.search(r"failover +(\d+\.\d) ms", done.stdout)
    assert failover is not None
    assert float(failover[1]) > 358  # RFC 9568 6.1: the down interval of r2 is 361 ms
    assert "r1 loses power" in done.stdout
    assert "\x1b" not in done.stdout
    assert "MASTER" in picture.read_text()


def on_terminal(*arguments: str) -> tuple[int, int]:
    """Start the command on a pseudo terminal; returns (pid, terminal)."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ |= {"TERM": "xterm-256color", "COLUMNS": "80", "LINES": "24"}
        os.execv(sys.executable, [sys.executable, "-m", "fastvrrp", "lab", *arguments])
    return pid, terminal


def read_until(terminal: int, wanted: str, timeout_s: float) -> str:
    text = ""
    deadline = time.monotonic() + timeout_s
    while wanted not in text:
        if not select.select([terminal], [], [], max(0, deadline - time.monotonic()))[0]:
            raise AssertionError(f"no {wanted!r} within {timeout_s} s in {text[-3000:]}")
        try:
            text += os.read(terminal, 65536).decode(errors="replace")
        except OSError as error:  # EIO: the other end is closed
            raise AssertionError(f"no {wanted!r} at all in {text[-3000:]}") from error
    return text


@pytest.mark.slow
def test_command_on_a_terminal_holds_until_interrupted() -> None:
    pid, terminal = on_terminal("--hold", "--failure", "stop")
    try:
        text = read_until(terminal, "until Ctrl-C", 60)
        assert "● MASTER" in text
        text = read_until(terminal, "fastvrrp capture", 10)
        namespace = re.search(r"nsenter --net=(\S+)", text)
        assert namespace is not None
        inside = ["nsenter", f"--net={namespace[1]}", "ip", "addr"]
        assert VIP in subprocess.run(inside, capture_output=True, text=True).stdout
        os.write(terminal, b"\x03")
        status = wait_for_end(pid, terminal)
        assert os.waitstatus_to_exitcode(status) == 0
        assert process_tree(pid) == []
    finally:
        os.close(terminal)


def wait_for_end(pid: int, terminal: int) -> int:
    """The exit status; the terminal is drained so that the child can write its last words."""
    found: list[int] = []

    def ended() -> bool:
        if select.select([terminal], [], [], 0)[0]:
            try:
                os.read(terminal, 65536)
            except OSError:
                time.sleep(0)
        gone, status = os.waitpid(pid, os.WNOHANG)
        found.append(status)
        return gone == pid

    wait_for(ended, 15, "the command ends")
    return found[-1]


def test_interrupted_in_the_middle_cleans_up() -> None:
    program = subprocess.Popen(
        [sys.executable, "-m", "fastvrrp", "lab"], stdout=subprocess.PIPE, text=True
    )
    assert program.stdout is not None
    for line in program.stdout:
        if "gets answers" in line:
            break
    children = process_tree(program.pid)[1:]
    assert children
    program.send_signal(signal.SIGINT)
    assert program.wait(15) == 130
    wait_for(lambda: not any(map(process_tree, children)), 5, "the daemons are gone")


def test_peer_that_is_not_installed(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setattr("fastvrrp.lab.daemons.shutil.which", lambda *_args, **_more: None)
    parser = lab.argparse.ArgumentParser()
    lab.add_arguments(parser)
    assert lab.run(parser.parse_args(["--peer", "keepalived"])) == 1
    assert "keepalived is not installed" in capsys.readouterr().err


@pytest.mark.parametrize("interval", ["0.001", "41", "soon"])
def test_impossible_interval(interval: str, capsys) -> None:
    """RFC 9568 5.2.7: 1 to 4095 centiseconds."""
    parser = lab.argparse.ArgumentParser()
    lab.add_arguments(parser)
    with pytest.raises(SystemExit) as end:
        parser.parse_args(["--interval", interval])
    assert end.value.code == 2
    assert "--interval" in capsys.readouterr().err
