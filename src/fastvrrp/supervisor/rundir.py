"""The run directory: created private, held by one daemon at a time."""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import time
from pathlib import Path

MODE = 0o750

LOCK_NAME = "lock"
JOURNAL_NAME = "journal"
ORDERLY_STOP_S = 10.0
"""How long a child without a supervisor may need to undo its work."""


class RunDirError(Exception):
    """The run directory cannot be used; the text says why and what to do."""


class AlreadyRunning(RunDirError):
    """Another daemon holds it."""


class RunDir:
    """An open, locked run directory. Use `acquire`; `close` when done.

    Attributes: `path`; `lock`, the descriptor whoever shares the directory has to keep open;
    `control` (socket); `journal` (kernel objects to undo after a crash).
    """

    def __init__(self, path: Path, lock: int) -> None:
        self.path = path
        self.lock = lock

    @property
    def control(self) -> Path:
        from fastvrrp.control.protocol import SOCKET_NAME  # not while starting: it is not small

        return self.path / SOCKET_NAME

    @property
    def journal(self) -> Path:
        return self.path / JOURNAL_NAME

    def close(self) -> None:
        """Let the next daemon in. The lock file stays: removing it would race with its opening."""
        if self.lock >= 0:
            os.close(self.lock)
            self.lock = -1


def acquire(path: Path, *, create: bool = True, patience_s: float = ORDERLY_STOP_S) -> RunDir:
    """Create `path` if needed (mode 0750) and lock it for this process.

    The lock is flock(2) on DIR/lock: the kernel lets go of it however the process ends. When its
    holder was killed and only the holder's child is left, undoing its work, this waits for it up
    to `patience_s`. Raises RunDirError when another daemon holds it, or the directory cannot be
    used or is not private.
    """
    path = path.absolute()
    try:
        if create:
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.exists():
                path.mkdir(mode=MODE)
                path.chmod(MODE)  # mkdir's mode goes through the umask
        if path.is_symlink():
            # Whoever can replace the link could send us somewhere else later.
            raise RunDirError(f"{path} is a symbolic link: name the directory it points to")
        _check_private(path)
        lock = os.open(
            path / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o640
        )
    except OSError as exc:
        raise RunDirError(f"cannot use run directory {path}: {exc.strerror}") from exc
    with contextlib.ExitStack() as unless_locked:
        unless_locked.callback(os.close, lock)
        try:
            _lock(lock, path, patience_s)
        except OSError as exc:
            raise RunDirError(f"cannot lock run directory {path}: {exc.strerror}") from exc
        with contextlib.suppress(OSError):  # a full disk: the number only makes messages better
            os.ftruncate(lock, 0)
            os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        unless_locked.pop_all()
    return RunDir(path, lock)


def _lock(lock: int, path: Path, patience_s: float) -> None:
    deadline = time.monotonic() + patience_s
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pass
        else:
            return
        holder = os.pread(lock, 32, 0).decode("ascii", "replace").strip()
        if not holder.isdigit() or Path(f"/proc/{holder}").exists():
            who = f"process {holder}" if holder.isdigit() else "another process"
            raise AlreadyRunning(
                f"fastvrrp is already running in {path} ({who}); "
                "a second daemon needs another --run-dir"
            )
        if time.monotonic() >= deadline:
            raise RunDirError(
                f"process {holder} is gone but a child of it still uses {path}: "
                "see `fuser -v` on its lock file"
            )
        time.sleep(0.05)


def _check_private(path: Path) -> None:
    """Raises RunDirError when somebody else could plant files in the directory."""
    status = path.stat()
    if not stat.S_ISDIR(status.st_mode):
        raise RunDirError(f"{path} is not a directory")
    if status.st_uid not in (0, os.geteuid()):
        raise RunDirError(f"{path} belongs to user {status.st_uid}: it must be ours or root's")
    if status.st_mode & stat.S_IWOTH:
        raise RunDirError(f"{path} can be written by everybody: chmod 0750 {path}")
