"""MASTER: conformance 63-71, 78, 83-85, RFC 9568 6.4.3, RFC 3768 6.4.3, keepalived's rules."""

from __future__ import annotations

from typing import Any

import pytest

from fastvrrp import _core
from fastvrrp._core import P_CHANGE, P_DOWN, P_UP
from model.driver import (
    MS,
    SECOND,
    VIP4,
    Driver,
    announced,
    announcement,
    events,
    instance,
    own,
    played,
    program,
    sent,
)

START = 1_000_000_000_000


def master(*, auto_play: bool = True, **change: Any) -> Driver:
    made = Driver(now=START, auto_play=auto_play)
    made.add(instance(**change))
    made.become_master()
    return made


def generation(made: Driver) -> int:
    """Of the latest up program."""
    plays = [a for a in made.log if a.name == "play" and a.detail[0] == P_UP]
    return int(plays[-1].detail[1])


@pytest.mark.parametrize("interval", [10 * MS, SECOND])
def test_63_adverts_keep_their_phase(interval: int) -> None:
    """No drift over 10,000 adverts, even when every turn is a little late."""
    made = master(advert_int_ns=interval, garp_master_delay_ns=0)
    began = made.now
    times = []
    for n in range(1, 10_001):
        made.now = began + n * interval + (n % 7) * 1000
        done = made.tick()
        assert sent(done) == [100]
        times.append(made.now)
    assert times[-1] - began == 10_000 * interval + (10_000 % 7) * 1000
    assert made.status().next_due_ns == began + 10_001 * interval
    assert made.count("adverts_missed") == 0


def test_63_a_late_turn_sends_one_advert() -> None:
    """1.5 intervals late: one advert, the missed one counted, phase kept."""
    made = master()
    due = made.status().next_due_ns
    made.now = due + 1500 * MS
    assert sent(made.tick()) == [100]
    assert made.count("adverts_missed") == 1
    assert made.status().next_due_ns == due + 2 * SECOND


def test_64_priority_zero_is_answered_at_once() -> None:
    """RFC 9568 6.4.3 (655): advert now, timer reset."""
    made = master()
    made.advance(700 * MS)
    assert sent(made.hear(0)) == [100]
    assert made.remaining() == SECOND
    assert made.state() == "MASTER"


def test_64_answers_to_priority_zero_are_paced() -> None:
    """A flood of them makes at most four adverts an interval; the first is always answered."""
    made = master()
    made.hear(50)  # an inferior advert has its own pace
    answers = []
    for _ in range(100):
        answers += sent(made.hear(0))
        made.advance(10 * MS)
    assert len(answers) == 4


@pytest.mark.parametrize("flags", [0, _core.F_NOPREEMPT])
def test_65_69_higher_priority_wins(flags: int) -> None:
    """RFC 9568 6.4.3 (700): silence, interval learned, timers anew; preempt mode plays no part."""
    made = master(flags=flags)
    done = made.hear(101, interval_ns=2 * SECOND)
    assert (made.state(), made.reason()) == ("BACKUP", "higher priority master")
    assert sent(done) == []
    assert played(done) == [P_DOWN]
    status = made.status()
    assert status.master_advert_int_ns == 2 * SECOND
    assert status.skew_time_ns == 156 * 2 * SECOND // 256
    assert made.remaining() == 6 * SECOND + status.skew_time_ns
    assert (status.master_address, status.master_priority) == (own(1), 101)
    assert announced(made.advance(5 * SECOND)) == []


