"""Whether a child lives: the shared page and the alarm, and what the supervisor makes of them."""

from __future__ import annotations

import os
import re
import select
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fastvrrp import _core
from fastvrrp.config import model
from fastvrrp.supervisor import pulse
from fastvrrp.supervisor.held import vrrp_part
from fastvrrp.supervisor.pulse import Beat, Page, Signs, Watch

LIMIT_S = 10.0
NS = 1_000_000_000


def signs(due_s: float = 0.0, turns: int = 0, answered: int = 0) -> Signs:
    return Signs(int(due_s * NS), turns, answered)


def test_the_page_is_shared_and_cannot_shrink() -> None:
    fd = pulse.create()
    ours, theirs = Page(fd), Page(fd)
    theirs.turn(123)
    theirs.turn(pulse.NEVER_NS)
    theirs.answer(7)
    assert ours.read() == Signs(pulse.NEVER_NS, 2, 7)
    with pytest.raises(PermissionError):
        os.ftruncate(fd, 0)
    ours.close()
    theirs.close()
    os.close(fd)


def test_an_engine_shows_its_turns_and_that_it_ended() -> None:
    fd = pulse.create()
    page = Page(fd)
    engine = _core.Engine(instances=8, links=1, groups=1, pulse=fd)
    assert page.read() == Signs(0, 0, 0), "nothing before it runs"
    engine.start()
    for _ in range(3):
        before = page.read().turns
        deadline = time.monotonic() + 5
        while page.read().turns == before:
            # A command that changes nothing is a turn, unless it comes while one is under way.
            engine.fault(0, set=0, clear=0)
            assert time.monotonic() < deadline, "no turn"
            time.sleep(0.001)
    engine.stop()
    assert engine.join(5)
    assert page.read().due_ns == pulse.NEVER_NS
    os.close(fd)
    del engine
    page.close()


def test_each_engine_thread_has_a_place_of_its_own() -> None:
    fd = pulse.create()
    page = Page(fd)
    engines = [
        _core.Engine(instances=8, links=1, groups=1, pulse=fd, thread=number)
        for number in range(pulse.MAX_ENGINES)
    ]
    page.answer(7)
    for number, engine in enumerate(engines):
        engine.start()
        deadline = time.monotonic() + 5
        while not all(beat.due_ns for beat in page.read().beats()[number:] or (Beat(0, 0),)):
            assert time.monotonic() < deadline, "no turn"
            time.sleep(0.001)
        assert len(page.read().beats()) == number + 1
    before = page.read()
    assert before.answered == 7
    assert {beat.due_ns for beat in before.beats()} == {pulse.NEVER_NS}
    engines[9].fault(0, set=0, clear=0)
    deadline = time.monotonic() + 5
    while (after := page.read().beats()) == before.beats():
        assert time.monotonic() < deadline, "no turn"
        time.sleep(0.001)
    assert [n for n in range(len(engines)) if after[n].turns != before.beats()[n].turns] == [9]
    for engine in engines:
        engine.stop()
    assert all(engine.join(5) for engine in engines)
    engines.clear()
    page.close()
    os.close(fd)


# ---- the alarm ----

INTERVAL_S = 40  # such a backup hears nobody, says nothing and has its next deadline far away


@pytest.fixture
def ends() -> Iterator[pulse.Ends]:
    made = pulse.Ends(pulse.create(), pulse.create_alarm())
    yield made
    for fd in made:
        os.close(fd)


def set_for_s(alarm: int) -> float:
    """In how many seconds it rings; 0: it is not set, or has rung."""
    text = Path(f"/proc/self/fdinfo/{alarm}").read_text()
    found = re.search(r"it_value: \((\d+), (\d+)\)", text)
    assert found is not None, text
    return int(found[1]) + int(found[2]) / NS


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def until_set(alarm: int) -> float:
    until(lambda: set_for_s(alarm))
    return set_for_s(alarm)


def rings(alarm: int, within_s: float) -> bool:
    return bool(select.select([alarm], [], [], within_s)[0])


class Turning:
    """An engine with a backup on the loopback interface, whose deadline is 120 s away."""

    def __init__(self, ends: pulse.Ends, **how: int) -> None:
        self.engine = _core.Engine(
            instances=8, links=1, groups=1, pulse=ends.page, alarm=ends.alarm, **how
        )
        self.engine.start()

    def live(self) -> None:
        self.engine.link(0, ifindex=1)
        backup = _core.Instance(
            slot=0,
            vrid=7,
            family=4,
            version=3,
            priority=100,
            advert_int_ns=INTERVAL_S * NS,
            link=0,
            source=bytes((127, 0, 0, 1)),
            destination=bytes((224, 0, 0, 18)),
            addresses=[bytes((192, 0, 2, 1))],
        )
        self.engine.commit([backup], epoch=1)

    def end(self) -> None:
        self.engine.stop()
        assert self.engine.join(5)


