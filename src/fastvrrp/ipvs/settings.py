"""Sync daemons and connection timeouts: the rest of IPVS that is set, beside services.

Level-triggered like them: what another program changed is set again at the next look. Daemons and
timeouts that are not configured are left alone; a timeout that no longer is gets back the value
that it had before.
"""

from __future__ import annotations

import asyncio
import errno
import logging
from collections.abc import Callable, Iterable, Mapping

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
    again at each look. `note` is called when `found` changes, before the kernel is changed."""

    def __init__(self, table: Table, note: Callable[[], None] = lambda: None) -> None:
        self._table = table
        self._note = note
        self._timeouts = Timeouts()
        self.found = Timeouts()  # what those that are ours were before; 0: not ours
        self._daemons: dict[Role, Daemon] = {}
        self._mine: dict[Role, Daemon | None] = {}  # as asked for; None: by an earlier process
        self._complaints: dict[str, str] = {}
        self._lock = asyncio.Lock()

    @property
    def roles(self) -> tuple[Role, ...]:
        """Sync daemons that may be ours: those that are wanted, or were until now."""
        return tuple(role for role in Role if role in self._daemons or role in self._mine)

    def start(self, left: Iterable[Role], found: Timeouts) -> None:
        """Take over the sync daemons and the timeouts that an earlier process left."""
        self._mine = dict.fromkeys(left)
        self.found = found

    def want(self, timeouts: Timeouts, daemons: Mapping[Role, Daemon]) -> None:
        """What is to hold from the next look on. Timeouts of 0 are left as they are; one that was
        wanted before gets back what it was."""
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
        if want == self.found == Timeouts():
            return
        try:
            have = await self._table.timeouts()
            before = _each(_first, self.found, _each(_where, have, want))
            if before != self.found:
                self.found = before
                self._note()
            target = _each(_first, want, before)
            if _each(_first, target, have) != have:
                await self._table.set_timeouts(target)
        except OSError as error:
            self._complain("timeouts", f"cannot set the IPVS timeouts: {error.strerror}")
        else:
            self._complaints.pop("timeouts", None)
            self.found = _each(_where, before, want)

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


def _each(of: Callable[[int, int], int], one: Timeouts, other: Timeouts) -> Timeouts:
    return Timeouts(
        tcp_s=of(one.tcp_s, other.tcp_s),
        tcpfin_s=of(one.tcpfin_s, other.tcpfin_s),
        udp_s=of(one.udp_s, other.udp_s),
    )


def _first(one: int, other: int) -> int:
    return one or other


def _where(one: int, other: int) -> int:
    return one if other else 0
