"""`fastvrrp capture`: every VRRP advert on an interface, decoded and judged, live."""

from __future__ import annotations

import argparse
import errno
import ipaddress
import json
import socket
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fastvrrp.cli.common import fail

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastvrrp.lab.packet import Announced, Datagram

    Show = Callable[["Sighting"], None]

NS = 1_000_000_000
MS = 1_000_000

# An advert is called late when the gap exceeds the announced interval by this part of it, and by
# at least LATE_MIN_NS: hardly more than what an idle machine's timers are worth.
LATE_PART = 0.1
LATE_MIN_NS = 2 * MS

# A sender can call itself anything: what is remembered has an end.
SENDERS_MAX = 64  # of one virtual router; those heard longest ago are new when they come again
ADDRESSES_MAX = 65_536

DESCRIPTION = """\
Shows every VRRP advert that an interface receives or sends: who sends it, for which virtual
router, with which priority, interval and addresses, how long after the one before, and what is
wrong with it (checksum, TTL, length, late, two masters at once). Nothing is sent. Passwords of
VRRPv2 are never shown. Needs root or CAP_NET_RAW.

exit status:
  0  adverts were seen
  1  none were seen, or the interface cannot be listened to"""

EXAMPLES = (
    "fastvrrp capture                      # all interfaces, until Ctrl-C",
    "fastvrrp capture -i eth0 --duration 5 # what is there?",
    "fastvrrp capture -i eth0 --garp       # and who announces the addresses",
    "fastvrrp capture --json | jq -r 'select(.late_ms) | [.source, .late_ms] | @tsv'",
)


def _positive(kind: type) -> Callable[[str], Any]:
    def convert(text: str) -> Any:
        value = kind(text)
        if value <= 0:
            raise argparse.ArgumentTypeError(f"{text} is not above 0")
        return value

    convert.__name__ = kind.__name__  # for argparse's message
    return convert


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-i", "--interface", metavar="IFACE", help="only this one (default: all)")
    parser.add_argument("--count", type=_positive(int), metavar="N", help="end after N adverts")
    parser.add_argument(
        "--duration", type=_positive(float), metavar="SECONDS", help="end after this time"
    )
    parser.add_argument(
        "--garp",
        action="store_true",
        help="also gratuitous ARP and unsolicited neighbour advertisements of virtual addresses",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object per line")


@dataclass
class Sighting:
    """One packet and what there is to say about it. Becomes a line or a JSON object."""

    time_ns: int  # CLOCK_REALTIME of the kernel
    interface: str
    outgoing: bool
    fields: dict[str, Any]
    problems: list[str] = field(default_factory=list)  # something is wrong
    notes: list[str] = field(default_factory=list)  # something is remarkable


@dataclass
class _Flow:
    """The adverts of one sender for one virtual router on one interface."""

    time_ns: int
    interval_ns: int
    priority: int


class Judge:
    """Turns packets into Sightings; remembers senders to find gaps and second masters."""

    def __init__(self) -> None:
        self._flows: dict[tuple[str, int, int], dict[str, _Flow]] = {}
        self.addresses: set[str] = set()  # every virtual address seen
        self.adverts = 0
        self.late = 0
        self.bad = 0

    def advert(self, time_ns: int, interface: str, outgoing: bool, packet: Datagram) -> Sighting:
        """Decode a VRRP packet, however broken."""
        from fastvrrp._core import RX_NAMES, decode_advert

        source = str(ipaddress.ip_address(packet.source))
        destination = ipaddress.ip_address(packet.destination)
        code, advert = decode_advert(
            packet.pdu, source=packet.source, destination=packet.destination
        )
        fields: dict[str, Any] = {
            "kind": "advert",
            "source": source,
            "destination": str(destination),
            "ttl": packet.ttl,
            "result": "ok" if code == 0 else RX_NAMES[code],
        }
        seen = Sighting(time_ns, interface, outgoing, fields)
        self.adverts += 1
        if destination.is_multicast and packet.ttl != 255:
            seen.problems.append(f"TTL {packet.ttl}, not 255")
        if code != 0:
            seen.problems.append(_words(RX_NAMES[code]))
        if advert is not None:
            addresses = [str(ipaddress.ip_address(a)) for a in advert.addresses]
            if len(self.addresses) < ADDRESSES_MAX:
                self.addresses.update(addresses)
            fields |= {
                "version": advert.version,
                "vrid": advert.vrid,
                "priority": advert.priority,
                "interval_ms": advert.interval_cs * 10,
                "auth": {0: "none", 1: "pass"}.get(advert.auth_type, str(advert.auth_type)),
                "addresses": addresses,
            }
            if code == 0:
                self._follow(seen, source, (interface, destination.version, advert.vrid))
        if seen.problems:
            self.bad += 1
        return seen

    def _follow(self, seen: Sighting, source: str, router: tuple[str, int, int]) -> None:
        """Compare a good advert with what this and other senders sent before."""
        flows = self._flows.setdefault(router, {})
        interval_ns = seen.fields["interval_ms"] * MS
        priority = seen.fields["priority"]
        before = flows.get(source)
        if before is not None and before.priority > 0:
            gap = seen.time_ns - before.time_ns
            seen.fields["gap_ms"] = round(gap / MS, 3)
            late = gap - before.interval_ns
            if late > max(LATE_MIN_NS, LATE_PART * before.interval_ns):
                seen.fields["late_ms"] = round(late / MS, 3)
                seen.notes.append(f"late by {late / MS:.1f} ms")
                self.late += 1
            if priority not in (before.priority, 0):
                seen.notes.append(f"priority was {before.priority}")
        if priority == 0:
            seen.notes.append("priority 0: the sender stops")
        if before is None:
            seen.notes.append("new sender")
            while len(flows) >= SENDERS_MAX:
                del flows[next(iter(flows))]
        elif before.priority == 0 or seen.time_ns - before.time_ns > 3 * interval_ns:
            seen.notes.append("speaks again")
        elif priority > 0:
            # Whoever else spoke since this one's last advert believes to be master as well.
            others = sorted(
                o for o, f in flows.items() if f.priority and f.time_ns > before.time_ns
            )
            if others:
                seen.notes.append(f"two masters: {', '.join(others)} sends too")
        flows.pop(source, None)  # the one heard longest ago comes first
        flows[source] = _Flow(seen.time_ns, interval_ns, priority)

    def announcement(
        self, time_ns: int, interface: str, outgoing: bool, packet: Announced
    ) -> Sighting:
        kind = "gratuitous_arp" if packet.family == 4 else "neighbour_advertisement"
        fields = {"kind": kind, "address": packet.address, "mac": packet.mac}
        return Sighting(time_ns, interface, outgoing, fields)


def _words(result: str) -> str:
    """A reason for rejection in words; the names are the daemon's counters."""
    return {
        "length_err": "truncated",
        "version_err": "unknown version",
        "invalid_type_rcvd": "not an advert",
        "vrid_err": "VRID 0",
        "checksum_err": "checksum wrong",
        "count_err": "no addresses",
        "advert_interval_err": "interval 0",
    }.get(result, result)


def as_json(seen: Sighting) -> str:
    record = {
        "time": seen.time_ns / NS,
        "interface": seen.interface,
        "direction": "out" if seen.outgoing else "in",
        **seen.fields,
        "problems": seen.problems,
        "notes": seen.notes,
    }
    return json.dumps(record)


def as_parts(seen: Sighting) -> list[tuple[str, str]]:
    """The line for people: (text, rich style) pieces."""
    seconds, rest = divmod(seen.time_ns, NS)
    clock = time.strftime("%H:%M:%S", time.localtime(seconds)) + f".{rest // 1000:06d}"
    arrow = ">" if seen.outgoing else "<"
    parts = [(f"{clock} ", "dim"), (f"{seen.interface} {arrow} ", "")]
    fields = seen.fields
    if fields["kind"] != "advert":
        what = "gratuitous ARP" if fields["kind"] == "gratuitous_arp" else "neighbour advert"
        return [*parts, (f"{what}: {fields['address']} is at {fields['mac']}", "cyan")]
    parts.append((f"{fields['source']} ", "bold"))
    if not ipaddress.ip_address(fields["destination"]).is_multicast:
        parts.append((f"to {fields['destination']} ", ""))
    if "version" in fields:
        text = f"VRRPv{fields['version']} vrid {fields['vrid']} priority {fields['priority']}"
        text += f" every {fields['interval_ms']} ms"
        if fields["auth"] != "none":
            text += f" auth {fields['auth']}"
        parts += [(text, ""), (f" [{', '.join(fields['addresses'])}]", "dim")]
    if "gap_ms" in fields:
        parts.append((f" +{fields['gap_ms']:.1f} ms", "dim"))
    parts += [(f"  {note}", "yellow") for note in seen.notes]
    parts += [(f"  {problem}", "bold red") for problem in seen.problems]
    return parts


def _printer(as_objects: bool) -> Show:
    if as_objects:
        return lambda seen: print(as_json(seen), flush=True)
    if not sys.stdout.isatty():
        return lambda seen: print("".join(text for text, _ in as_parts(seen)), flush=True)
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False)
    return lambda seen: console.print(Text.assemble(*as_parts(seen)), soft_wrap=True)


