"""The addresses of an instance: entries, families, room in the packet, source, peers."""

from __future__ import annotations

import pytest
from config_reading import Reader, instance, texts

from fastvrrp.config.model import FOREVER_S, Loaded, UnicastPeer


def test_unicast(read: Reader) -> None:
    found = read.one(
        "unicast_src_ip 10.0.0.5",
        "unicast_ttl 64",
        "unicast_peer {",
        "10.0.0.6",
        "10.0.0.7 min_ttl 64 max_ttl 65",
        "10.0.0.6",
        "}",
    )
    assert (found.source, found.unicast_ttl) == ("10.0.0.5", 64)
    assert read.one("unicast_ttl 64").unicast_ttl == 255
    assert found.unicast_peers == (
        UnicastPeer(address="10.0.0.6"),
        UnicastPeer(address="10.0.0.7", min_ttl=64, max_ttl=65),
    )
    assert found.check_unicast_src


def test_unicast_without_interface_needs_a_source(read: Reader) -> None:
    text = (
        "vrrp_instance V {\n virtual_router_id 1\n vrf blue\n unicast_src_ip 10.0.0.5\n"
        " unicast_peer { 10.0.0.6 }\n virtual_ipaddress { 10.0.0.1 dev eth1 }\n}\n"
    )
    loaded = read(text)
    assert loaded.configuration is not None, texts(loaded)
    found = loaded.configuration.vrrp_instances[0]
    assert (found.interface, found.vrf) == (None, "blue")
    assert read(text.replace(" unicast_src_ip 10.0.0.5\n", "")).configuration is None


def test_addresses(read: Reader) -> None:
    found = read.one(
        "virtual_ipaddress {",
        "10.0.0.2",
        "10.0.0.3/24 brd + dev eth1 label eth1:v scope link noprefixroute autojoin",
        "10.0.0.4/24 broadcast 10.0.0.255 preferred_lft 0 no_track",
        "10.0.0.5/24 brd -",
        "10.0.0.6 peer 10.0.0.7/30",
        "}",
        "virtual_ipaddress_excluded {",
        "2001:DB8:0::1/64 -nodad home mngtmpaddr preferred_lft forever",
        "}",
    )
    two, three, four, five, six = found.virtual_ipaddress[1:]
    assert (two.prefixlen, two.scope, two.nodad, two.preferred_lft_s) == (32, 0, True, None)
    assert (three.prefixlen, three.broadcast, three.dev) == (24, "10.0.0.255", "eth1")
    assert (three.label, three.scope) == ("eth1:v", 253)
    assert three.noprefixroute
    assert three.autojoin
    assert (four.broadcast, four.preferred_lft_s, four.no_track) == ("10.0.0.255", 0, True)
    assert five.broadcast == "10.0.0.0"
    assert (six.peer, six.peer_prefixlen, six.prefixlen) == ("10.0.0.7", 30, 32)
    (v6,) = found.virtual_ipaddress_excluded
    assert (v6.address, v6.prefixlen, v6.family) == ("2001:db8::1", 64, 6)
    assert (v6.nodad, v6.home, v6.mngtmpaddr) == (False, True, True)
    assert v6.preferred_lft_s == FOREVER_S


def entry_is_said_to(read: Reader, entry: str, message: str) -> Loaded:
    """What came of a further entry of virtual_ipaddress, about which this is said."""
    loaded = read(instance(vips=f"10.0.0.1/24\n{entry}"))
    assert any(message in text for text in texts(loaded)), texts(loaded)
    return loaded


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("10.0.0.9/x", "'x' is not a prefix length, using 32"),
        ("10.0.0.9 brd +", "a /32 has no broadcast address, ignored"),
        ("10.0.0.9 scope foo", "there is no scope 'foo', using global"),
        ("10.0.0.9 home", "home is for IPv6 addresses, ignored"),
        ("10.0.0.9/24 peer 10.0.0.8", "the prefix length of 10.0.0.9 is ignored beside a peer"),
        ("10.0.0.9 preferred_lft x", "preferred_lft cannot be 'x', ignored"),
        ("10.0.0.9 dev eth7", "interface 'eth7' does not exist now"),
        ("10.0.0.1/24", "10.0.0.1 is listed twice"),
        ("fe80::1", "fe80::1 is not an IPv4 address, not advertised but kept"),
        ("fe80::1 label x", "label is for IPv4 addresses, ignored"),
    ],
)
def test_address_warnings(read: Reader, entry: str, message: str) -> None:
    assert entry_is_said_to(read, entry, message).configuration is not None


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("10.0.0", "'10.0.0' is not an address"),
        ("dev eth0 10.0.0.9", "'dev' is not an address"),
        ("fe80::1%eth0", "is not an address"),
        ("224.0.0.5", "224.0.0.5 cannot be the address of an interface"),
        ("0.0.0.0", "cannot be the address"),
        ("10.0.0.9 brd x", "'x' is not a broadcast address"),
        ("10.0.0.9 peer fe80::1", "the peer fe80::1 is of another family"),
        ("10.0.0.9 peer x", "'x' is not an address"),
        ("10.0.0.9 label 1234567890123456", "is too long"),
        ("10.0.0.9 track_group g", "unknown option 'track_group'"),
        ("10.0.0.9 10.0.0.8", "unknown option '10.0.0.8'"),
        ("10.0.0.9 dev a/b", "cannot be the name of an interface"),
        ("10.0.0.9 dev eth0 dev eth1", "dev is given twice"),
    ],
)
def test_address_errors(read: Reader, entry: str, message: str) -> None:
    assert entry_is_said_to(read, entry, message).configuration is None


