"""Every defect planted in the machine of a check must be found by its lives beside the model."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import check_mutations
import pytest

# whichever worker compiles the defects looks for all of them
pytestmark = [
    pytest.mark.computing,
    pytest.mark.xdist_group("check-mutations"),
    pytest.mark.timeout(600),
]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """By the number of the defect: the life that finds it."""
    directory = tmp_path_factory.mktemp("check-mutations")
    check_mutations.build(directory)
    done = subprocess.run(
        [sys.executable, str(Path(check_mutations.__file__)), str(directory)],
        env={"PYTHONPATH": str(check_mutations.ROOT / "src"), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize(
    ("number", "defect"), list(enumerate(check_mutations.DEFECTS, 1)), ids=check_mutations.DEFECTS
)
def test_it_is_found(number: int, defect: str, found: list[str]) -> None:
    assert found[number], f"no life finds that {defect}"


def test_without_a_defect_nothing_is_found(found: list[str]) -> None:
    assert found[0] == ""


def test_a_place_that_is_gone_is_noticed() -> None:
    with pytest.raises(ValueError, match="0 places"):
        check_mutations.planted("nothing\n")
