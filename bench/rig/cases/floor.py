"""The floor: what the kernel charges a C program that does nothing but the packets.

Every figure depends on the machine and on the moment as much as the daemons' do; it is taken in
the same run, so that the distance to the floor means something.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from bench.rig.contender import Contender
from bench.rig.native import program
from bench.rig.network import Wires
from bench.rig.process import Helper, run_json

from .base import Case, LoadCase, Values

FLOOR = Contender("floor", ("true",), ("true",))


@dataclass(frozen=True, kw_only=True)
class PacketFloor(LoadCase):
    """Adverts all at once, sent in batches and received by a raw socket or a packet ring."""

    kind: ClassVar[str] = "floor-packets"
    contenders: tuple[str, ...] = ("floor",)
    backend: Literal["raw", "packet"]
    seconds: float = 2.0

    @property
    def name(self) -> str:
        return f"{self.kind}-{self.backend}-{self.load}"

    @property
    def expected_s(self) -> float:
        return self.network_s + max(self.seconds, self.interval_s) + 0.5

    def run(self, contender: Contender, scratch: Path) -> Values:
        receive = "raw" if self.backend == "raw" else "ring"
        with Wires(self.instances) as network:
            # The receiver outlives the sender, so that it hears every advert.
            listener = [program("floor_receive"), receive, str(self.seconds + 30)]
            with Helper(
                network.b.namespace, [*listener, *network.b.interfaces], nice=0
            ) as receiver:
                sent: dict[str, Any] = run_json(
                    network.a.namespace,
                    [
                        program("floor_send"),
                        self.backend,
                        str(self.instances),
                        str(round(self.interval_s * 1e6)),
                        str(self.seconds),
                        *network.a.interfaces,
                    ],
                )
                heard = receiver.stop()
        send_us, receive_us = sent["cpu_ns_each"] / 1e3, heard["cpu_ns_each"] / 1e3
        return {
            "send_us": send_us,
            "receive_us": receive_us,
            "together_us": send_us + receive_us,
            "rate": sent["rate"],
            "heard_share": heard["good"] / max(1, sent["sent"]),
            "late_ticks": sent["late_ticks"],
        }


@dataclass(frozen=True, kw_only=True)
class AddressFloor(Case):
    """Adding addresses by rtnetlink, `batch` requests in one send."""

    kind: ClassVar[str] = "floor-addresses"
    contenders: tuple[str, ...] = ("floor",)
    instances: int
    batch: int = 64

    @property
    def name(self) -> str:
        return f"{self.kind}-{self.instances}-{self.batch}"

    @property
    def expected_s(self) -> float:
        return 2.0

    def run(self, contender: Contender, scratch: Path) -> Values:
        with Wires(self.instances) as network:
            argv = [program("floor_address"), str(self.instances), str(self.batch)]
            done: dict[str, Any] = run_json(network.a.namespace, [*argv, *network.a.interfaces])
        if done["errors"]:
            raise RuntimeError(f"{done['errors']} addresses were refused")
        return {
            "add_us_each": done["add_ns_each"] / 1e3,
            "add_all_ms": done["add_ns_each"] * self.instances / 1e6,
            "delete_us_each": done["delete_ns_each"] / 1e3,
        }


@dataclass(frozen=True, kw_only=True)
class TimerFloor(Case):
    """One timer: set, wait, read."""

    kind: ClassVar[str] = "floor-timer"
    contenders: tuple[str, ...] = ("floor",)
    delay_us: int

    @property
    def name(self) -> str:
        return f"{self.kind}-{self.delay_us}us"

    @property
    def _count(self) -> int:
        return max(5, min(10_000, 1_000_000 // self.delay_us))

    @property
    def expected_s(self) -> float:
        return 1 + self._count * self.delay_us / 1e6

    def run(self, contender: Contender, scratch: Path) -> Values:
        with Wires(1) as network:
            done: dict[str, Any] = run_json(
                network.a.namespace,
                [program("floor_timer"), str(self.delay_us * 1000), str(self._count)],
            )
        return {
            "cpu_us_each": done["cpu_ns_each"] / 1e3,
            "late_us_mean": done["late_ns_mean"] / 1e3,
        }