@pytest.mark.parametrize(
    ("theirs", "ours", "yields"),
    [
        (bytes((128, 0, 0, 1)), bytes((127, 255, 255, 255)), True),
        (bytes((127, 255, 255, 255)), bytes((128, 0, 0, 1)), False),
        (bytes((10, 0, 1, 0)), bytes((10, 0, 0, 255)), True),
        (bytes((10, 0, 0, 3)), bytes((10, 0, 0, 2)), True),
        (bytes((10, 0, 0, 1)), bytes((10, 0, 0, 2)), False),
    ],
)
def test_66_67_equal_priority_is_decided_by_address(
    theirs: bytes, ours: bytes, yields: bool
) -> None:
    """RFC 9568 6.4.3 (705): unsigned integers in network order (D3)."""
    made = master(source=ours)
    done = made.hear(100, source=theirs)
    assert made.state() == ("BACKUP" if yields else "MASTER")
    assert sent(done) == ([] if yields else [100])
    if yields:
        assert made.reason() == "equal priority, higher address"


def test_66_ipv6_addresses_are_unsigned_too() -> None:
    low, high = own(2, 6), bytes.fromhex("fe80") + bytes(6) + b"\xff" + bytes(7)
    for ours, theirs, state in ((low, high, "BACKUP"), (high, low, "MASTER")):
        made = master(family=6, source=ours)
        made.hear(100, family=6, source=theirs)
        assert made.state() == state


def test_68_lower_priority_is_answered() -> None:
    """RFC 9568 6.4.3 (725, D2): advert at once; the periodic timer goes on."""
    made = master()
    made.advance(1300 * MS)
    done = made.hear(99)
    assert sent(done) == [100]
    assert announced(done) == [5]
    assert made.remaining() == 700 * MS
    assert [e.a for e in events(done, _core.EV_RX_LOWER_PRI)] == [99]
    assert made.count("become_master") == 1


def test_68_answers_are_paced() -> None:
    """Four per interval and one burst a second however many come: no reflector, no amplifier."""
    made = master(garp_master_delay_ns=0, garp_lower_prio_delay_ns=0)
    answers, bursts = 0, 0
    for n in range(999):
        done = made.hear(1, source=own(3 + n % 100))
        answers += len(sent(done))
        bursts += len(announced(done))
        made.advance(MS)
    assert (answers, bursts) == (4, 1)


def test_the_last_advert_of_the_preempted_is_no_rival() -> None:
    """higher_prio_send_advert of the other: answered and announced again, but nothing to report."""
    made = master()
    made.advance(999 * MS)
    done = made.hear(99)
    assert sent(done) == [100]
    assert announced(done) == [5]
    assert events(done, _core.EV_RX_LOWER_PRI) == events(done, _core.EV_DUAL_MASTER) == []


def test_lower_prio_no_advert() -> None:
    """keepalived: no answer, the burst and the event remain."""
    made = master(flags=_core.F_LOWER_PRIO_NO_ADVERT)
    made.advance(SECOND)
    done = made.hear(99)
    assert sent(done) == []
    assert announced(done) == [5]
    assert len(events(done, _core.EV_RX_LOWER_PRI)) == 1


def test_garp_lower_prio_repeat_and_delay() -> None:
    """Its own repeat, in the second burst as well."""
    made = master(
        garp_master_delay_ns=0, garp_lower_prio_repeat=2, garp_lower_prio_delay_ns=2 * SECOND
    )
    assert announced(made.hear(99)) == [2]
    assert announced(made.advance(2 * SECOND - 1)) == []
    assert announced(made.advance(1)) == [2]
    made = master(garp_lower_prio_repeat=0)
    assert announced(made.hear(99)) == []


def test_higher_prio_send_advert() -> None:
    """keepalived: one more advert before yielding, so that the winner announces again."""
    made = master(flags=_core.F_HIGHER_PRIO_SEND_ADVERT)
    done = made.hear(200)
    assert sent(done) == [100]
    assert made.state() == "BACKUP"


def test_two_owners() -> None:
    """RFC 9568 8.3.2: a mistake of the operator, decided by address like any other tie."""
    made = master(priority=255)
    made.hear(255, source=own(1))
    assert made.state() == "MASTER"
    made.hear(255, source=own(3))
    assert made.state() == "BACKUP"


