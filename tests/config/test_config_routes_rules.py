"""virtual_routes, virtual_rules and their static forms."""

from __future__ import annotations

import pytest
from config_reading import Reader, instance, texts

from fastvrrp.config.model import Encap, NextHop, VirtualRoute, VirtualRule


def route(read: Reader, text: str) -> VirtualRoute:
    (found,) = read.one("virtual_routes {", text, "}").virtual_routes
    return found


def rule(read: Reader, text: str) -> VirtualRule:
    (found,) = read.one("virtual_rules {", text, "}").virtual_rules
    return found


def fields(model: VirtualRoute | VirtualRule) -> dict[str, object]:
    """What differs from the defaults, without the position."""
    plain = type(model)(family=model.family)
    return {
        name: getattr(model, name)
        for name in model.__struct_fields__
        if name != "position" and getattr(model, name) != getattr(plain, name)
    }


@pytest.mark.parametrize(
    ("text", "family", "expected"),
    [
        ("10.1.0.0/16 dev eth0", 4, {"destination": "10.1.0.0/16", "dev": "eth0"}),
        ("to 10.1.0.0/16 oif eth0", 4, {"destination": "10.1.0.0/16", "dev": "eth0"}),
        (
            "default via 10.0.0.9 dev eth0",
            4,
            {"via": "10.0.0.9", "via_family": 4, "dev": "eth0"},
        ),
        ("all dev eth0", 4, {"dev": "eth0"}),
        ("default6 via fe80::1 dev eth0", 6, {"via": "fe80::1", "via_family": 6, "dev": "eth0"}),
        ("inet6 default dev eth0", 6, {"dev": "eth0"}),
        (
            "unreachable 10.0.0.0/8 no_track",
            4,
            {"type": "unreachable", "destination": "10.0.0.0/8", "no_track": True},
        ),
        (
            "src 10.0.0.5 to 10.1.0.0/16 gw 10.0.0.9 dev eth0",
            4,
            {
                "source": "10.0.0.5",
                "destination": "10.1.0.0/16",
                "via": "10.0.0.9",
                "via_family": 4,
                "dev": "eth0",
            },
        ),
        (
            "10.1.0.0/16 via inet6 fe80::1 dev eth0 onlink append",
            4,
            {
                "destination": "10.1.0.0/16",
                "via": "fe80::1",
                "via_family": 6,
                "dev": "eth0",
                "onlink": True,
                "add_mode": "append",
            },
        ),
        (
            "10.1.0.0/16 dev eth0 table small metric 0x10 scope link tos AF11 realms cosmos/2",
            4,
            {
                "destination": "10.1.0.0/16",
                "dev": "eth0",
                "table": 77,
                "metric": 16,
                "scope": 253,
                "tos": 0x28,
                "realm": 0x10002,
            },
        ),
        (
            "10.1.0.0/16 dev eth0 protocol bird no_track",
            4,
            {"destination": "10.1.0.0/16", "dev": "eth0", "protocol": 12, "no_track": True},
        ),
        (
            "10.1.0.0/16 dev eth0 mtu lock 1400 advmss 1000 rtt 100ms rttvar lock 5 rto_min 1.5s "
            "hoplimit 9 initcwnd 10 quickack 1 features ecn congctl lock cubic window 7",
            4,
            {
                "destination": "10.1.0.0/16",
                "dev": "eth0",
                "mtu": 1400,
                "mtu_lock": True,
                "advmss": 1000,
                "metrics": (
                    ("rtt_ms", 100),
                    ("rttvar", 5),
                    ("rto_min_ms", 1500),
                    ("hoplimit", 9),
                    ("initcwnd", 10),
                    ("quickack", 1),
                    ("features", 1),
                    ("window", 7),
                ),
                "metric_locks": ("mtu", "rttvar", "congctl"),
                "congctl": "cubic",
            },
        ),
        (
            "2001::/16 dev eth0 expires 5 pref low from 2002::/16 ttl-propagate enabled",
            6,
            {
                "destination": "2001::/16",
                "dev": "eth0",
                "expires_s": 5,
                "preference": "low",
                "from_": "2002::/16",
                "ttl_propagate": True,
            },
        ),
        (
            "10.1.0.0/16 nexthop via 10.0.0.2 dev eth0 weight 2 onlink nexthop dev eth1 realms 7",
            4,
            {
                "destination": "10.1.0.0/16",
                "nexthops": (
                    NextHop(via="10.0.0.2", via_family=4, dev="eth0", weight=2, onlink=True),
                    NextHop(dev="eth1", realm=7),
                ),
            },
        ),
        (
            "10.1.0.0/16 via 10.0.0.2 or 10.0.0.3 dev eth0",
            4,
            {
                "destination": "10.1.0.0/16",
                "nexthops": (
                    NextHop(via="10.0.0.2", via_family=4, dev="eth0"),
                    NextHop(via="10.0.0.3", via_family=4, dev="eth0"),
                ),
            },
        ),
        (
            "10.1.0.0/16 encap ip id 1 dst 1.2.3.4 ttl 9 dev eth0",
            4,
            {
                "destination": "10.1.0.0/16",
                "dev": "eth0",
                "encap": Encap(type="ip", id=1, dst="1.2.3.4", ttl=9),
            },
        ),
        (
            "10.1.0.0/16 encap ip src 1.2.3.4 tos 0x10 flags 4 dev eth0 mtu 1400",
            4,
            {
                "destination": "10.1.0.0/16",
                "dev": "eth0",
                "mtu": 1400,
                "encap": Encap(type="ip", src="1.2.3.4", tos=16, flags=4),
            },
        ),
        (
            "2001:db8::/32 dev eth0 encap ip6 id 7 dst fe80::1 tc 4 hoplimit 9",
            6,
            {
                "destination": "2001:db8::/32",
                "dev": "eth0",
                "encap": Encap(type="ip6", id=7, dst="fe80::1", tos=4, ttl=9),
            },
        ),
        (
            "2001:db8::/32 dev eth0 encap ila 2001:db8:0:1 csum-mode no-action",
            6,
            {
                "destination": "2001:db8::/32",
                "dev": "eth0",
                "encap": Encap(type="ila", locator="2001:db8:0:1", csum_mode=2),
            },
        ),
        (
            "10.1.0.0/16 dev eth0 nexthop via 10.0.0.2 encap mpls 100 ttl 5 nexthop via 10.0.0.3",
            4,
            {
                "destination": "10.1.0.0/16",
                "nexthops": (
                    NextHop(
                        via="10.0.0.2",
                        via_family=4,
                        dev="eth0",
                        encap=Encap(type="mpls", labels=(100,), ttl=5),
                    ),
                    NextHop(via="10.0.0.3", via_family=4, dev="eth0"),
                ),
            },
        ),
        (
            "10.1.0.0/16 dev eth0 vrf eth1",
            4,
            {"destination": "10.1.0.0/16", "dev": "eth0", "vrf": "eth1"},
        ),
        (
            "10.1.0.0/16 dev eth0 table 5 vrf eth1",
            4,
            {"destination": "10.1.0.0/16", "dev": "eth0", "vrf": "eth1"},
        ),
        (
            "10.1.0.0/16 dev eth0 vrf eth1 table 5",
            4,
            {"destination": "10.1.0.0/16", "dev": "eth0", "table": 5},
        ),
        (
            "10.1.0.0/16 encap mpls 100/200 dev eth0",
            4,
            {
                "destination": "10.1.0.0/16",
                "dev": "eth0",
                "encap": Encap(type="mpls", labels=(100, 200)),
            },
        ),
        ("10.1.0.0/33 dev eth0", 4, {"destination": "10.1.0.0/32", "dev": "eth0"}),
    ],
)
def test_routes(read: Reader, text: str, family: int, expected: dict[str, object]) -> None:
    found = route(read, text)
    assert found.family == family
    assert fields(found) == expected


