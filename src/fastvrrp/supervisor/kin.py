"""Every process that came from a program, wherever it has gone, so that none outlives it.

A process group takes in what a script starts, but not what made a group of its own (timeout(1),
a shell with job control) or a session (setsid(1), sudo(8)). Those are found by descent while
their parents live (/proc/PID/task/TID/children), and afterwards by their session: a sub-reaper
adopts them, and a session is never joined from outside.

What put itself into the background for good - in a session of its own, with the parent that
started it ended before - is not found. That is how a daemon starts, and a script may start one.
"""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable, Collection
from signal import Signals

from fastvrrp.track import procfs

log = logging.getLogger(__name__)

FOUND_MAX = 4096  # processes found by one look; a later one finds more


class Kin:
    """The processes below `leader`, which must stay uncollected meanwhile.

    `leader` leads a session. `owned` names children of ours that somebody else looks after: they
    are never taken for orphans.
    """

    def __init__(self, leader: int, owned: Callable[[], Collection[int]]) -> None:
        self._leader = leader
        self._owned = owned
        self._sessions = {leader}

    def signal(self, number: Signals) -> int:
        """Signal all that live and are not in the leader's process group; returns how many."""
        # All found before the first is signalled: what dies no longer leads to its children.
        found = self._find()
        return sum(_send(process, number) for process in found if process.group != self._leader)

    def _find(self) -> list[procfs.Process]:
        found: list[procfs.Process] = []
        seen = {self._leader, *self._owned()}
        for pid in procfs.children():
            process = None if pid in seen else procfs.look(pid)
            if process is not None and process.session in self._sessions:
                self._add(process, found, seen)
        self._add_children(self._leader, found, seen)
        for parent in found:  # which grows meanwhile
            if len(found) > FOUND_MAX:
                break
            self._add_children(parent.pid, found, seen, parent)
        return [process for process in found if not process.zombie]

    def _add_children(
        self,
        parent: int,
        found: list[procfs.Process],
        seen: set[int],
        known: procfs.Process | None = None,
    ) -> None:
        children = [procfs.look(pid) for pid in procfs.children(parent) if pid not in seen]
        if known is None or _is_still(known):  # else `parent` may be another process by now
            for process in children:
                if process is not None and process.parent == parent:
                    self._add(process, found, seen)

    def _add(self, process: procfs.Process, found: list[procfs.Process], seen: set[int]) -> None:
        found.append(process)
        seen.add(process.pid)
        self._sessions.add(process.session)


def _is_still(known: procfs.Process) -> bool:
    """Whether the number belongs to the same process as before."""
    process = procfs.look(known.pid)
    return process is not None and process.start == known.start


def _send(process: procfs.Process, number: Signals) -> bool:
    try:
        pidfd = os.pidfd_open(process.pid)
    except OSError:  # gone, or we have no more descriptors: a later look finds it again
        return False
    try:
        if not _is_still(process):
            return False
        signal.pidfd_send_signal(pidfd, number)
    except ProcessLookupError:
        return False
    except PermissionError as error:
        log.warning("cannot signal process %d: %s", process.pid, error)
        return False
    finally:
        os.close(pidfd)
    return True
