"""Two routers, a client and observers; what every interop scenario is written with.

Nothing here asks a daemon about itself: addresses come from `ip addr`, packets from a sniffer at
the switch and from tshark, continuity from a client that pings.
"""

from __future__ import annotations

import json
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from fastvrrp.lab.daemons import KINDS, Daemon
from fastvrrp.lab.network import Network, Node, wait_for
from fastvrrp.lab.probe import Prober
from fastvrrp.lab.sniffer import Advert, Frame, Sniffer
from fastvrrp.lab.watch import AddressWatch
from keepalived_text import VIP
from machine import ALLOWANCE_NS, MS, OUTAGE_NS, Machine, now_ns

NS = 1_000_000_000

# Both count from when they have read a packet, not from its stamp, in their own clock's ticks.
EARLY_NS = 2 * MS

VIP1 = "198.51.100.100"  # in the second LAN
VIP6 = "2001:db8::100"
VIP6_LINK_LOCAL = "fe80::100"


def skew_ns(priority: int, advert_int_ns: int = 100 * MS, version: int = 3) -> int:
    """RFC 9568 6.1; for version 2 keepalived and RFC 3768 6.1 count in seconds."""
    return (256 - priority) * (advert_int_ns if version == 3 else NS) // 256


def down_ns(priority: int, advert_int_ns: int = 100 * MS, version: int = 3) -> int:
    """RFC 9568 6.1 Active_Down_Interval, RFC 3768 6.1 Master_Down_Interval."""
    return 3 * advert_int_ns + skew_ns(priority, advert_int_ns, version)


@dataclass(frozen=True)
class Decoded:
    """One frame as tshark understands it; empty strings for absent fields."""

    fields: dict[str, str]

    def __getitem__(self, name: str) -> str:
        return self.fields[name]


TSHARK_FIELDS = (
    "frame.time_epoch", "eth.src", "eth.dst",
    "ip.src", "ip.dst", "ip.ttl", "ip.checksum.status", "ipv6.src", "ipv6.dst", "ipv6.hlim",
    "vrrp.version", "vrrp.type", "vrrp.virt_rtr_id", "vrrp.prio", "vrrp.addr_count",
    "vrrp.checksum.status", "vrrp.auth_type", "vrrp.auth_string", "vrrp.adver_int",
    "vrrp.short_adver_int", "vrrp.ip_addr", "vrrp.ipv6_addr",
    "arp.opcode", "arp.src.proto_ipv4", "arp.dst.proto_ipv4", "arp.src.hw_mac",
    "icmpv6.type", "icmpv6.nd.na.target_address", "icmpv6.nd.na.flag.o", "icmpv6.nd.na.flag.s",
    "icmpv6.checksum.status",
)  # fmt: skip


def tshark(capture: Path) -> list[Decoded]:
    """Decode a capture with tshark, which shares no code with either daemon."""
    command = ["tshark", "-n", "-r", str(capture), "-o", "ip.check_checksum:TRUE"]
    command += ["-T", "fields", "-E", "separator=/t", "-E", "occurrence=a", "-E", "aggregator=,"]
    for field in TSHARK_FIELDS:
        command += ["-e", field]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    rows = [line.split("\t") for line in text.splitlines()]
    return [Decoded(dict(zip(TSHARK_FIELDS, row, strict=True))) for row in rows]


