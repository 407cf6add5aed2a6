"""Keeps the table of `no_accept` and virtual MAC devices as a configuration wants it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from fastvrrp.config.model import Configuration
from fastvrrp.net import nftables as nft
from fastvrrp.net.firewall import (
    FirewallError,
    NoNftables,
    is_needed,
    removal,
    ruleset,
    table_name,
)

# Has a transaction take effect (net.nftables.commit). Raises OSError.
Commit = Callable[[Sequence[nft.Message]], Awaitable[None]]
# Which table has a name (net.nftables.identify). Raises OSError.
Identify = Callable[[str], nft.Identity | None]


class Firewall:
    """Keeps the table as the configuration wants it.

    The table's name must be in the journal before `apply` is called.
    """

    def __init__(self, commit: Commit, identify: Identify = nft.identify) -> None:
        self._commit = commit
        self._identify = identify
        self._lock = asyncio.Lock()  # held while the kernel is being changed, or asked
        self._applied: list[nft.Message] = []
        self._table: str | None = None
        self._identity: nft.Identity | None = None  # of the table as we made it

    @property
    def table(self) -> str | None:
        """Name of the installed table."""
        return self._table

    async def apply(self, configuration: Configuration) -> bool:
        """Install, replace or remove the table; True when something was changed.

        To be awaited before instances start, and again after a reload. Raises FirewallError.
        """
        async with self._lock:
            if not is_needed(configuration):
                return await self._remove()
            wanted = ruleset(configuration)
            if wanted == self._applied:
                return False
            name = table_name(configuration)
            old = [] if self._table in (None, name) else removal(str(self._table))
            await self._install(name, [*old, *wanted], wanted)  # one transaction
            return True

    async def repair(self) -> bool:
        """Make the table again if somebody took it away, replaced it or flushed its rules; True
        when that was so. Raises FirewallError."""
        async with self._lock:
            if self._table is None:
                return False
            try:
                found = self._identify(self._table)
            except OSError as exc:
                raise FirewallError(f"nftables: {exc.strerror or exc}") from exc
            if found is not None and found == self._identity:
                return False
            await self._install(self._table, self._applied, self._applied)
            return True

    async def remove(self) -> bool:
        """Remove the table; True when there was one. Raises FirewallError."""
        async with self._lock:
            return await self._remove()

    async def _remove(self) -> bool:
        if self._table is None:
            return False
        await self._play(removal(self._table))
        self._applied = []
        self._table = self._identity = None
        return True

    async def _install(
        self, name: str, messages: Sequence[nft.Message], wanted: list[nft.Message]
    ) -> None:
        await self._play(messages)
        self._applied, self._table = wanted, name
        try:
            self._identity = self._identify(name)
        except OSError:  # then the next look finds another one, and makes it once more
            self._identity = None

    async def _play(self, messages: Sequence[nft.Message]) -> None:
        try:
            await self._commit(messages)
        except nft.NoNftables as exc:
            raise NoNftables(str(exc.strerror)) from exc
        except OSError as exc:
            raise FirewallError(f"nftables: {exc.strerror or exc}") from exc
