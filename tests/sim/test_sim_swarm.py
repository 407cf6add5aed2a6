"""Fixed seeds through the simulator, its own honesty, and its command line.

Whatever the seed draws - routers, versions, intervals, priorities, faults - no rule of
fastvrrp.sim.checkers may be broken, and the same seed must live the same life again.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import mutants
import pytest

from fastvrrp._core import Core
from fastvrrp.sim import faults
from fastvrrp.sim.checkers import Violation
from fastvrrp.sim.options import Options, draw_options
from fastvrrp.sim.swarm import Simulation, run

pytestmark = pytest.mark.computing

SEEDS = range(1000, 1400)
AT_ONCE = 20  # seeds of one test: enough tests to share out, few enough not to pay for each
# seeds that once showed a defect, under the draw of their time or of now
REGRESSIONS = (
    18,
    34,
    64,
    70,
    90,
    95,
    101,
    102,
    142,
    157,
    191,
    293,
    465,
    503,
    549,
    805,
    852,
    880,
    1762,
    4716,
    4921,
    6790,
    10391,
    63932,
    74281,
)


@pytest.mark.parametrize("first", SEEDS[::AT_ONCE])
def test_no_rule_is_broken(first: int) -> None:
    """400 seeds. A failure names its seed: `python -m fastvrrp.sim --seed N --verbose`."""
    for seed in range(first, first + AT_ONCE):
        assert lived(seed) >= 1


@pytest.mark.parametrize("seed", REGRESSIONS)
def test_what_was_broken_once_is_whole(seed: int) -> None:
    assert lived(seed) >= 1


def lived(seed: int) -> int:
    """How many masters were made; a broken rule fails with its seed."""
    try:
        return run(seed).master_changes
    except Violation as violation:
        pytest.fail(f"seed {seed}: {violation}")


@pytest.mark.parametrize("seed", [1000, 1007, 1013])
def test_same_seed_same_life(seed: int) -> None:
    assert run(seed).fingerprint == run(seed, verbose=True).fingerprint


def test_seeds_differ() -> None:
    assert len({run(seed).fingerprint for seed in range(1000, 1006)}) == 6


def test_the_swarm_covers_what_it_claims() -> None:
    """Over the fixed seeds every fault kind, version, family, group and router count occurs."""
    drawn = [draw_options(seed) for seed in SEEDS]
    assert {kind for o in drawn for _, kind, _ in o.faults} == set(faults.KINDS)
    assert {o.routers for o in drawn} == set(range(2, 11))
    sizes = [len(o.virtual_routers) for o in drawn]
    assert min(sizes) == 1
    assert max(sizes) > 100
    virtual = [v for o in drawn for v in o.virtual_routers]
    assert {v.version for v in virtual} == {2, 3}
    assert {v.family for v in virtual} == {4, 6}
    assert {-1, 0, 1, 2} <= {v.group for v in virtual}
    members = [m for o in drawn for router in o.members for m in router]
    assert {10_000_000, 40_000_000_000} <= {m.advert_int_ns for m in members}
    assert {True, False} == {m.nopreempt for m in members}
    assert 255 in {m.priority for m in members}
    assert any(len(set(o.components)) > 1 for o in drawn)
    assert any(o.dead for o in drawn)
    assert {True, False} == {o.coalesce for o in drawn}


# ---- the checkers can fail: planted defects, and which rule finds each ----


def calm(options: Options) -> Options:
    return replace(options, faults=())


@pytest.mark.parametrize(
    ("mutant", "rules"),
    [
        (mutants.IgnoresPriorityZero, {"skew"}),
        (mutants.NeverYields, {"election", "rivals", "one master"}),
        (mutants.NeverAnnounces, {"announce"}),
        (mutants.WinnerIsSilent, {"winner"}),
        (mutants.KeepsAddresses, {"addresses"}),
        (mutants.AnnouncesTooEarly, {"unheld"}),
        (mutants.NoGoodbye, {"goodbye"}),
        (mutants.FallsSilent, {"beat", "rivals", "one master", "right master"}),
        (mutants.SpeaksAsBackup, {"speaker"}),
        (mutants.AnswersEverything, {"bounded"}),
        (mutants.Sleeps, {"overdue", "one master"}),
    ],
)
def test_a_planted_defect_is_found(mutant: type[Core], rules: set[str]) -> None:
    """Within a few seeds, and by a rule that names it."""
    found = set()
    for seed in range(2000, 2030):
        try:
            run(seed, make_core=mutant)
        except Violation as violation:
            found.add(violation.rule)
        if found & rules:
            return
    pytest.fail(f"{mutant.__name__} broke {found or 'no rule'} in 30 seeds")


def test_a_core_that_is_no_function_is_found() -> None:
    first = run(1000, make_core=mutants.Random, change=calm)
    second = run(1000, make_core=mutants.Random, change=calm)
    assert first.fingerprint != second.fingerprint


def test_a_failure_says_when_and_what() -> None:
    simulation = Simulation(draw_options(2000), verbose=True, make_core=mutants.NeverAnnounces)
    with pytest.raises(Violation, match=r"announce at \d+\.\d+ s: router \d") as caught:
        simulation.run()
    assert caught.value.now_ns == simulation.scheduler.now
    assert simulation.judge.trace


# ---- command line ----


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "fastvrrp.sim", *arguments],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def test_command_line_prints_a_fingerprint_per_seed() -> None:
    reply = command("--seeds", "1000..1002")
    assert reply.returncode == 0, reply.stdout + reply.stderr
    assert "3 of 3 seeds broke no rule" in reply.stdout
    assert run(1001).fingerprint in reply.stdout


def test_command_line_wants_a_seed() -> None:
    assert command().returncode == 2
    assert command("--seeds", "5").returncode == 2
