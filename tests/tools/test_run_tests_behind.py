"""tools/run-tests: what computes stands behind the rest. Not marked `computing` itself: there
everything stands behind, also what must not."""

from __future__ import annotations

from pathlib import Path

from inner_runs import COMPUTING, told


def test_what_computes_is_heard_last(tmp_path: Path) -> None:
    """It runs beside the tests of milliseconds; their output is not mixed."""
    failing = COMPUTING.replace("assert idle", "assert not idle")
    timing = "import pytest\n@pytest.mark.timing\ndef test_said(): print('at once'); assert 0\n"
    status, summary, said = told(tmp_path, "-n", "0", timing=timing, computing=failing)
    assert status == 1
    assert "FAILED, and alone again: test_timing.py::test_said" in summary
    assert "failed, but passed alone: test_computing.py::test_stands_behind" in summary
    assert 0 < said.index("at once") < said.index("######## computing") < said.index("held back")
