"""One request and its answer over TCP or TLS, read until the peer closes. Callbacks, no coroutine.

Every wait (connect, handshake, send, each piece of the answer) is bounded by connect_timeout as in
keepalived; the whole by EXCHANGE_WAITS of them, which ends what a server drips. The answer goes
piece by piece to whoever asked and is not kept.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable
from typing import NamedTuple

from fastvrrp.config.servers import Connection
from fastvrrp.ipvs.checks.base import Verdict
from fastvrrp.ipvs.checks.dial import Dial, describe
from fastvrrp.ipvs.checks.request import EXCHANGE_WAITS, whole_wait
from fastvrrp.ipvs.checks.tls import tls_problem

READ_BYTES = 64 * 1024

Feed = Callable[[bytes], str]
Ended = Callable[[Verdict, str], None]


class Tls(NamedTuple):
    """How to secure a connection."""

    context: ssl.SSLContext
    server_name: str | None  # sent as SNI
    close_notify: bool  # say goodbye as the standard wants it (tls_compliant)


class Exchange:
    """Calls `ended` exactly once and never in its constructor: UP when the peer closed after the
    answer, which `feed` has seen and whose meaning is the caller's; else what went wrong.

    `feed` returns a reason to stop reading, or an empty string.
    """

    __slots__ = (
        "_dial",
        "_ended",
        "_feed",
        "_last",
        "_loop",
        "_phase",
        "_request",
        "_since",
        "_sock",
        "_timeout",
        "_timer",
        "_tls",
        "_writing",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        connection: Connection,
        request: bytes,
        *,
        feed: Feed,
        ended: Ended,
        tls: Tls | None = None,
    ) -> None:
        self._loop = loop
        self._request = request
        self._feed = feed
        self._ended = ended
        self._tls = tls
        self._sock: socket.socket | None = None
        self._timeout = connection.timeout_ns / 1e9
        self._last = loop.time() + EXCHANGE_WAITS * self._timeout
        self._since = 0.0  # of the current wait
        self._phase = ""
        self._timer: asyncio.TimerHandle | None = None
        self._writing = False
        self._dial: Dial | None = Dial(loop, connection, self._connected, self._failed)

    def cancel(self) -> None:
        """`ended` is not called any more, nothing stays open."""
        if self._dial is not None:
            self._dial.cancel()
            self._dial = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        sock, self._sock = self._sock, None
        if sock is not None:
            self._loop.remove_reader(sock)
            if self._writing:
                self._loop.remove_writer(sock)
            sock.close()

    def _failed(self, verdict: Verdict, text: str) -> None:
        self.cancel()
        self._ended(verdict, text)

    def _connected(self, sock: socket.socket) -> None:
        self._dial = None
        if self._tls is not None:
            try:
                self._sock = self._tls.context.wrap_socket(
                    sock, do_handshake_on_connect=False, server_hostname=self._tls.server_name
                )
            except (OSError, ValueError) as e:
                sock.close()  # by now it may be the wrapper's, which closes it
                self._failed(Verdict.DOWN, f"TLS: {tls_problem(e)}")
                return
        else:
            self._sock = sock
        self._since = self._loop.time()
        self._timer = self._loop.call_at(self._since + self._timeout, self._look)
        self._loop.add_reader(self._sock, self._ready)
        self._phase = "sending" if self._tls is None else "TLS handshake"
        self._ready()

    def _look(self) -> None:
        """A wait may have ended meanwhile and another begun: the timer is set again then."""
        now = self._loop.time()
        due = min(self._since + self._timeout, self._last)
        if now < due:
            self._timer = self._loop.call_at(due, self._look)
        elif now < self._last:
            self._failed(Verdict.DOWN, f"{self._phase} timed out")
        else:
            whole = whole_wait(round(self._timeout * 1e9))
            self._failed(Verdict.DOWN, f"{self._phase} not complete after {whole}")

    def _ready(self) -> None:
        """The socket can do something: as much as it can."""
        assert self._sock is not None
        self._since = self._loop.time()
        try:
            if self._phase == "TLS handshake":
                assert isinstance(self._sock, ssl.SSLSocket)
                self._sock.do_handshake()
                self._phase = "sending"
            if self._phase == "sending":
                sent = self._sock.send(self._request)
                self._request = self._request[sent:]
                if self._request:
                    self._write(True)
                    return
                self._write(False)
                self._phase = "answer"
                return
            data = self._sock.recv(READ_BYTES)
        except (BlockingIOError, ssl.SSLWantReadError):
            self._write(self._phase == "sending" and self._tls is None)
        except ssl.SSLWantWriteError:
            self._write(True)
        except ssl.SSLError as e:
            self._failed(Verdict.DOWN, f"{self._phase}: {tls_problem(e)}")
        except OSError as e:
            self._failed(Verdict.DOWN, f"{self._phase}: {describe(e)}")
        else:
            if not data:
                self._closed()
            elif problem := self._feed(data):
                self._failed(Verdict.DOWN, problem)

    def _write(self, wanted: bool) -> None:
        assert self._sock is not None
        if wanted and not self._writing:
            self._loop.add_writer(self._sock, self._ready)
        elif self._writing and not wanted:
            self._loop.remove_writer(self._sock)
        self._writing = wanted

    def _closed(self) -> None:
        if self._tls is not None and self._tls.close_notify:
            assert isinstance(self._sock, ssl.SSLSocket)
            with contextlib.suppress(OSError):  # the peer may be gone: the answer is complete
                self._sock.unwrap()
        self._failed(Verdict.UP, "")
