"""When packets came that were read in a batch: the kernel's stamps, as far as they can be true."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from fastvrrp import _core

MS = 1_000_000
DAY = 86_400_000 * MS
TICK, GRAIN = 4 * MS, MS // 4


@given(
    waited=st.lists(st.integers(-TICK, 5 * TICK)),
    offset=st.integers(0, 20_000 * DAY),
    now=st.integers(TICK, 1000 * DAY),
    step=st.sampled_from((0, -DAY, -TICK, -1, 1, TICK, DAY)),
)
@example(waited=[0], offset=0, now=TICK, step=DAY)
def test_97_a_stamp_counts_for_a_tick_at_most(
    waited: list[int], offset: int, now: int, step: int
) -> None:
    """Whatever the stamps say, and whatever was done to the wall clock since."""
    stamps = [max(1, now + offset - w) for w in waited]
    came = _core.arrivals(
        stamps, offset_ns=offset + step, since_ns=now - TICK, now_ns=now, grain_ns=GRAIN
    )
    assert all(now - TICK <= at <= now for at in came)
    for at, stamp in zip(came, stamps, strict=True):
        true = min(now, max(now - TICK, stamp - offset - step))
        assert 0 <= true - at < GRAIN


def test_packets_without_a_stamp_come_when_they_are_read() -> None:
    assert _core.arrivals([0], offset_ns=0, since_ns=0, now_ns=9 * MS, grain_ns=GRAIN) == [9 * MS]


def test_a_batch_has_few_moments() -> None:
    """So that whoever takes over for all of them does it in few turns."""
    stamps = list(range(MS, 3 * MS, 2000))
    came = _core.arrivals(stamps, offset_ns=0, since_ns=0, now_ns=3 * MS, grain_ns=GRAIN)
    assert came == sorted(came)
    assert len(set(came)) == 8
