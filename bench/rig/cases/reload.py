"""Reload of an unchanged file on the master: nobody should notice."""

from __future__ import annotations

import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from bench.rig.contender import Contender
from bench.rig.figures import lateness
from bench.rig.network import Wires
from bench.rig.observe import Intervals

from .base import Case, Values, duel, interval_word


@dataclass(frozen=True, kw_only=True)
class Reload(Case):
    kind: ClassVar[str] = "reload"
    instances: int
    interval_s: float
    observe_s: float = 3.0

    @property
    def name(self) -> str:
        return f"{self.kind}-{self.instances}@{interval_word(self.interval_s)}"

    def run(self, contender: Contender, scratch: Path) -> Values:
        seconds = max(self.observe_s, 3.2 * self.interval_s)
        with (
            Wires(self.instances) as network,
            duel(network, contender, self.interval_s, scratch) as pair,
            Intervals(network.b, self.interval_s) as receiver,
        ):
            first = pair.a.usage()
            time.sleep(seconds)
            second = pair.a.usage()
            moment = pair.a.signal(signal.SIGHUP)
            time.sleep(seconds)
            third = pair.a.usage()
            pair.a.require_alive()
            report = receiver.stop()
            extra = (third - second).cpu_ns - (second - first).cpu_ns
            heard = lateness(report["received"])
            return {
                "longest_gap_s": self.interval_s + heard["late_max_ms"] / 1e3,
                "false_takeovers": pair.false_takeovers(),
                "addresses_touched": pair.addresses_a.appeared(moment)
                + pair.addresses_a.vanished(moment),
                "priority_zero": report["received"]["priority_zero"],
                "announcements": report["received"]["arps"],
                "cpu_ms": extra / 1e6,
                "over_1_5": heard["over_1_5"],
            }
