"""Programs inside namespaces, and what /proc says about them."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from fastvrrp.lab.daemons import process_tree
from fastvrrp.lab.namespace import Namespace

TICK_S = 1 / os.sysconf("SC_CLK_TCK")
HELPER_NICE = -20  # observers must not wait behind what they observe
RIG_PRIORITY = 20  # real-time; the daemons' is 1 unless they are told otherwise


def now_ns() -> int:
    """CLOCK_REALTIME, in which the observers stamp."""
    return time.clock_gettime_ns(time.CLOCK_REALTIME)


@contextlib.contextmanager
def before_all() -> Iterator[None]:
    """Nobody keeps this thread waiting: for windows in which it sleeps and reads counters.

    What it starts meanwhile is not real-time. Where this is forbidden it stays as it is.
    """
    policy = os.SCHED_FIFO | os.SCHED_RESET_ON_FORK
    with contextlib.suppress(PermissionError):
        os.sched_setscheduler(0, policy, os.sched_param(RIG_PRIORITY))
    try:
        yield
    finally:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


@dataclass(frozen=True)
class Usage:
    """CPU of a process tree so far. Times of ended children are in `ticks_s` only."""

    cpu_ns: int = 0  # schedstat: exact, all live threads
    ticks_s: float = 0  # utime + stime + cutime + cstime, in clock ticks
    voluntary: int = 0  # context switches: the process slept
    involuntary: int = 0  # it was preempted

    def __sub__(self, earlier: Usage) -> Usage:
        return Usage(
            self.cpu_ns - earlier.cpu_ns,
            self.ticks_s - earlier.ticks_s,
            self.voluntary - earlier.voluntary,
            self.involuntary - earlier.involuntary,
        )


@dataclass(frozen=True)
class Memory:
    """Of a process tree, kB: resident; with shared pages in proportion; without shared pages; of
    these the ones that were written to."""

    rss: int = 0
    pss: int = 0
    private: int = 0
    dirty: int = 0


def _thread_usage(task: Path) -> tuple[int, int, int]:
    cpu_ns = int((task / "schedstat").read_text().split()[0])
    voluntary = involuntary = 0
    for line in (task / "status").read_text().splitlines():
        if line.startswith("voluntary_ctxt_switches"):
            voluntary = int(line.split()[1])
        elif line.startswith("nonvoluntary_ctxt_switches"):
            involuntary = int(line.split()[1])
    return cpu_ns, voluntary, involuntary


def usage(pids: Sequence[int]) -> Usage:
    """Sum over the processes; those that ended meanwhile are left out."""
    cpu_ns = voluntary = involuntary = 0
    ticks = 0
    for pid in pids:
        directory = Path(f"/proc/{pid}")
        with contextlib.suppress(OSError):
            for task in (directory / "task").iterdir():
                thread = _thread_usage(task)
                cpu_ns += thread[0]
                voluntary += thread[1]
                involuntary += thread[2]
            fields = (directory / "stat").read_text().rpartition(")")[2].split()
            ticks += sum(int(field) for field in fields[11:15])
    return Usage(cpu_ns, ticks * TICK_S, voluntary, involuntary)


def memory(pids: Sequence[int]) -> Memory:
    sizes = {"Rss:": 0, "Pss:": 0, "Private_Clean:": 0, "Private_Dirty:": 0}
    for pid in pids:
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                words = line.split()
                if words[0] in sizes:
                    sizes[words[0]] += int(words[1])
    private = sizes["Private_Clean:"] + sizes["Private_Dirty:"]
    return Memory(sizes["Rss:"], sizes["Pss:"], private, sizes["Private_Dirty:"])


def spawn(
    namespace: Namespace,
    argv: Sequence[str],
    *,
    output: IO[bytes] | int = subprocess.DEVNULL,
    errors: IO[bytes] | int | None = None,
    cwd: str | None = None,
) -> subprocess.Popen[bytes]:
    """Start a program inside; it dies with this process.

    It stays in the session of the rig, so that the kernel's autogroups (one for each session) do
    not shield it from the busy loops of a pressure run.
    """
    guard = shutil.which("setpriv")
    if guard is not None:
        argv = [guard, "--pdeathsig", "KILL", "--", *argv]
    return namespace.call(
        subprocess.Popen,
        argv,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=errors if errors is not None else output,
        cwd=cwd,
        process_group=0,
    )


def timed(
    argv: Sequence[str], log: Path, namespace: Namespace | None = None
) -> tuple[float, float]:
    """Wall and CPU seconds of a program. Raises RuntimeError when it fails."""
    begin = time.monotonic()
    with log.open("wb") as output:
        if namespace is None:
            process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        else:
            process = spawn(namespace, argv, output=output)
        _, status, used = os.wait4(process.pid, 0)
    seconds = time.monotonic() - begin
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        text = log.read_text(errors="replace")[-2000:]
        raise RuntimeError(f"{' '.join(argv)}: exit code {process.returncode}\n{text}")
    return seconds, used.ru_utime + used.ru_stime


class Helper:
    """A measuring program: says `ready`, works until SIGTERM or its own end, prints JSON."""

    def __init__(
        self, namespace: Namespace, argv: Sequence[str], *, nice: int = HELPER_NICE
    ) -> None:
        argv = ["nice", "-n", str(nice), *argv]
        self._process = spawn(namespace, argv, output=subprocess.PIPE, errors=subprocess.STDOUT)
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if line != b"ready\n":
            rest = line + self._process.stdout.read()
            self._process.wait()
            raise RuntimeError(f"{argv[3]}: {rest.decode(errors='replace')}")

    def stop(self) -> Any:
        """Ask it to end; its result."""
        self._process.send_signal(signal.SIGTERM)
        return self.result()

    def result(self) -> Any:
        """Wait for its end; its result."""
        assert self._process.stdout is not None
        text = self._process.stdout.read()
        if self._process.wait() != 0:
            raise RuntimeError(f"{self._process.args!r}: {text.decode(errors='replace')}")
        return json.loads(text)

    def close(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()

    def __enter__(self) -> Helper:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def run_json(namespace: Namespace, argv: Sequence[str], timeout_s: float = 60) -> Any:
    """Run a program inside to its end; the JSON it printed."""
    return json.loads(namespace.run(*argv, timeout_s=timeout_s))


__all__ = [
    "Helper",
    "Memory",
    "Usage",
    "before_all",
    "memory",
    "now_ns",
    "process_tree",
    "run_json",
    "spawn",
    "timed",
    "usage",
]
