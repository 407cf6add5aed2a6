"""A model's memory: apart from what stays."""

from __future__ import annotations

import sys

import pytest
from vrrp_tools import configuration, instance, vip

from fastvrrp.config import compact
from fastvrrp.vrrp.apart import (
    decode,
    hold,
    is_possible,
    memory_apart,
    memory_of_what_stays,
    release,
)

MANY = 20000


@pytest.mark.skipif(not is_possible(), reason="this interpreter's allocator is another one")
def test_objects_are_not_the_interpreters() -> None:
    kept: list[list[object]] = []
    before = sys.getallocatedblocks()
    with memory_apart():
        kept.extend([[str(n), float(n)] for n in range(MANY)])
    assert sys.getallocatedblocks() - before < MANY / 10
    for n, one in enumerate(kept):
        one.extend(one)  # what was made there grows here, and the other way round
        assert one == [str(n), float(n), str(n), float(n)]
    outside: list[list[object]] = [[str(n)] for n in range(MANY)]
    with memory_apart():
        for some in outside:
            some.extend(some)
        kept.clear()
    assert [some[1] for some in outside] == [str(n) for n in range(MANY)]


def test_it_ends_with_an_error() -> None:
    with pytest.raises(ZeroDivisionError), memory_apart():
        raise ZeroDivisionError
    before = sys.getallocatedblocks()
    kept = [float(n) for n in range(MANY)]
    assert sys.getallocatedblocks() - before > len(kept) / 2


@pytest.mark.skipif(not is_possible(), reason="this interpreter's allocator is another one")
def test_a_block_among_others_ends_nothing() -> None:
    hold()
    try:
        with memory_apart():
            pass
        before = sys.getallocatedblocks()
        kept = [float(n) for n in range(MANY)]
        assert sys.getallocatedblocks() - before < MANY / 10
    finally:
        release()
    before = sys.getallocatedblocks()
    kept += [float(n) for n in range(MANY)]
    assert sys.getallocatedblocks() - before > MANY / 2


@pytest.mark.skipif(not is_possible(), reason="this interpreter's allocator is another one")
def test_what_stays_is_the_interpreters_also_among_what_goes() -> None:
    kept: list[float] = []
    hold()
    try:
        before = sys.getallocatedblocks()
        with memory_of_what_stays():
            kept += [float(n) for n in range(MANY)]
        assert sys.getallocatedblocks() - before > MANY / 2
        before = sys.getallocatedblocks()
        kept += [float(n) for n in range(MANY)]
        assert sys.getallocatedblocks() - before < MANY / 10
    finally:
        release()
    with memory_of_what_stays():
        pass
    before = sys.getallocatedblocks()
    kept += [float(n) for n in range(MANY)]
    assert sys.getallocatedblocks() - before > MANY / 2


def test_a_configuration_is_the_same() -> None:
    whole = configuration(
        *[
            instance(f"V{n}", virtual_router_id=n, virtual_ipaddress=(vip(f"10.0.1.{n}/24"),))
            for n in range(1, 200)
        ]
    )
    data = compact.encode(whole)
    assert decode(data) == compact.decode(data)
