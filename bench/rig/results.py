"""Results as a JSON file, to which later runs add and whose older figures they replace."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .figures import Summary, summary

FILE = "results.json"
ROUND = "round"  # number of the round; one that failed is missing
OTHERS = "others_busy"  # share of the CPU in use right before a round: should be nothing


@dataclass
class Series:
    """The rounds of one case with one contender."""

    case: str
    kind: str
    contender: str
    parameters: dict[str, Any]
    rounds: list[dict[str, Any]] = field(default_factory=list)
    measured: str = ""  # day and time of the last round
    failures: list[str] = field(default_factory=list)  # of rounds that are missing

    def by_round(self, key: str) -> dict[int, float]:
        """The value in each round that has it, by the round's number."""
        return {
            values.get(ROUND, n): float(values[key])
            for n, values in enumerate(self.rounds)
            if values.get(key) is not None
        }

    def numbers(self, key: str) -> list[float]:
        """The value in each round that has it."""
        return list(self.by_round(key).values())

    def summary(self, key: str) -> Summary | None:
        numbers = self.numbers(key)
        return summary(numbers) if numbers else None


@dataclass
class Results:
    """Everything in one file, in the order in which it was measured."""

    machine: dict[str, str]
    series: dict[tuple[str, str], Series] = field(default_factory=dict)

    def put(self, series: Series) -> None:
        self.series[series.case, series.contender] = series

    def get(self, case: str, contender: str) -> Series | None:
        return self.series.get((case, contender))

    def has(self, case: str, contender: str) -> bool:
        """Whether there is anything to tell of it."""
        series = self.get(case, contender)
        return series is not None and bool(series.rounds or series.failures)

    def of_kind(self, kind: str) -> list[Series]:
        """Those with figures."""
        return [s for s in self.series.values() if s.kind == kind and s.rounds]

    def save(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        document = {
            "machine": self.machine,
            "results": [vars(series) for series in self.series.values()],
        }
        (directory / FILE).write_text(json.dumps(document, indent=1) + "\n")


def load(directory: Path) -> Results | None:
    """What earlier runs left; None when there is nothing. Raises ValueError for another file."""
    file = directory / FILE
    if not file.exists():
        return None
    document = json.loads(file.read_text())
    results = Results(document["machine"])
    for entry in document["results"]:
        results.put(Series(**entry))
    return results


def load_for(directory: Path, machine: dict[str, str]) -> Results:
    """Earlier results of this very machine and software, or an empty book.

    Figures of different machines are never mixed in one file.
    """
    earlier = load(directory)
    return earlier if earlier is not None and earlier.machine == machine else Results(machine)


def add_micro(results: Results, file: Path) -> None:
    """What `pytest bench/micro --benchmark-json=FILE` measured, without the single timings."""
    for bench in json.loads(file.read_text())["benchmarks"]:
        extra, stats = bench["extra_info"], bench["stats"]
        count = extra["operations"]
        parameters = {"group": bench["group"], "what": extra["what"], "operations": count}
        values = {f"{name}_ns": stats[name] * 1e9 / count for name in ("median", "iqr", "min")}
        name = f"micro-{bench['group']}-{extra['what']}"
        results.put(Series(name, "micro", "fastvrrp", parameters, [values]))