def test_addresses_of_the_other_family_are_excluded(read: Reader) -> None:
    found = read.one(vips="10.0.0.1\nfe80::1\n10.0.0.2")
    assert [a.address for a in found.virtual_ipaddress] == ["10.0.0.1", "10.0.0.2"]
    assert [a.address for a in found.virtual_ipaddress_excluded] == ["fe80::1"]


@pytest.mark.parametrize(
    ("family", "interface", "advertised"), [(4, "eth0", 255), (6, "eth0", 89), (6, "eth3", 83)]
)
def test_addresses_beyond_the_packet_are_excluded(
    read: Reader, family: int, interface: str, advertised: int
) -> None:
    if family == 4:
        listed = [f"10.1.{i // 200}.{i % 200 + 1}" for i in range(300)]
    else:
        listed = [f"fe80::{i:x}" for i in range(1, 301)]
    loaded = read(instance(vips="\n".join(listed), interface=interface))
    assert loaded.configuration is not None
    found = loaded.configuration.vrrp_instances[0]
    assert [a.address for a in found.virtual_ipaddress] == listed[:advertised]
    assert [a.address for a in found.virtual_ipaddress_excluded] == listed[advertised:]
    assert "300 addresses do not fit into an advert" in texts(loaded)[0]


def test_an_instance_without_addresses(read: Reader) -> None:
    text = "vrrp_instance V {\n interface eth0\n virtual_router_id 1\n %s\n}\n"
    assert read(text % "").configuration is not None
    assert read(text % "version 3").configuration is None
    assert read(text % "strict_mode").configuration is None
    allowed = read(text % "version 3\nno_virtual_ipaddress")
    assert allowed.configuration is not None
    assert allowed.messages == ()


def test_strict_ipv6_begins_with_a_link_local_address(read: Reader) -> None:
    lines = [t.split(": ", 1)[1] for t in texts(read(instance("strict_mode", vips="2001:db8::1")))]
    assert lines == [
        "warning: V: the first IPv6 address is not link-local: 2001:db8::1; "
        "begin with an fe80: address"
    ]


def test_interfaces_of_another_namespace_are_not_judged(read: Reader) -> None:
    vips = "\n".join(f"fe80::{i:x}" for i in range(1, 200))
    loaded = read(instance(interface="eth3", vips=vips) + "net_namespace blue\n")
    assert loaded.configuration is not None
    assert len(loaded.configuration.vrrp_instances[0].virtual_ipaddress) == 89
    loaded = read("net_namespace blue\n" + instance(interface="lan7"))
    assert loaded.messages == ()


@pytest.mark.parametrize("keyword", ["mcast_src_ip", "unicast_src_ip"])
def test_a_virtual_address_is_no_source(read: Reader, keyword: str) -> None:
    lines = [f"  {keyword} 10.0.0.1", "unicast_peer { 10.0.0.6 }"]
    assert texts(read(instance(*lines))) == [
        f"7:{len(keyword) + 4}: warning: V: {keyword} 10.0.0.1 is a virtual address, which this "
        "router does not have as backup; "
        "use an address that it keeps; only the owner of the address has priority 255"
    ]
    assert texts(read(instance(*lines, "priority 255"))) == []
    assert texts(read(instance(*lines, vips="10.0.0.2"))) == []


def test_a_virtual_address_is_not_static(read: Reader) -> None:
    static = (
        "global_defs {\n default_interface eth0\n}\n"
        "static_ipaddress {\n 10.0.0.1/24\n  10.0.0.2/24 dev eth1\n}\n"
    )
    assert texts(read(static + instance())) == [
        "5:2: warning: 10.0.0.1 is a virtual address of V, and would be there while it is backup; "
        "remove one of the two; only the owner of the address has priority 255"
    ]
    assert texts(read(static + instance("priority 255"))) == []
    assert texts(read(static + instance(vips="10.0.0.2"))) == []
    assert len(texts(read(static + instance(vips="10.0.0.2 dev eth1")))) == 1


def test_an_address_is_listed_once(read: Reader) -> None:
    lines = (
        "virtual_ipaddress { 10.0.0.1/24 }",
        "virtual_ipaddress_excluded {",
        "10.0.0.1/24",
        "}",
    )
    found = read.one(*lines, "virtual_ipaddress_excluded { 10.0.0.1/25 }")
    held = found.virtual_ipaddress + found.virtual_ipaddress_excluded
    assert [(a.address, a.prefixlen) for a in held] == [("10.0.0.1", 24), ("10.0.0.1", 25)]
    assert texts(read(instance(*lines))) == [
        f"{place}: warning: 10.0.0.1 is listed twice; remove one of the lines"
        for place in ("7:21", "9:1")
    ]
    static = "static_ipaddress { 10.5.0.1 dev eth0 }\n"
    loaded = read(static + static)
    assert loaded.configuration is not None
    assert len(loaded.configuration.static_addresses) == 1
    assert texts(loaded) == ["2:20: warning: 10.5.0.1 is listed twice; remove one of the lines"]
