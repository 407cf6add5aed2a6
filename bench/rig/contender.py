"""The daemons that are compared: how each is started, checked, and told apart."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.configuration import Place, render

from .network import Router
from .process import Memory, Usage, memory, now_ns, process_tree, spawn, usage


@dataclass(frozen=True)
class Contender:
    """A daemon. In the commands {config} and {directory} are filled in."""

    name: str
    command: tuple[str, ...]
    check: tuple[str, ...]  # reads the configuration and ends
    global_lines: tuple[str, ...] = ()  # what it gets in global_defs besides the rest

    def available(self) -> bool:
        return shutil.which(self.command[0]) is not None


FASTVRRP = Contender(
    "fastvrrp",
    (sys.executable, "-m", "fastvrrp", "run", "-f", "{config}", "--run-dir", "{directory}/run"),
    (sys.executable, "-m", "fastvrrp", "check", "{config}"),
)
_KEEPALIVED = shutil.which("keepalived", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
# -G: without a syslog daemon libc would write to the console, at its speed.
KEEPALIVED = Contender(
    "keepalived",
    (
        _KEEPALIVED or "keepalived",
        *("-n", "-l", "-G", "-P", "-f", "{config}"),
        *("-p", "{directory}/parent.pid", "-r", "{directory}/vrrp.pid"),
        *("-c", "{directory}/checkers.pid"),
    ),
    (_KEEPALIVED or "keepalived", "-t", "-f", "{config}"),
)
# Its own real-time option as it comes, and with the limit out of the way.
KEEPALIVED_RT = Contender(
    "keepalived-rt", KEEPALIVED.command, KEEPALIVED.check, ("vrrp_rt_priority 50",)
)
KEEPALIVED_RT_UNLIMITED = Contender(
    "keepalived-rt-unlimited",
    KEEPALIVED.command,
    KEEPALIVED.check,
    ("vrrp_rt_priority 50", "vrrp_rlimit_rttime 5000000"),
)
FASTVRRP_RT = Contender("fastvrrp-rt", FASTVRRP.command, FASTVRRP.check, ("vrrp_rt_priority 50",))
KNOWN = {
    c.name: c for c in (FASTVRRP, FASTVRRP_RT, KEEPALIVED, KEEPALIVED_RT, KEEPALIVED_RT_UNLIMITED)
}


@dataclass(frozen=True)
class Role:
    """What a router is configured to be."""

    state: str
    priority: int


MASTER = Role("MASTER", 200)
BACKUP = Role("BACKUP", 100)
OWNER = Role("MASTER", 255)


def write_config(
    contender: Contender,
    router: Router,
    places: Sequence[Place],
    role: Role,
    interval_s: float,
    file: Path,
) -> None:
    file.write_text(
        render(
            places,
            router.interfaces,
            state=role.state,
            priority=role.priority,
            interval_s=interval_s,
            global_lines=contender.global_lines,
        )
    )


class Daemon:
    """One contender running on one router. Use as a context manager."""

    def __init__(
        self,
        contender: Contender,
        router: Router,
        places: Sequence[Place],
        role: Role,
        interval_s: float,
        directory: Path,
    ) -> None:
        directory.mkdir(parents=True)
        self.name = contender.name
        self.router = router
        config = directory / "bench.conf"
        write_config(contender, router, places, role, interval_s, config)
        argv = [word.format(config=config, directory=directory) for word in contender.command]
        self._log = directory / "log"
        with self._log.open("wb") as log:
            self.started_ns = now_ns()
            self._process = spawn(router.namespace, argv, output=log, cwd=str(directory))
        self._pids: list[int] = []

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def require_alive(self) -> None:
        """Raises RuntimeError with its log when it has ended."""
        if not self.alive:
            raise RuntimeError(f"{self.name} ended: {self.log()[-2000:]}")

    def pids(self, *, again: bool = False) -> list[int]:
        """The process tree, remembered because reading all of /proc costs."""
        if again or not self._pids:
            self._pids = process_tree(self._process.pid)
        return self._pids

    def usage(self, *, again: bool = False) -> Usage:
        return usage(self.pids(again=again))

    def memory(self) -> Memory:
        return memory(self.pids(again=True))

    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def log_lines(self) -> int:
        with self._log.open("rb") as log:
            return sum(1 for _ in log)

    def signal(self, number: signal.Signals) -> int:
        """To the first process; the moment."""
        moment = now_ns()
        os.kill(self._process.pid, number)
        return moment

    def kill(self) -> int:
        """SIGKILL to all its processes at once; the moment.

        They are stopped first, from the top, so that none can react to the end of another.
        """
        moment = now_ns()
        pids = self.pids(again=True)
        for number, order in ((signal.SIGSTOP, pids), (signal.SIGKILL, pids[::-1])):
            for pid in order:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
        self._process.wait()
        return moment

    def close(self, timeout_s: float = 20) -> None:
        """Stop it in order, or else by force."""
        if not self.alive:
            return
        self.signal(signal.SIGTERM)
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()

    def __enter__(self) -> Daemon:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def wait_for(condition: Callable[[], object], daemon: Daemon, timeout_s: float, what: str) -> None:
    """Wait until the callable is true. Raises RuntimeError when the daemon ends or time is up."""
    end = time.monotonic() + timeout_s
    while not condition():
        daemon.require_alive()
        if time.monotonic() > end:
            raise RuntimeError(
                f"{daemon.name}: not within {timeout_s:g} s: {what}\n{daemon.log()[-2000:]}"
            )
        time.sleep(0.005)
