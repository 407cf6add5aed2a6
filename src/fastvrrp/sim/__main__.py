"""python -m fastvrrp.sim --seed N [--seeds A..B] [--quiet] [--verbose]: lives of routers.

Exit status 0: no rule was broken; 1: at least one was, with the seed that shows it again.
"""

from __future__ import annotations

import argparse
import sys
import time

from fastvrrp.sim.checkers import Violation
from fastvrrp.sim.options import draw_options
from fastvrrp.sim.swarm import Report, Simulation

TRACE_TAIL = 40
PROGRESS_EVERY = 1000  # seeds


def seeds(text: str) -> range:
    """`A..B`, both included."""
    first, dots, last = text.partition("..")
    if not dots:
        raise argparse.ArgumentTypeError(f"{text!r} is not A..B")
    return range(int(first), int(last) + 1)


def describe(report: Report) -> str:
    options = report.options
    return (
        f"seed {options.seed}: {options.routers} routers, "
        f"{len(options.virtual_routers)} instances, "
        f"{len(options.faults)} faults, {report.virtual_ns / 1e9:.1f} s, {report.steps} steps, "
        f"{report.master_changes} masters made, fingerprint {report.fingerprint}"
    )


def live(seed: int, *, verbose: bool, quiet: bool) -> bool:
    """One seed; prints its outcome. False when a rule was broken.

    A quiet run keeps no trace; what it finds is lived once more with one."""
    simulation = Simulation(draw_options(seed), verbose=not quiet)
    try:
        report = simulation.run()
    except Violation as violation:
        if quiet:
            return live(seed, verbose=False, quiet=False)
        trace = simulation.judge.trace
        print("\n".join(trace if verbose else trace[-TRACE_TAIL:]))
        print(f"seed {seed}: BROKEN {violation}")
        print(f"again: python -m fastvrrp.sim --seed {seed} --verbose", flush=True)
        return False
    if verbose:
        print(report.options)
        print("\n".join(report.trace))
    if not quiet:
        print(describe(report))
    return True


def live_all(chosen: list[int], *, verbose: bool, quiet: bool) -> list[int]:
    """The seeds that broke a rule; a line of progress now and then."""
    broken = []
    began = time.monotonic()
    for number, seed in enumerate(chosen, 1):
        if not live(seed, verbose=verbose, quiet=quiet):
            broken.append(seed)
        if quiet and (number % PROGRESS_EVERY == 0 or number == len(chosen)):
            rate = number / (time.monotonic() - began)
            print(
                f"{number} seeds lived, {len(broken)} broke a rule, {rate:.1f} a second", flush=True
            )
    return broken


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m fastvrrp.sim", description=__doc__)
    parser.add_argument("--seed", type=int, action="append", default=[], help="one seed to live")
    parser.add_argument("--seeds", type=seeds, default=range(0), help="A..B, both included")
    parser.add_argument("--verbose", action="store_true", help="print the whole trace")
    parser.add_argument(
        "--quiet", action="store_true", help="print what breaks a rule, and progress"
    )
    arguments = parser.parse_args(argv)
    chosen = [*arguments.seed, *arguments.seeds]
    if not chosen:
        parser.error("give --seed or --seeds")
    broken = live_all(chosen, verbose=arguments.verbose, quiet=arguments.quiet)
    if len(chosen) > 1:
        print(f"{len(chosen) - len(broken)} of {len(chosen)} seeds broke no rule")
    if broken:
        print("broken: " + " ".join(map(str, broken)))
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
