"""tools/run-tests: what gets a second look, what does not, and which exit status comes of it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

TOOL = Path(__file__).resolve().parents[2] / "tools/run-tests"
INI = "[pytest]\nmarkers = timing: ms\n  computing: CPU\naddopts = --strict-markers\n"

PASSES = "def test_plain(): pass\n"
FAILS = "def test_plain(): assert False\n"
TIMING = """
import pathlib, pytest
pytestmark = pytest.mark.timing
def test_good(): pass
@pytest.mark.xdist_group("beats")
@pytest.mark.parametrize("word", ["a@b"])
def test_once(word):
    seen = pathlib.Path("seen")
    first = not seen.exists()
    seen.touch()
    assert not first
"""
COMPUTING = """
import os, pathlib, pytest
@pytest.mark.computing
def test_stands_behind():
    print("held back")
    idle = os.sched_getscheduler(0) == os.SCHED_IDLE
    group = pathlib.Path("/proc/self/autogroup")
    assert not group.exists() or group.read_text().endswith("nice 19\\n") == idle
    assert idle
"""
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


def told(directory: Path, *arguments: str, **files: str) -> tuple[int, list[str], str]:
    """The exit status, the lines of the summary with the seconds cut off, and what came before."""
    (directory / "pytest.ini").write_text(INI)
    for name, text in files.items():
        (directory / f"test_{name}.py").write_text(text)
    done = subprocess.run(
        [sys.executable, str(TOOL), "-p", "no:cacheprovider", "-p", "xdist.plugin", *arguments],
        cwd=directory,
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        timeout=100,
    )
    said, _, summary = done.stdout.partition("######## summary\n")
    return done.returncode, [re.sub(r", \d+ s$", "", line) for line in summary.splitlines()], said


def run(directory: Path, *arguments: str, **files: str) -> tuple[int, list[str]]:
    """The exit status and the summary, of passes with tests."""
    status, summary, _ = told(directory, *arguments, **files)
    return status, [line for line in summary if not line.endswith("  no tests")]


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


def test_what_computes_is_heard_last(tmp_path: Path) -> None:
    """It runs beside the tests of milliseconds; their output is not mixed."""
    failing = COMPUTING.replace("assert idle", "assert not idle")
    timing = "import pytest\n@pytest.mark.timing\ndef test_said(): print('at once'); assert 0\n"
    status, summary, said = told(tmp_path, "-n", "0", timing=timing, computing=failing)
    assert status == 1
    assert "FAILED, and alone again: test_timing.py::test_said" in summary
    assert "failed, but passed alone: test_computing.py::test_stands_behind" in summary
    assert 0 < said.index("at once") < said.index("######## computing") < said.index("held back")


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
