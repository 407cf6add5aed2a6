"""use_vmac on both routers: the same on the wire as keepalived, in the election, for a client.

RFC 9568 7.3, 8.1.2: adverts, gratuitous ARP and answers come from the virtual MAC address, which
stays the same for hosts whoever is master.
"""

from __future__ import annotations

import pytest
from interop_scene import VIP6, VIP6_LINK_LOCAL, Scene, now_ns

from fastvrrp.lab.network import wait_for
from keepalived_text import VIP, config, instance

pytestmark = [pytest.mark.netns, pytest.mark.interop]

MAC = {4: "00:00:5e:00:01:33", 6: "00:00:5e:00:02:33"}  # of VRID 51


def assert_known(scene: Scene, master: str, vip: str) -> None:
    """The client knows the virtual MAC address. keepalived leaves `arp_announce` of the parent as
    it is: asking for the client in the name of the VIP it tells it the parent's."""
    known = {MAC[6 if ":" in vip else 4]}
    if scene[master].kind == "keepalived":
        known.add(scene.node(master).mac())
    assert scene.neighbour("c1", vip) in known


@pytest.mark.parametrize(
    ("family", "vips"),
    [(4, (f"{VIP}/24",)), (6, (f"{VIP6_LINK_LOCAL}/64", f"{VIP6}/64"))],
    ids=["ipv4", "ipv6"],
)
def test_stop_and_return(make_scene, family: int, vips: tuple[str, ...]) -> None:
    """The client keeps its neighbour entry, is answered by whoever is master, and nothing comes
    from the virtual MAC address at a backup's port."""
    scene: Scene = make_scene()
    vip = VIP if family == 4 else VIP6
    scene.start_pair(
        config(instance("use_vmac", state="MASTER", priority=150, vips=vips)),
        config(instance("use_vmac", priority=100, vips=vips)),
        vip=vip,
        family=family,
    )
    prober = scene.probe(vip)
    scene.assert_answers(prober, within_s=10)
    assert_known(scene, "r1", vip)
    assert scene.sniffer.adverts(port="r2-0") == []
    table = scene.network["switch"].run("bridge", "fdb", "show", "br", "lan0")
    assert f"{MAC[family]} dev r1-0" in table

    stop = now_ns()
    assert scene["r1"].stop() == 0
    scene.first("r1-0", since_ns=stop, priority=0)
    scene.first("r2-0", since_ns=stop)
    scene.network.wait_holder(vip, "r2")
    scene.assert_answers(prober, within_s=10)
    assert_known(scene, "r2", vip)

    back = now_ns()
    scene.start("r1", family=family)
    scene.first("r1-0", since_ns=back, priority=150)
    scene.network.wait_holder(vip, "r1")
    scene.assert_answers(prober, within_s=10)
    wait_for(lambda: not _present(scene, "r2", vip), 5, "the old master gives it up")
    assert "vrrp.51" in scene.node("r2").run("ip", "link", "show", "type", "macvlan")

    frames = scene.decode()
    sent = [f for f in frames if f["vrrp.virt_rtr_id"] == "51"]
    assert {f["eth.src"] for f in sent} == {MAC[family]}
    announced = [f for f in frames if _announces(f, vip)]
    assert {f["eth.src"] for f in announced} == {MAC[family]}
    assert len(announced) >= 3 * 5


def _present(scene: Scene, name: str, vip: str) -> bool:
    return any(text.startswith(f"{vip}/") for text in scene.ip_addresses(name))


def _announces(frame, vip: str) -> bool:
    gratuitous = frame["arp.src.proto_ipv4"] == frame["arp.dst.proto_ipv4"] == vip
    unsolicited = frame["icmpv6.nd.na.target_address"] == vip and frame["icmpv6.nd.na.flag.s"] in (
        "0",
        "False",
    )
    return gratuitous or unsolicited


def test_adverts_from_the_parent(make_scene) -> None:
    """vmac_xmit_base on both: adverts from the interface's own MAC address, the rest from the
    virtual one."""
    scene: Scene = make_scene()
    more = ("use_vmac", "vmac_xmit_base")
    scene.start_pair(
        config(instance(*more, priority=150)),
        config(instance(*more, priority=100)),
    )
    prober = scene.probe()
    scene.assert_answers(prober, within_s=10)
    assert_known(scene, "r1", VIP)
    scene["r1"].kill()
    scene.network.unplug("r1")
    scene.network.wait_holder(VIP, "r1", "r2")  # what was killed could not take it away
    scene.assert_answers(prober, within_s=10)
    assert_known(scene, "r2", VIP)
    frames = [f for f in scene.decode() if f["vrrp.virt_rtr_id"] == "51"]
    macs = {scene.node("r1").mac(), scene.node("r2").mac()}
    assert {f["eth.src"] for f in frames} == macs
