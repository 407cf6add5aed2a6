"""Runs cases: contenders in turn within each round, medians over the rounds later."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from . import machine
from .cases.base import Case, Values
from .contender import REFERENCES, Contender
from .results import OTHERS, ROUND, Results, Series


def _shown(values: Values) -> str:
    words = [f"{k}={v:.4g}" for k, v in values.items() if isinstance(v, (int, float))]
    return " ".join(words)


def run_once(case: Case, contender: Contender) -> Values:
    """One measurement in a directory of its own, which is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch, contender.surroundings():
        return case.run(contender, Path(scratch))


def expected_minutes(case: Case, contenders: Iterable[str], rounds: int | None) -> float:
    """About how long all rounds take."""
    count = len([name for name in case.contenders if name in contenders])
    each_s = case.expected_s + machine.SAMPLE_S
    return (rounds or case.rounds) * count * each_s / 60


def run_case(
    case: Case, contenders: Mapping[str, Contender], rounds: int, results: Results
) -> list[str]:
    """All rounds of a case, into the results; what failed that should not have, in words.

    The order of the contenders turns round every time, so that none always runs first. A round
    that fails is reported and left out of the medians. That a daemon we compare with does not get
    through a case is a result.
    """
    chosen = [name for name in case.contenders if name in contenders]
    series = {name: Series(case.name, case.kind, name, case.parameters()) for name in chosen}
    failures = []
    for number in range(rounds):
        for name in chosen[:: -1 if number % 2 else 1]:
            others = machine.busy()
            begin = time.monotonic()
            try:
                values = run_once(case, contenders[name])
            except (RuntimeError, OSError) as error:
                failure = f"{case.name} {name} round {number + 1}: {error}"
                print(f"FAILED {failure}", flush=True)
                series[name].failures.append(str(error).partition("\n")[0])
                if name not in REFERENCES:
                    failures.append(failure)
                continue
            series[name].rounds.append(values | {ROUND: number, OTHERS: others})
            series[name].measured = time.strftime("%Y-%m-%d %H:%M")
            seconds = time.monotonic() - begin
            print(f"{case.name} {name} {seconds:.0f} s: {_shown(values)}", flush=True)
    for one in series.values():
        if one.rounds or one.failures:
            results.put(one)
    return failures


def run_all(
    cases: Sequence[Case],
    contenders: Mapping[str, Contender],
    *,
    rounds: int | None,
    results: Results,
    directory: Path,
) -> list[str]:
    """Every case; the file is written after each, so that an interruption loses one at most.

    `rounds` None: as many as each case wants.
    """
    failures = []
    minutes = [expected_minutes(case, contenders, rounds) for case in cases]
    for number, case in enumerate(cases):
        print(f"-- about {sum(minutes[number:]):.0f} minutes left", flush=True)
        failures += run_case(case, contenders, rounds or case.rounds, results)
        results.save(directory)
    return failures
