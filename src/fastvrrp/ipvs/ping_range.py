"""net.ipv4.ping_group_range, opened while there are PING_CHECKs and restored afterwards.

Sockets for ICMP echoes, of IPv4 and IPv6, may be opened by processes with a group in this range;
the kernel's default names nobody, not even root. What was there before is noted in a file, so that
it comes back although a process was killed meanwhile.
"""

from __future__ import annotations

import logging
import os
import socket
from pathlib import Path

from fastvrrp.net.statefile import StateFile, StateFileError

log = logging.getLogger(__name__)

SYSCTL = Path("/proc/sys/net/ipv4/ping_group_range")


def widened(low: int, high: int, group: int) -> tuple[int, int]:
    """The smallest range with everybody of the old one (nobody when `low` > `high`) and `group`."""
    return (group, group) if low > high else (min(low, group), max(high, group))


class PingRange:
    """The range of this process's network namespace. Raises nothing: problems are logged."""

    def __init__(self, note: Path, sysctl: Path = SYSCTL) -> None:
        """The file `note` holds what to restore as long as there is something; a process that was
        killed may have left it."""
        self._note = StateFile(note)
        self._sysctl = sysctl

    def set(self, needed: bool) -> None:
        """Whether this process opens ICMP sockets from now on. Saying it again does no harm."""
        try:
            if needed:
                self._open()
            else:
                self._restore()
        except (OSError, ValueError, StateFileError) as error:
            log.error("PING_CHECK: %s: %s", self._sysctl, error)

    def _open(self) -> None:
        if _allowed():
            return
        before = self._read()
        ours = widened(*before, os.getegid())
        self._note.write(f"{before[0]} {before[1]} {ours[0]} {ours[1]}\n".encode())
        self._sysctl.write_text(f"{ours[0]} {ours[1]}\n")
        log.info("ping_group_range was %d %d, is %d %d while there are PING_CHECKs", *before, *ours)

    def _restore(self) -> None:
        text = self._note.read()
        if text is None:
            return
        low, high, *ours = (int(word) for word in text.split())
        # Somebody else's later wish counts more than ours.
        if self._read() == tuple(ours):
            self._sysctl.write_text(f"{low} {high}\n")
            log.info("ping_group_range is %d %d again", low, high)
        self._note.remove()

    def _read(self) -> tuple[int, int]:
        low, high = (int(word) for word in self._sysctl.read_text().split())
        return low, high


def _allowed() -> bool:
    try:
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP).close()
    except PermissionError:
        return False
    return True