def run(args: argparse.Namespace) -> int:
    """The subcommand; returns the exit status."""
    from fastvrrp.lab.packet import open_socket

    try:
        sock = open_socket(args.interface)
    except PermissionError:
        return fail("capture: not permitted; run it as root or with CAP_NET_RAW")
    except OSError as error:
        if error.errno == errno.ENODEV:
            there = ", ".join(name for _, name in socket.if_nameindex())
            return fail(f"capture: no interface {args.interface}; there are {there}")
        return fail(f"capture: {error.strerror}")
    judge = Judge()
    begin = time.monotonic()
    try:
        with sock:
            _listen(sock, judge, args, begin)
    except KeyboardInterrupt:
        pass  # the usual way to end it
    except OSError as error:
        return fail(f"capture: {args.interface}: {error.strerror}")
    if not args.json:
        words = f"{judge.adverts} adverts in {time.monotonic() - begin:.1f} s"
        print(f"{words}, {judge.late} late, {judge.bad} with problems", file=sys.stderr)
    return 0 if judge.adverts else 1


def _is_there(interface: str) -> bool:
    return any(name == interface for _, name in socket.if_nameindex())


def _listen(sock: socket.socket, judge: Judge, args: argparse.Namespace, begin: float) -> None:
    from fastvrrp.lab.packet import Datagram, dissect, receive

    show = _printer(args.json)
    while args.count is None or judge.adverts < args.count:
        if args.duration is not None:
            left = begin + args.duration - time.monotonic()
            if left <= 0:
                return
            sock.settimeout(left)
        try:
            time_ns, interface, outgoing, frame = receive(sock)
        except TimeoutError:
            return
        except OSError as error:
            if error.errno != errno.ENETDOWN or not _is_there(args.interface):
                raise
            # The kernel says so once; the socket hears again when the interface is up again.
            print(f"{args.interface} is down", file=sys.stderr)
            continue
        packet = dissect(frame)
        if isinstance(packet, Datagram):
            show(judge.advert(time_ns, interface, outgoing, packet))
        elif packet is not None and args.garp and packet.address in judge.addresses:
            show(judge.announcement(time_ns, interface, outgoing, packet))
