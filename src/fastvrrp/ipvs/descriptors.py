"""How many sockets the checks may have open together."""

from __future__ import annotations

import contextlib
import resource

SOCKETS_MAX = 65_536
OTHERS = 2  # the prober gets one part in this many, the event loop's checks the rest


def prober_sockets() -> int:
    """What the prober may open; the soft limit of this process is raised to the hard one first.

    Programs do not inherit it: another process runs them.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OTHERS * SOCKETS_MAX if hard == resource.RLIM_INFINITY else hard
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):  # a sandbox may forbid it
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            soft = wanted
    limit = wanted if soft == resource.RLIM_INFINITY else soft
    return max(1, min(SOCKETS_MAX, limit // OTHERS))
