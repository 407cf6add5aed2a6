"""INIT and BACKUP: conformance 45-62, RFC 9568 6.4.1, 6.4.2, RFC 3768 6.4, keepalived's rules."""

from __future__ import annotations

from typing import Any

import pytest

from fastvrrp import _core
from fastvrrp._core import P_UP
from model.driver import MS, SECOND, Driver, announced, events, instance, own, played, sent

START = 1_000_000_000_000  # a clock never starts at 0


def backup(**change: Any) -> Driver:
    made = Driver(now=START)
    made.add(instance(**change))
    return made


def test_45_owner_becomes_master_at_once() -> None:
    """RFC 9568 6.4.1: 255 and `state MASTER` (keepalived: after a microsecond)."""
    made = backup(priority=255, flags=_core.F_WANT_MASTER)
    assert made.remaining() == 1000
    done = made.advance(1000)
    assert made.state() == "MASTER"
    assert made.reason() == "startup"
    assert [a.name for a in done if a.name != "event"] == ["tx", "play", "announce"]
    assert sent(done) == [255]


def test_45_owner_without_state_master_waits() -> None:
    """keepalived: only `state MASTER` skips the wait."""
    made = backup(priority=255)
    assert made.remaining() == 3 * SECOND + SECOND // 256


def test_46_start_as_backup() -> None:
    """RFC 9568 6.4.1: own interval adopted, timer armed, nothing sent."""
    made = backup(advert_int_ns=400 * MS)
    assert made.state() == "BACKUP"
    assert made.status().master_advert_int_ns == 400 * MS
    assert made.remaining() == 3 * 400 * MS + 156 * 400 * MS // 256
    assert sent(made.log) == played(made.log) == []


