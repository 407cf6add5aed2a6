"""UDP_CHECK: replies, silence, ICMP errors; marks, source addresses and interfaces of probes."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

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

from fastvrrp.config.servers import UdpCheck
from fastvrrp.ipvs.checks.base import Outcome, Verdict, make_probe
from fastvrrp.ipvs.checks.udp import DEFAULT_PAYLOAD, judge
from fastvrrp.lab.namespace import Namespace
from fastvrrp.lab.network import wait_for
from looping import Run

FOUR = b"\1\2\3\4"
MATCHED = {"require_reply": True, "reply": FOUR}


def udp(port: int, address: str = "127.0.0.1", **more: Any) -> UdpCheck:
    options = {name: more.pop(name) for name in list(more) if name in UdpCheck.__struct_fields__}
    more.setdefault("timeout_ns", 200 * MS)
    return UdpCheck(connection=connection(port, address, **more), **options)


async def check(port: int, address: str = "127.0.0.1", **more: Any) -> Outcome:
    return await attempt(make_probe(udp(port, address, **more), surroundings()))


@pytest.mark.parametrize(
    ("answers", "options", "verdict", "detail"),
    [
        (lambda d: [d], {}, UP, "answered"),
        (lambda d: [], {}, UP, "nothing says that it is unreachable"),
        (lambda d: [], {"require_reply": True}, DOWN, "no answer in time"),
        (lambda d: [], MATCHED, DOWN, "no answer in time"),
        (lambda d: [b""], {"require_reply": True}, UP, "answered"),
        (lambda d: [b"x" * 60_000], {"require_reply": True}, UP, "answered"),
        (lambda d: [FOUR], MATCHED, UP, "the expected reply"),
        (lambda d: [b"\1\2\3\5"], MATCHED, DOWN, "another reply than the expected one"),
        (lambda d: [b"\1\2\3\5", FOUR], MATCHED, DOWN, "another reply than the expected one"),
        (lambda d: [b"\1\2\3\5"], {**MATCHED, "reply_mask": b"\xff\xff\xff\xf0"}, UP, "the exp"),
        (lambda d: [b"\1\2"], MATCHED, UP, "the expected reply"),
        (lambda d: [FOUR + b"more"], MATCHED, UP, "the expected reply"),
        (lambda d: [b"\1\2"], {**MATCHED, "min_reply_length": 3}, DOWN, "a reply of 2 bytes"),
        (lambda d: [FOUR * 2], {**MATCHED, "max_reply_length": 7}, DOWN, "a reply of 8 bytes"),
        (lambda d: [FOUR * 64], {**MATCHED, "max_reply_length": 255}, DOWN, "a reply of 256"),
    ],
)
def test_answers(
    run: Run,
    answers: Callable[[bytes], Sequence[bytes]],
    options: dict[str, Any],
    verdict: Verdict,
    detail: str,
) -> None:
    async def scene() -> None:
        async with udp_server(answers) as port:
            outcome = await check(port, **options)
            assert outcome.verdict is verdict
            assert outcome.detail.startswith(detail)

    run(scene())


def test_the_payload(run: Run) -> None:
    got = []

    def answers(data: bytes) -> Sequence[bytes]:
        got.append(data)
        return [data]

    async def scene() -> None:
        async with udp_server(answers) as port:
            for payload in (None, b"", b"\0\1\xff", b"x" * 2000):
                assert (await check(port, payload=payload)).verdict is UP

    run(scene())
    assert got == [DEFAULT_PAYLOAD, b"", b"\0\1\xff", b"x" * 2000]


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
@pytest.mark.parametrize("options", [{}, {"require_reply": True}])
def test_port_unreachable(run: Run, options: dict[str, Any], address: str) -> None:
    async def scene() -> None:
        port = free_port(socket.SOCK_DGRAM)
        outcome = await check(port, address, timeout_ns=2000 * MS, **options)
        assert outcome[:2] == (DOWN, "connection refused")

    run(scene())


def test_cancelled(run: Run) -> None:
    async def scene() -> None:
        async with udp_server(lambda data: []) as port:
            probe = make_probe(udp(port), surroundings())
            await abandoned(probe, 0)
            await abandoned(probe, 0.05)
            assert (await attempt(probe)).verdict is UP

    run(scene())


def test_no_descriptors_left(run: Run) -> None:
    async def scene() -> None:
        async with udp_server(lambda data: []) as port:
            probe = make_probe(udp(port, timeout_ns=50 * MS), surroundings())
            await abandoned(probe, 0)
            for bound in ("127.0.0.1", "192.0.2.7"):
                local = make_probe(udp(port, bind_address=bound), surroundings())
                await attempt(local)
                await abandoned(local, 0)

    run(scene())


# ---------------------------------------------------------------------- a network of its own


@pytest.fixture(scope="module")
def space() -> Iterator[Namespace]:
    """10.9.0.1/24 and fd00:9::1/64 on veth0, nobody on the other side; routes that lead nowhere."""
    with Namespace("udp") as made:
        made.link("add", ifname="veth0", kind="veth", peer={"ifname": "veth1"})
        for name in ("veth0", "veth1"):
            made.link("set", index=made.index(name), state="up")
        made.addr("add", index=made.index("veth0"), address="10.9.0.1", prefixlen=24)
        made.addr("add", index=made.index("veth0"), address="fd00:9::1", prefixlen=64)
        for route in ("prohibit 10.9.1.0/24", "unreachable 10.9.2.0/24", "blackhole 10.9.3.0/24"):
            made.run("ip", "route", "add", *route.split())
        made.sysctl("net/ipv4/neigh/veth0/retrans_time_ms", 50)
        made.sysctl("net/ipv6/neigh/veth0/retrans_time_ms", 50)
        yield made


@pytest.mark.netns
@pytest.mark.parametrize(
    ("address", "detail"),
    [
        ("10.9.0.77", "no route to host"),  # nobody answers ARP
        ("fd00:9::77", "no route to host"),
        ("10.9.2.1", "no route to host"),
        ("192.0.2.1", "network is unreachable"),
    ],
)
def test_unreachable(run: Run, space: Namespace, address: str, detail: str) -> None:
    async def scene() -> None:
        outcome = await check(7, address, timeout_ns=4000 * MS)
        assert outcome[:2] == (DOWN, detail)

    space.call(run, scene())


@pytest.mark.netns
def test_a_real_server(run: Run, space: Namespace) -> None:
    """socat echoes."""
    space.start(["socat", "UDP4-RECVFROM:7,fork", "PIPE"])

    async def scene() -> None:
        outcome = await check(
            7, timeout_ns=3000 * MS, payload=b"echo?", require_reply=True, reply=b"echo!"
        )
        assert outcome[:2] == (DOWN, "another reply than the expected one")
        outcome = await check(
            7, timeout_ns=3000 * MS, payload=b"echo!", require_reply=True, reply=b"echo!"
        )
        assert outcome[:2] == (UP, "the expected reply")

    wait_for(
        lambda: ":0007 " in space.call(Path("/proc/thread-self/net/udp").read_text), 10, "socat"
    )
    space.call(run, scene())


# ---------------------------------------------------------------------- the judgement alone


@given(
    data=st.binary(max_size=40),
    reply=st.binary(min_size=1, max_size=20),
    mask=st.none() | st.binary(min_size=20, max_size=20),
    limits=st.tuples(st.integers(0, 20), st.integers(0, 50)),
)
def test_bit_by_bit(data: bytes, reply: bytes, mask: bytes | None, limits: tuple[int, int]) -> None:
    wanted = UdpCheck(
        connection=connection(1),
        require_reply=True,
        reply=reply,
        reply_mask=None if mask is None else mask[: len(reply)],
        min_reply_length=limits[0],
        max_reply_length=limits[1],
    )
    same = all(
        (got ^ expected) & (0xFF if mask is None else mask[n]) == 0
        for n, (got, expected) in enumerate(zip(data, reply, strict=False))
    )
    expected = same and limits[0] <= len(data) <= limits[1]
    assert (judge(data, wanted)[0] is UP) == expected
