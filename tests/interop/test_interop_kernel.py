"""What both daemons make of one configuration in the kernel: as master, as backup, after a stop.

Each in a namespace of its own, compared with ip(8) and sysctl(8). Nearly all attributes of
addresses, routes and rules are in one file; where the two differ is written below, with the
reason in docs/keepalived-differences.md.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fastvrrp.lab.daemons import Daemon, Fastvrrp, Keepalived
from fastvrrp.lab.network import Network, Node, wait_for
from keepalived_text import block, config, instance
from kernel_state import Found, differences, objects, protected, sysctls

pytestmark = [pytest.mark.netns, pytest.mark.interop]

ADDRESSES = (
    "192.0.2.100/24",
    "192.0.2.101/32",
    "192.0.2.102/24 brd + label eth0:1",
    "10.9.5.1/24 brd 10.9.5.254 scope link",
    "192.0.2.104/25 brd -",
    "198.51.100.100/24 dev eth1 noprefixroute",
    "10.9.0.1/30 preferred_lft 1000",
    "10.9.1.1/24 scope host no_track",
    "10.9.2.1/24 dev eth1 scope site",
    "10.9.3.1",
)
EXCLUDED = (
    "2001:db8::100/64",
    "2001:db8::101/128",
    "2001:db8::102/128 preferred_lft forever",
    "2001:db8::103/64 home",
    "2001:db8::104/64 mngtmpaddr",
    "2001:db8::105/64 -nodad",
    "2001:db8::106/64 preferred_lft 500 noprefixroute",
    "2001:db8:2::1/64 dev eth1",
    "fe80::100/64 dev eth1",
    "10.9.4.1/24 dev eth1 label eth1:x",
)
ROUTES = (
    "10.1.0.0/16 via 192.0.2.9",
    "src 192.0.2.100 to 10.1.2.0/24 via 192.0.2.9 dev eth0",
    "10.1.3.0/24 dev eth0 scope link table 100 metric 50",
    "10.1.4.0/24 via 192.0.2.9 dev eth0 tos 0x10 protocol bird no_track",
    "10.1.5.0/24 via 192.0.2.9 dev eth0 mtu lock 1400 hoplimit 10 advmss 1300 reordering 4 "
    "window 5000 cwnd 7 ssthresh lock 9 realms 3/4 rto_min 300ms initcwnd 11 initrwnd 12 "
    "features ecn quickack 1 congctl reno fastopen_no_cookie 1",
    "10.1.6.0/24 nexthop via 192.0.2.9 dev eth0 weight 2 "
    "nexthop via 198.51.100.9 dev eth1 weight 3 onlink realms 5",
    "blackhole 10.1.8.0/24",
    "unreachable 10.1.9.0/24 metric 7",
    "prohibit 10.1.10.0/24 table 100",
    "throw 10.1.11.0/24",
    "10.1.13.0/24 via 203.0.113.1 dev eth0 onlink",
    "default via 192.0.2.9 dev eth0 table 101",
    "0.0.0.0/0 gw 192.0.2.9 table 102",
    "10.1.15.0/24 encap ip id 5 dst 192.0.2.77 src 192.0.2.78 tos 4 ttl 9 dev eth0 scope link",
    "10.1.16.0/24 via 192.0.2.9 dev eth0 append",
    "10.1.17.0/24 via 192.0.2.9 dev eth0 add metric 5",
    "10.1.18.1 via 192.0.2.9 dev eth0",
    "10.1.19.0/24 dev eth1",
    "2001:db8:a::/48 via 2001:db8::9 dev eth0",
    "2001:db8:b::/48 dev eth1 metric 33 pref high",
    "2001:db8:c::/48 via 2001:db8::9 dev eth0 expires 1000 mtu 1400",
    "2001:db8:d::/48 nexthop via 2001:db8::9 dev eth0 weight 2 nexthop via 2001:db8::a dev eth0",
    "unreachable 2001:db8:10::/48",
    "blackhole 2001:db8:11::/48",
    "default6 via 2001:db8::9 dev eth0 table 104",
    "2001:db8:12::/48 encap ip6 id 7 dst 2001:db8::77 src 2001:db8::78 tc 4 hoplimit 9 dev eth0",
    "2001:db8:13::/48 via 2001:db8::9 dev eth0 features ecn initcwnd 20 hoplimit 20 congctl reno",
    "2001:db8:14::1 dev eth0",
    "src 2001:db8::100 2001:db8:15::/48 via 2001:db8::9 dev eth0",
    "prohibit 2001:db8:16::/48 metric 20",
    "2001:db8:17::/48 via 2001:db8::9 dev eth0 table 106 protocol bird no_track",
)
RULES = (
    "from 10.2.0.0/16 table 100 preference 1000",
    "to 10.2.1.0/24 lookup 101 preference 1001",
    "from 10.2.2.0/24 to 10.2.3.0/26 table 102 iif eth0 oif eth1 tos 0x10 fwmark 24/31 "
    "realms 30/20 preference 1002",
    "not from 10.2.4.0/24 table 100 priority 1003",
    "from 10.2.5.0/24 goto 1500 preference 1004",
    "from 10.2.6.0/24 blackhole preference 1005",
    "from 10.2.7.0/24 prohibit order 1006",
    "from 10.2.8.0/24 unreachable preference 1007",
    "from 10.2.9.0/24 nop preference 1008",
    "fwmark 5 table 100 suppress_prefixlength 8 preference 1009",
    "fwmark 6 table 100 suppress_ifgroup 4 preference 1010",
    "uidrange 1000-2000 table 100 preference 1011",
    "ipproto tcp sport 1000-2000 dport 80-81 table 100 preference 1012",
    "tunnel-id 9 table 100 preference 1014",
    "from 10.2.10.0/24 table 100 protocol 12 no_track preference 1015",
    "iif lo table 70000 preference 1016",
    "from 10.2.11.1 table 100 preference 1018",
    "from 10.2.5.0/24 table 100 preference 1500",
    "from 10.2.12.0/24 table 100",
    "from 10.2.13.0/24 table 100",
    "from 2001:db8:20::/48 table 104 preference 1020",
    "to 2001:db8:21::/48 iif eth0 table 105 tos 0x10 preference 1021",
    "from 2001:db8:22::/48 unreachable preference 1022",
    "from 2001:db8:23::/48 table 104",
    "from 2001:db8:24::/48 table 104 preference 1600",
)
DEFS = ("nftables_counters", "nftables_priority -5", "disable_local_igmp")
STATIC = (
    block(
        "static_ipaddress",
        "10.8.0.1/24 dev eth1 scope link",
        "2001:db8:8::1/64 dev eth1",
        "10.8.1.1/24 brd + dev eth1 label eth1:s",
    ),
    block(
        "static_routes",
        "10.8.2.0/24 via 10.8.0.9 dev eth1",
        "10.8.3.0/24 dev eth1 table 110",
        "2001:db8:80::/48 via 2001:db8:8::9 dev eth1",
        "blackhole 10.8.4.0/24",
    ),
    block(
        "static_rules",
        "from 10.8.0.0/24 table 110 preference 900",
        "from 10.8.5.0/24 table 110",
        "from 2001:db8:8::/64 table 110 preference 901",
    ),
)
# Preferences of the IPv6 rules that both install last.
LAST_STATIC, LAST_VIRTUAL = 901, 1600
# keepalived gives a route without gateway scope global; we do as iproute2 does.
LINK_SCOPE = {"scope": ("global", "link")}
STATIC_DIFFERENCES = {"route 4 110 unicast 10.8.3.0/24": LINK_SCOPE}
VIRTUAL_DIFFERENCES = {"route 4 main unicast 10.1.19.0/24": LINK_SCOPE}
# Valid for keepalived 2.2.7 by its manual, which loses or refuses them, with what they become here.
MORE_ROUTES = {
    "10.1.7.0/24 via 192.0.2.9 or 192.0.2.10 dev eth0": "route 4 main unicast 10.1.7.0/24",
    "10.1.12.0/24 via inet6 fe80::9 dev eth0": "route 4 main unicast 10.1.12.0/24",
    "local 10.1.14.0/24 dev lo table 103": "route 4 103 local 10.1.14.0/24",
    "inet6 default via 2001:db8::9 dev eth0 table 105": "route 6 105 unicast default",
}


def text(priority: int) -> str:
    virtual = (
        block("virtual_ipaddress_excluded", *EXCLUDED),
        block("virtual_routes", *ROUTES, *MORE_ROUTES),
        block("virtual_rules", *RULES),
    )
    router = instance(
        "no_accept", "promote_secondaries", *virtual, vips=ADDRESSES, priority=priority
    )
    return config(*STATIC, router, defs=DEFS)


def kernel(node: Node) -> Found:
    """Addresses, routes, rules and settings; a node's own addresses under common names."""
    own = {
        f'"{address(lan)}"': f'"own {name} {lan}"'
        for lan in (0, 1)
        for name, address in (("4", node.ipv4), ("6", node.ipv6), ("link", node.link_local))
    }
    return {**objects(node, own), **sysctls(node)}


