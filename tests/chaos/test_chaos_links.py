"""Interfaces and addresses that fail, flap, vanish, return as others, or are somebody else's."""

from __future__ import annotations

import json
import time

import pytest
from chaos_frames import Forged
from chaos_scene import ATTACKER, BEAT_NS, MS, VIPS_V6, Chaos, many, now_ns

from fastvrrp.lab.network import wait_for
from keepalived_text import VIP, config, instance

pytestmark = pytest.mark.netns

V6 = instance(name="V6", vips=("fe80::100/64", "2001:db8::100/64"))


def start_both(chaos: Chaos) -> None:
    """An IPv4 and an IPv6 master."""
    chaos.start("r1", config(instance(), V6), holds=VIP)
    wait_both(chaos)


def wait_both(chaos: Chaos) -> None:
    wait_for(lambda: {VIP, *VIPS_V6} <= chaos["r1"].addresses("eth0"), 10, "both hold all")


def yields(chaos: Chaos) -> None:
    """Let a superior router appear for a moment, so that r1 gives its IPv4 address up."""
    chaos.forge(*[Forged(ATTACKER, priority=200, interval=30)] * 2)
    wait_for(lambda: VIP not in chaos["r1"].addresses(), 3, "the address is given up")


def test_99_storm_of_flaps(lone: Chaos) -> None:
    """255 virtual routers, 100 flaps: they end as masters with their addresses, and announced; the
    log tells of the storm, not of every change in it."""
    lone.start_many("r1", config(*many(255)), 255)
    lone["r1"].run(
        "sh", "-c", "for i in $(seq 100); do ip link set eth0 down; ip link set eth0 up; done"
    )
    calm = now_ns()
    wait_for(lambda: len(lone.ears["r1"].announcements(calm)) == 255, 10, "all are announced")
    firsts = {a.vrid: a.time_ns for a in reversed(lone.ears["r1"].all_adverts(calm))}
    print(
        f"a storm of flaps: the last advertises {(max(firsts.values()) - calm) / MS:.0f} ms later"
    )
    wait_for(
        lambda: {one["state"] for one in lone.instances("r1").values()} == {"MASTER"},
        10,
        "all are known to be masters",
    )
    assert lone.held("r1") == 255
    wait_for(
        lambda: sum("not logged" in line and "MASTER" in line for line in lone.log("r1")) == 255,
        10,
        "the last state of each is told",
    )
    assert len(lone.log("r1")) < 255 * 40
    assert lone.engine("r1")["actions_lost"] == 0


def test_ipv6_is_taken_off_and_put_back(lone: Chaos) -> None:
    """Below an MTU of 1280 the kernel drops IPv6 and the multicast groups; it restores one."""
    start_both(lone)
    lone["r1"].run("sh", "-c", "ip link set eth0 mtu 1000; ip link set eth0 mtu 1500")
    time.sleep(0.3)
    wait_both(lone)
    assert lone.hears("r1", "V6", 6)
    assert lone.hears("r1")


def test_another_interface_with_the_old_index(lone: Chaos) -> None:
    """Containers are given indexes: the sockets live on, and would hear nothing any more."""
    start_both(lone)
    node, switch = lone["r1"], lone["switch"]
    index = node.index("eth0")
    node.delete_link("eth0")
    end = {"ifname": "r1-0", "net_ns_pid": switch.thread_id}
    mac = "02:00:5e:00:00:77"
    node.link("add", ifname="eth0", kind="veth", index=index, address=mac, peer=end)
    switch.link("set", index=switch.index("r1-0"), master=switch.index("lan0"), state="up")
    node.link("set", index=index, state="up")
    node.addr("add", index=index, address=node.ipv4(), prefixlen=24)
    wait_both(lone)
    assert lone.hears("r1")
    assert lone.hears("r1", "V6", 6)


def test_a_stay_in_another_namespace(lone: Chaos) -> None:
    start_both(lone)
    node, away = lone["r1"], lone["c1"]
    node.run("ip", "link", "set", "eth0", "name", "away0", "netns", str(away.thread_id))
    wait_for(lambda: lone.state("r1") == "FAULT", 5, "it is missed")
    away.run("ip", "link", "set", "away0", "name", "eth0", "netns", str(node.thread_id))
    node.set_link("eth0", "up")
    node.addr("add", index=node.index("eth0"), address=node.ipv4(), prefixlen=24)
    wait_both(lone)
    assert lone.hears("r1")
    assert lone.hears("r1", "V6", 6)


