"""PID files as keepalived keeps them: one for each process, there while the process is.

A file holds the decimal number and a newline, and is locked (flock(2)) as long as its process is
ours: so a second daemon is refused, and what a crash left behind is not mistaken for a daemon.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from fastvrrp.supervisor.traces import pid_directory

log = logging.getLogger(__name__)

MODE = 0o644  # who may signal us is the kernel's business; who reads the number may be anybody
_STEMS = {"supervisor": "keepalived", "vrrp": "vrrp", "ipvs": "checkers"}
_FLAGS = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW


class Running(Exception):
    """Another daemon has the file."""


class Identity(NamedTuple):
    """What tells several daemons of one host apart, in the configuration or on the command line."""

    net_namespace: str | None = None
    instance: str | None = None
    use_pid_dir: bool = False


def paths(asked: Mapping[str, str | None], identity: Identity) -> dict[str, Path]:
    """Where the files are, by role: as asked, else where keepalived keeps them. That is /run, or
    /run/keepalived with use_pid_dir, an instance name or a network namespace (of which each has a
    directory of its own there)."""
    directory, name = pid_directory(*identity)
    return {
        role: Path(asked.get(role) or directory / f"{stem}{name}.pid").absolute()
        for role, stem in _STEMS.items()
    }


class PidFiles:
    """The files of one daemon. Use `acquire`; `close` at the end."""

    def __init__(self, where: Mapping[str, Path]) -> None:
        self._where = where
        self._held: dict[str, int] = {}

    def acquire(self) -> None:
        """Take our own file, and see that nobody has the others. Raises Running, OSError."""
        try:
            for role in self._where:
                self._take(role)
        except (Running, OSError):
            self.close()
            raise
        for role in self._where:
            if role != "supervisor":
                self._drop(role)
        self._write("supervisor", os.getpid())

    def update(self, pids: Mapping[str, int | None]) -> None:
        """The children as they are now; what cannot be written is logged."""
        for role, pid in pids.items():
            if pid is None:
                self._drop(role)
                continue
            try:
                if role not in self._held:
                    self._take(role)
                self._write(role, pid)
            except (Running, OSError) as exc:
                log.error("no pid file %s: %s", self._where[role], exc)

    def close(self) -> None:
        """Remove them all."""
        for role in list(self._held):
            self._drop(role)

    def _take(self, role: str) -> None:
        path = self._where[role]
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        while True:
            fd = os.open(path, _FLAGS, MODE)
            with contextlib.ExitStack() as unless_held:
                unless_held.callback(os.close, fd)
                try:
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    raise Running(f"{path} is locked by another daemon") from None
                if not _same(fd, path):
                    continue  # its last owner removed it just now
                if (pid := _keepalived(os.pread(fd, 32, 0))) is not None:
                    raise Running(f"{path} names a running keepalived, process {pid}")
                os.fchmod(fd, MODE)
                self._held[role] = fd
                unless_held.pop_all()
                return

    def _write(self, role: str, pid: int) -> None:
        fd = self._held[role]
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{pid}\n".encode(), 0)

    def _drop(self, role: str) -> None:
        fd = self._held.pop(role, None)
        if fd is None:
            return
        if _same(fd, self._where[role]):
            with contextlib.suppress(OSError):  # a read-only directory: the lock is gone anyway
                self._where[role].unlink()
        os.close(fd)


def _same(fd: int, path: Path) -> bool:
    """Whether the open file is the one of that name."""
    try:
        return os.path.samestat(os.fstat(fd), path.lstat())
    except FileNotFoundError:
        return False


def _keepalived(content: bytes) -> int | None:
    """The process a pid file names, if that is a keepalived: older ones do not lock their files."""
    text = content.decode("ascii", "replace").strip()
    if not text.isdigit():
        return None
    try:
        program = Path(f"/proc/{text}/exe").readlink()
    except OSError:
        return None
    return int(text) if program.name == "keepalived" else None
