"""Running checks: when attempts begin, who hears what, what is shared, what a reload leaves."""

from __future__ import annotations

import random

import msgspec
import pytest
from checks_scene import NO_WARMUP, Scene, plain
from pool_making import check
from virtual_time import DOWN, LOCAL, MS, UP, FollowingFake, S

from fastvrrp import _core
from fastvrrp.config.base import Command
from fastvrrp.config.servers import (
    Check,
    Connection,
    FileCheck,
    HttpCheck,
    MiscCheck,
    Schedule,
    TcpCheck,
    Url,
)
from fastvrrp.ipvs.checks.base import Outcome, Verdict
from fastvrrp.ipvs.runner import Kind, Report, Subscription
from fastvrrp.ipvs.scheduler import START_BATCH

# ---- when ----


def test_attempts_begin_after_a_second_and_then_every_delay_loop() -> None:
    scene = Scene()
    scene.add(a=plain())
    scene.loop.run(20 * S)
    # delay_loop counts from the end of an attempt, which takes 10 ms here
    assert scene.begun() == pytest.approx([1, 7.01, 13.02, 19.03], abs=0.002)


def test_thousands_do_not_fire_together() -> None:
    scene = Scene()
    checks = {f"s{n}": check(n, warmup_ns=10 * S, delay_loop_ns=10 * S) for n in range(1000)}
    scene.add(**checks)
    scene.loop.run(11 * S + MS)
    first = sorted(scene.begun(n)[0] for n in range(1000))
    assert first[0] >= 1
    assert first[-1] <= 11.001
    for second in range(1, 11):
        assert 60 < sum(second <= moment < second + 1 for moment in first) < 140


def added_later(number: int) -> list[float]:
    """When the first attempts of this many new checks begin, after others ran for a while."""
    scene = Scene()
    scene.add(a=plain())
    scene.loop.run(10 * S)
    scene.begin_ns = scene.loop.now_ns
    scene.add(**{f"s{n}": check(100 + n, warmup_ns=60 * S) for n in range(number)})
    scene.loop.run(10 * S)
    return sorted(scene.begun(1 + n)[0] for n in range(number))


def test_what_a_reload_adds_begins_within_two_seconds() -> None:
    moments = added_later(500)
    assert moments[0] == pytest.approx(1, abs=0.1)
    assert moments[250] == pytest.approx(1.5, abs=0.1)
    assert moments[-1] <= 2.001


def test_thousands_that_a_reload_adds_take_a_millisecond_each() -> None:
    moments = added_later(5000)
    for second in range(1, 6):
        assert 900 < sum(second <= moment < second + 1 for moment in moments) < 1100


def test_and_no_longer_than_their_warmup() -> None:
    scene = Scene()
    scene.add(a=plain())
    scene.loop.run(10 * S)
    scene.add(b=plain(2))
    scene.loop.run(1 * S)
    assert len(scene.begun(1)) == 1


def test_the_same_dice_give_the_same_moments() -> None:
    moments = []
    for _ in range(2):
        scene = Scene(dice=random.Random(7))
        scene.add(**{f"s{n}": check(n) for n in range(20)})
        scene.loop.run(70 * S)
        moments.append([scene.begun(n)[0] for n in range(20)])
    assert moments[0] == moments[1]


def test_one_timer_serves_all() -> None:
    scene = Scene()
    scene.prepare = lambda probe: setattr(probe, "answers", None)
    scene.add(**{f"s{n}": check(n) for n in range(500)})
    assert scene.loop.timers == 1


def test_attempts_begin_in_batches() -> None:
    scene = Scene()
    scene.prepare = lambda probe: setattr(probe, "answers", None)
    scene.add(**{f"s{n}": plain(n) for n in range(3 * START_BATCH)})
    scene.loop.run(2 * S)
    assert all(len(probe.begun) == 1 for probe in scene.probes)
    assert scene.loop.calls == 3


def test_no_attempt_begins_before_it_is_due() -> None:
    scene = Scene()
    scene.add(a=plain(delay_loop_ns=6 * S + 1))
    scene.loop.run(30 * S)
    ends = [when + 10 * MS for when, _ in scene.probes[0].begun]
    later = [when for when, _ in scene.probes[0].begun][1:]
    assert all(begun >= end + 6 * S + 1 for end, begun in zip(ends, later, strict=False))


