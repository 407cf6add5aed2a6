"""The results as Markdown tables: medians with their spread, and ratios between contenders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .figures import Summary, summary
from .results import OTHERS, Results, Series

QUIET = 0.05  # share of the CPU that others may take before it must be said


@dataclass(frozen=True)
class Column:
    key: str
    title: str
    digits: int = 1
    scale: float = 1.0


@dataclass(frozen=True)
class Table:
    """How the cases of one kind are shown; `ratio` is the column of which ratios are given."""

    kind: str
    title: str
    columns: tuple[Column, ...]
    ratio: str | None = None


TABLES = (
    Table(
        "steady",
        "Steady state",
        (
            Column("send_us", "sender, us CPU per advert"),
            Column("receive_us", "receiver"),
            Column("together_us", "together"),
            Column("rate", "adverts/s", 0),
            Column("error_p50_ms", "interval error, ms p50", 3),
            Column("error_p99_ms", "p99", 3),
            Column("error_max_ms", "max", 2),
            Column("over_1_5", "later than half an interval", 0),
            Column("false_takeovers", "false takeovers", 0),
            Column("pss_a_kb", "memory (PSS) MB", 1, 1 / 1024),
        ),
        "together_us",
    ),
    Table(
        "check",
        "Reading the configuration (the command that checks it)",
        (
            Column("cpu_s", "CPU s", 3),
            Column("wall_s", "wall s", 3),
        ),
        "cpu_s",
    ),
    Table(
        "startup",
        "Start of address owners: seconds from exec",
        (
            Column("first_advert_s", "first advert", 3),
            Column("last_advert_s", "last first-advert", 3),
            Column("first_to_last_s", "first to last", 3),
            Column("last_address_s", "last address", 3),
            Column("last_announced_s", "last announced", 3),
            Column("added_again", "added again", 0),
            Column("cpu_s", "CPU s", 3),
            Column("pss_kb", "memory (PSS) MB", 1, 1 / 1024),
        ),
        "last_advert_s",
    ),
    Table(
        "takeover",
        "Takeover",
        (
            Column("tail_ms", "last due to last address and announcement, ms"),
            Column("tail_advert_ms", "to last first-advert, ms"),
            Column("address_p50_ms", "own due to address, ms p50", 2),
            Column("address_p99_ms", "p99", 2),
            Column("address_max_ms", "max", 2),
            Column("outage_ms", "end of the master to all done, ms"),
            Column("cpu_us_each", "us CPU per instance"),
            Column("cpu_us_each_beyond_adverts", "with what follows"),
        ),
        "tail_ms",
    ),
    Table(
        "reload",
        "Reload of an unchanged file",
        (
            Column("longest_gap_s", "longest gap between adverts, s", 3),
            Column("false_takeovers", "false takeovers", 0),
            Column("addresses_touched", "addresses touched", 0),
            Column("announcements", "announcements", 0),
            Column("cpu_ms", "extra CPU ms"),
        ),
        "longest_gap_s",
    ),
    Table(
        "pressure",
        "More busy loops than cores",
        (
            Column("false_takeovers", "false takeovers", 0),
            Column("rate_share", "adverts sent / due", 3),
            Column("error_p50_ms", "interval error, ms p50", 3),
            Column("error_p99_ms", "p99", 2),
            Column("error_max_ms", "max", 1),
        ),
    ),
    Table(
        "flood",
        "Invalid packets from a third host",
        (
            Column("false_takeovers", "false takeovers", 0),
            Column("log_lines", "log lines", 0),
            Column("b_cpu_percent", "CPU of the backup, %"),
            Column("flood_rate", "packets/s", 0),
        ),
        "b_cpu_percent",
    ),
    Table(
        "floor-packets",
        "Floor: packets alone, all of a tick in one batch",
        (
            Column("send_us", "sender, us CPU per advert", 2),
            Column("receive_us", "receiver", 2),
            Column("together_us", "together", 2),
            Column("heard_share", "heard / sent", 4),
        ),
    ),
    Table(
        "floor-addresses",
        "Floor: addresses by rtnetlink",
        (
            Column("add_us_each", "add, us each"),
            Column("add_all_ms", "all, ms"),
            Column("delete_us_each", "delete, us each"),
        ),
    ),
    Table(
        "floor-timer",
        "Floor: one timer",
        (Column("cpu_us_each", "CPU us each"), Column("late_us_mean", "late us, mean")),
    ),
)


def shown(value: Summary | None, digits: int, scale: float = 1.0) -> str:
    """`median [low-high]`, without the brackets when all rounds agree."""
    if value is None:
        return "-"
    median, low, high = (f"{number * scale:.{digits}f}" for number in value)
    return median if low == high else f"{median} [{low}-{high}]"


def ratio(ours: Series, theirs: Series, key: str) -> Summary | None:
    """Of the rounds, pair by pair; None when nothing can be divided."""
    pairs = zip(ours.numbers(key), theirs.numbers(key), strict=False)
    ratios = [a / b for a, b in pairs if b > 0]
    return summary(ratios) if ratios else None


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def table(results: Results, layout: Table, *, reference: str = "keepalived") -> list[str]:
    """Lines of Markdown; none when the kind was not measured."""
    series = results.of_kind(layout.kind)
    if not series:
        return []
    titles = [column.title for column in layout.columns]
    if layout.ratio:
        titles.append(f"/ {reference}")
    lines = [f"## {layout.title}", "", _row(["case", "daemon", *titles])]
    lines.append("|" + "---|" * (len(titles) + 2))
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
    head = ["daemon", "kB (PSS) per instance", "MB at the fewest", "MB at the most"]
    return ["## Memory", "", _row(head), "|---|---|---|---|", *lines, ""]


def micro(results: Results) -> list[str]:
    """The table of the micro benches."""
    series = results.of_kind("micro")
    if not series:
        return []
    lines = ["## Single parts", "", _row(["part", "what", "ns per operation", "spread (IQR)"])]
    lines.append("|---|---|---|---|")
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


def render(results: Results, plots: Sequence[str]) -> str:
    """The whole page."""
    lines = ["# Results", ""]
    lines += ["Median of the rounds [lowest-highest]. Method: [README.md](README.md).", ""]
    lines += [f"* {name}: {value}" for name, value in results.machine.items()]
    lines.append("")
    lines += disturbance(results)
    for plot in plots:
        lines += [f"![{Path(plot).stem}]({plot})", ""]
    for layout in TABLES:
        lines += table(results, layout)
        if layout.kind == "startup":
            lines += memory_per_instance(results)
    lines += micro(results)
    return "\n".join(lines)
