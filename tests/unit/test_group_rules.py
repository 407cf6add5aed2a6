"""Sync groups: members move as one (keepalived's vrrp_sync_group), in every order of events."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest

from fastvrrp import _core
from fastvrrp._core import P_DOWN, P_UP
from model.driver import SECOND, Action, Driver, announced, events, instance, own, played, sent

START = 1_000_000_000_000


def member(slot: int, **change: Any) -> _core.Instance:
    values: dict[str, Any] = {"vrid": 10 + slot, "link": slot, "group": 0}
    return instance(slot, **{**values, **change})


def group(count: int = 2, **change: Any) -> Driver:
    made = Driver(now=START, links_up=tuple(range(count)))
    made.add(*[member(slot, **change) for slot in range(count)])
    return made


def hear(made: Driver, slot: int, priority: int, **change: Any) -> list[Action]:
    return made.hear(priority, slot=slot, vrid=10 + slot, link=slot, **change)


def states(made: Driver, count: int = 2) -> list[str]:
    return [made.state(slot) for slot in range(count)]


def group_state(made: Driver) -> str:
    return _core.STATE_NAMES[made.core.group_state(0)]


def test_all_together_to_master() -> None:
    """One advert, one up program and one announcement each, in one step."""
    made = group(3)
    done = made.advance(made.remaining())
    assert states(made, 3) == ["MASTER"] * 3
    assert sent(done) == [100, 100, 100]
    assert played(done) == [P_UP] * 3
    assert announced(done) == [5, 5, 5]
    assert [(e.a, e.b) for e in events(done, _core.EV_GROUP)] == [(1, 2)]
    assert group_state(made) == "MASTER"


def test_adverts_of_all_members_come_first() -> None:
    """One step: nobody's addresses delay somebody's advert (the engine sends adverts first)."""
    made = group(3)
    done = made.advance(made.remaining())
    assert {a.at for a in done} == {made.now}


def test_a_member_waits_for_the_others() -> None:
    """Its timer expires, it stays BACKUP and starts the timer again."""
    made = group()
    wait = made.remaining()
    made.advance(SECOND)
    hear(made, 1, 150)
    assert sent(made.advance(wait - SECOND)) == []
    assert states(made) == ["BACKUP", "BACKUP"]
    assert made.remaining(0) == made.status(0).master_down_interval_ns
    made.advance(SECOND)
    assert states(made) == ["MASTER", "MASTER"]
    assert made.reason(0) == made.reason(1) == "no response from master"


def test_a_waiting_member_that_hears_a_master_stops_waiting() -> None:
    made = group()
    made.advance(SECOND)
    hear(made, 1, 150)
    made.advance(made.remaining(0))
    hear(made, 0, 150)
    made.advance(made.remaining(1))
    assert states(made) == ["BACKUP", "BACKUP"]


def test_priority_zero_on_all_links() -> None:
    """The peer's whole group stops: ours is there after one skew, not two."""
    made = group()
    for slot in (0, 1):
        hear(made, slot, 150)
    for slot in (0, 1):
        hear(made, slot, 0)
    made.advance(made.status().skew_time_ns)
    assert states(made) == ["MASTER", "MASTER"]
    assert made.reason(0) == "master stopped"


def test_one_yields_all_yield() -> None:
    made = group(3)
    made.become_master()
    done = hear(made, 1, 200)
    assert states(made, 3) == ["BACKUP"] * 3
    reasons = [made.reason(slot) for slot in range(3)]
    assert reasons == ["sync group", "higher priority master", "sync group"]
    assert played(done) == [P_DOWN] * 3
    assert sent(done) == []
    assert group_state(made) == "BACKUP"
    assert made.status(0).master_address == b""
    assert made.status(1).master_address == own(1)


def test_one_faulty_all_faulty() -> None:
    """And every master says goodbye."""
    made = group(3)
    made.become_master()
    done = made.link(2, up=False)
    assert states(made, 3) == ["FAULT"] * 3
    assert sent(done) == [0] * 6
    assert made.status(0).fault == _core.FAULT_GROUP
    assert made.status(2).fault == _core.FAULT_LINK
    assert group_state(made) == "FAULT"


def test_each_has_its_own_reason() -> None:
    """Members on one link that goes down are not told as victims of one another."""
    made = Driver(now=START, links_up=(0,))
    made.add(*(member(slot, link=0) for slot in range(3)))
    made.become_master()
    made.link(0, up=False)
    assert states(made, 3) == ["FAULT"] * 3
    assert [made.status(slot).fault for slot in range(3)] == [_core.FAULT_LINK] * 3
    assert [made.reason(slot) for slot in range(3)] == ["fault"] * 3


