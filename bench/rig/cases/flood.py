"""A stranger on the link sends invalid adverts, many or few."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from bench.rig.contender import BACKUP, Contender
from bench.rig.native import program
from bench.rig.network import Hub
from bench.rig.process import Helper, now_ns

from .base import Duel, LoadCase, Values, duel

UNKNOWN_VRID = 255
LIVE_VRID = 1
Fault = Literal["checksum", "ttl", "version", "vrid"]
RECOVERY_S = 5.0  # at most, between two of the stranger's attempts


def send_faults(pair: Duel, network: Hub, fault: Fault, rate: float, seconds: float) -> Any:
    """Invalid adverts for so long; what the sender says about it.

    All are for one VRID that lives and have the backup's priority, except with the fault `vrid`:
    then they are in order, for a VRID that nobody has.
    """
    vrid = UNKNOWN_VRID if fault == "vrid" else LIVE_VRID
    argv = [
        program("flood"),
        network.stranger.interfaces[0],
        network.stranger.address(0),
        str(vrid),
        str(BACKUP.priority),
        str(round(pair.interval_s * 100)),
        str(rate),
        str(seconds),
        "none" if fault == "vrid" else fault,
    ]
    with Helper(network.stranger.namespace, argv, nice=0) as stranger:
        return stranger.result()


@dataclass(frozen=True, kw_only=True)
class Stranger(LoadCase):
    """What both kinds share: one VRID is left for nobody."""

    instances: int = 250
    interval_s: float = 0.1

    def __post_init__(self) -> None:
        if self.instances >= UNKNOWN_VRID:
            raise ValueError("no VRID is left that nobody has")


@dataclass(frozen=True, kw_only=True)
class Flood(Stranger):
    """`fault` is what is wrong: the checksum, the TTL, the version, or the VRID (nobody's)."""

    kind: ClassVar[str] = "flood"
    fault: Fault
    rate: int
    seconds: float = 6.0

    @property
    def name(self) -> str:
        return f"{self.kind}-{self.fault}-{self.rate}-{self.load}"

    @property
    def expected_s(self) -> float:
        return self.duel_s + self.seconds + 1

    def run(self, contender: Contender, scratch: Path) -> Values:
        with (
            Hub(self.instances) as network,
            duel(network, contender, self.interval_s, scratch) as pair,
        ):
            moment, lines = now_ns(), pair.b.log_lines()
            before = (pair.a.usage(), pair.b.usage(), network.b.traffic())
            begin = time.monotonic()
            flood = send_faults(pair, network, self.fault, self.rate, self.seconds)
            after = (pair.a.usage(), pair.b.usage(), network.b.traffic())
            seconds = time.monotonic() - begin
            time.sleep(0.5)
            pair.require_alive()
            return {
                "false_takeovers": pair.false_takeovers(moment),
                "log_lines": pair.b.log_lines() - lines,
                "a_cpu_percent": (after[0] - before[0]).cpu_ns / 1e7 / seconds,
                "b_cpu_percent": (after[1] - before[1]).cpu_ns / 1e7 / seconds,
                "flood_rate": flood["rate"],
                "received_rate": (after[2].received - before[2].received) / seconds,
            }


@dataclass(frozen=True, kw_only=True)
class Trickle(Stranger):
    """A few invalid packets a second for a VRID that lives, one fault after the other."""

    kind: ClassVar[str] = "trickle"
    rate: int
    seconds: float = 3.0
    FAULTS: ClassVar[tuple[Fault, ...]] = ("checksum", "ttl", "version")

    @property
    def name(self) -> str:
        return f"{self.kind}-{self.rate}-{self.load}"

    @property
    def expected_s(self) -> float:
        return self.duel_s + len(self.FAULTS) * (self.seconds + 1)

    def run(self, contender: Contender, scratch: Path) -> Values:
        with (
            Hub(self.instances) as network,
            duel(network, contender, self.interval_s, scratch) as pair,
        ):
            lines = pair.b.log_lines()
            values: Values = {"false_takeovers": 0}
            for fault in self.FAULTS:
                moment = now_ns()
                send_faults(pair, network, fault, self.rate, self.seconds)
                time.sleep(0.5)  # a down interval and more
                values[fault] = pair.false_takeovers(moment, now_ns())
                values["false_takeovers"] += values[fault]
                patience = time.monotonic() + RECOVERY_S
                while not pair.settled() and time.monotonic() < patience:
                    time.sleep(0.05)
            pair.require_alive()
            return values | {"log_lines": pair.b.log_lines() - lines}
