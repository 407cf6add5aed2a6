"""Virtual devices on every kind of interface, beside keepalived: VLAN, bond, bridge, macvlan, VRF,
and ipvlans. Here, because this kernel has all of these; it has no nftables families.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from parents_scene import (
    CABLES,
    FIRST_VRID,
    INSTANCES,
    IPVLAN4_VRID,
    IPVLAN6_VRID,
    LAST_VIP,
    PARENTS,
    Found,
    differences,
    kernel,
    pair,
    text,
    who_answers,
)

from fastvrrp.control.client import Client, Unreachable
from fastvrrp.lab.daemons import Daemon, Fastvrrp, Keepalived
from fastvrrp.lab.network import Node, wait_for
from fastvrrp.lab.sniffer import Sniffer

LIMIT_S = 60.0
WITHOUT_NFTABLES = (
    "vrrp warning: switches may look for virtual MAC addresses at a backup:"
    " this kernel has no nftables (CONFIG_NF_TABLES_INET)"
)


class Scene:
    """keepalived is on the first router, fastvrrp on the second."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        self.left, self.right = pair()
        stack.callback(self.left.close)
        stack.callback(self.right.close)
        self.keepalived = Keepalived(self.left, directory / "keepalived")
        self.fastvrrp = Fastvrrp(self.right, directory / "fastvrrp")
        for daemon in (self.keepalived, self.fastvrrp):
            stack.callback(self._end, daemon)

    def _end(self, daemon: Daemon) -> None:
        daemon.close()
        print(f"--- {daemon.kind}\n{daemon.log()[-20000:]}")

    def states(self) -> dict[str, str]:
        """Of fastvrrp's instances, by name."""
        try:
            with Client(self.fastvrrp.run_dir) as client:
                instances = client.request("status", {})["instances"]
        except Unreachable:
            return {}
        return {one["name"]: one["state"] for one in instances or ()}  # none while it starts

    def wait_states(self, state: str, *names: str) -> None:
        def reached() -> bool:
            states = self.states()
            return {states.get(name) for name in names or states} == {state}

        wait_for(reached, LIMIT_S, f"{names or 'all'} are {state}", 0.1)


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with ExitStack() as stack:
        yield Scene(tmp_path, stack)


def holds(node: Node) -> Callable[[], bool]:
    return lambda: LAST_VIP in node.addresses()


def sources(sniffer: Sniffer) -> set[tuple[str, int, str]]:
    """Cable, VRID and Ethernet source of the adverts."""
    return {(a.port, a.vrid, a.data[6:12].hex(":")) for a in sniffer.adverts()}


def virtual_sources(host: int) -> set[tuple[str, int, str]]:
    """RFC 9568 7.3; an ipvlan has the MAC address of its parent."""
    found = {
        (f"eth{number}", FIRST_VRID + number, f"00:00:5e:00:0{family}:{FIRST_VRID + number:02x}")
        for number in range(len(PARENTS))
        for family in (1, 2)
    }
    found.add(("eth6", IPVLAN4_VRID, f"02:00:00:00:0{host}:06"))
    found.add(("eth7", IPVLAN6_VRID, f"02:00:00:00:0{host}:07"))
    return found


def deliberate() -> Found:
    """(keepalived, fastvrrp) of what differs while they run, with the reasons in
    docs/keepalived-differences.md."""
    expected: Found = {}
    for number, name in enumerate(PARENTS):
        vrid = FIRST_VRID + number
        expected[f"net.ipv4.conf.{name}.arp_announce"] = ("0", "2")
        for prefix in ("vrrp", "vrrp6"):
            for setting in ("accept_ra", "autoconf"):
                expected[f"net.ipv6.conf.{prefix}/{vrid}.{setting}"] = ("1", "0")
        expected[f"net.ipv4.conf.vrrp6/{vrid}.arp_ignore"] = ("0", "1")
    for name in ("vrrp.52 group", "vrrp6.52 group"):
        expected[f"link {name}"] = ("default", "7")
    for setting in ("accept_ra", "autoconf"):
        expected[f"net.ipv6.conf.ipv4.{setting}"] = ("1", "0")
    expected["net.ipv4.conf.eth4.arp_announce"] = ("0", "2")
    expected["net.ipv4.conf.mv0.arp_ignore"] = ("0", "1")
    expected["net.ipv4.conf.mv0.arp_filter"] = ("0", "1")
    return expected


def without_link_local(theirs: Found) -> Found:
    """Without the link-local addresses that keepalived gives its IPv6 devices, of which there must
    be one on each."""
    own = [name for name in theirs if name.startswith("address vrrp6.") and "fe80::own:" in name]
    assert len(own) == len(PARENTS)
    return {name: value for name, value in theirs.items() if name not in own}


