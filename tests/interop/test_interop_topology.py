"""IPv6, unicast, partitions and sync groups. Both daemons on the wire."""

from __future__ import annotations

import pytest
from interop_scene import (
    ALLOWANCE_NS,
    MS,
    NS,
    OUTAGE_NS,
    VIP1,
    VIP6,
    VIP6_LINK_LOCAL,
    Scene,
    down_ns,
    now_ns,
    skew_ns,
)

from keepalived_text import VIP, block, config, instance

pytestmark = [pytest.mark.netns, pytest.mark.interop, pytest.mark.timing]


def test_ipv6(make_scene) -> None:
    """VRRPv3 over IPv6: link-local source and first address (RFC 9568 5.1.2.1, 5.2.9), group
    ff02::12 (5.1.2.2), pseudo-header checksum (5.2.8), unsolicited neighbour advertisements with
    the override flag to ff02::1 (6.4.2, 8.2.2), five at once as keepalived sends them."""
    scene: Scene = make_scene()
    vips = (f"{VIP6_LINK_LOCAL}/64", f"{VIP6}/64")
    begin = now_ns()
    scene.start_pair(
        config(instance(state="MASTER", priority=150, vips=vips)),
        config(instance(priority=100, vips=vips)),
        vip=VIP6,
        family=6,
    )
    scene.assert_holder("r1", VIP6, 64)
    scene.assert_holder("r1", VIP6_LINK_LOCAL, 64)
    probe = scene.probe(VIP6)
    scene.assert_answers(probe, within_s=3)

    stop = now_ns()
    assert scene["r1"].stop() == 0
    scene.first("r2-0", since_ns=stop)
    scene.network.wait_holder(VIP6, "r2")
    scene.assert_holder("r2", VIP6, 64)
    scene.assert_holder("r2", VIP6_LINK_LOCAL, 64)
    scene.assert_answers(probe)
    assert scene.neighbour("c1", VIP6) == scene.node("r2").mac()
    assert scene.outage_ns(probe, since_ns=stop) < skew_ns(100) + OUTAGE_NS

    decoded = scene.decode()
    for name, since in (("r1", begin), ("r2", stop)):
        found = [
            f
            for f in decoded
            if f["icmpv6.nd.na.target_address"] == VIP6
            and f["icmpv6.nd.na.flag.s"] in ("0", "False")
            and f["eth.src"] == scene.node(name).mac()
            and float(f["frame.time_epoch"]) * 1e9 >= since
        ]
        assert len(found) == 5, name
        for f in found:
            assert f["ipv6.dst"] == "ff02::1"
            assert f["ipv6.hlim"] == "255"
            assert f["icmpv6.nd.na.flag.o"] in ("1", "True")
            assert f["icmpv6.checksum.status"] == "1"
    scene.assert_wire(
        family=6, addresses=(VIP6_LINK_LOCAL, VIP6), priorities={"r1": {150, 0}, "r2": {100}}
    )


def test_unicast(make_scene) -> None:
    """Unicast peers: adverts go to the peer's address from unicast_src_ip, nowhere else
    (keepalived's unicast_peer)."""
    scene: Scene = make_scene()
    r1, r2 = (scene.node(name).ipv4() for name in ("r1", "r2"))

    def peers(own: str, other: str) -> tuple[str, str]:
        return f"unicast_src_ip {own}", block("unicast_peer", other)

    scene.start_pair(
        config(instance(*peers(r1, r2), state="MASTER", priority=150)),
        config(instance(*peers(r2, r1), priority=100)),
    )
    probe = scene.probe()
    scene.assert_answers(probe)
    scene.silent("r2-0", 0.5)
    stop = now_ns()
    assert scene["r1"].stop() == 0
    scene.first("r2-0", since_ns=stop)
    scene.network.wait_holder(VIP, "r2")
    scene.assert_answers(probe)
    back = now_ns()
    scene.start("r1")
    scene.network.wait_holder(VIP, "r1")
    scene.silent("r2-0", 0.5)
    scene.assert_answers(probe)
    assert scene.outage_ns(probe, since_ns=back) < OUTAGE_NS
    scene.assert_wire(
        priorities={"r1": {150, 0}, "r2": {100}}, destinations={"r1": {r2}, "r2": {r1}}
    )


