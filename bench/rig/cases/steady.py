"""Steady state: what an advert costs on either side, how punctual it is, and memory."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from bench.rig.contender import Contender
from bench.rig.network import Wires
from bench.rig.process import before_all

from .base import Duel, LoadCase, Values, duel


def cost(pair: Duel, seconds: float) -> Values:
    """CPU of both daemons per advert that passed, without any observer of packets.

    Raises RuntimeError when no adverts passed.
    """
    network = pair.network
    with before_all():
        begin = time.monotonic()
        before = (network.a.traffic(), network.b.traffic(), pair.a.usage(), pair.b.usage())
        time.sleep(seconds)
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
        "expected_rate": len(network.places) / pair.interval_s,
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


@dataclass(frozen=True, kw_only=True)
class Steady(LoadCase):
    """CPU is measured first and without observer: a listening packet socket costs the sender."""

    kind: ClassVar[str] = "steady"
    cpu_window_s: float = 4.0
    capture_s: float = 4.0

    @property
    def _capture_s(self) -> float:
        return max(self.capture_s, 3.2 * self.interval_s)

    @property
    def expected_s(self) -> float:
        return self.duel_s + self.cpu_window_s + self._capture_s

    def run(self, contender: Contender, scratch: Path) -> Values:
        with (
            Wires(self.instances) as network,
            duel(network, contender, self.interval_s, scratch) as pair,
        ):
            values: Values = {"settled": pair.settled(), "load_s": pair.load_s}
            values |= cost(pair, self.cpu_window_s)
            values |= pair.observe(self._capture_s)
            for side, daemon in (("a", pair.a), ("b", pair.b)):
                size = daemon.memory()
                values |= {f"rss_{side}_kb": size.rss, f"pss_{side}_kb": size.pss}
            pair.require_alive()
            values["masters"] = pair.addresses_a.held()
            values["false_takeovers"] = pair.false_takeovers()
            return values


@dataclass(frozen=True, kw_only=True)
class Saturation(LoadCase):
    """A load at the edge of what two processors carry: is every advert still on time?"""

    kind: ClassVar[str] = "saturation"
    seconds: float = 20.0

    @property
    def name(self) -> str:
        return f"{super().name}-{self.seconds:g}s"

    @property
    def expected_s(self) -> float:
        return self.duel_s + self.seconds

    def run(self, contender: Contender, scratch: Path) -> Values:
        with (
            Wires(self.instances) as network,
            duel(network, contender, self.interval_s, scratch) as pair,
        ):
            settled = pair.settled()
            begin, before = time.monotonic(), (pair.a.usage(), pair.b.usage())
            values = pair.observe(self.seconds)
            used = (pair.a.usage() - before[0], pair.b.usage() - before[1])
            seconds = time.monotonic() - begin
            pair.require_alive()
            late = values["over_1_5"] + values["silent"]
            return values | {
                "settled": settled,
                "late": late,
                "late_percent": 100 * late / max(1, values["intervals"] + values["silent"]),
                "a_cpu_percent": used[0].cpu_ns / 1e7 / seconds,
                "b_cpu_percent": used[1].cpu_ns / 1e7 / seconds,
                "false_takeovers": pair.false_takeovers(pair.observed_ns),
                "false_takeovers_before": pair.false_takeovers(until_ns=pair.observed_ns),
            }
