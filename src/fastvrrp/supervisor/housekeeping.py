"""What a configuration says about a process as such: its name, its umask."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from fastvrrp.supervisor.process import set_name

if TYPE_CHECKING:  # `start` needs UMASK before anything large is loaded
    from fastvrrp.config.model import GlobalDefs

UMASK = 0o027
"""Nothing that any of our processes writes is for everybody, unless that is asked for."""


def settle(role: str, defs: GlobalDefs, *, name: str, umask: int | None) -> None:
    """Take over what a configuration in effect says, and the defaults where it says nothing.

    `role`: of this process. `name`: what ps calls it by default. `umask`: of the command line,
    which wins.
    """
    given = defs.housekeeping.umask if umask is None else umask
    os.umask(UMASK if given is None else given)
    set_name(getattr(defs.housekeeping.process_names, role) or name)