def test_fault_is_left_together() -> None:
    made = group(3)
    made.link(0, up=False)
    made.link(2, up=False)
    made.link(0, up=True)
    assert states(made, 3) == ["FAULT"] * 3
    made.link(2, up=True)
    assert states(made, 3) == ["BACKUP"] * 3
    assert group_state(made) == "BACKUP"
    made.advance(made.remaining())
    assert states(made, 3) == ["MASTER"] * 3


def test_a_member_without_a_first_result_keeps_all_out() -> None:
    made = Driver(now=START, links_up=(0, 1))
    made.add(member(0), member(1, fault=_core.FAULT_AWAIT))
    assert states(made) == ["INIT", "INIT"]
    assert group_state(made) == "INIT"
    made.fault(1, clear=_core.FAULT_AWAIT)
    assert states(made) == ["BACKUP", "BACKUP"]


def test_a_recovering_member_waits_for_one_without_a_first_result() -> None:
    """FAULT is left only when no member is faulty or still initialising."""
    made = Driver(now=START, links_up=(0, 1))
    made.link(1, up=False)
    made.add(member(0, fault=_core.FAULT_AWAIT), member(1))
    made.link(1, up=True)
    assert "BACKUP" not in states(made)
    made.fault(0, clear=_core.FAULT_AWAIT)
    assert states(made) == ["BACKUP", "BACKUP"]


def test_an_owner_in_a_group_waits_for_the_others() -> None:
    """The group starts as master only when every member is an owner that wants it."""
    want = _core.F_WANT_MASTER
    made = Driver(now=START, links_up=(0, 1))
    made.add(member(0, priority=255, flags=want), member(1))
    made.advance(1000)
    assert states(made) == ["BACKUP", "BACKUP"]
    made.advance(made.remaining(1))
    assert states(made) == ["MASTER", "MASTER"]
    made = group(priority=255, flags=want)
    made.advance(1000)
    assert states(made) == ["MASTER", "MASTER"]


def test_lower_priority_makes_all_members_announce() -> None:
    """Whoever believed the inferior router for one network may believe it for the others."""
    made = group(3)
    made.become_master()
    done = hear(made, 1, 50)
    assert sent(done) == [100]
    assert sorted(a.slot for a in done if a.name == "announce") == [0, 1, 2]


def test_own_pause_takes_the_whole_group_back() -> None:
    """timer_expired_backup of one member is everybody's."""
    made = group(2, flags=_core.F_NOPREEMPT, timer_expired_backup=254)
    made.become_master()
    made.sleep(20 * SECOND)
    made.tick()
    assert states(made) == ["BACKUP", "BACKUP"]


# ---- commits ----


def test_removing_the_faulty_member_frees_the_others() -> None:
    made = group(3)
    made.link(1, up=False)
    made.add(remove=[1])
    assert made.state(0) == made.state(2) == "BACKUP"
    made.advance(made.remaining(0))
    assert made.state(0) == made.state(2) == "MASTER"
    assert group_state(made) == "MASTER"


def test_removing_the_member_that_waits_frees_the_others() -> None:
    made = Driver(now=START, links_up=(0, 1))
    made.add(member(0), member(1, fault=_core.FAULT_AWAIT))
    made.add(remove=[1])
    assert made.state(0) == "BACKUP"


def test_leaving_a_faulty_group() -> None:
    """Into no group and into another one."""
    for other in (-1, 3):
        made = group()
        made.link(1, up=False)
        made.add(member(0, group=other))
        assert made.state(0) == "BACKUP"
        assert made.state(1) == "FAULT"


def test_the_faulty_member_leaves() -> None:
    made = group()
    made.link(1, up=False)
    made.add(member(1, group=-1))
    assert states(made) == ["BACKUP", "FAULT"]


def test_joining_a_faulty_group() -> None:
    made = group()
    made.link(1, up=False)
    made.link(2, up=True)
    made.add(member(2, group=-1))
    assert made.state(2) == "BACKUP"
    made.add(member(2))
    assert states(made, 3) == ["FAULT"] * 3


def test_stopping_a_faulty_member_frees_the_others() -> None:
    made = group()
    made.link(1, up=False)
    made.stop(1)
    assert states(made) == ["BACKUP", "INIT"]


