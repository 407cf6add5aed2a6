"""Whether a child lives: the shared page, and what the supervisor makes of it."""

from __future__ import annotations

import os
import time

import pytest

from fastvrrp import _core
from fastvrrp.supervisor import pulse
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
