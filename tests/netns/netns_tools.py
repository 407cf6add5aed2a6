"""What the namespace tests share: a world to put a daemon into, frames of our own."""

from __future__ import annotations

import ipaddress
import json
import os
import socket
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from fastvrrp.lab.daemons import KINDS
from fastvrrp.lab.network import Network, Node, wait_for
from fastvrrp.lab.sniffer import Sniffer
from fastvrrp.lab.watch import AddressWatch
from keepalived_text import VIP
from machine import ALLOWANCE_NS, BEAT_NS, MS, OUTAGE_NS, Machine, now_ns

BROADCAST = b"\xff" * 6


def gratuitous_arp(node: Node, address: str) -> None:
    """Broadcast one ARP request for an address by that address (RFC 5227 3) from eth0."""
    mac = bytes.fromhex(node.mac().replace(":", ""))
    packed = ipaddress.ip_address(address).packed
    head = bytes.fromhex("0001080006040001")  # Ethernet, IPv4, sizes, request
    frame = BROADCAST + mac + b"\x08\x06" + head + mac + packed + bytes(6) + packed
    with node.call(socket.socket, socket.AF_PACKET, socket.SOCK_RAW) as sock:
        sock.bind(("eth0", 0))
        sock.send(frame)


class World:
    """Router r1 runs a daemon, r2 is a bare host with two LANs in common, c1 a client.

    The daemon is fastvrrp; NETNS_DAEMON=keepalived checks the tests themselves where the two
    should behave alike.
    """

    def __init__(self, directory: Path, machine: Machine) -> None:
        self.directory = directory
        self.machine = machine
        kind = KINDS[os.environ.get("NETNS_DAEMON", "fastvrrp")]
        with ExitStack() as stack:
            self.network = stack.enter_context(Network(routers=2, clients=1, lans=2))
            ports = [*self.network.ports(0), *self.network.ports(1)]
            self.sniffer = stack.enter_context(Sniffer(self.network["switch"], ports=ports))
            self.addresses = stack.enter_context(AddressWatch(self.network.routers))
            self.router = self.network["r1"]
            self.client = self.network["c1"]
            self.daemon = kind(self.router, directory / "r1")
            stack.callback(self._end_daemon)
            self._stack = stack.pop_all()

    def soon(self, begin_ns: int, end_ns: int, limit_ns: int) -> bool:
        """Whether something that ordinary processes, too, have a part in took no longer than
        allowed, without what the machine took."""
        return self.machine.own_ns(begin_ns, end_ns, ordinary=True) < limit_ns

    def _end_daemon(self) -> None:
        self.daemon.close()
        print(f"--- {self.daemon.kind}\n{self.daemon.log()}")

    def __enter__(self) -> World:
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def start(self, text: str | None = None, *, vip: str | None = VIP) -> None:
        """Start the daemon and wait until it holds an address (None: until it listens)."""
        self.daemon.start(text)
        self.daemon.wait_listening()
        if vip is not None:
            self.network.wait_holder(vip, "r1")

    def shown(self, address: str) -> dict[str, Any] | None:
        """What `ip addr` says about an address of the router; None when it has it not."""
        for link in json.loads(self.router.run("ip", "-j", "addr", "show")):
            for info in link["addr_info"]:
                if info["local"] == address:
                    return {**info, "dev": link["ifname"]}
        return None

    def gap_ns(self, *, vrid: int, since_ns: int) -> int:
        """The longest time between two of the router's adverts that the machine did not take."""
        return self.machine.gap_ns(self.sniffer.adverts(vrid=vrid, since_ns=since_ns))

    def await_adverts(self, count: int, *, vrid: int = 51, since_ns: int | None = None) -> None:
        """Wait for some more adverts of a virtual router."""
        since = now_ns() if since_ns is None else since_ns
        wait_for(
            lambda: len(self.sniffer.adverts(vrid=vrid, since_ns=since)) >= count,
            10,
            f"{count} adverts of VRID {vrid}",
        )

    def silent(self, seconds: float, *, vrid: int = 51) -> None:
        """Watch for a while that the router sends nothing for a VRID."""
        begin = now_ns()
        time.sleep(seconds)
        sent = self.sniffer.adverts(vrid=vrid, since_ns=begin)
        assert [(a.time_ns - begin, a.priority) for a in sent] == []


__all__ = ["ALLOWANCE_NS", "BEAT_NS", "MS", "OUTAGE_NS", "World", "gratuitous_arp", "now_ns"]
