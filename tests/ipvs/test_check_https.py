"""SSL_GET: handshakes, SNI, the SSL block, and servers that fail at TLS."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import pytest
from probing import (
    DOWN,
    LOCAL,
    MS,
    UP,
    Session,
    abandoned,
    attempt,
    connection,
    surroundings,
    tcp_server,
)

from fastvrrp.config.servers import HttpCheck, TlsContext, Url
from fastvrrp.ipvs.checks import exchange
from fastvrrp.ipvs.checks.base import Outcome, Surroundings, make_probe
from fastvrrp.ipvs.checks.dial import Dial
from looping import Run

PAGE = b"HTTP/1.0 200 OK\r\n\r\nhello"


class Files(NamedTuple):
    certificate: str
    key: str
    locked_key: str  # its password is "secret"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    place = tmp_path_factory.mktemp("tls")
    made = Files(*(str(place / name) for name in ("cert.pem", "key.pem", "locked.pem")))
    command = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes"
        f" -keyout {made.key} -out {made.certificate} -days 2 -subj /CN=some.other.name"
    )
    subprocess.run(command.split(), check=True, capture_output=True)
    command = f"openssl ec -in {made.key} -aes128 -passout pass:secret -out {made.locked_key}"
    subprocess.run(command.split(), check=True, capture_output=True)
    return made


class Seen(NamedTuple):
    version: str | None
    server_name: str | None
    client_certificate: bool


class Server:
    """A TLS server: a page, then `farewell` or none. Notes what clients do."""

    def __init__(self, files: Files) -> None:
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(files.certificate, files.key)
        self.context.sni_callback = self._named
        self.names: list[str | None] = []
        self.seen: list[Seen] = []
        self.farewells: list[bool] = []  # whether the client said goodbye

    def _named(self, _socket: object, name: str | None, _context: object) -> None:
        self.names.append(name)

    @asynccontextmanager
    async def running(self, *, holds_s: float = 0) -> AsyncIterator[int]:
        async def session(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            over = writer.get_extra_info("ssl_object")
            self.seen.append(
                Seen(over.version(), self.names[-1], over.getpeercert(True) is not None)
            )
            await reader.readuntil(b"\r\n\r\n")
            writer.write(PAGE)
            await writer.drain()
            await asyncio.sleep(holds_s)
            writer.close()

        server = await asyncio.start_server(session, "127.0.0.1", 0, ssl=self.context)
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            server.close()


def check(port: int, url: Url | None = None, **more: object) -> HttpCheck:
    timeout_ns = more.pop("timeout_ns", 2000 * MS)
    return HttpCheck(
        connection=connection(port, timeout_ns=timeout_ns),
        urls=(url or Url(path="/"),),
        tls=True,
        **more,  # type: ignore[arg-type]
    )


async def ask(one: HttpCheck, tls: TlsContext | None = None) -> Outcome:
    around = surroundings() if tls is None else surroundings(tls=tls)
    return await attempt(make_probe(one, around), 20)


def test_any_certificate_will_do(run: Run, files: Files) -> None:
    async def scene() -> None:
        server = Server(files)
        async with server.running() as port:
            outcome = await ask(check(port))
        assert (outcome.verdict, outcome.detail) == (UP, "status 200")
        assert server.seen == [Seen("TLSv1.3", None, False)]

    run(scene())


def test_an_expired_certificate_will_do(run: Run, files: Files, tmp_path: Path) -> None:
    """Nothing of it is verified, as in keepalived: who checks is not who visits."""
    request, expired = tmp_path / "request.pem", tmp_path / "expired.pem"
    for command in (
        f"openssl req -new -key {files.key} -subj /CN=some.other.name -out {request}",
        f"openssl x509 -req -in {request} -key {files.key} -days -1 -out {expired}",
    ):
        subprocess.run(command.split(), check=True, capture_output=True)
    seen = ssl.create_default_context(cafile=str(expired))
    seen.check_hostname = False

    async def scene() -> None:
        server = Server(files._replace(certificate=str(expired)))
        async with server.running() as port:
            with pytest.raises(ssl.SSLCertVerificationError, match="expired"):
                await asyncio.open_connection("127.0.0.1", port, ssl=seen)
            outcome = await ask(check(port))
        assert (outcome.verdict, outcome.detail) == (UP, "status 200")

    run(scene())


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_server_that_speaks_one_version_only(
    run: Run, files: Files, version: ssl.TLSVersion
) -> None:
    async def scene() -> None:
        server = Server(files)
        server.context.minimum_version = server.context.maximum_version = version
        async with server.running() as port:
            outcome = await ask(check(port, sni_name="a.example"))
        assert (outcome.verdict, outcome.detail) == (UP, "status 200")
        assert server.seen == [Seen(version.name.replace("_", "."), "a.example", False)]

    run(scene())


def test_tls_1_2_and_an_old_cipher(run: Run, files: Files) -> None:
    """What the system's policy allows, not only what Python prefers."""

    async def scene() -> None:
        server = Server(files)
        server.context.maximum_version = ssl.TLSVersion.TLSv1_2
        server.context.set_ciphers("ECDHE-ECDSA-AES128-SHA")
        async with server.running() as port:
            outcome = await ask(check(port))
        assert outcome.verdict is UP
        assert server.seen[0].version == "TLSv1.2"

    run(scene())


