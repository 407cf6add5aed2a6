"""Kernel objects as plain values: links, addresses, routes, rules, and how they are decoded.

Every type has a `key`: what makes the kernel call two objects the same. The encoders derive the
same keys from the configuration, so wish and reality are compared by dictionary look-up. Of
addresses there may be many thousands: they are small objects of the compiled core.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from fastvrrp import _core
from fastvrrp._core import Address as Address
from fastvrrp._core import AddressKey as AddressKey
from fastvrrp.net import wire
from fastvrrp.net.wire import (
    MalformedMessage,
    attributes,
    of_size,
    read_string,
    read_u8,
    read_u32,
)

# net/if.h
IFF_UP = 0x1
IFF_RUNNING = 0x40

# linux/if_addr.h
IFA_F_SECONDARY = 0x01
IFA_F_NODAD = 0x02
IFA_F_OPTIMISTIC = 0x04
IFA_F_DADFAILED = 0x08
IFA_F_HOMEADDRESS = 0x10
IFA_F_DEPRECATED = 0x20
IFA_F_TENTATIVE = 0x40
IFA_F_MANAGETEMPADDR = 0x100
IFA_F_NOPREFIXROUTE = 0x200
IFA_F_MCAUTOJOIN = 0x400

IFA_ADDRESS, IFA_LOCAL, IFA_LABEL, IFA_BROADCAST = 1, 2, 3, 4
IFA_CACHEINFO, IFA_FLAGS, IFA_PROTO = 6, 8, 11

IFLA_ADDRESS, IFLA_IFNAME, IFLA_MTU, IFLA_LINK, IFLA_MASTER, IFLA_WIRELESS = 1, 3, 4, 5, 10, 11
IFLA_LINKINFO, IFLA_GROUP, IFLA_EXT_MASK, IFLA_LINK_NETNSID = 18, 27, 29, 37
IFLA_PROP_LIST, IFLA_ALT_IFNAME = 52, 53
IFLA_INFO_KIND, IFLA_INFO_DATA, IFLA_VRF_TABLE = 1, 2, 1

RTA_DST, RTA_SRC, RTA_OIF, RTA_GATEWAY, RTA_PRIORITY, RTA_PREFSRC = 1, 2, 4, 5, 6, 7
RTA_METRICS, RTA_MULTIPATH, RTA_FLOW, RTA_TABLE, RTA_VIA = 8, 9, 11, 15, 18
RTA_PREF, RTA_EXPIRES, RTA_TTL_PROPAGATE = 20, 23, 26

FRA_DST, FRA_SRC, FRA_IIFNAME, FRA_GOTO, FRA_PRIORITY = 1, 2, 3, 4, 6
FRA_FWMARK, FRA_FLOW, FRA_TUN_ID, FRA_SUPPRESS_IFGROUP, FRA_SUPPRESS_PREFIXLEN = 10, 11, 12, 13, 14
FRA_TABLE, FRA_FWMASK, FRA_OIFNAME, FRA_L3MDEV, FRA_UID_RANGE = 15, 16, 17, 19, 20
FRA_PROTOCOL, FRA_IP_PROTO, FRA_SPORT_RANGE, FRA_DPORT_RANGE = 21, 22, 23, 24

FIB_RULE_INVERT = 0x2
FR_ACT_TO_TBL, FR_ACT_GOTO = 1, 2

_LINK_WANTED = frozenset(
    (
        IFLA_ADDRESS,
        IFLA_IFNAME,
        IFLA_MTU,
        IFLA_LINK,
        IFLA_MASTER,
        IFLA_WIRELESS,
        IFLA_LINKINFO,
        IFLA_GROUP,
        IFLA_LINK_NETNSID,
        IFLA_PROP_LIST,
    )
)
_U16X2 = struct.Struct("=HH")
_U32X2 = struct.Struct("=II")
_UNSET = 0xFFFFFFFF


class Link(NamedTuple):
    """A network interface."""

    ifindex: int
    name: str
    flags: int
    mac: bytes
    mtu: int
    kind: str  # rtnl_link_ops name (veth, macvlan, vlan, ...); "" for hardware
    master: int  # ifindex of bridge, bond or VRF; 0: none
    parent: int  # ifindex of the lower device in this namespace; 0: none
    altnames: tuple[str, ...]
    hardware: int  # ARPHRD_* number
    vrf_table: int = 0  # routing table of a VRF device; 0: it is none
    group: int = 0  # what `ip link ... group` sets

    @property
    def up(self) -> bool:
        """Administratively up and running, keepalived's notion of an interface that works."""
        return self.flags & (IFF_UP | IFF_RUNNING) == IFF_UP | IFF_RUNNING


class RouteKey(NamedTuple):
    """Identity of a route; `slot` is the part by which the kernel replaces and orders."""

    family: int
    table: int
    destination: bytes
    destination_len: int
    source: bytes
    source_len: int
    tos: int
    metric: int
    type: int
    protocol: int

    @property
    def slot(self) -> tuple[object, ...]:
        return self[:8]


