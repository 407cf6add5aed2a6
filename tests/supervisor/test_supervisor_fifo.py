"""notify_fifo belongs to the supervisor: to no child that may end before the other."""

from __future__ import annotations

import os
import pwd
import signal
import stat
import tempfile
from pathlib import Path

import pytest
from supervised import CONFIGURATION, SERVER, Daemon, wait_for


class Fifo:
    """A FIFO and its reader, which keeps what it reads."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "events"
        self.out = directory / "out"
        self.born = directory / "born"
        self.script = directory / "reader"
        self.script.write_text(
            f"#!/bin/sh\necho $$ $1 >>{self.born}\n"
            f'while read line; do echo $1 "$line" >>{self.out}; done <"$2"\n'
        )
        self.script.chmod(0o755)
        self.born.touch()
        self.out.touch()

    def text(self, path: Path | None = None, mark: str = "first", user: str = "") -> str:
        lines = (
            f"notify_fifo {path or self.path} {user}",
            f'notify_fifo_script "{self.script} {mark}" {user}',
        )
        return CONFIGURATION.format(extra="\n    ".join(lines)) + SERVER

    def readers(self) -> list[str]:
        """Of those that were ever born, who lives."""
        pids = [line.split()[0] for line in self.born.read_text().splitlines()]
        return [pid for pid in pids if Path(f"/proc/{pid}").exists()]

    def hears(self, line: str, mark: str = "first") -> None:
        """Wait until its reader of that mark has read a line that is written now."""
        fd = os.open(self.path, os.O_WRONLY | os.O_NONBLOCK)
        os.write(fd, f"{line}\n".encode())
        os.close(fd)
        wait_for(lambda: f"{mark} {line}\n" in self.out.read_text(), "read")


@pytest.fixture
def fifo(tmp_path: Path) -> Fifo:
    return Fifo(tmp_path)


def test_it_outlives_every_child(tmp_path: Path, fifo: Fifo) -> None:
    with Daemon(tmp_path) as daemon:
        daemon.configure(fifo.text())
        daemon.ready()
        assert stat.S_ISFIFO(fifo.path.stat().st_mode)
        wait_for(fifo.readers, "a reader")
        fifo.hears("one")
        for child in ("vrrp", "ipvs"):
            os.kill(daemon.lives(child)[0][1], signal.SIGKILL)
            wait_for(lambda child=child: len(daemon.lives(child)) == 2, "second child")
            fifo.hears(f"after {child}")
        assert len(fifo.born.read_text().splitlines()) == 1, "the same reader"
        assert daemon.stop() == 0
        assert not fifo.path.exists()
        assert fifo.readers() == []


def test_it_changes_by_reload(tmp_path: Path, fifo: Fifo) -> None:
    with Daemon(tmp_path) as daemon:
        daemon.configure(CONFIGURATION.format(extra="") + SERVER)
        daemon.ready()
        assert not fifo.path.exists()

        def reload(text: str) -> None:
            daemon.configure(text)
            assert daemon.request("reload")["ok"] is True

        reload(fifo.text())
        inode = fifo.path.stat().st_ino
        fifo.hears("one")
        reload(fifo.text())
        assert len(fifo.born.read_text().splitlines()) == 1, "nothing changed"
        reload(fifo.text(mark="second"))
        assert fifo.path.stat().st_ino == inode, "those who write have it open"
        wait_for(lambda: len(fifo.readers()) == 1, "the other reader alone")
        fifo.hears("two", "second")

        old, fifo.path = fifo.path, tmp_path / "other"
        reload(fifo.text(mark="second"))
        assert not old.exists()
        fifo.hears("three", "second")
        reload(CONFIGURATION.format(extra="") + SERVER)
        assert not fifo.path.exists()
        wait_for(lambda: not fifo.readers(), "no reader")


def test_its_account_changes_by_reload(tmp_path: Path) -> None:
    """Nobody but its account and root can open it: another one means another FIFO."""
    nobody = pwd.getpwnam("nobody")
    with tempfile.TemporaryDirectory() as public, Daemon(tmp_path) as daemon:
        fifo = Fifo(Path(public))
        for path, mode in ((Path(public), 0o755), (fifo.out, 0o666), (fifo.born, 0o666)):
            path.chmod(mode)
        daemon.configure(fifo.text())
        daemon.ready()
        fifo.hears("by root")
        for user, uid in (("nobody", nobody.pw_uid), ("", 0)):
            (before,) = fifo.readers()
            daemon.configure(fifo.text(mark=f"reader{uid}", user=user))
            assert daemon.request("reload")["ok"] is True
            status = fifo.path.stat()
            assert stat.S_ISFIFO(status.st_mode)
            assert stat.S_IMODE(status.st_mode) == 0o600
            assert status.st_uid == uid
            fifo.hears("after the reload", f"reader{uid}")
            wait_for(lambda before=before: before not in fifo.readers(), "the old reader's end")
            (reader,) = fifo.readers()
            assert Path(f"/proc/{reader}").stat().st_uid == uid
        assert daemon.stop() == 0
        assert not fifo.path.exists()
        assert fifo.readers() == []


def test_a_reload_that_is_refused_keeps_it(tmp_path: Path, fifo: Fifo) -> None:
    with Daemon(tmp_path, "refuse-reload", servers=("refuse-reload",)) as daemon:
        daemon.configure(fifo.text())
        daemon.ready()
        wait_for(fifo.readers, "a reader")
        daemon.configure(fifo.text(tmp_path / "other"))
        assert daemon.request("reload")["ok"] is False
        assert not (tmp_path / "other").exists()
        fifo.hears("still")
        assert len(fifo.readers()) == 1


def test_what_is_no_fifo_costs_nothing_else(tmp_path: Path, fifo: Fifo) -> None:
    fifo.path.write_text("precious")
    with Daemon(tmp_path) as daemon:
        daemon.configure(fifo.text())
        daemon.ready()
        assert daemon.logged(f"notify FIFO {fifo.path} is not a FIFO")
        assert not fifo.readers()
        assert daemon.stop() == 0
    assert fifo.path.read_text() == "precious"