def test_70_shutdown() -> None:
    """RFC 9568 6.4.3 (620): one priority 0, then the addresses go, then Initialize for good."""
    made = master()
    done = made.stop()
    assert [a.name for a in done if a.name != "event"] == ["tx", "play"]
    assert (sent(done), played(done)) == ([0], [P_DOWN])
    assert (made.state(), made.reason()) == ("INIT", "stop")
    assert made.stop() == []
    made.link(up=False)
    made.link(up=True)
    assert made.state() == "INIT"
    assert made.advance(100 * SECOND) == []


def test_fault_says_goodbye_twice() -> None:
    """keepalived: priority 0 twice on a fault."""
    made = master()
    done = made.fault(set=_core.FAULT_SCRIPT)
    assert (sent(done), played(done)) == ([0, 0], [P_DOWN])
    assert made.state() == "FAULT"


# ---- contention ----


def test_contention_has_a_start_an_end_and_a_winner() -> None:
    """One event each, however long it lasts; conformance 85: the winner announces again."""
    made = master(garp_master_delay_ns=0, garp_lower_prio_delay_ns=0)
    for _ in range(5):
        made.hear(99)
        made.advance(SECOND)
    (start,) = events(made.log, _core.EV_DUAL_MASTER)
    assert (start.a, start.b, start.address) == (1, 1, own(1))
    assert made.count("contention") == 1
    before = len(made.log)
    made.advance(4 * SECOND)
    later = made.log[before:]
    (end,) = events(later, _core.EV_DUAL_MASTER)
    assert (end.a, end.b) == (0, 1)
    assert announced(later) == [5]


def test_contention_lost() -> None:
    made = master()
    made.advance(SECOND)
    made.hear(99)
    made.hear(200, source=own(7))
    end = events(made.log, _core.EV_DUAL_MASTER)[-1]
    assert (end.a, end.b) == (0, 0)
    assert made.state() == "BACKUP"


# ---- own lateness ----


