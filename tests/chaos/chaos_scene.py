"""A LAN with routers under attack, an attacker, and observers."""

from __future__ import annotations

import json
import socket
import struct
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from chaos_frames import Forged

from fastvrrp.lab.daemons import Fastvrrp, process_tree
from fastvrrp.lab.network import Network, Node, wait_for
from fastvrrp.lab.packet import open_socket, receive
from fastvrrp.lab.sniffer import Advert, Announcement, Frame, parse
from fastvrrp.lab.watch import AddressWatch
from keepalived_text import VIP, instance
from machine import ALLOWANCE_NS, BEAT_NS, MS, OUTAGE_NS, Machine, now_ns

SOL_PACKET = 263  # linux/socket.h
PACKET_IGNORE_OUTGOING = 23  # linux/if_packet.h, Linux 4.20
FLOOD = Path(__file__).with_name("chaos_flood.py")
ATTACKER = "192.0.2.201"
ATTACKER_V6 = "fe80::5eff:fe00:c9"
VIPS_V6 = ("fe80::100", "2001:db8::100")


def many(count: int, **options: Any) -> list[str]:
    """Instances V1.. with VRID n and the address 10.9.0.n."""
    return [
        instance(name=f"V{n}", vrid=n, vips=(f"10.9.0.{n}/32",), **options)
        for n in range(1, count + 1)
    ]