@pytest.mark.parametrize(
    ("more", "virtualhost", "name"),
    [
        ({}, "a.example", None),
        ({"enable_sni": True}, "a.example", "a.example"),
        ({"enable_sni": True}, None, None),
        ({"enable_sni": True, "sni_name": "b.example"}, "a.example", "b.example"),
        ({"sni_name": "b.example"}, None, "b.example"),
        ({"enable_sni": True}, "10.0.0.1", None),
        ({"enable_sni": True, "sni_name": ""}, "a.example", None),
    ],
)
def test_sni(
    run: Run, files: Files, more: dict[str, object], virtualhost: str | None, name: str | None
) -> None:
    async def scene() -> None:
        server = Server(files)
        async with server.running() as port:
            outcome = await ask(check(port, Url(path="/", virtualhost=virtualhost), **more))
        assert outcome.verdict is UP
        assert server.seen[0].server_name == name

    run(scene())


@pytest.mark.parametrize("name", ["a..example", "x" * 70 + ".example", ".example", "a\0.example"])
def test_a_name_that_no_host_can_have(run: Run, files: Files, name: str) -> None:
    async def scene() -> None:
        async with Server(files).running() as port:
            outcome = await ask(check(port, sni_name=name))
        assert outcome.verdict is LOCAL
        assert "SNI" in outcome.detail

    run(scene())


# ---------------------------------------------------------------------- the SSL block


@pytest.mark.parametrize(
    ("block", "presented"),
    [
        (("certificate", "key"), True),
        (("certificate", "locked_key"), True),
        (("certificate",), False),
        (("key",), False),
        ((), False),
    ],
)
def test_client_certificates(
    run: Run, files: Files, block: tuple[str, ...], presented: bool
) -> None:
    async def scene() -> None:
        server = Server(files)
        server.context.verify_mode = ssl.CERT_OPTIONAL
        server.context.load_verify_locations(files.certificate)
        named = {name.removeprefix("locked_"): getattr(files, name) for name in block}
        tls = TlsContext(ca=files.certificate, password="secret", **named)
        async with server.running() as port:
            outcome = await ask(check(port), tls)
        assert outcome.verdict is UP
        assert server.seen[0].client_certificate is presented

    run(scene())


def test_a_server_that_wants_a_certificate_gets_none(run: Run, files: Files) -> None:
    async def scene() -> None:
        server = Server(files)
        server.context.verify_mode = ssl.CERT_REQUIRED
        server.context.load_verify_locations(files.certificate)
        async with server.running() as port:
            outcome = await ask(check(port))
        assert outcome.verdict is DOWN

    run(scene())


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"certificate": "/nonexistent", "key": "/nonexistent"}, "no such file or directory"),
        ({"ca": "/nonexistent"}, "no such file or directory"),
        ({"ca": "/dev/null"}, "no certificate or crl found"),
        ({"password": "wrong"}, "another password"),
        ({"password": None}, "another password"),
    ],
)
def test_files_that_cannot_be_used_say_nothing_of_the_server(
    run: Run, files: Files, wrong: dict[str, str | None], why: str
) -> None:
    async def scene() -> None:
        fine = {"certificate": files.certificate, "key": files.locked_key, "password": "secret"}
        async with Server(files).running() as port:
            outcome = await ask(check(port), TlsContext(**(fine | wrong)))
        assert outcome.verdict is LOCAL
        assert outcome.detail.startswith("SSL block: ")
        assert why in outcome.detail

    run(scene())


def test_the_context_is_made_once(run: Run) -> None:
    async def scene() -> None:
        around: Surroundings = surroundings()
        assert around.ssl_context is around.ssl_context
        assert around.ssl_context is not surroundings().ssl_context

    run(scene())


# ---------------------------------------------------------------------- farewells


