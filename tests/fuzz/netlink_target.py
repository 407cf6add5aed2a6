"""Whatever bytes arrive from rtnetlink: the target of the fuzz tests, and its seeds.

`fuzz_netlink(data)` takes one datagram and raises when anything goes wrong that a damaged or a
surprising message must not cause: another exception than OSError, an object that contradicts
itself, or an `Observed` that is not what the callbacks told. It needs neither root nor a socket.

The seeds in `corpus/netlink` are datagrams of a real kernel. Recorded anew, as root, with

    PYTHONPATH=src:tests unshare --net python tests/fuzz/netlink_target.py
"""

from __future__ import annotations

import ipaddress
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from canned_netlink import canned
from fastvrrp.net import wire
from fastvrrp.net.addresses import delete_address
from fastvrrp.net.follower import Follower
from fastvrrp.net.monitor import GROUPS
from fastvrrp.net.objects import (
    Address,
    AddressKey,
    Link,
    Route,
    RuleKey,
    decode_address,
    decode_link,
    decode_route,
    decode_rule,
)
from fastvrrp.net.observed import primary_source
from fastvrrp.net.programs import prefix_text, rule_text
from fastvrrp.net.rtnl import Dumped, dump_requests, open_socket

CORPUS = Path(__file__).with_name("corpus") / "netlink"
TABLES = ("links", "addresses", "routes", "rules")


def seeds() -> list[bytes]:
    """The recorded datagrams."""
    return [path.read_bytes() for path in sorted(CORPUS.glob("*.bin"))]


def messages(data: bytes) -> list[bytes]:
    """The single messages of a datagram that is in order, padded as the kernel pads them."""
    return [
        data[frame.offset : frame.end] + bytes(-(frame.end - frame.offset) % 4)
        for frame in wire.frames(memoryview(data))
    ]


# ---------------------------------------------------------------------- the target


def fuzz_netlink(data: bytes) -> None:
    """One datagram, read as notifications, as part of a table, and as an answer."""
    followed = Followed()
    followed.take(data)
    followed.take(data)  # told twice is told once
    followed.check()
    _fuzz_tables(data)
    _fuzz_answers(data)


class Followed:
    """A follower, and what its callbacks make of the world."""

    def __init__(self) -> None:
        self.follower = Follower(
            on_link=self._link, on_address=self._address, on_route=_route, on_rule=self._rule
        )
        self.links: dict[int, Link] = {}
        self.addresses: dict[AddressKey, Address] = {}
        self.rules: set[RuleKey] = set()

    def take(self, data: bytes) -> bool:
        return self.follower.datagram(memoryview(data))

    def _link(self, old: Link | None, new: Link | None) -> None:
        known = new or old
        assert known is not None
        assert self.links.get(known.ifindex) == old
        if new is None:
            del self.links[known.ifindex]
        else:
            well_formed(new)
            self.links[known.ifindex] = new

    def _address(self, ifindex: int, address: Address, present: bool) -> None:
        well_formed(address)
        assert address.key.ifindex == ifindex
        if present:
            self.addresses[address.key] = address
        else:
            # of one that the kernel had not told of before as well
            assert self.addresses.pop(address.key, address) == address

    def _rule(self, rule: RuleKey, present: bool) -> None:
        well_formed(rule)
        assert (rule in self.rules) != present
        (self.rules.add if present else self.rules.remove)(rule)

    def check(self) -> None:
        """Observed is what was told, and hangs together."""
        observed = self.follower.observed
        assert observed.links == self.links
        assert {address.key: address for address in observed.all_addresses()} == self.addresses
        assert observed.rules == self.rules
        for name, ifindex in observed.interfaces.items():
            link = observed.links[ifindex]
            assert name in (link.name, *link.altnames)
        assert all(observed.addresses.values())
        for slot, routes in observed.routes.items():
            assert routes
            for route in routes:
                well_formed(route)
                assert route.key.slot == slot
                assert route.key.protocol == wire.PROTOCOL
                assert observed.find_route(route.key, route.hops) is not None
        for ifindex in observed.addresses:
            for family, sizes in ((4, (0, 4)), (6, (0, 16))):
                assert len(primary_source(observed, ifindex, family)) in sizes


def _route(route: Route, present: bool) -> None:
    well_formed(route)


def well_formed(thing: Link | Address | Route | RuleKey) -> None:
    """What everybody who gets such an object relies on."""
    if isinstance(thing, Link):
        assert thing.name
        assert "\0" not in thing.name
        return
    key = thing if isinstance(thing, RuleKey) else thing.key
    bits = 32 if key.family == 4 else 128
    assert key.family in (4, 6)
    if isinstance(key, AddressKey):
        assert len(key.address) * 8 == bits
        assert key.prefixlen <= bits
        assert key.peer == b"" or len(key.peer) * 8 == bits
        request = delete_address(key)
        again = decode_address(memoryview(request), wire.HEADER_SIZE, len(request))
        assert again is not None
        assert again.key == key
        return
    for address, length in (
        (key.source, key.source_len),
        (key.destination, key.destination_len),
    ):
        assert len(address) * 8 == bits
        assert length <= bits
        ipaddress.ip_interface(prefix_text(address, length))
    if isinstance(key, RuleKey):
        assert rule_text(key)
    if isinstance(thing, Route):
        assert all(len(hop.gateway) in (0, 4, 16) for hop in thing.hops)


