"""Entering a named network namespace (`net_namespace`, ip-netns(8))."""

from __future__ import annotations

import errno
import os

_DIRECTORY = "/run/netns"
_CLONE_NEWNET = 0x40000000


class NamespaceError(Exception):
    """The namespace cannot be entered; the text says why and what would help."""


def enter(name: str) -> None:
    """Move the calling thread into /run/netns/NAME.

    To be called before any other thread, socket or event loop exists: threads started later
    inherit the namespace, those already running do not. Raises NamespaceError.
    """
    if not name or "/" in name or name in (".", ".."):
        raise NamespaceError(f"{name!r} is not a name of a network namespace")
    path = f"{_DIRECTORY}/{name}"
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        hint = f"; create it with: ip netns add {name}" if error.errno == errno.ENOENT else ""
        raise NamespaceError(
            f"cannot open network namespace {name} ({path}): {error.strerror}{hint}"
        ) from error
    try:
        _setns(descriptor)
    except OSError as error:
        hint = "; CAP_SYS_ADMIN is needed" if error.errno == errno.EPERM else ""
        if error.errno == errno.EINVAL:
            hint = "; the file is not a network namespace"
        raise NamespaceError(
            f"cannot enter network namespace {name} ({path}): {error.strerror}{hint}"
        ) from error
    finally:
        os.close(descriptor)


def _setns(descriptor: int) -> None:
    """setns(2), which the standard library has since Python 3.12. Raises OSError."""
    setns = getattr(os, "setns", None)
    if setns is not None:
        setns(descriptor, _CLONE_NEWNET)
        return
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, _CLONE_NEWNET) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
