"""Where blocks of configuration live: none touches another, and their memory goes back."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from fastvrrp._core import AddressItem, AddressKey, Instance, instance_alike, pack_program

REQUEST = AddressItem("V", AddressKey(2, 4, bytes((10, 0, 0, 1)), 24), "eth0").add


def made(slot: int, addresses: int, *, requests: int = 0) -> Instance:
    """A block of the size that so many addresses need, and so many requests that install them."""
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
        up=pack_program([(REQUEST, 0)] * requests),
        down=pack_program([(REQUEST, 0)] * requests),
    )


def mappings() -> int:
    return len(Path("/proc/self/maps").read_text("ascii").splitlines())


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


def test_block_of_one_address_takes_five_cache_lines() -> None:
    """With the requests that install and remove it, and its announcement."""
    count = 20000
    key = AddressKey(2, 4, bytes((10, 0, 0, 1)), 32)
    item = AddressItem("V", key, "eth0", mac=bytes(6), advertised=True)
    pattern = made(0, 1)
    before = virtual_bytes()
    blocks = [
        instance_alike(pattern, slot=n, vrid=1 + n % 255, items=(item,)) for n in range(count)
    ]
    # The last is of the objects, and what the interpreter asks for at once: less than two lines.
    assert virtual_bytes() - before < count * (5 * 64 + 100)
    assert len(blocks) == count


@pytest.mark.parametrize("addresses", [1, 20, 28, 80])
def test_blocks_are_few_mappings_of_the_kernel(addresses: int) -> None:
    """Of which a process may have 65530."""
    before = mappings()
    blocks = [made(slot, addresses, requests=addresses) for slot in range(2000)]
    assert len({block.content for block in blocks}) == 2000
    assert mappings() - before < 300
