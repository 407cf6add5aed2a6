"""The floor: what the kernel charges a C program that does nothing but the packets.

Every figure depends on the machine and on the moment as much as the daemons' do; it is taken in
the same run, so that the distance to the floor means something.
"""

from __future__ import annotations

import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from bench.rig.contender import Contender, kept_awake
from bench.rig.figures import lateness
from bench.rig.native import program
from bench.rig.network import Network, Wires
from bench.rig.observe import Intervals
from bench.rig.process import Helper, before_all, run_json, spawn

from .base import Case, LoadCase, Values

_FLOOR = Contender("floor", ("true",), ("true",))
FLOORS = {one.name: one for one in (_FLOOR, kept_awake(_FLOOR))}
PARTS = 16  # of the interval, in each of which some adverts leave together, as fastvrrp has it


@dataclass(frozen=True, kw_only=True)
class PacketFloor(LoadCase):
    """Adverts all at once, sent in batches and received by a raw socket or a packet ring; then
    once more in parts, as punctually as a real-time thread can."""

    kind: ClassVar[str] = "floor-packets"
    contenders: tuple[str, ...] = ("floor",)
    backend: Literal["raw", "packet"]
    seconds: float = 2.0
    capture_s: float = 0.0  # 0: nothing is sent in parts

    @property
    def name(self) -> str:
        return f"{self.kind}-{self.backend}-{self.load}"

    @property
    def expected_s(self) -> float:
        punctuality_s = self.capture_s + 1.5 if self.capture_s else 0.0
        return self.network_s + max(self.seconds, self.interval_s) + 0.5 + punctuality_s

    def run(self, contender: Contender, scratch: Path) -> Values:
        with Wires(self.instances) as network:
            with self._receiver(network) as receiver:
                sent: dict[str, Any] = run_json(
                    network.a.namespace, self._sender(network, 1, self.seconds)
                )
                heard = receiver.stop()
            punctuality = self._punctuality(network) if self.capture_s else {}
        send_us, receive_us = sent["cpu_ns_each"] / 1e3, heard["cpu_ns_each"] / 1e3
        return {
            "send_us": send_us,
            "receive_us": receive_us,
            "together_us": send_us + receive_us,
            "rate": sent["rate"],
            "heard_share": heard["good"] / max(1, sent["sent"]),
            "late_ticks": sent["late_ticks"],
        } | punctuality

    def _receiver(self, network: Network) -> Helper:
        """It outlives the sender, so that it hears every advert."""
        receive = "raw" if self.backend == "raw" else "ring"
        patience_s = self.seconds + self.capture_s + 30
        argv = [program("floor_receive"), receive, str(patience_s), *network.b.interfaces]
        return Helper(network.b.namespace, argv, nice=0)

    def _sender(self, network: Network, parts: int, seconds: float) -> list[str]:
        words = (self.backend, self.instances, round(self.interval_s * 1e6), parts, seconds)
        return [program("floor_send"), *map(str, words), *network.a.interfaces]

    def _punctuality(self, network: Network) -> Values:
        """Of the intervals between two adverts, while no CPU is counted."""
        settle_s = max(0.5, self.interval_s)
        argv = self._sender(network, PARTS, settle_s + self.capture_s + 0.5)
        with (
            self._receiver(network),
            spawn(network.a.namespace, argv, output=subprocess.DEVNULL) as sender,
        ):
            time.sleep(settle_s)
            with Intervals(network.b, self.interval_s) as observer, before_all():
                time.sleep(self.capture_s)
                report = observer.stop()
            sender.wait()
        if report["dropped"] or not report["received"]["intervals"]:
            raise RuntimeError(f"the observer lost {report['dropped']} frames, or heard none")
        return lateness(report["received"])


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
