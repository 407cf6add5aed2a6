"""Property tests: our rtnetlink encoder against pyroute2's, field by field."""

from __future__ import annotations

import ipaddress
import socket
import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyroute2.netlink.rtnl.fibmsg import fibmsg
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.rtmsg import rtmsg

from fastvrrp.config.model import (
    FOREVER_S,
    Encap,
    NextHop,
    VirtualAddress,
    VirtualRoute,
    VirtualRule,
)
from fastvrrp.net import wire
from fastvrrp.net.addresses import add_address, address_item, address_key, is_plain
from fastvrrp.net.encap import RTA_ENCAP, RTA_ENCAP_TYPE, encap_attributes
from fastvrrp.net.objects import RTA_MULTIPATH, decode_address, decode_route, decode_rule
from fastvrrp.net.routes import METRICS, ROUTE_TYPES, add_route, delete_route, route_hops, route_key
from fastvrrp.net.rules import RULE_ACTIONS, add_rule, delete_rule, rule_key

pytestmark = pytest.mark.computing

INTERFACES = {"eth0": 2, "eth1.100": 70000}
AF = {4: socket.AF_INET, 6: socket.AF_INET6}


def decoded(data: bytes, kind: type) -> tuple[Any, Any]:
    message = kind(data)
    message.decode()
    fields = {name: message[name] for name, _ in message.fields}
    return fields, sorted(plain(message))


def plain(message: Any) -> list[Any]:
    """Attributes as comparable text, nested ones too."""
    found = []
    for name, value in message["attrs"]:
        if isinstance(value, list):
            value = [({n: hop[n] for n, _ in hop.fields}, plain(hop)) for hop in value]
        elif hasattr(value, "get") and value.get("attrs") is not None:
            value = plain(value)
        elif hasattr(value, "fields"):
            value = {n: value[n] for n, _ in value.fields}
        found.append((name, repr(value)))
    return found


def header_of(data: bytes) -> tuple[int, int, int, int, int]:
    found: tuple[int, int, int, int, int] = wire._HEADER.unpack_from(data)
    return found


def addresses_of(family: int) -> st.SearchStrategy[str]:
    return st.ip_addresses(v=family).map(str)


@st.composite
def virtual_addresses(draw: st.DrawFn) -> VirtualAddress:
    family = draw(st.sampled_from((4, 6)))
    bits = 32 if family == 4 else 128
    peer = draw(st.none() | addresses_of(family))
    return VirtualAddress(
        address=draw(addresses_of(family)),
        prefixlen=bits if peer else draw(st.integers(0, bits)),
        family=family,
        label=draw(st.none() | st.just("eth0:1")) if family == 4 else None,
        scope=draw(st.integers(0, 255)),
        broadcast=draw(st.none() | addresses_of(4)) if family == 4 else None,
        peer=peer,
        peer_prefixlen=draw(st.none() | st.integers(0, bits)) if peer else None,
        home=draw(st.booleans()),
        nodad=draw(st.booleans()),
        mngtmpaddr=draw(st.booleans()),
        noprefixroute=draw(st.booleans()),
        autojoin=draw(st.booleans()),
        preferred_lft_s=draw(st.none() | st.integers(0, FOREVER_S)),
    )


@st.composite
def plain_addresses(draw: st.DrawFn) -> VirtualAddress:
    """Without options, as nearly all are."""
    family = draw(st.sampled_from((4, 6)))
    bits = 32 if family == 4 else 128
    return VirtualAddress(
        address=draw(addresses_of(family)),
        prefixlen=draw(st.just(bits) | st.integers(0, bits)),
        family=family,
        scope=draw(st.just(0) | st.integers(0, 255)),
        nodad=draw(st.booleans()),
    )


@settings(deadline=None, max_examples=200)
@given(plain_addresses() | virtual_addresses(), st.integers(0, 2**31 - 1))
def test_an_item_encodes_what_the_general_way_does(address: VirtualAddress, ifindex: int) -> None:
    item = address_item(address, ifindex, "VI", "eth0", advertised=True)
    assert item.key == address_key(address, ifindex)
    assert item.add == add_address(address, ifindex)
    own = item._replace(native=True).add
    how = wire.NLM_F_REQUEST | wire.NLM_F_ACK | wire.NLM_F_CREATE | wire.NLM_F_EXCL
    assert own == wire.retyped(item.add, wire.RTM_NEWADDR, how)


