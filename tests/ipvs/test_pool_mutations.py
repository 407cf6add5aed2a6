"""Every defect planted in the pool must be found by the lives beside the model."""

from __future__ import annotations

import pool_mutations
import pytest

pytestmark = pytest.mark.computing


@pytest.mark.parametrize("planted", pool_mutations.MUTATIONS, ids=lambda planted: planted.name)
def test_it_is_found(planted: pool_mutations.Mutation) -> None:
    assert pool_mutations.found(planted) >= 0


def test_a_place_that_is_gone_is_noticed() -> None:
    with pytest.raises(ValueError, match="0 places"):
        pool_mutations.mutant(pool_mutations.Mutation("x", "nowhere in the source", ""))


def test_without_a_defect_nothing_is_found() -> None:
    same = pool_mutations.Mutation("x", "Wanted(sorry, SORRY_WEIGHT)", "Wanted(sorry, 1)")
    kind = pool_mutations.mutant(same)
    for seed in range(50):
        pool_mutations.random_life(seed, kind)