def test_a_script_that_takes_long_does_not_make_its_period_longer() -> None:
    scene = Scene()
    scene.prepare = lambda probe: setattr(probe, "takes_ns", 4 * S)
    misc = MiscCheck(command=Command(argv=("/x",)), timeout_ns=S, schedule=Schedule(**NO_WARMUP))
    scene.add(a=misc)
    scene.loop.run(20 * S)
    assert scene.begun() == pytest.approx([1, 7, 13, 19], abs=0.002)


def test_one_that_takes_longer_than_its_period_begins_again_at_once() -> None:
    scene = Scene()
    scene.prepare = lambda probe: setattr(probe, "takes_ns", 8 * S)
    misc = MiscCheck(
        command=Command(argv=("/x",)), timeout_ns=9 * S, schedule=Schedule(**NO_WARMUP)
    )
    scene.add(a=misc)
    scene.loop.run(20 * S)
    assert scene.begun() == pytest.approx([1, 9, 17], abs=0.002)


def test_urls_are_steps() -> None:
    scene = Scene()
    scene.prepare = lambda probe: setattr(probe, "steps", 3)
    http = HttpCheck(
        connection=Connection(address="192.0.2.1", port=80),
        urls=(Url(path="/a"), Url(path="/b"), Url(path="/c")),
        fast_recovery=True,
        schedule=Schedule(**NO_WARMUP),
    )
    scene.add(a=http)
    scene.loop.run(14 * S)
    assert [step for _, step in scene.probes[0].begun] == [0, 1, 2, 0, 1]
    assert scene.begun() == pytest.approx([1, 1.01, 1.02, 7.03, 13.04], abs=0.01)


# ---- what is told ----


def test_the_first_result_is_told_and_then_changes() -> None:
    scene = Scene()
    scene.add(a=plain(retry=1))
    scene.loop.run(8 * S)
    assert scene.heard() == [("a", "state", True)]
    scene.probes[0].answers = lambda step: DOWN
    scene.loop.run(30 * S)
    assert scene.news[0][1] == Report(Kind.STATE, False, False, 1, DOWN)
    assert scene.heard() == [("a", "state", False)]
    scene.probes[0].answers = lambda step: UP
    scene.loop.run(7 * S)
    assert scene.heard() == [("a", "state", True)]


def test_the_first_failure_says_that_it_is_the_first_result() -> None:
    scene = Scene()
    scene.prepare = lambda probe: setattr(probe, "answers", lambda step: DOWN)
    scene.add(a=plain(retry=3))
    scene.loop.run(2 * S)
    assert scene.news == [("a", Report(Kind.STATE, False, True, 0, DOWN))]


def test_single_failures_are_told_where_asked_for_and_while_up_only() -> None:
    scene = Scene()
    scene.add(a=plain(retry=2), b=plain(retry=2, log_all_failures=True))
    scene.loop.run(2 * S)
    assert len(scene.probes) == 1
    scene.heard()
    scene.probes[0].answers = lambda step: DOWN
    scene.loop.run(60 * S)
    assert scene.heard() == [
        ("b", "failure", True),
        ("b", "failure", True),
        ("a", "state", False),
        ("b", "state", False),
    ]


def test_local_problems_are_told_once_a_series() -> None:
    scene = Scene()
    scene.add(a=plain())
    scene.loop.run(2 * S)
    scene.heard()
    for _ in range(2):
        scene.probes[0].answers = lambda step: LOCAL
        scene.loop.run(30 * S)
        assert scene.heard() == [("a", "local", True)]
        scene.probes[0].answers = lambda step: UP
        scene.loop.run(30 * S)
        assert scene.heard() == []


def test_weights_are_told_when_they_change() -> None:
    scene = Scene()
    scene.prepare = lambda probe: setattr(probe, "answers", lambda step: UP._replace(weight=3))
    scene.add(a=plain())
    scene.loop.run(20 * S)
    assert [(r.kind, r.outcome.weight) for _, r in scene.news] == [(Kind.STATE, 3)]
    scene.news.clear()
    scene.probes[0].answers = lambda step: UP._replace(weight_is=3)
    scene.loop.run(20 * S)
    assert [(r.kind, r.outcome.weight_is) for _, r in scene.news] == [(Kind.WEIGHT, 3)]
    scene.news.clear()
    scene.probes[0].answers = lambda step: UP
    scene.loop.run(20 * S)
    assert [(r.kind, r.outcome.weight) for _, r in scene.news] == [(Kind.WEIGHT, 0)]


