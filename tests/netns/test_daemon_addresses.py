"""The daemon and the kernel's addresses, routes and rules: what appears, returns and goes."""

from __future__ import annotations

import json
import os
import signal

import pytest
from netns_tools import ALLOWANCE_NS, BEAT_NS, MS, World, now_ns

from fastvrrp.lab.daemons import process_tree
from fastvrrp.lab.network import wait_for
from fastvrrp.lab.probe import Prober
from keepalived_text import VIP, block, config, instance

pytestmark = pytest.mark.netns

NS = 1_000_000_000
RETURN_NS = 100 * MS  # what is taken away is put back within


def test_options_of_addresses(world: World) -> None:
    """virtual_ipaddress with prefix, device, label, scope, broadcast; _excluded ones are held
    but not advertised (keepalived)."""
    vips = (
        f"{VIP}/25 brd 192.0.2.127 dev eth0 label eth0:vip",
        "198.51.100.100/32 dev eth1 scope link",
    )
    excluded = block("virtual_ipaddress_excluded", "192.0.2.101/24", "2001:db8::101/64 dev eth1")
    world.start(config(instance(excluded, vips=vips)))
    wait_for(lambda: world.shown("2001:db8::101"), 5, "all addresses")
    first = world.shown(VIP)
    assert first is not None
    assert (first["prefixlen"], first["dev"], first["label"]) == (25, "eth0", "eth0:vip")
    assert first["broadcast"] == "192.0.2.127"
    second = world.shown("198.51.100.100")
    assert second is not None
    assert (second["prefixlen"], second["dev"], second["scope"]) == (32, "eth1", "link")
    plain = world.shown("192.0.2.101")
    assert plain is not None
    assert (plain["prefixlen"], plain["dev"], plain["scope"]) == (24, "eth0", "global")
    six = world.shown("2001:db8::101")
    assert six is not None
    assert (six["prefixlen"], six["dev"]) == (64, "eth1")
    assert "tentative" not in six
    world.await_adverts(1)
    assert world.sniffer.adverts(vrid=51)[-1].addresses == (VIP, "198.51.100.100")

    assert world.daemon.stop() == 0
    for address in (VIP, "198.51.100.100", "192.0.2.101", "2001:db8::101"):
        assert world.shown(address) is None


def test_stop_says_goodbye_once(world: World) -> None:
    """RFC 9568 6.4.3 Shutdown: one advert with priority 0, addresses removed, exit status 0."""
    world.start(config(instance(priority=100)))
    stop = now_ns()
    assert world.daemon.stop() == 0
    after = world.sniffer.adverts(vrid=51, since_ns=stop)
    assert [a.priority for a in after if a.priority == 0] == [0]
    assert after[-1].priority == 0
    assert world.shown(VIP) is None


def await_return(world: World, address: str, since_ns: int) -> int:
    """When an address was given to the router again."""

    def moments() -> list[int]:
        events = world.addresses.events(address)
        return [e.time_ns for e in events if e.added and e.time_ns >= since_ns]

    wait_for(moments, 2, f"{address} returns")
    return moments()[0]


@pytest.mark.timing
def test_deleted_address_comes_back(world: World) -> None:
    """An address that somebody deletes is put back within 100 ms and announced; the router stays
    master all the time."""
    world.start(config(instance()))
    world.await_adverts(2)
    begin = now_ns()
    world.router.delete_address(VIP, 24)
    assert world.soon(begin, await_return(world, VIP, begin), RETURN_NS)
    wait_for(lambda: world.sniffer.announcements(VIP, since_ns=begin), 2, "a gratuitous ARP")
    world.await_adverts(2)
    assert all(a.priority for a in world.sniffer.adverts(vrid=51, since_ns=begin))
    assert world.gap_ns(vrid=51, since_ns=begin) < BEAT_NS


@pytest.mark.timing
def test_deleted_ipv6_address_comes_back(world: World) -> None:
    vips = ("fe80::100/64", "2001:db8::100/64")
    world.daemon.start(config(instance(vips=vips)))
    world.network.wait_holder("2001:db8::100", "r1")
    begin = now_ns()
    world.router.delete_address("2001:db8::100", 64)
    assert world.soon(begin, await_return(world, "2001:db8::100", begin), RETURN_NS)


def test_leftovers_of_a_crash_are_removed(world: World) -> None:
    """After kill -9 of everything the next start removes what had been left, before it is master
    again, and nothing else."""
    world.start(config(instance()))
    world.daemon.kill()
    assert world.shown(VIP) is not None
    world.router.addr("add", index=world.router.index("eth0"), address="192.0.2.55", prefixlen=24)
    # With this interval it could not be master before half a minute has passed.
    world.start(config(instance(advert_int=10)), vip=None)
    wait_for(lambda: world.shown(VIP) is None, 3, "the leftover goes")
    assert world.shown("192.0.2.55") is not None
    assert world.shown(world.router.ipv4()) is not None