def test_routes_without_interface_are_not_tracked(read: Reader) -> None:
    assert route(read, "blackhole 10.0.0.0/8").no_track
    assert route(read, "default via 10.0.0.9").no_track
    assert route(read, "10.0.0.0/8 nexthop via 10.0.0.9 nexthop via 10.0.0.8 dev eth0").no_track


def test_tracked_routes_have_the_protocol_of_keepalived(read: Reader) -> None:
    assert route(read, "10.0.0.0/8 dev eth0 protocol bird").protocol is None
    assert route(read, "10.0.0.0/8 dev eth0 protocol keepalived").protocol == 18


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("dev eth0", "8:1: error: a route needs a destination"),
        ("10.0.0.0/8 dev", "8:12: error: dev needs a value; write dev IF"),
        ("10.0.0.0/8 via x dev eth0", "8:16: error: 'x' is not an address"),
        ("10.0.0.0/8 table nosuch", "8:18: error: there is no routing table 'nosuch'"),
        ("10.0.0.0/8 table smal", "did you mean small?"),
        ("10.0.0.0/8 dev eth0 metric x", "8:28: error: metric is not a number from 0"),
        ("10.0.0.0/8 dev eth0 hoplimit 300", "hoplimit is not a number from 0 to 255: '300'"),
        ("10.0.0.0/8 dev eth0 rtt 1x", "8:25: error: rtt is not a time: '1x'"),
        ("10.0.0.0/8 dev eth0 features foo", "there is no feature 'foo'; write ecn"),
        ("10.0.0.0/8 dev eth0 pref low", "8:1: error: pref is for IPv6 routes"),
        ("2001::/16 dev eth0 pref lo", "pref cannot be 'lo'; write low or medium or high"),
        ("10.0.0.0/8 dev eth0 realms foo", "'foo' is not a realm"),
        ("10.0.0.0/8 dev eth0 realms 1/2/3", "'1/2/3' is not a realm"),
        ("10.0.0.0/8 dev eth0 encap ipip id 1", "unknown encap type 'ipip'; did you mean ip?"),
        ("10.0.0.0/8 dev eth0 encap ip dst fe80::1", "fe80::1 is not an IPv4 address"),
        ("10.0.0.0/8 dev eth0 encap ip ttl 300", "ttl is not a number up to 255: '300'"),
        ("10.0.0.0/8 dev eth0 encap ip ttl", "8:30: error: ttl needs a value; write ttl VALUE"),
        ("10.0.0.0/8 dev eth0 encap mpls 1048576", "'1048576' is not for mpls; write labels up"),
        ("10.0.0.0/8 dev eth0 encap mpls", "8:27: error: encap mpls needs a value"),
        ("2001::/16 dev eth0 encap ila 1:2:3", "'1:2:3' is not for ila; write a locator"),
        ("2001::/16 dev eth0 encap ila 1:2:3:4 csum-mode x", "csum-mode cannot be 'x'; write"),
        ("10.0.0.0/8 nexthop via 10.0.0.2 weight 0", "weight is out of range: '0'"),
        ("10.0.0.0/8 nexthop via", "8:20: error: via needs a value"),
        ("10.0.0.0/8 dev eth0 track_group g", "track_group is for static_routes only"),
        ("10.0.0.0/8 dev eth0 src fe80::1", "IPv4 and IPv6 are mixed"),
        ("10.1 dev eth0", "'10.1' is not an address"),
        ("10.0.0.0/8 dev eth0 onlnk", "did you mean onlink?"),
        ("10.0.0.0/8 dev eth0 {", "8:1: error: no block is possible in virtual_routes"),
    ],
)
def test_route_errors(read: Reader, text: str, message: str) -> None:
    closing = ["}"] if text.endswith("{") else []
    loaded = read(instance("virtual_routes {", text, *closing, "}"))
    assert loaded.configuration is None
    assert any(message in line for line in texts(loaded)), texts(loaded)


