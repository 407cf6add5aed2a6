"""inotify(7) as a small class: watch directories, read which names changed in them."""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterator
from typing import NamedTuple

# include/uapi/linux/inotify.h
IN_CLOSE_WRITE = 0x8
IN_MOVED_FROM = 0x40
IN_MOVED_TO = 0x80
IN_DELETE = 0x200
IN_DELETE_SELF = 0x400
IN_MOVE_SELF = 0x800
IN_Q_OVERFLOW = 0x4000
IN_IGNORED = 0x8000
IN_ONLYDIR = 0x1000000

_HEADER = struct.Struct("=iIII")  # struct inotify_event: wd, mask, cookie, len
_READ_BYTES = 64 * 1024

_libc = ctypes.CDLL(None, use_errno=True)


class Change(NamedTuple):
    """One event. `watch` is -1 for an overflow of the queue."""

    watch: int
    mask: int
    name: str


class Inotify:
    """One inotify instance, non-blocking. Raises OSError when the kernel's limits are reached."""

    def __init__(self) -> None:
        self._fd = _check(_libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))

    def fileno(self) -> int:
        return self._fd

    def watch_directory(self, path: str) -> int:
        """Watch for files closed after writing, moved in or out, or deleted; returns the watch.

        Raises OSError (ENOENT, ENOTDIR, ENOSPC for the limit on watches).
        """
        mask = (
            IN_CLOSE_WRITE
            | IN_MOVED_FROM
            | IN_MOVED_TO
            | IN_DELETE
            | IN_DELETE_SELF
            | IN_MOVE_SELF
            | IN_ONLYDIR
        )
        return _check(_libc.inotify_add_watch(self._fd, os.fsencode(path), mask), path)

    def unwatch(self, watch: int) -> None:
        """Stop watching; a watch the kernel has removed itself is not an error."""
        _libc.inotify_rm_watch(self._fd, watch)

    def read(self) -> Iterator[Change]:
        """What is queued now; nothing if nothing is. Raises OSError."""
        try:
            data = os.read(self._fd, _READ_BYTES)
        except BlockingIOError:
            return
        offset = 0
        while offset < len(data):
            watch, mask, _, length = _HEADER.unpack_from(data, offset)
            offset += _HEADER.size
            name = data[offset : offset + length].rstrip(b"\0")
            offset += length
            yield Change(watch, mask, os.fsdecode(name))

    def close(self) -> None:
        os.close(self._fd)


def _check(result: int, path: str | None = None) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), path)
    return result
