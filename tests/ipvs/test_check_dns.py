"""DNS_CHECK against a real server, against wrong ones and against hostile ones."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from probing import (
    DOWN,
    MS,
    UP,
    abandoned,
    attempt,
    connection,
    free_port,
    surroundings,
    udp_server,
)
from scapy.layers.dns import DNS, DNSQR

from fastvrrp.config.servers import DnsCheck
from fastvrrp.ipvs.checks.base import Surroundings, Verdict, make_probe
from fastvrrp.ipvs.checks.datagram import UNRELATED_MAX
from fastvrrp.ipvs.checks.dns import HEADER, QUERY_TYPES, DnsProbe, encode_name, judge
from fastvrrp.lab.namespace import Namespace
from fastvrrp.lab.network import wait_for
from looping import Run

RESPONSE = 0x8180  # QR, RD, RA


def reply(query: bytes, flags: int = RESPONSE, *, flip: int = 0) -> bytes:
    ident = int.from_bytes(query[:2], "big") ^ flip
    return struct.pack("!HH", ident, flags) + query[4:]


@pytest.mark.parametrize(
    ("answers", "verdict", "detail"),
    [
        (lambda q: [reply(q)], UP, "answered"),
        (lambda q: [reply(q, RESPONSE | 0x0200)], UP, "answered"),  # truncated
        (lambda q: [reply(q)[: HEADER.size]], UP, "answered"),
        (lambda q: [reply(q) + bytes(60_000)], UP, "answered"),
        (lambda q: [reply(q, RESPONSE | 2)], DOWN, "rcode 2 (SERVFAIL)"),
        (lambda q: [reply(q, RESPONSE | 3)], DOWN, "rcode 3 (NXDOMAIN)"),
        (lambda q: [reply(q, RESPONSE | 11)], DOWN, "rcode 11"),
        (lambda q: [reply(q, flip=1), q, reply(q)], UP, "answered"),
        (lambda q: [reply(q, RESPONSE | 3, flip=0x100), reply(q)], UP, "answered"),
        (lambda q: [reply(q, flip=1)], DOWN, "no answer in time"),
        (lambda q: [q], DOWN, "no answer in time"),  # an echo
        (lambda q: [], DOWN, "no answer in time"),
        (lambda q: [reply(q)[:11]], DOWN, "no answer in time"),
        (lambda q: [b"", reply(q)[:5], reply(q)], UP, "answered"),
    ],
)
def test_answers(
    run: Run, answers: Callable[[bytes], Sequence[bytes]], verdict: Verdict, detail: str
) -> None:
    async def scene() -> None:
        async with udp_server(answers) as port:
            check = DnsCheck(connection=connection(port, timeout_ns=200 * MS))
            assert (await attempt(make_probe(check, surroundings())))[:2] == (verdict, detail)

    run(scene())


def test_nobody_there(run: Run) -> None:
    async def scene() -> None:
        check = DnsCheck(connection=connection(free_port(socket.SOCK_DGRAM)))
        outcome = await attempt(make_probe(check, surroundings()))
        assert outcome[:2] == (DOWN, "connection refused")

    run(scene())


def test_a_flood_of_unrelated_datagrams_ends_the_attempt(run: Run) -> None:
    async def flood(sock: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        query, peer = await loop.run_in_executor(None, sock.recvfrom, 512)
        for number in range(UNRELATED_MAX + 100):
            sock.sendto(reply(query, flip=1), peer)
            if number % 100 == 0:
                await asyncio.sleep(0.005)  # what does not fit into the socket would be lost

    async def scene() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind(("127.0.0.1", 0))
            flooding = asyncio.ensure_future(flood(sock))
            check = DnsCheck(connection=connection(sock.getsockname()[1], timeout_ns=9000 * MS))
            outcome = await attempt(make_probe(check, surroundings()))
            assert outcome[:2] == (DOWN, "too many unrelated datagrams")
            await flooding

    run(scene())


def test_cancelled(run: Run) -> None:
    async def scene() -> None:
        async with udp_server(lambda query: []) as port:
            probe = make_probe(DnsCheck(connection=connection(port)), surroundings())
            await abandoned(probe, 0)
            await abandoned(probe, 0.05)
        refused = connection(free_port(socket.SOCK_DGRAM))
        await abandoned(make_probe(DnsCheck(connection=refused), surroundings()), 0)

    run(scene())


# ---------------------------------------------------------------------- a real server


@pytest.fixture(scope="module")
def resolver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Namespace]:
    """dnsmasq on port 5300: knows good.example, denies bad.example, refuses everything else."""
    log = tmp_path_factory.mktemp("dnsmasq") / "log"
    arguments = "--port=5300 --no-resolv --no-hosts --user=root --pid-file= --log-facility=-"
    known = [
        f"--address=/{name}"
        for name in ("good.example/192.0.2.1", "good.example/2001:db8::1", "bad.example/")
    ]
    with Namespace("dns") as space, log.open("wb") as output:
        space.start(["dnsmasq", "-k", *arguments.split(), *known], output=output)

        def listens() -> bool:
            return ":14B4 " in space.call(Path("/proc/thread-self/net/udp").read_text)

        wait_for(listens, 10, "dnsmasq")
        yield space


@pytest.mark.netns
@pytest.mark.parametrize(
    ("kind", "name", "verdict", "detail"),
    [
        ("A", "good.example", UP, "answered"),
        ("AAAA", "GOOD.example.", UP, "answered"),
        ("A", "www.bad.example", DOWN, "rcode 3 (NXDOMAIN)"),
        ("SOA", ".", DOWN, "rcode 5 (REFUSED)"),
    ],
)
@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_a_real_server(
    run: Run,
    resolver: Namespace,
    kind: str,
    name: str,
    verdict: Verdict,
    detail: str,
    address: str,
) -> None:
    async def scene() -> None:
        check = DnsCheck(connection=connection(5300, address), query_type=kind, name=name)
        assert (await attempt(make_probe(check, surroundings())))[:2] == (verdict, detail)

    resolver.call(run, scene())


# ---------------------------------------------------------------------- the messages alone


@given(data=st.binary(max_size=600), ident=st.integers(0, 0xFFFF))
def test_only_an_answer_with_the_id_and_without_error_is_taken(data: bytes, ident: int) -> None:
    answer = judge(data, ident)
    if len(data) < HEADER.size or data[:2] != ident.to_bytes(2, "big") or data[2] < 0x80:
        assert answer is None
    else:
        assert answer is not None
        assert (answer[0] is UP) == (data[3] & 15 == 0)


labels = st.text(alphabet="abcXYZ019-_", min_size=1, max_size=63)


@given(name=st.lists(labels, max_size=4).map(".".join), kind=st.sampled_from(sorted(QUERY_TYPES)))
def test_a_query_is_what_scapy_reads(name: str, kind: str) -> None:
    loop = asyncio.new_event_loop()
    try:
        check = DnsCheck(connection=connection(53), query_type=kind, name=name or ".")
        probe = DnsProbe(check, Surroundings(loop=loop))
        message = DNS(probe.question())
    finally:
        loop.close()
    assert bytes(message) == bytes(
        DNS(id=message.id, rd=1, qd=DNSQR(qname=name or ".", qtype=kind, qclass="IN"))
    )
    assert message.qdcount == 1
    assert (message.qr, message.opcode, message.ancount) == (0, 0, 0)
    question = message.qd[0] if isinstance(message.qd, list) else message.qd
    assert question.qname.decode() == name + "."


@pytest.mark.parametrize("name", ["a..b", ".a", "a" * 64, ".".join(["a" * 63] * 4), ".."])
def test_what_is_no_name(name: str) -> None:
    with pytest.raises(ValueError, match="bytes"):
        encode_name(name)


def test_the_longest_names() -> None:
    assert len(encode_name(".".join(["a" * 63] * 3 + ["a" * 61]))) == 255
    assert encode_name(".") == b"\0"
    assert encode_name("a.B.") == b"\1a\1B\0"