def test_a_failure_says_nothing_about_weights() -> None:
    scene = Scene()
    scene.prepare = lambda probe: setattr(probe, "answers", lambda step: UP._replace(weight=3))
    scene.add(a=plain(retry=1))
    scene.loop.run(2 * S)
    scene.heard()
    scene.probes[0].answers = lambda step: DOWN
    scene.loop.run(6 * S)
    scene.probes[0].answers = lambda step: UP._replace(weight=3)
    scene.loop.run(20 * S)
    assert scene.heard() == []


# ---- sharing and reloads ----


def test_what_does_the_same_runs_once() -> None:
    scene = Scene()
    scene.add(a=plain(1), b=plain(1, alpha=True), c=plain(2))
    assert len(scene.checks) == len(scene.probes) == 2
    scene.loop.run(2 * S)
    assert sorted(scene.heard()) == [(who, "state", True) for who in "abc"]


@pytest.mark.parametrize(
    "changed",
    [
        plain(1, retry=9),
        plain(1, delay_loop_ns=7 * S),
        TcpCheck(
            connection=Connection(address="192.0.2.1", port=1, timeout_ns=S),
            schedule=Schedule(**NO_WARMUP),
        ),
    ],
)
def test_what_differs_does_not(changed: TcpCheck) -> None:
    scene = Scene()
    scene.add(a=plain(1), b=changed)
    assert len(scene.checks) == 2


def test_who_comes_late_hears_the_state_at_once() -> None:
    scene = Scene()
    scene.prepare = lambda probe: setattr(probe, "answers", lambda step: UP._replace(weight=2))
    scene.add(a=plain())
    scene.loop.run(2 * S)
    scene.probes[0].answers = lambda step: DOWN
    scene.loop.run(6 * S)
    scene.heard()
    scene.add(b=plain())
    # the one failure does not count yet, and is not what made it up
    assert scene.news == [("b", Report(Kind.STATE, True, True, 0, UP._replace(weight=2)))]
    assert len(scene.probes) == 1


def test_who_cannot_hear_the_state_keeps_it_from_nobody(caplog: pytest.LogCaptureFixture) -> None:
    scene = Scene()
    scene.add(a=plain())
    scene.loop.run(5 * S)
    hear = scene.checks._listener

    def deaf(who: str, report: Report) -> None:
        if who == "b":
            raise RuntimeError(who)
        hear(who, report)

    scene.checks._listener = deaf
    scene.heard()
    scene.add(b=plain(), c=plain())
    assert scene.heard() == [("c", "state", True)]
    assert "news of a check" in caplog.text


def test_who_comes_before_the_first_result_hears_it_with_the_others() -> None:
    scene = Scene()
    scene.add(a=plain())
    scene.add(b=plain())
    assert scene.heard() == []
    scene.loop.run(2 * S)
    assert scene.heard() == [("a", "state", True), ("b", "state", True)]


def test_a_reload_leaves_equal_checks_alone() -> None:
    scene = Scene()
    scene.add(a=plain(1), b=plain(2))
    scene.loop.run(3 * S)
    scene.heard()
    again = {"a": Subscription(plain(1)), "b": Subscription(plain(3))}
    scene.checks.change(again, remove=["a", "b"])
    assert len(scene.probes) == 3
    assert scene.heard() == []
    scene.loop.run(5 * S)
    assert scene.begun(0) == pytest.approx([1, 7.01], abs=0.002)
    assert scene.probes[1].cancelled == 1
    assert len(scene.begun(1)) == 1
    assert scene.heard() == [("b", "state", True)]


def test_the_check_of_another_survives_its_first_subscriber() -> None:
    scene = Scene()
    scene.add(a=plain())
    scene.loop.run(2 * S)
    scene.checks.change({"b": Subscription(plain())}, remove=["a"])
    assert scene.checks.view("a") is None
    assert len(scene.checks) == len(scene.probes) == 1
    scene.loop.run(6 * S)
    assert len(scene.begun()) == 2


