"""Reload on the master: nobody should notice, and a thousand of them should leave nothing."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from bench.rig.contender import MASTER, Contender, Daemon, wait_for, write_config
from bench.rig.network import Wires
from bench.rig.observe import Addresses, Intervals

from .base import LoadCase, Values, duel


@dataclass(frozen=True, kw_only=True)
class Reload(LoadCase):
    """Of an unchanged file, under the eyes of a backup and of an observer."""

    kind: ClassVar[str] = "reload"
    observe_s: float = 3.0

    @property
    def _seconds(self) -> float:
        return max(self.observe_s, 3.2 * self.interval_s)

    @property
    def expected_s(self) -> float:
        return self.duel_s + 2 * self._seconds

    def run(self, contender: Contender, scratch: Path) -> Values:
        with (
            Wires(self.instances) as network,
            duel(network, contender, self.interval_s, scratch) as pair,
            Intervals(network.b, self.interval_s) as receiver,
        ):
            first = pair.a.usage()
            time.sleep(self._seconds)
            second = pair.a.usage()
            begin = time.monotonic()
            moment = pair.a.reload()
            reload_s = time.monotonic() - begin
            time.sleep(max(0.0, self._seconds - reload_s))
            third = pair.a.usage()
            seconds = time.monotonic() - begin
            pair.require_alive()
            report = receiver.stop()
            if report["dropped"]:
                raise RuntimeError(f"the observer lost {report['dropped']} frames")
            before_ns = (second - first).cpu_ns / self._seconds * seconds
            heard = report["received"]
            late_s = heard["late_max_ns"] / 1e9
            return {
                "longest_gap_s": self.interval_s + late_s,
                "reload_s": reload_s,
                "false_takeovers": pair.false_takeovers(moment),
                "addresses_touched": pair.addresses_a.appeared(moment)
                + pair.addresses_a.vanished(moment),
                "priority_zero": heard["priority_zero"],
                "announcements": heard["arps"],
                "cpu_ms": ((third - second).cpu_ns - before_ns) / 1e6,
                "over_1_5": heard["over_1_5"],
            }


@dataclass(frozen=True, kw_only=True)
class Growth(LoadCase):
    """Memory over many reloads that take some instances away and bring them back in turn.

    Each sample is taken when all instances are there, and of pages that were written to and no
    other process shares: others that have the same libraries may come and go. Garbage waits to be
    collected, so growth is what the least of the last third of the samples has more than the least
    of the first third, which begins `warm_up` reloads after the start: what the first ones allocate
    is used again by the others.
    """

    kind: ClassVar[str] = "growth"
    rounds: int = 1
    instances: int = 64
    interval_s: float = 1.0
    reloads: int = 1000
    warm_up: int = 100
    sample_every: int = 20
    taken_away: int = 8

    @property
    def name(self) -> str:
        return f"{super().name}-{self.reloads}"

    @property
    def expected_s(self) -> float:
        return self.network_s + 8 + 0.06 * self.reloads

    def run(self, contender: Contender, scratch: Path) -> Values:
        """Raises RuntimeError when a reload does not end."""
        if self.warm_up % 2 or self.sample_every % 2:
            raise ValueError("samples are taken after an even number of reloads")
        if self.reloads - self.warm_up < 2 * self.sample_every:
            raise ValueError("too few reloads for three samples")
        count = self.instances
        with (
            Wires(count) as network,
            Addresses(network.a, scratch / "addresses") as watch,
            Daemon(
                contender, network.a, network.places, MASTER, self.interval_s, scratch / "a"
            ) as daemon,
        ):
            wait_for(lambda: watch.held() == count, daemon, 60, f"{count} addresses")
            sizes = {0: daemon.memory().dirty}
            begin, used = time.monotonic(), daemon.usage(again=True)
            for number in range(1, self.reloads + 1):
                places = network.places[: None if number % 2 == 0 else count - self.taken_away]
                write_config(contender, network.a, places, MASTER, self.interval_s, daemon.config)
                daemon.reload()
                if number % self.sample_every == 0:
                    sizes[number] = daemon.memory().dirty
            seconds = time.monotonic() - begin
            cpu = daemon.usage() - used
        warm = [size for number, size in sizes.items() if number >= self.warm_up]
        third = len(warm) // 3
        return {
            "begin_kb": sizes[0],
            "warm_kb": min(warm[:third]),
            "end_kb": min(warm[-third:]),
            "most_kb": max(warm),
            "growth_kb": min(warm[-third:]) - min(warm[:third]),
            "reload_ms": 1e3 * seconds / self.reloads,
            "reload_cpu_ms": cpu.cpu_ns / 1e6 / self.reloads,
            "private_kb": sorted(sizes.items()),
        }
