"""tools/run-tests run on a few tests of its own: what it says of them, and the tests."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

TOOL = Path(__file__).resolve().parents[2] / "tools/run-tests"
INI = "[pytest]\nmarkers = timing: ms\n  computing: CPU\naddopts = --strict-markers\n"

PASSES = "def test_plain(): pass\n"
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
        timeout=600,  # one pass only gets the CPU that nobody else wants
    )
    said, _, summary = done.stdout.partition("######## summary\n")
    return done.returncode, [re.sub(r", \d+ s$", "", line) for line in summary.splitlines()], said


def run(directory: Path, *arguments: str, **files: str) -> tuple[int, list[str]]:
    """The exit status and the summary, of passes with tests."""
    status, summary, _ = told(directory, *arguments, **files)
    return status, [line for line in summary if not line.endswith("  no tests")]
