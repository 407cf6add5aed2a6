"""Sync daemons and connection timeouts: the rest of IPVS that is set, beside services.

Level-triggered like them: what another program changed is set again at the next look. Daemons and
timeouts that are not configured are left alone.
"""

from __future__ import annotations

import asyncio
import errno
import logging
from collections.abc import Iterable, Mapping

from fastvrrp.config.servers import Timeouts
from fastvrrp.ipvs.objects import Daemon, Role
from fastvrrp.ipvs.reconcile import reconcile_daemons
from fastvrrp.ipvs.table import Table

log = logging.getLogger(__name__)

_HINTS = {
    errno.EINVAL: "; not while a service has destinations of another family than its own",
    errno.EEXIST: "; one of another program is running",
    errno.EADDRNOTAVAIL: "; the interface needs an address",
}


class Settings:
    """Of one table. All methods belong to the event loop; failures are logged once, and tried
    again at each look."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._timeouts = Timeouts()
        self._daemons: dict[Role, Daemon] = {}
        self._mine: dict[Role, Daemon | None] = {}  # as asked for; None: by an earlier process
        self._complaints: dict[str, str] = {}
        self._lock = asyncio.Lock()

    @property
    def roles(self) -> tuple[Role, ...]:
        """Sync daemons that may be ours: those that are wanted, or were until now."""
        return tuple(role for role in Role if role in self._daemons or role in self._mine)

    def start(self, left: Iterable[Role]) -> None:
        """Take over the sync daemons that an earlier process left."""
        self._mine = dict.fromkeys(left)

    def want(self, timeouts: Timeouts, daemons: Mapping[Role, Daemon]) -> None:
        """What is to hold from the next look on. Timeouts of 0 are left as they are, and so is
        one that was wanted before: the kernel does not know to which value to return."""
        self._timeouts = timeouts
        self._daemons = dict(daemons)

    async def look(self) -> None:
        """Set what differs from what is wanted."""
        async with self._lock:
            await self._look_at_timeouts()
            if self.roles:
                await self._look_at_daemons()

    async def _look_at_timeouts(self) -> None:
        want = self._timeouts
        if want == Timeouts():
            return
        try:
            have = await self._table.timeouts()
            if _merged(want, have) != have:
                await self._table.set_timeouts(want)
        except OSError as error:
            self._complain("timeouts", f"cannot set the IPVS timeouts: {error.strerror}")
        else:
            self._complaints.pop("timeouts", None)

    async def _look_at_daemons(self) -> None:
        try:
            observed = await self._table.daemons()
        except OSError as error:
            self._complain("daemons", f"cannot ask for the sync daemons: {error.strerror}")
            return
        self._complaints.pop("daemons", None)
        ours = {role: observed[role] for role in self.roles if role in observed}
        asked = {role: daemon for role, daemon in self._mine.items() if daemon is not None}
        stop, start = reconcile_daemons(self._daemons, ours, asked)
        for role in stop:
            await self._stop(role)
        for daemon in start:
            await self._start(daemon)
        for role, daemon in self._daemons.items():
            if role in ours and role not in stop:
                self._mine[role] = daemon
        for role in Role:
            if role not in self._daemons and role not in ours:
                self._mine.pop(role, None)

    async def _stop(self, role: Role) -> None:
        try:
            await self._table.stop_daemon(role)
        except ProcessLookupError:
            pass  # it stopped meanwhile
        except OSError as error:
            text = f"cannot stop the {role.name.lower()} sync daemon: {error.strerror}"
            self._complain(role.name, text)
            return
        self._mine.pop(role, None)

    async def _start(self, daemon: Daemon) -> None:
        name = daemon.role.name
        try:
            await self._table.start_daemon(daemon)
        except OSError as error:
            self._complain(
                name,
                f"cannot start the {name.lower()} sync daemon on {daemon.interface}:"
                f" {error.strerror}{_HINTS.get(error.errno or 0, '')}",
            )
        else:
            self._mine[daemon.role] = daemon
            self._complaints.pop(name, None)

    def _complain(self, about: str, text: str) -> None:
        if self._complaints.get(about) != text:
            self._complaints[about] = text
            log.error("%s", text)


def _merged(want: Timeouts, have: Timeouts) -> Timeouts:
    return Timeouts(
        tcp_s=want.tcp_s or have.tcp_s,
        tcpfin_s=want.tcpfin_s or have.tcpfin_s,
        udp_s=want.udp_s or have.udp_s,
    )