@settings(deadline=None, max_examples=100)
@given(plain_addresses())
def test_what_has_no_options_is_plain(address: VirtualAddress) -> None:
    assert is_plain(address)


def their_address(header: dict[str, int], attrs: list[list[Any]]) -> bytes:
    theirs = ifaddrmsg()
    for name, value in header.items():
        theirs[name] = value
    theirs["attrs"] = attrs
    theirs.encode()
    return bytes(theirs.data)


@settings(deadline=None, max_examples=80)
@given(plain_addresses() | virtual_addresses())
def test_requests_of_addresses_equal_pyroute2(address: VirtualAddress) -> None:
    prefixlen = address.prefixlen
    if address.peer is not None:
        prefixlen = address.peer_prefixlen
        if prefixlen is None:
            prefixlen = 32 if address.family == 4 else 128
    flags = 0x200 * address.noprefixroute | 0x400 * address.autojoin
    if address.family == 6:
        flags |= 0x02 * address.nodad | 0x10 * address.home | 0x100 * address.mngtmpaddr
    identity: list[list[Any]] = [
        ["IFA_LOCAL", address.address],
        ["IFA_ADDRESS", address.peer or address.address],
    ]
    attrs = list(identity)
    if address.broadcast:
        attrs.append(["IFA_BROADCAST", address.broadcast])
    if address.label:
        attrs.append(["IFA_LABEL", address.label])
    if flags:
        attrs.append(["IFA_FLAGS", flags])
    preferred = address.preferred_lft_s
    if preferred is None and address.family == 6 and address.prefixlen == 128:
        preferred = 0
    if preferred not in (None, FOREVER_S):
        info = {"ifa_preferred": preferred, "ifa_valid": FOREVER_S, "cstamp": 0, "tstamp": 0}
        attrs.append(["IFA_CACHEINFO", info])
    attrs.append(["IFA_PROTO", 18])
    item = address_item(address, 7, "VI", "eth0", advertised=True)
    key, add, delete = item.key, item.add, item.delete
    header = {"family": AF[address.family], "prefixlen": prefixlen, "flags": 0, "index": 7}
    theirs = their_address({**header, "flags": flags & 0xFF, "scope": address.scope}, attrs)
    assert decoded(add, ifaddrmsg) == decoded(theirs, ifaddrmsg)
    assert header_of(add) == (len(add), wire.RTM_NEWADDR, 0x05 | 0x400 | 0x100, 0, 0)
    theirs = their_address({**header, "scope": 0}, identity)
    assert decoded(delete, ifaddrmsg) == decoded(theirs, ifaddrmsg)
    assert header_of(delete) == (len(delete), wire.RTM_DELADDR, 0x05, 0, 0)
    assert key == address_key(address, 7)


@settings(deadline=None, max_examples=40)
@given(plain_addresses() | virtual_addresses())
def test_address_round_trip_gives_the_key(address: VirtualAddress) -> None:
    """What we ask for decodes to the identity we shall look for, also on deletion."""
    item = address_item(address, 9, "VI", "eth0", advertised=True)
    for request in (item.add, item.delete):
        found = decode_address(memoryview(request), wire.HEADER_SIZE, len(request))
        assert found is not None
        assert found.key == item.key
        assert header_of(request)[0] == len(request)


@st.composite
def next_hops(draw: st.DrawFn, family: int) -> NextHop:
    via_family = draw(st.sampled_from((4, 6)))
    return NextHop(
        via=draw(addresses_of(via_family)),
        via_family=via_family,
        dev=draw(st.none() | st.sampled_from(sorted(INTERFACES))),
        weight=draw(st.none() | st.integers(1, 256)),
        onlink=draw(st.booleans()),
        realm=draw(st.none() | st.integers(1, 0xFFFFFFFF)),
    )


