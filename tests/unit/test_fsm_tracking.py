"""Effective priority, fault reasons, tracked links (keepalived's rules), and reload of a backup."""

from __future__ import annotations

from typing import Any

import pytest

from fastvrrp import _core
from model.driver import MS, SECOND, Driver, events, instance, sent

START = 1_000_000_000_000


def backup(links_up: tuple[int, ...] = (0, 1, 2), **change: Any) -> Driver:
    made = Driver(now=START, links_up=links_up)
    made.add(instance(**change))
    return made


@pytest.mark.parametrize(
    ("base", "total", "effective"),
    [
        (100, 0, 100),
        (100, 54, 154),
        (100, 200, 254),
        (100, -200, 1),
        (254, 1, 254),
        (1, -1, 1),
        (255, -254, 255),
        (255, 10, 255),
    ],
)
def test_weights_are_clamped(base: int, total: int, effective: int) -> None:
    """clamp(base + sum, 1, 254); an owner's 255 never changes."""
    made = backup(priority=base)
    done = made.adjust(total)
    assert made.status().effective_priority == effective
    told = [(e.a, e.b) for e in events(done, _core.EV_PRIORITY)]
    assert told == ([] if base == effective else [(base, effective)])


def test_60_priority_moves_the_running_timer() -> None:
    """By the difference of the skews; the base of the timer is kept."""
    made = backup()
    made.hear(150)
    made.advance(SECOND)
    made.adjust(50)
    assert made.remaining() == 2 * SECOND + (256 - 150) * SECOND // 256
    made.adjust(0)
    assert made.remaining() == 2 * SECOND + (256 - 100) * SECOND // 256


def test_priority_never_moves_the_timer_into_the_past() -> None:
    made = backup(down_timer_adverts=1, advert_int_ns=SECOND)
    made.hear(150)
    made.advance(SECOND + 500 * MS)
    made.adjust(154)
    assert made.remaining() == 0
    assert sent(made.tick()) == [254]


def test_master_advertises_the_new_priority_at_the_next_beat() -> None:
    made = backup()
    made.become_master()
    assert sent(made.adjust(-30)) == []
    assert sent(made.advance(SECOND)) == [70]


def test_weight_makes_a_backup_preempt() -> None:
    made = backup()
    made.hear(120)
    made.adjust(30)
    for _ in range(4):
        made.advance(SECOND)
        if made.state() == "BACKUP":
            made.hear(120)
    assert made.state() == "MASTER"


@pytest.mark.parametrize(
    ("weight", "reverse", "when_up", "when_down"),
    [
        (10, False, 110, 100),
        (-10, False, 100, 90),
        (10, True, 90, 100),
        (-10, True, 100, 110),
    ],
)
def test_tracked_link_weights(weight: int, reverse: bool, when_up: int, when_down: int) -> None:
    """keepalived's table of weights."""
    made = backup(tracks=[(1, weight, reverse)])
    assert made.status().effective_priority == when_up
    made.link(1, up=False)
    assert made.status().effective_priority == when_down
    assert made.state() == "BACKUP"
    made.link(1, up=True)
    assert made.status().effective_priority == when_up


def test_weights_of_links_and_trackers_add_up() -> None:
    made = backup(tracks=[(1, 10, False), (2, -30, False)], adjust=5)
    assert made.status().effective_priority == 115
    made.link(2, up=False)
    assert made.status().effective_priority == 85
    made.adjust(-20)
    assert made.status().effective_priority == 60


@pytest.mark.parametrize("reverse", [False, True])
def test_tracked_link_of_weight_zero(reverse: bool) -> None:
    """Down is a fault; with reverse, up is."""
    made = backup(tracks=[(1, 0, reverse)])
    for up in (False, True, False, True):
        made.link(1, up=up)
        faulty = up == reverse
        assert made.state() == ("FAULT" if faulty else "BACKUP")
        assert bool(made.status().fault & _core.FAULT_TRACK_LINK) == faulty


def test_own_interface_is_tracked_unless_told_otherwise() -> None:
    made = backup()
    made.link(0, up=False)
    assert (made.state(), made.status().fault) == ("FAULT", _core.FAULT_LINK)
    made = backup(flags=_core.F_DONT_TRACK_PRIMARY)
    made.link(0, up=False)
    assert made.state() == "BACKUP"