def _fuzz_tables(data: bytes) -> None:
    decoders = (decode_link, decode_address, decode_route, decode_rule)
    for decode in decoders:
        try:
            decoded = decode(memoryview(data), 0, len(data))
        except wire.MalformedMessage:
            continue
        if decoded is not None:
            well_formed(cast("Any", decoded))
    for name in TABLES:
        followed = Followed()
        follower = followed.follower
        try:
            frames = list(wire.frames(memoryview(data)))
        except wire.MalformedMessage:
            return
        found = [follower.decoded(name, memoryview(data), frame) for frame in frames]
        found = [thing for thing in found if thing is not None]
        for thing in found:
            well_formed(thing)
        follower.table_is(name, found, report=True)
        follower.table_is(name, found, report=True)
        followed.check()
        follower.table_is(name, [], report=True)
        followed.check()
        assert not any((follower.observed.links, follower.observed.routes, followed.addresses))


def _fuzz_answers(data: bytes) -> None:
    request = delete_address(AddressKey(1, 4, bytes(4), 32))
    try:
        results = canned(data).play([(request, 0), (request, wire.OK_GONE)])
    except OSError:
        pass
    else:
        assert len(results) == 2
        assert min(results) >= 0
    for name in TABLES:
        for kind, body in dump_requests()[name]:
            try:
                found = canned(data).dump(kind, body)
            except OSError:
                continue
            assert all(isinstance(one, Dumped) for one in found)


# ---------------------------------------------------------------------- recording

SCENE = """
link add v0 type veth peer name v0p
link property add dev v0 altname uplink altname outside-of-the-building
link add br0 type bridge
link set v0p master br0
link add link v0 name mac0 type macvlan mode private
link set lo up
link set v0 up
link set v0p up
addr add 10.0.0.9/24 brd + dev v0
addr add 10.0.0.10/24 dev v0 label v0:1
addr add 10.3.0.1 peer 10.3.0.2/30 dev v0
addr add 2001:db8::9/64 dev v0 nodad
addr add 2001:db8::a/128 dev v0 nodad preferred_lft 0
route add 10.20.0.0/16 via 10.0.0.254 dev v0 metric 50 proto 18
route add 10.21.0.0/16 dev v0 table 1000 proto 18 mtu lock 1400 congctl reno
route add blackhole 10.22.0.0/16 proto 18
route add 10.26.0.0/16 proto 18 nexthop via 10.0.0.253 dev v0 nexthop via 10.0.0.254 dev v0 weight 3
route add 10.28.0.0/16 via inet6 fe80::9 dev v0 proto 18
route add 10.29.0.0/16 via 10.0.0.254
route replace 10.29.0.0/16 via 10.0.0.253 proto 18
-6 route add 2001:db8:1::/48 via 2001:db8::fe dev v0 proto 18
-6 route add 2001:db8:4::/48 proto 18 nexthop via 2001:db8::fd dev v0 nexthop via 2001:db8::fc
rule add from 10.0.0.0/8 to 10.1.0.0/16 table 1000 pref 100 protocol 18
rule add not fwmark 5/0xff iif v0 table 9 pref 101 protocol 18
rule add ipproto tcp dport 80-90 uidrange 1-9 prohibit pref 102
rule add table 1 suppress_prefixlength 0 pref 103
rule add goto 103 pref 99
-6 rule add from 2001:db8::/32 table 200 pref 100 protocol 18
"""
UNDO = """
rule del pref 99
-6 route del 2001:db8:4::/48 via 2001:db8::fd dev v0
route del 10.20.0.0/16 metric 50
addr del 10.0.0.10/24 dev v0
link set v0p nomaster
link set v0 down
link set v0 name w0
link del w0
link del br0
"""


def datagrams(sock: socket.socket) -> Iterator[bytes]:
    """What waits in a socket."""
    sock.settimeout(0.3)
    try:
        while True:
            yield sock.recv(1 << 17)
    except TimeoutError:
        return


def record() -> None:
    """Write the corpus anew: notifications, tables and answers of this network namespace."""
    CORPUS.mkdir(parents=True, exist_ok=True)
    for old in CORPUS.glob("*.bin"):
        old.unlink()
    with open_socket() as events, open_socket() as queries:
        for sock in (events, queries):
            sock.bind((0, 0))
        for group in (number for numbers in GROUPS.values() for number in numbers):
            events.setsockopt(wire.SOL_NETLINK, 1, group)  # NETLINK_ADD_MEMBERSHIP
        for name, lines in (("built", SCENE), ("undone", UNDO)):
            for line in lines.strip().splitlines():
                subprocess.run(["ip", *line.split()], check=True)
            (CORPUS / f"events-{name}.bin").write_bytes(b"".join(datagrams(events)))
            if name == "undone":
                break
            for table in TABLES:
                data = b""
                for kind, body in dump_requests()[table]:
                    flags = wire.NLM_F_REQUEST | wire.NLM_F_DUMP
                    queries.sendto(wire.message(kind, flags, body, 1), (0, 0))
                    data += b"".join(datagrams(queries))
                (CORPUS / f"table-{table}.bin").write_bytes(data)
        for sequence, ifindex in enumerate((1, 9999), 1):
            request = delete_address(AddressKey(ifindex, 4, b"\x7f\0\0\x01", 8))
            queries.sendto(wire.with_sequence(request, sequence), (0, 0))
        (CORPUS / "answers.bin").write_bytes(b"".join(datagrams(queries)))


if __name__ == "__main__":
    record()
