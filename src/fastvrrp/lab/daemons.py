"""Starting, stopping and killing VRRP daemons in a node: fastvrrp, and keepalived beside it."""

from __future__ import annotations

import abc
import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import fastvrrp

from .namespace import LabError
from .network import Node, wait_for


def children(pid: int) -> list[int]:
    """The processes that a process has started and that are there."""
    found: list[int] = []
    for listed in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):  # the thread ended meanwhile
            found += map(int, listed.read_text().split())
    return found


def process_tree(pid: int) -> list[int]:
    """A process and all its descendants, parents first; empty when it is gone."""
    tree = [pid] if Path(f"/proc/{pid}").exists() else []
    for parent in tree:
        tree += children(parent)
    return tree


class Daemon(abc.ABC):
    """One VRRP daemon with its configuration, log and state below a directory of its own."""

    kind: ClassVar[str]

    def __init__(self, node: Node, directory: Path) -> None:
        self.node = node
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        self.config = directory / f"{self.kind}.conf"
        self.log_file = directory / "log"
        self.process: subprocess.Popen[bytes] | None = None

    @abc.abstractmethod
    def argv(self) -> Sequence[str]:
        """The command that runs the daemon in the foreground. Raises LabError if not installed."""

    def environment(self) -> dict[str, str]:
        return dict(os.environ)

    @property
    def pid(self) -> int:
        """Of the daemon's first process. Raises LabError when it was never started."""
        if self.process is None:
            raise LabError(f"{self.node.name}: {self.kind} was not started")
        return self.process.pid

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def start(self, config: str | None = None) -> None:
        """Start with this configuration, or again with the last one."""
        if config is not None:
            self.config.write_text(config)
        with self.log_file.open("ab") as log:
            self.process = self.node.start(
                self.argv(), output=log, env=self.environment(), cwd=str(self.directory)
            )

    def wait_listening(self, family: int = 4, timeout_s: float = 15) -> None:
        """Wait until a raw socket for protocol 112, or a packet socket for the family, is open in
        the node.

        Raises LabError with the log when the daemon ends instead, TimeoutError when it hangs.
        """
        table = Path(f"/proc/{self.pid}/net/{'raw6' if family == 6 else 'raw'}")
        packets = Path(f"/proc/{self.pid}/net/packet")
        ethertype = "86dd" if family == 6 else "0800"

        def listening() -> bool:
            if not self.alive:
                raise LabError(f"{self.node.name}: {self.kind} ended: {self.log()[-2000:]}")
            # "  sl  local_address ..." where the port of a raw socket is its protocol, 0x70
            if re.search(r"^\s*\d+: [0-9A-F]+:0070 ", table.read_text(), re.M):
                return True
            # "sk RefCnt Type Proto ..."; a type other than 3 hears packets, not frames
            return re.search(rf"^\w+ \d+ +2 +{ethertype} ", packets.read_text(), re.M) is not None

        wait_for(listening, timeout_s, f"{self.kind} in {self.node.name} listens to VRRP")

    def stop(self, timeout_s: float = 15) -> int:
        """SIGTERM and wait; returns the exit status. Raises TimeoutError, having killed it."""
        assert self.process is not None
        self.process.terminate()
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()
            raise TimeoutError(
                f"{self.kind} in {self.node.name} ignored SIGTERM: {self.log()[-2000:]}"
            ) from None

    def kill(self) -> int:
        """SIGKILL to the daemon and all its processes at once, so that none can say goodbye.

        Returns CLOCK_REALTIME nanoseconds of the moment.
        """
        assert self.process is not None
        moment = time.clock_gettime_ns(time.CLOCK_REALTIME)
        # Stopped first, from the top: a parent cannot respawn, a child cannot react.
        for pid in process_tree(self.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
        for pid in reversed(process_tree(self.pid)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()
        return moment

    def reload(self, config: str | None = None) -> None:
        """SIGHUP, after replacing the configuration."""
        if config is not None:
            self.config.write_text(config)
        os.kill(self.pid, signal.SIGHUP)

    def log(self) -> str:
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""

    def close(self) -> None:
        """End it somehow; nothing when it does not run."""
        if self.alive:
            self.kill()


class Fastvrrp(Daemon):
    """`fastvrrp run` of this very installation."""

    kind = "fastvrrp"

    @property
    def run_dir(self) -> Path:
        return self.directory / "run"

    def command(self, *arguments: str) -> list[str]:
        """A fastvrrp command line for this daemon, e.g. command("status")."""
        return [sys.executable, "-m", "fastvrrp", *arguments, "--run-dir", str(self.run_dir)]

    def environment(self) -> dict[str, str]:
        """Children import this very package, wherever they run and however it was found."""
        found = [
            str(Path(fastvrrp.__file__).resolve().parents[1]),
            os.environ.get("PYTHONPATH", ""),
        ]
        return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, found))}

    def argv(self) -> Sequence[str]:
        return self.command("run", "-f", str(self.config))


class Keepalived(Daemon):
    """keepalived as packaged, VRRP only, logging to the console."""

    kind = "keepalived"

    def start(self, config: str | None = None) -> None:
        # After a kill -9 its pid files name processes that may still wait to be reaped; it
        # would take them for a running daemon.
        for stale in self.directory.glob("*.pid"):
            stale.unlink()
        super().start(config)

    def argv(self) -> Sequence[str]:
        program = shutil.which("keepalived", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
        if program is None:
            raise LabError("keepalived is not installed (apt install keepalived)")
        d = self.directory
        files = ["-f", str(self.config), "-p", f"{d}/parent.pid", "-r", f"{d}/vrrp.pid"]
        return [program, "-n", "-l", "-G", "-P", "-D", *files, "-c", f"{d}/checkers.pid"]


KINDS: dict[str, type[Daemon]] = {"fastvrrp": Fastvrrp, "keepalived": Keepalived}