@pytest.mark.parametrize(("version", "least"), [(2, SECOND // 256), (3, 2 * SECOND // 256)])
def test_state_master_below_255_waits_one_interval(version: int, least: int) -> None:
    """keepalived: one interval and the least skew, whatever the priority; then master."""
    made = backup(version=version, priority=50, flags=_core.F_WANT_MASTER, advert_int_ns=2 * SECOND)
    assert made.remaining() == 2 * SECOND + least
    made.advance(made.remaining())
    assert made.state() == "MASTER"


def test_state_master_counts_only_at_start() -> None:
    """After a fault it waits like anybody else, an owner excepted (RFC 9568 6.4.1)."""
    for priority, wait in ((100, 3 * SECOND + 156 * SECOND // 256), (255, 1000)):
        made = backup(priority=priority, flags=_core.F_WANT_MASTER)
        made.link(up=False)
        made.link(up=True)
        assert made.reason() == "fault cleared"
        assert made.remaining() == wait


def test_47_interface_down_at_start() -> None:
    """FAULT until it goes up; then BACKUP with a whole new wait."""
    made = Driver(links_up=(), now=START)
    made.add(instance())
    assert made.state() == "FAULT"
    assert made.core.next_due_ns() == _core.NEVER
    made.advance(100 * SECOND)
    done = made.link(up=True)
    assert made.state() == "BACKUP"
    assert made.remaining() == made.status().master_down_interval_ns
    assert sent(made.log + done) == []


def test_07_no_source_address_is_a_fault() -> None:
    """8347 no-primary-ip-address: nothing is sent; a commit with a source ends it."""
    made = backup(source=b"")
    assert made.state() == "FAULT"
    assert made.status().fault == _core.FAULT_SOURCE
    made.add(instance())
    assert made.state() == "BACKUP"


def test_48_owner_always_preempts() -> None:
    """RFC 9568 6.1, Preempt_Mode: independent of the setting."""
    made = backup(priority=255, flags=_core.F_NOPREEMPT)
    due = made.remaining()
    made.advance(due // 2)
    made.hear(200)
    assert made.remaining() == due - due // 2


def test_49_timer_expires() -> None:
    """RFC 9568 6.4.2: the advert is the first frame, then addresses, then GARP, at 3 x I + skew."""
    made = backup()
    wait = 3 * SECOND + 156 * SECOND // 256
    assert sent(made.advance(wait - 1)) == []
    done = made.advance(1)
    assert [a.name for a in done if a.name != "event"] == ["tx", "play", "announce"]
    assert played(done) == [P_UP]
    assert made.reason() == "no response from master"


@pytest.mark.parametrize("version", [2, 3])
def test_50_skew_orders_priorities(version: int) -> None:
    """RFC 9568 6.1, RFC 3768 6.1: higher first, strictly, for all of 1..255."""
    waits = []
    for priority in range(1, 256):
        made = backup(version=version, priority=priority, advert_int_ns=2 * SECOND)
        unit = SECOND if version == 2 else 2 * SECOND
        assert made.status().skew_time_ns == (256 - priority) * unit // 256
        assert made.remaining() == 6 * SECOND + made.status().skew_time_ns
        waits.append(made.remaining())
    assert waits == sorted(waits, reverse=True)
    assert len(set(waits)) == 255


def test_50_shortest_interval_still_orders() -> None:
    """10 ms: 39 us between neighbours."""
    one, two = (backup(priority=p, advert_int_ns=10 * MS).remaining() for p in (100, 101))
    assert one - two == pytest.approx(39_062, abs=1)


def test_51_56_learned_interval() -> None:
    """RFC 9568 6.4.2: both skew and timer follow what the master says (D4)."""
    made = backup()
    made.hear(150, interval_ns=4 * SECOND)
    status = made.status()
    assert status.master_advert_int_ns == 4 * SECOND
    assert status.skew_time_ns == 156 * 4 * SECOND // 256
    assert made.remaining() == 12 * SECOND + status.skew_time_ns
    made.hear(150, interval_ns=100 * MS)
    assert made.remaining() == 300 * MS + 156 * 100 * MS // 256


def test_own_interval_returns_with_mastership() -> None:
    """keepalived: as master it uses its own interval, and as backup of nobody, too."""
    made = backup()
    made.hear(150, interval_ns=100 * MS)
    made.become_master()
    assert made.remaining() == SECOND


def test_learned_interval_of_a_discarded_advert_is_not_used() -> None:
    made = backup()
    made.hear(50, interval_ns=100 * MS)
    assert made.status().master_advert_int_ns == SECOND


@pytest.mark.parametrize("version", [2, 3])
def test_52_priority_zero_leaves_one_skew(version: int) -> None:
    """RFC 9568 6.4.2 (445), RFC 3768 6.4.2."""
    made = backup(version=version)
    made.hear(150, version=version)
    made.advance(100 * MS)
    made.hear(0, version=version)
    assert made.remaining() == made.status().skew_time_ns
    made.advance(made.remaining())
    assert (made.state(), made.reason()) == ("MASTER", "master stopped")
    assert made.count("pri_zero_rcvd") == 1


def test_53_priority_zero_is_never_answered_at_once() -> None:
    """Even 254 and an interval of 10 ms leave the sender time to stop."""
    made = backup(priority=254, advert_int_ns=10 * MS)
    assert sent(made.hear(0)) == []
    assert made.remaining() == 2 * 10 * MS // 256


@pytest.mark.parametrize("priority", [101, 255])
def test_54_higher_priority_re_arms(priority: int) -> None:
    """RFC 9568 6.4.2 (450)."""
    made = backup()
    made.advance(2 * SECOND)
    made.hear(priority)
    assert made.remaining() == made.status().master_down_interval_ns
    assert made.status().master_priority == priority
    assert made.status().master_address == own(1)


@pytest.mark.parametrize("who", [1, 9])
def test_55_equal_priority_re_arms_whatever_the_address(who: int) -> None:
    made = backup()
    made.advance(2 * SECOND)
    made.hear(100, source=own(who))
    assert made.remaining() == made.status().master_down_interval_ns


def test_54_lower_priority_is_discarded() -> None:
    """Preemption happens after the normal master-down time, not before."""
    made = backup()
    made.hear(150)
    due = made.status().next_due_ns
    for _ in range(3):
        made.advance(SECOND)
        made.hear(99)
        assert made.status().next_due_ns == due
    made.advance_to(due)
    assert (made.state(), made.reason()) == ("MASTER", "preempted lower priority master")


def test_54_nopreempt_accepts_lower_priority() -> None:
    """Preempt_Mode False: only silence or priority 0 leads to takeover."""
    made = backup(flags=_core.F_NOPREEMPT)
    for _ in range(20):
        made.advance(SECOND)
        made.hear(1)
        assert made.remaining() == made.status().master_down_interval_ns
    assert made.state() == "BACKUP"
    made.hear(0)
    assert made.remaining() == made.status().skew_time_ns


def test_59_shutdown_as_backup_is_silent() -> None:
    """RFC 9568 6.4.2 (420): timer cancelled, nothing sent, Initialize."""
    made = backup()
    done = made.stop()
    assert (sent(done), played(done)) == ([], [])
    assert made.state() == "INIT"
    assert made.advance(100 * SECOND) == []


def test_61_preempt_delay() -> None:
    """It starts with the first lower advert, delays preemption by that much, and is over then."""
    made = backup(preempt_delay_ns=5 * SECOND)
    began = made.now
    while made.now < began + 5 * SECOND:
        made.hear(50)
        assert made.remaining() == made.status().master_down_interval_ns
        made.advance(SECOND)
    due = made.status().next_due_ns
    made.hear(50)
    assert made.status().next_due_ns == due
    made.advance_to(due)
    assert made.state() == "MASTER"


def test_61_preempt_delay_is_cleared_by_a_better_master() -> None:
    made = backup(preempt_delay_ns=2 * SECOND)
    made.hear(50)
    made.advance(1900 * MS)
    made.hear(150)
    made.advance(SECOND)
    made.hear(50)  # a new delay begins
    assert made.remaining() == made.status().master_down_interval_ns
    made.advance(1900 * MS)
    made.hear(50)
    assert made.remaining() == made.status().master_down_interval_ns


def test_61_preempt_delay_does_not_delay_silence() -> None:
    made = backup(preempt_delay_ns=500 * SECOND)
    made.hear(50)
    made.advance(made.status().master_down_interval_ns)
    assert (made.state(), made.reason()) == ("MASTER", "no response from master")


def test_master_changed_is_told_once_per_master() -> None:
    """And at most once per interval: forged sources must not fill the event ring."""
    made = backup()
    for who in (3, 3, 4, 4, 3):
        made.hear(150, source=own(who))
        made.hear(150, source=own(who))
        made.advance(SECOND)
    for _ in range(10):
        made.hear(150, source=own(5))
        made.hear(150, source=own(3))
    told = events(made.log, _core.EV_MASTER_CHANGED)
    assert [(e.a, e.address) for e in told] == [(150, own(n)) for n in (3, 4, 3, 5)]


# ---- start-up delay, first tracker results ----


def test_startup_delay_shifts_the_timer() -> None:
    """keepalived's vrrp_startup_delay: nothing heard, nothing sent before."""
    for flags, priority, wait in (
        (0, 100, 3 * SECOND + 156 * SECOND // 256),
        (_core.F_WANT_MASTER, 100, SECOND + SECOND // 256),
        (_core.F_WANT_MASTER, 255, 1000),
    ):
        made = backup(flags=flags, priority=priority, hold_until_ns=START + 7 * SECOND)
        assert made.remaining() == 7 * SECOND + wait
        assert _core.RX_NAMES[made.hear_code(150)[0]] == "ignored_in_state"
        assert made.remaining() == 7 * SECOND + wait


def test_awaiting_the_first_result_is_init() -> None:
    """keepalived: until every weight-0 tracker has answered, neither BACKUP nor MASTER."""
    made = backup(fault=_core.FAULT_AWAIT, flags=_core.F_WANT_MASTER, priority=255)
    assert made.state() == "INIT"
    assert made.advance(100 * SECOND) == []
    made.fault(clear=_core.FAULT_AWAIT)
    assert (made.state(), made.reason()) == ("BACKUP", "startup")
    assert made.remaining() == 1000


def test_a_bad_first_result_is_fault() -> None:
    made = backup(fault=_core.FAULT_AWAIT)
    made.fault(set=_core.FAULT_SCRIPT, clear=_core.FAULT_AWAIT)
    assert made.state() == "FAULT"


def test_a_running_instance_is_not_taken_down_by_awaiting() -> None:
    """A tracker that lost its result in a reload says nothing about the service."""
    made = backup()
    made.become_master()
    assert made.fault(set=_core.FAULT_AWAIT) == []
    assert made.state() == "MASTER"


# ---- own lateness ----


def test_a_late_backup_gives_one_skew_more_once() -> None:
    """Frozen for 10 s: the silence was ours. Packets in flight get one skew, then it acts."""
    made = backup()
    made.hear(150)
    made.sleep(10 * SECOND)
    done = made.tick()
    assert sent(done) == []
    assert events(done, _core.EV_LATE)[0].a == 10 * SECOND - 3 * SECOND - 156 * SECOND // 256
    assert made.remaining() == made.status().skew_time_ns
    assert made.count("late") == 1
    made.sleep(10 * SECOND)
    assert sent(made.tick()) == [100]
    assert made.state() == "MASTER"


def test_a_late_backup_that_hears_the_master_stays() -> None:
    made = backup()
    made.hear(150)
    made.sleep(10 * SECOND)
    made.tick()
    made.hear(150)
    assert made.remaining() == made.status().master_down_interval_ns
    made.sleep(10 * SECOND)  # and the courtesy is there again
    assert sent(made.tick()) == []


def test_a_little_lateness_changes_nothing() -> None:
    made = backup()
    made.sleep(made.remaining() + SECOND)
    assert sent(made.tick()) == [100]
    assert made.count("late") == 0


def test_announcement_of_nothing_is_no_action() -> None:
    """An instance without records (all addresses elsewhere) has nothing to announce."""
    made = backup(announce=b"")
    assert announced(made.become_master()) == []
