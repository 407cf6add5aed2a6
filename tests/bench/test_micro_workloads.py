"""Every micro bench, small and untimed: what is measured is right."""

from __future__ import annotations

import pytest
from bench.micro import catalogue
from bench.micro.workload import Workload


@pytest.mark.parametrize("workload", catalogue.small(), ids=lambda w: f"{w.group}: {w.name}")
def test_workload(workload: Workload) -> None:
    workload.once()


def test_state_is_fresh_every_time() -> None:
    """A second round measures the same as the first."""
    for workload in catalogue.small():
        workload.once()
        workload.once()
