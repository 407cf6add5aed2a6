"""HTTP_GET against servers that answer, that do not, and that mean harm."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import resource
import socket
import struct
import time
from collections.abc import Awaitable, Callable

import pytest
from probing import (
    DOWN,
    LOCAL,
    MS,
    UP,
    Session,
    abandoned,
    attempt,
    attempt_by_prober,
    connection,
    descriptors,
    free_port,
    surroundings,
    tcp_server,
)

from fastvrrp.config.base import NS_PER_S
from fastvrrp.config.servers import Connection, HttpCheck, Regex, Url
from fastvrrp.ipvs.checks import pattern
from fastvrrp.ipvs.checks.base import Outcome, make_probe
from fastvrrp.ipvs.checks.request import EXCHANGE_WAITS, make_request
from looping import Run

PAGE = b"HTTP/1.0 200 OK\r\n\r\nhello"
HEADER_END = b"\r\n\r\n"
PATIENCE_S = 90  # gigabytes take their time beside other tests


def answer(*pieces: bytes, pause_s: float = 0, then_s: float = 0) -> Session:
    """Read the request, send the pieces, wait and close."""

    async def session(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(HEADER_END)
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(pause_s)
        await asyncio.sleep(then_s)

    return session


def http(where: Connection, *urls: Url, **more: object) -> HttpCheck:
    return HttpCheck(connection=where, urls=urls or (Url(path="/"),), **more)  # type: ignore[arg-type]


Once = Callable[[HttpCheck], Awaitable[Outcome]]


async def by_loop(check: HttpCheck) -> Outcome:
    return await attempt(make_probe(check, surroundings()), PATIENCE_S)


async def by_prober(check: HttpCheck) -> Outcome:
    return await attempt_by_prober(check, PATIENCE_S)


@pytest.fixture(params=[by_loop, by_prober])
def once(request: pytest.FixtureRequest) -> Once:
    """One attempt, by the event loop and by the prober: they say the same."""
    found: Once = request.param
    return found


async def ask(once: Once, session: Session, url: Url | None = None, **more: object) -> Outcome:
    """One attempt at a server that does this."""
    async with tcp_server(session) as port:
        return await once(http(connection(port, **more), url or Url(path="/")))  # type: ignore[arg-type]


# ---------------------------------------------------------------------- the request


@pytest.mark.parametrize(
    ("protocol", "virtualhost", "request_text"),
    [
        (
            "1.0",
            None,
            "GET /x HTTP/1.0\r\nUser-Agent: KeepAliveClient\r\nHost: 10.0.0.1:80\r\n\r\n",
        ),
        (
            "1.0C",
            "a.example",
            "GET /x HTTP/1.0\r\nUser-Agent: KeepAliveClient\r\nConnection: close\r\n"
            "Host: a.example\r\n\r\n",
        ),
        (
            "1.1",
            "a.example:81",
            "GET /x HTTP/1.1\r\nUser-Agent: KeepAliveClient\r\nConnection: close\r\n"
            "Host: a.example:81\r\n\r\n",
        ),
    ],
)
def test_requests_are_keepaliveds(
    protocol: str, virtualhost: str | None, request_text: str
) -> None:
    """Word for word what a server got from keepalived 2.2.7."""
    where = Connection(address="10.0.0.1", port=80)
    made = make_request("/x", where, virtualhost=virtualhost, http_protocol=protocol)
    assert made == request_text.encode()


def test_an_ipv6_host_is_in_brackets() -> None:
    where = Connection(address="fd00::1", port=8080)
    made = make_request("/", where, virtualhost=None, http_protocol="1.0")
    assert b"\r\nHost: [fd00::1]:8080\r\n" in made


def test_each_step_asks_for_its_url(run: Run) -> None:
    async def scene() -> None:
        seen = []

        async def session(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            seen.append(await reader.readuntil(HEADER_END))
            writer.write(PAGE)

        async with tcp_server(session) as port:
            check = http(
                connection(port), Url(path="/a"), Url(path="/b", virtualhost="x"), tls=False
            )
            probe = make_probe(check, surroundings())
            assert probe.steps == 2
            for step in (1, 0, 1):
                over = asyncio.get_running_loop().create_future()
                probe.start(step, over.set_result)
                assert (await over).verdict is UP
        assert [request.split()[1] for request in seen] == [b"/b", b"/a", b"/b"]
        assert b"Host: x\r\n" in seen[0]

    run(scene())


# ---------------------------------------------------------------------- answers


@pytest.mark.parametrize(
    ("session", "verdict", "detail"),
    [
        (answer(PAGE), UP, "status 200"),
        (answer(*(bytes([byte]) for byte in PAGE)), UP, "status 200"),
        (answer(PAGE, pause_s=0.3), UP, "status 200"),
        (answer(b"HTTP/1.0 503 no\r\n\r\n"), DOWN, "status 503"),
        (answer(b""), DOWN, "no answer"),
        (answer(b"hello"), DOWN, "no complete header"),
        (answer(bytes(range(256)) * 40), DOWN, "no complete header"),
        (answer(b"HTTP/1.0 200 OK\r\nX: " + b"y" * 70_000), DOWN, "header longer than 64 KiB"),
    ],
)
def test_answers(run: Run, once: Once, session: Session, verdict: object, detail: str) -> None:
    async def scene() -> None:
        outcome = await ask(once, session)
        assert (outcome.verdict, outcome.detail) == (verdict, detail)

    run(scene())


def test_digest_and_regex_of_a_page_in_pieces(run: Run) -> None:
    page = b"x" * 300_000 + b"needle" + b"y" * 300_000
    url = Url(path="/", digest=hashlib.md5(page).digest(), regex=Regex(pattern="x{9}needley{9}"))
    pieces = [page[at : at + 70_001] for at in range(0, len(page), 70_001)]

    async def scene() -> None:
        outcome = await ask(by_loop, answer(b"HTTP/1.0 200 OK\r\n\r\n", *pieces), url)
        assert (outcome.verdict, outcome.detail) == (UP, "status 200")

    run(scene())


@pytest.mark.parametrize("length", [b"", b"Content-Length: 600000\r\n", b"Content-Length: 7\r\n"])
def test_a_digest_of_a_page_in_pieces(run: Run, once: Once, length: bytes) -> None:
    page = b"x" * 300_000 + b"y" * 300_000
    pieces = [page[at : at + 70_001] for at in range(0, len(page), 70_001)]
    right = hashlib.md5(b"xxxxxxx" if b" 7" in length else page).digest()

    async def scene() -> None:
        session = answer(b"HTTP/1.0 200 OK\r\n" + length + b"\r\n", *pieces)
        outcome = await ask(once, session, Url(path="/", digest=right))
        assert (outcome.verdict, outcome.detail) == (UP, "status 200")
        outcome = await ask(once, session, Url(path="/", digest=bytes(16)))
        assert (outcome.verdict, outcome.detail) == (DOWN, f"digest {right.hex()}")

    run(scene())


def test_ranges_of_statuses(run: Run, once: Once) -> None:
    async def scene() -> None:
        for status, verdict in ((404, UP), (399, DOWN), (499, UP), (500, DOWN), (204, UP)):
            session = answer(b"HTTP/1.1 %d\r\n\r\n" % status)
            url = Url(path="/", status_codes=((204, 204), (400, 499)))
            outcome = await ask(once, session, url)
            assert (outcome.verdict, outcome.detail) == (verdict, f"status {status}")

    run(scene())


HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n"
FINAL = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"


@pytest.mark.parametrize("interim", [b"HTTP/1.1 100 Continue\r\n\r\n", HINTS, HINTS + HINTS])
def test_the_answer_behind_an_interim_one_counts(run: Run, once: Once, interim: bytes) -> None:
    """keepalived 2.2.7 takes such a server for failed: 103 is no status that it wants."""
    hello = Url(path="/", digest=hashlib.md5(b"hello").digest())

    async def scene() -> None:
        for pieces in ((interim + FINAL,), (interim, FINAL), (interim[:-1], interim[-1:] + FINAL)):
            outcome = await ask(once, answer(*pieces, pause_s=0.02), hello)
            assert (outcome.verdict, outcome.detail) == (UP, "status 200")
        outcome = await ask(once, answer(interim, b"HTTP/1.1 503 no\r\n\r\n"), hello)
        assert (outcome.verdict, outcome.detail) == (DOWN, "status 503")
        outcome = await ask(once, answer(interim))
        assert (outcome.verdict, outcome.detail) == (DOWN, "no complete header")

    run(scene())


def test_an_interim_status_that_is_wanted_counts_as_with_keepalived(run: Run, once: Once) -> None:
    url = Url(path="/", status_codes=((103, 103),), digest=hashlib.md5(FINAL).digest())

    async def scene() -> None:
        outcome = await ask(once, answer(HINTS + FINAL), url)
        assert (outcome.verdict, outcome.detail) == (UP, "status 103")

    run(scene())


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_a_status_and_not_followed(run: Run, once: Once, status: int) -> None:
    async def scene() -> None:
        asked = []

        async def session(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            asked.append((await reader.readuntil(HEADER_END)).split()[1])
            writer.write(b"HTTP/1.1 %d x\r\nLocation: /there\r\n\r\n" % status)

        outcome = await ask(once, session)
        assert (outcome.verdict, outcome.detail) == (DOWN, f"status {status}")
        wanted = Url(path="/", status_codes=((status, status),))
        outcome = await ask(once, session, wanted)
        assert (outcome.verdict, outcome.detail) == (UP, f"status {status}")
        assert asked == [b"/", b"/"]

    run(scene())


ZIPPED = gzip.compress(b"hello", mtime=0)
CHUNKED = b"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"


@pytest.mark.parametrize(
    ("fields", "body"),
    [
        (b"Content-Encoding: gzip\r\n", ZIPPED),
        (b"Content-Encoding: gzip\r\nContent-Length: %d\r\n" % len(ZIPPED), ZIPPED),
        (b"Transfer-Encoding: chunked\r\n", CHUNKED),
    ],
)
def test_a_digest_is_of_the_bytes_as_they_are_sent(
    run: Run, once: Once, fields: bytes, body: bytes
) -> None:
    """Measured with keepalived 2.2.7: nothing is unpacked, chunks keep their lengths."""
    sent, meant = (hashlib.md5(text).digest() for text in (body, b"hello"))

    async def scene() -> None:
        session = answer(b"HTTP/1.1 200 OK\r\n" + fields + b"\r\n", body)
        outcome = await ask(once, session, Url(path="/", digest=sent))
        assert (outcome.verdict, outcome.detail) == (UP, "status 200")
        outcome = await ask(once, session, Url(path="/", digest=meant))
        assert (outcome.verdict, outcome.detail) == (DOWN, f"digest {sent.hex()}")

    run(scene())


def test_a_server_that_does_not_wait_for_the_request(run: Run, once: Once) -> None:
    async def session(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(PAGE)
        await reader.readuntil(HEADER_END)

    async def scene() -> None:
        outcome = await ask(once, session)
        assert (outcome.verdict, outcome.detail) == (UP, "status 200")

    run(scene())


def test_a_closed_port(run: Run, once: Once) -> None:
    async def scene() -> None:
        outcome = await once(http(connection(free_port())))
        assert (outcome.verdict, outcome.detail) == (DOWN, "connection refused")

    run(scene())


def test_ipv6(run: Run, once: Once) -> None:
    async def scene() -> None:
        sock = socket.create_server(("::1", 0), family=socket.AF_INET6)
        async with tcp_server(answer(PAGE), sock) as port:
            assert (await once(http(connection(port, "::1")))).verdict is UP

    run(scene())


def test_what_this_host_cannot_do_says_nothing_of_the_server(run: Run, once: Once) -> None:
    async def scene() -> None:
        for more in ({"bind_address": "198.51.100.1"}, {"bind_if": "nosuch0"}):
            outcome = await ask(once, answer(PAGE), **more)
            assert outcome.verdict is LOCAL

    run(scene())


def test_no_library_for_patterns_says_nothing_of_the_server(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing() -> None:
        raise pattern.NoLibraryError("regex needs libpcre2-8: it is not there")

    monkeypatch.setattr(pattern, "_load", missing)

    async def scene() -> None:
        url = Url(path="/", regex=Regex(pattern="a"))
        outcome = await ask(by_loop, answer(PAGE), url)
        assert outcome.verdict is LOCAL
        assert "libpcre2-8" in outcome.detail

    run(scene())


def test_the_source_of_an_attempt(run: Run, once: Once) -> None:
    async def scene() -> None:
        peers = []

        async def session(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            peers.append(writer.get_extra_info("peername"))
            await answer(PAGE)(reader, writer)

        port = free_port()
        async with tcp_server(session) as server_port:
            where = connection(server_port, bind_address="127.0.0.9", bind_port=port, bind_if="lo")
            for _ in range(3):
                assert (await once(http(where))).verdict is UP
        assert peers == [("127.0.0.9", port)] * 3

    run(scene())


# ---------------------------------------------------------------------- hostile servers


def resets(*, after: bytes) -> Session:
    async def session(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(HEADER_END)
        writer.write(after)
        await writer.drain()
        await asyncio.sleep(0.1)
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    return session


@pytest.mark.parametrize("after", [b"", PAGE])
def test_a_reset_is_a_failure_also_behind_the_page(run: Run, once: Once, after: bytes) -> None:
    """As keepalived has it: the answer ends with the end of the connection."""

    async def scene() -> None:
        outcome = await ask(once, resets(after=after))
        assert (outcome.verdict, outcome.detail) == (DOWN, "answer: connection reset by peer")

    run(scene())


@pytest.mark.parametrize("sent", [b"", PAGE[:7], PAGE])
def test_a_server_that_never_closes(run: Run, once: Once, sent: bytes) -> None:
    async def scene() -> None:
        began = time.monotonic()
        outcome = await ask(once, answer(sent, then_s=10), timeout_ns=300 * MS)
        assert (outcome.verdict, outcome.detail) == (DOWN, "answer timed out")
        assert 0.3 <= time.monotonic() - began < 5

    run(scene())


def test_a_server_that_does_not_answer_the_connect(run: Run, once: Once) -> None:
    async def scene() -> None:
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            sock.listen(0)
            fillers = [socket.socket() for _ in range(4)]
            for filler in fillers:
                filler.setblocking(False)
                filler.connect_ex(sock.getsockname())
            where = connection(sock.getsockname()[1], timeout_ns=300 * MS)
            outcome = await once(http(where))
            assert (outcome.verdict, outcome.detail) == (DOWN, "connection timed out")
            for filler in fillers:
                filler.close()

    run(scene())


def test_dripping_bytes_have_an_end(run: Run, once: Once) -> None:
    """Each wait is short enough, the whole is not."""

    async def session(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.05)

    async def scene() -> None:
        began = time.monotonic()
        outcome = await ask(once, session, timeout_ns=200 * MS)
        took_s = time.monotonic() - began
        assert (outcome.verdict, outcome.detail) == (DOWN, "answer not complete after 2.4 s")
        assert EXCHANGE_WAITS * 0.2 <= took_s < 6

    run(scene())


@pytest.mark.parametrize(
    ("by", "url"),
    [
        (by_loop, Url(path="/")),
        (by_prober, Url(path="/")),
        (by_prober, Url(path="/", digest=bytes(16))),
        (by_loop, Url(path="/", digest=bytes(16), regex=Regex(pattern="needle"))),
        (by_loop, Url(path="/", regex=Regex(pattern="(?s)x.*needle"))),
    ],
)
def test_gigabytes_have_an_end_and_take_no_memory(run: Run, by: Once, url: Url) -> None:
    async def session(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.0 200 OK\r\n\r\n")
        piece = b"x" * 1_000_000
        while True:
            writer.write(piece)
            await writer.drain()

    async def scene() -> None:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        outcome = await ask(by, session, url, timeout_ns=5 * NS_PER_S)
        assert (outcome.verdict, outcome.detail) == (DOWN, "answer longer than 64 MiB")
        # the writer's buffers are in it
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 24 * 1024

    run(scene())


def test_a_server_that_reads_nothing(run: Run, once: Once) -> None:
    """A request that does not fit the socket buffers: sending has an end, too."""

    async def session(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        await asyncio.sleep(10)

    async def scene() -> None:
        url = Url(path="/" + "x" * 20_000_000)
        outcome = await ask(once, session, url, timeout_ns=500 * MS)
        assert (outcome.verdict, outcome.detail) == (DOWN, "sending timed out")

    run(scene())


def test_a_long_request_arrives_whole(run: Run, once: Once) -> None:
    async def scene() -> None:
        path = "/" + "x" * 8_000_000
        got = []

        async def session(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            data = bytearray()
            while not data.endswith(HEADER_END):
                data += await reader.read(1 << 20)
            got.append(len(data))
            writer.write(PAGE)

        outcome = await ask(once, session, Url(path=path), timeout_ns=5 * NS_PER_S)
        assert outcome.verdict is UP
        assert got[0] > len(path)

    run(scene())


@pytest.mark.parametrize("after_s", [0, 0.2])
def test_cancelled(run: Run, after_s: float) -> None:
    async def scene() -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:  # accepts nothing, answers nothing
            where = connection(server.getsockname()[1])
            await abandoned(make_probe(http(where), surroundings()), after_s)

    run(scene())


def test_cancelled_with_a_local_problem(run: Run) -> None:
    async def scene() -> None:
        url = Url(path="/", regex=Regex(pattern="("))
        await abandoned(make_probe(http(connection(1), url), surroundings()), 0)

    run(scene())


def test_many_at_once_leave_nothing_open(run: Run) -> None:
    async def scene() -> None:
        loop = asyncio.get_running_loop()
        async with tcp_server(answer(PAGE, pause_s=0.01)) as port:
            patient = http(connection(port, timeout_ns=10 * NS_PER_S))
            probes = [make_probe(patient, surroundings()) for _ in range(80)]
            futures = [loop.create_future() for _ in probes]
            for probe, future in zip(probes, futures, strict=True):
                probe.start(0, future.set_result)
            outcomes = await asyncio.gather(*futures)
            assert {outcome.verdict for outcome in outcomes} == {UP}
            await asyncio.sleep(0.1)
            assert len(descriptors()) < 20

    run(scene())
