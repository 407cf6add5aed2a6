"""Having a configuration read by a process of its own (`reader`).

The daemon does this before anything else: until the configuration is there nobody can advertise,
so nothing is imported here that this process has no use for.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import NamedTuple

from fastvrrp.supervisor.launch import PYTHON, Launch, Process, execute, watched

READER_ARGV = (*PYTHON, "fastvrrp.supervisor.reader")


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
        reading = Reading(process, watched(process), out)
        failed.pop_all()
    return reading