@st.composite
def virtual_routes(draw: st.DrawFn) -> VirtualRoute:
    family = draw(st.sampled_from((4, 6)))
    bits = 32 if family == 4 else 128
    length = draw(st.integers(0, bits))
    destination = f"{draw(addresses_of(family))}/{length}"
    optional = st.none() | st.integers(1, 0xFFFFFFFF)
    via_family = draw(st.sampled_from((4, 6)))
    via = draw(st.none() | addresses_of(via_family))
    names = sorted(set(METRICS) - {"mtu", "advmss", "congctl", "rtt_ms", "rttvar_ms", "rto_min_ms"})
    return VirtualRoute(
        family=family,
        type=draw(st.sampled_from(sorted(ROUTE_TYPES))),
        destination=draw(st.just("default") | st.just(destination)),
        via=via,
        via_family=via_family if via else None,
        dev=draw(st.none() | st.sampled_from(sorted(INTERFACES))),
        source=draw(st.none() | addresses_of(family)),
        from_=draw(st.none() | addresses_of(6)) if family == 6 else None,
        table=draw(optional),
        protocol=draw(st.none() | st.integers(1, 255)),
        scope=draw(st.none() | st.integers(0, 255)),
        metric=draw(optional),
        tos=draw(st.none() | st.integers(1, 255)),
        mtu=draw(st.none() | st.integers(68, 65535)),
        mtu_lock=draw(st.booleans()),
        advmss=draw(st.none() | st.integers(1, 65535)),
        onlink=draw(st.booleans()),
        realm=draw(optional),
        metrics=tuple(
            draw(st.dictionaries(st.sampled_from(names), st.integers(0, 255), max_size=5)).items()
        ),
        metric_locks=tuple(draw(st.sets(st.sampled_from(("cwnd", "advmss", "rtt"))))),
        congctl=draw(st.none() | st.just("reno")),
        preference=draw(st.sampled_from((None, "low", "medium", "high"))),
        expires_s=draw(optional),
        ttl_propagate=draw(st.sampled_from((None, True, False))),
        nexthops=tuple(draw(st.lists(next_hops(family), max_size=3))),
        add_mode=draw(st.sampled_from(("prepend", "append", "add"))),
    )


RTAX = {
    "window": "RTAX_WINDOW",
    "rtt": "RTAX_RTT",
    "rttvar": "RTAX_RTTVAR",
    "ssthresh": "RTAX_SSTHRESH",
    "cwnd": "RTAX_CWND",
    "reordering": "RTAX_REORDERING",
    "hoplimit": "RTAX_HOPLIMIT",
    "initcwnd": "RTAX_INITCWND",
    "features": "RTAX_FEATURES",
    "rto_min": "RTAX_RTO_MIN",
    "initrwnd": "RTAX_INITRWND",
    "quickack": "RTAX_QUICKACK",
}


def gateway_attributes(way: VirtualRoute | NextHop, family: int) -> list[list[Any]]:
    if way.via is None:
        return []
    via_family = way.via_family or family
    if via_family == family:
        return [["RTA_GATEWAY", way.via]]
    return [["RTA_VIA", {"family": AF[via_family], "addr": way.via}]]


