"""TCP_CHECK: the connection is established within connect_timeout, and closed at once."""

from __future__ import annotations

import socket
import time

from fastvrrp.config.servers import TcpCheck
from fastvrrp.ipvs.checks.base import Done, Outcome, Surroundings, Verdict
from fastvrrp.ipvs.checks.dial import Dial


class TcpProbe:
    """A connect of the event loop's thread; where there are many, core/probe.pxi does them."""

    steps = 1

    def __init__(self, check: TcpCheck, surroundings: Surroundings) -> None:
        self._connection = check.connection
        self._loop = surroundings.loop
        self._dial: Dial | None = None
        self._done: Done | None = None
        self._began_ns = 0

    def start(self, step: int, done: Done) -> None:
        """See Probe."""
        assert self._dial is None
        self._done = done
        self._began_ns = time.monotonic_ns()
        self._dial = Dial(self._loop, self._connection, self._connected, self._failed)

    def cancel(self) -> None:
        """See Probe."""
        if self._dial is not None:
            self._dial.cancel()
            self._dial = None

    def _connected(self, sock: socket.socket) -> None:
        sock.close()
        self._failed(Verdict.UP, "connected")

    def _failed(self, verdict: Verdict, text: str) -> None:
        self._dial = None
        assert self._done is not None
        self._done(Outcome(verdict, text, time.monotonic_ns() - self._began_ns))
