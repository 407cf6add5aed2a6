"""A small file of ours in the run directory: replaced in one step, believed only if it is ours.

Synchronous and quick to import: the supervisor uses it between a crash and a restart.
"""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path

_MAXIMUM_BYTES = 64 << 20
_MODE = 0o600


class StateFileError(Exception):
    """The file cannot be read or is not to be believed; the text says which and why."""


class StateFile:
    """The file at a path; its directory must exist."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)

    def _directory(self) -> int:
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW
        return os.open(self.path.parent, flags)

    def write(self, data: bytes) -> None:
        """Replace the file. Raises OSError.

        Not synchronised to a disk on purpose: it must survive the daemon, and what it tells of does
        not survive the machine.
        """
        temporary = f".{self.path.name}.{os.getpid()}"
        directory = self._directory()
        try:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary, dir_fd=directory)  # of an earlier process with our number
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            try:
                with os.fdopen(os.open(temporary, flags, _MODE, dir_fd=directory), "wb") as stream:
                    stream.write(data)
                os.rename(temporary, self.path.name, src_dir_fd=directory, dst_dir_fd=directory)
            except OSError:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(temporary, dir_fd=directory)
                raise
        finally:
            os.close(directory)

    def read(self) -> bytes | None:
        """What it holds, None when there is none. Raises StateFileError when it is not a plain
        file of ours that nobody else can write."""
        try:
            directory = self._directory()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StateFileError(f"{self.path.parent}: {error.strerror}") from error
        try:
            return self._read(directory)
        except OSError as error:
            raise StateFileError(f"{self.path}: {error.strerror}") from error
        finally:
            os.close(directory)

    def _read(self, directory: int) -> bytes | None:
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            descriptor = os.open(self.path.name, flags, dir_fd=directory)
        except FileNotFoundError:
            return None
        with os.fdopen(descriptor, "rb") as stream:
            status = os.fstat(stream.fileno())
            if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
                raise StateFileError(f"{self.path}: not a plain file")
            if status.st_uid not in (0, os.geteuid()):
                raise StateFileError(f"{self.path}: belongs to user {status.st_uid}")
            if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                raise StateFileError(f"{self.path}: others may write it")
            if status.st_size > _MAXIMUM_BYTES:
                raise StateFileError(f"{self.path}: too large")
            return stream.read(_MAXIMUM_BYTES)

    def remove(self) -> None:
        """Delete it. A missing one is fine. Raises OSError."""
        with contextlib.suppress(FileNotFoundError):
            directory = self._directory()
            try:
                os.unlink(self.path.name, dir_fd=directory)
            finally:
                os.close(directory)
