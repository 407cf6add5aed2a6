"""nftables for `no_accept`, and for virtual MAC devices.

With `no_accept`, who is not the address owner does not take part at the VIPs. One table of our own
holds sets of the virtual addresses and two base chains. Packets to these addresses that reach the
local host are dropped, and so are packets from them; IPv6 neighbour discovery is let through, ARP
is not IP and unaffected (RFC 9568 6.1 Accept_Mode, 6.4.3).

The sets hold the addresses all the time and not only while master: the `input` hook sees local
delivery alone, and the `output` hook matches the source alone, so on a backup, which does not
hold the addresses, nothing can match. Thus nothing on the failover path waits for nftables, and
no instant exists in which an address is up and not yet protected.

Virtual MAC devices exist on a backup, too. Whatever one of them sends there makes switches look
for the virtual router in the wrong place, and the kernel sends by itself: reports of multicast
groups (IGMP, MLD), router solicitations. These are dropped; the groups are joined on the parent
(vrrp.links).
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterable

from fastvrrp.config.model import Configuration, GlobalDefs, VirtualAddress, VrrpInstance
from fastvrrp.net import nftables as nft
from fastvrrp.net.devices import virtual_macs

DEFAULT_TABLE = "fastvrrp"
_OWNER_PRIORITY = 255
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]{0,30}\Z")

# ICMPv6 types, RFC 4861 4 and RFC 2710 3, RFC 3810 5.2
_NEIGHBOUR_DISCOVERY = range(133, 138)
_BY_ITSELF = (131, 132, 143, 133)  # MLD report, done, version 2 report; router solicitation
_IGMP, _ICMPV6 = socket.IPPROTO_IGMP, socket.IPPROTO_ICMPV6
_IPV4_PROTOCOL = (9, 1)  # offset in the header, and size
_IPV4_PLACE = {"in": (16, 4), "out": (12, 4)}  # destination, source
_IPV6_PLACE = {"in": (24, 16), "out": (8, 16)}


class FirewallError(Exception):
    """The table cannot be; the text says why."""


class NoNftables(FirewallError):
    """The kernel has no nftables."""


def valid_table_name(name: str) -> bool:
    """Whether a name can be used for a table without quoting."""
    return _NAME.match(name) is not None


def table_name(configuration: Configuration) -> str:
    """The table's name. Raises FirewallError when it cannot be one."""
    name = configuration.global_defs.nftables or DEFAULT_TABLE
    if not valid_table_name(name):
        raise FirewallError(f"{name!r} cannot be the name of an nftables table")
    return name


def _protected(
    configuration: Configuration,
) -> Iterable[tuple[VrrpInstance, VirtualAddress]]:
    for instance in configuration.vrrp_instances:
        if instance.accept or instance.priority == _OWNER_PRIORITY:
            continue
        for address in (*instance.virtual_ipaddress, *instance.virtual_ipaddress_excluded):
            yield instance, address


def protects(configuration: Configuration) -> bool:
    """Whether any instance has `no_accept` and does not own its addresses."""
    return any(True for _ in _protected(configuration))


def is_needed(configuration: Configuration) -> bool:
    """Whether there is anything for the table to do."""
    return protects(configuration) or bool(virtual_macs(configuration))


def ruleset(configuration: Configuration) -> list[nft.Message]:
    """The whole table as one transaction that replaces whatever was there.

    Raises FirewallError for an unusable table or interface name.
    """
    ipv4: set[bytes] = set()
    ipv6: set[bytes] = set()
    link_local: set[bytes] = set()
    for instance, address in _protected(configuration):
        text = address.address
        packed = socket.inet_pton(socket.AF_INET6 if ":" in text else socket.AF_INET, text)
        if len(packed) == 4:
            ipv4.add(packed)
        elif packed[0] == 0xFE and packed[1] & 0xC0 == 0x80:  # fe80::/10, RFC 4291 2.5.6
            device = address.dev or instance.interface
            if device:  # the same link-local address may be somebody else's on another link
                link_local.add(_interface(device) + packed)
        else:
            ipv6.add(packed)
    name = table_name(configuration)
    macs = {_interface(device) for device in virtual_macs(configuration)}
    return [
        *removal(name),
        *_Table(name, configuration.global_defs).fill(ipv4, ipv6, link_local, macs),
    ]


