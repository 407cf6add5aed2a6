"""Reading processes from /proc (proc(5)), as little as trackers and the script runner need."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

PROC = "/proc"


class Process(NamedTuple):
    """One look at a process. `start` tells it from a later one with the same pid."""

    pid: int
    parent: int
    group: int  # process group
    session: int
    start: int  # clock ticks since boot
    comm: str  # at most 15 bytes
    zombie: bool


def pids() -> list[int]:
    """Every process of this pid namespace. Raises OSError when /proc is not there."""
    with os.scandir(PROC) as entries:
        return [int(entry.name) for entry in entries if entry.name.isdecimal()]


def look(pid: int) -> Process | None:
    """The process now, or None when it is gone."""
    data = _read(f"{PROC}/{pid}/stat")
    # The name is in parentheses and may itself contain some, and blanks.
    head, _, tail = data.rpartition(b")")
    fields = tail.split()
    if len(fields) < 20:
        return None
    comm = head.partition(b"(")[2].decode(errors="surrogateescape")
    parent, group, session = map(int, fields[1:4])
    zombie = fields[0] in (b"Z", b"X", b"x")
    return Process(pid, parent, group, session, int(fields[19]), comm, zombie)


def children(pid: int | None = None) -> list[int]:
    """The children of a process, by default ours, adopted ones included.

    (/proc/PID/task/TID/children.) Empty when the process is gone or the kernel was built without
    CONFIG_PROC_CHILDREN; not all of them while some are just ending.
    """
    threads = f"{PROC}/{'self' if pid is None else pid}/task"
    try:
        numbers = os.listdir(threads)  # noqa: PTH208 - names are all that is wanted
    except OSError:
        return []
    return [int(word) for tid in numbers for word in _read(f"{threads}/{tid}/children").split()]


def argv(pid: int) -> tuple[str, ...]:
    """The command line; empty for kernel threads and processes that are gone."""
    data = _read(f"{PROC}/{pid}/cmdline")
    if not data:
        return ()
    return tuple(data.removesuffix(b"\0").decode(errors="surrogateescape").split("\0"))


def executable(pid: int) -> str:
    """The path of the program; empty when it cannot be known."""
    try:
        return str(Path(f"{PROC}/{pid}/exe").readlink())
    except OSError:
        return ""


def last_pid() -> int | None:
    """The pid given out last in this pid namespace, or None when /proc does not tell.

    A /proc that belongs to another pid namespace than ours does not: its loadavg is about us,
    its directories are not.
    """
    try:
        if str(Path(f"{PROC}/self").readlink()) != str(os.getpid()):
            return None
    except OSError:
        return None
    word = _read(f"{PROC}/loadavg").split()[-1:]
    return int(word[0]) if word and word[0].isdigit() else None


def _read(path: str) -> bytes:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        chunks = []
        while chunk := os.read(fd, 65536):
            chunks.append(chunk)
        return b"".join(chunks)
    except OSError:  # ESRCH: it ended between the two calls
        return b""
    finally:
        os.close(fd)