def test_96_after_a_pause_it_listens_before_it_speaks() -> None:
    """Nothing stale: one skew (half an interval at most) of listening, then advert and announce."""
    made = master(garp_master_delay_ns=SECOND, garp_master_refresh_ns=2 * SECOND)
    made.sleep(10 * SECOND)
    done = made.tick()
    assert (sent(done), announced(done)) == ([], [])
    assert events(done, _core.EV_LATE)[0].a == 9 * SECOND
    assert made.remaining() == SECOND // 2
    done = made.advance(SECOND // 2)
    assert (sent(done), announced(done)) == ([100], [5])
    assert made.count("late") == 1


def test_96_after_a_pause_it_yields_to_whoever_took_over() -> None:
    """Equal priority, higher address: it was right to take over."""
    made = master()
    made.sleep(10 * SECOND)
    made.tick()
    done = made.hear(100, source=own(9))
    assert made.state() == "BACKUP"
    assert sent(done) == announced(done) == []


def test_96_packets_before_timers() -> None:
    """The engine drains the socket first: then not even the listening is needed."""
    made = master()
    made.sleep(10 * SECOND)
    made.hear(101)
    assert made.state() == "BACKUP"
    assert sent(made.tick()) == []


def test_an_acknowledgement_while_listening_is_not_announced() -> None:
    made = master(auto_play=False)
    made.sleep(10 * SECOND)
    made.tick()
    assert announced(made.played(0, generation(made))) == []
    assert announced(made.advance(SECOND // 2)) == [5]


@pytest.mark.parametrize(
    ("late", "flags", "state"),
    [
        (10 * SECOND, _core.F_NOPREEMPT, "BACKUP"),
        (2100 * MS, _core.F_NOPREEMPT, "BACKUP"),
        (1900 * MS, _core.F_NOPREEMPT, "MASTER"),
        (10 * SECOND, 0, "MASTER"),
    ],
)
def test_timer_expired_backup(late: int, flags: int, state: str) -> None:
    """keepalived 2.2.8: a nopreempt master asleep long enough for that priority to take over."""
    made = master(flags=flags, timer_expired_backup=254)
    made.sleep(made.remaining() + late)
    made.tick()
    assert made.state() == state
    if state == "BACKUP":
        assert made.reason() == "own pause"
        assert made.remaining() == made.status().master_down_interval_ns


# ---- addresses, programs, announcements ----


def test_84_no_announcement_before_the_kernel_has_the_address() -> None:
    """RFC 9568 8.1.2, 8.2.2 [M]."""
    made = master(auto_play=False)
    assert announced(made.log) == []
    assert not made.status().vips_up
    assert announced(made.advance(20 * SECOND)) == []
    done = made.played(0, generation(made))
    assert announced(done) == [5]
    assert made.status().vips_up


def test_84_a_stale_acknowledgement_announces_nothing() -> None:
    """The up program of a mastership that is over, or of another generation."""
    made = master(auto_play=False)
    old = generation(made)
    made.hear(200)
    assert made.played(0, old) == []
    made.become_master()
    assert generation(made) != old
    assert announced(made.played(0, old)) == []
    assert not made.status().vips_up
    assert announced(made.played(0, generation(made))) == [5]


def test_83_bursts_and_refresh() -> None:
    """garp_master_repeat now and after garp_master_delay; refresh on its own clock."""
    made = master(
        garp_master_repeat=3,
        garp_master_delay_ns=2 * SECOND,
        garp_master_refresh_ns=5 * SECOND,
        garp_master_refresh_repeat=2,
        advert_int_ns=3 * SECOND,
    )
    began = made.now
    made.advance(16 * SECOND)
    bursts = [(a.at - began, a.detail[0]) for a in made.log if a.name == "announce"]
    assert bursts == [
        (0, 3),
        (2 * SECOND, 3),
        (5 * SECOND, 2),
        (10 * SECOND, 2),
        (15 * SECOND, 2),
    ]


def test_83_no_second_burst() -> None:
    made = master(garp_master_delay_ns=0)
    assert announced(made.advance(60 * SECOND)) == []


def test_refused_requests_are_tried_again_with_growing_delays() -> None:
    """0.1 s doubling to 5 s, for ever; success ends it."""
    made = master(auto_play=False, garp_master_delay_ns=0)
    gaps = []
    for _ in range(8):
        done = made.played(0, generation(made), error=1, failed=1)
        assert [(e.a, e.b, e.c) for e in events(done, _core.EV_PLAYED)] == [(1, 1, P_UP)]
        asked = made.now
        while P_UP not in played(made.advance_to(made.core.next_due_ns())):
            pass
        gaps.append(made.now - asked)
    assert gaps == [n * 100 * MS for n in (1, 2, 4, 8, 16, 32, 50, 50)]
    made.played(0, generation(made))
    assert P_UP not in played(made.advance(60 * SECOND))


def test_no_retry_after_mastership() -> None:
    made = master(auto_play=False)
    made.played(0, generation(made), error=1, failed=1)
    made.hear(200)
    assert played(made.advance(2 * SECOND)) == []


def test_79_a_deleted_address_is_put_back_and_announced() -> None:
    made = master()
    made.advance(10 * SECOND)
    done = made.replay()
    assert (played(done), announced(done)) == ([P_UP], [5])
    made.hear(200)
    assert made.replay() == []


# ---- commit over a running master ----


def test_commit_changes_nothing_on_the_wire() -> None:
    """A reload of an unchanged instance: state, phase, master, counters, sequence stay."""
    made = master()
    made.advance(300 * MS)
    before = made.status()
    for change, plays in ((b"", []), (program(7), [P_CHANGE])):
        done = made.add(instance(change=change))
        assert played(done) == plays
        assert (sent(done), announced(done)) == ([], [])
        assert made.status() == before


def test_78_a_new_address_is_added_and_announced_alone() -> None:
    """Only what is new: one more up program, an announcement marked so."""
    made = master(garp_master_delay_ns=2 * SECOND)
    made.advance(10 * SECOND)
    more = instance(
        addresses=[VIP4, own(50)],
        announce=announcement(VIP4) + announcement(own(50), 1, new=True),
        up=program(1, 2),
        change=program(7),
        garp_master_delay_ns=2 * SECOND,
    )
    done = made.add(more)
    assert played(done) == [P_CHANGE, P_UP]
    assert [a.detail for a in done if a.name == "announce"] == [(5, True)]
    assert sent(done) == []
    later = made.advance(2 * SECOND)
    assert [a.detail for a in later if a.name == "announce"] == [(5, True)]
    assert made.core.advert_bytes(0, 100)[3] == 2


def test_84_commit_before_the_first_acknowledgement() -> None:
    """The acknowledgement of the old program says nothing about the new addresses."""
    made = master(auto_play=False)
    old = generation(made)
    made.add(instance(addresses=[VIP4, own(50)], up=program(1, 2)))
    assert announced(made.played(0, old)) == []
    done = made.played(0, generation(made))
    assert [a.detail for a in done if a.name == "announce"] == [(5, False)]


def test_commit_a_shorter_interval() -> None:
    """The next advert comes within the new interval."""
    made = master(advert_int_ns=40 * SECOND)
    made.add(instance(advert_int_ns=100 * MS))
    assert made.remaining() == 100 * MS
    made.advance(100 * MS)
    assert made.remaining() == 100 * MS


def test_commit_a_refresh() -> None:
    """garp_master_refresh turned on, shortened, turned off, without any other change."""
    made = master(garp_master_delay_ns=0)
    made.add(instance(garp_master_delay_ns=0, garp_master_refresh_ns=20 * SECOND))
    assert announced(made.advance(20 * SECOND)) == [1]
    made.add(instance(garp_master_delay_ns=0, garp_master_refresh_ns=3 * SECOND))
    assert announced(made.advance(3 * SECOND)) == [1]
    made.add(instance(garp_master_delay_ns=0))
    assert announced(made.advance(60 * SECOND)) == []


def test_06_commit_another_source() -> None:
    """RFC 9568 7.2: the next advert comes from the new primary address."""
    made = master()
    made.add(instance(source=own(77)))
    assert made.status().source == own(77)
    assert made.state() == "MASTER"
    code, _ = made.feed(made.core.advert_bytes(0, 100), source=own(77))
    assert _core.RX_NAMES[code] == "own_looped"


def test_commit_another_priority() -> None:
    made = master()
    done = made.add(instance(priority=42))
    assert [(e.a, e.b) for e in events(done, _core.EV_PRIORITY)] == [(100, 42)]
    assert sent(made.advance(SECOND)) == [42]


def test_remove_and_reuse_of_a_slot() -> None:
    """Goodbye, then a clean start: no counter, no timer, no acknowledgement of the old one."""
    made = master(auto_play=False)
    old = generation(made)
    done = made.add(remove=[0])
    assert (sent(done), played(done)) == ([0], [P_DOWN])
    with pytest.raises(KeyError):
        made.status()
    assert _core.RX_NAMES[made.feed(b"\x31\x0a" + bytes(20))[0]] == "vrid_err"
    made.add(instance(vrid=11))
    assert made.state() == "BACKUP"
    assert set(made.status().counters.values()) == {0}
    assert made.played(0, old) == []
    made.become_master()
    assert made.played(0, old) == []
    assert generation(made) != old


def test_remove_and_add_in_one_commit() -> None:
    made = master()
    done = made.add(instance(vrid=11, priority=50), remove=[0])
    assert sent(done) == [0]
    assert made.state() == "BACKUP"
    assert made.status().base_priority == 50
