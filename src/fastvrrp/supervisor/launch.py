"""How one of the daemon's processes is begun, and what is held of it.

`execute` starts a new program; `fork.launch` does the same without one, at the start. Nothing is
imported here that the reader of the configuration, which is the first of them, does not need.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Protocol

PYTHON = (sys.executable, "-P", "-m")
"""-P keeps the working directory out of the module path: we are root."""


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


def watched(process: Process) -> int:
    """A pidfd of it. Raises OSError, and the process is gone then."""
    try:
        return os.pidfd_open(process.pid)
    except OSError:
        process.kill()
        process.wait()
        raise
