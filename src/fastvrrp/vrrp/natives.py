"""Which addresses of an address owner the host had before us, and keeps when we go.

An owner (priority 255, RFC 9568 5.2.4) announces its interface's real addresses. These are the
host's: taken away with the mastership, the router would have no address to come back with.
"""

from __future__ import annotations

from collections.abc import Callable

from fastvrrp.net.objects import AddressKey
from fastvrrp.net.observed import Observed


class Natives:
    """Asked for the addresses of owners only."""

    def __init__(
        self, observed: Callable[[], Observed], is_wish: Callable[[AddressKey], bool]
    ) -> None:
        """`is_wish` tells whether the running configuration installs an address already."""
        self._observed = observed
        self._is_wish = is_wish
        self._known: dict[AddressKey, bool] = {}

    def __call__(self, key: AddressKey) -> bool:
        """Whether the host has this address by itself.

        Where the kernel keeps no mark, an address is the host's if it was there before it was
        asked for the first time, and stays so.
        """
        observed = self._observed()
        address = observed.address(key)
        if observed.marks_addresses:
            return address is not None and not observed.address_is_ours(address)
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = address is not None and not self._is_wish(key)
        return known

    def forget_others(self) -> None:
        """Forget the addresses that the running configuration does not install any more."""
        self._known = {key: known for key, known in self._known.items() if self._is_wish(key)}

    def is_certain(self, key: AddressKey) -> bool:
        """Whether a clean-up must not touch it, for want of a mark to go by."""
        return not self._observed().marks_addresses and self(key)
