"""Starting the daemon's children, before anything else is imported that takes its time.

Only the standard library is used here: `start` runs this while the rest of the supervisor is not
loaded yet, so that its processes import what they need on the other processors meanwhile.
How a process is begun is the caller's choice: `launch.execute`, or `fork.launch` at the start.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from fastvrrp.supervisor import pulse
from fastvrrp.supervisor.destinations import Destinations
from fastvrrp.supervisor.launch import Launch, Process, execute, watched
from fastvrrp.supervisor.roles import VRRP, Role

FDS = ("channel", "scripts", "pulse", "alarm")
"""Options of a child whose values are descriptors (`link.adopt`)."""


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
        pidfd = watched(process)
        ours.pop_all()
    return Spawned(process, pidfd, channel, scripts, page, alarm)