def test_what_nobody_wants_ends() -> None:
    scene = Scene()
    scene.prepare = lambda probe: setattr(probe, "takes_ns", 60 * S)
    scene.add(a=plain())
    scene.loop.run(2 * S)
    assert scene.probes[0].under_way
    scene.checks.change({}, remove=["a", "never there"])
    assert not scene.probes[0].under_way
    assert len(scene.checks) == 0
    scene.loop.run(100 * S)
    assert scene.heard() == []
    assert len(scene.begun()) == 1


def test_logging_and_alpha_can_change_without_anything_else() -> None:
    scene = Scene()
    scene.add(a=plain(retry=1))
    scene.loop.run(2 * S)
    scene.heard()
    louder = Subscription(plain(retry=1, log_all_failures=True, alpha=True))
    scene.checks.change({"a": louder}, remove=["a"])
    assert scene.heard() == []
    scene.probes[0].answers = lambda step: DOWN
    scene.loop.run(6 * S)
    assert scene.heard() == [("a", "failure", True)]


def test_stop_ends_everything() -> None:
    scene = Scene()
    scene.prepare = lambda probe: setattr(probe, "takes_ns", 60 * S)
    scene.add(a=plain(1), b=plain(2))
    scene.loop.run(2 * S)
    scene.checks.stop()
    assert [probe.under_way for probe in scene.probes] == [False, False]
    assert scene.loop.timers == 0
    assert len(scene.checks) == 0


# ---- suspension ----


def test_a_suspended_check_does_nothing_and_keeps_its_state() -> None:
    scene = Scene()
    scene.add(a=plain())
    scene.loop.run(2 * S)
    scene.heard()
    scene.checks.suspend(["a"], True)
    scene.loop.run(60 * S)
    assert len(scene.begun()) == 1
    assert scene.checks.view("a").state == "suspended"  # type: ignore[union-attr]
    scene.checks.suspend(["a"], False)
    scene.loop.run(1 * S)
    assert len(scene.begun()) == 2
    assert scene.checks.view("a").state == "up"  # type: ignore[union-attr]
    assert scene.heard() == []


def test_an_attempt_under_way_is_dropped_by_a_suspension() -> None:
    scene = Scene()
    scene.prepare = lambda probe: setattr(probe, "takes_ns", 3 * S)
    scene.add(a=plain())
    scene.loop.run(2 * S)
    scene.checks.suspend(["a"], True)
    assert not scene.probes[0].under_way
    scene.loop.run(60 * S)
    assert scene.heard() == []


def test_it_runs_while_one_subscriber_wants_it() -> None:
    scene = Scene()
    scene.checks.change(
        {"a": Subscription(plain(), suspended=True), "b": Subscription(plain(), suspended=True)}
    )
    scene.loop.run(10 * S)
    assert scene.begun() == []
    scene.checks.suspend(["b", "nobody"], False)
    scene.loop.run(1 * S)
    assert len(scene.begun()) == 1
    scene.checks.suspend(["a"], False)
    scene.checks.suspend(["b"], True)
    scene.loop.run(6 * S)
    assert len(scene.begun()) == 2
    # who was suspended hears as well: it is the same server
    assert {who for who, _, _ in scene.heard()} == {"a", "b"}


def test_a_subscriber_that_is_not_suspended_wakes_it() -> None:
    scene = Scene()
    scene.checks.change({"a": Subscription(plain(), suspended=True)})
    scene.loop.run(5 * S)
    scene.add(b=plain())
    scene.loop.run(1 * S)
    assert len(scene.begun()) == 1
    scene.checks.change({}, remove=["b"])
    scene.loop.run(20 * S)
    assert len(scene.begun()) == 1


def test_resumed_checks_are_spread_over_a_second() -> None:
    scene = Scene()
    names = [f"s{n}" for n in range(1000)]
    checks = {name: check(n, delay_loop_ns=60 * S) for n, name in enumerate(names)}
    scene.checks.change({name: Subscription(c, suspended=True) for name, c in checks.items()})
    scene.loop.run(100 * S)
    scene.begin_ns = scene.loop.now_ns
    scene.checks.suspend(names, False)
    scene.loop.run(1 * S + MS)
    moments = [scene.begun(n)[0] for n in range(1000)]
    for tenth in range(10):
        assert 60 < sum(tenth <= 10 * moment < tenth + 1 for moment in moments) < 140


