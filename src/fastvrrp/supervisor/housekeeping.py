"""What a configuration says about a process as such: its name, its umask."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # `start` needs UMASK before anything large is loaded
    from fastvrrp.config.model import GlobalDefs

UMASK = 0o027
"""Nothing that any of our processes writes is for everybody, unless that is asked for."""


def set_name(name: str) -> None:
    """What ps, top and pgrep call this process and its later threads (15 bytes, proc(5)).

    Without it they say "python". Not being able to is no reason to complain.
    """
    if not name:
        return
    with contextlib.suppress(OSError):
        Path("/proc/self/comm").write_text(name)


def settle(role: str, defs: GlobalDefs, *, name: str, umask: int | None) -> None:
    """Take over what a configuration in effect says, and the defaults where it says nothing.

    `role`: of this process. `name`: what ps calls it by default. `umask`: of the command line,
    which wins.
    """
    given = defs.housekeeping.umask if umask is None else umask
    os.umask(UMASK if given is None else given)
    set_name(getattr(defs.housekeeping.process_names, role) or name)
