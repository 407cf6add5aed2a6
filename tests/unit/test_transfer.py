"""Instances that go on in another core: as they were, but for what that core knows about links."""

from __future__ import annotations

from typing import Any

import pytest

from fastvrrp import _core
from model.driver import SECOND, Driver, events, instance, played, sent

SIZE = {"instances": 16, "links": 8, "groups": 8}


def other(driver: Driver, *, up: tuple[int, ...] = (0, 1)) -> _core.Core:
    core = _core.Core(**SIZE, now_ns=driver.now)
    for link in up:
        core.link(link, ifindex=link + 2, up=True, now_ns=driver.now)
    return core


def hand_over(driver: Driver, receiver: _core.Core, *slots: int) -> list[Any]:
    """What the receiver does; the driver goes on with it."""
    actions = driver.core.hand_over(receiver, list(slots), now_ns=driver.now)
    driver.core = receiver
    return driver.take(actions)


@pytest.fixture
def driver() -> Driver:
    """A master in slot 3 on link 0, tracking link 1."""
    made = Driver(links_up=(0, 1))
    made.add(instance(3, tracks=[(1, 0, False)]))
    made.become_master(3)
    made.advance(SECOND // 2)
    return made


def test_nothing_is_done(driver: Driver) -> None:
    before, giver = driver.status(3), driver.core
    assert hand_over(driver, other(driver), 3) == []
    assert driver.status(3) == before
    assert driver.core.next_due_ns() == before.next_due_ns
    assert driver.core.sequence(3) == giver.sequence(3) == before.sequence
    with pytest.raises(KeyError):
        giver.status(3)
    assert sent(driver.advance(SECOND)) == [100]


@pytest.mark.parametrize("link", [0, 1])
def test_a_link_that_is_down_there(driver: Driver, link: int) -> None:
    """Its own, or one that it tracks."""
    done = hand_over(driver, other(driver, up=(1 - link,)), 3)
    assert sent(done) == [0, 0]
    assert played(done) == [_core.P_DOWN]
    assert driver.state(3) == "FAULT"


def test_a_link_that_is_up_there(driver: Driver) -> None:
    driver.link(0, up=False)
    assert driver.state(3) == "FAULT"
    done = hand_over(driver, other(driver), 3)
    assert [(e.a, e.b) for e in events(done, _core.EV_STATE)] == [(_core.FAULT, _core.BACKUP)]
    driver.become_master(3)


def test_the_weight_of_a_link(driver: Driver) -> None:
    driver.add(instance(3, tracks=[(1, -30, False)]))
    hand_over(driver, other(driver, up=(0,)), 3)
    assert driver.status(3).effective_priority == 70


def test_a_group_is_told_of_once() -> None:
    made = Driver(links_up=(0, 1))
    made.add(*[instance(slot, vrid=10 + slot, link=slot, group=5) for slot in (0, 1)])
    made.become_master(0)
    giver = made.core
    assert giver.group_state(5) == _core.MASTER
    assert hand_over(made, other(made), 0, 1) == []
    assert (giver.group_state(5), made.core.group_state(5)) == (_core.INIT, _core.MASTER)
    done = made.fault(1, set=_core.FAULT_SCRIPT)
    assert [(e.slot, e.a, e.b) for e in events(done, _core.EV_GROUP)] == [
        (5, _core.MASTER, _core.FAULT)
    ]
    assert made.state(0) == "FAULT"


def test_a_slot_that_somebody_had_there_before(driver: Driver) -> None:
    """Its old configuration is given up; who comes goes on counting for itself."""
    there = other(driver)
    there.commit([instance(3, vrid=99)], now_ns=driver.now)
    there.commit([], remove=[3], now_ns=driver.now)
    before = driver.status(3)
    assert hand_over(driver, there, 3) == []
    assert driver.status(3) == before
    assert driver.hear(50, slot=3, source=bytes((10, 0, 0, 9)))  # by the VRID it came with


def test_empty_slots_are_nothing(driver: Driver) -> None:
    before = driver.core.fingerprint()
    there = other(driver)
    assert driver.core.hand_over(there, [0, 7], now_ns=driver.now) == []
    assert driver.core.fingerprint() == before
    for slot in (0, 7):
        with pytest.raises(KeyError):
            there.status(slot)


def test_who_cannot_take_it(driver: Driver) -> None:
    for size in ({"instances": 17}, {"links": 9}, {"groups": 9}):
        with pytest.raises(ValueError, match="another core of the same size"):
            driver.core.hand_over(_core.Core(**SIZE | size), [3], now_ns=driver.now)
    with pytest.raises(ValueError, match="another core"):
        driver.core.hand_over(driver.core, [3], now_ns=driver.now)
    with pytest.raises(ValueError, match="slot 16"):
        driver.core.hand_over(other(driver), [16], now_ns=driver.now)
    assert driver.state(3) == "MASTER"


def test_the_pace_of_answers_goes_along(driver: Driver) -> None:
    assert sent(driver.hear(50, slot=3)) == [100]
    hand_over(driver, other(driver), 3)
    assert sent(driver.hear(50, slot=3)) == []
    driver.advance(SECOND // 4)
    assert sent(driver.hear(50, slot=3)) == [100]


def test_the_pace_of_answers_is_not_that_of_the_slots_next(driver: Driver) -> None:
    assert sent(driver.hear(0, slot=3)) == [100]
    driver.core.commit([], remove=[3], now_ns=driver.now)
    driver.add(instance(3, priority=255, flags=_core.F_WANT_MASTER))
    driver.advance(1000)
    assert driver.state(3) == "MASTER"
    assert sent(driver.hear(0, slot=3)) == [255]