@pytest.mark.timing
def test_death_of_the_vrrp_process(world: World) -> None:
    """The supervisor cleans up at once after its child: priority 0, address removed; then a new
    child takes over again."""
    world.start(config(instance(priority=150)))
    child = process_tree(world.daemon.pid)[-1]
    assert child != world.daemon.pid
    begin = now_ns()
    os.kill(child, signal.SIGKILL)
    goodbye = world.sniffer.wait_advert(vrid=51, port="r1-0", priority=0, since_ns=begin)
    assert world.soon(begin, goodbye.time_ns, 150 * MS)
    wait_for(lambda: [e for e in world.addresses.events(VIP) if not e.added], 2, "the address goes")
    again = world.sniffer.wait_advert(vrid=51, port="r1-0", priority=150, since_ns=begin)
    assert again.time_ns - begin < 5 * NS
    world.network.wait_holder(VIP, "r1")
    assert world.daemon.alive


def test_routes_and_rules(world: World) -> None:
    """virtual_routes and virtual_rules come with mastership and go with it (keepalived)."""
    routes = block(
        "virtual_routes",
        "203.0.113.0/24 via 192.0.2.2 dev eth0 table 100 metric 7",
        f"default via 198.51.100.2 dev eth1 src {VIP} table 101",
        "blackhole 203.0.113.128/25",
    )
    rules = block("virtual_rules", "from 192.0.2.64/26 table 100 preference 500")
    world.start(config(instance(routes, rules)))

    def table(number: str) -> list[dict[str, object]]:
        return list(
            json.loads(world.router.run("ip", "-j", "route", "show", "table", number) or "[]")
        )

    def rule() -> list[dict[str, object]]:
        shown = json.loads(world.router.run("ip", "-j", "rule", "show"))
        return [r for r in shown if r["priority"] == 500]

    wait_for(lambda: rule() and table("101"), 2, "routes and rules")
    (route,) = table("100")
    assert (route["dst"], route["gateway"], route["metric"]) == (
        "203.0.113.0/24",
        "192.0.2.2",
        7,
    )
    (default,) = table("101")
    assert (default["dst"], default["prefsrc"], default["dev"]) == ("default", VIP, "eth1")
    assert [r["dst"] for r in table("main") if r.get("type") == "blackhole"] == ["203.0.113.128/25"]
    assert (rule()[0]["src"], rule()[0]["table"]) == ("192.0.2.64", "100")

    assert world.daemon.stop() == 0
    assert rule() == []
    assert "203.0.113" not in world.router.run("ip", "route", "show", "table", "all")


def test_no_accept(world: World) -> None:
    """RFC 9568 6.1 Accept_Mode false: the address resolves, packets to it are dropped; in front
    of the router's own address nothing changes."""
    world.start(config(instance("no_accept")))
    with (
        Prober(world.client, VIP) as virtual,
        Prober(world.client, world.router.ipv4()) as own,
    ):
        wait_for(lambda: len(own.answers()) > 20, 5, "answers of the router itself")
        assert virtual.answers() == []
    neighbours = json.loads(world.client.run("ip", "-j", "neigh", "show", VIP))
    assert neighbours[0]["lladdr"] == world.router.mac()
    assert world.daemon.stop() == 0
    assert VIP not in world.router.run("nft", "list", "ruleset")


def test_no_accept_survives_a_restart_of_nftables(world: World) -> None:
    """Which flushes everybody's tables; whoever flushes only our rules is no better."""
    world.start(config(instance("no_accept")))
    nft = ("nft", "list", "table", "inet", "fastvrrp")

    def is_complete() -> bool:
        shown = world.router.run(*nft, check=False)
        return VIP in shown and "ip daddr @vips4 drop" in shown and "ip saddr @vips4 drop" in shown

    assert is_complete()
    for command in ("flush ruleset", "flush table inet fastvrrp", "delete table inet fastvrrp"):
        world.router.run("nft", command)
        wait_for(is_complete, 5, f"the table after {command}")
    assert "somebody else changed the nftables table" in world.daemon.log()
    assert world.daemon.stop() == 0
    assert world.router.run("nft", "list", "ruleset") == ""


@pytest.mark.timing
def test_garp_settings(world: World) -> None:
    """garp_master_repeat, _delay, _refresh and _refresh_repeat count as configured (keepalived)."""
    settings = (
        "garp_master_repeat 2",
        "garp_master_delay 1",
        "garp_master_refresh 2",
        "garp_master_refresh_repeat 3",
    )
    begin = now_ns()
    world.start(config(instance(*settings)))
    master = world.sniffer.wait_advert(vrid=51, port="r1-0", since_ns=begin).time_ns
    wait_for(lambda: len(world.sniffer.announcements(VIP)) >= 10, 8, "four bursts")
    found = [a.time_ns for a in world.sniffer.announcements(VIP)]
    assert world.soon(master, found[1], ALLOWANCE_NS)
    for due_s, burst in ((1, found[2:4]), (2, found[4:7]), (4, found[7:])):
        due = found[0] + due_s * NS
        assert due - 2 * MS < burst[0]
        assert world.soon(due, burst[-1], ALLOWANCE_NS)
    assert len(found) == 10
