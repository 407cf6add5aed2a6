"""The load balancer: health checks, and a large table at start and at a reload."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from bench.rig.contender import Contender, in_directory
from bench.rig.guest import BOOT_S, measure
from bench.rig.native import program
from bench.rig.prober import PORT
from bench.rig.process import Helper, timed
from bench.servers import SERVERS, SERVICES, render
from fastvrrp.lab.namespace import Namespace

from .base import Case, Values


@dataclass(frozen=True, kw_only=True)
class Checks(Case):
    """So many real servers, each checked every `delay_loop_s`; all of them answer."""

    kind: ClassVar[str] = "ipvs-checks"
    checker: str  # tcp, http
    servers: int
    delay_loop_s: float = 1.0
    window_s: float = 10.0

    @property
    def name(self) -> str:
        return f"{self.kind}-{self.checker}-{self.servers}@{self.delay_loop_s:g}"

    @property
    def expected_s(self) -> float:
        return BOOT_S + 4 + 2 * self.delay_loop_s + self.window_s + 0.0003 * self.servers

    def run(self, contender: Contender, scratch: Path) -> Values:
        return measure(self.kind, contender.name, self.parameters(), scratch)


@dataclass(frozen=True, kw_only=True)
class Probes(Case):
    """The same checks without a kernel's IPVS: what does them, alone, on this machine."""

    kind: ClassVar[str] = "ipvs-probes"
    checker: str  # tcp, http
    servers: int
    delay_loop_s: float = 1.0
    window_s: float = 10.0
    contenders: tuple[str, ...] = ("fastvrrp",)

    @property
    def name(self) -> str:
        return f"{self.kind}-{self.checker}-{self.servers}@{self.delay_loop_s:g}"

    @property
    def expected_s(self) -> float:
        return 3 + self.delay_loop_s + self.window_s

    def run(self, contender: Contender, scratch: Path) -> Values:
        words = (self.checker, self.servers, self.delay_loop_s, self.window_s)
        argv = [sys.executable, "-m", "bench.rig.prober", *map(str, words)]
        with Namespace("lvs") as namespace:
            namespace.run("ip", "route", "add", "local", "11.0.0.0/8", "dev", "lo")
            with Helper(namespace, [program("serve"), self.checker, str(PORT)], nice=0):
                values: Values = json.loads(namespace.run(*argv, timeout_s=2 * self.expected_s))
        return values


@dataclass(frozen=True, kw_only=True)
class Table(Case):
    """Start with a large table, then one weight changed, then a while of nothing to do.

    Checks are so rare that they do not matter. How long reading the file takes is asked of the
    command that does nothing else, in the same guest; `..._after_reading_s` is the rest.
    """

    kind: ClassVar[str] = "ipvs-table"
    services: int = SERVICES
    servers: int = SERVERS
    delay_loop_s: float = 600.0
    idle_s: float = 5.0

    @property
    def name(self) -> str:
        return f"{self.kind}-{self.services}x{self.servers}"

    @property
    def expected_s(self) -> float:
        return BOOT_S + 8 + self.idle_s + 0.0007 * self.servers

    def run(self, contender: Contender, scratch: Path) -> Values:
        return measure(self.kind, contender.name, self.parameters(), scratch)


@dataclass(frozen=True, kw_only=True)
class Reading(Case):
    """Reading such a configuration, by the command that checks it and ends; on this machine."""

    kind: ClassVar[str] = "ipvs-reading"
    services: int = SERVICES
    servers: int = SERVERS

    @property
    def name(self) -> str:
        return f"{self.kind}-{self.services}x{self.servers}"

    @property
    def expected_s(self) -> float:
        return 1 + 0.00003 * self.servers

    def run(self, contender: Contender, scratch: Path) -> Values:
        config, log = scratch / "bench.conf", scratch / "log"
        config.write_text(render(self.services, self.servers))
        wall_s, cpu_s = timed(in_directory(contender.check, config, scratch), log)
        interpreter_s = 0.0
        if contender.interpreter:
            _, interpreter_s = timed(contender.interpreter, log)
        return {"wall_s": wall_s, "cpu_s": cpu_s, "reading_s": cpu_s - interpreter_s}
