"""Starting the daemon's processes, before anything else is imported that takes its time.

Only the standard library is used here: `start` runs this while the rest of the supervisor is not
loaded yet, so that its processes import what they need on the other processors meanwhile.
How a process is begun is the caller's choice: `execute` here, `fork.launch` at the start.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from fastvrrp.supervisor import pulse
from fastvrrp.supervisor.destinations import Destinations

PYTHON = (sys.executable, "-P", "-m")
"""-P keeps the working directory out of the module path: we are root."""
READER_ARGV = (*PYTHON, "fastvrrp.supervisor.reader")

FDS = ("channel", "scripts", "pulse", "alarm")
"""Options of a child whose values are descriptors (`link.adopt`)."""


class Role(NamedTuple):
    """A kind of child, of which there is at most one."""

    name: str  # on the control socket, and of `run --only`
    title: str  # in texts
    birth: str  # in the log line that tells of a start, for what reads keepalived's
    argv: Sequence[str]
    worker: str  # in texts: its thread that writes into the page of `pulse`
    retires: bool = False  # it is stopped when a reload leaves it nothing to do


VRRP = Role("vrrp", "VRRP process", "VRRP", (*PYTHON, "fastvrrp.vrrp"), "engine")
IPVS = Role(
    "ipvs", "IPVS process", "Healthcheck", (*PYTHON, "fastvrrp.ipvs"), "prober", retires=True
)
ROLES = (VRRP, IPVS)


class Settings(NamedTuple):
    """How a child is run. Times in seconds; the defaults are the product's."""

    run_dir: Path
    role: Role = VRRP
    keep_fds: Sequence[int] = ()  # further descriptors the child inherits
    log: Destinations = Destinations()
    name: str = ""  # what ps calls it
    umask: int | None = None  # of the command line
    respawn: bool = True  # when it crashed
    keep_services: bool = False  # an orderly stop leaves the IPVS table as it is
    ask_s: float = 30.0  # between two pings for its event loop; its engine needs none
    rest_ask_s: float = 600.0  # the same of a loop that has nothing to do by time
    hang_limit_s: float = 10.0  # an engine or event loop that stood still for longer is ended
    configure_timeout_s: float = 120.0
    call_timeout_s: float = 5.0
    stable_s: float = 60.0  # a child that ran longer than this is restarted at once
    backoff_s: Sequence[float] = (0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0)


class Process(Protocol):
    """A process of ours until it is collected; `returncode` is None before."""

    @property
    def pid(self) -> int: ...
    @property
    def returncode(self) -> int | None: ...
    def kill(self) -> None: ...
    def wait(self) -> int: ...


class Launch(Protocol):
    """A way to begin a process in a group of its own: Ctrl-C in a terminal is for the supervisor,
    who stops in order. `mute`: what it prints is nobody's business. Raises OSError."""

    def __call__(
        self, argv: Sequence[str], *, pass_fds: Sequence[int], cwd: str | None, mute: bool
    ) -> Process: ...


def execute(
    argv: Sequence[str], *, pass_fds: Sequence[int], cwd: str | None = None, mute: bool = False
) -> Process:
    """A new program (see `Launch`)."""
    import subprocess  # nothing at a start needs it that early

    return subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL if mute else None,
        pass_fds=pass_fds,
        process_group=0,
        cwd=cwd,
    )


def pair() -> tuple[socket.socket, socket.socket]:
    """Two connected ends: non-blocking, close-on-exec. Raises OSError when out of descriptors."""
    ours, theirs = socket.socketpair(
        socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
    )
    return ours, theirs


class Spawned(NamedTuple):
    """A child process that waits for its first configuration, and our ends of what it holds."""

    process: Process
    pidfd: int
    channel: socket.socket
    scripts: socket.socket
    page: pulse.Page
    alarm: int

    def discard(self) -> None:
        """It is not needed. It has done nothing yet, so that nothing has to be undone."""
        self.process.kill()
        self.process.wait()
        os.close(self.pidfd)
        self.channel.close()
        self.scripts.close()
        self.page.close()
        os.close(self.alarm)