@settings(deadline=None, max_examples=40)
@given(virtual_routes())
def test_add_route_equals_pyroute2(route: VirtualRoute) -> None:
    network = ipaddress.ip_network(
        ("0.0.0.0/0" if route.family == 4 else "::/0")
        if route.destination == "default"
        else route.destination,
        strict=False,
    )
    local_types = ("local", "broadcast", "anycast", "nat")
    table = route.table or (255 if route.type in local_types else 254)
    if route.scope is not None:
        scope = route.scope
    elif route.family == 6:
        scope = 0
    elif route.type in ("local", "nat"):
        scope = 254
    elif route.type in ("broadcast", "multicast", "anycast") or (
        route.type == "unicast" and not route.via and not route.nexthops
    ):
        scope = 253
    else:
        scope = 0
    attrs: list[list[Any]] = []
    if network.prefixlen:
        attrs.append(["RTA_DST", str(network.network_address)])
    if route.from_:
        attrs.append(["RTA_SRC", route.from_])
    if table > 255:
        attrs.append(["RTA_TABLE", table])
    if route.metric:
        attrs.append(["RTA_PRIORITY", route.metric])
    if route.source:
        attrs.append(["RTA_PREFSRC", route.source])
    locks = (1 << 2) * route.mtu_lock
    for name in route.metric_locks:
        locks |= 1 << METRICS[name][0]
    metrics = [["RTAX_LOCK", locks]] if locks else []
    if route.mtu is not None:
        metrics.append(["RTAX_MTU", route.mtu])
    if route.advmss is not None:
        metrics.append(["RTAX_ADVMSS", route.advmss])
    unknown = 0  # pyroute2 has no name for this one
    for name, value in route.metrics:
        if name == "fastopen_no_cookie":
            unknown = 1
        else:
            metrics.append([RTAX[name], value])
    if route.realm is not None:
        attrs.append(["RTA_FLOW", route.realm])
    if route.nexthops:
        hops = []
        for hop in route.nexthops:
            hop_attrs = gateway_attributes(hop, route.family)
            if hop.realm is not None:
                hop_attrs.append(["RTA_FLOW", hop.realm])
            hops.append(
                {
                    "oif": INTERFACES[hop.dev] if hop.dev else 0,
                    "flags": 4 * hop.onlink,
                    "hops": (hop.weight or 1) - 1,
                    "attrs": hop_attrs,
                }
            )
        attrs.append(["RTA_MULTIPATH", hops])
    else:
        attrs += gateway_attributes(route, route.family)
        if route.dev:
            attrs.append(["RTA_OIF", INTERFACES[route.dev]])
    if route.preference is not None:
        attrs.append(["RTA_PREF", {"low": 3, "medium": 0, "high": 1}[route.preference]])
    if route.expires_s is not None:  # pyroute2 has no number for this one
        attrs.append(["RTA_EXPIRES", route.expires_s.to_bytes(4, sys.byteorder)])

    theirs = rtmsg()
    header = {
        "family": AF[route.family],
        "dst_len": network.prefixlen,
        "src_len": 128 if route.from_ else 0,
        "tos": route.tos or 0,
        "table": table if table < 256 else 0,
        "proto": 18 if route.protocol is None else route.protocol,
        "scope": scope,
        "type": ROUTE_TYPES[route.type],
        "flags": 4 if route.onlink and not route.nexthops else 0,
    }
    for name, value in header.items():
        theirs[name] = value
    theirs["attrs"] = attrs
    theirs.encode()

    ours = add_route(route, INTERFACES)
    fields, found = decoded(ours, rtmsg)
    expected_fields, expected = decoded(bytes(theirs.data), rtmsg)
    assert fields == expected_fields
    # pyroute2 does not know RTA_TTL_PROPAGATE (26): compared as bytes
    known = [pair for pair in found if pair[0] not in ("RTA_METRICS", "UNKNOWN")]
    assert known == expected
    propagate = b"" if route.ttl_propagate is None else wire.u8(26, int(route.ttl_propagate))
    assert ours.endswith(propagate)
    assert len(found) - len(known) == bool(propagate) + ("RTA_METRICS" in dict(found))
    message = rtmsg(ours)
    message.decode()
    nested = message.get_attr("RTA_METRICS")
    got = dict(nested["attrs"]) if nested else {}
    for name, value in metrics:
        assert got.pop(str(name)) == value
    congctl = got.pop("RTAX_CC_ALGO", None)
    assert (congctl is not None) == (route.congctl is not None)
    assert len(got) == unknown, got
    flags = {"prepend": 0x400, "append": 0xC00, "add": 0x600}[route.add_mode]
    assert header_of(ours) == (len(ours), wire.RTM_NEWROUTE, 0x05 | flags, 0, 0)


@settings(deadline=None, max_examples=40)
@given(virtual_routes())
def test_route_round_trip_gives_key_and_hops(route: VirtualRoute) -> None:
    request = delete_route(route, INTERFACES)
    found = decode_route(memoryview(request), wire.HEADER_SIZE, len(request))
    assert found is not None
    wanted = route_key(route)
    assert found.key._replace(tos=wanted.tos) == wanted
    assert found.hops == route_hops(route, INTERFACES)
    assert header_of(request) == (len(request), wire.RTM_DELROUTE, 0x05, 0, 0)


