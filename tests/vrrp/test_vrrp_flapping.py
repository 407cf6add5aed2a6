"""Which of many state changes are logged."""

from __future__ import annotations

from fastvrrp.vrrp.flapping import BURST, QUIET_S, WINDOW_S, Flapping


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_slow_changes_are_all_told() -> None:
    clock = Clock()
    flapping = Flapping(clock)
    for _ in range(100):
        assert flapping.changed(7) == (True, 0)
        clock.now += WINDOW_S / BURST + 0.001
    assert flapping.settled() == []


def test_a_storm_is_cut_and_its_last_state_told_once() -> None:
    clock = Clock()
    flapping = Flapping(clock)
    told = 0
    for _ in range(1000):
        told += flapping.changed(7)[0]
        clock.now += 0.001
    assert told == BURST
    assert flapping.settled() == []
    clock.now += QUIET_S
    assert flapping.settled() == [(7, 1000 - BURST)]
    assert flapping.settled() == []


def test_a_lasting_storm_is_summed_up_in_every_window() -> None:
    clock = Clock()
    flapping = Flapping(clock)
    sums = []
    for _ in range(int(3 * WINDOW_S * 100)):
        told, left_out = flapping.changed(7)
        sums += [left_out] if told and left_out else []
        clock.now += 0.01
    assert len(sums) == 2
    assert all(abs(left_out - (WINDOW_S * 100 - BURST)) <= 2 for left_out in sums)


def test_instances_are_counted_apart_and_forgotten() -> None:
    clock = Clock()
    flapping = Flapping(clock)
    for _ in range(2 * BURST):
        flapping.changed(0)
    assert flapping.changed(1) == (True, 0)
    clock.now += WINDOW_S
    assert flapping.settled() == [(0, BURST)]
    assert flapping._told == b""


def test_who_is_gone_is_forgotten() -> None:
    flapping = Flapping(Clock())
    for _ in range(2 * BURST):
        flapping.changed(3)
    flapping.forget(3)
    flapping.forget(4)  # nothing is known of it
    assert not flapping.unsettled
    assert all(flapping.changed(3) == (True, 0) for _ in range(BURST))


def test_a_window_ends_for_all() -> None:
    """`settled` is asked only when something was left out."""
    clock = Clock()
    flapping = Flapping(clock)
    for slot in range(BURST):
        for _ in range(BURST - 1):
            flapping.changed(slot)
    clock.now += WINDOW_S
    assert all(flapping.changed(0) == (True, 0) for _ in range(BURST))
    assert flapping.changed(0) == (False, 0)
    assert len(flapping._told) == 1
