"""CPU pressure: more busy loops than cores, in the same session as the daemons."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from bench.rig.contender import Contender
from bench.rig.network import Wires
from bench.rig.process import now_ns

from .base import LoadCase, Values, duel


@contextmanager
def busy_loops(count: int) -> Iterator[None]:
    loops = [
        subprocess.Popen(["sh", "-c", "while :; do :; done"], process_group=0) for _ in range(count)
    ]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


@dataclass(frozen=True, kw_only=True)
class Pressure(LoadCase):
    """Takeovers are counted while they are observed; what happened before is told apart."""

    kind: ClassVar[str] = "pressure"
    loops: int = 4
    seconds: float = 60.0

    @property
    def name(self) -> str:
        return f"{super().name}-{self.seconds:g}s"

    @property
    def expected_s(self) -> float:
        return self.duel_s + self.seconds + 2

    def run(self, contender: Contender, scratch: Path) -> Values:
        with (
            Wires(self.instances) as network,
            duel(network, contender, self.interval_s, scratch) as pair,
        ):
            settled = pair.settled()
            with busy_loops(self.loops):
                values = pair.observe(self.seconds)
            end_ns = now_ns()
            pair.require_alive()
            return values | {
                "settled": settled,
                "false_takeovers": pair.false_takeovers(pair.observed_ns, end_ns),
                "false_takeovers_before": pair.false_takeovers(until_ns=pair.observed_ns),
            }
