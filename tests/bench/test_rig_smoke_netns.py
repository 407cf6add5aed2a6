"""The smoke: every case gives figures, those that do not depend on speed are right, and what the
page shows is what the cases measure: no column, and no goal, stays empty."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from bench.rig import plan, report
from bench.rig.__main__ import main
from bench.rig.goals import GOALS, Of

pytestmark = [
    pytest.mark.netns,
    pytest.mark.slow,
    pytest.mark.xdist_group("bench"),
    pytest.mark.timeout(420),  # the smoke is in the time of whoever asks for it first
]

KINDS = list(dict.fromkeys(c.kind for c in plan.quick() if "floor" not in c.contenders))


@pytest.fixture(scope="module")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where `--quick` left its results."""
    directory = tmp_path_factory.mktemp("smoke")
    assert main(["--quick", "--out", str(directory)]) == 0
    return directory


def measured(smoke: Path, kind: str) -> list[dict[str, Any]]:
    """What was measured by each case of a kind, of each contender."""
    document = json.loads((smoke / "results.json").read_text())
    return [entry for entry in document["results"] if entry["kind"] == kind]


def test_every_kind_is_measured(smoke: Path) -> None:
    by_kind = {kind: measured(smoke, kind)[-1]["rounds"][0] for kind in plan.KINDS}
    assert by_kind["steady"]["settled"]
    assert by_kind["steady"]["routers"] == 16
    assert by_kind["startup"]["announced"] == 16
    assert by_kind["takeover"]["early_adverts"] == 0
    assert by_kind["reload"]["addresses_touched"] == 0
    assert by_kind["reload"]["priority_zero"] == 0
    assert by_kind["floor-packets"]["heard_share"] == 1
    assert by_kind["flood"]["log_lines"] <= 20
    assert by_kind["ipvs-checks"]["rate_share"] > 0.3
    assert by_kind["ipvs-probes"]["answered_share"] == 1
    assert by_kind["ipvs-table"]["operations"] == 1
    assert "## Takeover" in (smoke / "results.md").read_text()


@pytest.mark.parametrize("kind", KINDS)
def test_every_column_has_its_figure(smoke: Path, kind: str) -> None:
    columns = {
        column.key for layout in report.TABLES if layout.kind == kind for column in layout.columns
    }
    wanted = {
        goal.read.key
        for goal in GOALS
        if isinstance(goal.read, Of) and goal.read.case.startswith(f"{kind}-")
    }
    cases = [entry for entry in measured(smoke, kind) if entry["contender"] == "fastvrrp"]
    assert len(cases) == sum(case.kind == kind for case in plan.quick())
    for entry in cases:
        values = entry["rounds"][0]
        assert columns | wanted <= values.keys()
        if kind == "growth":
            assert [number for number, _ in values["private_kb"]] == [0, 2, 4, 6, 8]
        if kind == "trickle":
            parts = values["checksum"] + values["ttl"] + values["version"]
            assert values["false_takeovers"] == parts
