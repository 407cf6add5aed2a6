"""The timer wheel against a sorted list: exact order by (due, index), however far the deadlines."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastvrrp._core import NEVER, Wheel

SIZE = 24
SLOT = 1 << 20  # ns of one level-0 slot
DAY = 86_400_000_000_000
# near, at slot and level boundaries, and decades away
DELAYS = st.one_of(
    st.integers(-SLOT, 3 * SLOT),
    st.builds(lambda n, d: n * SLOT + d, st.integers(0, 70_000), st.integers(-1, 1)),
    st.builds(lambda p, d: (SLOT << (8 * p)) + d, st.integers(0, 4), st.integers(-2, 2)),
    st.integers(0, 20_000 * DAY),
)
OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("arm"), st.integers(0, SIZE - 1), DELAYS),
        st.tuples(st.just("cancel"), st.integers(0, SIZE - 1), st.just(0)),
        st.tuples(st.just("pop"), st.just(0), DELAYS.filter(lambda d: d >= 0)),
        st.tuples(st.just("pop next"), st.just(0), st.integers(-1, 1)),
    ),
    max_size=60,
)


@settings(max_examples=400, deadline=None, derandomize=True)
@given(st.sampled_from([0, 1, SLOT - 1, 255 * SLOT, 123_456_789 * SLOT + 77]), OPERATIONS)
def test_against_a_sorted_list(now: int, operations: list[tuple[str, int, int]]) -> None:
    wheel = Wheel(SIZE, now)
    expected: dict[int, int] = {}
    for name, index, value in operations:
        if name == "arm":
            due = max(0, now + value)
            wheel.arm(index, due)
            expected[index] = due
        elif name == "cancel":
            wheel.cancel(index)
            expected.pop(index, None)
        else:
            if name == "pop next":
                value += min(expected.values(), default=now) - now
            now = max(now, now + value)
            ready = sorted((due, i) for i, due in expected.items() if due <= now)
            assert wheel.pop_due(now) == ready
            expected = {i: due for i, due in expected.items() if due > now}
        earliest = min(expected.values(), default=NEVER)
        assert wheel.next_due() <= earliest
        if earliest == NEVER:
            assert wheel.next_due() == NEVER


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(DELAYS.filter(lambda d: d >= 0), min_size=1, max_size=SIZE))
def test_sleeping_until_next_due_always_ends(delays: list[int]) -> None:
    """A loop that sleeps until next_due() gets everything, in order, in few turns, never early."""
    wheel = Wheel(SIZE)
    for index, delay in enumerate(delays):
        wheel.arm(index, delay)
    fired: list[tuple[int, int]] = []
    for _ in range(8 * len(delays)):
        now = wheel.next_due()
        if now == NEVER:
            break
        ready = wheel.pop_due(now)
        assert all(due <= now for due, _ in ready)
        fired += ready
    assert fired == sorted((due, index) for index, due in enumerate(delays))


def test_next_due_is_exact_when_near() -> None:
    wheel = Wheel(SIZE)
    for index in range(SIZE):
        wheel.arm(index, 200 * SLOT + 1000 - index)
    assert wheel.next_due() == 200 * SLOT + 1000 - (SIZE - 1)


def test_same_moment_fires_in_order_of_index() -> None:
    wheel = Wheel(SIZE)
    for index in (7, 3, 20, 0):
        wheel.arm(index, 5 * SLOT + 5)
    assert [index for _, index in wheel.pop_due(6 * SLOT)] == [0, 3, 7, 20]


def test_lazy_re_arming() -> None:
    """The owner stores later deadlines and arms again what comes up early: nothing fires twice."""
    wheel = Wheel(1)
    deadline = 10 * SLOT
    wheel.arm(0, deadline)
    fired = []
    for turn in range(1, 200):
        now = turn * 3 * SLOT
        if turn < 100:
            deadline = now + 10 * SLOT  # an advert came: only stored
        for due, index in wheel.pop_due(now):
            assert due <= now
            if now < deadline:
                wheel.arm(index, deadline)
            else:
                fired.append(now)
    assert fired == [-(-deadline // (3 * SLOT)) * 3 * SLOT]


def test_past_deadlines_fire_at_once() -> None:
    wheel = Wheel(SIZE, 1000 * SLOT)
    wheel.arm(4, 3)
    wheel.arm(2, 1000 * SLOT)
    assert wheel.next_due() == 3
    assert wheel.pop_due(1000 * SLOT) == [(3, 4), (1000 * SLOT, 2)]


def test_never_disarms() -> None:
    wheel = Wheel(SIZE)
    wheel.arm(1, 5)
    wheel.arm(1, NEVER)
    assert wheel.next_due() == NEVER
    assert wheel.pop_due(DAY) == []


def test_index_is_checked() -> None:
    wheel = Wheel(2)
    with pytest.raises(ValueError, match="index"):
        wheel.arm(2, 5)
    with pytest.raises(ValueError, match="index"):
        wheel.cancel(2)
