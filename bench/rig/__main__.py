"""`python -m bench.rig`: measure daemons and write docs/benchmarks.

Needs root, a C compiler, keepalived to compare with, and user-mode Linux for the load balancer.
"""

from __future__ import annotations

import argparse
import fnmatch
import importlib.util
import sys
from collections.abc import Iterable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from fastvrrp.lab.namespace import privileged

from . import contender as contenders
from . import machine, plan, plots, report
from .cases.base import Case
from .cases.floor import FLOORS
from .native import CompilerMissing
from .results import Results, add_micro, load, load_for
from .run import expected_minutes, run_all

ROOT = Path(__file__).parents[2]
OUTPUT = ROOT / "docs" / "benchmarks"
QUICK_OUTPUT = ROOT / "build" / "bench" / "quick"  # its figures are not worth publishing
PAGE = "results.md"


def parse_case(text: str) -> Case:
    """`KIND:NAME=VALUE,...`, the names being those of the case's parameters."""
    kind, _, rest = text.partition(":")
    if kind not in plan.KINDS:
        raise argparse.ArgumentTypeError(f"{kind}: one of {', '.join(plan.KINDS)}")
    known = {f.name: str(f.type) for f in fields(plan.KINDS[kind])}
    values: dict[str, Any] = {}
    for word in filter(None, rest.split(",")):
        name, _, value = word.partition("=")
        if name not in known or name in ("contenders", "rounds"):
            raise argparse.ArgumentTypeError(f"{kind} has no {name}")
        convert = {"int": int, "float": float}.get(known[name], str)
        values[name] = convert(value)
    try:
        return plan.KINDS[kind](**values)
    except TypeError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def arguments(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.rig", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a smoke of a minute")
    parser.add_argument(
        "--list", action="store_true", help="show the cases with their minutes and end"
    )
    parser.add_argument("--report", action="store_true", help="only write the page anew")
    parser.add_argument("--only", action="append", metavar="PATTERN", help="cases by name (glob)")
    parser.add_argument(
        "--case", action="append", type=parse_case, metavar="KIND:NAME=VALUE,...", default=[]
    )
    parser.add_argument("--contender", action="append", choices=[*contenders.KNOWN, *FLOORS])
    parser.add_argument("--rounds", type=int, help="default: 3 for most cases, quick: 1")
    parser.add_argument(
        "--fresh", action="store_true", help="forget earlier results instead of adding to them"
    )
    parser.add_argument(
        "--missing", action="store_true", help="only cases that have no results yet"
    )
    parser.add_argument(
        "--micro", type=Path, metavar="FILE", help="take in a JSON file of pytest bench/micro"
    )
    parser.add_argument(
        "--out", type=Path, help="directory of the results (default: docs/benchmarks)"
    )
    options = parser.parse_args(argv)
    if options.out is None:
        options.out = QUICK_OUTPUT if options.quick else OUTPUT
    if options.quick and options.rounds is None:
        options.rounds = 1
    return options


def chosen_cases(options: argparse.Namespace) -> list[Case]:
    if options.case:
        asked = options.contender
        return [replace(c, contenders=tuple(asked)) if asked else c for c in options.case]
    cases = plan.quick() if options.quick else plan.full()
    if options.only:
        cases = [c for c in cases if any(fnmatch.fnmatch(c.name, p) for p in options.only)]
    return cases


def chosen_contenders(options: argparse.Namespace) -> dict[str, contenders.Contender]:
    """Who can be measured here; who cannot is named, with the reason.

    Raises SystemExit when one that was asked for cannot.
    """
    every = {**contenders.KNOWN, **FLOORS}
    chosen = {}
    for name in options.contender or every:
        absence = every[name].absence()
        if absence is None:
            chosen[name] = every[name]
        elif options.contender:
            raise SystemExit(f"{name} cannot be measured: {absence}")
        else:
            print(f"{name} is left out: {absence}")
    return chosen


def show_plan(cases: list[Case], options: argparse.Namespace) -> None:
    """Each case with its contenders and its minutes, and the sum."""
    chosen = chosen_contenders(options)
    total = 0.0
    for case in cases:
        minutes = expected_minutes(case, chosen, options.rounds)
        total += minutes
        names = ", ".join(name for name in case.contenders if name in chosen)
        rounds = options.rounds or case.rounds
        print(f"{minutes:6.1f} min  {case.name}  {rounds} x ({names})")
    print(f"{total:6.1f} min in all")


def without_measured(cases: list[Case], results: Results, names: Iterable[str]) -> list[Case]:
    """Cases that lack results of some contender."""
    return [
        case
        for case in cases
        if any(not results.has(case.name, n) for n in case.contenders if n in names)
    ]


def write_page(results: Results, directory: Path) -> None:
    drawn: list[str] = []
    if importlib.util.find_spec("matplotlib") is None:
        print("no plots: matplotlib is not installed (pip install 'fastvrrp[bench]')")
    else:
        drawn = plots.draw(results, directory)
    (directory / PAGE).write_text(report.render(results, drawn))
    print(directory / PAGE)


def main(argv: list[str]) -> int:
    """0: everything measured; 1: something failed, the rest is there; 2: cannot measure."""
    options = arguments(argv)
    cases = chosen_cases(options)
    if options.list:
        show_plan(cases, options)
        return 0
    if options.report:
        earlier = load(options.out)
        if earlier is None:
            print(f"{options.out}: no results yet", file=sys.stderr)
            return 2
        write_page(earlier, options.out)
        return 0
    description = machine.describe()
    results = Results(description) if options.fresh else load_for(options.out, description)
    if options.micro:
        add_micro(results, options.micro)
        results.save(options.out)
        write_page(results, options.out)
        return 0
    if not privileged():
        print("the rig makes network namespaces: run it as root", file=sys.stderr)
        return 2
    chosen = chosen_contenders(options)
    if options.missing:
        cases = without_measured(cases, results, chosen)
    contenders.compile_bytecode()
    try:
        failures = run_all(
            cases, chosen, rounds=options.rounds, results=results, directory=options.out
        )
    except CompilerMissing as error:
        print(error, file=sys.stderr)
        return 2
    write_page(results, options.out)
    for failure in failures:
        print(failure, file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
