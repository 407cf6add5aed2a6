"""HTTP_GET in the prober: urls in turn, and what a bad server costs the others.

What a single attempt says is in test_check_http.py, beside the event loop's.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import resource
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from test_prober import DOWN, LOOPBACK, MS, UP, Watched, port_of

from fastvrrp import _core

OK = b"HTTP/1.0 200 OK\r\n\r\n"
GOOD = ((200, 299),)

Serve = Callable[[socket.socket], None]


@contextlib.contextmanager
def server(serve: Serve) -> Iterator[int]:
    """The port of a server whose connections are all served like this, each in a thread."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as sock:

        def one(client: socket.socket) -> None:
            with client, contextlib.suppress(OSError):
                serve(client)

        def accept() -> None:
            with contextlib.suppress(OSError):  # closed
                while True:
                    client, _ = sock.accept()
                    threading.Thread(target=one, args=(client,), daemon=True).start()

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield port_of(sock)
        finally:
            sock.shutdown(socket.SHUT_RDWR)
            thread.join(5)


@pytest.fixture
def watched() -> Iterator[Watched]:
    with Watched() as one:
        yield one


def get(path: str) -> bytes:
    return f"GET {path} HTTP/1.0\r\n\r\n".encode()


def add(watched: Watched, port: int, *urls: tuple[bytes, bytes | None, object], **more: int) -> int:
    """A check that begins at once."""
    handle = watched.add(port, urls=urls, suspended=True, **more)
    watched.prober.resume(handle, 0)
    return handle


class Pages:
    """A server that keeps what it was asked for, and says what `answers` has for it."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.answers: dict[str, bytes] = {}

    def __call__(self, client: socket.socket) -> None:
        path = client.recv(1000).split()[1].decode()
        self.asked.append(path)
        client.sendall(self.answers.get(path, OK))


def test_urls_are_asked_for_in_turn_and_the_failed_one_again(watched: Watched) -> None:
    pages = Pages()
    with server(pages) as port:
        urls = [(get(path), None, GOOD) for path in ("/a", "/b", "/c")]
        handle = add(watched, port, *urls, delay_loop_ns=10 * MS, delay_before_retry_ns=10 * MS)
        watched.until(lambda: [e.change for e in watched.told] == [UP])
        assert pages.asked[:3] == ["/a", "/b", "/c"]
        pages.answers["/b"] = b"HTTP/1.0 503 x\r\n\r\n"
        watched.until(lambda: [e.change for e in watched.told] == [UP, DOWN])
        told = watched.told[-1]
        assert (told.why, told.error, told.phase) == (_core.WHY_STATUS, 503, _core.PHASE_ANSWER)
        many = len(pages.asked) + 3
        watched.until(lambda: len(pages.asked) >= many)
        assert pages.asked[many - 2 : many] == ["/b", "/b"]
        del pages.answers["/b"]
        pages.asked.clear()
        watched.until(lambda: [e.change for e in watched.told] == [UP, DOWN, UP])
        asked = pages.asked
        assert asked[asked.index("/a") :][:3] == ["/a", "/b", "/c"]
        status = watched.prober.status(handle)
        assert (status.state, status.why, status.error) == (UP, _core.WHY_STATUS, 200)


def test_another_digest_is_told(watched: Watched) -> None:
    with server(Pages()) as port:
        handle = add(watched, port, (get("/"), bytes(16), GOOD))
        watched.hear()
        (told,) = watched.told
        empty = hashlib.md5(b"").digest()
        assert (told.change, told.why, told.digest) == (DOWN, _core.WHY_DIGEST, empty)
        assert watched.prober.status(handle).digest == empty


def test_a_flood_does_not_keep_others_waiting(watched: Watched) -> None:
    """Several servers that send without end, and one check that wants to be quick."""

    def flood(client: socket.socket) -> None:
        client.sendall(OK)
        piece = bytes(1 << 20)
        while True:
            client.sendall(piece)

    with server(flood) as port:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        url = (get("/"), bytes(16), GOOD)
        floods = [add(watched, port, url, timeout_ns=10_000 * MS) for _ in range(4)]
        quick = watched.add(port_of(watched.server()), delay_loop_ns=10 * MS, suspended=True)
        watched.prober.resume(quick, 0)
        watched.until(lambda: all(watched.attempts(handle) for handle in floods), 30)
        assert watched.attempts(quick) > 3
        assert {watched.prober.status(h).why for h in floods} == {_core.WHY_LONG_ANSWER}
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 16 * 1024


def test_what_is_removed_or_suspended_leaves_nothing_open(watched: Watched) -> None:
    over = threading.Event()
    with server(lambda client: (over.wait(10), None)[1]) as port:
        handles = [
            add(watched, port, (get("/"), None, GOOD), timeout_ns=10_000 * MS) for _ in range(20)
        ]
        watched.until(lambda: watched.prober.counters()["open"] == 20)
        for handle in handles[:10]:
            watched.prober.remove(handle)
        for handle in handles[10:]:
            watched.prober.suspend(handle)
        watched.until(lambda: watched.prober.counters()["open"] == 0)
        assert watched.told == []
        # their places, for checks of other kinds
        closed = [watched.add(1, LOOPBACK, suspended=True) for _ in range(10)]
        for handle in closed:
            watched.prober.resume(handle, 0)
        watched.until(lambda: len(watched.told) == 10)
        assert {(e.why, e.error) for e in watched.told} == {(_core.WHY_ERROR, errno.ECONNREFUSED)}
        over.set()


def test_attempts_of_one_check_do_not_overlap(watched: Watched) -> None:
    """A server slower than delay_loop."""
    now, most = 0, 0

    def slow(client: socket.socket) -> None:
        nonlocal now, most
        now += 1
        most = max(most, now)
        client.recv(1000)
        time.sleep(0.05)
        now -= 1
        client.sendall(OK)

    with server(slow) as port:
        handle = add(watched, port, (get("/"), None, GOOD), delay_loop_ns=5 * MS)
        watched.until(lambda: watched.attempts(handle) >= 4)
        assert most == 1


@pytest.mark.parametrize(
    "urls",
    [
        [(get("/"), bytes(15), GOOD)],
        [(get("/"), None, ((200, 1 << 40),))],
        [(get("/"), None, ((200,),))],
        [("text", None, GOOD)],
        [(get("/"), None, GOOD)] * 65536,
    ],
)
def test_urls_that_cannot_be(watched: Watched, urls: list[object]) -> None:
    with pytest.raises((ValueError, OverflowError, TypeError)):
        watched.add(1, urls=urls)
    handle = watched.add(1)
    assert watched.prober.status(handle).attempts == 0