def wait_rule(node: Node, preference: int) -> None:
    """Until everything up to this rule is installed."""

    def there() -> bool:
        rules = json.loads(node.run("ip", "-j", "-6", "rule"))
        return preference in [rule["priority"] for rule in rules]

    wait_for(there, 10, f"rule {preference} of {node.name}")


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Daemon]]:
    """A function that starts a daemon and waits for the last of what it installs."""
    started: dict[str, Daemon] = {}

    def run(kind: type[Daemon], node: Node, priority: int) -> Daemon:
        daemon = started.setdefault(kind.kind, kind(node, tmp_path / kind.kind))
        daemon.start(text(priority))
        daemon.wait_listening()
        wait_rule(node, LAST_STATIC)
        return daemon

    yield run
    for daemon in started.values():
        daemon.close()
        print(f"--- {daemon.kind}\n{daemon.log()}")


def test_the_kernel_looks_the_same(start: Callable[..., Daemon]) -> None:
    """Addresses with label, scope, broadcast, lifetimes and flags, routes with metrics, several
    ways, realms, tables, tunnels, rules with every selector, static objects, the settings of
    promote_secondaries and disable_local_igmp, what no_accept protects: equal as master, as backup
    and afterwards. Only our firewall protects the addresses as backup, too."""
    with Network(routers=2, clients=0, lans=2) as network:
        k, f = network["r1"], network["r2"]
        untouched = kernel(k)
        assert differences(untouched, kernel(f)) == {}

        keepalived = start(Keepalived, k, 150)
        wait_rule(k, LAST_VIRTUAL)
        fastvrrp = start(Fastvrrp, f, 100)
        theirs_master, our_backup = kernel(k), kernel(f)
        their_firewall = protected(k)

        assert keepalived.stop() == 0
        assert protected(k) == (set(), set())
        assert differences(kernel(k), untouched) == {}
        wait_rule(f, LAST_VIRTUAL)
        our_master = kernel(f)
        assert protected(f) == their_firewall
        assert their_firewall[0] == {("input", -5), ("output", -5)}

        keepalived = start(Keepalived, k, 50)
        theirs_backup = kernel(k)
        assert fastvrrp.stop() == 0
        assert protected(f) == (set(), set())
        assert differences(untouched, kernel(f)) == {}

    assert differences(theirs_backup, our_backup) == STATIC_DIFFERENCES
    found = differences(theirs_master, our_master)
    more = {name: found.pop(name) for name in MORE_ROUTES.values()}
    assert found == {**STATIC_DIFFERENCES, **VIRTUAL_DIFFERENCES}
    assert all(theirs is None and ours is not None for theirs, ours in more.values())


