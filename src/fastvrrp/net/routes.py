"""Virtual routes as rtnetlink requests (RTM_NEWROUTE, RTM_DELROUTE)."""

from __future__ import annotations

import sys
from collections.abc import Mapping

import msgspec

from fastvrrp.config.model import NextHop, VirtualRoute
from fastvrrp.net import wire
from fastvrrp.net.addresses import packed
from fastvrrp.net.encap import encap_attributes
from fastvrrp.net.objects import (
    RTA_DST,
    RTA_EXPIRES,
    RTA_FLOW,
    RTA_GATEWAY,
    RTA_METRICS,
    RTA_MULTIPATH,
    RTA_OIF,
    RTA_PREF,
    RTA_PREFSRC,
    RTA_PRIORITY,
    RTA_SRC,
    RTA_TABLE,
    RTA_TTL_PROPAGATE,
    RTA_VIA,
    Hop,
    RouteKey,
)

# linux/rtnetlink.h, enum of RTN_*
ROUTE_TYPES = {
    "unicast": 1,
    "local": 2,
    "broadcast": 3,
    "anycast": 4,
    "multicast": 5,
    "blackhole": 6,
    "unreachable": 7,
    "prohibit": 8,
    "throw": 9,
    "nat": 10,
    "xresolve": 11,
}
# linux/rtnetlink.h, RTAX_*. The kernel keeps rtt in eighths and rttvar in quarters of a
# millisecond (RTAX_RTT, RTAX_RTTVAR); the `_ms` names carry plain milliseconds.
METRICS: dict[str, tuple[int, int]] = {
    "mtu": (2, 1),
    "window": (3, 1),
    "rtt": (4, 1),
    "rtt_ms": (4, 8),
    "rttvar": (5, 1),
    "rttvar_ms": (5, 4),
    "ssthresh": (6, 1),
    "cwnd": (7, 1),
    "advmss": (8, 1),
    "reordering": (9, 1),
    "hoplimit": (10, 1),
    "initcwnd": (11, 1),
    "features": (12, 1),
    "rto_min": (13, 1),
    "rto_min_ms": (13, 1),
    "initrwnd": (14, 1),
    "quickack": (15, 1),
    "congctl": (16, 1),
    "fastopen_no_cookie": (17, 1),
}
_RTAX_LOCK, _RTAX_CC_ALGO = 1, 16
_RTNH_F_ONLINK = 4
_PREFERENCES = {"low": 3, "medium": 0, "high": 1}  # RFC 4191 2.1, ICMPV6_ROUTER_PREF_*
_SCOPE_UNIVERSE, _SCOPE_LINK, _SCOPE_HOST, _SCOPE_NOWHERE = 0, 253, 254, 255
_LOCAL_TABLE_TYPES = frozenset(("local", "broadcast", "anycast", "nat"))
_IP6_DEFAULT_METRIC = 1024  # IP6_RT_PRIO_USER: what the kernel assumes for none
_ADD_FLAGS = {
    "prepend": wire.NLM_F_CREATE,
    "append": wire.NLM_F_CREATE | wire.NLM_F_APPEND,
    "add": wire.NLM_F_CREATE | wire.NLM_F_EXCL,
}


class MissingInterface(LookupError):
    """An interface that an object refers to does not exist now."""

    def __init__(self, name: str) -> None:
        super().__init__(f"interface {name} does not exist")
        self.name = name


def ifindex_of(name: str, interfaces: Mapping[str, int]) -> int:
    """Raises MissingInterface."""
    index = interfaces.get(name, 0)
    if not index:
        raise MissingInterface(name)
    return index


def in_vrf(route: VirtualRoute, vrf_tables: Mapping[str, int]) -> VirtualRoute:
    """The route with the table of its VRF device. Raises MissingInterface without the device."""
    if route.vrf is None:
        return route
    table = ifindex_of(route.vrf, vrf_tables)
    return msgspec.structs.replace(route, table=table, vrf=None)


