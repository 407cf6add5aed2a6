"""use_vmac: a macvlan with the virtual MAC address carries adverts and addresses."""

from __future__ import annotations

import json
from typing import Any

import pytest
from netns_tools import BEAT_NS, World, now_ns

from fastvrrp.lab.network import wait_for
from keepalived_text import VIP, config, instance

pytestmark = pytest.mark.netns

MAC = "00:00:5e:00:01:33"  # of VRID 51, RFC 9568 7.3
MAC6 = "00:00:5e:00:02:33"


def device(world: World, name: str = "vrrp.51") -> dict[str, Any] | None:
    """What `ip -d addr` says about a link of the router; None when there is none."""
    for link in json.loads(world.router.run("ip", "-d", "-j", "addr", "show")):
        if link["ifname"] == name:
            return dict(link)
    return None


def setting(world: World, interface: str, name: str, family: int = 4) -> str:
    path = f"/proc/sys/net/ipv{family}/conf/{interface}/{name}"
    return world.router.run("cat", path).strip()


def sources(world: World, *, since_ns: int, vrid: int = 51) -> set[str]:
    """Ethernet sources of the router's adverts."""
    return {a.data[6:12].hex(":") for a in world.sniffer.adverts(vrid=vrid, since_ns=since_ns)}


def announced(world: World, vip: str, *, since_ns: int = 0) -> set[tuple[str, str]]:
    """Ethernet source, and hardware address told, of the announcements of an address."""
    found = world.sniffer.announcements(vip, since_ns=since_ns)
    return {(a.data[6:12].hex(":"), a.mac) for a in found}


def test_a_whole_life(world: World) -> None:
    """RFC 9568 7.3, 8.1.2: adverts, gratuitous ARP and answers come from the virtual MAC address;
    a deleted device is made again; at the end all is as it was."""
    before = {name: setting(world, "eth0", name) for name in ("arp_ignore", "arp_filter")}
    begin = now_ns()
    world.start(config(instance("use_vmac")))
    world.await_adverts(3)
    link = device(world)
    assert link is not None
    assert (link["address"], link["link"], link["group"]) == (MAC, "eth0", "default")
    assert link["linkinfo"]["info_kind"] == "macvlan"
    assert link["linkinfo"]["info_data"]["mode"] == "private"
    assert [a["local"] for a in link["addr_info"]] == [VIP]
    assert setting(world, "eth0", "arp_ignore") == setting(world, "eth0", "arp_filter") == "1"
    wanted = {"arp_ignore": "1", "accept_local": "1", "rp_filter": "0", "promote_secondaries": "1"}
    assert {name: setting(world, "vrrp.51", name) for name in wanted} == wanted
    assert sources(world, since_ns=begin) == {MAC}
    assert {a.source for a in world.sniffer.adverts(vrid=51)} == {world.router.ipv4()}
    assert announced(world, VIP) == {(MAC, MAC)}
    world.client.run("ping", "-c", "1", "-W", "2", VIP)
    (neighbour,) = json.loads(world.client.run("ip", "-j", "neigh", "show", VIP))
    assert neighbour["lladdr"] == MAC

    world.router.delete_link("vrrp.51")
    again = now_ns()
    world.sniffer.wait_advert(vrid=51, port="r1-0", since_ns=again)
    wait_for(lambda: (world.shown(VIP) or {}).get("dev") == "vrrp.51", 5, "the address is back")
    assert sources(world, since_ns=again) == {MAC}

    world.router.delete_link("eth0")
    wait_for(lambda: device(world) is None, 2, "the kernel takes the device with its parent")
    world.network.attach("r1", 0)
    back = now_ns()
    world.sniffer.wait_advert(vrid=51, port="r1-0", since_ns=back)
    assert sources(world, since_ns=back) == {MAC}

    assert world.daemon.stop() == 0
    assert device(world) is None
    assert {name: setting(world, "eth0", name) for name in before} == before
    assert "traceback" not in world.daemon.log().lower()


