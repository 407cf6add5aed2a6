"""SMTP_CHECK against a real server, against wrong ones and against hostile ones."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.smtp import SMTP
from hypothesis import given
from hypothesis import strategies as st
from probing import (
    DOWN,
    MS,
    UP,
    Session,
    abandoned,
    attempt,
    connection,
    free_port,
    surroundings,
    tcp_server,
)

from fastvrrp.config.servers import SmtpCheck
from fastvrrp.ipvs.checks.base import Verdict, make_probe
from fastvrrp.ipvs.checks.smtp import LINE_BYTES_MAX, Dialogue, Step
from looping import Run, until

GOOD = (b"220 mx.example\r\n", b"250 hello\r\n", b"221 bye\r\n")


def talk(*lines: bytes, then: float = 0) -> Session:
    """Say the first line, each further one after a line of the client; keep open for `then` s."""

    async def session(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for number, line in enumerate(lines):
            if number:
                await reader.readline()
            writer.write(line)
            await writer.drain()
        await asyncio.sleep(then)

    return session


@pytest.mark.parametrize(
    ("lines", "verdict", "detail"),
    [
        (GOOD, UP, "answered"),
        ((b"220 a\n", b"250 b\n", b"c\n"), UP, "answered"),
        ((*GOOD[:2], b"500 what?\r\n"), UP, "answered"),
        ((b"220-mx\r\n220 mx\r\n", *GOOD[1:]), DOWN, "banner: 220-mx"),
        ((b"220\r\n", *GOOD[1:]), DOWN, "banner: 220"),
        ((b"554 go away\r\n",), DOWN, "banner: 554 go away"),
        ((GOOD[0], b"250-mx\r\n250 SIZE\r\n", GOOD[2]), DOWN, "HELO: 250-mx"),
        ((GOOD[0], b"502 no\r\n", GOOD[2]), DOWN, "HELO: 502 no"),
        ((GOOD[0], b"\r\n"), DOWN, "HELO: "),
        ((), DOWN, "banner: connection closed"),
        ((b"220 mx",), DOWN, "banner: connection closed"),
        (GOOD[:1], DOWN, "HELO: connection closed"),
        ((*GOOD[:2], b""), DOWN, "QUIT: connection closed"),
        ((b"\x1b[31mHTTP\x00\xff\r\n",), DOWN, "banner: ?[31mHTTP?ÿ"),
    ],
)
def test_dialogues(run: Run, lines: Sequence[bytes], verdict: Verdict, detail: str) -> None:
    # The server closes once it has read the line after its last one.
    async def session(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await talk(*lines)(reader, writer)
        if lines and lines[-1].endswith(b"\n"):
            await reader.readline()

    async def scene() -> None:
        async with tcp_server(session) as port:
            check = SmtpCheck(connection=connection(port))
            outcome = await attempt(make_probe(check, surroundings()))
            assert outcome.verdict is verdict
            assert detail in outcome.detail

    run(scene())


def test_a_real_server(run: Run) -> None:
    names = []

    class Handler:
        async def handle_HELO(self, server: Any, session: Any, envelope: Any, name: str) -> str:
            names.append(name)
            session.host_name = name
            return "250 mx.example"

    async def scene() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: SMTP(Handler(), loop=loop), "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        for check in (
            SmtpCheck(connection=connection(port)),
            SmtpCheck(connection=connection(port), helo_name="probe.example"),
        ):
            assert (await attempt(make_probe(check, surroundings()))).verdict is UP
        server.close()

    run(scene())
    assert names == ["smtpchecker.keepalived.org", "probe.example"]


def test_nobody_there(run: Run) -> None:
    async def scene() -> None:
        check = SmtpCheck(connection=connection(free_port()))
        outcome = await attempt(make_probe(check, surroundings()))
        assert outcome[:2] == (DOWN, "connection refused")

    run(scene())


def test_a_reset_is_a_failure(run: Run) -> None:
    async def session(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    async def scene() -> None:
        async with tcp_server(session) as port:
            probe = make_probe(SmtpCheck(connection=connection(port)), surroundings())
            outcome = await attempt(probe)
            assert outcome.verdict is DOWN
            assert "connection reset" in outcome.detail

    run(scene())


@pytest.mark.parametrize("lines", [(), GOOD[:1], GOOD[:2]])
def test_silence_lasts_one_timeout(run: Run, lines: tuple[bytes, ...]) -> None:
    async def scene() -> None:
        async with tcp_server(talk(*lines, then=9)) as port:
            to = connection(port, timeout_ns=150 * MS)
            outcome = await attempt(make_probe(SmtpCheck(connection=to), surroundings()))
            asked = ("banner", "HELO", "QUIT")[len(lines)]
            assert outcome[:2] == (DOWN, f"{asked}: no line in time")
            assert outcome.latency_ns >= 149 * MS  # uvloop counts whole milliseconds

    run(scene())


def test_a_dripping_server_does_not_get_more_time(run: Run) -> None:
    async def session(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for byte in b"220 " + b"x" * 200:
            writer.write(bytes((byte,)))
            await asyncio.sleep(0.03)

    async def scene() -> None:
        async with tcp_server(session) as port:
            to = connection(port, timeout_ns=200 * MS)
            outcome = await attempt(make_probe(SmtpCheck(connection=to), surroundings()), 3)
            assert outcome[:2] == (DOWN, "banner: no line in time")

    run(scene())


def test_an_endless_line_is_not_kept(run: Run) -> None:
    async def session(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 ")
        while True:
            writer.write(b"x" * 100_000)
            await writer.drain()

    async def scene() -> None:
        async with tcp_server(session) as port:
            probe = make_probe(SmtpCheck(connection=connection(port)), surroundings())
            outcome = await attempt(probe)
            assert outcome[:2] == (DOWN, f"banner: a line of more than {LINE_BYTES_MAX} bytes")

    run(scene())


def test_each_line_has_the_whole_timeout(run: Run) -> None:
    async def session(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for line in GOOD:
            await asyncio.sleep(0.2)
            writer.write(line)

    async def scene() -> None:
        async with tcp_server(session) as port:
            to = connection(port, timeout_ns=450 * MS)
            outcome = await attempt(make_probe(SmtpCheck(connection=to), surroundings()))
            assert outcome.verdict is UP
            assert outcome.latency_ns > 550 * MS

    run(scene())


@pytest.mark.parametrize("lines", [(), GOOD[:1], GOOD[:2]])
def test_cancelled(run: Run, lines: tuple[bytes, ...]) -> None:
    async def scene() -> None:
        async with tcp_server(talk(*lines, then=9)) as port:
            probe = make_probe(SmtpCheck(connection=connection(port)), surroundings())
            probe.start(0, lambda outcome: pytest.fail("done after cancel"))
            await until(lambda: clients(port) == 1)
            await asyncio.sleep(0.05)
            probe.cancel()
            assert clients(port) == 0
            await asyncio.sleep(0.05)

    run(scene())


def test_cancelled_while_it_connects(run: Run) -> None:
    async def scene() -> None:
        check = SmtpCheck(connection=connection(free_port()))
        await abandoned(make_probe(check, surroundings()), 0)

    run(scene())


def clients(port: int) -> int:
    """Open sockets of this machine that are connected to the port."""
    rows = [line.split() for line in Path("/proc/self/net/tcp").read_text().splitlines()[1:]]
    return sum(1 for row in rows if row[2].endswith(f":{port:04X}") and row[3] == "01")


# ---------------------------------------------------------------------- the dialogue alone


def answer(pieces: Sequence[bytes]) -> tuple[bytes, str, bool]:
    """What a dialogue sends, says and whether it was over, for what the server says."""
    dialogue = Dialogue("me")
    sent = b""
    for piece in pieces:
        step = dialogue.received(piece)
        if step.failure:
            return b"", step.failure, False
        sent += step.send
        if step.over:
            return sent, "", True
    return sent, "", False


lines = st.sampled_from([*GOOD, b"250-x\r\n", b"\n", b"\r\n", b"250 b\n"])
said = st.lists(lines | st.binary(max_size=700).map(lambda data: data + b"\n"), max_size=5)


def first_line(data: bytes) -> bytes:
    return data.partition(b"\n")[0] + b"\n"


@given(said=said.map(lambda said: [first_line(one) for one in said]), size=st.integers(1, 40))
def test_pieces_do_not_matter(said: list[bytes], size: int) -> None:
    """A line may come in pieces; the next one comes when it was asked for."""
    pieces = [line[n : n + size] for line in said for n in range(0, len(line), size)]
    assert answer(pieces) == answer(said)


@given(said=said)
def test_three_right_lines_and_nothing_else(said: list[bytes]) -> None:
    _, failure, over = answer(said)
    for number, code in enumerate((b"220 ", b"250 ", b"")):
        if number == len(said):
            assert not over
            assert not failure
            return
        line = first_line(said[number])
        if len(line) > LINE_BYTES_MAX or not line.startswith(code):
            assert not over
            assert failure
            return
    assert over


def test_what_was_said_too_early_is_no_answer() -> None:
    dialogue = Dialogue("me")
    assert dialogue.received(b"".join(GOOD)) == Step(send=b"HELO me\r\n")
    assert dialogue.asked == "HELO"
    assert dialogue.received(b"250 now\n").send == b"QUIT\r\n"
