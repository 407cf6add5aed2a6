"""Virtual addresses as rtnetlink requests (RTM_NEWADDR, RTM_DELADDR).

`add_address` puts together whatever a configuration may ask for. The requests of an address without
options, which are nearly all, an `AddressItem` makes by itself (core/pyitem.pxi), because thousands
of them are a large part of a start.
"""

from __future__ import annotations

import socket
import struct

from fastvrrp import _core
from fastvrrp._core import AddressItem
from fastvrrp._core import delete_address as delete_address
from fastvrrp.config.model import FOREVER_S, VirtualAddress
from fastvrrp.net import wire
from fastvrrp.net.objects import (
    IFA_ADDRESS,
    IFA_BROADCAST,
    IFA_CACHEINFO,
    IFA_F_HOMEADDRESS,
    IFA_F_MANAGETEMPADDR,
    IFA_F_MCAUTOJOIN,
    IFA_F_NODAD,
    IFA_F_NOPREFIXROUTE,
    IFA_FLAGS,
    IFA_LABEL,
    IFA_LOCAL,
    IFA_PROTO,
    AddressKey,
)

_CACHEINFO = struct.Struct("=IIII")  # struct ifa_cacheinfo: preferred, valid, cstamp, tstamp
_ADD_FLAGS = wire.NLM_F_REQUEST | wire.NLM_F_ACK | wire.NLM_F_CREATE | wire.NLM_F_REPLACE
_OURS = wire.u8(IFA_PROTO, wire.PROTOCOL)


def packed(text: str, family: int) -> bytes:
    """The address in network order. Raises OSError when it is not of that family."""
    return socket.inet_pton(socket.AF_INET if family == 4 else socket.AF_INET6, text)


def address_key(address: VirtualAddress, ifindex: int) -> AddressKey:
    """The identity the kernel will report. With a peer the prefix belongs to the peer."""
    if address.peer is None:
        return _core.address_key(ifindex, address.family, address.address, address.prefixlen)
    local = packed(address.address, address.family)
    peer_prefixlen = address.peer_prefixlen
    if peer_prefixlen is None:
        peer_prefixlen = 32 if address.family == 4 else 128
    peer = packed(address.peer, address.family)
    return AddressKey(
        ifindex, address.family, local, peer_prefixlen, peer if peer != local else b""
    )


def preferred_lifetime_s(address: VirtualAddress) -> int:
    """Seconds; FOREVER_S is for ever. An IPv6 /128 is deprecated from the start by default, so
    that the kernel never picks it as the source of the router's own traffic."""
    if address.preferred_lft_s is not None:
        return min(address.preferred_lft_s, FOREVER_S)
    return 0 if address.family == 6 and address.prefixlen == 128 else FOREVER_S


def address_flags(address: VirtualAddress) -> int:
    """IFA_F_* bits of the wish. Bits that IPv4 does not know are left out there."""
    flags = 0
    if address.noprefixroute:
        flags |= IFA_F_NOPREFIXROUTE
    if address.autojoin:
        flags |= IFA_F_MCAUTOJOIN
    if address.family == 6:
        if address.nodad:
            flags |= IFA_F_NODAD
        if address.home:
            flags |= IFA_F_HOMEADDRESS
        if address.mngtmpaddr:
            flags |= IFA_F_MANAGETEMPADDR
    return flags


def _body(key: AddressKey, scope: int, flags: int) -> bytes:
    af = wire.AF_INET if key.family == 4 else wire.AF_INET6
    header = wire.IFADDRMSG.pack(af, key.prefixlen, flags & 0xFF, scope, key.ifindex)
    local = wire.attribute(IFA_LOCAL, key.address)
    return header + local + wire.attribute(IFA_ADDRESS, key.peer or key.address)


def add_address(address: VirtualAddress, ifindex: int) -> bytes:
    """RTM_NEWADDR. NLM_F_REPLACE makes a repetition harmless and corrects flags and lifetimes.

    IFA_PROTO marks the address as ours (kernels before 5.18 ignore it).
    """
    key = address_key(address, ifindex)
    flags = address_flags(address)
    preferred = preferred_lifetime_s(address)
    body = _body(key, address.scope, flags)
    if address.family == 4:
        if address.broadcast is not None:
            body += wire.attribute(IFA_BROADCAST, packed(address.broadcast, 4))
        if address.label is not None:
            body += wire.string(IFA_LABEL, address.label)
    if flags:
        body += wire.u32(IFA_FLAGS, flags)
    if preferred != FOREVER_S:
        body += wire.attribute(IFA_CACHEINFO, _CACHEINFO.pack(preferred, FOREVER_S, 0, 0))
    body += _OURS
    return wire.message(wire.RTM_NEWADDR, _ADD_FLAGS, body)


def address_item(
    address: VirtualAddress, ifindex: int, owner: str, device: str, *, advertised: bool
) -> AddressItem:
    """An address that `owner` wants there. Raises ValueError or OSError when it is none."""
    return AddressItem(
        owner,
        address_key(address, ifindex),
        device,
        add=None if is_plain(address) else add_address(address, ifindex),
        scope=address.scope,
        nodad=address.nodad,
        restore=not address.no_track,
        advertised=advertised,
    )


def is_plain(address: VirtualAddress) -> bool:
    """Whether it has none of the options that make requests of another form."""
    return not (
        address.peer is not None
        or address.preferred_lft_s is not None
        or address.noprefixroute
        or address.autojoin
        or (
            address.label is not None or address.broadcast is not None
            if address.family == 4
            else address.home or address.mngtmpaddr
        )
    )
