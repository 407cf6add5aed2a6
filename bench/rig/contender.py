"""The daemons that are compared: how each is started, checked, and told apart."""

from __future__ import annotations

import compileall
import contextlib
import os
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import fastvrrp
from bench.configuration import Place, places, render

from .network import Router
from .process import Memory, Usage, memory, now_ns, process_tree, spawn, usage

CPU_LATENCY = Path("/dev/cpu_dma_latency")  # Documentation/power/pm_qos_interface.rst


@dataclass(frozen=True)
class Contender:
    """A daemon. In the commands {config} and {directory} are filled in."""

    name: str
    command: tuple[str, ...]
    check: tuple[str, ...]  # reads the configuration and ends
    reloaded: str = ""  # what its log says at the end of a reload
    applied: str = ""  # and how long it took to put into effect what had been read (pattern)
    interpreter: tuple[str, ...] = ()  # what runs it, doing nothing
    global_lines: tuple[str, ...] = ()  # what it gets in global_defs besides the rest
    balancer: tuple[str, ...] = ()  # the command when only virtual servers are to run
    optional: bool = False  # its own lines are not understood by every version of the daemon
    awake: bool = False  # no processor sleeps meanwhile
    asks_itself: bool = False  # for that

    def absence(self) -> str | None:
        """Why it cannot be measured here; None when it can."""
        if self.awake and not os.access(CPU_LATENCY, os.W_OK):
            return f"{CPU_LATENCY} cannot be written"
        if shutil.which(self.command[0]) is None:
            return f"{self.command[0]} is not installed"
        return self._refusal() if self.optional else None

    @contextlib.contextmanager
    def surroundings(self) -> Iterator[None]:
        """What the machine is like while it is measured."""
        if not self.awake or self.asks_itself:
            yield
            return
        with CPU_LATENCY.open("wb", buffering=0) as device:
            device.write(struct.pack("=i", 0))
            yield

    def _refusal(self) -> str | None:
        """What the daemon has to say about its own lines: an error, or that they do nothing."""
        with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
            config = Path(scratch) / "bench.conf"
            config.write_text(
                render(
                    places(1),
                    ["eth0"],
                    state="BACKUP",
                    priority=100,
                    interval_s=1,
                    global_lines=self.global_lines,
                )
            )
            argv = in_directory(self.check, config, Path(scratch))
            done = subprocess.run(argv, capture_output=True, text=True, check=False)
        words = [line.split()[0] for line in self.global_lines]
        said = (done.stdout + done.stderr).splitlines()
        return next((line for line in said if any(word in line for word in words)), None)


def in_directory(command: Sequence[str], config: Path, directory: Path) -> list[str]:
    """The command with its places filled in."""
    return [word.format(config=config, directory=directory) for word in command]


_FASTVRRP = (sys.executable, "-m", "fastvrrp")
_RUN = (*_FASTVRRP, "run", "-f", "{config}", "--run-dir", "{directory}/run")
FASTVRRP = Contender(
    "fastvrrp",
    _RUN,
    (*_FASTVRRP, "check", "{config}"),
    "Reloaded",
    r"in effect ([0-9.]+) s later",
    (sys.executable, "-c", "pass"),
    balancer=(*_RUN, "--only", "ipvs"),
)
_KEEPALIVED = shutil.which("keepalived", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
# -G: without a syslog daemon libc would write to the console, at its speed.
_OPTIONS = (
    *("-n", "-l", "-G", "-f", "{config}"),
    *("-p", "{directory}/parent.pid", "-r", "{directory}/vrrp.pid"),
    *("-c", "{directory}/checkers.pid"),
)
KEEPALIVED = Contender(
    "keepalived",
    (_KEEPALIVED or "keepalived", *_OPTIONS, "-P"),
    (_KEEPALIVED or "keepalived", "-t", "-f", "{config}"),
    "Reload complete",
    balancer=(_KEEPALIVED or "keepalived", *_OPTIONS, "-C"),
)


def _variant(base: Contender, suffix: str, *lines: str, optional: bool = False) -> Contender:
    return replace(base, name=f"{base.name}-{suffix}", global_lines=lines, optional=optional)


def kept_awake(base: Contender) -> Contender:
    """On processors that do not sleep: somebody else sees to that."""
    return replace(base, name=f"{base.name}-awake", awake=True)


def _awake(base: Contender) -> Contender:
    """The same, and the daemon sees to it itself."""
    lines = (*base.global_lines, "vrrp_cpu_dma_latency 0")
    return replace(kept_awake(base), global_lines=lines, optional=True, asks_itself=True)


_BY_PACKET = "vrrp_socket_backend packet"
_THREADS = "vrrp_engine_threads 2"
_UNREPORTED = "disable_local_igmp"  # the receiver's IP layer then has nothing to do with adverts
_PACKET = _variant(FASTVRRP, "packet", _BY_PACKET, optional=True)
# keepalived's own real-time option as it comes, and with the limit out of the way.
KNOWN = {
    one.name: one
    for one in (
        FASTVRRP,
        _PACKET,
        _variant(FASTVRRP, "packet-quiet", _BY_PACKET, _UNREPORTED, optional=True),
        _variant(FASTVRRP, "threads", _THREADS, optional=True),
        _variant(FASTVRRP, "packet-threads", _BY_PACKET, _THREADS, optional=True),
        _variant(
            FASTVRRP, "packet-quiet-threads", _BY_PACKET, _UNREPORTED, _THREADS, optional=True
        ),
        _awake(FASTVRRP),
        _awake(_PACKET),
        _variant(FASTVRRP, "rt", "vrrp_rt_priority 50"),
        KEEPALIVED,
        kept_awake(KEEPALIVED),
        _variant(KEEPALIVED, "rt", "vrrp_rt_priority 50"),
        _variant(KEEPALIVED, "rt-unlimited", "vrrp_rt_priority 50", "vrrp_rlimit_rttime 5000000"),
    )
}
REFERENCES = frozenset(name for name in KNOWN if name.startswith(KEEPALIVED.name))


def compile_bytecode() -> None:
    """As an installation does: a start of fastvrrp should not contain its translation.

    Raises RuntimeError when the package's directory cannot be written.
    """
    package = Path(fastvrrp.__file__).parent
    if not compileall.compile_dir(package, quiet=2):
        raise RuntimeError(f"{package}: cannot be compiled to bytecode")


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
        self._reloaded = contender.reloaded
        self.config = directory / "bench.conf"
        write_config(contender, router, places, role, interval_s, self.config)
        argv = in_directory(contender.command, self.config, directory)
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

    def reload(self, patience_s: float = 60) -> int:
        """SIGHUP, and wait until its log says that it is done; the moment of the signal.

        Raises RuntimeError when it ends or takes too long.
        """
        done = self.log().count(self._reloaded)
        moment = self.signal(signal.SIGHUP)
        wait_for(
            lambda: self.log().count(self._reloaded) > done, self, patience_s, "the reload's end"
        )
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
