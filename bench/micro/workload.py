"""What a micro bench consists of.

A workload separates what is timed from what is not: `prepare` makes fresh state, `run` is timed,
`check` says whether the result is right. The benches time it at full size; the test suite runs
every workload once at a small size, so that none of them measures something broken.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Workload:
    """One thing to measure. `operations` is how many operations one `run` performs."""

    name: str
    group: str
    operations: int
    prepare: Callable[[], Any]
    run: Callable[[Any], Any]
    check: Callable[[Any], None]  # raises AssertionError when the result of `run` is wrong

    def once(self) -> None:
        """Run and check, without timing."""
        self.check(self.run(self.prepare()))


@dataclass(frozen=True)
class Maker:
    """Makes a workload of a given size; `small` suits a test, `full` are the sizes to publish."""

    make: Callable[[int], Workload]
    small: int
    full: tuple[int, ...]
