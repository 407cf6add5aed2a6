"""vrrp_socket_backend packet: the same on the wire and in the election, with frames of our own.

keepalived, where it is one of the two, logs that it does not know the keyword.
"""

from __future__ import annotations

import time

import pytest
from interop_scene import MS, VIP6, VIP6_LINK_LOCAL, Scene, now_ns

from fastvrrp.control.client import Client
from fastvrrp.lab.daemons import Fastvrrp
from fastvrrp.lab.network import wait_for
from keepalived_text import VIP, config, instance

pytestmark = [pytest.mark.netns, pytest.mark.interop]

FRAMES = ("vrrp_socket_backend packet",)
MANY = tuple(f"10.9.{k // 250}.{k % 250 + 1}/32" for k in range(60))  # longer than a ring's frame


@pytest.mark.parametrize(
    ("family", "vips", "version"),
    [
        (4, (f"{VIP}/24",), 2),
        (4, (f"{VIP}/24",), 3),
        (4, (f"{VIP}/24", *MANY), 3),
        (6, (f"{VIP6_LINK_LOCAL}/64", f"{VIP6}/64"), 3),
    ],
    ids=["v2", "v3", "long", "ipv6"],
)
def test_stop_and_return(make_scene, family: int, vips: tuple[str, ...], version: int) -> None:
    """RFC 9568 5.1, 6.4: adverts from the interface's MAC; priority 0, skew time, preemption."""
    scene: Scene = make_scene()
    vip = VIP if family == 4 else VIP6
    interval = 1 if version == 2 else 0.1
    more = {"vips": vips, "version": version, "advert_int": interval}
    scene.start_pair(
        config(instance(state="MASTER", priority=150, **more), defs=FRAMES),
        config(instance(priority=100, **more), defs=FRAMES),
        vip=vip,
        family=family,
    )
    scene.network.wait_holder(vip, "r1")
    scene.settle()
    assert scene.sniffer.adverts(port="r2-0") == []

    stop = now_ns()
    assert scene["r1"].stop() == 0
    farewell = scene.first("r1-0", since_ns=stop, priority=0)
    takeover = scene.first("r2-0", since_ns=stop)
    skew_ns = 156 * (1000 if version == 2 else 100) * MS // 256
    assert skew_ns - 20 * MS < takeover.time_ns - farewell.time_ns < skew_ns + 100 * MS
    scene.network.wait_holder(vip, "r2")

    back = now_ns()
    scene.start("r1", family=family)
    scene.first("r1-0", since_ns=back, priority=150)
    scene.network.wait_holder(vip, "r1")
    scene.silent("r2-0", 4 * interval)
    scene.assert_wire(
        version=version,
        family=family,
        addresses=tuple(text.partition("/")[0] for text in vips),
        interval="1" if version == 2 else "10",
        priorities={"r1": {150, 0}, "r2": {100}},
    )


def test_an_interface_that_goes_down_and_comes_back(make_scene) -> None:
    """The ring of an interface that was down hears again; the groups are still joined."""
    scene: Scene = make_scene()
    scene.start_pair(
        config(instance(priority=150), defs=FRAMES), config(instance(priority=100), defs=FRAMES)
    )
    scene.node("r1").set_link("eth0", "down")
    scene.network.wait_holder(VIP, "r2")
    scene.node("r1").set_link("eth0", "up")
    scene.network.wait_holder(VIP, "r1")
    scene.node("r2").set_link("eth0", "down")
    time.sleep(0.5)
    scene.node("r2").set_link("eth0", "up")
    time.sleep(1)  # deaf, it would be master by now
    scene.settle()
    scene.silent("r2-0", 1.0)
    scene.assert_holder("r1")


@pytest.mark.parametrize("pair", ["ff", "kf"], indirect=True)
def test_memberships_that_nobody_is_told_of(make_scene) -> None:
    """With disable_local_igmp the IP layer knows nothing of the group, and the router hears it all
    the same; a reload changes that either way unnoticed by the other router."""
    scene: Scene = make_scene()

    def is_member(name: str) -> bool:
        return "224.0.0.18" in scene.node(name).run("ip", "maddr", "show", "dev", "eth0")

    quiet = config(instance(priority=100), defs=(*FRAMES, "disable_local_igmp"))
    scene.start_pair(config(instance(priority=150), defs=FRAMES), quiet)
    daemon = scene["r2"]
    assert isinstance(daemon, Fastvrrp)
    assert not is_member("r2")
    for text, member in ((config(instance(priority=100), defs=FRAMES), True), (quiet, False)):
        daemon.config.write_text(text)
        with Client(daemon.run_dir) as client:
            assert client.request("reload", {})["ok"]
        wait_for(lambda want=member: is_member("r2") is want, 5, f"member: {member}")
        scene.settle()
        scene.silent("r2-0", 1.0)
        scene.assert_holder("r1")
    scene["r1"].stop()
    scene.network.wait_holder(VIP, "r2")
