"""Start: from exec to the last instance's first advert, and what a check of the file costs."""

from __future__ import annotations

import os
import subprocess
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from bench.rig.contender import MASTER, OWNER, Contender, Daemon, wait_for, write_config
from bench.rig.network import Wires
from bench.rig.observe import ADVERT, ARP, Addresses, Frames, is_vip
from bench.rig.process import spawn

from .base import Case, Values, interval_word


@dataclass(frozen=True, kw_only=True)
class Startup(Case):
    """Address owners: every instance is master at once (RFC 9568 6.4.1)."""

    kind: ClassVar[str] = "startup"
    instances: int
    interval_s: float = 1.0

    @property
    def name(self) -> str:
        return f"{self.kind}-{self.instances}@{interval_word(self.interval_s)}"

    def run(self, contender: Contender, scratch: Path) -> Values:
        count = self.instances
        with Wires(count) as network, ExitStack() as stack:
            frames = stack.enter_context(Frames(network.b, scratch / "frames"))
            watch = stack.enter_context(Addresses(network.a, scratch / "addresses"))
            daemon = stack.enter_context(
                Daemon(contender, network.a, network.places, OWNER, self.interval_s, scratch / "a")
            )
            wait_for(lambda: watch.held() >= count, daemon, 60, f"{count} addresses")
            time.sleep(0.3 + 1.2 * self.interval_s)
            cpu = daemon.usage(again=True)
            size = daemon.memory()
            frames.stop()
            watch.stop()
            adverts: dict[tuple[int, int], int] = {}
            announced: dict[int, int] = {}
            for frame in frames.read():
                if frame.kind == ADVERT and frame.priority:
                    adverts.setdefault((frame.ifindex, frame.vrid), frame.time_ns)
                elif frame.kind == ARP and frame.gratuitous and is_vip(frame.address):
                    announced.setdefault(frame.address, frame.time_ns)
            if len(adverts) != count:
                raise RuntimeError(f"{len(adverts)} of {count} instances advertise")
            added: dict[int, int] = {}
            again = 0  # additions of what was there already
            for event in watch.events():
                if event.added:
                    again += event.address in added
                    added.setdefault(event.address, event.time_ns)
            begin = daemon.started_ns
            return {
                "first_advert_s": (min(adverts.values()) - begin) / 1e9,
                "last_advert_s": (max(adverts.values()) - begin) / 1e9,
                "first_to_last_s": (max(adverts.values()) - min(adverts.values())) / 1e9,
                "last_address_s": (max(added.values()) - begin) / 1e9,
                "last_announced_s": (max(announced.values()) - begin) / 1e9,
                "announced": len(announced),
                "added_again": again,
                "cpu_s": cpu.cpu_ns / 1e9,
                "rss_kb": size.rss,
                "pss_kb": size.pss,
            }


@dataclass(frozen=True, kw_only=True)
class Check(Case):
    """Reading the configuration, by the command that checks it and ends."""

    kind: ClassVar[str] = "check"
    instances: int

    @property
    def name(self) -> str:
        return f"{self.kind}-{self.instances}"

    def run(self, contender: Contender, scratch: Path) -> Values:
        with Wires(self.instances) as network:
            return self._measure(contender, network, scratch)

    def _measure(self, contender: Contender, network: Wires, scratch: Path) -> Values:
        config = scratch / "bench.conf"
        write_config(contender, network.a, network.places, MASTER, 0.1, config)
        argv = [word.format(config=config, directory=scratch) for word in contender.check]
        begin = time.monotonic()
        with (scratch / "log").open("wb") as log:
            process = spawn(network.a.namespace, argv, output=log)
            _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            text = (scratch / "log").read_text(errors="replace")
            raise subprocess.CalledProcessError(process.returncode, argv, text)
        return {
            "wall_s": time.monotonic() - begin,
            "cpu_s": used.ru_utime + used.ru_stime,
            "file_bytes": config.stat().st_size,
        }