def removal(name: str) -> list[nft.Message]:
    """A transaction that removes the table, also when it does not exist."""
    if not valid_table_name(name):
        raise FirewallError(f"{name!r} cannot be the name of an nftables table")
    return [nft.new_table(name), nft.delete_table(name)]


def _interface(name: str) -> bytes:
    encoded = name.encode()
    if len(encoded) >= nft.IFNAMSIZ:
        raise FirewallError(f"interface name {name!r} is too long")
    return encoded.ljust(nft.IFNAMSIZ, b"\0")


class _Table:
    """Collects the requests of one table."""

    def __init__(self, name: str, defs: GlobalDefs) -> None:
        self._name = name
        self._priority = defs.nftables_priority
        self._counter = (nft.counter(),) if defs.nftables_counters else ()
        self._messages: list[nft.Message] = [nft.new_table(name)]
        self._sets = 0

    def fill(
        self, ipv4: set[bytes], ipv6: set[bytes], link_local: set[bytes], macs: set[bytes]
    ) -> list[nft.Message]:
        vips4 = self._set(ipv4, nft.IPV4_ADDR, "vips4")
        vips6 = self._set(ipv6, nft.IPV6_ADDR, "vips6")
        local = self._set(link_local, nft.IFNAME_IPV6_ADDR, "vips6_link_local")
        if macs:
            self._silence(self._set(macs, nft.IFNAME, "virtual_macs"))
        for chain, hook, interface in (
            ("in", nft.HOOK_INPUT, nft.META_IIFNAME),
            ("out", nft.HOOK_OUTPUT, nft.META_OIFNAME),
        ):
            self._chain(chain, hook, self._priority)
            self._rule(chain, nft.ACCEPT, *self._icmpv6(_NEIGHBOUR_DISCOVERY))
            ip4 = nft.load_payload(nft.NETWORK_HEADER, *_IPV4_PLACE[chain])
            self._rule(chain, nft.DROP, *_family(nft.NFPROTO_IPV4), ip4, vips4.lookup())
            ip6 = nft.load_payload(nft.NETWORK_HEADER, *_IPV6_PLACE[chain])
            self._rule(chain, nft.DROP, *_family(nft.NFPROTO_IPV6), ip6, vips6.lookup())
            behind = nft.load_payload(nft.NETWORK_HEADER, *_IPV6_PLACE[chain], behind_name=True)
            both = nft.load_meta(interface), behind, local.lookup()
            self._rule(chain, nft.DROP, *_family(nft.NFPROTO_IPV6), *both)
        return self._messages

    def _silence(self, macs: nft.Set) -> None:
        """For virtual MAC devices, before the chain that lets neighbour discovery out."""
        self._chain("silence", nft.HOOK_OUTPUT, self._priority - 1)
        device = nft.load_meta(nft.META_OIFNAME), macs.lookup()
        protocol = nft.load_payload(nft.NETWORK_HEADER, *_IPV4_PROTOCOL)
        igmp = *_family(nft.NFPROTO_IPV4), protocol, nft.equals(bytes((_IGMP,)))
        self._rule("silence", nft.DROP, *device, *igmp)
        self._rule("silence", nft.DROP, *device, *self._icmpv6(_BY_ITSELF))

    def _set(
        self, elements: Iterable[bytes], kind: tuple[int, int, int], name: str = ""
    ) -> nft.Set:
        self._sets += 1
        made = nft.Set(self._name, self._sets, kind, name or None)
        self._messages += made.create(sorted(elements))
        return made

    def _chain(self, chain: str, hook: int, priority: int) -> None:
        self._messages.append(nft.new_chain(self._name, chain, hook=hook, priority=priority))

    def _rule(self, chain: str, verdict: int, *conditions: bytes) -> None:
        expressions = *conditions, *self._counter, nft.verdict(verdict)
        self._messages.append(nft.new_rule(self._name, chain, *expressions))

    def _icmpv6(self, types: Iterable[int]) -> tuple[bytes, ...]:
        """Conditions: ICMPv6 of one of these types."""
        kinds = self._set((bytes((t,)) for t in types), nft.ICMPV6_TYPE)
        return (
            *_family(nft.NFPROTO_IPV6),
            nft.load_meta(nft.META_L4PROTO),
            nft.equals(bytes((_ICMPV6,))),
            nft.load_payload(nft.TRANSPORT_HEADER, 0, 1),
            kinds.lookup(),
        )


def _family(number: int) -> tuple[bytes, bytes]:
    return nft.load_meta(nft.META_NFPROTO), nft.equals(bytes((number,)))
