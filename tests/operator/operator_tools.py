"""One router with a daemon, as an operator has it: commands, signals, log, what is left over."""

from __future__ import annotations

import json
import subprocess
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from fastvrrp.lab.daemons import Fastvrrp, children
from fastvrrp.lab.network import Network, wait_for
from fastvrrp.lab.sniffer import Advert, Sniffer
from fastvrrp.lab.watch import AddressWatch
from machine import ALLOWANCE_NS, MS, Machine, now_ns

FILES = Path(__file__).parent / "files"


class Router:
    """A namespace with eth0 and eth1, watched from the switch; use as a context manager."""

    def __init__(self, directory: Path, machine: Machine) -> None:
        self.directory = directory
        self.machine = machine
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

    def status(self, returncode: int = 0) -> dict[str, Any]:
        done = self.command("status", "--json")
        assert done.returncode == returncode, done.stderr
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
        """The process id of the VRRP process; scripts come and go beside it."""
        (pid,) = (pid for pid in children(self.daemon.pid) if name(pid) == "fastvrrp-vrrp")
        return pid

    def longest_gap_ns(self, *, lan: int, vrid: int, since_ns: int) -> int:
        """The longest time between two adverts of a virtual router, the next one included, that
        the machine did not take."""
        return self.longest_gaps_ns({vrid: lan}, since_ns=since_ns)[vrid]

    def longest_gaps_ns(self, lans: dict[int, int], *, since_ns: int) -> dict[int, int]:
        """The same of many, by VRID; `lans` says where each of them is."""
        ports = {vrid: self.network.port("r1", lan) for vrid, lan in lans.items()}
        now = now_ns()
        for vrid, port in ports.items():
            self.sniffer.wait_advert(vrid=vrid, port=port, since_ns=now)
        heard: dict[int, list[Advert]] = {vrid: [] for vrid in ports}
        for advert in self.sniffer.adverts(since_ns=since_ns):
            if ports.get(advert.vrid) == advert.port:
                heard[advert.vrid].append(advert)
        return {vrid: self.machine.gap_ns(adverts) for vrid, adverts in heard.items()}


def name(pid: int) -> str:
    """What ps calls a process; empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def descriptors(pid: int) -> int:
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())


def written_kb(pid: int) -> int:
    """Memory that the process has written to and no other shares."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text("ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Private_Dirty:"))


__all__ = [
    "ALLOWANCE_NS",
    "FILES",
    "MS",
    "Router",
    "children",
    "descriptors",
    "now_ns",
    "written_kb",
]
