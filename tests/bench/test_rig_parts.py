"""The rig's own arithmetic: quantiles, ratios, the page, the book of results, the plan."""

from __future__ import annotations

import argparse
import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from bench.configuration import link_count, places, render
from bench.micro.parsing import Host
from bench.rig import guest, plan, plots, report
from bench.rig.__main__ import arguments as rig_arguments
from bench.rig.__main__ import chosen_cases, parse_case, without_measured
from bench.rig.cases.base import Case, Values
from bench.rig.cases.steady import Steady
from bench.rig.cases.takeover import Takeover
from bench.rig.contender import KNOWN, Contender
from bench.rig.figures import curve, histogram_quantile, lateness, quantile, summary, thinned
from bench.rig.results import Results, Series, add_micro, load, load_for
from bench.rig.run import run_case

from bench import servers
from fastvrrp.config.load import load as load_configuration
from fastvrrp.config.servers import HttpCheck

MACHINE = {"cpu": "test"}


def steady(contender: str, *together_us: float, instances: int = 255) -> Series:
    case = Steady(instances=instances, interval_s=0.1)
    rounds = [
        {"together_us": us, "histogram": [[1000, 90], [1_000_000, 10]], "others_busy": 0.0}
        for us in together_us
    ]
    return Series(case.name, case.kind, contender, case.parameters(), rounds)


def test_places_fill_links_evenly_and_never_repeat() -> None:
    where = places(4096)
    assert link_count(4096) == 17
    assert len({(p.link, p.vrid) for p in where}) == len({p.vip for p in where}) == 4096
    assert {p.link for p in where} == set(range(17))
    assert max(p.vrid for p in where) <= 255
    sizes = [len(list(group)) for _, group in itertools.groupby(where, key=lambda p: p.link)]
    assert max(sizes) - min(sizes[:-1]) == 0


def test_configuration_says_what_the_case_asks(tmp_path: Path) -> None:
    where = places(3)
    file = tmp_path / "bench.conf"
    text = render(
        where,
        ["a0"],
        state="MASTER",
        priority=200,
        interval_s=0.05,
        global_lines=["dynamic_interfaces"],
    )
    file.write_text(text)
    loaded = load_configuration(file, host=Host(["a0"]))
    assert loaded.configuration is not None
    assert loaded.configuration.global_defs.dynamic_interfaces
    for instance, place in zip(loaded.configuration.vrrp_instances, where, strict=True):
        assert instance.advert_int_ns == 50_000_000
        assert (instance.priority, instance.state, instance.version) == (200, "MASTER", 3)
        assert instance.virtual_router_id == place.vrid
        assert [a.address for a in instance.virtual_ipaddress] == [place.vip]


def test_virtual_servers_share_out_the_real_ones(tmp_path: Path) -> None:
    file = tmp_path / "bench.conf"
    first = servers.first_server(2, 3, 11)
    text = servers.render(3, 11, delay_loop_s=1, check=servers.HTTP_GET, weights={first: 7})
    file.write_text(text)
    loaded = load_configuration(file, host=Host([]))
    assert loaded.configuration is not None
    found = loaded.configuration.ipvs.virtual_servers
    assert [len(one.real_servers) for one in found] == [4, 4, 3]
    weights = [[server.weight for server in one.real_servers] for one in found]
    assert weights == [[1] * 4, [1] * 4, [7, 1, 1]]
    every = [server for one in found for server in one.real_servers]
    assert len({server.address for server in every}) == 11
    (check,) = every[0].checks
    assert isinstance(check, HttpCheck)
    assert check.schedule.delay_loop_ns == 1_000_000_000


