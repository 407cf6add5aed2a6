"""Interfaces that fail, vanish, are renamed, are born late, change their address."""

from __future__ import annotations

import time

import pytest
from netns_tools import BEAT_NS, World, now_ns

from fastvrrp.lab.network import wait_for
from keepalived_text import VIP, config, instance

pytestmark = pytest.mark.netns


def test_interface_down_and_up(world: World) -> None:
    """Administratively down is FAULT; up again, and the router is master again."""
    world.start(config(instance()))
    world.router.set_link("eth0", "down")
    world.silent(0.6)
    back = now_ns()
    world.router.set_link("eth0", "up")
    world.sniffer.wait_advert(vrid=51, port="r1-0", since_ns=back)
    world.network.wait_holder(VIP, "r1")


def test_interface_without_multicast(world: World) -> None:
    """`ip link set ... multicast off`: a router that hears nobody must not be master. It is in
    FAULT, says why, and is back as soon as there is multicast; unicast peers need none."""
    peer = f"unicast_peer {{\n{world.network['r2'].ipv4()}\n}}"
    unicast = instance(peer, name="U", vrid=52, vips=("192.0.2.101/24",))
    world.router.run("ip", "link", "set", "eth0", "multicast", "off")
    world.start(config(instance(), unicast), vip="192.0.2.101")
    assert "Fault: interface without multicast" in world.daemon.log()
    world.silent(0.6)
    world.router.run("ip", "link", "set", "eth0", "multicast", "on")
    world.network.wait_holder(VIP, "r1")
    world.await_adverts(3)
    world.router.run("ip", "link", "set", "eth0", "multicast", "off")
    wait_for(lambda: world.shown(VIP) is None, 2, "the router gives up")
    assert world.shown("192.0.2.101") is not None


def test_interface_vanishes_and_returns(world: World) -> None:
    """A deleted interface that is made again under its name is served again, with a new index."""
    world.start(config(instance()))
    before = world.router.index("eth0")
    world.router.delete_link("eth0")
    time.sleep(0.5)
    assert world.daemon.alive
    world.network.attach("r1", 0)
    assert world.router.index("eth0") != before
    world.network.wait_holder(VIP, "r1", timeout_s=5)
    world.await_adverts(3)


def test_interface_is_renamed_away_and_back(world: World) -> None:
    """The configuration names an interface: under another name it is not ours."""
    world.start(config(instance()))
    world.router.rename_link("eth0", "other0")
    wait_for(lambda: world.shown(VIP) is None, 2, "the address goes")
    time.sleep(0.2)  # it may say goodbye
    world.silent(0.6)
    world.router.rename_link("other0", "eth0")
    world.network.wait_holder(VIP, "r1", timeout_s=5)
    world.await_adverts(3)


@pytest.mark.timing
def test_interface_is_born_after_the_start(world: World) -> None:
    """No interface at the start: the instance waits in FAULT and begins when there is one."""
    world.router.delete_link("eth0")
    elsewhere = instance(name="ELSEWHERE", interface="eth1", vrid=52, vips=("198.51.100.100/24",))
    world.start(config(instance(), elsewhere), vip="198.51.100.100")
    world.network.attach("r1", 0)
    world.network.wait_holder(VIP, "r1", timeout_s=5)
    world.await_adverts(3)
    assert world.gap_ns(vrid=52, since_ns=0) < BEAT_NS


def test_source_address_goes_and_returns(world: World) -> None:
    """Without a usable source nothing can be sent (RFC 9568 5.1.1.1); a new one is used at once
    (RFC 9568 7.2)."""
    world.start(config(instance()))
    world.await_adverts(2)
    own = world.router.ipv4()
    assert world.sniffer.adverts(vrid=51)[-1].source == own
    index = world.router.index("eth0")
    world.router.addr("del", index=index, address=own, prefixlen=24)
    wait_for(lambda: world.shown(VIP) is None, 2, "the router gives up")
    world.silent(0.5)
    world.router.addr("add", index=index, address="192.0.2.77", prefixlen=24)
    begin = now_ns()
    world.network.wait_holder(VIP, "r1", timeout_s=5)
    world.await_adverts(3, since_ns=begin)
    assert {a.source for a in world.sniffer.adverts(vrid=51, since_ns=begin)} == {"192.0.2.77"}


def test_virtual_address_is_never_the_source(world: World) -> None:
    """keepalived: virtual addresses are not used as source, even as the first on the link."""
    world.start(config(instance(vips=(f"{VIP}/24", "192.0.2.101/24"))))
    index = world.router.index("eth0")
    world.router.addr("del", index=index, address=world.router.ipv4(), prefixlen=24)
    wait_for(lambda: "Entering FAULT STATE" in world.daemon.log(), 5, "it is noticed")
    world.silent(0.6)
    sources = {a.source for a in world.sniffer.adverts(vrid=51)}
    assert sources == {world.router.ipv4()}


@pytest.mark.timing
def test_many_flaps_end_well(world: World) -> None:
    """A storm of link events ends in the right state."""
    world.start(config(instance()))
    for _ in range(40):
        world.router.set_link("eth0", "down")
        world.router.set_link("eth0", "up")
    world.network.wait_holder(VIP, "r1", timeout_s=5)
    begin = now_ns()
    world.await_adverts(5, since_ns=begin)
    assert world.gap_ns(vrid=51, since_ns=begin) < BEAT_NS
    assert world.daemon.alive


def test_interface_fails_before_the_start(world: World) -> None:
    """RFC 9568 behaviour of Initialize: down at the start, the instance begins when it is up."""
    world.router.set_link("eth0", "down")
    other = instance(name="OTHER", interface="eth1", vrid=52, vips=("198.51.100.100/24",))
    world.start(config(instance(), other), vip="198.51.100.100")
    world.router.set_link("eth0", "up")
    wait_for(lambda: world.shown(VIP), 5, "the address appears")
