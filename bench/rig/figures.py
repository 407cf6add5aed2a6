"""Small statistics: quantiles of samples and of the receiver's histograms."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

Histogram = list[tuple[int, int]]  # (lowest value of the bucket, count), ascending


class Summary(NamedTuple):
    """Median of the rounds and their extremes."""

    median: float
    low: float
    high: float


def summary(values: Sequence[float]) -> Summary:
    return Summary(statistics.median(values), min(values), max(values))


def quantile(values: Iterable[float], q: float) -> float:
    """The value that the share `q` does not exceed. Raises ValueError without values."""
    ordered = sorted(values)
    if not ordered:
        raise ValueError("no values")
    return ordered[min(len(ordered) - 1, int(len(ordered) * q))]


def merged(*histograms: Sequence[Sequence[int]]) -> Histogram:
    counts: dict[int, int] = {}
    for histogram in histograms:
        for value, count in histogram:
            counts[value] = counts.get(value, 0) + count
    return sorted(counts.items())


def histogram_quantile(histogram: Histogram, q: float) -> float:
    """As `quantile`; exact to the width of a bucket. 0 without values."""
    total = sum(count for _, count in histogram)
    seen = 0
    for value, count in histogram:
        seen += count
        if seen > total * q:
            return float(value)
    return float(histogram[-1][0]) if histogram else 0.0


def thinned(histogram: Histogram, steps_per_octave: int = 4) -> Histogram:
    """A coarser histogram, to publish and to plot."""
    counts: dict[int, int] = {}
    for value, count in histogram:
        if value <= 0:
            low = 0
        else:
            base = 1 << (value.bit_length() - 1)
            low = base + (value - base) * steps_per_octave // base * base // steps_per_octave
        counts[low] = counts.get(low, 0) + count
    return sorted(counts.items())


def curve(values: Iterable[float], points: int = 100) -> list[float]:
    """The quantiles 0, 1/points, ... 1 of the values, to plot."""
    ordered = sorted(values)
    if not ordered:
        return []
    last = len(ordered) - 1
    return [round(ordered[last * k // points], 6) for k in range(points + 1)]


def lateness(received: dict[str, Any]) -> dict[str, Any]:
    """Of the receiver's report on one direction: how far intervals were off, in either sense.

    Milliseconds. `late_ms` are the quantiles of intervals that were too long alone.
    """
    both = merged(received["early"], received["late"])
    late: Histogram = [(value, count) for value, count in received["late"]]
    return {
        "error_p50_ms": histogram_quantile(both, 0.5) / 1e6,
        "error_p99_ms": histogram_quantile(both, 0.99) / 1e6,
        "error_p999_ms": histogram_quantile(both, 0.999) / 1e6,
        "error_max_ms": max(received["early_max_ns"], received["late_max_ns"]) / 1e6,
        "late_p99_ms": histogram_quantile(late, 0.99) / 1e6,
        "late_max_ms": received["late_max_ns"] / 1e6,
        "mean_error_us": received["mean_error_ns"] / 1e3,
        "intervals": received["intervals"],
        "routers": received["routers"],
        "silent": received["silent"],
        "over_1_5": received["over_1_5"],
        "over_2": received["over_2"],
        "over_3": received["over_3"],
    }
