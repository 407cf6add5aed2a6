"""The results as Markdown tables: goals, medians with their spread, ratios between contenders."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from . import contender, plan
from .figures import Summary, summary
from .goals import GOALS, REFERENCE
from .layout import TABLES, Table
from .results import OTHERS, Results, Series

VERDICTS = {True: "yes", False: "**no**", None: "not measured"}
QUIET = 0.05  # share of the CPU that others may take before it must be said


def shown(value: Summary | None, digits: int, scale: float = 1.0) -> str:
    """`median [low-high]`, without the brackets when all rounds agree."""
    if value is None:
        return "-"
    median, low, high = (f"{number * scale:.{digits}f}" for number in value)
    return median if low == high else f"{median} [{low}-{high}]"


def ratio(ours: Series, theirs: Series, key: str) -> Summary | None:
    """Of each round with itself; None when nothing can be divided."""
    other = theirs.by_round(key)
    ratios = [a / other[n] for n, a in ours.by_round(key).items() if other.get(n, 0) > 0]
    return summary(ratios) if ratios else None


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _head(*cells: str) -> list[str]:
    return [_row(cells), "|" + "---|" * len(cells)]


def in_order(series: Sequence[Series]) -> list[Series]:
    """As planned, whatever was measured first; what is not in the plan comes last."""
    cases = {case.name: n for n, case in enumerate(plan.full())}
    daemons = {name: n for n, name in enumerate(contender.KNOWN)}
    return sorted(
        series,
        key=lambda one: (
            cases.get(one.case, len(cases)),
            one.case,
            daemons.get(one.contender, len(daemons)),
        ),
    )


def goals(results: Results) -> list[str]:
    """What should be reached and whether it is; none when nothing of it was measured."""
    lines = []
    for goal in GOALS:
        reached = goal.reached(results)
        verdict = VERDICTS[reached]
        other = goal.read(results, goal.reference)
        floor = goal.floor(results, "floor") if goal.floor else None
        cells = [goal.measure, goal.contender, goal.text()]
        cells.append(shown(goal.read(results, goal.contender), goal.digits))
        cells.append(verdict)
        cells += [shown(found, goal.digits) if found else "" for found in (other, floor)]
        lines.append(_row(cells))
    return [
        "## Goals",
        "",
        "A figure is judged by its median, a count of what should not happen by its worst round.",
        "",
        *_head("measure", "daemon", "goal", "measured", "reached", REFERENCE, "floor"),
        *lines,
        "",
    ]


def table(results: Results, layout: Table, *, reference: str = REFERENCE) -> list[str]:
    """Lines of Markdown; none when the kind was not measured."""
    series = in_order(results.of_kind(layout.kind))
    if not series:
        return []
    titles = [column.title for column in layout.columns]
    if layout.ratio:
        titles.append(f"/ {reference}")
    lines = [f"## {layout.title}", "", *_head("case", "daemon", *titles)]
    for one in series:
        cells = [shown(one.summary(c.key), c.digits, c.scale) for c in layout.columns]
        if layout.ratio:
            other = results.get(one.case, reference)
            compared = other is not None and other is not one
            cells.append(shown(ratio(one, other, layout.ratio), 2) if other and compared else "")
        case = one.case.removeprefix(f"{one.kind}-")
        lines.append(_row([case, one.contender, *cells]))
    return [*lines, ""]


def memory_per_instance(results: Results) -> list[str]:
    """From the starts with one and with most instances: what an instance adds."""
    lines = []
    for name in sorted({s.contender for s in results.of_kind("startup")}):
        sizes = {
            int(s.parameters["instances"]): s.summary("pss_kb")
            for s in results.of_kind("startup")
            if s.contender == name
        }
        least, most = min(sizes), max(sizes)
        small, large = sizes[least], sizes[most]
        if least == most or small is None or large is None:
            continue
        each = (large.median - small.median) / (most - least)
        cells = [name, f"{each:.2f}", f"{small.median / 1024:.1f}", f"{large.median / 1024:.1f}"]
        lines.append(_row(cells))
    if not lines:
        return []
    head = _head("daemon", "kB (PSS) per instance", "MB at the fewest", "MB at the most")
    return ["## Memory", "", *head, *lines, ""]


def micro(results: Results) -> list[str]:
    """The table of the micro benches."""
    series = results.of_kind("micro")
    if not series:
        return []
    lines = ["## Single parts", "", *_head("part", "what", "ns per operation", "spread (IQR)")]
    for one in series:
        values = one.rounds[0]
        figures = [f"{values['median_ns']:.0f}", f"{values['iqr_ns']:.0f}"]
        lines.append(_row([one.parameters["group"], one.parameters["what"], *figures]))
    return [*lines, ""]


def disturbance(results: Results) -> list[str]:
    """Whether other work ran on the machine: then latencies are not those of the daemons."""
    shares = [share for one in results.series.values() for share in one.numbers(OTHERS)]
    if not shares:
        return []
    found = summary(shares)
    text = (
        f"Other work took {found.median:.0%} of the CPU before a round, {found.high:.0%} at most."
    )
    if found.median > QUIET:
        text += (
            " **The machine was not quiet: CPU per advert is about right, latencies and"
            " takeovers under load are not.**"
        )
    return [text, ""]


def failures(results: Results) -> list[str]:
    """Who did not get through which case."""
    failed = [one for one in results.series.values() if one.failures]
    if not failed:
        return []
    lines = ["## What failed", "", *_head("case", "daemon", "rounds", "how")]
    for one in failed:
        how = "; ".join(dict.fromkeys(one.failures))
        lines.append(_row([one.case, one.contender, str(len(one.failures)), how]))
    return [*lines, ""]


def render(results: Results, plots: Sequence[str]) -> str:
    """The whole page."""
    lines = ["# Results", ""]
    lines += ["Median of the rounds [lowest-highest]. Method: [README.md](README.md).", ""]
    lines += [f"* {name}: {value}" for name, value in results.machine.items()]
    days = sorted(one.measured for one in results.series.values() if one.measured)
    if days:
        lines.append(f"* measured: {days[0]} to {days[-1]}")
    lines.append("")
    lines += disturbance(results)
    lines += goals(results)
    for plot in plots:
        lines += [f"![{Path(plot).stem}]({plot})", ""]
    for layout in TABLES:
        lines += table(results, layout)
        if layout.kind == "startup":
            lines += memory_per_instance(results)
    lines += failures(results)
    lines += micro(results)
    return "\n".join(lines)
