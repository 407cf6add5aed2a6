"""Steady state: what an advert costs on either side, how punctual it is, and memory."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from bench.rig.contender import Contender
from bench.rig.figures import lateness, merged, thinned
from bench.rig.network import Wires
from bench.rig.observe import Intervals

from .base import Case, Duel, Values, duel, interval_word


@dataclass(frozen=True, kw_only=True)
class Steady(Case):
    """CPU is measured first and without observer: a listening packet socket costs the sender."""

    kind: ClassVar[str] = "steady"
    instances: int
    interval_s: float
    cpu_window_s: float = 4.0
    capture_s: float = 5.0

    @property
    def name(self) -> str:
        return f"{self.kind}-{self.instances}@{interval_word(self.interval_s)}"

    def run(self, contender: Contender, scratch: Path) -> Values:
        with (
            Wires(self.instances) as network,
            duel(network, contender, self.interval_s, scratch) as pair,
        ):
            values: Values = {"settled": pair.settled()}
            values |= self._cpu(pair)
            values |= self._punctuality(pair)
            for side, daemon in (("a", pair.a), ("b", pair.b)):
                size = daemon.memory()
                values |= {f"rss_{side}_kb": size.rss, f"pss_{side}_kb": size.pss}
            values["false_takeovers"] = pair.false_takeovers()
            return values

    def _cpu(self, pair: Duel) -> Values:
        network = pair.network
        begin = time.monotonic()
        before = (
            network.a.traffic(),
            network.b.traffic(),
            pair.a.usage(),
            pair.b.usage(),
        )
        time.sleep(self.cpu_window_s)
        after = (network.a.traffic(), network.b.traffic(), pair.a.usage(), pair.b.usage())
        seconds = time.monotonic() - begin
        sent = after[0].sent - before[0].sent
        received = after[1].received - before[1].received
        if sent == 0 or received == 0:
            raise RuntimeError(f"no adverts\n{pair.a.log()[-1000:]}\n{pair.b.log()[-1000:]}")
        a, b = after[2] - before[2], after[3] - before[3]
        send_us, receive_us = a.cpu_ns / 1e3 / sent, b.cpu_ns / 1e3 / received
        return {
            "rate": sent / seconds,
            "expected_rate": self.instances / self.interval_s,
            "send_us": send_us,
            "receive_us": receive_us,
            "together_us": send_us + receive_us,
            "a_cpu_percent": a.cpu_ns / 1e7 / seconds,
            "b_cpu_percent": b.cpu_ns / 1e7 / seconds,
            "a_tick_percent": 100 * a.ticks_s / seconds,
            "b_tick_percent": 100 * b.ticks_s / seconds,
            "a_sleeps_each": a.voluntary / sent,
            "b_sleeps_each": b.voluntary / received,
        }

    def _punctuality(self, pair: Duel) -> Values:
        with Intervals(pair.network.b, self.interval_s) as receiver:
            time.sleep(max(self.capture_s, 3.2 * self.interval_s))
            report = receiver.stop()
        heard = report["received"]
        return lateness(heard) | {
            "capture_dropped": report["dropped"],
            "histogram": thinned(merged(heard["early"], heard["late"])),
        }