def prefix(text: str | None, family: int) -> tuple[bytes, int]:
    """ADDR, ADDR/LEN, "default", "any", "all" or None as network bytes and length.

    Host bits are cleared: the kernel refuses them, and the network is what was meant.
    """
    size = 4 if family == 4 else 16
    if text is None or text in ("default", "default6", "any", "all"):
        return bytes(size), 0
    address, slash, length_text = text.partition("/")
    length = int(length_text) if slash else size * 8
    if not 0 <= length <= size * 8:
        raise ValueError(f"prefix length of {text}")
    host_bits = size * 8 - length
    number = int.from_bytes(packed(address, family), "big") >> host_bits << host_bits
    return number.to_bytes(size, "big"), length


def _table(route: VirtualRoute) -> int:
    if route.table:
        return route.table
    return wire.RT_TABLE_LOCAL if route.type in _LOCAL_TABLE_TYPES else wire.RT_TABLE_MAIN


def _metric(route: VirtualRoute) -> int:
    if route.metric:
        return route.metric
    return _IP6_DEFAULT_METRIC if route.family == 6 else 0


def route_key(route: VirtualRoute) -> RouteKey:
    """The identity the kernel will report."""
    destination, destination_len = prefix(route.destination, route.family)
    source, source_len = prefix(route.from_, route.family)
    return RouteKey(
        family=route.family,
        table=_table(route),
        destination=destination,
        destination_len=destination_len,
        source=source,
        source_len=source_len,
        tos=(route.tos or 0) if route.family == 4 else 0,  # IPv6 has no TOS in its routing
        metric=_metric(route),
        type=ROUTE_TYPES[route.type],
        protocol=wire.PROTOCOL if route.protocol is None else route.protocol,
    )


def route_hops(route: VirtualRoute, interfaces: Mapping[str, int]) -> tuple[Hop, ...]:
    """What the configuration fixes about the next hops. Raises MissingInterface."""
    ways: tuple[NextHop | VirtualRoute, ...] = route.nexthops or (route,)
    hops = []
    for way in ways:
        gateway = b"" if way.via is None else packed(way.via, way.via_family or route.family)
        hops.append(Hop(gateway, ifindex_of(way.dev, interfaces) if way.dev else 0))
    return () if hops == [(b"", 0)] else tuple(hops)


def _scope(route: VirtualRoute, deleting: bool) -> int:
    """Scope where none is written, as iproute2's users know it."""
    if route.scope is not None:
        return route.scope
    if route.family == 6:
        return _SCOPE_UNIVERSE
    if deleting:
        return _SCOPE_NOWHERE  # matches any
    if route.type in ("local", "nat"):
        return _SCOPE_HOST
    if route.type in ("broadcast", "multicast", "anycast"):
        return _SCOPE_LINK
    if route.type == "unicast" and route.via is None and not route.nexthops:
        return _SCOPE_LINK
    return _SCOPE_UNIVERSE


def _gateway(way: VirtualRoute | NextHop, family: int) -> bytes:
    if way.via is None:
        return b""
    via_family = way.via_family or family
    gateway = packed(way.via, via_family)
    if via_family == family:
        return wire.attribute(RTA_GATEWAY, gateway)
    af = wire.AF_INET if via_family == 4 else wire.AF_INET6
    return wire.attribute(RTA_VIA, af.to_bytes(2, sys.byteorder) + gateway)


def _metrics(route: VirtualRoute) -> bytes:
    values = dict(route.metrics)
    if route.mtu is not None:
        values["mtu"] = route.mtu
    if route.advmss is not None:
        values["advmss"] = route.advmss
    locked = set(route.metric_locks)
    if route.mtu_lock:
        locked.add("mtu")
    nested = b""
    lock_bits = 0
    for name in locked:
        lock_bits |= 1 << METRICS[name][0]
    if lock_bits:
        nested += wire.u32(_RTAX_LOCK, lock_bits)
    for name, value in sorted(values.items(), key=lambda item: METRICS[item[0]]):
        number, unit = METRICS[name]
        nested += wire.u32(number, value * unit)
    if route.congctl is not None:
        nested += wire.string(_RTAX_CC_ALGO, route.congctl)
    return wire.attribute(RTA_METRICS, nested) if nested else b""


