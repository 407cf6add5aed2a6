"""The addresses of this machine's interfaces, as the kernel tells them.

The readers of a configuration compare with them what a file says: addresses that are nobody's, or
somebody else's.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import NamedTuple

BITS = {4: 32, 6: 128}
SHOWN_MAX = 4  # networks in a message


class HostAddress(NamedTuple):
    """An address of an interface; `is_ours`: a virtual one that this program put there."""

    family: int  # 4 or 6
    number: int
    prefixlen: int
    is_ours: bool


Addresses = Mapping[str, tuple[HostAddress, ...]]  # by interface


def number_of(address: str, family: int) -> int:
    """An address as a number. Raises OSError when it is none of that family."""
    kind = socket.AF_INET if family == 4 else socket.AF_INET6
    return int.from_bytes(socket.inet_pton(kind, address), "big")


class Networks:
    """Networks of one family, of which thousands can be searched."""

    def __init__(self, family: int) -> None:
        self._bits = BITS[family]
        self._counts: dict[int, dict[int, int]] = {}  # by prefix length, by prefix
        self._text = ""  # see __str__

    def add(self, number: int, length: int) -> None:
        """The network that an address with this prefix length is in."""
        counts = self._counts.setdefault(length, {})
        prefix = number >> (self._bits - length)
        counts[prefix] = counts.get(prefix, 0) + 1
        self._text = ""

    def cover(self, number: int, *, but: int | None = None) -> bool:
        """Whether an address is in one of them; `but`: in one that it did not add itself, with
        this prefix length."""
        for length, counts in self._counts.items():
            if counts.get(number >> (self._bits - length), 0) > (length == but):
                return True
        return False

    def __str__(self) -> str:
        if not self._text:
            self._text = self._shown()
        return self._text

    def _shown(self) -> str:
        import ipaddress  # only for messages

        kind = ipaddress.IPv4Address if self._bits == 32 else ipaddress.IPv6Address
        shown = [
            f"{kind(prefix << (self._bits - length))}/{length}"
            for length, counts in self._counts.items()
            for prefix in counts
        ]
        return ", ".join((*shown[:SHOWN_MAX], "...") if len(shown) > SHOWN_MAX else shown)


def system_addresses() -> Addresses | None:
    """Of all interfaces of this network namespace; None where the kernel does not answer."""
    from fastvrrp.net import objects, wire  # only who asks needs the compiled core
    from fastvrrp.net.rtnl import RtnlSocket

    found: dict[int, list[HostAddress]] = {}
    try:
        with RtnlSocket() as rtnl:
            for dumped in rtnl.dump_kind("addresses"):
                data = memoryview(dumped.message)
                address = objects.decode_address(data, wire.HEADER_SIZE, len(data))
                if address is None:
                    continue
                key = address.key
                number = int.from_bytes(key.address, "big")
                is_ours = address.protocol == wire.PROTOCOL
                found.setdefault(key.ifindex, []).append(
                    HostAddress(key.family, number, key.prefixlen, is_ours)
                )
        return {name: tuple(found.get(index, ())) for index, name in socket.if_nameindex()}
    except OSError:
        return None
