"""The legacy check `</path`: can an account open a file for reading?

keepalived hands such a "script" to a shell. Here the file is opened directly, with the account's
file system identity, which setfsuid(2) gives to the calling thread alone.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence

from fastvrrp.config import model

_libc = ctypes.CDLL(None, use_errno=True)


def legacy_path(argv: Sequence[str]) -> str | None:
    """The path of `</path` or `< /path`, or None for an ordinary command."""
    if not argv or not argv[0].startswith("<"):
        return None
    if argv[0] != "<":
        return argv[0][1:]
    return argv[1] if len(argv) > 1 else None


def readable(path: str, account: model.Account | None) -> bool:
    """Whether `account` (None: this process) can open `path` for reading. Blocks; never raises.

    Call it in a thread that is used for nothing else at the moment. Being uid 0 only changes
    identity; supplementary groups of this process still count.
    """
    if account is None or os.geteuid() != 0:
        return _opens(path)
    # Group first: leaving uid 0 takes the capability to change it away.
    _libc.setfsgid(account.gid)
    _libc.setfsuid(account.uid)
    try:
        return _opens(path)
    finally:
        _libc.setfsuid(os.geteuid())
        _libc.setfsgid(os.getegid())


def _opens(path: str) -> bool:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except (OSError, ValueError):
        return False
    os.close(fd)
    return True