def test_fault_is_left_when_every_reason_is_gone() -> None:
    made = backup()
    made.become_master()
    made.link(0, up=False)
    made.fault(set=_core.FAULT_SCRIPT | _core.FAULT_FILE)
    made.link(0, up=True)
    made.fault(clear=_core.FAULT_SCRIPT)
    assert made.state() == "FAULT"
    made.fault(clear=_core.FAULT_FILE)
    assert (made.state(), made.reason()) == ("BACKUP", "fault cleared")
    assert made.remaining() == made.status().master_down_interval_ns


def test_a_second_reason_changes_nothing() -> None:
    made = backup()
    made.fault(set=_core.FAULT_SCRIPT)
    sequence = made.status().sequence
    assert events(made.fault(set=_core.FAULT_PROCESS), _core.EV_STATE) == []
    assert made.status().sequence == sequence


def test_repeated_link_events_are_nothing_new() -> None:
    made = backup()
    assert made.link(0, up=True) == []
    made.link(0, up=False)
    assert made.link(0, up=False) == []


def test_99_link_flaps() -> None:
    """100 flaps end in the right state, and every mastership ends with a goodbye."""
    made = backup()
    for _ in range(100):
        made.become_master()
        assert sent(made.link(0, up=False)) == [0, 0]
        made.link(0, up=True)
    assert made.state() == "BACKUP"
    assert made.count("become_master") == made.count("release_master") == 100


# ---- reload of a backup ----


def test_60_commit_another_priority_keeps_the_timer_base() -> None:
    made = backup()
    made.hear(200)
    made.advance(SECOND)
    made.add(instance(priority=150))
    assert made.state() == "BACKUP"
    assert made.remaining() == 2 * SECOND + (256 - 150) * SECOND // 256
    assert made.status().master_priority == 200


def test_commit_keeps_the_learned_interval() -> None:
    """The master goes on with its own; only silence makes ours count."""
    made = backup()
    made.hear(200, interval_ns=300 * MS)
    made.add(instance(advert_int_ns=2 * SECOND))
    assert made.status().master_advert_int_ns == 300 * MS


def test_commit_of_an_interval_nobody_has_contradicted() -> None:
    """No master known: the new interval counts at once (40 s to 100 ms does not wait 120 s)."""
    made = backup(advert_int_ns=40 * SECOND)
    made.add(instance(advert_int_ns=100 * MS))
    assert made.remaining() == 300 * MS + 156 * 100 * MS // 256


def test_commit_of_a_version_2_interval() -> None:
    made = backup(version=2)
    made.hear(200, version=2)
    made.add(instance(version=2, advert_int_ns=3 * SECOND))
    assert made.remaining() == 9 * SECOND + 156 * SECOND // 256
    made.hear(200, version=2)
    assert made.remaining() == 9 * SECOND + 156 * SECOND // 256


def test_commit_of_faults_and_weights() -> None:
    """The control plane's reasons come with the record; the core's own are measured."""
    made = backup(links_up=(0,))
    made.add(instance(tracks=[(1, 0, False)]))
    assert made.state() == "FAULT"
    made.add(instance(fault=_core.FAULT_SCRIPT))
    assert made.status().fault == _core.FAULT_SCRIPT
    made.add(instance(adjust=7))
    assert (made.state(), made.status().effective_priority) == ("BACKUP", 107)


def test_an_instance_is_committed_once() -> None:
    made = Driver()
    one = instance()
    made.add(one)
    with pytest.raises(ValueError, match="committed already"):
        made.add(one)


@pytest.mark.parametrize("change", [{"slot": 16}, {"link": 8}, {"group": 8}])
def test_commit_checks_its_ranges(change: dict[str, int]) -> None:
    made = Driver()
    with pytest.raises(ValueError, match="is not in"):
        made.add(instance(**{"slot": 0, **change}))


def test_unknown_slots_are_harmless() -> None:
    made = backup()
    before = made.core.fingerprint()
    for slot in (5, 15, 16, 4_000_000_000):
        assert made.core.fault(slot, set=4, now_ns=made.now) == []
        assert made.core.adjust(slot, 4, now_ns=made.now) == []
        assert made.core.replay(slot, now_ns=made.now) == []
        assert made.core.stop(slot, now_ns=made.now) == []
        assert made.core.played(slot, 1, now_ns=made.now) == []
        assert made.core.commit([], remove=[slot], now_ns=made.now) == []
    assert made.core.fingerprint() == before