@pytest.mark.parametrize(
    ("text", "family", "expected"),
    [
        (
            "from 10.0.0.0/8 table 5 preference 10",
            4,
            {"from_": "10.0.0.0/8", "table": 5, "preference": 10},
        ),
        (
            "not to 2001::/16 lookup small order 3",
            6,
            {"to": "2001::/16", "table": 77, "preference": 3, "negate": True},
        ),
        ("from all to all table main priority 3", 4, {"table": 254, "preference": 3}),
        ("inet6 table 5 priority 3", 6, {"table": 5, "preference": 3}),
        (
            "iif eth0 oif eth1 goto 50 priority 3",
            4,
            {"iif": "eth0", "oif": "eth1", "action": "goto", "goto": 50, "preference": 3},
        ),
        ("dev eth0 nop priority 3", 4, {"iif": "eth0", "action": "nop", "preference": 3}),
        (
            "from 10.0.0.0/8 type blackhole priority 3",
            4,
            {"from_": "10.0.0.0/8", "action": "blackhole", "preference": 3},
        ),
        ("prohibit priority 3", 4, {"action": "prohibit", "preference": 3}),
        (
            "fwmark 0x10/0xff table 5 priority 3",
            4,
            {"fwmark": 16, "fwmask": 255, "table": 5, "preference": 3},
        ),
        (
            "ipproto udp sport 5 dport 6-7 uidrange 1-2 table 5 priority 3",
            4,
            {
                "ipproto": 17,
                "sport": (5, 5),
                "dport": (6, 7),
                "uid_range": (1, 2),
                "table": 5,
                "preference": 3,
            },
        ),
        ("l3mdev priority 3", 4, {"l3mdev": True, "preference": 3}),
        (
            "tos 0x10 realms 3/4 tunnel-id 9 suppress_prefixlength 1 suppress_ifgroup default "
            "table 5 priority 3 no_track protocol bird",
            4,
            {
                "tos": 16,
                "realms": 0x30004,
                "tunnel_id": 9,
                "suppress_prefixlength": 1,
                "suppress_ifgroup": 0,
                "table": 5,
                "preference": 3,
                "no_track": True,
                "protocol": 12,
            },
        ),
        (
            "sup_pl 2 sup_group 7 table 5 priority 3",
            4,
            {"suppress_prefixlength": 2, "suppress_ifgroup": 7, "table": 5, "preference": 3},
        ),
        (
            "from 10.0.0.0/8 table 5 priority 3 protocol bird",
            4,
            {"from_": "10.0.0.0/8", "table": 5, "preference": 3},
        ),
    ],
)
def test_rules(read: Reader, text: str, family: int, expected: dict[str, object]) -> None:
    found = rule(read, text)
    assert found.family == family
    assert fields(found) == expected