class Hop(NamedTuple):
    """One way out. In a wish, an empty gateway or ifindex 0 means "whatever the kernel chose"."""

    gateway: bytes
    ifindex: int


class Route(NamedTuple):
    key: RouteKey
    hops: tuple[Hop, ...]
    preferred_source: bytes


class RuleKey(NamedTuple):
    """A policy rule is its own identity."""

    family: int
    preference: int
    negate: bool
    source: bytes
    source_len: int
    destination: bytes
    destination_len: int
    tos: int
    action: int
    table: int
    goto: int
    iif: str
    oif: str
    fwmark: int
    fwmask: int
    realms: int
    tunnel_id: int
    l3mdev: bool
    uid_range: tuple[int, int] | None
    ipproto: int
    sport: tuple[int, int] | None
    dport: tuple[int, int] | None
    suppress_prefixlength: int | None
    suppress_ifgroup: int | None
    protocol: int


def family_number(address_family: int) -> int | None:
    """4 or 6 for AF_INET and AF_INET6, None for anything else."""
    if address_family == wire.AF_INET:
        return 4
    return 6 if address_family == wire.AF_INET6 else None


def _prefix_size(family: int, length: int) -> int:
    """Bytes of an address. Raises MalformedMessage when the prefix is longer than that."""
    size = 4 if family == 4 else 16
    if length > 8 * size:
        raise MalformedMessage(f"prefix length {length}")
    return size


def decode_link(data: memoryview, start: int, end: int) -> Link | None:
    """A link from the body of RTM_NEWLINK or RTM_DELLINK.

    None for messages of another address family: a bridge tells of its *ports* with the same
    message types (AF_BRIDGE), and a port that leaves its bridge is not a link that vanished. None
    also for events of wireless drivers (IFLA_WIRELESS): they name the link and say nothing of it.
    Raises MalformedMessage.
    """
    if end - start < wire.IFINFOMSG.size:
        raise MalformedMessage("link message too short")
    family, hardware, ifindex, flags, _ = wire.IFINFOMSG.unpack_from(data, start)
    if family != 0:
        return None
    found = attributes(data, start + wire.IFINFOMSG.size, end, _LINK_WANTED)
    if IFLA_WIRELESS in found:
        return None
    get = found.get
    name = read_string(get(IFLA_IFNAME, b""))
    if not name:
        raise MalformedMessage("link without a name")
    kind, vrf_table = "", 0
    if info := get(IFLA_LINKINFO):
        nested = attributes(memoryview(info), 0, len(info))
        kind = read_string(nested.get(IFLA_INFO_KIND, b""))
        if kind == "vrf" and (inner := nested.get(IFLA_INFO_DATA)):
            own = attributes(memoryview(inner), 0, len(inner))
            vrf_table = read_u32(own.get(IFLA_VRF_TABLE, b"\0\0\0\0"))
    altnames: tuple[str, ...] = ()
    if properties := get(IFLA_PROP_LIST):
        altnames = tuple(_altnames(properties))
    parent = get(IFLA_LINK)
    return Link(
        ifindex=ifindex,
        name=name,
        flags=flags,
        mac=get(IFLA_ADDRESS, b""),
        mtu=read_u32(get(IFLA_MTU, b"\0\0\0\0")),
        kind=kind,
        master=read_u32(get(IFLA_MASTER, b"\0\0\0\0")),
        # With a namespace id the index counts in that namespace and would mislead here.
        parent=read_u32(parent) if parent is not None and IFLA_LINK_NETNSID not in found else 0,
        altnames=altnames,
        hardware=hardware,
        vrf_table=vrf_table,
        group=read_u32(get(IFLA_GROUP, b"\0\0\0\0")),
    )


def _altnames(properties: bytes) -> list[str]:
    """IFLA_PROP_LIST repeats one attribute kind, so the dictionary form does not serve."""
    names = []
    offset = 0
    while len(properties) - offset >= 4:
        length, kind = _U16X2.unpack_from(properties, offset)
        if length < 4 or offset + length > len(properties):
            raise MalformedMessage("property list")
        if kind == IFLA_ALT_IFNAME:
            names.append(read_string(properties[offset + 4 : offset + length]))
        offset += (length + 3) & ~3
    return names


def decode_address(data: memoryview, start: int, end: int) -> Address | None:
    """An address from RTM_NEWADDR or RTM_DELADDR; None for other families.

    Raises MalformedMessage.
    """
    try:
        return _core.decode_address(data, start, end)
    except ValueError as error:
        raise MalformedMessage(str(error)) from None


