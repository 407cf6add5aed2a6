"""A stranger on the link sends invalid adverts, many or few."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from bench.rig.contender import BACKUP, Contender
from bench.rig.native import program
from bench.rig.network import Hub
from bench.rig.process import Helper

from .base import Case, Values, duel, interval_word

UNKNOWN_VRID = 255
LIVE_VRID = 1


@dataclass(frozen=True, kw_only=True)
class Flood(Case):
    """`fault` is what is wrong: the checksum, the TTL, the version, or the VRID (nobody's)."""

    kind: ClassVar[str] = "flood"
    fault: Literal["checksum", "ttl", "version", "vrid"]
    rate: int
    instances: int = 250
    interval_s: float = 0.1
    seconds: float = 6.0

    @property
    def name(self) -> str:
        where = f"{self.instances}@{interval_word(self.interval_s)}"
        return f"{self.kind}-{self.fault}-{self.rate}-{where}"

    def run(self, contender: Contender, scratch: Path) -> Values:
        if self.instances >= UNKNOWN_VRID:
            raise ValueError("no VRID is left that nobody has")
        with (
            Hub(self.instances) as network,
            duel(network, contender, self.interval_s, scratch) as pair,
        ):
            lines = pair.b.log_lines()
            before = (pair.a.usage(), pair.b.usage(), network.b.traffic())
            begin = time.monotonic()
            vrid = UNKNOWN_VRID if self.fault == "vrid" else LIVE_VRID
            argv = [
                program("flood"),
                network.stranger.interfaces[0],
                network.stranger.address(0),
                str(vrid),
                str(BACKUP.priority),
                str(round(self.interval_s * 100)),
                str(self.rate),
                str(self.seconds),
                "none" if self.fault == "vrid" else self.fault,
            ]
            with Helper(network.stranger.namespace, argv, nice=0) as stranger:
                flood = stranger.result()
            after = (pair.a.usage(), pair.b.usage(), network.b.traffic())
            seconds = time.monotonic() - begin
            time.sleep(0.5)
            pair.a.require_alive()
            pair.b.require_alive()
            return {
                "false_takeovers": pair.false_takeovers(),
                "log_lines": pair.b.log_lines() - lines,
                "a_cpu_percent": (after[0] - before[0]).cpu_ns / 1e7 / seconds,
                "b_cpu_percent": (after[1] - before[1]).cpu_ns / 1e7 / seconds,
                "flood_rate": flood["rate"],
                "received_rate": (after[2].received - before[2].received) / seconds,
            }
