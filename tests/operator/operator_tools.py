"""One router with a daemon, as an operator has it: commands, signals, log, what is left over."""

from __future__ import annotations

import itertools
import json
import subprocess
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from fastvrrp.lab.daemons import Fastvrrp
from fastvrrp.lab.network import Network, wait_for
from fastvrrp.lab.sniffer import Sniffer
from fastvrrp.lab.watch import AddressWatch

FILES = Path(__file__).parent / "files"
MS = 1_000_000


def now_ns() -> int:
    """CLOCK_REALTIME, which the observers' stamps are in."""
    return time.clock_gettime_ns(time.CLOCK_REALTIME)


class Router:
    """A namespace with eth0 and eth1, watched from the switch; use as a context manager."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        with ExitStack() as stack:
            self.network = stack.enter_context(Network(routers=1, clients=0, lans=2))
            ports = [self.network.port("r1", lan) for lan in (0, 1)]
            self.sniffer = stack.enter_context(Sniffer(self.network["switch"], ports=ports))
            self.addresses = stack.enter_context(AddressWatch(self.network.routers))
            self.node = self.network["r1"]
            self.daemon = Fastvrrp(self.node, directory / "r1")
            stack.callback(self._end)
            self._stack = stack.pop_all()

    def _end(self) -> None:
        self.daemon.close()
        print(self.daemon.log())

    def __enter__(self) -> Router:
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def start(self, text: str) -> None:
        """Start the daemon and wait until it is ready."""
        self.daemon.start(text)
        self.wait_log("Ready: ")

    def wait_log(self, words: str, count: int = 1, timeout_s: float = 15) -> None:
        wait_for(lambda: self.daemon.log().count(words) >= count, timeout_s, f"log says {words!r}")

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a fastvrrp command against this daemon."""
        return subprocess.run(
            self.daemon.command(*arguments),
            env=self.daemon.environment(),
            capture_output=True,
            text=True,
            timeout=20,
        )

    def status(self) -> dict[str, Any]:
        done = self.command("status", "--json")
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def states(self) -> dict[str, str]:
        return {one["name"]: one["state"] for one in self.status()["instances"]}

    def held(self) -> set[str]:
        """Every address of the router's interfaces but lo, and but their own link-local ones,
        which come when they like."""
        return {
            f"{info['local']}/{info['prefixlen']}"
            for link in json.loads(self.node.run("ip", "-j", "addr", "show"))
            for info in link["addr_info"]
            if link["ifname"] != "lo" and not info["local"].startswith("fe80::5eff:")
        }

    def child(self) -> int:
        """The process id of the VRRP process."""
        (pid,) = (
            pid
            for pid in children(self.daemon.pid)
            if b"fastvrrp.vrrp" in Path(f"/proc/{pid}/cmdline").read_bytes()
        )
        return pid

    def longest_gap_ms(self, *, lan: int, vrid: int, since_ns: int) -> float:
        """The longest time between two adverts of a virtual router, the last one until now."""
        seen = self.sniffer.adverts(vrid=vrid, port=self.network.port("r1", lan), since_ns=since_ns)
        times = [*(advert.time_ns for advert in seen), now_ns()]
        assert len(times) > 1, f"VRID {vrid} is silent"
        return max(b - a for a, b in itertools.pairwise(times)) / MS


def children(pid: int) -> list[int]:
    return [
        int(child)
        for task in Path(f"/proc/{pid}/task").iterdir()
        for child in (task / "children").read_text().split()
    ]


def descriptors(pid: int) -> int:
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())