class Scene:
    """r1 and r2 run the daemons of a pair; c1 (and c2) are hosts in the first LAN."""

    def __init__(
        self,
        pair: tuple[str, str],
        directory: Path,
        machine: Machine,
        *,
        clients: int = 1,
        lans: int = 1,
    ) -> None:
        self.pair = pair
        self.machine = machine
        self.directory = directory
        self.network = Network(routers=2, clients=clients, lans=lans)
        ports = [port for lan in range(lans) for port in self.network.ports(lan)]
        self.sniffer = Sniffer(self.network["switch"], ports=ports)
        self.addresses = AddressWatch(self.network.routers)
        self.daemons: dict[str, Daemon] = {}
        for name, kind in zip(("r1", "r2"), pair, strict=True):
            self.daemons[name] = KINDS[kind](self.network[name], directory / name)
        self._probes: list[Prober] = []

    def __getitem__(self, name: str) -> Daemon:
        return self.daemons[name]

    def node(self, name: str) -> Node:
        return self.network[name]

    def start(self, name: str, text: str | None = None, *, family: int = 4) -> None:
        """Start a router's daemon and wait until it listens."""
        self.daemons[name].start(text)
        self.daemons[name].wait_listening(family)

    def start_pair(self, first: str, second: str, *, vip: str = VIP, family: int = 4) -> None:
        """Start r1, let it become master, then r2, and wait until that one has settled."""
        self.start("r1", first, family=family)
        self.network.wait_holder(vip, "r1")
        self.start("r2", second, family=family)
        self.settle()

    def settle(self, adverts: int = 3, vrid: int = 51, port: str = "r1-0") -> None:
        """Let the master send some adverts, so that a backup has heard them."""
        begin = now_ns()
        self.sniffer.wait(
            lambda _: len(self.sniffer.adverts(vrid=vrid, port=port, since_ns=begin)) >= adverts,
            15,
            f"{adverts} adverts from {port}",
        )

    def probe(self, address: str = VIP, client: str = "c1") -> Prober:
        """A client that pings until the end of the test."""
        prober = Prober(self.network[client], address)
        self._probes.append(prober)
        return prober

    # Observations

    def ip_addresses(self, name: str) -> set[str]:
        """`ip addr` inside a router: ADDRESS/LEN of every interface."""
        found = json.loads(self.node(name).run("ip", "-j", "addr", "show"))
        return {
            f"{info['local']}/{info['prefixlen']}" for link in found for info in link["addr_info"]
        }

    def assert_holder(self, holder: str, vip: str = VIP, prefixlen: int = 24) -> None:
        """`ip addr` shows the address on this router and not on the other."""
        have = [n for n in ("r1", "r2") if f"{vip}/{prefixlen}" in self.ip_addresses(n)]
        assert have == [holder]

    def neighbour(self, client: str, address: str = VIP) -> str:
        """The hardware address a host has in its neighbour table, empty if none."""
        family = "-6" if ":" in address else "-4"
        shown = json.loads(self.node(client).run("ip", "-j", family, "neigh", "show", address))
        return str(shown[0].get("lladdr", "")) if shown else ""

    def assert_answers(self, prober: Prober, *, within_s: float = 1.0) -> None:
        """The client gets answers now, not only in the past."""
        begin = now_ns()
        wait_for(
            lambda: len(prober.answers(since_ns=begin)) >= 3,
            within_s,
            f"{prober.address} answers the client",
        )

    def first(
        self, port: str, *, since_ns: int, vrid: int = 51, priority: int | None = None
    ) -> Advert:
        """The first advert from a port since a moment, waiting for it."""
        return self.sniffer.wait_advert(vrid=vrid, port=port, since_ns=since_ns, priority=priority)

    def last_before(self, port: str, moment_ns: int, vrid: int = 51) -> Advert:
        return [a for a in self.sniffer.adverts(vrid=vrid, port=port) if a.time_ns < moment_ns][-1]

    def outage_ns(self, prober: Prober, *, since_ns: int) -> int:
        """The longest time that a client asked in vain, and the machine is not to blame for. One
        interval of the prober (20 ms) coarse."""
        return self.machine.longest_ns(prober.losses(since_ns=since_ns), ordinary=True)

    def overlap_ns(self, address: str = VIP, *, since_ns: int = 0) -> int:
        """The longest time that both routers had an address, as above."""
        overlaps = self.addresses.overlaps(address, since_ns=since_ns)
        return self.machine.longest_ns(overlaps, ordinary=True)

    def is_ordinary(self, port: str) -> bool:
        """Whether the router behind a port may have to wait for its turn: keepalived does
        everything in one ordinary thread, fastvrrp's adverts are a real-time thread's."""
        return self.daemons[port.partition("-")[0]].kind == "keepalived"

    def assert_due(self, armed_ns: int, nominal_ns: int, advert: Advert) -> None:
        """A timer that was armed at a moment runs out and an advert is sent: not too early, and
        late only by what is allowed for and what the machine took since it was due."""
        due = armed_ns + nominal_ns
        assert advert.time_ns > due - EARLY_NS
        self.assert_soon(due, advert)

    def assert_soon(self, due_ns: int, frame: Frame, *, ordinary: bool = False) -> None:
        """A frame was sent at a moment or before, or is late only by what is allowed for and what
        the machine took; `ordinary` when more than the engine had a part in it."""
        if frame.time_ns > due_ns:
            ordinary = ordinary or self.is_ordinary(frame.port)
            assert self.machine.own_ns(due_ns, frame.time_ns, ordinary=ordinary) < ALLOWANCE_NS

    def silent(self, port: str, seconds: float, vrid: int = 51) -> None:
        """Watch for a while that nothing is sent from a port."""
        begin = now_ns()
        time.sleep(seconds)
        sent = self.sniffer.adverts(vrid=vrid, port=port, since_ns=begin)
        assert [(a.time_ns - begin, a.priority) for a in sent] == []

    def decode(self) -> list[Decoded]:
        """Everything seen so far, through tshark."""
        capture = self.directory / "capture.pcap"
        self.sniffer.write_pcap(capture)
        return tshark(capture)

    def assert_wire(
        self,
        *,
        vrid: int = 51,
        version: int = 3,
        interval: str = "10",
        priorities: dict[str, set[int]],
        addresses: tuple[str, ...] = (VIP,),
        family: int = 4,
        lan: int = 0,
        destinations: dict[str, set[str]] | None = None,
        password: str = "",
    ) -> None:
        """Every advert of a VRID is right in every field, judged by tshark.

        `interval` is the value of the field (v3: centiseconds, v2: seconds), `priorities` the
        allowed ones per router, 0 included only if an orderly stop or a fault happened.
        RFC 9568 5.1, 5.2; RFC 3768 5.2, 5.3.
        """
        group = "224.0.0.18" if family == 4 else "ff02::12"
        routers = {self.node(name).mac(lan): name for name in ("r1", "r2")}
        seen: dict[str, set[int]] = {"r1": set(), "r2": set()}
        for frame in self.decode():
            if frame["vrrp.virt_rtr_id"] != str(vrid) or frame["eth.src"] not in routers:
                continue
            name = routers[frame["eth.src"]]
            node = self.node(name)
            seen[name].add(int(frame["vrrp.prio"]))
            expected = {
                "vrrp.version": str(version),
                "vrrp.type": "1",
                "vrrp.checksum.status": "1",  # good
                "vrrp.addr_count": str(len(addresses)),
            }
            if family == 4:
                expected |= {
                    "ip.ttl": "255",
                    "ip.checksum.status": "1",
                    "ip.src": node.ipv4(lan),
                    "vrrp.ip_addr": ",".join(addresses),
                }
                destination = frame["ip.dst"]
            else:
                expected |= {
                    "ipv6.hlim": "255",
                    "ipv6.src": node.link_local(lan),
                    "vrrp.ipv6_addr": ",".join(addresses),
                }
                destination = frame["ipv6.dst"]
            if version == 3:
                expected["vrrp.short_adver_int"] = interval
            else:
                expected["vrrp.adver_int"] = interval
                expected["vrrp.auth_type"] = "1" if password else "0"
                if password:
                    expected["vrrp.auth_string"] = password
            assert {key: frame[key] for key in expected} == expected, name
            assert destination in (destinations or {}).get(name, {group}), name
        assert seen == priorities

    def assert_gratuitous_arp(
        self, name: str, vip: str = VIP, *, since_ns: int, count: int
    ) -> None:
        """`count` gratuitous ARPs were broadcast by a router since a moment.

        Request form, sender and target address equal to the VIP, its own hardware address.
        keepalived: runtime behaviour of garp_master_repeat; RFC 9568 6.4.2 (395).
        """
        mac = self.node(name).mac()
        found = [
            f
            for f in self.decode()
            if f["arp.src.proto_ipv4"] == vip
            and f["eth.src"] == mac
            and float(f["frame.time_epoch"]) * 1e9 >= since_ns
        ]
        assert len(found) == count
        for f in found:
            assert f["eth.dst"] == "ff:ff:ff:ff:ff:ff"
            assert f["arp.opcode"] == "1"
            assert f["arp.dst.proto_ipv4"] == vip
            assert f["arp.src.hw_mac"] == mac

    def close(self) -> None:
        """End everything; the daemons' logs go to standard output for a failing test's report."""
        for prober in self._probes:
            prober.close()
        for name, daemon in self.daemons.items():
            daemon.close()
            print(f"--- {name} ({daemon.kind})\n{daemon.log()}")
        for a in self.sniffer.adverts()[-40:]:
            print(
                a.time_ns,
                a.port,
                a.source,
                a.destination,
                f"{a.vrid} prio {a.priority}",
                a.interval_ns,
            )
        for e in self.addresses.events():
            print(e.time_ns, e.node, "+" if e.added else "-", e.address)
        self.sniffer.close()
        self.addresses.close()
        self.network.close()


__all__ = [
    "ALLOWANCE_NS", "MS", "NS", "OUTAGE_NS", "VIP1", "VIP6", "VIP6_LINK_LOCAL", "Decoded", "Scene",
    "down_ns", "now_ns", "skew_ns",
]  # fmt: skip
