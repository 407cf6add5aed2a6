"""A process and the system it runs on: memory, sub-reaper, orphans, end codes."""

from __future__ import annotations

import gc
import logging
import os
import signal
import time
from collections.abc import Callable, Collection

from fastvrrp.track import procfs

log = logging.getLogger(__name__)

_PR_SET_CHILD_SUBREAPER = 36  # include/uapi/linux/prctl.h
_M_MMAP_THRESHOLD = -3  # malloc.h

LARGE = 128 * 1024  # bytes of a block; what glibc begins with

ORPHAN_GRACE_S = 5.0
"""A zombie this old has no owner among us: whoever started a process collects it at once."""


def become_subreaper() -> None:
    """Make this process the parent of every orphan below it (prctl(2)). Raises OSError.

    So no script's stray grandchild escapes to init, where nothing would tell us of it.
    """
    import ctypes  # not before the reader of the configuration is on its way

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, ctypes.c_ulong(1), 0, 0, 0) != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


def keep_large_apart() -> None:
    """Have large blocks of memory in mappings of their own, for good (mallopt(3); not every C
    library has it). glibc otherwise goes over to its heap as soon as one of them was freed, where
    what lies behind the next ones keeps their room."""
    import ctypes

    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, LARGE)


def settle_memory() -> None:
    """What was just built stays for long: the collector need not look at it any more, and what
    building it took goes back to the system."""
    gc.unfreeze()
    gc.collect()
    gc.freeze()
    give_back_memory()


def give_back_memory() -> None:
    """What was freed goes back to the system (malloc_trim(3); not every C library has it)."""
    import ctypes

    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(ctypes.c_size_t(0))


def describe_code(code: int) -> str:
    """A return code as subprocess gives it (negative: a signal) in words."""
    if code >= 0:
        return f"exit status {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"


class Orphans:
    """Collects adopted processes that ended, without touching those that have an owner here.

    `owned()` names processes whose end somebody waits for. Any other zombie gets ORPHAN_GRACE_S,
    because an owner may not have been told of it yet; after that it is an orphan's.
    """

    def __init__(
        self,
        owned: Callable[[], Collection[int]],
        *,
        grace_s: float = ORPHAN_GRACE_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._owned = owned
        self._grace_s = grace_s
        self._clock = clock
        self._seen: dict[int, float] = {}  # pid -> when first seen as a zombie

    @property
    def waiting(self) -> bool:
        """Whether the last sweep left a zombie to its grace."""
        return bool(self._seen)

    def sweep(self) -> list[int]:
        """Collect what is due; returns the process ids. Cheap when there are no zombies."""
        if not _any_zombie():
            self._seen.clear()
            return []
        owned = self._owned()
        zombies = {pid for pid in procfs.children() if pid not in owned and _is_zombie(pid)}
        now = self._clock()
        self._seen = {pid: self._seen.get(pid, now) for pid in zombies}
        collected = []
        for pid, since in list(self._seen.items()):
            if now - since >= self._grace_s:
                try:
                    os.waitpid(pid, os.WNOHANG)
                except ChildProcessError:
                    log.debug("process %d was collected by its owner", pid)
                else:
                    collected.append(pid)
                del self._seen[pid]
        return collected


def _any_zombie() -> bool:
    """Whether any child has ended and is not collected. Collects nothing (waitid(2), WNOWAIT)."""
    try:
        return os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return False


def _is_zombie(pid: int) -> bool:
    process = procfs.look(pid)
    return process is not None and process.zombie