def test_groups_do_not_touch_each_other() -> None:
    made = Driver(now=START, links_up=(0, 1, 2))
    made.add(member(0), member(1), member(2, group=1))
    made.become_master()
    made.link(0, up=False)
    assert states(made, 3) == ["FAULT", "FAULT", "MASTER"]
    assert made.core.group_state(1) == _core.MASTER


# ---- every order of events ----

STEPS: dict[str, Callable[[Driver], object]] = {
    "silence": lambda made: made.advance(4 * SECOND),
    "better 0": lambda made: attempt(made, 0, 200),
    "better 1": lambda made: attempt(made, 1, 200),
    "worse 0": lambda made: attempt(made, 0, 50),
    "stop 1": lambda made: attempt(made, 1, 0),
    "down 0": lambda made: made.link(0, up=False),
    "up 0": lambda made: made.link(0, up=True),
    "script 1": lambda made: made.fault(1, set=_core.FAULT_SCRIPT),
    "script 1 well": lambda made: made.fault(1, clear=_core.FAULT_SCRIPT),
}


def attempt(made: Driver, slot: int, priority: int) -> None:
    made.hear_code(priority, slot=slot, vrid=10 + slot, link=slot)


def uniform(found: list[str]) -> bool:
    return len(set(found)) == 1


@pytest.mark.parametrize("count", [2, 3])
def test_every_order_of_events_keeps_the_group_uniform(count: int) -> None:
    """All sequences of four events: one state for all after each, no forbidden transition."""
    for order in itertools.product(STEPS, repeat=4):
        made = group(count)
        for name in order:
            STEPS[name](made)
            found = states(made, count)
            assert uniform(found), (order, name, found)
            assert group_state(made) == found[0], (order, name)
        assert made.core.illegal_transitions() == 0, order
        made.link(0, up=True)
        made.fault(1, clear=_core.FAULT_SCRIPT)
        made.advance(20 * SECOND)  # nothing is wrong, and nobody else speaks
        assert states(made, count) == ["MASTER"] * count, order


class TestNewMember:
    """A member added to a group that is master: the others go on serving. It joins them when
    nobody speaks for it, or takes them along when another router is its master."""

    def joined(self, **change: Any) -> Driver:
        made = Driver(now=START, links_up=(0, 1))
        made.add(member(0))
        made.become_master(0)
        done = made.add(member(1, **change))
        assert states(made) == ["MASTER", "BACKUP"]
        assert group_state(made) == "MASTER"
        assert events(done, _core.EV_GROUP) == []
        return made

    def test_joins_when_nobody_speaks_for_it(self) -> None:
        made = self.joined()
        wait = made.remaining(1)
        assert wait == made.status(1).master_down_interval_ns
        done = made.advance(wait)
        assert states(made) == ["MASTER", "MASTER"]
        assert events(done, _core.EV_GROUP) == []

    @pytest.mark.parametrize(("priority", "nopreempt"), [(150, False), (100, False), (50, True)])
    def test_takes_the_others_along_when_another_router_is_master(
        self, priority: int, nopreempt: bool
    ) -> None:
        made = self.joined(flags=_core.F_NOPREEMPT if nopreempt else 0)
        done = hear(made, 1, priority)
        assert states(made) == ["BACKUP", "BACKUP"]
        assert made.reason(0) == "sync group"
        assert [(e.a, e.b) for e in events(done, _core.EV_GROUP)] == [(2, 1)]
        assert played(done, 0) == [P_DOWN]
        # Nothing to take along any more: the next advert only restarts the timer.
        assert events(hear(made, 1, priority), _core.EV_STATE) == []

    def test_preempts_an_inferior_router_with_the_others_behind_it(self) -> None:
        made = self.joined()
        wait = made.remaining(1)
        made.advance(wait // 2)
        hear(made, 1, 50)
        assert states(made) == ["MASTER", "BACKUP"]
        made.advance(wait - wait // 2)
        assert states(made) == ["MASTER", "MASTER"]

    def test_may_go_again(self) -> None:
        made = self.joined()
        done = made.add(remove=[1])
        assert made.state(0) == group_state(made) == "MASTER"
        assert events(done, _core.EV_GROUP) == []
        hear(made, 0, 150)
        assert made.state(0) == group_state(made) == "BACKUP"

    def test_of_another_group_takes_nobody_along(self) -> None:
        made = self.joined()
        made.add(member(1, group=1))
        hear(made, 1, 150)
        assert states(made) == ["MASTER", "BACKUP"]
        made.add(member(0, group=1))
        hear(made, 1, 150)
        assert states(made) == ["BACKUP", "BACKUP"]
