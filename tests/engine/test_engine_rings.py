"""Receive rings that are made and closed side by side."""

from __future__ import annotations

from pathlib import Path

import pytest

from fastvrrp import _core

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
