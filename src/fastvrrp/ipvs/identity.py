"""What makes two real servers, or two checks, the same: for reloads and for sharing."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from fastvrrp.config.servers import Check, RealServer


class ServerKey(NamedTuple):
    """A real server within its virtual server: everything else of it can change by a reload."""

    address: str
    port: int


def key_of(server: RealServer) -> ServerKey:
    return ServerKey(server.address, server.port)


def identity(check: Check) -> Check:
    """The check without what does not change what it does: where it is written, what its result
    means for the server before the first one, and how much of it is logged.

    Checks of equal identity are run once, whatever servers they belong to, and keep running
    through a reload.
    """
    schedule = check.schedule
    if check.position is None and not schedule.alpha and not schedule.log_all_failures:
        return check  # nothing of that is there: thousands need no copy
    schedule = msgspec.structs.replace(schedule, alpha=False, log_all_failures=False)
    plain: Check = msgspec.structs.replace(check, schedule=schedule, position=None)
    return plain
