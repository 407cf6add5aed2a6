"""Start: from exec to the last instance's first advert, and what a check of the file costs."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from bench.rig.contender import (
    MASTER,
    OWNER,
    Contender,
    Daemon,
    Role,
    in_directory,
    wait_for,
    write_config,
)
from bench.rig.network import Network, Wires
from bench.rig.observe import ADVERT, ARP, Addresses, Frames, is_vip
from bench.rig.process import timed

from .base import Case, LoadCase, Values


def timed_check(
    contender: Contender, network: Network, role: Role, interval_s: float, scratch: Path
) -> tuple[float, float]:
    """Wall and CPU seconds of the contender's command that reads a configuration and ends."""
    config = scratch / "check.conf"
    write_config(contender, network.a, network.places, role, interval_s, config)
    argv = in_directory(contender.check, config, scratch)
    return timed(argv, scratch / "timed.log", network.a.namespace)


@dataclass(frozen=True, kw_only=True)
class Startup(LoadCase):
    """Address owners: every instance is master at once (RFC 9568 6.4.1).

    How long reading the configuration takes is asked of the command that does nothing else, in
    the same round; `after_reading_s` is the rest of the start.
    """

    kind: ClassVar[str] = "startup"
    interval_s: float = 1.0

    @property
    def expected_s(self) -> float:
        return self.network_s + 2 + 1.2 * self.interval_s + 0.0008 * self.instances

    def run(self, contender: Contender, scratch: Path) -> Values:
        count = self.instances
        with Wires(count) as network, ExitStack() as stack:
            check_s, _ = timed_check(contender, network, OWNER, self.interval_s, scratch)
            frames = stack.enter_context(Frames(network.b, scratch / "frames"))
            watch = stack.enter_context(Addresses(network.a, scratch / "addresses"))
            daemon = stack.enter_context(
                Daemon(contender, network.a, network.places, OWNER, self.interval_s, scratch / "a")
            )
            wait_for(lambda: watch.held() >= count, daemon, 60, f"{count} addresses")
            cpu = daemon.usage(again=True)
            time.sleep(0.3 + 1.2 * self.interval_s)
            size = daemon.memory()
            frames.stop()
            watch.stop()
            values = self._times(frames, watch, daemon.started_ns)
            return values | {
                "after_reading_s": values["last_advert_s"] - check_s,
                "cpu_s": cpu.cpu_ns / 1e9,
                "rss_kb": size.rss,
                "pss_kb": size.pss,
            }

    def _times(self, frames: Frames, watch: Addresses, begin_ns: int) -> Values:
        adverts: dict[tuple[int, int], int] = {}
        announced: dict[int, int] = {}
        for frame in frames.read():
            if frame.kind == ADVERT and frame.priority:
                adverts.setdefault((frame.ifindex, frame.vrid), frame.time_ns)
            elif frame.kind == ARP and frame.gratuitous and is_vip(frame.address):
                announced.setdefault(frame.address, frame.time_ns)
        if not len(adverts) == len(announced) == self.instances:
            raise RuntimeError(
                f"of {self.instances} instances {len(adverts)} advertise and {len(announced)}"
                " are announced"
            )
        added: dict[int, int] = {}
        again = 0  # additions of what was there already
        for event in watch.events():
            if event.added:
                again += event.address in added
                added.setdefault(event.address, event.time_ns)
        first, last = min(adverts.values()), max(adverts.values())
        return {
            "first_advert_s": (first - begin_ns) / 1e9,
            "last_advert_s": (last - begin_ns) / 1e9,
            "first_to_last_s": (last - first) / 1e9,
            "last_address_s": (max(added.values()) - begin_ns) / 1e9,
            "last_announced_s": (max(announced.values()) - begin_ns) / 1e9,
            "announced": len(announced),
            "added_again": again,
        }


@dataclass(frozen=True, kw_only=True)
class Check(Case):
    """Reading the configuration, by the command that checks it and ends."""

    kind: ClassVar[str] = "check"
    instances: int

    @property
    def name(self) -> str:
        return f"{self.kind}-{self.instances}"

    @property
    def expected_s(self) -> float:
        return 1.5 + 0.0004 * self.instances

    def run(self, contender: Contender, scratch: Path) -> Values:
        with Wires(self.instances) as network:
            wall_s, cpu_s = timed_check(contender, network, MASTER, 0.1, scratch)
            interpreter_s = 0.0
            if contender.interpreter:
                log = scratch / "timed.log"
                _, interpreter_s = timed(contender.interpreter, log, network.a.namespace)
        return {"wall_s": wall_s, "cpu_s": cpu_s, "reading_s": cpu_s - interpreter_s}