def test_renamed_in_a_loop(lone: Chaos) -> None:
    start_both(lone)
    for _ in range(20):
        lone["r1"].rename_link("eth0", "other0")
        lone["r1"].rename_link("other0", "eth0")
    wait_both(lone)
    assert lone.hears("r1")


def test_a_live_rename_says_goodbye(lone: Chaos) -> None:
    """Renamed away while up, the interface is no longer ours; the others need not wait."""
    lone.start("r1", config(instance()), holds=VIP)
    begin = now_ns()
    done = lone["r1"].run("sh", "-c", "ip link set eth0 name other0 && echo renamed", check=False)
    if "renamed" not in done:
        pytest.skip("this kernel renames no interface that is up (since Linux 6.2)")
    wait_for(lambda: VIP not in lone["r1"].addresses(), 3, "the address goes")

    def last_words() -> list[int]:
        return [a.priority for a in lone.ears["r1"].adverts(since_ns=begin)][-1:]

    wait_for(lambda: last_words() == [0], 3, "goodbye is the last word")


def test_a_new_hardware_address_is_announced(lone: Chaos) -> None:
    start_both(lone)
    begin = now_ns()
    lone["r1"].link("set", index=lone["r1"].index("eth0"), address="02:00:5e:00:00:78")
    wait_for(lambda: {VIP, *VIPS_V6} <= lone.ears["r1"].announcements(begin).keys(), 3, "announced")


def test_07_link_local_goes_and_another_comes(lone: Chaos) -> None:
    lone.start("r1", config(V6), family=6)
    wait_for(lambda: set(VIPS_V6) <= lone["r1"].addresses(), 10, "master")
    lone["r1"].delete_address(lone["r1"].link_local(), 64)
    wait_for(lambda: lone.state("r1", "V6") == "FAULT", 3, "nothing to send from")
    wait_for(lambda: not set(VIPS_V6) & lone["r1"].addresses(), 3, "the addresses go")
    lone["r1"].addr("add", index=lone["r1"].index("eth0"), address="fe80::99", prefixlen=64)
    back = now_ns()
    wait_for(lambda: set(VIPS_V6) <= lone["r1"].addresses(), 5, "master again")
    # the observer is a process like others: it may hear later than the kernel shows addresses
    wait_for(lambda: lone.ears["r1"].adverts(since_ns=back), 5, "adverts")
    assert {a.source for a in lone.ears["r1"].adverts(since_ns=back)} == {"fe80::99"}


def test_owner_keeps_the_addresses_of_the_host(lone: Chaos) -> None:
    """An owner's virtual address is the interface's own: no flap, no better router and no end of
    the daemon takes it from the host, which could not come back without it."""
    node = lone["r1"]
    own = node.ipv4()
    lone.start("r1", config(instance(priority=255, state="MASTER", vips=(f"{own}/24",))))
    lone.await_adverts("r1", 2)
    (before,) = json.loads(node.run("ip", "-4", "-j", "addr", "show", "dev", "eth0"))
    node.set_link("eth0", "down")
    wait_for(lambda: lone.state("r1") == "FAULT", 3, "fault")
    node.set_link("eth0", "up")
    lone.await_adverts("r1", 3)
    lone.forge(Forged(ATTACKER, priority=255, interval=30, addresses=(own,)))
    wait_for(lambda: lone.counters("r1")["release_master"] == 2, 3, "yields to a second owner")
    wait_for(lambda: lone.state("r1") == "MASTER", 5, "master again")
    lone.daemons["r1"].stop()
    assert [event for event in lone.watch.events(own) if not event.added] == []
    (after,) = json.loads(node.run("ip", "-4", "-j", "addr", "show", "dev", "eth0"))
    assert after["addr_info"] == before["addr_info"]


