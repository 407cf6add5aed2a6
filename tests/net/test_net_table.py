"""The table of an interface's addresses: what a dict of them would say, in its order."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastvrrp._core import AddressTable
from fastvrrp.net.objects import Address, AddressKey

KEYS = st.builds(
    lambda last, length, peer: AddressKey(3, 4, bytes((10, 0, 0, last)), length, peer),
    st.integers(0, 9),
    st.sampled_from((24, 32)),
    st.sampled_from((b"", b"\x0a\0\0\x63", b"\x0a\0\0\x64")),
) | st.builds(
    lambda last: AddressKey(3, 6, bytes((0xFD, *[0] * 14, last)), 64),
    st.integers(0, 9),
)
ADDRESSES = st.builds(
    Address,
    KEYS,
    st.sampled_from((0, 1, 0x80)),
    st.sampled_from((0, 253)),
    st.sampled_from((None, 0, 18)),
    st.sampled_from(("eth0", "eth0:1", "")),
)


@settings(max_examples=300)
@given(st.lists(ADDRESSES | KEYS, max_size=80))
def test_it_is_a_dict_of_addresses(steps: list[Address | AddressKey]) -> None:
    table = AddressTable(3)
    model: dict[AddressKey, Address] = {}
    for step in steps:
        if isinstance(step, Address):
            assert table.put(step) == model.get(step.key)
            model[step.key] = step
        else:
            assert table.drop(step) == model.pop(step, None)
        assert len(table) == len(model)
    assert list(table.values()) == list(model.values())
    assert list(table) == list(model)
    for step in steps:
        key = step.key if isinstance(step, Address) else step
        assert (key in table) == (key in model)
        assert table.get(key) == model.get(key)


def test_thousands_of_addresses_that_come_and_go() -> None:
    table = AddressTable(3)
    keys = [AddressKey(3, 4, bytes((10, 0, n >> 8, n & 255)), 32) for n in range(5000)]
    for turn in range(3):
        for key in keys:
            assert table.put(Address(key, turn, 0, 18, "eth0")) is None
        for key in keys[: -1 if turn == 2 else None]:
            assert table.drop(key) == Address(key, turn, 0, 18, "eth0")
    assert list(table) == [keys[-1]]


def test_another_interface_is_not_in_it() -> None:
    table = AddressTable(3)
    key = AddressKey(4, 4, b"\x0a\0\0\x01", 32)
    with pytest.raises(ValueError, match="interface 4"):
        table.put(Address(key, 0, 0, None, "eth1"))
    table.put(Address(key._replace(ifindex=3), 0, 0, None, "eth0"))
    assert key not in table
    assert table.get(key) is None
    with pytest.raises(KeyError):
        table[key]
    assert "10.0.0.1" not in table


def test_a_change_under_way_is_noticed() -> None:
    table = AddressTable(3)
    keys = [AddressKey(3, 4, bytes((10, 0, 0, n)), 32) for n in range(100)]
    table.put(Address(keys[0], 0, 0, None, ""))
    going = table.values()
    next(going)
    for key in keys:
        table.put(Address(key, 0, 0, None, ""))
    with pytest.raises(RuntimeError, match="changed"):
        next(going)


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("varied", [1, 2, 4])
def test_addresses_of_a_subnet_lie_apart(family: int, varied: int) -> None:
    """Tables look at the low bits of a hash; `varied` is which byte from the end differs."""
    size = 4 if family == 4 else 16
    places = set()
    for n in range(256):
        raw = bytearray(size)
        raw[0], raw[size - varied] = 0xFD, n
        places.add(hash(AddressKey(2, family, bytes(raw), 8 * size)) & 0xFF)
    assert len(places) > 128  # of random ones 162
