"""Names kept as characters: a list of them that finds each."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fastvrrp.namelist import NameList

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
