"""Where probes go and where they come from: marks, source addresses, ports, interfaces."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import struct
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, suppress
from typing import Any

import pytest
from probing import DOWN, LOCAL, MS, UP, attempt, connection, surroundings

from fastvrrp._core import checksum
from fastvrrp.config.servers import (
    Check,
    Connection,
    DnsCheck,
    PingCheck,
    SmtpCheck,
    TcpCheck,
    UdpCheck,
)
from fastvrrp.ipvs.checks.base import Outcome, make_probe
from fastvrrp.lab.network import Network, Node
from looping import Run

pytestmark = pytest.mark.netns

PORT = 2525
BIND_PORT = 7777
SERVER = {4: "192.0.2.2", 6: "2001:db8::2"}
SECOND = {4: "192.0.2.101", 6: "2001:db8::101"}  # further addresses of the prober
THIRD = "192.0.2.102"  # a further address of the server
LENGTH = {4: 24, 6: 64}

KINDS: dict[str, Callable[[Connection], Check]] = {
    "tcp": lambda to: TcpCheck(connection=to),
    "smtp": lambda to: SmtpCheck(connection=to),
    "dns": lambda to: DnsCheck(connection=to),
    "udp": lambda to: UdpCheck(connection=to, require_reply=True),
    "ping": lambda to: PingCheck(connection=to),
}
every_kind = pytest.mark.parametrize("kind", KINDS)
both_families = pytest.mark.parametrize("family", [4, 6])


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    """r1 probes r2; what r1 marks with 7 goes nowhere."""
    with Network(routers=2, clients=0) as made:
        prober = made["r1"]
        prober.sysctl("net/ipv4/ping_group_range", "0 2147483647")
        for family, address in SECOND.items():
            prober.addr(
                "add", index=prober.index("eth0"), address=address, prefixlen=LENGTH[family]
            )
            prober.run("ip", f"-{family}", "rule", "add", "fwmark", "7", "unreachable", "pref", "1")
        server = made["r2"]
        server.addr("add", index=server.index("eth0"), address=THIRD, prefixlen=24)
        yield made


@asynccontextmanager
async def servers(node: Node) -> AsyncIterator[list[tuple[str, int]]]:
    """What speaks enough SMTP and DNS to be up, on every address of a node. Gives the addresses
    and ports that came; pings come from port 0."""
    seen: list[tuple[str, int]] = []

    def came(peer: tuple[Any, ...]) -> None:
        seen.append((peer[0].removeprefix("::ffff:").partition("%")[0], peer[1]))

    async def session(sock: socket.socket) -> None:
        with sock, suppress(ConnectionError):
            for line in (b"220 mx\r\n", b"250 mx\r\n", b"221 mx\r\n"):
                await loop.sock_sendall(sock, line)
                await loop.sock_recv(sock, 100)

    def accept(stream: socket.socket) -> None:
        sock, peer = stream.accept()  # names also who has reset the connection by now
        came(peer)
        sock.setblocking(False)
        sessions.add(loop.create_task(session(sock)))

    def ask_dns(sock: socket.socket) -> None:
        data, peer = sock.recvfrom(65535)
        came(peer)
        sock.sendto(data[:2] + b"\x81\x80" + data[4:], peer)

    def echo(sock: socket.socket, request: bytes) -> None:
        data, peer = sock.recvfrom(65535)
        if request in (data[:1], data[20:21]):  # IPv4's comes with its header
            came((peer[0], 0))

    loop = asyncio.get_running_loop()
    sessions: set[asyncio.Task[None]] = set()
    with ExitStack() as stack:

        def serve(reader: Callable[..., None], *details: Any, kind: int, **bound: Any) -> Any:
            sock = stack.enter_context(node.call(opened, kind, **bound))
            loop.add_reader(sock.fileno(), reader, sock, *details)
            stack.callback(loop.remove_reader, sock.fileno())
            return sock

        serve(ask_dns, kind=socket.SOCK_DGRAM)
        serve(ask_dns, kind=socket.SOCK_DGRAM, address="::ffff:" + THIRD)
        serve(echo, b"\x08", kind=socket.SOCK_RAW, protocol=socket.IPPROTO_ICMP)
        serve(echo, b"\x80", kind=socket.SOCK_RAW, protocol=socket.IPPROTO_ICMPV6)
        stream = serve(accept, kind=socket.SOCK_STREAM)
        stream.listen()
        yield seen
        for task in sessions:
            task.cancel()
        await asyncio.gather(*sessions, return_exceptions=True)


def opened(kind: int, address: str = "::", protocol: int = 0) -> socket.socket:
    family = socket.AF_INET if protocol == socket.IPPROTO_ICMP else socket.AF_INET6
    sock = socket.socket(family, kind | socket.SOCK_NONBLOCK, protocol)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if protocol == 0:
        sock.bind((address, PORT))
    return sock


def one_attempt(
    run: Run, network: Network, kind: str, address: str, **more: Any
) -> tuple[Outcome, list[tuple[str, int]]]:
    """The outcome of a probe of r1, and who came to r2."""
    outcomes = []
    came = []

    async def scene() -> None:
        async with servers(network["r2"]) as seen:
            port = 0 if kind == "ping" else PORT
            to = connection(port, address, timeout_ns=3000 * MS, **more)
            outcomes.append(await attempt(make_probe(KINDS[kind](to), surroundings())))
            await asyncio.sleep(0.02)
            came.extend(seen)

    network["r1"].call(run, scene())
    return outcomes[0], came


@every_kind
@both_families
def test_marks(run: Run, network: Network, kind: str, family: int) -> None:
    for mark, expected in ((0, UP), (8, UP), (7, DOWN)):
        outcome, came = one_attempt(run, network, kind, SERVER[family], fwmark=mark)
        assert outcome.verdict is expected
        assert len(came) == (mark != 7)
    assert outcome.detail == "network is unreachable"


@every_kind
@both_families
def test_source_address(run: Run, network: Network, kind: str, family: int) -> None:
    source = SECOND[family]
    outcome, came = one_attempt(run, network, kind, SERVER[family], bind_address=source)
    assert outcome.verdict is UP
    assert [address for address, _ in came] == [source]


@pytest.mark.parametrize("kind", ["tcp", "smtp", "dns", "udp"])
@both_families
def test_source_port(run: Run, network: Network, kind: str, family: int) -> None:
    """Again and again: nothing is left of a connection."""
    for source in (None, None, SECOND[family], SECOND[family]):
        outcome, came = one_attempt(
            run, network, kind, SERVER[family], bind_port=BIND_PORT, bind_address=source
        )
        assert outcome.verdict is UP
        assert [port for _, port in came] == [BIND_PORT]


@pytest.mark.parametrize("kind", ["tcp", "smtp", "dns", "udp"])
def test_a_source_port_for_many(run: Run, network: Network, kind: str) -> None:
    """Checkers of several servers use it at the same time."""

    async def scene() -> None:
        async with servers(network["r2"]) as seen:
            around = surroundings()
            probes = [
                make_probe(KINDS[kind](connection(PORT, address, bind_port=BIND_PORT)), around)
                for address in (SERVER[4], THIRD, SERVER[6])
            ]
            outcomes = await asyncio.gather(*(attempt(probe) for probe in probes))
            assert [outcome.verdict for outcome in outcomes] == [UP] * 3
            await asyncio.sleep(0.02)
            assert [port for _, port in seen] == [BIND_PORT] * 3

    network["r1"].call(run, scene())


@every_kind
@both_families
def test_a_foreign_source_is_our_own_problem(
    run: Run, network: Network, kind: str, family: int
) -> None:
    foreign = {4: "192.0.2.250", 6: "2001:db8::250"}[family]
    outcome, came = one_attempt(run, network, kind, SERVER[family], bind_address=foreign)
    assert outcome[:2] == (LOCAL, "cannot assign requested address")
    assert came == []


@every_kind
def test_interface(run: Run, network: Network, kind: str) -> None:
    """Link-local addresses mean something on an interface only."""
    server = network["r2"].link_local()
    outcome, came = one_attempt(run, network, kind, server, bind_if="eth0")
    assert outcome.verdict is UP
    assert len(came) == 1
    outcome, came = one_attempt(
        run, network, kind, server, bind_if="eth0", bind_address=network["r1"].link_local()
    )
    assert outcome.verdict is UP
    assert [address for address, _ in came] == [network["r1"].link_local()]
    outcome, _ = one_attempt(run, network, kind, SERVER[4], bind_if="lo")
    assert outcome.verdict is DOWN
    outcome, _ = one_attempt(run, network, kind, SERVER[4], bind_if="none")
    assert outcome[:2] == (LOCAL, "no such device")


@pytest.mark.parametrize(
    ("kind", "verdict"),
    [("tcp", LOCAL), ("smtp", LOCAL), ("dns", LOCAL), ("udp", DOWN), ("ping", DOWN)],
)
def test_what_this_host_forbids(run: Run, network: Network, kind: str, verdict: object) -> None:
    """As keepalived has it."""
    network["r1"].run("ip", "route", "add", "prohibit", "10.9.1.0/24")
    try:
        outcome, _ = one_attempt(run, network, kind, "10.9.1.1")
    finally:
        network["r1"].run("ip", "route", "del", "prohibit", "10.9.1.0/24")
    assert outcome[:2] == (verdict, "permission denied")


# ---------------------------------------------------------------------- ICMP errors

# what it says -> type, code and the word behind them, of ICMP and of ICMPv6
SMALLER_PATH = {4: (3, 4, 1300), 6: (2, 0, 1300)}
NOT_THE_SERVER: dict[str, dict[int, tuple[int, int, int]]] = {
    "time exceeded": {4: (11, 0, 0), 6: (3, 0, 0)},
    "administratively prohibited": {4: (3, 13, 0), 6: (1, 1, 0)},
    "host unreachable": {4: (3, 1, 0), 6: (1, 3, 0)},
    "port unreachable": {4: (3, 3, 0), 6: (1, 4, 0)},
}


def icmp_error(said: tuple[int, int, int], asker: tuple[str, int], server: str) -> bytes:
    """A message about a datagram of `asker` to our PORT (RFC 792, RFC 4443); the kernel fills in
    the checksum of ICMPv6."""
    source, destination = (ipaddress.ip_address(one) for one in (asker[0], server))
    datagram = struct.pack("!4H", asker[1], PORT, 12, 0) + bytes(4)
    if source.version == 4:
        header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(datagram), 0, 0x4000, 64, 17, 0)
    else:
        header = struct.pack("!IHBB", 6 << 28, len(datagram), 17, 64)
    kind, code, word = said
    message = source.packed + destination.packed + datagram
    message = struct.pack("!BBHI", kind, code, 0, word) + header + message
    if source.version == 6:
        return message
    return message[:2] + checksum(message).to_bytes(2, "big") + message[4:]


def with_icmp(
    run: Run, network: Network, family: int, said: tuple[int, int, int], reply_after_s: float
) -> Outcome:
    """A UDP_CHECK that wants a reply; there is an ICMP error, and after that the reply."""
    server = network["r2"]
    kind = socket.AF_INET if family == 4 else socket.AF_INET6
    protocol = socket.IPPROTO_ICMP if family == 4 else socket.IPPROTO_ICMPV6
    outcomes = []

    async def scene() -> None:
        loop = asyncio.get_running_loop()
        with (
            server.call(socket.socket, kind, socket.SOCK_DGRAM) as datagrams,
            server.call(socket.socket, kind, socket.SOCK_RAW, protocol) as raw,
        ):
            datagrams.bind((SERVER[family], PORT))
            datagrams.setblocking(False)

            def readable() -> None:
                data, peer = datagrams.recvfrom(100)
                for _ in range(2):
                    raw.sendto(icmp_error(said, peer[:2], SERVER[family]), (peer[0], 0))
                loop.call_later(reply_after_s, datagrams.sendto, data, peer)

            loop.add_reader(datagrams.fileno(), readable)
            to = connection(PORT, SERVER[family], timeout_ns=3000 * MS)
            check = UdpCheck(connection=to, require_reply=True, payload=b"question")
            outcomes.append(await attempt(make_probe(check, surroundings())))
            await asyncio.sleep(reply_after_s)
            loop.remove_reader(datagrams.fileno())

    network["r1"].call(run, scene())
    return outcomes[0]


@both_families
def test_a_smaller_path_says_nothing_about_the_server(
    run: Run, network: Network, family: int
) -> None:
    outcome = with_icmp(run, network, family, SMALLER_PATH[family], 0.1)
    assert outcome[:2] == (UP, "answered")


@both_families
@pytest.mark.parametrize("said", NOT_THE_SERVER)
def test_errors_are_failures(run: Run, network: Network, said: str, family: int) -> None:
    outcome = with_icmp(run, network, family, NOT_THE_SERVER[said][family], 0.3)
    assert outcome.verdict is DOWN
    assert outcome.latency_ns < 300 * MS
