"""Instances that run are kept as bytes, and are what they were whenever somebody asks."""

from __future__ import annotations

import pytest

from fastvrrp.config import model
from fastvrrp.config.compact import Packed


def instances(count: int) -> tuple[model.VrrpInstance, ...]:
    """As different as neighbours are: two priorities, addresses of their own."""
    return tuple(
        model.VrrpInstance(
            name=f"V{n}",
            virtual_router_id=n % 255 + 1,
            family=4,
            version=3,
            interface=f"eth{n % 3}",
            priority=100 + n % 2,
            virtual_ipaddress=(
                model.VirtualAddress(address=f"10.0.{n // 250}.{n % 250}", prefixlen=32, family=4),
            ),
        )
        for n in range(count)
    )


@pytest.mark.parametrize("count", [0, 1, 63, 64, 65, 200])
def test_they_are_what_they_were(count: int) -> None:
    whole = instances(count)
    packed = Packed(whole)
    assert len(packed) == count
    assert tuple(packed) == whole
    assert packed == whole
    assert packed == Packed(whole)
    assert [packed[n] for n in range(count)] == list(whole)
    assert [packed[n] for n in range(-count, 0)] == list(whole)
    assert packed[1:70:3] == whole[1:70:3]
    for beyond in (count, -count - 1):
        with pytest.raises(IndexError):
            packed[beyond]


def test_others_are_not_equal() -> None:
    whole = instances(70)
    assert Packed(whole) != whole[1:]
    assert Packed(whole) != (*whole[:-1], whole[0])
    assert Packed(whole) != Packed(instances(69))
    assert Packed(()) == ()
    assert Packed(whole) != "V0"