def test_an_alarm_rings_once_and_can_be_set_for_later(ends: pulse.Ends) -> None:
    assert not rings(ends.alarm, 0)
    pulse.set_alarm(ends.alarm, time.monotonic_ns() + 100 * NS)
    assert 99 < set_for_s(ends.alarm) <= 100
    pulse.set_alarm(ends.alarm, time.monotonic_ns())
    assert rings(ends.alarm, 5)
    os.read(ends.alarm, 8)
    assert not rings(ends.alarm, 0)
    pulse.set_alarm(ends.alarm, time.monotonic_ns() + NS)
    pulse.set_alarm(ends.alarm, 0)
    assert set_for_s(ends.alarm) == 0


def test_an_engine_sets_the_alarm_for_some_time_after_its_deadline(ends: pulse.Ends) -> None:
    turning = Turning(ends)
    assert set_for_s(ends.alarm) == 0, "it has no deadline"
    turning.live()
    down_s = 3 * INTERVAL_S * (1 + (256 - 100) / 256 / 3)
    assert until_set(ends.alarm) == pytest.approx(down_s + LIMIT_S + LIMIT_S / 2, abs=1)
    turning.end()
    assert set_for_s(ends.alarm) == 0


def test_an_engine_does_not_hide_that_another_one_stands_still(ends: pulse.Ends) -> None:
    page = pulse.Page(ends.page)
    page.turn(time.monotonic_ns() - 5 * NS)
    late = Turning(ends, thread=1)
    late.live()
    assert until_set(ends.alarm) == pytest.approx(LIMIT_S / 2 + LIMIT_S - 5, abs=1)
    late.end()
    pulse.set_alarm(ends.alarm, 0)
    page.turn(time.monotonic_ns() - 11 * NS)
    later = Turning(ends, thread=1)
    later.live()
    until(lambda: time.monotonic_ns() < page.read().beats()[-1].due_ns < pulse.NEVER_NS)
    before = page.read()
    later.engine.fault(0, set=0, clear=0)
    until(lambda: page.read() != before)  # a turn after that with the deadline
    assert set_for_s(ends.alarm) == 0, "it would have rung, and is left to it"
    later.end()
    page.close()


