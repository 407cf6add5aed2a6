"""The micro benches under pytest-benchmark: `python -m pytest bench/micro`."""

from __future__ import annotations

from typing import Any

import pytest

from .catalogue import full
from .workload import Workload

OPERATIONS_MIN = 20_000  # so that the clock and the call of `run` itself do not show


@pytest.mark.parametrize("workload", full(), ids=lambda w: f"{w.group}: {w.name}")
def test_micro(benchmark: Any, workload: Workload) -> None:
    workload.once()  # also warms the caches
    benchmark.group = workload.group
    benchmark.extra_info["what"] = workload.name
    benchmark.extra_info["operations"] = workload.operations
    if workload.operations == 1:
        state = workload.prepare()
        workload.check(benchmark(workload.run, state))
        return
    results: list[Any] = []

    def timed(state: Any) -> None:
        results[:] = [workload.run(state)]

    rounds = max(5, min(100, OPERATIONS_MIN // workload.operations))
    benchmark.pedantic(timed, setup=lambda: ((workload.prepare(),), {}), rounds=rounds)
    workload.check(results[0])
