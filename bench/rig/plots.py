"""Plots of the results, as SVG files that are the same for the same results."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .results import Results, Series

FINEST_MS = 0.001  # left end of the lateness plot
# What happens to an instance, in its order.
TIMELINE = {"due": "-.", "advert": ":", "address": "-", "announced": "--"}
COLORS = {
    "fastvrrp": "#0b6e4f",
    "fastvrrp-packet": "#6bbf59",
    "fastvrrp-packet-quiet": "#a9e34b",
    "fastvrrp-threads": "#1c7ed6",
    "fastvrrp-packet-threads": "#74c0fc",
    "fastvrrp-rt": "#9467bd",
    "keepalived": "#c1440e",
    "floor raw": "#999999",
    "floor packet": "#cccccc",
}


def _axes(title: str, x: str, y: str) -> tuple[Any, Any]:
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "bench"
    mpl.rcParams["svg.fonttype"] = "none"  # text as text: smaller files
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7.5, 4.5), layout="constrained")
    axes.set(title=title, xlabel=x, ylabel=y)
    axes.grid(visible=True, which="both", alpha=0.3)
    return figure, axes


def _save(figure: Any, directory: Path, name: str) -> str:
    from matplotlib import pyplot

    figure.savefig(directory / f"{name}.svg", metadata={"Date": None})
    pyplot.close(figure)
    return f"{name}.svg"


def _color(name: str) -> str | None:
    return COLORS.get(name)


def _at_interval(series: list[Series], interval_s: float) -> dict[str, list[Series]]:
    """By contender, ascending in the number of instances."""
    found: dict[str, list[Series]] = {}
    for one in series:
        if one.parameters["interval_s"] == interval_s:
            found.setdefault(one.contender, []).append(one)
    for several in found.values():
        several.sort(key=lambda s: int(s.parameters["instances"]))
    return found


def _largest(series: list[Series]) -> tuple[int, list[Series]]:
    """The greatest number of instances, and what was measured with it."""
    most = max(int(one.parameters["instances"]) for one in series)
    return most, [one for one in series if one.parameters["instances"] == most]


def cost(results: Results, directory: Path, interval_s: float) -> list[str]:
    """CPU per advert against the number of instances at one interval."""
    lines = _at_interval(results.of_kind("steady"), interval_s)
    if not any(len(several) > 1 for several in lines.values()):
        return []
    for one in results.of_kind("floor-packets"):
        if one.parameters["interval_s"] == interval_s:
            lines.setdefault(f"floor {one.parameters['backend']}", []).append(one)
    figure, axes = _axes(
        f"CPU per advert, adverts every {interval_s:g} s", "instances", "us, sender + receiver"
    )
    for name, several in lines.items():
        points = [(s.parameters["instances"], s.summary("together_us")) for s in several]
        known = [(n, value) for n, value in points if value is not None]
        medians = [value.median for _, value in known]
        spread = [
            [value.median - value.low for _, value in known],
            [value.high - value.median for _, value in known],
        ]
        axes.errorbar(
            [n for n, _ in known],
            medians,
            yerr=spread,
            marker="o",
            capsize=3,
            label=name,
            color=_color(name),
        )
    axes.set(xscale="log", yscale="log")
    sizes = sorted(
        {int(one.parameters["instances"]) for several in lines.values() for one in several}
    )
    axes.set_xticks(sizes, labels=[str(size) for size in sizes])
    axes.set_xticks([], minor=True)
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter("{x:g}")
    axes.legend()
    return [_save(figure, directory, f"cost-{interval_s:g}s")]


def lateness(results: Results, directory: Path) -> list[str]:
    """Share of intervals that are off by more than x, at the largest common load."""
    steady = [s for s in results.of_kind("steady") if s.parameters["interval_s"] == 0.1]
    if not steady:
        return []
    most, chosen = _largest(steady)
    figure, axes = _axes(
        f"Error of the interval between adverts, {most} instances every 0.1 s",
        "off by more than, ms",
        "share of the intervals",
    )
    for one in chosen:
        for number, values in enumerate(one.rounds):
            histogram = values["histogram"]
            total = sum(count for _, count in histogram)
            xs, ys, left = [], [], total
            for value, count in histogram:
                xs.append(max(value, 1) / 1e6)
                ys.append(left / total)
                left -= count
            label = one.contender if number == 0 else None
            axes.step(xs, ys, where="post", label=label, color=_color(one.contender))
    axes.set(xscale="log", yscale="log", xlim=(FINEST_MS, None))
    axes.legend()
    return [_save(figure, directory, "lateness")]


def takeover(results: Results, directory: Path) -> list[str]:
    """What happens after the master's death, at the largest number of instances."""
    killed = [s for s in results.of_kind("takeover") if s.parameters["how"] == "kill"]
    if not killed:
        return []
    most, chosen = _largest(killed)
    figure, axes = _axes(
        f"Takeover of {most} instances after kill -9",
        "ms since the last instance was due",
        "instances",
    )
    for one in chosen:
        timeline = one.rounds[0]["timeline_ms"]
        last_due = timeline["due"][-1]
        for what, style in TIMELINE.items():
            points = timeline[what]
            axes.plot(
                [t - last_due for t in points],
                [most * k / (len(points) - 1) for k in range(len(points))],
                style,
                label=f"{one.contender}: {what}",
                color=_color(one.contender),
                linewidth=0.8 if what == "due" else 1.5,
            )
    axes.axvline(0, color="black", linewidth=0.8)
    axes.legend()
    return [_save(figure, directory, "takeover")]


def draw(results: Results, directory: Path) -> list[str]:
    """Every plot for which there are results; their file names. Needs matplotlib."""
    intervals = sorted({float(s.parameters["interval_s"]) for s in results.of_kind("steady")})
    files = []
    for interval_s in intervals:
        files += cost(results, directory, interval_s)
    return files + lateness(results, directory) + takeover(results, directory)
