"""CPU pressure: more busy loops than cores, in the same session as the daemons."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from bench.rig.contender import Contender
from bench.rig.figures import lateness, merged, thinned
from bench.rig.network import Wires
from bench.rig.observe import Intervals

from .base import Case, Values, duel, interval_word


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
class Pressure(Case):
    kind: ClassVar[str] = "pressure"
    contenders: tuple[str, ...] = (
        "fastvrrp",
        "fastvrrp-rt",
        "keepalived",
        "keepalived-rt",
        "keepalived-rt-unlimited",
    )
    instances: int
    interval_s: float
    loops: int = 4
    seconds: float = 60.0

    @property
    def name(self) -> str:
        return f"{self.kind}-{self.instances}@{interval_word(self.interval_s)}"

    def run(self, contender: Contender, scratch: Path) -> Values:
        with (
            Wires(self.instances) as network,
            duel(network, contender, self.interval_s, scratch) as pair,
            Intervals(network.b, self.interval_s) as receiver,
        ):
            settled = pair.settled()
            before = pair.network.a.traffic()
            with busy_loops(self.loops):
                begin = time.monotonic()
                time.sleep(self.seconds)
                seconds = time.monotonic() - begin
                sent = pair.network.a.traffic().sent - before.sent
            report = receiver.stop()
            pair.a.require_alive()
            heard = report["received"]
            return lateness(heard) | {
                "settled": settled,
                "false_takeovers": pair.false_takeovers(),
                "rate_share": sent / seconds / (self.instances / self.interval_s),
                "capture_dropped": report["dropped"],
                "histogram": thinned(merged(heard["early"], heard["late"])),
            }