def test_the_alarm_rings_when_nobody_reads_what_an_engine_tells(ends: pulse.Ends) -> None:
    turning = Turning(ends, alarm_ns=NS // 5)
    turning.live()
    deadline = time.monotonic() + 5
    while not rings(ends.alarm, 0.01):
        turning.engine.fault(0, set=_core.FAULT_SCRIPT)  # a turn with something to tell
        turning.engine.fault(0, clear=_core.FAULT_SCRIPT)
        assert time.monotonic() < deadline, "it does not ring"
    turning.end()


def test_the_alarm_is_silent_while_what_an_engine_tells_is_read(ends: pulse.Ends) -> None:
    turning = Turning(ends, alarm_ns=NS // 5)
    turning.live()
    end = time.monotonic() + 0.6
    while time.monotonic() < end:
        turning.engine.fault(0, set=_core.FAULT_SCRIPT)
        turning.engine.fault(0, clear=_core.FAULT_SCRIPT)
        assert not rings(ends.alarm, 0.01)
        turning.engine.events()
    turning.end()


@pytest.mark.parametrize(
    ("configuration", "by_time"),
    [
        (model.Configuration(), False),
        (model.Configuration(track_files=(model.TrackFile(name="f", file="/f"),)), True),
        (model.Configuration(global_defs=model.GlobalDefs(log_unknown_vrids=True)), True),
    ],
)
def test_whose_loop_has_work_by_time(configuration: model.Configuration, by_time: bool) -> None:
    assert vrrp_part(configuration, alone=True).by_time is by_time


# ---- the supervisor's judgement ----


def test_after_an_alarm_an_engine_may_still_have_slept_with_us() -> None:
    """The last look was long ago: that there was no turn since says nothing yet."""
    watch = Watch(LIMIT_S)
    stuck = signs(due_s=101.0, turns=5)
    watch.look(stuck, 100.0)
    watch.doubt()
    reason, again_s = watch.look(stuck, 116.0)
    assert reason == ""
    assert again_s is not None
    assert 116.2 < again_s < 117.0
    assert watch.look(stuck, again_s)[0].startswith("its engine has stood still")


def test_after_a_pause_of_everybody_more_looks_prove_nothing() -> None:
    """Several things may look as soon as the supervisor goes on, before the child has had a turn;
    and that the last look was on time does not say that nobody slept."""
    watch = Watch(LIMIT_S)
    stuck = signs(due_s=101.0, turns=5)
    watch.look(stuck, 100.9)
    watch.ask(100.9)
    for now_s in (116.0, 116.01, 116.4):
        assert watch.look(stuck, now_s)[0] == ""
    assert watch.look(signs(due_s=117.0, turns=6, answered=1), 116.6)[0] == ""
    assert watch.look(signs(due_s=117.0, turns=6, answered=1), 117.1)[0] == ""


def test_a_loop_that_was_late_may_be_late_again() -> None:
    """Each Ping has its own time, and its own second look."""
    watch = Watch(LIMIT_S)
    watch.ask(100.0)
    assert watch.look(signs(), 109.0)[0] == ""
    assert watch.look(signs(answered=1), 109.5)[0] == ""
    watch.ask(110.0)
    assert watch.look(signs(answered=1), 125.0)[0] == ""
    assert watch.look(signs(answered=1), 125.5)[0].startswith("its event loop has stood still")


def test_a_bad_descriptor_makes_no_engine() -> None:
    with pytest.raises(OSError, match="pulse"):
        _core.Engine(instances=8, links=1, groups=1, pulse=2**20)


def test_a_moving_engine_is_well_however_late() -> None:
    watch = Watch(LIMIT_S)
    for turn in range(100):
        reason, again_s = watch.look(signs(due_s=1.0, turns=turn), 100.0 + turn)
        assert reason == ""
        assert again_s is not None
        assert again_s < 100.0 + turn + 1.0, "but it is watched more closely"


def test_an_engine_that_sleeps_until_its_deadline_is_well() -> None:
    watch = Watch(LIMIT_S)
    for now in (0.0, 10.0, 30.0):
        assert watch.look(signs(due_s=40.0, turns=5), now) == ("", None)
        assert watch.look(signs(due_s=pulse.NEVER_NS / NS, turns=5), now)[0] == ""


def test_no_engine_is_none_that_hangs() -> None:
    watch = Watch(LIMIT_S)
    assert watch.look(signs(), 1e6) == ("", None)
    assert watch.look(signs(), 2e6) == ("", None)


def test_a_stuck_engine_is_found_as_soon_as_its_time_is_over() -> None:
    watch = Watch(LIMIT_S)
    assert watch.look(signs(due_s=101.0, turns=5), 100.5) == ("", None)
    reason, again_s = watch.look(signs(due_s=101.0, turns=5), 109.0)
    assert reason == ""
    assert again_s == pytest.approx(111.0, abs=0.02)
    assert again_s is not None
    reason, _ = watch.look(signs(due_s=101.0, turns=5), again_s)
    assert reason.startswith("its engine has stood still for 10.0")


def threads(*beats: tuple[float, int]) -> Signs:
    """Of some engine threads: (due in seconds, turns)."""
    first, *others = [Beat(int(due_s * NS), turns) for due_s, turns in beats]
    return Signs(first.due_ns, first.turns, 0, tuple(others))


@pytest.mark.parametrize("stuck", [0, 1, 2])
def test_one_stuck_thread_does_not_hide_behind_the_others(stuck: int) -> None:
    watch = Watch(LIMIT_S)

    def look(now_s: float) -> tuple[str, float | None]:
        beats = [(now_s + 0.05, int(100 * now_s))] * 3
        beats[stuck] = (101.0, 5)
        return watch.look(threads(*beats), now_s)

    assert look(100.5) == ("", None)
    reason, again_s = look(109.0)
    assert reason == ""
    assert again_s == pytest.approx(111.0, abs=0.02)
    assert again_s is not None
    reason, _ = look(again_s)
    assert reason.startswith(f"its engine thread {stuck + 1} has stood still for 10.0")


def test_the_thread_that_is_late_soonest_decides_when_to_look() -> None:
    watch = Watch(LIMIT_S)
    signs_ = threads((105.0, 1), (101.0, 1), (200.0, 1))
    watch.look(signs_, 100.0)
    assert watch.look(signs_, 107.0) == ("", pytest.approx(111.01))


def test_idle_threads_beside_a_busy_one_are_well() -> None:
    watch = Watch(LIMIT_S)
    for now in range(100, 160, 10):
        beats = ((now + 0.1, now), (pulse.NEVER_NS / NS, 3))
        assert watch.look(threads(*beats), float(now)) == ("", None)


def test_an_unanswered_ping() -> None:
    watch = Watch(LIMIT_S)
    assert watch.ask(100.0) == 1
    assert watch.look(signs(answered=1), 110.0) == ("", None)
    assert not watch.waits(signs(answered=1))
    assert watch.ask(110.0) == 2
    reason, again_s = watch.look(signs(answered=1), 115.0)
    assert reason == ""
    assert watch.waits(signs(answered=1))
    assert again_s == pytest.approx(120.0, abs=0.02)
    assert watch.look(signs(answered=1), 120.1)[0].startswith("its event loop has stood still")


def test_an_answer_that_no_look_has_seen_yet() -> None:
    """Otherwise a request in vain would not have the loop asked again."""
    watch = Watch(LIMIT_S)
    watch.ask(100.0)
    assert watch.waits(signs(answered=0))
    assert not watch.waits(signs(answered=1))


def test_a_busy_loop_owes_no_answer() -> None:
    watch = Watch(LIMIT_S)
    watch.ask(100.0)
    watch.busy()
    assert watch.look(signs(), 200.0) == ("", None)


def test_after_a_pause_of_the_machine_everybody_gets_the_whole_limit() -> None:
    watch = Watch(LIMIT_S)
    watch.ask(100.0)
    watch.look(signs(due_s=101.0, turns=5), 100.0)
    watch.forgive(200.0)
    assert watch.look(signs(due_s=101.0, turns=5), 200.0)[0] == ""
    assert watch.look(signs(due_s=101.0, turns=5), 209.0)[0] == ""
    assert watch.look(signs(due_s=101.0, turns=5), 210.1)[0] != ""