@pytest.mark.parametrize("compliant", [False, True])
def test_tls_compliant_says_goodbye(run: Run, files: Files, compliant: bool) -> None:
    """A bare end of the connection without it, as keepalived; the alert close_notify with it."""

    async def scene() -> None:
        ended = asyncio.get_running_loop().create_future()

        async def session(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            # TLS by hand: the last record of the client is what is looked at
            incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            server = Server(files).context.wrap_bio(incoming, outgoing, server_side=True)

            async def step(action: object, *arguments: object) -> object:
                while True:
                    try:
                        result = action(*arguments)  # type: ignore[operator]
                    except ssl.SSLWantReadError:
                        writer.write(outgoing.read())
                        await writer.drain()
                        data = await reader.read(65536)
                        if data:
                            incoming.write(data)
                        else:
                            incoming.write_eof()
                        continue
                    writer.write(outgoing.read())
                    return result

            await step(server.do_handshake)
            await step(server.read, 65536)
            await step(server.write, PAGE)
            try:
                await step(server.unwrap)
            except ssl.SSLError:
                ended.set_result(False)
            else:
                ended.set_result(True)

        async with tcp_server(session) as port:
            outcome = await ask(check(port, Url(path="/", tls_compliant=compliant)))
            assert (outcome.verdict, outcome.detail) == (UP, "status 200")
            assert await ended is compliant

    run(scene())


def test_a_server_that_ends_without_goodbye(run: Run, files: Files) -> None:
    """keepalived takes the page all the same."""

    async def scene() -> None:
        server = Server(files)

        async def session(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(PAGE)
            await writer.drain()
            await asyncio.sleep(0.1)
            raw = writer.get_extra_info("socket")
            raw.shutdown(1) if hasattr(raw, "shutdown") else None
            writer.transport.abort()

        started = await asyncio.start_server(session, "127.0.0.1", 0, ssl=server.context)
        async with started:
            outcome = await ask(check(started.sockets[0].getsockname()[1]))
        assert (outcome.verdict, outcome.detail) == (UP, "status 200")

    run(scene())


# ---------------------------------------------------------------------- hostile


def says(*pieces: bytes, pause_s: float = 0, then_s: float = 0) -> Session:
    async def session(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(pause_s)
        await asyncio.sleep(then_s)

    return session


@pytest.mark.parametrize(
    ("session", "detail"),
    [
        (says(b"HTTP/1.0 400 speak TLS\r\n\r\n", then_s=5), "TLS handshake"),
        (says(b"\x16\x03\x01\x40\x00" + bytes(16384), then_s=5), "TLS handshake"),
        (says(b"\x15\x03\x03\x00\x02\x02\x28", then_s=5), "TLS handshake"),
        (says(), "TLS handshake"),
        (says(then_s=5), "TLS handshake timed out"),
        (says(*[b"\x16"] * 100, pause_s=0.1), "TLS handshake"),
    ],
)
def test_servers_that_fail_at_tls(run: Run, session: Session, detail: str) -> None:
    async def scene() -> None:
        async with tcp_server(session) as port:
            outcome = await ask(check(port, timeout_ns=400 * MS))
        assert outcome.verdict is DOWN
        assert outcome.detail.startswith(detail)

    run(scene())


def test_a_reset_between_connect_and_handshake(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The attempt ends although there is no connection any more that could be wrapped."""

    class ResetDial(Dial):
        def _established(self) -> None:
            accepted, _ = server.accept()
            accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            accepted.close()
            super()._established()

    async def scene() -> None:
        outcome = await ask(check(server.getsockname()[1]))
        assert (outcome.verdict, outcome.detail) == (DOWN, "TLS: connection reset by peer")

    monkeypatch.setattr(exchange, "Dial", ResetDial)
    with socket.create_server(("127.0.0.1", 0)) as server:
        run(scene())


def test_a_server_that_never_closes(run: Run, files: Files) -> None:
    async def scene() -> None:
        async with Server(files).running(holds_s=5) as port:
            outcome = await ask(check(port, timeout_ns=500 * MS))
        assert (outcome.verdict, outcome.detail) == (DOWN, "answer timed out")

    run(scene())


@pytest.mark.parametrize("after_s", [0, 0.2])
def test_cancelled(run: Run, after_s: float) -> None:
    async def scene() -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:  # accepts nothing, answers nothing
            one = check(server.getsockname()[1])
            await abandoned(make_probe(one, surroundings()), after_s)

    run(scene())


def test_the_password_is_not_shown() -> None:
    assert "secret" not in repr(TlsContext(password="secret"))