def test_a_rule_without_preference_gets_one_later(read: Reader) -> None:
    assert rule(read, "from 10.0.0.0/8 table 5").preference is None
    loaded = read(instance("virtual_rules {", "from 10.0.0.0/8 table 5", "}"))
    assert "the rule has no preference, one is counted down from 16384" in texts(loaded)[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("from 10.0.0.0/8", "a rule needs an action"),
        ("from 10.0.0.0/8 to 2001::/16 table 5", "IPv4 and IPv6 are mixed in one rule"),
        ("from 10.0.0.0/8 table nosuch", "there is no routing table 'nosuch'"),
        ("from 10.0.0.0/8 goto 3 priority 30", "goto 3 leads backwards from preference 30"),
        ("fwmark x table 5", "'x' is not a firewall mark"),
        ("ipproto 300 table 5", "there is no IP protocol '300'"),
        ("sport 7-x table 5", "sport is not a range: '7-x'"),
        ("sport 7-65536 table 5", "sport is not a range: '7-65536'"),
        ("uidrange x table 5", "uidrange is not a range: 'x'"),
        ("type foo priority 3", "a rule cannot be of type 'foo'"),
        ("nat priority 3", "a rule cannot be of type 'nat'"),
        ("table 5 nop", "a rule has one action"),
        ("from 10.0.0.0/8 table 0", "8:23: error: a rule cannot lead to table 0"),
        ("from 10.0.0.0/8 pref 10", "unknown option 'pref'"),
        ("from 10.0.0.0/8 table 5 track_group g", "track_group is for static_rules only"),
        ("from 10.0.0.0/8 table", "8:17: error: table needs a value"),
        ("priority x table 5", "priority is not a number from 0"),
    ],
)
def test_rule_errors(read: Reader, text: str, message: str) -> None:
    loaded = read(instance("virtual_rules {", text, "}"))
    assert loaded.configuration is None
    assert any(message in line for line in texts(loaded)), texts(loaded)


