"""ha_suspend: which addresses this host has, followed by netlink.

Virtual servers with ha_suspend are checked only while their address is here: the other one of a
pair of balancers need not load the servers with checks whose results nobody uses.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastvrrp.net.monitor import Monitor
    from fastvrrp.net.objects import Address, AddressKey

# Addresses only: no full table of routes comes by here.
_TABLES = frozenset(("addresses",))
_RECEIVE_BUFFER = 4 << 20


class Presence:
    """Follows addresses while anybody wants to know of one. Belongs to the running event loop.

    `on_change(address)` is called after one that is wanted came or went; packed, 4 or 16 bytes.
    """

    def __init__(self, on_change: Callable[[bytes], None]) -> None:
        self._on_change = on_change
        self._wanted: frozenset[bytes] = frozenset()
        # Of what is wanted, where it is: thousands come together at a takeover, so that the whole
        # of the observed must not be gone through for each.
        self._here: dict[bytes, set[AddressKey]] = {}
        self._monitor: Monitor | None = None

    async def want(self, addresses: Collection[bytes]) -> None:
        """These are the ones that count; `is_here` knows about them on return.

        Does not call `on_change`. Raises OSError.
        """
        self._wanted = frozenset(addresses)
        if not self._wanted:
            self.close()
            return
        if self._monitor is None:
            from fastvrrp.net.monitor import Monitor  # few configurations have ha_suspend

            monitor = Monitor(
                tables=_TABLES, receive_buffer=_RECEIVE_BUFFER, on_address=self._address
            )
            try:
                await monitor.start()
            except OSError:
                monitor.close()
                raise
            self._monitor = monitor
        self._here = self._present()

    def is_here(self, address: bytes) -> bool:
        """Of a wanted one."""
        return address in self._here

    def close(self) -> None:
        if self._monitor is not None:
            self._monitor.close()
            self._monitor = None
        self._here = {}

    def _present(self) -> dict[bytes, set[AddressKey]]:
        assert self._monitor is not None
        found: dict[bytes, set[AddressKey]] = {}
        for address in self._monitor.observed.all_addresses():
            if address.key.address in self._wanted:
                found.setdefault(address.key.address, set()).add(address.key)
        return found

    def _address(self, ifindex: int, address: Address, came: bool) -> None:
        # One that went from an interface may still be on another one.
        name = address.key.address
        if name not in self._wanted:
            return
        was = name in self._here
        if came:
            self._here.setdefault(name, set()).add(address.key)
        elif was:
            places = self._here[name]
            places.discard(address.key)
            if not places:
                del self._here[name]
        if was != (name in self._here):
            self._on_change(name)
