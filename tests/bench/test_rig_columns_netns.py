"""What the page shows is what the cases measure: no column, and no goal, stays empty."""

from __future__ import annotations

import pytest
from bench.rig import plan, report
from bench.rig.contender import KNOWN
from bench.rig.goals import GOALS, Of
from bench.rig.run import run_once

pytestmark = [pytest.mark.netns, pytest.mark.slow, pytest.mark.xdist_group("bench")]

CASES = {case.kind: case for case in plan.quick() if "floor" not in case.contenders}


@pytest.mark.timeout(180)
@pytest.mark.parametrize("kind", CASES)
def test_every_column_has_its_figure(kind: str) -> None:
    values = run_once(CASES[kind], KNOWN["fastvrrp"])
    for layout in report.TABLES:
        if layout.kind == kind:
            assert {column.key for column in layout.columns} <= values.keys()
    wanted = {
        goal.read.key
        for goal in GOALS
        if isinstance(goal.read, Of) and goal.read.case.startswith(f"{kind}-")
    }
    assert wanted <= values.keys()
    if kind == "growth":
        assert [number for number, _ in values["private_kb"]] == [0, 2, 4, 6, 8]
    if kind == "trickle":
        assert values["false_takeovers"] == values["checksum"] + values["ttl"] + values["version"]
