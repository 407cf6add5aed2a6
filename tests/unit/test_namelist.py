"""Names kept as characters: a list of them that finds each."""

from __future__ import annotations

from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastvrrp.namelist import NameList, narrow, placed

NAMES = st.lists(st.text(max_size=3), unique=True, max_size=60)


@given(NAMES, st.text(max_size=3))
def test_it_is_the_list(names: list[str], other: str) -> None:
    kept = NameList(names)
    assert list(kept) == names == kept[:]
    assert len(kept) == len(names)
    assert [kept[n] for n in range(-len(names), len(names))] == names + names
    assert [kept.find(name) for name in names] == list(range(len(names)))
    assert (other in kept) == (other in names)
    if other not in names:
        assert kept.find(other) == -1


@pytest.mark.parametrize("count", [0, 171, 172, 255, 256, 43691, 43692, 65535, 65536])
def test_thousands_are_found(count: int) -> None:
    """Also where their numbers begin to take more bytes."""
    names = [f"{n:x}" for n in range(count)]
    kept = NameList(names)
    assert list(kept) == names
    assert [kept.find(name) for name in names] == list(range(count))
    assert kept.find("none") == -1


@pytest.mark.parametrize(
    ("highest", "size"), [(255, 1), (256, 2), (65535, 2), (65536, 4), ((1 << 32) - 1, 4)]
)
def test_numbers_take_as_few_bytes_as_they_can(highest: int, size: int) -> None:
    numbers = array("I", [0, highest, 7])
    narrowed = narrow(numbers)
    assert narrowed.tolist() == numbers.tolist()
    assert narrowed.itemsize == size


@pytest.mark.parametrize(
    ("count", "size"), [(0, 1), (171, 1), (172, 2), (4096, 2), (43691, 2), (43692, 4)]
)
def test_an_index_takes_as_few_bytes_as_it_can(count: int, size: int) -> None:
    """The third of its places that is free need not be told apart."""
    assert placed((), count).itemsize == size
