"""As many virtual routers as there are numbers, and more: families, interfaces, virtual MACs."""

from __future__ import annotations

import pytest
from netns_tools import World

from fastvrrp.lab.network import wait_for
from fastvrrp.lab.sniffer import Advert
from keepalived_text import config, instance

pytestmark = pytest.mark.netns

VRIDS = range(1, 256)
DEVICES = range(1, 41)  # with a virtual MAC each: the same numbers again on another interface
VIRTUAL_MAC = "00:00:5e:00:01:{:02x}"  # RFC 9568 7.3


@pytest.mark.parametrize("backend", ["raw", "packet"])
def test_all_numbers_of_both_families_and_of_another_interface(world: World, backend: str) -> None:
    """Each is master, is heard on its link, has its address; and leaves nothing behind."""
    four = [instance(name=f"F{n}", vrid=n, vips=(f"10.4.0.{n}/32",)) for n in VRIDS]
    six = [instance(name=f"S{n}", vrid=n, vips=(f"fe80::6:{n:x}/128",)) for n in VRIDS]
    devices = [
        instance("use_vmac", name=f"M{n}", vrid=n, interface="eth1", vips=(f"10.5.0.{n}/32",))
        for n in DEVICES
    ]
    total = len(four) + len(six) + len(devices)
    backends = (f"vrrp_socket_backend {backend}",)
    world.daemon.start(config(*four, *six, *devices, defs=backends))
    wait_for(lambda: f"Ready: {total} instances" in world.daemon.log(), 20, "all are read")
    wanted = {f"10.4.0.{n}" for n in VRIDS} | {f"fe80::6:{n:x}" for n in VRIDS}
    virtual = {f"10.5.0.{n}" for n in DEVICES}

    def held() -> set[str]:
        return set(world.router.addresses())

    wait_for(lambda: wanted | virtual <= held(), 30, "all addresses")

    def heard() -> set[tuple[str, int, int]]:
        """LAN, IP version and VRID."""
        adverts = [f for f in world.sniffer.frames() if isinstance(f, Advert)]
        return {(a.port, 6 if ":" in a.source else 4, a.vrid) for a in adverts}

    lans = [world.network.port("r1", lan) for lan in (0, 1)]
    everybody = {(lans[0], family, n) for n in VRIDS for family in (4, 6)}
    everybody |= {(lans[1], 4, n) for n in DEVICES}
    wait_for(lambda: heard() == everybody, 10, "adverts of all")
    macs = {(a.vrid, a.data[6:12].hex(":")) for a in world.sniffer.adverts() if a.port == lans[1]}
    assert macs == {(n, VIRTUAL_MAC.format(n)) for n in DEVICES}
    assert world.daemon.stop() == 0
    assert not (wanted | virtual) & held()