@pytest.mark.timeout(300)
def test_on_every_kind_of_interface(scene: Scene) -> None:
    """Type, name, MAC address, mode, parent, VRF, MTU and flags of the devices, addresses and
    settings are those that keepalived makes, as master, as backup and afterwards; adverts arrive
    from the virtual MAC addresses, nobody else answers for the addresses, both understand each
    other. What happens to an interface below happens to its routers."""
    left, right = scene.left, scene.right
    before = kernel(left), kernel(right)
    assert differences(*before) == {}
    ports = [f"eth{number}" for number in range(CABLES)]

    with Sniffer(left, ports=ports) as sniffer:
        scene.fastvrrp.start(text(2, 150))
        scene.wait_states("MASTER")
        scene.keepalived.start(text(1, 100))
        wait_for(
            lambda: scene.keepalived.log().count("Entering BACKUP STATE") == INSTANCES,
            LIMIT_S,
            "keepalived is backup everywhere",
        )
        wait_for(lambda: sources(sniffer) >= virtual_sources(2), LIMIT_S, "adverts of all")
        wait_for(holds(right), LIMIT_S, "the addresses")
        our_master, their_backup = kernel(right), kernel(left)
        assert sources(sniffer) == virtual_sources(2)
        for number, name in enumerate(PARENTS):
            mac = f"00:00:5e:00:01:{FIRST_VRID + number:02x}"
            assert who_answers(left, name, f"10.{number}.0.100", mac) == {mac}, name
        assert "Entering MASTER STATE" not in scene.keepalived.log()
        assert scene.fastvrrp.stop() == 0
        assert differences(kernel(right), before[1]) == {}

    wait_for(holds(left), LIMIT_S, "keepalived takes over")
    with Sniffer(right, ports=ports) as sniffer:
        wait_for(lambda: sources(sniffer) >= virtual_sources(1), LIMIT_S, "adverts of all")
        assert sources(sniffer) == virtual_sources(1)
    their_master = kernel(left)
    victories = scene.fastvrrp.log().count("Entering MASTER STATE")
    scene.fastvrrp.start(text(2, 50))
    scene.wait_states("BACKUP")
    our_backup = kernel(right)
    assert scene.fastvrrp.log().count("Entering MASTER STATE") == victories

    assert scene.keepalived.stop() == 0
    scene.wait_states("MASTER")
    expected = deliberate()
    assert differences(without_link_local(their_master), our_master) == expected
    assert differences(without_link_local(their_backup), our_backup) == expected
    left_behind = {
        f"net.ipv4.conf.{name.replace('mv0', 'eth4')}.{setting}": ("0", "1")
        for name in PARENTS
        for setting in ("arp_ignore", "arp_filter")
    }
    assert differences(before[0], kernel(left)) == left_behind

    follow_the_parents(scene)
    assert scene.fastvrrp.stop() == 0
    assert "traceback" not in scene.fastvrrp.log().lower()
    told = [line for line in scene.fastvrrp.log().splitlines() if "nftables" in line]
    assert len(told) == 2  # one a start; keepalived tells the kernel's error numbers
    assert all(line.endswith(WITHOUT_NFTABLES) for line in told)


def follow_the_parents(scene: Scene) -> None:
    """fastvrrp is master of all."""
    right = scene.right

    def route(device: str, name: str) -> str:
        return str(json.loads(right.run("ip", "-j", "link", "show", "dev", device))[0].get(name))

    for line, name in (
        ("link set mv0 {}", "mv0"),
        ("link set eth2 {}", "bond0"),
        ("link set eth1 {}", "vlan10"),
        ("link set br0 {}", "br0"),
    ):
        right.run("ip", *line.format("down").split())
        scene.wait_states("FAULT", f"V4_{name}", f"V6_{name}")
        right.run("ip", *line.format("up").split())
        scene.wait_states("MASTER", f"V4_{name}")

    right.run("ip", "link", "set", "eth5", "nomaster")
    wait_for(lambda: route("vrrp.56", "master") == "None", LIMIT_S, "out of the VRF")
    right.run("ip", "link", "set", "eth5", "master", "blue")
    wait_for(lambda: route("vrrp.56", "master") == "blue", LIMIT_S, "in the VRF again")
    scene.wait_states("MASTER", "V4_eth5")

    right.run("ip", "link", "del", "vlan10")
    scene.wait_states("FAULT", "V4_vlan10")
    right.run("ip", *["link", "add", "vlan10", "link", "eth1", "type", "vlan", "id", "10"])
    right.run("ip", *["address", "add", "10.1.0.2/24", "dev", "vlan10"])
    right.run("ip", *["link", "set", "vlan10", "up"])
    scene.wait_states("MASTER", "V4_vlan10")
    assert route("vrrp.52", "link") == "vlan10"
    assert "10.1.0.100" in right.addresses("vrrp.52")