def _multipath(route: VirtualRoute, interfaces: Mapping[str, int]) -> bytes:
    body = b""
    for hop in route.nexthops:
        attributes = _gateway(hop, route.family) + encap_attributes(hop.encap)
        if hop.realm is not None:
            attributes += wire.u32(RTA_FLOW, hop.realm)
        body += wire.RTNEXTHOP.pack(
            wire.RTNEXTHOP.size + len(attributes),
            _RTNH_F_ONLINK if hop.onlink else 0,
            (hop.weight or 1) - 1,
            ifindex_of(hop.dev, interfaces) if hop.dev else 0,
        )
        body += attributes
    return wire.attribute(RTA_MULTIPATH, body)


def _body(route: VirtualRoute, interfaces: Mapping[str, int], *, deleting: bool) -> bytes:
    key = route_key(route)
    body = wire.RTMSG.pack(
        wire.AF_INET if route.family == 4 else wire.AF_INET6,
        key.destination_len,
        key.source_len,
        route.tos or 0,
        key.table if key.table < 256 else wire.RT_TABLE_UNSPEC,
        key.protocol,
        _scope(route, deleting),
        key.type,
        _RTNH_F_ONLINK if route.onlink and not route.nexthops else 0,
    )
    if key.destination_len:
        body += wire.attribute(RTA_DST, key.destination)
    if key.source_len:
        body += wire.attribute(RTA_SRC, key.source)
    if key.table > 255:
        body += wire.u32(RTA_TABLE, key.table)
    # On deletion an absent metric would match any IPv6 route, also one that is not ours.
    if route.metric or (deleting and key.metric):
        body += wire.u32(RTA_PRIORITY, key.metric)
    if route.source is not None:
        body += wire.attribute(RTA_PREFSRC, packed(route.source, route.family))
    body += _metrics(route)
    if route.realm is not None:
        body += wire.u32(RTA_FLOW, route.realm)
    if route.nexthops:
        body += _multipath(route, interfaces)
    else:
        body += _gateway(route, route.family) + encap_attributes(route.encap)
        if route.dev is not None:
            body += wire.u32(RTA_OIF, ifindex_of(route.dev, interfaces))
    if route.preference is not None:
        body += wire.u8(RTA_PREF, _preference(route.preference))
    if route.expires_s is not None and not deleting:
        body += wire.u32(RTA_EXPIRES, route.expires_s)
    if route.ttl_propagate is not None:
        body += wire.u8(RTA_TTL_PROPAGATE, int(route.ttl_propagate))
    return body


def _preference(text: str) -> int:
    value = _PREFERENCES.get(text)
    return int(text) if value is None else value


def add_route(route: VirtualRoute, interfaces: Mapping[str, int]) -> bytes:
    """RTM_NEWROUTE. Raises MissingInterface, or KeyError for an unknown type or metric.

    The kernel refuses an exact repetition with EEXIST in all three modes, so a replay is harmless.
    """
    how = wire.NLM_F_REQUEST | wire.NLM_F_ACK | _ADD_FLAGS[route.add_mode]
    return wire.message(wire.RTM_NEWROUTE, how, _body(route, interfaces, deleting=False))


def delete_route(route: VirtualRoute, interfaces: Mapping[str, int]) -> bytes:
    """RTM_DELROUTE with everything that was given, protocol included: the kernel then never
    takes a similar route that somebody else installed. Raises MissingInterface."""
    how = wire.NLM_F_REQUEST | wire.NLM_F_ACK
    return wire.message(wire.RTM_DELROUTE, how, _body(route, interfaces, deleting=True))
