"""What has to be right around the instances: journal, firewall, kernel settings, devices.

The order is always: list in the journal, then change; undo, then shorten the journal. So a crash
at any instant leaves nothing that the next start does not know of. A journal that cannot be
written (a full or read-only file system) keeps nobody from running: a router without a complete
clean-up after a crash is better than no router. It is said loudly, and tried again until it works.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Sequence

from fastvrrp.config import model
from fastvrrp.net import nftables, sysctl
from fastvrrp.net.firewall import (
    FirewallError,
    NoNftables,
    is_needed,
    protects,
    table_name,
)
from fastvrrp.net.journal import Contents, Journal, JournalError, contents_of
from fastvrrp.net.memberships import Memberships, solicited
from fastvrrp.net.objects import AddressKey
from fastvrrp.net.observed import Observed
from fastvrrp.net.tablekeeper import Firewall
from fastvrrp.net.tablewatch import TableWatch
from fastvrrp.supervisor.ratelimit import RateLimit
from fastvrrp.vrrp.compile import virtual_addresses
from fastvrrp.vrrp.devices import Devices

log = logging.getLogger(__name__)

JOURNAL_RETRY_S = 10.0
LOOK_S = 0.25  # until settings that were hidden are looked for again
LOOKS_MAX = 4  # after each change of interfaces


class SurroundingsError(Exception):
    """The surroundings cannot be made as a configuration needs them; the text says why."""


async def commit_nftables(messages: Sequence[nftables.Message]) -> None:
    """In a thread, because the kernel waits there until no packet sees the old rules. Raises
    OSError."""
    await asyncio.to_thread(nftables.commit, messages)


class Surroundings:
    """Journal, firewall and settings of one running daemon."""

    def __init__(
        self,
        journal: Journal,
        observed: Callable[[], Observed],
        *,
        is_native: Callable[[AddressKey], bool] = lambda key: False,
        devices: Devices | None = None,
    ) -> None:
        """`is_native` tells which addresses of owners a clean-up must leave to the host."""
        self._journal = journal
        self._observed = observed
        self._devices = devices
        self._is_native = is_native
        self._firewall = Firewall(commit_nftables)
        self._tables = TableWatch(self._tables_changed)
        self._repair: asyncio.Task[None] | None = None
        self._memberships = Memberships()
        self._settings: dict[sysctl.Setting, int] = {}  # with the ifindex of its interface, or 0
        self._look: asyncio.TimerHandle | None = None  # the next one at them
        self._looks = 0
        self._limit = RateLimit(log, burst=1)
        self._left: Contents | None = None  # what the clean-up at the start could not remove
        self._wanted = Contents()  # what could not be written yet
        self._listed = False  # the journal says something
        self._retry: asyncio.TimerHandle | None = None

    def resolve(self, configuration: model.Configuration) -> model.Configuration:
        """The configuration with its virtual devices, as all other methods want it."""
        return configuration if self._devices is None else self._devices.resolve(configuration)

    async def prepare(self, old: model.Configuration, new: model.Configuration) -> bool:
        """Make everything ready for a change from `old` to `new`, whatever comes of it. Returns
        whether virtual devices were made, so that there are other interfaces than before.

        Raises SurroundingsError; what was there before is then still in effect.
        """
        settings = self._plan(old, new)
        settings += tuple(s for s in self._settings if s not in settings)  # until it is settled
        both = self._contents(old, settings) | self._contents(new, settings)
        try:
            self._write(both)
            if is_needed(new):
                self._tables.open()
            else:
                self._tables.close()
            await self._firewall.apply(new)
        except FirewallError as exc:
            if not protects(new):
                text = "switches may look for virtual MAC addresses at a backup: %s"
                log.warning(text, exc)
            elif isinstance(exc, NoNftables):  # for good: better this than no router at all
                log.error("no_accept is without effect, hosts reach the virtual addresses: %s", exc)
            else:
                raise SurroundingsError(str(exc)) from exc
        self._apply(settings)
        if self._devices is None:
            return False
        return await self._devices.bring(new.devices, virtual_addresses(new))

    def _tables_changed(self) -> None:
        if self._repair is None:
            repair = self._repair_firewall()
            self._repair = asyncio.get_running_loop().create_task(repair, name="nftables")

    async def _repair_firewall(self) -> None:
        try:
            if await self._firewall.repair():
                text = "somebody else changed the nftables table %s: made again"
                self._limit.log("table", logging.WARNING, text, self._firewall.table)
        except FirewallError as exc:
            text = "somebody else changed the nftables table %s, and it cannot be made again: %s"
            self._limit.log("no table", logging.ERROR, text, self._firewall.table, exc)
        finally:
            self._repair = None

    async def restore(self, old: model.Configuration) -> None:
        """After a change that was refused: as before."""
        if self._devices is not None:
            self._devices.cancel()
        try:
            await self.prepare(old, old)
            await self.settle(old)
        except (OSError, SurroundingsError) as exc:
            log.error("cannot go back to the old surroundings: %s", exc)

    async def settle(self, configuration: model.Configuration) -> None:
        """The change to `configuration` is complete: what it no longer needs is given up."""
        if self._devices is not None:
            await self._devices.settle()
        self._update(configuration)
        self._join(configuration)

    def interfaces_changed(self, configuration: model.Configuration) -> None:
        """Interfaces came, went or were renamed: settings and journal have to follow, before
        anything is put on them."""
        self._looks = 0
        self._follow(configuration)
        self._join(configuration)
        if self._devices is not None:
            self._devices.wake()

    def _follow(self, configuration: model.Configuration) -> None:
        try:
            self._update(configuration)
        except OSError as exc:  # what else there is to do does not wait for it
            text = "settings cannot follow a change of interfaces: %s"
            self._limit.log("follow", logging.ERROR, text, exc)
            self._look_again(configuration)

    def _join(self, configuration: model.Configuration) -> None:
        interfaces = self._observed().interfaces
        wanted = {
            interfaces[parent]: groups
            for parent, groups in solicited(configuration).items()
            if parent in interfaces
        }
        self._memberships.keep(wanted)

    def _update(self, configuration: model.Configuration) -> None:
        settings = self._plan(configuration)
        dropped = [setting for setting in self._settings if setting not in settings]
        hidden = {setting for setting in dropped if self._is_hidden(setting)}
        self._restore([setting for setting in dropped if setting not in hidden])
        settings += tuple(hidden)
        self._write(self._contents(configuration, settings))
        self._apply(settings)
        if hidden or self._lacks(configuration):
            self._look_again(configuration)

    def _is_hidden(self, setting: sysctl.Setting) -> bool:
        """Whether its interface is there, and its settings are not, for a moment: the kernel tells
        of a new name before it moves them."""
        is_there = sysctl.name_of(self._settings[setting]) is not None
        return is_there and sysctl.read(setting.interface, setting.name) is None

    def _lacks(self, configuration: model.Configuration) -> bool:
        """Whether an interface does not have what it should, for the same reason."""
        interfaces = self._observed().interfaces
        wanted = self._wanted_settings(configuration)
        return any(
            interface in interfaces and sysctl.read(interface, name) != value
            for (interface, name), value in wanted.items()
        )

    def _look_again(self, configuration: model.Configuration) -> None:
        """A few times, for it may be that the kernel does not have the setting at all."""
        if self._looks < LOOKS_MAX:
            self._looks += 1
            loop = asyncio.get_running_loop()
            self._look = loop.call_later(LOOK_S, self._follow, configuration)

    def _plan(self, *configurations: model.Configuration) -> tuple[sysctl.Setting, ...]:
        """The settings that any of these wants. What is held is found under its new name first."""
        if self._look is not None:
            self._look.cancel()
            self._look = None
        self._settings = sysctl.follow(self._settings)
        wanted: sysctl.Wanted = {}
        for configuration in configurations:
            wanted |= self._wanted_settings(configuration)
        is_quiet = any(c.global_defs.disable_local_igmp for c in configurations)
        return (
            *sysctl.plan(wanted, self._settings),
            *sysctl.plan_igmp(is_quiet, self._settings),
        )

    def _wanted_settings(self, configuration: model.Configuration) -> sysctl.Wanted:
        virtual = virtual_addresses(configuration)
        return sysctl.wanted_settings(configuration, self._observed(), virtual, self._settings)

    def _apply(self, settings: tuple[sysctl.Setting, ...]) -> None:
        for problem in sysctl.apply(settings):
            log.warning("%s", problem)
        held = self._settings
        self._settings = {s: held.get(s) or sysctl.index_of(s.interface) for s in settings}

    def _restore(self, settings: Sequence[sysctl.Setting]) -> None:
        done, problems = sysctl.restore(settings)
        for line in done:
            log.info("%s", line)
        for line in problems:
            log.warning("%s", line)

    def _contents(
        self, configuration: model.Configuration, settings: tuple[sysctl.Setting, ...]
    ) -> Contents:
        tables = [table_name(configuration)] if is_needed(configuration) else []
        return contents_of(
            configuration,
            self._observed().interfaces,
            vrf_tables=self._observed().vrf_tables,
            settings=settings,
            nft_tables=[*tables, *([self._firewall.table] if self._firewall.table else [])],
            is_native=self._is_native,
            foreign=() if self._devices is None else self._devices.foreign,
        )

    def _write(self, contents: Contents) -> None:
        if self._left is None:
            self._left = self._leftovers()
        self._wanted = self._left | contents
        self._write_wanted()

    def _leftovers(self) -> Contents:
        """A journal that is still there lists what the clean-up before us failed to remove: it
        must not be forgotten."""
        try:
            return self._journal.read() or Contents()
        except JournalError as exc:
            log.warning("the old journal is replaced: %s", exc)
            return Contents()

    def _write_wanted(self) -> None:
        late, self._retry = self._retry, None
        if late is not None:
            late.cancel()
        try:
            if self._wanted or self._listed:
                self._journal.write(self._wanted)
                self._listed = True
            self._wanted = Contents()  # thousands of addresses need not be kept
        except OSError as exc:
            self._limit.log(
                "journal",
                logging.ERROR,
                "the journal %s cannot be written: %s. Until it can, a crash may leave addresses,"
                " routes or rules behind that nobody removes; trying again every %g s",
                self._journal.path,
                exc.strerror,
                JOURNAL_RETRY_S,
            )
            loop = asyncio.get_running_loop()
            self._retry = loop.call_later(JOURNAL_RETRY_S, self._write_wanted)
        else:
            if late is not None:
                log.warning("the journal is written again")

    async def undo(self, *, complete: bool) -> None:
        """Devices, firewall and settings as they were found. With `complete` nothing of ours is
        left in the kernel and the journal goes; otherwise it stays for the clean-up."""
        self._tables.close()
        self._memberships.close()
        if self._devices is not None and not await self._devices.remove_all():
            complete = False
        try:
            await self._firewall.remove()
        except FirewallError as exc:
            log.error("%s", exc)
            complete = False
        if self._look is not None:
            self._look.cancel()
            self._look = None
        self._restore(tuple(sysctl.follow(self._settings)))
        self._settings = {}
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        if not complete:
            return
        try:
            if self._left:
                self._journal.write(self._left)
            else:
                self._journal.remove()
        except OSError as exc:
            log.error("cannot remove %s: %s", self._journal.path, os.strerror(exc.errno or 0))
