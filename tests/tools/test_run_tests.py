"""tools/run-tests: what gets a second look, what does not, and which exit status comes of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from inner_runs import COMPUTING, PASSES, TIMING, run

# The last pass of each waits for CPU that nobody else wants.
pytestmark = pytest.mark.computing

FAILS = "def test_plain(): assert False\n"
TIMING_FAILS = "import pytest\n@pytest.mark.timing\ndef test_never(): assert False\n"
TIMING_DIES = "import os, pytest\n@pytest.mark.timing\ndef test_dies(): os._exit(1)\n"
TIMING_TEARDOWN = """
import pytest
@pytest.fixture
def broken():
    yield
    raise OSError("not put away")
@pytest.mark.timing
def test_teardown(broken): pass
"""


GROUPED = """
import os, pathlib, pytest
pytestmark = [pytest.mark.xdist_group("together")]
@pytest.mark.parametrize("number", range(12))
def test_worker(number):
    with pathlib.Path("workers").open("a") as file:
        file.write(os.environ["PYTEST_XDIST_WORKER"] + "\\n")
"""


def test_a_group_has_one_worker(tmp_path: Path) -> None:
    """pytest 9.2 with xdist 3.8 forgets groups without a word; what they share breaks."""
    assert run(tmp_path, grouped=GROUPED)[0] == pytest.ExitCode.OK
    assert len(set((tmp_path / "workers").read_text().split())) == 1


def test_all_is_well(tmp_path: Path) -> None:
    """Each test runs once, in its pass; without failures nothing is looked at again."""
    (tmp_path / "seen").touch()
    status, summary = run(tmp_path, "-n", "0", plain=PASSES, timing=TIMING, computing=COMPUTING)
    assert status == 0
    assert summary == [
        "side by side:  1 passed",
        "timing:        2 passed",
        "computing:     1 passed",
    ]


def test_a_failure_of_the_first_pass_that_stays(tmp_path: Path) -> None:
    (tmp_path / "seen").touch()
    status, summary = run(tmp_path, "-n", "0", plain=FAILS, timing=TIMING)
    assert status == 1
    assert summary == [
        "side by side:  1 failed",
        "timing:        2 passed",
        "alone:         1 failed",
        "FAILED, and alone again: test_plain.py::test_plain",
    ]


def test_a_failure_of_the_first_pass_gets_a_second_look(tmp_path: Path) -> None:
    once = TIMING.replace("pytestmark = pytest.mark.timing", "")
    status, summary = run(tmp_path, "-n", "1", plain=PASSES, once=once)
    assert status == 0
    assert summary == [
        "side by side:  2 passed, 1 failed",
        "alone:         1 passed",
        "failed, but passed alone: test_once.py::test_once[a@b]",
    ]


def test_a_second_look_into_a_directory_with_its_own_conftest(tmp_path: Path) -> None:
    """There pytest asks for the plugins that do not belong to it, and hashes ours."""
    (tmp_path / "below").mkdir()
    (tmp_path / "below/conftest.py").touch()
    (tmp_path / "below/test_once.py").write_text(TIMING)
    status, summary = run(tmp_path, "-n", "1", plain=PASSES)
    assert status == 0
    assert summary[-1] == "failed, but passed alone: below/test_once.py::test_once[a@b]"


def test_a_failure_of_milliseconds_gets_a_second_look(tmp_path: Path) -> None:
    """By xdist's workers, which name a test of a group otherwise."""
    status, summary = run(tmp_path, "-n", "1", plain=PASSES, timing=TIMING)
    assert status == 0
    assert summary == [
        "side by side:  1 passed",
        "timing:        1 passed, 1 failed",
        "alone:         1 passed",
        "failed, but passed alone: test_timing.py::test_once[a@b]",
    ]


@pytest.mark.parametrize(
    ("text", "test"),
    [(TIMING_FAILS, "never"), (TIMING_TEARDOWN, "teardown")],
    ids=["test", "teardown"],
)
def test_what_fails_again_has_failed(tmp_path: Path, text: str, test: str) -> None:
    status, summary = run(tmp_path, "-n", "0", plain=PASSES, timing=TIMING, bad=text)
    assert status == 1
    assert summary[1:] == [
        "timing:        1 passed, 2 failed",
        "alone:         1 passed, 1 failed",
        f"FAILED, and alone again: test_bad.py::test_{test}",
        "failed, but passed alone: test_timing.py::test_once[a@b]",
    ]


def test_a_failure_of_both_kinds(tmp_path: Path) -> None:
    """What the second look mends in one pass is no help to the other."""
    status, summary = run(tmp_path, "-n", "0", plain=FAILS, timing=TIMING)
    assert status == 1
    assert "FAILED, and alone again: test_plain.py::test_plain" in summary
    assert "failed, but passed alone: test_timing.py::test_once[a@b]" in summary


def test_a_worker_that_dies_gets_no_second_look(tmp_path: Path) -> None:
    status, summary = run(tmp_path, "-n", "1", plain=PASSES, bad=TIMING_DIES)
    assert status == 1
    assert summary == [
        "side by side:  1 passed",
        "timing:        1 failed",
        "FAILED: test_bad.py::test_dies",
    ]


def test_what_cannot_be_collected_gets_no_second_look(tmp_path: Path) -> None:
    status, summary = run(tmp_path, "-n", "1", plain=PASSES, bad="import nowhere\n")
    assert status != 0
    assert not any(line.startswith("alone") for line in summary)


@pytest.mark.parametrize(("mark", "count"), [("timing", 7), ("xdist_group", 5)])
def test_many_failures_get_no_second_look(tmp_path: Path, mark: str, count: int) -> None:
    many = f'import pytest\n@pytest.mark.{mark}\n@pytest.mark.parametrize("n", range({count}))\n'
    status, summary = run(tmp_path, "-n", "1", many=f"{many}def test_n(n): assert 0\n")
    assert status == 1
    assert summary[0].endswith(f" {count} failed")
    assert len(summary) == 1 + count


@pytest.mark.parametrize(
    ("arguments", "status", "lines"),
    [
        (["-k", "plain"], 0, ["side by side:  1 passed"]),
        (["-k", "good"], 0, ["timing:        1 passed"]),
        (["-m", "timing"], 0, ["timing:        2 passed"]),
        (["-m", "not timing"], 0, ["side by side:  1 passed", "computing:     1 passed"]),
        (["test_plain.py"], 0, ["side by side:  1 passed"]),
        (["-k", "nothing"], 5, []),
        (["--no-such-option"], 4, ["side by side:  no tests; pytest ended with status 4"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_arguments_are_pytests(
    tmp_path: Path, arguments: list[str], status: int, lines: list[str]
) -> None:
    (tmp_path / "seen").touch()
    files = {"plain": PASSES, "timing": TIMING, "computing": COMPUTING}
    assert run(tmp_path, "-n", "0", *arguments, **files) == (status, lines)