SINGLE = (
    config(
        instance(
            "use_vmac vi0",
            "use_vmac_addr",
            block("virtual_ipaddress_excluded", "2001:db8::100/64", "192.0.2.102/24 dev eth0"),
            vips=("192.0.2.100/24", "198.51.100.100/24 dev eth1"),
        ),
        defs=("vmac_addr_prefix va",),
    ),
    config(
        instance(vips=("192.0.2.100/24", "198.51.100.100/24 dev eth1 use_vmac")),
        instance("use_vmac", name="B", vrid=52, vips=("192.0.2.101/24",)),
        instance("use_vmac 02:00:00:00:aa", name="C", vrid=53, vips=("192.0.2.103/24",)),
        defs=("vmac_prefix vm",),
    ),
)


@pytest.mark.parametrize("configuration", SINGLE, ids=["use_vmac_addr", "use_vmac of addresses"])
def test_virtual_mac_addresses_of_single_addresses(configuration: str, tmp_path: Path) -> None:
    """Names with vmac_prefix and vmac_addr_prefix, MAC addresses (also of five octets), parents
    and what lies on each device are keepalived's."""

    def made(node: Node) -> dict[str, tuple[str, str, str, list[str]]]:
        own = {node.link_local(), node.link_local(1)}  # keepalived gives it to IPv6 devices
        return {
            link["ifname"]: (
                link["link"],
                link["address"],
                link["linkinfo"]["info_data"]["mode"],
                sorted(a["local"] for a in link["addr_info"] if a["local"] not in own),
            )
            for link in json.loads(node.run("ip", "-d", "-j", "addr", "show", "type", "macvlan"))
            if link
        }

    found = {}
    for kind in (Keepalived, Fastvrrp):
        with Network(routers=1, clients=0, lans=2) as network:
            node = network["r1"]
            daemon = kind(node, tmp_path / kind.kind)
            try:
                daemon.start(configuration)
                wait_for(
                    lambda node=node: [bool(one[3]) for one in made(node).values()] == [True] * 3,
                    10,
                    "three devices with addresses",
                )
                found[kind.kind] = made(node)
            finally:
                daemon.close()
                print(f"--- {kind.kind}\n{daemon.log()}")
    assert found["fastvrrp"] == found["keepalived"]