class Ear:
    """Hears one port of the switch: what its node sends, and nothing of a flood towards it."""

    def __init__(self, switch: Node, port: str) -> None:
        self._socket = switch.call(open_socket, port)
        self._socket.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
        self._socket.settimeout(0.1)
        self._frames: list[Frame] = []
        self._stop = False
        self._thread = threading.Thread(target=self._listen, name=f"ear-{port}", daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        while not self._stop:
            try:
                time_ns, port, _outgoing, data = receive(self._socket)
            except (TimeoutError, OSError):  # the cable may be pulled, or its port vanish
                continue
            frame = parse(time_ns, port, data)
            if frame is not None:
                self._frames.append(frame)

    def adverts(self, vrid: int = 51, since_ns: int = 0) -> list[Advert]:
        return [advert for advert in self.all_adverts(since_ns) if advert.vrid == vrid]

    def all_adverts(self, since_ns: int = 0) -> list[Advert]:
        """Of every virtual router."""
        return [f for f in list(self._frames) if isinstance(f, Advert) and f.time_ns >= since_ns]

    def announcements(self, since_ns: int = 0) -> Counter[str]:
        """How often each address was announced."""
        return Counter(
            f.address
            for f in list(self._frames)
            if isinstance(f, Announcement) and f.time_ns >= since_ns
        )

    def close(self) -> None:
        self._stop = True
        self._thread.join()
        self._socket.close()


class Chaos:
    """Routers r1.. with a fastvrrp each, the attacker c1."""

    def __init__(
        self, directory: Path, machine: Machine, routers: int = 1, *, lans: int = 1
    ) -> None:
        self.machine = machine
        self.begin_ns = now_ns()
        self.ears: dict[str, Ear] = {}
        self.daemons: dict[str, Fastvrrp] = {}
        with ExitStack() as stack:
            self.network = stack.enter_context(Network(routers=routers, clients=1, lans=lans))
            self.watch = stack.enter_context(AddressWatch(self.network.routers))
            for node in self.network.routers:
                daemon = self.daemons[node.name] = Fastvrrp(node, directory / node.name)
                stack.callback(self._end, daemon)
                ear = Ear(self.network["switch"], self.network.port(node.name))
                self.ears[node.name] = ear
                stack.callback(ear.close)
            self.attacker = self.network["c1"]
            self._stack = stack.pop_all()

    def _end(self, daemon: Fastvrrp) -> None:
        daemon.close()
        print(f"--- {daemon.node.name}\n{daemon.log()[-20000:]}")

    def __enter__(self) -> Chaos:
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    # ---------------------------------------------------------------- routers

    def __getitem__(self, name: str) -> Node:
        return self.network[name]

    def start(self, name: str, text: str, *, holds: str | None = None, family: int = 4) -> None:
        """Start a router, wait until it is ready and, if asked, alone holds an address."""
        self.daemons[name].start(text)
        self.daemons[name].wait_listening(family)
        wait_for(lambda: "Ready: " in self.daemons[name].log(), 10, f"{name} is ready")
        if holds is not None:
            self.network.wait_holder(holds, name)

    def start_many(self, name: str, text: str, count: int) -> None:
        """Start a router and wait until it has so many virtual addresses."""
        self.daemons[name].start(text)
        wait_for(lambda: "Ready: " in self.daemons[name].log(), 15, f"{name} is ready")
        wait_for(lambda: self.held(name) == count, 15, f"{count} addresses on {name}")

    def held(self, name: str) -> int:
        """How many virtual addresses of `many` a router has."""
        return sum(address.startswith("10.") for address in self[name].addresses())

    def status(self, name: str) -> dict[str, Any]:
        daemon = self.daemons[name]
        found: dict[str, Any] = json.loads(daemon.node.run(*daemon.command("status", "--json")))
        return found

    def instances(self, name: str) -> dict[str, dict[str, Any]]:
        """The instances of a router by name."""
        return {one["name"]: one for one in self.status(name)["instances"]}

    def state(self, name: str, instance: str = "VI") -> str:
        return str(self.instances(name)[instance]["state"])

    def counters(self, name: str, instance: str = "VI") -> Counter[str]:
        return Counter(self.instances(name)[instance]["counters"])

    def engine(self, name: str) -> dict[str, int]:
        """Counters of the engine, with those of all instances."""
        status = self.status(name)
        total: Counter[str] = Counter()
        for one in status["instances"]:
            total.update(one["counters"])
        return {**total, **status["engine"]}

    def vrrp_pid(self, name: str) -> int:
        """The process that sends adverts."""
        return process_tree(self.daemons[name].pid)[1]

    def log(self, name: str) -> list[str]:
        return self.daemons[name].log().splitlines()

    # ---------------------------------------------------------------- attack

    def send(self, *frames: bytes, ifname: str = "eth0") -> None:
        """From the attacker."""
        with self.attacker.call(socket.socket, socket.AF_PACKET, socket.SOCK_RAW, 0) as sock:
            sock.bind((ifname, 0))
            for frame in frames:
                sock.send(frame)

    def forge(self, *adverts: Forged) -> None:
        self.send(*(advert.frame() for advert in adverts))

    def hears(self, name: str, instance: str = "VI", family: int = 4) -> bool:
        """Whether an advert reaches the election."""
        before = self.counters(name, instance)["advert_rcvd"]
        if family == 4:
            self.forge(Forged(ATTACKER, priority=1, addresses=(VIP,)))
        else:
            self.forge(Forged(ATTACKER_V6, priority=1, addresses=VIPS_V6))
        try:
            wait_for(lambda: self.counters(name, instance)["advert_rcvd"] > before, 1, "heard")
        except TimeoutError:
            return False
        return True

    def flood(self, frames: Iterable[bytes], rate: float, seconds: float) -> int:
        """Send frames in turn, `rate` a second; returns how many."""
        child = self.attacker.call(
            subprocess.Popen,
            [sys.executable, "-I", str(FLOOD), "eth0", str(rate), str(seconds)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        data = b"".join(struct.pack("!H", len(frame)) + frame for frame in frames)
        output, _ = child.communicate(data, timeout=60)
        return int(output)

    # ---------------------------------------------------------------- what the LAN saw

    def gap_ns(self, name: str, since_ns: int, vrid: int = 51) -> int:
        """The longest time between two adverts of a router that the machine did not take."""
        return self.machine.gap_ns(self.ears[name].adverts(vrid, since_ns))

    def overlap_ns(self, since_ns: int) -> int:
        """The longest time that both routers had the VIP, without what the machine took."""
        spans = self.watch.overlaps(VIP, since_ns=since_ns)
        return self.machine.longest_ns(spans, ordinary=True)

    def await_adverts(self, name: str, count: int, *, vrid: int = 51) -> None:
        since, ear = now_ns(), self.ears[name]
        wait_for(
            lambda: len(ear.adverts(vrid, since)) >= count, 10, f"{count} adverts of VRID {vrid}"
        )


__all__ = [
    "ALLOWANCE_NS", "ATTACKER", "ATTACKER_V6", "BEAT_NS", "MS", "OUTAGE_NS", "VIPS_V6", "Chaos",
    "Ear", "many", "now_ns",
]  # fmt: skip