def test_a_host_address_behind_a_virtual_one_survives(lone: Chaos) -> None:
    """The host's address was removed and added again: now the virtual one is the primary of the
    subnet, and the kernel would remove the host's along with it."""
    node = lone["r1"]
    index = node.index("eth0")
    for scope in ("all", "eth0"):
        node.sysctl(f"net/ipv4/conf/{scope}/promote_secondaries", 0)
    node.addr("add", index=index, address="198.51.100.7", prefixlen=24)
    lone.start("r1", config(instance()), holds=VIP)
    node.delete_address(node.ipv4(), 24)
    wait_for(lambda: VIP in node.addresses(), 3, "put back")
    node.addr("add", index=index, address=node.ipv4(), prefixlen=24)
    lone.await_adverts("r1", 3)
    yields(lone)
    assert node.ipv4() in node.addresses()


def test_a_stranger_with_our_address_is_named(lone: Chaos) -> None:
    """Not ours to remove, but two hosts answer for it: the log says so."""
    lone["r1"].addr("add", index=lone["r1"].index("eth0"), address=VIP, prefixlen=24)
    lone.daemons["r1"].start(config(instance(advert_int=1)))
    lone.daemons["r1"].wait_listening()
    wait_for(
        lambda: any("without being master" in line and VIP in line for line in lone.log("r1")),
        3,
        "the log names it",
    )
    assert VIP in lone["r1"].addresses()


@pytest.mark.timing
def test_addresses_taken_in_a_loop(lone: Chaos) -> None:
    """Put back, but not for ever at full speed; and put back in the end. Adverts go on."""
    lone.start("r1", config(instance()), holds=VIP)
    begin = now_ns()
    lone["r1"].run(
        "sh", "-c", f"for i in $(seq 400); do ip addr del {VIP}/24 dev eth0; done", check=False
    )
    events = [e for e in lone.watch.events(VIP) if e.time_ns > begin and e.added]
    assert 5 <= len(events) <= 25
    lone.network.wait_holder(VIP, "r1", timeout_s=5)
    assert lone.gap_ns("r1", begin) < BEAT_NS


def test_the_same_address_in_two_instances(lone: Chaos) -> None:
    """Whoever loses the mastership does not take the other's address along for long."""
    twin = instance(name="TWIN", vrid=52)
    lone.start("r1", config(instance(), twin), holds=VIP)
    wait_for(lambda: lone.state("r1", "TWIN") == "MASTER", 3, "both are masters")
    lone.forge(*[Forged(ATTACKER, priority=200, interval=100)] * 2)
    wait_for(lambda: lone.counters("r1")["release_master"] == 1, 3, "one yields")
    lone.await_adverts("r1", 2, vrid=52)
    lone.network.wait_holder(VIP, "r1", timeout_s=1)


def test_many_addresses_come_go_and_are_announced(lone: Chaos) -> None:
    vips = [f"10.9.0.{n}/32" for n in range(1, 101)]
    excluded = "\n".join(f"10.9.1.{n}/32" for n in range(1, 101))
    text = config(instance(f"virtual_ipaddress_excluded {{\n{excluded}\n}}", vips=vips))
    lone.start_many("r1", text, 200)
    wait_for(lambda: len(lone.ears["r1"].announcements()) == 200, 3, "each is announced")
    lone.forge(*[Forged(ATTACKER, priority=200, addresses=("10.9.0.1",))] * 2)
    wait_for(lambda: lone.held("r1") == 0, 3, "all go")
    wait_for(lambda: lone.held("r1") == 200, 3, "all return")
    assert lone.daemons["r1"].stop() == 0
    assert lone.held("r1") == 0


@pytest.mark.timing
def test_98_netlink_storm(lone: Chaos) -> None:
    """Addresses of somebody else by the thousand: the loss of ours among them is seen."""
    lone.start("r1", config(instance()), holds=VIP)
    node = lone["r1"]
    node.link("add", ifname="busy0", kind="veth", peer={"ifname": "busy1"})
    batch = "".join(f"addr add 10.{n // 250}.{n % 250}.1/32 dev busy0\n" for n in range(2000))
    begin = now_ns()
    node.run("sh", "-c", f"printf '{batch}' | ip -batch -".replace("\n", "\\n"))
    node.run("sh", "-c", f"ip addr del {VIP}/24 dev eth0; ip link del busy0")
    lone.network.wait_holder(VIP, "r1", timeout_s=3)
    lone.await_adverts("r1", 2)
    gap = lone.gap_ns("r1", begin)
    print(f"a storm of addresses: adverts at most {max(0, gap - 100 * MS) / MS:.2f} ms late")
    assert gap < BEAT_NS
