"""Where blocks of configuration live: none touches another, and their memory goes back."""

from __future__ import annotations

import random
from pathlib import Path

from fastvrrp._core import Instance


def made(slot: int, addresses: int) -> Instance:
    """A block of the size that so many addresses need."""
    return Instance(
        slot=slot,
        vrid=1 + slot % 255,
        family=4,
        version=3,
        priority=1 + slot % 255,
        advert_int_ns=10**9,
        link=0,
        destination=b"\xe0\0\0\x12",
        addresses=[bytes((10, slot >> 8 & 255, slot & 255, n)) for n in range(addresses)],
    )


def virtual_bytes() -> int:
    return int(Path("/proc/self/statm").read_text("ascii").split()[0]) * 4096


def test_blocks_of_many_sizes_come_and_go() -> None:
    draw = random.Random(5)
    blocks: dict[int, tuple[Instance, object]] = {}
    for slot in range(20000):
        block = made(slot, draw.choice((0, 1, 1, 1, 2, 40, 255, 255)))
        blocks[slot] = (block, block.content)
        while len(blocks) > 3000:
            gone, content = blocks.pop(draw.choice([*blocks]) if slot % 7 == 0 else min(blocks))
            assert gone.content == content
    for block, content in blocks.values():
        assert block.content == content


def test_memory_of_blocks_goes_back() -> None:
    before = virtual_bytes()
    blocks = [made(slot, 255) for slot in range(20000)]
    assert virtual_bytes() - before > 20000 * 1024
    blocks.clear()
    assert virtual_bytes() - before < 8_000_000