@st.composite
def virtual_rules(draw: st.DrawFn) -> VirtualRule:
    family = draw(st.sampled_from((4, 6)))
    bits = 32 if family == 4 else 128

    def network() -> st.SearchStrategy[str]:
        return st.builds("{}/{}".format, addresses_of(family), st.integers(1, bits))

    number = st.none() | st.integers(1, 0xFFFFFFFF)
    port = st.tuples(st.integers(1, 65535), st.integers(1, 65535)).map(sorted).map(tuple)
    action = draw(st.sampled_from(sorted(RULE_ACTIONS)))
    return VirtualRule(
        family=family,
        action=action,
        table=draw(number),
        goto=draw(st.integers(1, 0xFFFFFFFF)) if action == "goto" else None,
        preference=draw(st.integers(0, 0xFFFFFFFF)),
        negate=draw(st.booleans()),
        from_=draw(st.none() | network()),
        to=draw(st.none() | network()),
        iif=draw(st.none() | st.just("eth0")),
        oif=draw(st.none() | st.just("eth1.100")),
        tos=draw(st.none() | st.integers(1, 255)),
        fwmark=draw(number),
        fwmask=draw(number),
        realms=draw(number) if family == 4 else None,
        ipproto=draw(st.none() | st.integers(1, 255)),
        sport=draw(st.none() | port),
        dport=draw(st.none() | port),
        uid_range=draw(st.none() | st.just((1000, 2000))),
        l3mdev=draw(st.booleans()),
        protocol=draw(st.none() | st.integers(1, 255)),
        tunnel_id=draw(st.none() | st.integers(1, (1 << 64) - 1)),
        suppress_prefixlength=draw(st.none() | st.integers(0, 128)),
        suppress_ifgroup=draw(st.none() | st.integers(0, 1000)),
    )


@settings(deadline=None, max_examples=40)
@given(virtual_rules())
def test_add_rule_equals_pyroute2(rule: VirtualRule) -> None:
    table = 0
    if rule.action == "lookup" and not rule.l3mdev:
        table = rule.table or 254
    attrs: list[list[Any]] = [["FRA_PRIORITY", rule.preference]]
    lengths = {"FRA_DST": 0, "FRA_SRC": 0}
    for name, text in (("FRA_DST", rule.to), ("FRA_SRC", rule.from_)):
        if text:
            network = ipaddress.ip_network(text, strict=False)
            attrs.append([name, str(network.network_address)])
            lengths[name] = network.prefixlen
    if table > 255:
        attrs.append(["FRA_TABLE", table])
    if rule.goto:
        attrs.append(["FRA_GOTO", rule.goto])
    if rule.iif:
        attrs.append(["FRA_IIFNAME", rule.iif])
    if rule.oif:
        attrs.append(["FRA_OIFNAME", rule.oif])
    if rule.fwmark or rule.fwmask:
        mask = rule.fwmask if rule.fwmask is not None else 0xFFFFFFFF
        attrs += [["FRA_FWMARK", rule.fwmark or 0], ["FRA_FWMASK", mask]]
    if rule.realms:
        attrs.append(["FRA_FLOW", rule.realms])
    if rule.tunnel_id:
        attrs.append(["FRA_TUN_ID", rule.tunnel_id])
    if rule.l3mdev:
        attrs.append(["FRA_L3MDEV", 1])
    if rule.uid_range:
        attrs.append(["FRA_UID_RANGE", "{}:{}".format(*rule.uid_range)])
    if rule.ipproto:
        attrs.append(["FRA_IP_PROTO", rule.ipproto])
    for name, ports in (("FRA_SPORT_RANGE", rule.sport), ("FRA_DPORT_RANGE", rule.dport)):
        if ports:
            attrs.append([name, "{}:{}".format(*ports)])
    if rule.suppress_prefixlength is not None:
        attrs.append(["FRA_SUPPRESS_PREFIXLEN", rule.suppress_prefixlength])
    if rule.suppress_ifgroup is not None:
        attrs.append(["FRA_SUPPRESS_IFGROUP", rule.suppress_ifgroup])
    attrs.append(["FRA_PROTOCOL", 18 if rule.protocol is None else rule.protocol])
    theirs = fibmsg()
    header = {
        "family": AF[rule.family],
        "dst_len": lengths["FRA_DST"],
        "src_len": lengths["FRA_SRC"],
        "tos": rule.tos or 0,
        "table": table if table < 256 else 0,
        "action": RULE_ACTIONS[rule.action],
        "flags": 2 * rule.negate,
    }
    for name, value in header.items():
        theirs[name] = value
    theirs["attrs"] = attrs
    theirs.encode()
    ours = add_rule(rule_key(rule))
    assert decoded(ours, fibmsg) == decoded(bytes(theirs.data), fibmsg)
    assert header_of(ours) == (len(ours), wire.RTM_NEWRULE, 0x05 | 0x600, 0, 0)


