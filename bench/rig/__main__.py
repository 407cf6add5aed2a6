"""`python -m bench.rig`: measure daemons and write docs/benchmarks.

Needs root, a C compiler, and keepalived to compare with.
"""

from __future__ import annotations

import argparse
import fnmatch
import importlib.util
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

from fastvrrp.lab.namespace import privileged

from . import contender as contenders
from . import machine, plan, plots, report
from .cases.base import Case
from .cases.floor import FLOOR
from .native import CompilerMissing
from .results import Results, add_micro, load, load_for
from .run import run_all

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
        if name not in known or name == "contenders":
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
    parser.add_argument("--list", action="store_true", help="show the cases and end")
    parser.add_argument("--report", action="store_true", help="only write the page anew")
    parser.add_argument("--only", action="append", metavar="PATTERN", help="cases by name (glob)")
    parser.add_argument(
        "--case", action="append", type=parse_case, metavar="KIND:NAME=VALUE,...", default=[]
    )
    parser.add_argument("--contender", action="append", choices=[*contenders.KNOWN, "floor"])
    parser.add_argument("--rounds", type=int, help="default: 3, quick: 1")
    parser.add_argument(
        "--micro", type=Path, metavar="FILE", help="take in a JSON file of pytest bench/micro"
    )
    parser.add_argument(
        "--out", type=Path, help="directory of the results (default: docs/benchmarks)"
    )
    options = parser.parse_args(argv)
    if options.out is None:
        options.out = QUICK_OUTPUT if options.quick else OUTPUT
    return options


def chosen_cases(options: argparse.Namespace) -> list[Case]:
    if options.case:
        return list(options.case)
    cases = plan.quick() if options.quick else plan.full()
    if options.only:
        cases = [c for c in cases if any(fnmatch.fnmatch(c.name, p) for p in options.only)]
    return cases


def chosen_contenders(options: argparse.Namespace) -> dict[str, contenders.Contender]:
    """Raises SystemExit when one that was asked for is not installed."""
    every = {**contenders.KNOWN, FLOOR.name: FLOOR}
    if not options.contender:
        return {name: one for name, one in every.items() if one.available()}
    wanted = {name: every[name] for name in options.contender}
    for one in wanted.values():
        if not one.available():
            raise SystemExit(f"{one.command[0]} is not installed")
    return wanted


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
        print("\n".join(case.name for case in cases))
        return 0
    if options.micro:
        results = load_for(options.out, machine.describe())
        add_micro(results, options.micro)
        results.save(options.out)
        write_page(results, options.out)
        return 0
    if options.report:
        earlier = load(options.out)
        if earlier is None:
            print(f"{options.out}: no results yet", file=sys.stderr)
            return 2
        write_page(earlier, options.out)
        return 0
    if not privileged():
        print("the rig makes network namespaces: run it as root", file=sys.stderr)
        return 2
    results = load_for(options.out, machine.describe())
    rounds = options.rounds or (1 if options.quick else 3)
    try:
        failures = run_all(
            cases,
            chosen_contenders(options),
            rounds=rounds,
            results=results,
            directory=options.out,
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
