"""A plane on a fake engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from vrrp_tools import Bench

from looping import run as run


@pytest.fixture(params=[False, True], ids=["fresh", "packed"])
def make_bench(request: pytest.FixtureRequest) -> Iterator[Callable[..., Bench]]:
    """A function that makes a Bench with the interfaces (and engine threads) given: what runs must
    behave alike right after a change and later, when it is packed."""
    benches: list[Bench] = []

    def make(*interfaces: str, threads: int = 1) -> Bench:
        names = interfaces or ("eth0", "eth1")
        benches.append(Bench(*names, threads=threads, packs=request.param))
        return benches[-1]

    yield make
    for bench in benches:
        bench.close()


@pytest.fixture
def bench(make_bench: Callable[..., Bench]) -> Bench:
    """Interfaces eth0 (10.0.1.1) and eth1 (10.0.2.1)."""
    return make_bench()