def spawn(settings: Settings, launch: Launch = execute) -> Spawned:
    """Start a child. Raises OSError."""
    with contextlib.ExitStack() as theirs, contextlib.ExitStack() as ours:
        channel, channel_end = pair()
        ours.callback(channel.close)
        theirs.callback(channel_end.close)
        scripts, scripts_end = pair()
        ours.callback(scripts.close)
        theirs.callback(scripts_end.close)
        page_fd = pulse.create()
        theirs.callback(os.close, page_fd)
        page = pulse.Page(page_fd)
        ours.callback(page.close)
        alarm = pulse.create_alarm()
        ours.callback(os.close, alarm)
        fds = (channel_end.fileno(), scripts_end.fileno(), page_fd, alarm)
        argv = [
            *settings.role.argv,
            *(f"--{name}={fd}" for name, fd in zip(FDS, fds, strict=True)),
            f"--parent={os.getpid()}",
            f"--run-dir={settings.run_dir}",
            f"--name={settings.name}",
            *settings.log.arguments(),
        ]
        if settings.keep_services:
            argv.append("--keep-services")
        if settings.umask is not None:
            argv.append(f"--umask={settings.umask}")
        process = launch(argv, pass_fds=(*fds, *settings.keep_fds), cwd="/", mute=False)
        pidfd = _watched(process)
        ours.pop_all()
    return Spawned(process, pidfd, channel, scripts, page, alarm)


class Wanted(NamedTuple):
    """A configuration to be read: the file, and what the command line says about it."""

    file: Path
    config_id: str | None = None
    only: str | None = None  # name of the one role that is run
    net_namespace: str | None = None  # in place of what the file says
    strict_includes: bool = False
    tolerant: bool = False  # see config.load
    is_reload: bool = False

    def arguments(self) -> list[str]:
        """Options of the reader."""
        given = {
            "config-id": self.config_id,
            "only": self.only,
            "net-namespace": self.net_namespace,
        }
        words = [f"--{name}={value}" for name, value in given.items() if value is not None]
        if self.strict_includes:
            words.append("--strict-includes")
        if self.tolerant:
            words.append("--tolerant")
        if self.is_reload:
            words.append("--reload")
        return [*words, "--", os.fspath(self.file)]


class Reading(NamedTuple):
    """A process that reads a configuration (`reader`); `out` will hold what came of it."""

    process: Process
    pidfd: int
    out: int

    def close(self) -> None:
        """End it if it still runs."""
        self.process.kill()
        self.process.wait()
        os.close(self.pidfd)
        os.close(self.out)


def start_reading(wanted: Wanted, launch: Launch = execute, last: bytes = b"") -> Reading:
    """Have a process of its own read a configuration; `last` is what it may take over from the
    one in effect (`held.Held.last`). Raises OSError.

    What the parser needs is gone with that process, and no fault of it can harm this one.
    """
    with contextlib.ExitStack() as failed, contextlib.ExitStack() as theirs:
        out = os.memfd_create("fastvrrp-configuration", os.MFD_CLOEXEC)
        failed.callback(os.close, out)
        argv, fds = [*READER_ARGV, f"--out={out}"], [out]
        if last:
            known = os.memfd_create("fastvrrp-last", os.MFD_CLOEXEC)
            theirs.callback(os.close, known)
            with open(known, "wb", closefd=False) as stream:
                stream.write(last)
            os.lseek(known, 0, os.SEEK_SET)
            argv.append(f"--last={known}")
            fds.append(known)
        process = launch([*argv, *wanted.arguments()], pass_fds=fds, cwd=None, mute=True)
        reading = Reading(process, _watched(process), out)
        failed.pop_all()
    return reading


def _watched(process: Process) -> int:
    """A pidfd. Raises OSError, and the process is gone then."""
    try:
        return os.pidfd_open(process.pid)
    except OSError:
        process.kill()
        process.wait()
        raise
