"""A notify FIFO: one line per event, never blocking, the last state of everybody never lost.

The FIFO is opened for reading and writing, so that lines wait in it for a reader that comes
later. When the kernel takes no more, the latest state line of each instance and group is kept
and written as soon as somebody reads; other lines are dropped then.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import stat
import struct
import termios
from pathlib import Path

from fastvrrp.config import model
from fastvrrp.track.runner import Runner, resolve

log = logging.getLogger(__name__)

CREATE_MODE = 0o600
DRAIN_LIMIT_S = 1.0
DRAIN_POLL_S = 0.01
READER_GRACE_NS = model.NS_PER_S  # for the reader program to end by itself at the end of file


class FifoError(Exception):
    """The FIFO cannot be used; the text says why."""


def prepare(fifo: model.Fifo) -> bool:
    """Create the FIFO unless it is there; returns whether it was created. Raises FifoError."""
    try:
        os.mkfifo(fifo.path, CREATE_MODE)
    except FileExistsError:
        return False
    except OSError as error:
        raise FifoError(f"{fifo.path}: cannot be created: {error.strerror}") from error
    return True


def open_checked(fifo: model.Fifo, *, created: bool) -> int:
    """Open a prepared FIFO. Raises FifoError.

    What somebody else may have put in its place is refused: symbolic links, other kinds of file,
    and FIFOs that belong neither to this process nor to the configured account.
    """
    try:
        if not stat.S_ISFIFO(os.lstat(fifo.path).st_mode):
            raise FifoError(f"{fifo.path} is not a FIFO")
        flags = os.O_RDWR | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(fifo.path, flags)
    except OSError as error:
        raise FifoError(f"{fifo.path}: cannot be opened: {error.strerror}") from error
    try:
        status = os.fstat(fd)
        if not stat.S_ISFIFO(status.st_mode):
            raise FifoError(f"{fifo.path} is not a FIFO")
        owners = {os.geteuid()}
        if fifo.account is not None:
            owners.add(fifo.account.uid)
        if status.st_uid not in owners:
            raise FifoError(f"{fifo.path} belongs to uid {status.st_uid}: refused")
        if created:
            # Whatever the umask was.
            os.fchmod(fd, CREATE_MODE)
            if fifo.account is not None:
                os.fchown(fd, fifo.account.uid, fifo.account.gid)
    except OSError as error:
        # Made, but not given to its account: of no use, and nobody else would remove it.
        if created:
            _unlink(Path(fifo.path), _inode(os.fstat(fd)))
        os.close(fd)
        raise FifoError(f"{fifo.path}: {error.strerror}") from error
    except FifoError:
        os.close(fd)
        raise
    return fd


def _inode(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _unlink(path: Path, inode: tuple[int, int]) -> None:
    """Remove a FIFO of ours, but nothing that took its place."""
    try:
        if _inode(path.lstat()) == inode:
            path.unlink()
    except FileNotFoundError:
        return
    except OSError as error:
        log.warning("notify FIFO %s: cannot be removed: %s", path, error.strerror)


class FifoWriter:
    """One FIFO with its reader program. Lines written before `open` wait for it."""

    def __init__(
        self, fifo: model.Fifo, runner: Runner, *, script_account: model.Account | None
    ) -> None:
        self.fifo = fifo
        self._script = None if fifo.script is None else resolve(fifo.script, script_account)
        self._runner = runner
        self._fd = -1
        self._inode: tuple[int, int] | None = None  # of a FIFO we created
        self._reader: int | None = None
        self._waiting: dict[str, bytes] = {}  # key -> its latest state line, oldest first
        self._rest = b""  # of a line of which the kernel took only a part
        self._loop: asyncio.AbstractEventLoop | None = None
        self.dropped = 0

    @property
    def is_open(self) -> bool:
        return self._fd >= 0

    def same_as(self, other: FifoWriter) -> bool:
        """Whether both are configured alike, so that this one can go on in the other's place."""
        mine, theirs = self._script, other._script
        if (self.fifo.path, self.fifo.account) != (other.fifo.path, other.fifo.account):
            return False
        if mine is None or theirs is None:
            return mine is theirs
        return (mine.argv, mine.account) == (theirs.argv, theirs.account)

    def inherit(self, other: FifoWriter) -> None:
        """Take the removal of the FIFO over from another one that has the same open."""
        if self._fd >= 0 and other._inode == _inode(os.fstat(self._fd)):
            self._inode, other._inode = other._inode, None

    async def open(self) -> None:
        """Create the FIFO if needed, open it, start its reader. What goes wrong is logged.

        The reader comes last: its account may only open a FIFO that belongs to it already, and
        it never gets to see what is not a FIFO of ours.
        """
        self._loop = asyncio.get_running_loop()
        try:
            created = prepare(self.fifo)
            self._fd = open_checked(self.fifo, created=created)
        except FifoError as error:
            log.error("notify FIFO %s", error)
            return
        if created:
            self._inode = _inode(os.fstat(self._fd))
        self._flush()
        if self._script is not None:
            await self._start_reader(self._script)

    def write(self, key: str, line: str, *, final: bool) -> None:
        """Write a line (without its newline). `key` names whose line it is; with `final` it
        replaces an earlier one of the same key that could not be written yet."""
        data = line.encode(errors="surrogateescape") + b"\n"
        if self._fd >= 0 and not self._rest and not self._waiting and self._put(data):
            return
        if final:
            if self._waiting.pop(key, None) is not None:
                self.dropped += 1
            self._waiting[key] = data
        else:
            self.dropped += 1
        self._await_room()

    async def close(self) -> None:
        """Let the reader program have what is written, close, end the program, and remove the
        FIFO if it was created here."""
        if self._fd >= 0 and self._reader is not None:
            await self._drain()
        ending = None
        if self._reader is not None:
            reader, self._reader = self._reader, None
            ending = asyncio.ensure_future(self._runner.terminate(reader, grace_ns=READER_GRACE_NS))
            # Whoever runs it learns that its end is wanted before it reads the end of file.
            await asyncio.sleep(0)
        if self._fd >= 0:
            assert self._loop is not None
            self._loop.remove_writer(self._fd)
            os.close(self._fd)
            self._fd = -1
        if ending is not None:
            await ending
        if self._inode is not None:
            _unlink(Path(self.fifo.path), self._inode)
            self._inode = None

    # ------------------------------------------------------------------ details

    async def _start_reader(self, script: model.Command) -> None:
        try:
            self._reader = await self._runner.start(script, extra_args=(self.fifo.path,))
        except OSError as error:
            log.error("notify FIFO script %s: %s", script.argv[0], error.strerror)

    def _put(self, data: bytes) -> bool:
        """Hand bytes to the kernel; False when there was no room for any of them."""
        try:
            count = os.write(self._fd, data)
        except BlockingIOError:
            return False
        except OSError as error:
            # Nothing but EAGAIN is expected of a FIFO that we also have open for reading.
            log.error("notify FIFO %s: a line is lost: %s", self.fifo.path, error.strerror)
            self._rest = b""
            return True
        self._rest = data[count:]  # only lines above PIPE_BUF bytes are ever cut
        return True

    def _await_room(self) -> None:
        if self._loop is not None and self._fd >= 0:
            self._loop.add_writer(self._fd, self._flush)

    def _flush(self) -> None:
        while self._rest or self._waiting:
            if self._rest:
                if not self._put(self._rest):
                    break
                continue
            key = next(iter(self._waiting))
            if not self._put(self._waiting[key]):
                break
            del self._waiting[key]
        if self._rest or self._waiting:
            self._await_room()
        elif self._loop is not None:
            self._loop.remove_writer(self._fd)

    async def _drain(self) -> None:
        """Wait until everything written has been read, a second at most."""
        rounds = int(DRAIN_LIMIT_S / DRAIN_POLL_S)
        for _ in range(rounds):
            unread = struct.unpack("i", fcntl.ioctl(self._fd, termios.FIONREAD, bytes(4)))[0]
            if not unread and not self._waiting and not self._rest:
                return
            await asyncio.sleep(DRAIN_POLL_S)
        log.warning("notify FIFO %s: its script has not read everything", self.fifo.path)
