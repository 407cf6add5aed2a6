"""Receive rings that are made and closed side by side."""

from __future__ import annotations

from pathlib import Path

import pytest

from fastvrrp import _core
from fastvrrp.lab.network import wait_for

pytestmark = pytest.mark.netns

GROUP = bytes((224, 0, 0, 18))


def held() -> tuple[int, int]:
    """Sockets of this process, and receive rings among its memory."""
    links = [_target(entry) for entry in Path("/proc/self/fd").iterdir()]
    maps = Path("/proc/self/maps").read_text().splitlines()
    return sum(map(_is_socket, links)), sum("socket:" in line for line in maps)


def _target(entry: Path) -> str:
    try:
        return str(entry.readlink())
    except FileNotFoundError:  # that which listed them
        return ""


def _is_socket(target: str) -> bool:
    return target.startswith("socket:")


def memberships() -> set[bytes]:
    """IP multicast groups of this network namespace (net/ipv4/igmp.c, net/ipv6/mcast.c)."""
    four = [line.split()[0] for line in Path("/proc/net/igmp").read_text().splitlines()[1:]]
    six = [line.split()[2] for line in Path("/proc/net/igmp6").read_text().splitlines()]
    little = {bytes.fromhex(word)[::-1] for word in four if len(word) == 8}
    return little | {bytes.fromhex(word) for word in six}


def test_what_is_not_taken_is_closed() -> None:
    """Each ring is a socket and its memory; nothing of them is left. None may be asked for, too."""
    sockets, rings = held()
    _core.prepare_rings(40, 256)
    assert held() == (sockets + 40, rings + 40)
    _core.discard_rings()
    assert held() == (sockets, rings)
    _core.prepare_rings(0, 256)
    _core.discard_rings()
    assert held() == (sockets, rings)


def test_an_engine_takes_them() -> None:
    """Engine.link() makes no socket for frames of its own while there are prepared ones of the
    size; join() closes all that links have."""
    engine = _core.Engine(instances=4, links=4, groups=4)
    sockets, rings = held()
    _core.prepare_rings(2, 256)
    engine.start()
    engine.link(0, ifindex=1, families=0, packet=3, mcast4=[GROUP], ring_frames=256)
    assert held() == (sockets + 4, rings + 2)  # with each a socket that joins the groups
    engine.stop()
    assert engine.join(10)
    assert held() == (sockets, rings)


def test_only_local_groups_are_joined_silently() -> None:
    """`unreported`: of the groups whose adverts a ring hears the kernel knows as IP groups only
    those outside 224.0.0.0/24, also after they are joined again. IPv6 groups it knows as before."""
    far, six = bytes((239, 1, 2, 3)), bytes.fromhex("ff02" + "00" * 12 + "0012")
    groups = {"mcast4": [far, GROUP], "mcast6": [six], "packet": 3, "families": 0, "ifindex": 1}
    engine = _core.Engine(instances=4, links=4, groups=4)
    engine.start()
    known = {GROUP, far, six}
    assert not known & memberships()
    for unreported, expected in ((True, {far, six}), (False, known), (True, {far, six})):
        for rejoin in (False, True):
            engine.link(0, **groups, unreported=unreported, rejoin=rejoin)
            wait_for(lambda want=expected: known & memberships() == want, 5, str(expected))
    engine.link(0, ifindex=1, families=1, mcast4=[GROUP], unreported=True)  # a raw socket needs it
    wait_for(lambda: known & memberships() == {GROUP}, 5, "what the raw socket needs")
    engine.stop()
    assert engine.join(10)
