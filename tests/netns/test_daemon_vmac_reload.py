"""use_vmac and reloads: a virtual MAC device that comes, goes, gets another name or MAC address."""

from __future__ import annotations

import json
from typing import NamedTuple

import pytest
from netns_tools import BEAT_NS, World, now_ns

from fastvrrp.lab.daemons import Keepalived
from fastvrrp.lab.network import wait_for
from keepalived_text import VIP, config, instance

pytestmark = pytest.mark.netns

RFC_MAC = "00:00:5e:00:01:33"  # of VRID 51, RFC 9568 7.3
OWN_MAC = "02:00:00:00:aa:51"
SOON_S = 20.0  # a reload is not measured here
VIP1 = "198.51.100.100"  # in the second LAN


def macvlans(world: World) -> dict[str, str]:
    """MAC addresses of the router's macvlans by name."""
    links = json.loads(world.router.run("ip", "-j", "link", "show", "type", "macvlan"))
    return {link["ifname"]: link["address"] for link in links if link}


def holders(world: World, vip: str) -> list[str]:
    """Interfaces of the router that have an address."""
    links = json.loads(world.router.run("ip", "-j", "addr", "show"))
    return [a["ifname"] for a in links for info in a["addr_info"] if info["local"] == vip]


class Step(NamedTuple):
    """A reload, and what is to be there afterwards."""

    lines: tuple[str, ...]
    device: str  # with the address
    mac: str  # of the address; "": the interface's own
    source: str = ""  # Ethernet source of the adverts, if it is not this


STEPS = (
    Step(("use_vmac vip0",), "vip0", RFC_MAC),
    Step((f"use_vmac vip0 {OWN_MAC}",), "vip0", OWN_MAC),
    Step((f"use_vmac {OWN_MAC}", "vmac_xmit_base"), "vrrp.51", OWN_MAC, "parent"),
    Step(("use_vmac", "vmac_xmit_base"), "vrrp.51", RFC_MAC, "parent"),
    Step((), "eth0", ""),
    Step(("use_vmac vip1",), "vip1", RFC_MAC),
    Step((f"use_vmac vip2 {OWN_MAC}",), "vip2", OWN_MAC),
    Step(("use_vmac",), "vrrp.51", RFC_MAC),
)


@pytest.mark.timing
@pytest.mark.parametrize("threads", [1, 2])
def test_a_master_stays_master(world: World, threads: int) -> None:
    """Whatever a reload does to the device: no advert is missed, none says priority 0, the address
    is in one place, hosts learn its MAC address, and nothing is left of the device that was."""
    defs = (f"vrrp_engine_threads {threads}",)
    other = instance(name="B", interface="eth1", vrid=52, vips=(f"{VIP1}/24",))
    start = config(instance("use_vmac"), other, defs=defs)
    world.start(start)
    world.await_adverts(3)
    begin = now_ns()
    for step in STEPS:
        mac = step.mac or world.router.mac()
        changed = now_ns()
        world.daemon.reload(config(instance(*step.lines), other, defs=defs))
        wanted = {step.device: step.mac} if step.mac else {}
        wait_for(lambda wanted=wanted: macvlans(world) == wanted, SOON_S, f"{step}: the device")
        wait_for(lambda at=step.device: holders(world, VIP) == [at], SOON_S, f"{step}: the address")
        wait_for(
            lambda mac=mac, since=changed: (
                mac in {a.mac for a in world.sniffer.announcements(VIP, since_ns=since)}
            ),
            SOON_S,
            f"{step}: hosts are told of the MAC address",
        )
        settled = now_ns()
        world.await_adverts(2, since_ns=settled)
        sent = world.sniffer.adverts(vrid=51, since_ns=settled)
        source = world.router.mac() if step.source == "parent" else mac
        assert {a.data[6:12].hex(":") for a in sent} == {source}, step
        world.client.run("ip", "neigh", "flush", "all")
        world.client.run("ping", "-c", "1", "-W", "2", VIP)
        (neighbour,) = json.loads(world.client.run("ip", "-j", "neigh", "show", VIP))
        assert neighbour["lladdr"] == mac, step
    everything = world.sniffer.adverts(vrid=51, since_ns=begin)
    assert {a.priority for a in everything} == {100}
    assert world.gap_ns(vrid=51, since_ns=begin) < BEAT_NS
    assert world.gap_ns(vrid=52, since_ns=begin) < BEAT_NS
    assert world.daemon.log().count("(VI) Entering MASTER STATE") == 1
    assert world.daemon.stop() == 0
    assert macvlans(world) == {}
    assert holders(world, VIP) == []