def test_the_mtu_follows_the_parent_s(world: World) -> None:
    """The kernel only ever lowers it. Below 1280 it takes IPv6 off the device, for good: a master
    would have no addresses there."""
    vips = ("fe80::100/64", "2001:db8::100/64")
    world.start(config(instance("use_vmac"), instance("use_vmac", name="V6", vrid=52, vips=vips)))
    world.network.wait_holder(vips[1].partition("/")[0], "r1")

    def shown(name: str) -> tuple[object, ...]:
        link = device(world, name) or {}
        return link.get("mtu"), "UP" in link.get("flags", ())

    for low in (1400, 1000):
        world.router.run("ip", "link", "set", "eth0", "mtu", str(low))
        wait_for(lambda low=low: shown("vrrp.51")[0] == low, 5, "a small MTU")
        world.router.run("ip", "link", "set", "eth0", "mtu", "1500")
        for name in ("vrrp.51", "vrrp.52"):
            wait_for(lambda name=name: shown(name) == (1500, True), 5, f"MTU of {name}")
        for vip in (VIP, *(text.partition("/")[0] for text in vips)):
            world.network.wait_holder(vip, "r1")
        addresses = [a["local"] for a in (device(world, "vrrp.52") or {})["addr_info"]]
        assert sorted(addresses) == ["2001:db8::100", "fe80::100"]
        assert setting(world, "vrrp.51", "disable_ipv6", 6) == "1"
        assert setting(world, "vrrp.52", "accept_ra", 6) == "0"
    world.router.run("ip", "link", "set", "eth0", "mtu", "2000")
    wait_for(lambda: shown("vrrp.51") == (2000, True), 5, "a large MTU")


def test_a_parent_that_is_renamed_takes_no_settings_along(world: World) -> None:
    """They are those of the interface that the configuration names, and restored on the other, also
    when a reload follows it."""
    names = ("arp_ignore", "arp_filter", "arp_announce")

    def settings(interface: str) -> list[str]:
        return [setting(world, interface, name) for name in names]

    before = settings("eth0")
    ours = ["1", "1", "2"]
    world.start(config(instance("use_vmac")))
    assert settings("eth0") == ours
    world.router.rename_link("eth0", "other0")
    wait_for(lambda: settings("other0") == before, 5, "the old values")
    world.router.rename_link("other0", "eth0")
    wait_for(lambda: settings("eth0") == ours, 5, "our values")
    world.network.wait_holder(VIP, "r1")

    world.router.rename_link("eth0", "other0")
    world.daemon.reload(config(instance("use_vmac", interface="other0")))
    wait_for(lambda: "other0" in json.dumps(device(world)), 5, "a device on other0")
    world.network.wait_holder(VIP, "r1")
    assert settings("other0") == ours
    assert world.daemon.stop() == 0
    assert settings("other0") == before


@pytest.mark.timing
def test_ipv6_and_reloads(world: World) -> None:
    """RFC 9568 7.4: no address is derived from the virtual MAC address. What a reload does not
    change misses no advert; devices come and go with the instances."""
    six = instance("use_vmac", name="SIX", vips=("fe80::100/64", "2001:db8::100/64"))
    other = instance("use_vmac", "vmac_xmit_base", name="B", vrid=52, vips=("192.0.2.152/24",))
    world.daemon.start(config(six))
    world.network.wait_holder("2001:db8::100", "r1")
    world.await_adverts(3)
    link = device(world)
    assert link is not None
    assert link["address"] == MAC6
    assert setting(world, "vrrp.51", "addr_gen_mode", 6) == "1"  # IN6_ADDR_GEN_MODE_NONE
    assert {a["local"] for a in link["addr_info"]} == {"fe80::100", "2001:db8::100"}
    assert setting(world, "vrrp.51", "accept_ra", 6) == "0"
    assert sources(world, since_ns=0) == {MAC6}
    assert {a.source for a in world.sniffer.adverts(vrid=51)} == {world.router.link_local()}
    assert announced(world, "2001:db8::100") == {(MAC6, MAC6)}
    world.client.run("ping", "-c", "1", "-W", "2", "2001:db8::100")
    assert "ff02::1:ff00:100" in world.router.run("ip", "maddr", "show", "dev", "eth0")

    begin = now_ns()
    world.daemon.reload(config(six, other))
    world.network.wait_holder("192.0.2.152", "r1")
    world.await_adverts(2, vrid=52)
    assert sources(world, since_ns=0, vrid=52) == {world.router.mac()}
    assert announced(world, "192.0.2.152") == {("00:00:5e:00:01:34", "00:00:5e:00:01:34")}
    world.daemon.reload(config(six))
    wait_for(lambda: device(world, "vrrp.52") is None, 5, "the device goes")
    world.await_adverts(3)
    assert {a.priority for a in world.sniffer.adverts(vrid=51, since_ns=begin)} == {100}
    assert (device(world) or {})["ifindex"] == link["ifindex"]
    assert world.gap_ns(vrid=51, since_ns=begin) < BEAT_NS