@settings(deadline=None, max_examples=40)
@given(virtual_rules())
def test_rule_round_trip_gives_the_key(rule: VirtualRule) -> None:
    key = rule_key(rule)
    request = delete_rule(key)
    found = decode_rule(memoryview(request), wire.HEADER_SIZE, len(request))
    assert found == key


@pytest.mark.parametrize(
    ("encap", "kind", "nested"),
    [
        (
            Encap(type="ip", id=5, dst="192.0.2.7", src="192.0.2.8", tos=4, ttl=9, flags=1),
            2,
            {1: "0000000000000005", 2: "c0000207", 3: "c0000208", 4: "09", 5: "04", 6: "0001"},
        ),
        (
            Encap(type="ip6", dst="fe80::1", tos=4, ttl=9),
            4,
            {2: "fe800000000000000000000000000001", 4: "09", 5: "04"},
        ),
        # RFC 3032 2.1: label, class, bottom of the stack, TTL
        (Encap(type="mpls", labels=(100, 16), ttl=7), 1, {1: "0006400000010100", 2: "07"}),
        (
            Encap(type="ila", locator="2001:db8:0:1", csum_mode=2, ident_type=1, hook_type=0),
            3,
            {1: "20010db800000001", 7: "02", 8: "01", 9: "00"},
        ),
    ],
    ids=lambda value: value.type if isinstance(value, Encap) else "",
)
def test_encapsulation(encap: Encap, kind: int, nested: dict[int, str]) -> None:
    """linux/lwtunnel.h, linux/mpls_iptunnel.h, linux/ila.h; of a route and of one of its ways."""
    hops = (NextHop(dev="eth0", encap=encap), NextHop(dev="eth0"))
    single = VirtualRoute(family=4, destination="10.0.0.0/8", dev="eth0", encap=encap)
    several = VirtualRoute(family=4, destination="10.0.0.0/8", nexthops=hops)
    for route in (single, several):
        request = add_route(route, INTERFACES)
        start, end = wire.HEADER_SIZE + wire.RTMSG.size, len(request)
        found = wire.attributes(memoryview(request), start, end)
        if route is several:
            multipath = memoryview(found[RTA_MULTIPATH])
            length = wire.RTNEXTHOP.unpack_from(multipath)[0]
            found = wire.attributes(multipath, wire.RTNEXTHOP.size, length)
        assert int.from_bytes(found[RTA_ENCAP_TYPE], sys.byteorder) == kind
        inner = found[RTA_ENCAP]
        attributes = wire.attributes(memoryview(inner), 0, len(inner))
        assert {number: value.hex() for number, value in attributes.items()} == nested
    assert encap_attributes(None) == b""


def test_rtt_in_milliseconds_becomes_kernel_units() -> None:
    """RTAX_RTT counts eighths, RTAX_RTTVAR quarters of a millisecond."""
    route = VirtualRoute(family=4, dev="eth0", metrics=(("rtt_ms", 10), ("rttvar_ms", 10)))
    message = rtmsg(add_route(route, INTERFACES))
    message.decode()
    assert message.get_attr("RTA_METRICS").get_attr("RTAX_RTT") == 80
    assert message.get_attr("RTA_METRICS").get_attr("RTAX_RTTVAR") == 40
