"""Announcements that one event owes and the next must not swallow (found by the simulator)."""

from __future__ import annotations

from typing import Any

import pytest

from fastvrrp import _core
from model.driver import (
    SECOND,
    VIP4,
    Action,
    Driver,
    announced,
    announcement,
    instance,
    own,
    program,
)

ADDED = own(50)


def master(**change: Any) -> Driver:
    made = Driver()
    made.add(instance(garp_master_delay_ns=0, **change))
    made.become_master()
    made.advance(10 * SECOND)
    made.auto_play = False
    return made


def with_address(*, new: bool, **change: Any) -> _core.Instance:
    """The configuration with one more address; `new`: it is new against the one before."""
    return instance(
        addresses=[VIP4, ADDED],
        announce=announcement(VIP4) + announcement(ADDED, 1, new=new),
        up=program(1, 2),
        garp_master_delay_ns=0,
        **change,
    )


def latest(actions: list[Action]) -> int:
    """Generation of the latest up program."""
    return [a.detail[1] for a in actions if a.name == "play" and a.detail[0] == _core.P_UP][-1]


def details(actions: list[Action]) -> list[tuple[Any, ...]]:
    return [a.detail for a in actions if a.name == "announce"]


@pytest.mark.parametrize("second_adds", [False, True])
def test_a_second_reload_before_the_kernel_has_the_address_of_the_first(second_adds: bool) -> None:
    """Its records mark nothing as new that the first one added: everything is announced."""
    made = master()
    generation = latest(made.add(with_address(new=True)))
    if second_adds:
        third = own(51)
        records = announcement(VIP4) + announcement(ADDED, 1) + announcement(third, 2, new=True)
        both = instance(
            addresses=[VIP4, ADDED, third],
            announce=records,
            up=program(1, 2, 3),
            garp_master_delay_ns=0,
        )
        generation = latest(made.add(both))
    else:
        made.add(with_address(new=False, priority=120))
    assert details(made.played(0, generation)) == [(5, False)]


def test_a_reload_before_a_replayed_address_is_back() -> None:
    made = master()
    made.replay()
    generation = latest(made.add(with_address(new=True)))
    assert details(made.played(0, generation)) == [(5, False)]


def test_a_reload_while_the_kernel_refuses() -> None:
    made = master()
    generation = latest(made.add(with_address(new=True)))
    made.played(0, generation, error=1, failed=1)
    third = instance(
        addresses=[VIP4, ADDED, own(51)],
        announce=announcement(VIP4) + announcement(ADDED, 1) + announcement(own(51), 2, new=True),
        up=program(1, 2, 3),
        garp_master_delay_ns=0,
    )
    generation = latest(made.add(third))
    assert details(made.played(0, generation)) == [(5, False)]


def test_alone_it_announces_what_is_new() -> None:
    made = master()
    generation = latest(made.add(with_address(new=True)))
    assert details(made.played(0, generation)) == [(5, True)]


def test_who_says_goodbye_was_believed_to_be_master() -> None:
    """Priority 0 to a MASTER: another one was, and its hosts must be won back; once a second."""
    made = master(garp_lower_prio_repeat=3, garp_lower_prio_delay_ns=0)
    assert announced(made.hear(0)) == [3]
    made.advance(SECOND // 2)
    assert announced(made.hear(0)) == []
    assert announced(made.advance(SECOND // 2)) == [3]  # kept back, not dropped
    assert announced(made.hear(0)) == [3]


def test_a_refresh_does_not_announce_what_the_kernel_does_not_have_yet() -> None:
    """Conformance 84: not even by the way. The kernel's answer announces everything."""
    made = master(garp_master_refresh_ns=SECOND)
    generation = latest(made.add(with_address(new=True, garp_master_refresh_ns=SECOND)))
    assert announced(made.advance(3 * SECOND)) == []
    assert details(made.played(0, generation)) == [(5, False)]
    assert announced(made.advance(SECOND)) == [1]