def test_settings_of_a_device_that_stays(world: World) -> None:
    """A reload gives it another link group; the device of a parent that gets another name stays;
    one that was killed together with its daemon is taken over; what was there before stays."""

    def shown(name: str) -> dict[str, str | int]:
        (link,) = json.loads(world.router.run("ip", "-j", "link", "show", "dev", name))
        return {field: link[field] for field in ("ifindex", "group", "address", "link")}

    world.start(config(instance("use_vmac")))
    first = shown("vrrp.51")
    assert first["group"] == "default"
    world.daemon.reload(config(instance("use_vmac group 7")))
    wait_for(lambda: shown("vrrp.51") == {**first, "group": "7"}, SOON_S, "the group")

    world.router.rename_link("eth0", "lan0")
    wait_for(lambda: holders(world, VIP) == [], SOON_S, "FAULT: there is no eth0")
    begin = now_ns()
    world.daemon.reload(config(instance("use_vmac", interface="lan0")))
    world.sniffer.wait_advert(vrid=51, port="r1-0", since_ns=begin)
    wait_for(lambda: holders(world, VIP) == ["vrrp.51"], SOON_S, "the address")
    assert shown("vrrp.51")["link"] == "lan0"

    world.daemon.kill()
    assert holders(world, VIP) == ["vrrp.51"]
    world.router.run("ip", "link", "add", "vip1", "link", "eth1", "type", "macvlan")
    world.router.run("ip", "link", "set", "vip1", "address", "00:00:5e:00:01:34")
    other = instance("use_vmac vip1", name="B", interface="eth1", vrid=52, vips=(f"{VIP1}/24",))
    world.start(config(instance("use_vmac", interface="lan0"), other))
    wait_for(
        lambda: holders(world, VIP1) == ["vip1"], SOON_S, "the address on the device of others"
    )
    assert macvlans(world) == {"vrrp.51": RFC_MAC, "vip1": "00:00:5e:00:01:34"}
    world.await_adverts(2)
    world.await_adverts(2, vrid=52)
    assert world.daemon.stop() == 0
    assert macvlans(world) == {"vip1": "00:00:5e:00:01:34"}
    assert holders(world, VIP1) == []
    assert "traceback" not in world.daemon.log().lower()


def test_what_a_killed_keepalived_left(world: World) -> None:
    """Its device, with the address, is replaced and goes at the stop: on a backup it would answer
    for the address."""
    text = config(instance("use_vmac"))
    keepalived = Keepalived(world.router, world.directory / "keepalived")
    try:
        keepalived.start(text)
        world.network.wait_holder(VIP, "r1")
        keepalived.kill()
    finally:
        keepalived.close()
    assert holders(world, VIP) == ["vrrp.51"]
    (left,) = json.loads(world.router.run("ip", "-j", "link", "show", "dev", "vrrp.51"))
    world.start(text)
    world.await_adverts(2)
    (made,) = json.loads(world.router.run("ip", "-j", "link", "show", "dev", "vrrp.51"))
    assert made["ifindex"] != left["ifindex"]
    assert made["address"] == RFC_MAC
    assert holders(world, VIP) == ["vrrp.51"]
    assert world.daemon.stop() == 0
    assert macvlans(world) == {}
    assert holders(world, VIP) == []
