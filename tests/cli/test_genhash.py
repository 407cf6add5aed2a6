"""`fastvrrp genhash`: the digests of keepalived's genhash, and what a person sees."""

from __future__ import annotations

import gzip
import hashlib
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

PAGE = b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello"
MD5 = hashlib.md5(b"hello").hexdigest()


class Server:
    """Gives every connection the same answer, and keeps the requests."""

    def __init__(self, answer: bytes, wrap: Callable[[socket.socket], socket.socket] | None = None):
        self.requests: list[bytes] = []
        self._answer = answer
        self._wrap = wrap
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            with client:
                peer = self._wrap(client) if self._wrap else client
                self.requests.append(peer.recv(65536))
                peer.sendall(self._answer)
                peer.close()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    servers: list[Server] = []

    def make(answer: bytes, wrap: Callable[[socket.socket], socket.socket] | None = None) -> Server:
        servers.append(Server(answer, wrap))
        return servers[-1]

    yield make
    for server in servers:
        server.close()


def run(program: list[str], *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*program, *words], capture_output=True, text=True, timeout=30)


def ours(*words: str) -> subprocess.CompletedProcess[str]:
    return run([sys.executable, "-m", "fastvrrp", "genhash"], *words)


def theirs(*words: str) -> subprocess.CompletedProcess[str]:
    return run(["keepalived", "--genhash"], *words)


ODD = [
    PAGE,
    b"HTTP/1.0 200 OK\r\n\r\n",
    b"HTTP/1.0 404 gone\r\nContent-Length: 0\r\n\r\nabc",
    b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nabcdef",
    b"HTTP/1.0 200 OK\r\nContent-Length:2\r\n\r\nabcdef",
    b"HTTP/1.0 200 OK\r\nContent-Length: 2 \r\n\r\nabcdef",
    b"HTTP/1.0 200 OK\r\nX-Content-Length: 2\r\nContent-Length: 4\r\n\r\nabcdef",
    b"HTTP/1.0 200 OK\r\nContent-Length: x\r\nContent-Length: 4\r\n\r\nabcdef",
    b"HTTP/1.0 200 OK\r\nX: \0\r\nContent-Length: 4\r\n\r\nabcdef",
    b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    b"HTTP/1.0 200 OK\r\nContent-Encoding: gzip\r\n\r\n" + gzip.compress(b"hello", mtime=0),
    b"HTTP/1.0 302 Found\r\nLocation: /elsewhere\r\n\r\nthere",
    b"no header\r\n\r\nabc\0def\r\n\r\nghi",
    b"HTTP/1.0 200 OK\r\n\r\n" + bytes(range(256)) * 2000,
]


@pytest.mark.interop
@pytest.mark.parametrize("answer", ODD, ids=range(len(ODD)))
def test_digests_are_keepaliveds(serve: Callable[..., Server], answer: bytes) -> None:
    server = serve(answer)
    words = ("-s", "127.0.0.1", "-p", str(server.port), "-u", "/some/path?a=b")
    one, other = ours(*words), theirs(*words)
    assert one.returncode == 0
    assert one.stdout == other.stdout
    assert len(one.stdout) == 33
    assert server.requests[0] == server.requests[1]


def test_the_page_behind_an_interim_answer(serve: Callable[..., Server]) -> None:
    """keepalived's is of everything behind the first header."""
    server = serve(b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n" + PAGE)
    assert ours("-s", "127.0.0.1", "-p", str(server.port), "-u", "/").stdout == f"{MD5}\n"


@pytest.mark.interop
@pytest.mark.parametrize(
    "words",
    [
        ("-P", "1.0"),
        ("-P", "1.0c"),
        ("-P", "1.1", "-V", "a.example"),
        ("--protocol", "1.1", "--use-virtualhost", "a.example:8080", "--timeout", "3"),
    ],
)
def test_requests_are_keepaliveds(serve: Callable[..., Server], words: tuple[str, ...]) -> None:
    server = serve(PAGE)
    where = ("--server", "127.0.0.1", "--port", str(server.port), "--url", "/x")
    one, other = ours(*where, *words), theirs(*where, *words)
    assert one.stdout == other.stdout == MD5 + "\n"
    assert server.requests[0] == server.requests[1]


@pytest.mark.interop
def test_over_tls_with_sni(serve: Callable[..., Server], tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    command = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes"
        f" -keyout {key} -out {certificate} -days 2 -subj /CN=nobody"
    )
    subprocess.run(command.split(), check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    names: list[str | None] = []
    context.sni_callback = lambda _socket, name, _context: names.append(name)
    server = serve(PAGE, lambda sock: context.wrap_socket(sock, server_side=True))
    where = ("-S", "-s", "127.0.0.1", "-p", str(server.port), "-u", "/", "-V", "a.example")
    for words in (where, (*where, "-I")):
        one, other = ours(*words), theirs(*words)
        assert one.stdout == other.stdout == MD5 + "\n"
    assert names == [None, None, "a.example", "a.example"]
    assert len(set(server.requests)) == 1


def test_verbose_shows_header_body_and_digest(serve: Callable[..., Server]) -> None:
    server = serve(PAGE.replace(b"hello", b"h\0\xffo\n"))
    done = ours("-v", "-s", "localhost", "-p", str(server.port), "-u", "/")
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert "00000000  48 54 54 50 2f 31 2e 30 20 32 30 30 20 4f 4b 0d  HTTP/1.0 200 OK." in lines
    assert "Content-Length: 5" in lines
    assert f"00000000  {'68 00 ff 6f 0a':47}  h..o." in lines
    assert lines[-1] == hashlib.md5(b"h\0\xffo\n").hexdigest()
    assert any(line.startswith("5 bytes of body in ") for line in lines)


@pytest.mark.parametrize(
    ("answer", "said"),
    [(b"", "no complete header"), (b"HTTP/1.0 200 OK\n\nabc", "no complete header")],
)
def test_no_answer_is_status_1(serve: Callable[..., Server], answer: bytes, said: str) -> None:
    server = serve(answer)
    done = ours("-s", "127.0.0.1", "-p", str(server.port), "-u", "/")
    assert (done.returncode, done.stdout) == (1, "")
    assert said in done.stderr


def test_a_refused_connection_is_status_1() -> None:
    done = ours("-s", "127.0.0.1", "-p", "1", "-u", "/")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "fastvrrp: 127.0.0.1 port 1: connection refused\n"


def test_a_server_nobody_knows() -> None:
    done = ours("-s", "no.such.host.invalid", "-u", "/")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("fastvrrp: no.such.host.invalid: ")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("-p", "0"), "port 0"),
        (("-p", "65536"), "port 65536"),
        (("-t", "0"), "timeout"),
        (("-P", "2.0"), "invalid choice"),
        (("-S", "-I", "-V", "a..b"), "SNI"),
    ],
)
def test_wrong_options(words: tuple[str, ...], said: str) -> None:
    done = ours("-s", "127.0.0.1", "-u", "/", *words)
    assert done.returncode in (1, 2)
    assert said in done.stderr
