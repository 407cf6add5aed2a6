"""The kernel's IPVS table as the rest sees it: what can be asked of it and done to it.

`NetlinkTable` (netlink_table.py) is the kernel's, `MemoryTable` (memory_table.py) behaves like it
without one; the same contract tests hold for both.

IPVS does not tell of changes: who wants to notice those of others has to look (keeper.py).
"""

from __future__ import annotations

import enum
import os
from collections.abc import Iterable
from typing import NamedTuple, Protocol

from fastvrrp.config.servers import Timeouts
from fastvrrp.ipvs.objects import (
    Daemon,
    Destination,
    Destinations,
    Entries,
    Role,
    Service,
    ServiceKey,
    ServiceStatistics,
)


class Verb(enum.IntEnum):
    """What is done to a service or a destination; the numbers are IPVS_CMD_* of linux/ip_vs.h."""

    ADD_SERVICE = 1
    EDIT_SERVICE = 2
    DELETE_SERVICE = 3
    ADD_DESTINATION = 5
    EDIT_DESTINATION = 6
    DELETE_DESTINATION = 7


class Operation(NamedTuple):
    """One change. It names its service always, and has the object that is added or edited."""

    verb: Verb
    key: ServiceKey
    service: Service | None = None  # ADD_SERVICE, EDIT_SERVICE
    destination: Destination | None = None  # the three of destinations; DELETE uses its key

    def __str__(self) -> str:
        what = self.verb.name.replace("_", " ").lower()
        if self.destination is None:
            return f"{what} {self.key}"
        return f"{what} {self.destination.key} of {self.key}"


class Failure(NamedTuple):
    """An operation the kernel refused. The others of the same call have been carried out.

    What the errno says: EEXIST the object is there already; ESRCH there is no such service;
    ENOENT there is no such destination, or the kernel has no such scheduler or persistence engine;
    ERANGE, EINVAL, EAFNOSUPPORT a value it does not take; EPERM CAP_NET_ADMIN is missing.
    """

    operation: Operation
    errno: int

    def __str__(self) -> str:
        return f"{self.operation}: {os.strerror(self.errno)}"


class Table(Protocol):
    """One network namespace's table. All methods raise OSError when the kernel cannot be asked,
    or refuses the one thing that was asked; `apply` returns refusals instead."""

    changes: int  # operations that `apply` has asked for so far

    async def services(self) -> dict[ServiceKey, Service]:
        """Every service, whoever made it."""

    async def destinations(self, keys: Iterable[ServiceKey]) -> dict[ServiceKey, Destinations]:
        """The destinations of these services; of one that does not exist: none."""

    async def dump(self) -> Entries:
        """Everything. Not one moment's picture: others may change the table meanwhile."""

    async def apply(self, operations: Iterable[Operation]) -> list[Failure]:
        """Carry out in this order; one that is refused does not stop the rest."""

    async def flush(self) -> None:
        """Remove every service, also those of others."""

    async def statistics(self) -> dict[ServiceKey, ServiceStatistics]:
        """Counters of every service and destination."""

    async def timeouts(self) -> Timeouts: ...

    async def set_timeouts(self, timeouts: Timeouts) -> None:
        """Set those that are not 0."""

    async def daemons(self) -> dict[Role, Daemon]:
        """The sync daemons that run."""

    async def start_daemon(self, daemon: Daemon) -> None:
        """Raises OSError: EEXIST (one of this role runs), ENODEV (no such interface), EINVAL
        (also while a service has destinations of another family)."""

    async def stop_daemon(self, role: Role) -> None:
        """Raises OSError: ESRCH (none of this role runs)."""

    def close(self) -> None:
        """Give back what was opened; the table itself stays."""
