"""python -m fastvrrp.sim --seed N [--seeds A..B] [--verbose]: lives of routers, replayable by seed.

Exit status 0: no rule was broken; 1: at least one was, with the seed that shows it again.
"""

from __future__ import annotations

import argparse
import sys

from fastvrrp.sim.checkers import Violation
from fastvrrp.sim.swarm import Report, Simulation, draw_options

TRACE_TAIL = 40


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


def live(seed: int, *, verbose: bool) -> bool:
    """One seed; prints its outcome. False when a rule was broken."""
    options = draw_options(seed)
    simulation = Simulation(options, verbose=True)
    try:
        report = simulation.run()
    except Violation as violation:
        trace = simulation.judge.trace
        print("\n".join(trace if verbose else trace[-TRACE_TAIL:]))
        print(f"seed {seed}: BROKEN {violation}")
        print(f"again: python -m fastvrrp.sim --seed {seed} --verbose")
        return False
    if verbose:
        print(options)
        print("\n".join(report.trace))
    print(describe(report))
    return True


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m fastvrrp.sim", description=__doc__)
    parser.add_argument("--seed", type=int, action="append", default=[], help="one seed to live")
    parser.add_argument("--seeds", type=seeds, default=range(0), help="A..B, both included")
    parser.add_argument("--verbose", action="store_true", help="print the whole trace")
    arguments = parser.parse_args(argv)
    chosen = [*arguments.seed, *arguments.seeds]
    if not chosen:
        parser.error("give --seed or --seeds")
    good = [live(seed, verbose=arguments.verbose) for seed in chosen]
    if len(good) > 1:
        print(f"{sum(good)} of {len(good)} seeds broke no rule")
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
