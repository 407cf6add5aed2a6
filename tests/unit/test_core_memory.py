"""What an instance takes in the core, beside its block of configuration."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest

from fastvrrp._core import F_WANT_MASTER, MASTER, Core, Instance
from fastvrrp.supervisor.process import settle_memory

COUNT = 20000
PER_LINK = 200


@pytest.fixture(autouse=True)
def collector() -> Iterator[None]:
    yield
    gc.unfreeze()


def own_bytes() -> int:
    """What this process has written to and no other shares."""
    settle_memory()
    lines = Path("/proc/self/smaps_rollup").read_text("ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Private_Dirty:")) * 1024


def owner(slot: int) -> Instance:
    return Instance(
        slot=slot,
        vrid=1 + slot % PER_LINK,
        family=4,
        version=3,
        priority=255,
        advert_int_ns=10**9,
        flags=F_WANT_MASTER,
        link=slot // PER_LINK,
        source=bytes((10, 0, 0, 1)),
        destination=b"\xe0\0\0\x12",
        addresses=[bytes((10, 1, slot >> 8, slot & 255))],
    )


def test_a_master_takes_three_cache_lines_and_its_counters() -> None:
    """What only matters when peers say what they should not takes nothing."""
    core = Core(instances=COUNT, links=COUNT // PER_LINK, groups=1)
    for link in range(COUNT // PER_LINK):
        core.link(link, ifindex=link + 1, up=True, now_ns=10**9)
    blocks = [owner(slot) for slot in range(COUNT)]
    before = own_bytes()
    for link in range(COUNT // PER_LINK):
        now = 10**9 + link * 2000
        core.commit(blocks[link * PER_LINK : (link + 1) * PER_LINK], now_ns=now)
        core.tick(now + 1000)
    assert core.status(COUNT - 1).state == MASTER
    assert own_bytes() - before < COUNT * (3 * 64 + 56)
