"""Types and small helpers of the tracker tests."""

from __future__ import annotations

from collections.abc import Callable

from fastvrrp.track import procfs

MakeScript = Callable[[str], str]


def alive(pid: int) -> bool:
    """Whether the process exists and is no zombie."""
    process = procfs.look(pid)
    return process is not None and not process.zombie