# ---- what tells of itself ----


def followed() -> FileCheck:
    return FileCheck(track_file="f", schedule=Schedule(retry=5))


def test_what_waits_for_nothing_is_looked_at_at_once() -> None:
    scene = Scene(FollowingFake)
    scene.add(a=followed())
    scene.loop.run(100 * MS)
    assert scene.heard() == [("a", "state", True)]


def test_a_change_counts_at_once_and_without_retries() -> None:
    scene = Scene(FollowingFake)
    scene.add(a=followed())
    scene.loop.run(2 * S)
    scene.heard()
    probe = scene.probes[0]
    assert isinstance(probe, FollowingFake)
    assert probe.changed is not None
    probe.answers = lambda step: DOWN
    probe.changed()
    scene.loop.run(100 * MS)
    assert scene.heard() == [("a", "state", False)]


def test_a_change_during_an_attempt_makes_another_one() -> None:
    scene = Scene(FollowingFake)
    scene.add(a=followed())
    scene.loop.run(5 * MS)
    probe = scene.probes[0]
    assert isinstance(probe, FollowingFake)
    assert probe.changed is not None
    assert probe.under_way
    probe.answers = lambda step: DOWN
    probe.changed()
    scene.loop.run(100 * MS)
    assert scene.heard() == [("a", "state", True), ("a", "state", False)]


def test_nobody_is_followed_in_vain() -> None:
    scene = Scene(FollowingFake)
    scene.add(a=followed())
    scene.checks.suspend(["a"], True)
    probe = scene.probes[0]
    assert isinstance(probe, FollowingFake)
    assert probe.changed is not None
    probe.changed()
    scene.loop.run(10 * S)
    assert probe.begun == []
    scene.checks.suspend(["a"], False)
    scene.loop.run(MS)
    assert len(probe.begun) == 1
    scene.checks.change({}, remove=["a"])
    assert probe.changed is None


def test_a_storm_of_changes_does_not_fill_the_heap() -> None:
    scene = Scene(FollowingFake)
    scene.add(a=followed())
    probe = scene.probes[0]
    assert isinstance(probe, FollowingFake)
    assert probe.changed is not None
    for _ in range(10_000):
        probe.changed()
        scene.loop.run(20 * MS)
    assert len(scene.checks._scheduler._heap) < 100
    assert len(probe.begun) > 9_000


# ---- what is shown ----


def test_the_view_of_a_check() -> None:
    scene = Scene()
    scene.add(a=plain(retry=2), b=plain(retry=2))
    view = scene.checks.view("a")
    assert view is not None
    assert (view.state, view.outcome, view.at_ns, view.attempts) == ("unknown", None, 0, 0)
    assert view.due_ns == scene.begin_ns + S
    scene.loop.run(2 * S)
    scene.probes[0].answers = lambda step: DOWN
    scene.loop.run(6 * S)
    view = scene.checks.view("a")
    assert view is not None
    assert view.state == "up"
    assert view.outcome == DOWN
    assert (view.failures, view.attempts, view.subscribers) == (1, 2, 2)
    scene.probes[0].answers = None
    scene.loop.run(4 * S)
    view = scene.checks.view("a")
    assert view is not None
    assert view.due_ns == _core.NEVER


def test_outcomes_are_compared_by_weight_only() -> None:
    """Details and latencies differ with every attempt: that is no news."""
    scene = Scene()
    count = iter(range(1000))
    scene.prepare = lambda probe: setattr(
        probe, "answers", lambda step: Outcome(Verdict.UP, f"{next(count)}", next(count))
    )
    scene.add(a=plain())
    scene.loop.run(60 * S)
    assert len(scene.news) == 1


def test_every_kind_of_check_has_an_identity() -> None:
    from fastvrrp.ipvs.identity import identity

    kinds = msgspec.inspect.type_info(Check)
    assert isinstance(kinds, msgspec.inspect.UnionType)
    for kind in kinds.types:
        assert isinstance(kind, msgspec.inspect.StructType)
        fields = {field.name for field in kind.fields}
        assert {"schedule", "position"} <= fields, kind.cls
    assert identity(plain(1, alpha=True, log_all_failures=True)) == identity(plain(1))
