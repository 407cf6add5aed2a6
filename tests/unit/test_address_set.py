"""A set of addresses in little memory is a set."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastvrrp._core import AddressSet

# Few values, so that there are equal ones, with the bytes that a comparison may get wrong.
_BYTES = st.sampled_from((0, 1, 127, 128, 255))
_ADDRESSES = st.one_of(
    st.lists(_BYTES, min_size=4, max_size=4), st.lists(_BYTES, min_size=16, max_size=16)
).map(bytes)


@given(st.lists(_ADDRESSES), st.lists(_ADDRESSES))
def test_it_is_the_set_of_what_it_was_made_of(members: list[bytes], others: list[bytes]) -> None:
    made, known = AddressSet(members), set(members)
    assert len(made) == len(known)
    assert list(made) == sorted(known, key=lambda address: (len(address), address))
    assert [address in made for address in members + others] == [
        address in known for address in members + others
    ]


@given(st.sets(st.binary(min_size=4, max_size=4), min_size=200, max_size=400))
def test_all_of_many_are_found(members: set[bytes]) -> None:
    made = AddressSet(members)
    assert all(address in made for address in members)


@pytest.mark.parametrize("other", [b"", b"\0" * 5, b"\0" * 15, b"\0" * 17, "\0\0\0\0", 0, None])
def test_nothing_else_is_in_it(other: object) -> None:
    assert other not in AddressSet([b"\0" * 4, b"\0" * 16])
    assert other not in AddressSet()


def test_what_is_no_address_is_refused() -> None:
    with pytest.raises(ValueError, match="4 or 16 bytes, not 3"):
        AddressSet([b"\0" * 4, b"abc"])
    with pytest.raises(TypeError):
        AddressSet(["1234"])  # type: ignore[list-item]