def decode_route(data: memoryview, start: int, end: int) -> Route | None:
    """A route from RTM_NEWROUTE or RTM_DELROUTE; None for other families.

    Raises MalformedMessage.
    """
    if end - start < wire.RTMSG.size:
        raise MalformedMessage("route message too short")
    af, dst_len, src_len, tos, table, protocol, _, kind, _ = wire.RTMSG.unpack_from(data, start)
    family = family_number(af)
    if family is None:
        return None
    size = max(_prefix_size(family, dst_len), _prefix_size(family, src_len))
    found = attributes(data, start + wire.RTMSG.size, end)
    get = found.get
    none = bytes(size)
    if (wide := get(RTA_TABLE)) is not None:
        table = read_u32(wide)
    if (multipath := get(RTA_MULTIPATH)) is not None:
        hops = tuple(_hops(multipath))
    else:
        hop = _hop(found, read_u32(get(RTA_OIF, b"\0\0\0\0")))
        hops = (hop,) if hop != (b"", 0) else ()
    return Route(
        key=RouteKey(
            family,
            table,
            of_size(get(RTA_DST, none), size),
            dst_len,
            of_size(get(RTA_SRC, none), size),
            src_len,
            tos,
            read_u32(get(RTA_PRIORITY, b"\0\0\0\0")),
            kind,
            protocol,
        ),
        hops=hops,
        preferred_source=get(RTA_PREFSRC, b""),
    )


def _hop(found: dict[int, bytes], ifindex: int) -> Hop:
    gateway = found.get(RTA_GATEWAY, b"")
    if not gateway:
        gateway = found.get(RTA_VIA, b"")[2:]  # struct rtvia: u16 family, address
    if len(gateway) not in (0, 4, 16):
        raise MalformedMessage("gateway length")
    return Hop(gateway, ifindex)


def _hops(multipath: bytes) -> list[Hop]:
    """struct rtnexthop list (linux/rtnetlink.h)."""
    hops = []
    offset = 0
    view = memoryview(multipath)
    while len(multipath) - offset >= wire.RTNEXTHOP.size:
        length, _, _, ifindex = wire.RTNEXTHOP.unpack_from(multipath, offset)
        if length < wire.RTNEXTHOP.size or offset + length > len(multipath):
            raise MalformedMessage("next hop")
        found = attributes(view, offset + wire.RTNEXTHOP.size, offset + length)
        hops.append(_hop(found, ifindex))
        offset += (length + 3) & ~3
    return hops


def decode_rule(data: memoryview, start: int, end: int) -> RuleKey | None:
    """A rule from RTM_NEWRULE or RTM_DELRULE; None for other families.

    Raises MalformedMessage.
    """
    if end - start < wire.FIB_RULE_HDR.size:
        raise MalformedMessage("rule message too short")
    header = wire.FIB_RULE_HDR.unpack_from(data, start)
    af, dst_len, src_len, tos, table, _, _, action, flags = header
    family = family_number(af)
    if family is None:
        return None
    size = max(_prefix_size(family, dst_len), _prefix_size(family, src_len))
    found = attributes(data, start + wire.FIB_RULE_HDR.size, end)
    get = found.get
    none = bytes(size)
    zero = b"\0\0\0\0"
    if (wide := get(FRA_TABLE)) is not None:
        table = read_u32(wide)
    fwmark = read_u32(get(FRA_FWMARK, zero))
    return RuleKey(
        family=family,
        preference=read_u32(get(FRA_PRIORITY, zero)),
        negate=bool(flags & FIB_RULE_INVERT),
        source=of_size(get(FRA_SRC, none), size),
        source_len=src_len,
        destination=of_size(get(FRA_DST, none), size),
        destination_len=dst_len,
        tos=tos,
        action=action,
        table=table if action == FR_ACT_TO_TBL else 0,
        goto=read_u32(get(FRA_GOTO, zero)) if action == FR_ACT_GOTO else 0,
        iif=read_string(get(FRA_IIFNAME, b"")),
        oif=read_string(get(FRA_OIFNAME, b"")),
        fwmark=fwmark,
        fwmask=read_u32(get(FRA_FWMASK, zero)),
        realms=read_u32(get(FRA_FLOW, zero)),
        tunnel_id=int.from_bytes(get(FRA_TUN_ID, b"\0"), "big"),
        l3mdev=any(get(FRA_L3MDEV, b"")),
        uid_range=_pair(_U32X2, get(FRA_UID_RANGE)),
        ipproto=read_u8(get(FRA_IP_PROTO, b"\0")),
        sport=_pair(_U16X2, get(FRA_SPORT_RANGE)),
        dport=_pair(_U16X2, get(FRA_DPORT_RANGE)),
        suppress_prefixlength=_optional(get(FRA_SUPPRESS_PREFIXLEN)),
        suppress_ifgroup=_optional(get(FRA_SUPPRESS_IFGROUP)),
        protocol=read_u8(get(FRA_PROTOCOL, b"\0")),
    )


def _pair(layout: struct.Struct, payload: bytes | None) -> tuple[int, int] | None:
    if payload is None:
        return None
    if len(payload) < layout.size:
        raise MalformedMessage("range attribute too short")
    first, last = layout.unpack_from(payload)
    return first, last


def _optional(payload: bytes | None) -> int | None:
    """The kernel writes all ones where nothing is set."""
    if payload is None or (value := read_u32(payload)) == _UNSET:
        return None
    return value
