"""Defects planted in the source of the state machine.

The swarm must find each within 400 seeds, by a rule that says what is wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import mutations
import pytest

# whichever worker builds the mutated core runs all of them
pytestmark = [
    pytest.mark.computing,
    pytest.mark.xdist_group("mutations"),
    pytest.mark.timeout(900),
]


@pytest.fixture(scope="module")
def found() -> dict[int, tuple[int, str]]:
    """Number of the mutation -> first seed that finds it, and the rule."""
    source = mutations.build()
    done = subprocess.run(
        [sys.executable, str(Path(mutations.__file__))],
        env={"PYTHONPATH": str(source), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=840,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    return {line["number"]: (line["seed"], line["rule"]) for line in lines}


@pytest.mark.parametrize(
    ("number", "planted"),
    list(enumerate(mutations.MUTATIONS, 1)),
    ids=[planted.name for planted in mutations.MUTATIONS],
)
def test_it_is_found(
    number: int, planted: mutations.Mutation, found: dict[int, tuple[int, str]]
) -> None:
    seed, rule = found[number]
    assert 1 <= seed <= mutations.MOST_SEEDS, f"no seed finds that {planted.name}"
    assert rule in planted.rules


def test_a_place_that_is_gone_is_noticed(tmp_path: Path) -> None:
    file = tmp_path / "fsm.pxi"
    file.write_text("nothing\n")
    with pytest.raises(ValueError, match="0 places"):
        mutations.plant(file, mutations.MUTATIONS[0], 1)