def test_what_fails_in_the_guest_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A runner that says why it cannot, and one that leaves values."""
    runner = tmp_path / "runner.py"
    monkeypatch.setattr(guest, "RUNNER", runner)
    runner.write_text("print('no kernel'); raise SystemExit(2)")
    with pytest.raises(RuntimeError, match=r"exit code 2\nno kernel"):
        guest.measure("ipvs-checks", "fastvrrp", {}, tmp_path)
    runner.write_text(
        "import json, pathlib, sys\n"
        "box = pathlib.Path(sys.argv[-1])\n"
        "task = json.loads((box / 'task.json').read_text())\n"
        "(box / 'values.json').write_text(json.dumps({'got': task}))\n"
    )
    values = guest.measure("ipvs-checks", "fastvrrp", {"servers": 3}, tmp_path)
    assert values["got"]["parameters"] == {"servers": 3}
    assert Path(values["got"]["server"]).exists()


def test_quantiles() -> None:
    values = list(range(1, 101))
    assert quantile(values, 0.5) == 51
    assert quantile(values, 0.99) == 100
    assert quantile([7], 0.99) == 7
    with pytest.raises(ValueError, match="no values"):
        quantile([], 0.5)
    assert summary([3, 1, 2]) == (2, 1, 3)
    histogram = [(0, 50), (10, 49), (1000, 1)]
    assert histogram_quantile(histogram, 0.5) == 10
    assert histogram_quantile(histogram, 0.98) == 10
    assert histogram_quantile(histogram, 0.99) == 1000
    assert histogram_quantile([], 0.5) == 0


def test_thinning_keeps_counts_and_never_rounds_up() -> None:
    histogram = [(value, 1) for value in range(1000)]
    thin = thinned(histogram)
    assert sum(count for _, count in thin) == 1000
    assert len(thin) < 60
    for low, following in itertools.pairwise(value for value, _ in thin):
        assert dict(thin)[low] == following - low


def test_curve_ends_at_the_extremes() -> None:
    assert curve([3.0, 1.0, 2.0], points=2) == [1.0, 2.0, 3.0]
    assert curve([]) == []


def test_lateness_of_a_report() -> None:
    heard = {
        "early": [[100_000, 1]],
        "late": [[0, 98], [2_000_000, 1]],
        "early_max_ns": 100_000,
        "late_max_ns": 2_000_500,
        "mean_error_ns": 19_000.0,
        **dict.fromkeys(("intervals", "routers", "silent", "over_1_5", "over_2", "over_3"), 0),
    }
    found = lateness(heard)
    assert found["error_p50_ms"] == 0
    assert found["error_p99_ms"] == 2.0
    assert found["error_max_ms"] == 2.0005
    assert found["late_max_ms"] == 2.0005


def test_results_survive_and_newer_ones_replace(tmp_path: Path) -> None:
    book = Results(dict(MACHINE))
    book.put(steady("fastvrrp", 10.0))
    book.put(steady("keepalived", 30.0))
    book.save(tmp_path)
    again = load_for(tmp_path, dict(MACHINE))
    assert again == book
    again.put(steady("fastvrrp", 9.0))
    again.save(tmp_path)
    found = load(tmp_path)
    assert found is not None
    series = found.get("steady-255@0.1", "fastvrrp")
    assert series is not None
    assert series.numbers("together_us") == [9.0]
    assert len(found.series) == 2
    assert load_for(tmp_path, {"cpu": "another"}).series == {}


def test_page_shows_medians_spread_and_ratios() -> None:
    book = Results(dict(MACHINE))
    book.put(steady("fastvrrp", 10.0, 12.0, 11.0))
    book.put(steady("keepalived", 30.0, 24.0, 33.0))
    page = report.render(book, ["cost.svg"])
    rows = [line for line in page.splitlines() if line.startswith("| 255@0.1")]
    assert len(rows) == 2
    assert "| 11.0 [10.0-12.0] |" in rows[0]
    # pairs of rounds: 10/30, 12/24, 11/33
    assert rows[0].endswith("| 0.33 [0.33-0.50] |")
    assert rows[1].endswith("|  |")
    assert "![cost](cost.svg)" in page
    assert "not quiet" not in page


def test_page_says_when_the_machine_was_busy() -> None:
    book = Results(dict(MACHINE))
    busy = steady("fastvrrp", 10.0)
    busy.rounds[0]["others_busy"] = 0.4
    book.put(busy)
    assert "The machine was not quiet" in report.render(book, [])


def test_memory_per_instance_is_the_slope() -> None:
    book = Results(dict(MACHINE))
    for count, pss_kb in ((1, 40_000), (4096, 44_095)):
        parameters = {"instances": count, "interval_s": 1.0}
        series = Series(f"startup-{count}", "startup", "fastvrrp", parameters, [{"pss_kb": pss_kb}])
        book.put(series)
    assert "| fastvrrp | 1.00 | 39.1 | 43.1 |" in report.memory_per_instance(book)


def test_micro_results_are_per_operation(tmp_path: Path) -> None:
    file = tmp_path / "micro.json"
    bench = {
        "group": "core",
        "extra_info": {"what": "tick", "operations": 1000},
        "stats": {"median": 0.001, "iqr": 0.0001, "min": 0.0009},
    }
    file.write_text(json.dumps({"benchmarks": [bench]}))
    book = Results(dict(MACHINE))
    add_micro(book, file)
    assert "| core | tick | 1000 | 100 |" in report.render(book, [])


class _Fails(Case):
    """For one of two daemons."""

    kind = "steady"
    name = "steady-255@0.1"
    contenders = ("keepalived-rt", "fastvrrp")
    expected_s = 0.0

    def __init__(self, victim: str) -> None:
        self.victim = victim

    def parameters(self) -> dict[str, Any]:
        return {"instances": 255, "interval_s": 0.1}

    def run(self, contender: Contender, scratch: Path) -> Values:
        if contender.name == self.victim:
            raise RuntimeError("it was killed\nand its log is long")
        return {"together_us": 10.0}


@pytest.mark.parametrize("name", ["keepalived-rt", "fastvrrp"])
def test_a_daemon_that_does_not_get_through_a_case(name: str, tmp_path: Path) -> None:
    """Of those we compare with it is a result, of ours a failure."""
    case = _Fails(name)
    book = Results(dict(MACHINE))
    failures = run_case(case, KNOWN, 2, book)
    assert [failure.partition(" round")[0] for failure in failures] == [
        f"{case.name} {name}" for _ in range(2) if name == "fastvrrp"
    ]
    book.save(tmp_path)
    found = load_for(tmp_path, dict(MACHINE))
    assert f"| {case.name} | {name} | 2 | it was killed |" in report.render(found, [])
    assert without_measured([case], found, KNOWN) == []


def test_case_on_the_command_line() -> None:
    case = parse_case("steady:instances=16,interval_s=0.05,cpu_window_s=1")
    assert case == Steady(instances=16, interval_s=0.05, cpu_window_s=1.0)
    assert case.name == "steady-16@0.05"
    for wrong in ("walk:", "steady:speed=1", "steady:instances=16", "steady:contenders=x"):
        with pytest.raises(argparse.ArgumentTypeError):
            parse_case(wrong)


def test_who_is_asked_for_runs_the_case_that_is_asked_for() -> None:
    argv = ["--case", "steady:instances=16,interval_s=1", "--contender", "fastvrrp-rt"]
    assert [case.contenders for case in chosen_cases(rig_arguments(argv))] == [("fastvrrp-rt",)]
    assert "keepalived" in chosen_cases(rig_arguments(argv[:2]))[0].contenders


def test_names_of_cases_are_unique() -> None:
    for cases in (plan.full(), plan.quick()):
        names = [case.name for case in cases]
        assert len(set(names)) == len(names)
    assert {case.kind for case in plan.quick()} == {case.kind for case in plan.full()}
    assert {case.kind for case in plan.full()} == set(plan.KINDS)


def test_patterns_choose_cases() -> None:
    chosen = chosen_cases(rig_arguments(["--only", "takeover-kill-*", "--only", "check-1"]))
    assert {case.kind for case in chosen} == {"takeover", "check"}
    assert len(chosen) == 4


def test_due_times_follow_the_protocol() -> None:
    """RFC 9568 6.1: skew (256 - priority) / 256 of the interval; three intervals after a death."""
    assert Takeover(instances=1, interval_s=0.1, how="kill").wait_ns == 360_937_500
    assert Takeover(instances=1, interval_s=0.1, how="stop").wait_ns == 60_937_500


def test_plots_are_the_same_for_the_same_results(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="the bench extra is not installed")
    book = Results(dict(MACHINE))
    for count in (16, 255):
        book.put(steady("fastvrrp", 10.0, 11.0, instances=count))
    takeover = Takeover(instances=16, interval_s=0.1, how="kill")
    timeline = {"due": [300.0, 360.0], "advert": [1, 2], "address": [1, 2], "announced": [1, 2]}
    book.put(
        Series(
            takeover.name,
            takeover.kind,
            "fastvrrp",
            takeover.parameters(),
            [{"timeline_ms": timeline}],
        )
    )
    assert plots.draw(book, tmp_path) == ["cost-0.1s.svg", "lateness.svg", "takeover.svg"]
    first = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    plots.draw(book, tmp_path)
    assert first == {file.name: file.read_bytes() for file in tmp_path.iterdir()}