def test_a_rule_without_its_address_is_left_out(read: Reader) -> None:
    """As keepalived does; the other rules stay."""
    loaded = read(instance("virtual_rules {", "to 10.1./24 table 5", "from 10.2.0.0/16 nop", "}"))
    said = "8:4: warning: '10.1./24' is not an address, the rule is left out; "
    assert said + "write ADDRESS or ADDRESS/LENGTH" in texts(loaded)
    assert loaded.configuration is not None
    (router,) = loaded.configuration.vrrp_instances
    assert [rule.from_ for rule in router.virtual_rules] == ["10.2.0.0/16"]


@pytest.mark.parametrize(("keyword", "range_"), [("sport", "7-6"), ("uidrange", "9-5")])
def test_a_rule_that_the_kernel_refuses_is_left_out(
    read: Reader, keyword: str, range_: str
) -> None:
    """As it is with keepalived, which goes on without it."""
    rules = (f"from 10.1.0.0/16 {keyword} {range_} table 5 priority 3", "from 10.2.0.0/16 nop")
    loaded = read(instance("virtual_rules {", *rules, "}"))
    said = f"warning: {keyword} ends before it begins: '{range_}', the rule is left out; write "
    assert said + "-".join(reversed(range_.split("-"))) in texts(loaded)[0]
    assert loaded.configuration is not None
    (router,) = loaded.configuration.vrrp_instances
    assert [rule.from_ for rule in router.virtual_rules] == ["10.2.0.0/16"]


def test_static_objects(read: Reader) -> None:
    loaded = read(
        "global_defs {\n default_interface eth1\n}\n"
        "static_ipaddress {\n 10.5.0.1/24\n 10.5.0.2/24 dev eth2\n}\n"
        "static_routes {\n 10.6.0.0/16 via 10.5.0.9\n 10.7.0.0/16 dev eth2\n}\n"
        "static_rules {\n from 10.6.0.0/16 table 5 priority 4\n}\n"
    )
    assert loaded.configuration is not None, texts(loaded)
    assert [(a.address, a.dev) for a in loaded.configuration.static_addresses] == [
        ("10.5.0.1", "eth1"),
        ("10.5.0.2", "eth2"),
    ]
    first, second = loaded.configuration.static_routes
    assert (first.via, first.no_track) == ("10.5.0.9", False)
    assert second.table is None
    assert loaded.configuration.static_rules[0].table == 5
    nowhere = read(
        "static_ipaddress {\n 10.5.0.1/24\n}\nglobal_defs {\n default_interface lan7\n}\n"
    )
    assert [t.split(";")[0] for t in texts(nowhere)] == [
        "2:2: warning: interface 'lan7' does not exist now"
    ]
    assert texts(loaded) == []


def test_names_come_from_the_configured_directories(read: Reader) -> None:
    loaded = read(
        "global_defs {\n iproute_etc_dir /a\n iproute_usr_dir /b\n}\n"
        + instance("virtual_rules {", "table small priority 3", "}")
    )
    assert loaded.configuration is not None
    assert set(read.host.directories) == {("/a", "/b")}