def test_partition_heals(make_scene) -> None:
    """Both sides of a partition have a master; healed, one is left, and the hosts of the losing
    side find it again: the winner announces the address once more.

    RFC 9568 6.4.3 (higher priority wins; a losing advert is answered at once), keepalived's
    vrrp_garp_lower_prio_repeat, and higher_prio_send_advert: without it the winner need not
    ever hear that there was another, and keepalived's hosts stay lost until their entries age.
    """
    scene: Scene = make_scene(clients=2)
    more = "higher_prio_send_advert"
    scene.start_pair(
        config(instance(more, state="MASTER", priority=150)),
        config(instance(more, priority=100)),
    )
    here, there = scene.probe(client="c1"), scene.probe(client="c2")
    scene.assert_answers(here)
    scene.assert_answers(there)

    scene.network.partition(["r2", "c2"])
    scene.network.wait_holder(VIP, "r1", "r2")
    scene.assert_answers(here)
    scene.assert_answers(there)
    assert scene.neighbour("c1") == scene.node("r1").mac()
    assert scene.neighbour("c2") == scene.node("r2").mac()

    healed = now_ns()
    scene.network.heal()
    scene.network.wait_holder(VIP, "r1")
    # The next advert of r1 tells r2, whose answer tells r1 that hosts were told otherwise.
    limit = 100 * MS + ALLOWANCE_NS
    assert 0 < scene.overlap_ns(since_ns=healed) < limit
    scene.assert_answers(here)
    scene.assert_answers(there)
    assert scene.neighbour("c1") == scene.node("r1").mac()
    assert scene.neighbour("c2") == scene.node("r1").mac()
    assert scene.outage_ns(there, since_ns=healed) < 100 * MS + OUTAGE_NS
    assert scene.outage_ns(here, since_ns=healed) < 100 * MS + OUTAGE_NS
    assert len(scene.sniffer.announcements(VIP, port="r1-0", since_ns=healed)) >= 5
    scene.silent("r2-0", 0.5)
    scene.assert_wire(priorities={"r1": {150}, "r2": {100}})


def test_sync_group(make_scene) -> None:
    """Two instances on two interfaces move together when one of the links fails, and return
    together (keepalived's vrrp_sync_group)."""
    scene: Scene = make_scene(lans=2)

    def router(state: str, priority: int) -> str:
        inside = instance(
            name="INSIDE", interface="eth1", vrid=52, vips=(f"{VIP1}/24",), priority=priority,
            state=state,
        )  # fmt: skip
        outside = instance(name="OUTSIDE", priority=priority, state=state)
        group = block("vrrp_sync_group ROUTER", block("group", "OUTSIDE", "INSIDE"))
        return config(group, outside, inside)

    scene.start("r1", router("MASTER", 150))
    for vip in (VIP, VIP1):
        scene.network.wait_holder(vip, "r1")
    scene.start("r2", router("BACKUP", 100))
    scene.settle()
    scene.settle(vrid=52, port="r1-1")
    probe = scene.probe()
    scene.assert_answers(probe)

    cut = now_ns()
    scene.network.unplug("r1", 1)
    for vip in (VIP, VIP1):
        scene.network.wait_holder(vip, "r2", timeout_s=3)
    # The kernel tells of a carrier once a second at most. Then the healthy instance says goodbye;
    # its peer becomes master when the other has heard nothing for its down interval, too.
    farewell = scene.first("r1-0", since_ns=cut, priority=0)
    scene.assert_soon(cut + NS, farewell)
    last = scene.last_before("r1-1", cut + NS, vrid=52)
    takeover = scene.first("r2-0", since_ns=cut)
    due = max(farewell.time_ns + skew_ns(100), last.time_ns + down_ns(100))
    scene.assert_due(due, 0, takeover)
    scene.assert_answers(probe)
    scene.assert_holder("r2", VIP)
    scene.assert_holder("r2", VIP1)
    scene.silent("r1-0", 0.4)

    scene.network.plug("r1", 1)
    for vip in (VIP, VIP1):
        scene.network.wait_holder(vip, "r1", timeout_s=5)
    scene.silent("r2-0", 0.3)
    scene.silent("r2-1", 0.3, vrid=52)
    scene.assert_holder("r1", VIP)
    scene.assert_holder("r1", VIP1)
    scene.assert_answers(probe)
    scene.assert_wire(priorities={"r1": {150, 0}, "r2": {100}})
    scene.assert_wire(vrid=52, lan=1, addresses=(VIP1,), priorities={"r1": {150}, "r2": {100}})
