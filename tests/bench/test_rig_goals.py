"""Goals: each belongs to a planned case, and is judged as it says."""

from __future__ import annotations

from typing import Any

import pytest
from bench.rig import contender, plan, report
from bench.rig.__main__ import arguments, chosen_contenders, show_plan, without_measured
from bench.rig.cases.floor import FLOORS
from bench.rig.goals import GOALS, Goal, Of, largest_load, memory_per_instance
from bench.rig.results import ROUND, Results, Series
from bench.rig.run import expected_minutes

EVERYBODY = [*contender.KNOWN, *FLOORS]


def book(*entries: tuple[str, str, list[dict[str, Any]]], **parameters: Any) -> Results:
    results = Results({"cpu": "test"})
    for case, name, rounds in entries:
        results.put(Series(case, case.split("-")[0], name, dict(parameters), rounds))
    return results


def test_every_goal_is_measured_by_a_planned_case() -> None:
    cases = {case.name: case for case in plan.full()}
    for goal in GOALS:
        for read in (goal.read, goal.floor):
            if isinstance(read, Of):
                assert read.case in cases, goal.measure
                assert (read.whose or goal.contender) in cases[read.case].contenders


def test_every_kind_has_its_table() -> None:
    kinds = [layout.kind for layout in report.TABLES]
    assert sorted(kinds) == sorted(plan.KINDS)


@pytest.mark.parametrize(
    ("goal", "values", "reached"),
    [
        (Goal("median", Of("x", "v"), 5.0), [4, 5, 99], True),
        (Goal("median", Of("x", "v"), 5.0), [4, 5.1, 99], False),
        (Goal("worst", Of("x", "v"), 0.0, worst=True), [0, 0, 1], False),
        (Goal("worst", Of("x", "v"), 0.0, worst=True), [0, 0, 0], True),
        (Goal("much", Of("x", "v"), 9.0, at_least=True), [8, 9, 10], True),
        (Goal("much", Of("x", "v"), 9.0, at_least=True, worst=True), [8, 9, 10], False),
        (Goal("below", Of("x", "v"), None), [19, 21, 1], True),
        (Goal("below", Of("x", "v"), None), [20, 21, 1], False),
        (Goal("scaled", Of("x", "v", 0.5), 5.0), [10], True),
        (Goal("other case", Of("y", "v"), 5.0), [1], None),
    ],
)
def test_judgement(goal: Goal, values: list[float], reached: bool | None) -> None:
    rounds = [{"v": value} for value in values]
    results = book(("x", "fastvrrp", rounds), ("x", "keepalived", [{"v": 20}]))
    assert goal.reached(results) is reached


def test_page_shows_goal_figure_and_verdict() -> None:
    rounds = [{"together_us": us} for us in (11.0, 13.0, 12.5)]
    page = report.render(
        book(("steady-255@0.1", "fastvrrp", rounds), instances=255, interval_s=0.1), []
    )
    row = next(line for line in page.splitlines() if "255 every 100 ms, us" in line)
    assert "| fastvrrp | ≤ 12 | 12.5 [11.0-13.0] | **no** |" in row
    assert "| fastvrrp | ≤ 5.5 | - | not measured |" in page


def test_largest_load_is_the_greatest_without_fault_in_any_round() -> None:
    good = {"over_1_5": 0, "silent": 0, "false_takeovers": 0, "rate_share": 1.0}
    results = Results({"cpu": "test"})
    for interval_s, rounds in (
        (0.05, [good, good]),
        (0.02, [good, good]),
        (0.01, [good, good | {"over_1_5": 1}]),
    ):
        parameters = {"instances": 4096, "interval_s": interval_s}
        name = f"saturation-4096@{interval_s:g}-20s"
        results.put(Series(name, "saturation", "fastvrrp", parameters, rounds))
    assert largest_load(results, "fastvrrp") == (204_800, 204_800, 204_800)
    assert largest_load(results, "keepalived") is None
    longer = Series(
        "saturation-4096@0.02-60s",
        "saturation",
        "fastvrrp",
        {"instances": 4096, "interval_s": 0.02},
        [good | {"rate_share": 0.9}],
    )
    results.put(longer)
    found = largest_load(results, "fastvrrp")
    assert found is not None
    assert found.median == 81_920


def test_memory_per_instance_goes_round_by_round() -> None:
    least = [{"pss_kb": 40_000, ROUND: 0}, {"pss_kb": 41_000, ROUND: 2}]
    most = [
        {"pss_kb": 40_000 + 4095, ROUND: 0},
        {"pss_kb": 1, ROUND: 1},
        {"pss_kb": 41_000, ROUND: 2},
    ]
    results = book(("startup-1@1", "fastvrrp", least), ("startup-4096@1", "fastvrrp", most))
    assert memory_per_instance(results, "fastvrrp") == (0.5, 0.0, 1.0)


def test_ratios_leave_out_rounds_that_failed() -> None:
    ours = Series("x", "x", "fastvrrp", {}, [{"v": 1, ROUND: 0}, {"v": 9, ROUND: 2}])
    theirs = Series("x", "x", "keepalived", {}, [{"v": 5, ROUND: 1}, {"v": 3, ROUND: 2}])
    assert report.ratio(ours, theirs, "v") == (3, 3, 3)
    assert report.ratio(ours, theirs, "w") is None


def test_page_is_in_the_order_of_the_plan() -> None:
    names = [case.name for case in plan.full()]
    series = [
        Series(names[1], "x", "keepalived", {}),
        Series("not-planned", "x", "fastvrrp", {}),
        Series(names[1], "x", "fastvrrp", {}),
        Series(names[0], "x", "floor", {}),
    ]
    assert report.in_order(series) == [series[3], series[2], series[0], series[1]]


def test_the_whole_plan_takes_no_longer_than_it_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    minutes = sum(expected_minutes(case, EVERYBODY, None) for case in plan.full())
    assert 60 < minutes < 105
    options = arguments(["--list", "--only", "steady-255@*", "--contender", "fastvrrp"])
    show_plan([case for case in plan.full() if case.name == "steady-255@1"], options)
    shown = capsys.readouterr().out.splitlines()
    assert "steady-255@1  3 x (fastvrrp)" in shown[0]
    assert shown[1].endswith("min in all")


def test_a_daemon_that_refuses_the_line_is_left_out_with_its_words(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    known = contender.KNOWN["fastvrrp"]
    strange = contender.Contender(
        "strange", known.command, known.check, global_lines=("vrrp_wings 2",), optional=True
    )
    understood = contender.Contender(
        "plain", known.command, known.check, global_lines=("vrrp_priority -5",), optional=True
    )
    monkeypatch.setattr(contender, "KNOWN", {"strange": strange, "plain": understood})
    assert set(chosen_contenders(arguments([]))) == {"plain", *FLOORS}
    left_out = capsys.readouterr().out
    assert left_out.startswith("strange is left out: ")
    assert "bench.conf:4:5: error: unknown keyword 'vrrp_wings'" in left_out


def test_a_program_that_is_not_installed_is_said() -> None:
    missing = contender.Contender("nobody", ("/nonexistent/daemon",), ())
    assert missing.absence() == "/nonexistent/daemon is not installed"


def test_only_missing_cases() -> None:
    first, second = plan.full()[:2]
    results = book((first.name, "floor", [{}]))
    assert without_measured([first, second], results, ["floor"]) == [second]
