"""Checkers that send one datagram and judge what comes back: the socket work of UDP, DNS, PING."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import time
from abc import ABC, abstractmethod

from fastvrrp.config.servers import Connection
from fastvrrp.ipvs.checks.base import Done, Outcome, Verdict
from fastvrrp.ipvs.checks.dial import ANSWERS, describe, open_socket

Answer = tuple[Verdict, str]

DATAGRAM_BYTES_MAX = 65_535
BATCH = 16  # datagrams per turn of the event loop
UNRELATED_MAX = 1000  # a server that floods us ends the attempt

# keepalived's UDP_CHECK and PING_CHECK fail also where a route or a firewall of this host forbids
FORBIDDEN = ANSWERS | {errno.EACCES, errno.EPERM}

# Of a send(): this host could not, so nothing is known about the server.
_LOCAL = frozenset({errno.EAGAIN, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL})

# linux/in.h, linux/in6.h: ICMP errors of any kind end the attempt at once, not only the few that
# a socket is told of by default.
_RECVERR = {socket.AF_INET: (socket.IPPROTO_IP, 11), socket.AF_INET6: (socket.IPPROTO_IPV6, 25)}


class DatagramProbe(ABC):
    """A Probe (see base.py) but for `question` and `judge`, which its subclasses have."""

    __slots__ = (
        "_began_ns",
        "_connection",
        "_done",
        "_loop",
        "_protocol",
        "_sock",
        "_soon",
        "_timer",
        "_unrelated",
    )

    steps = 1
    silence: Answer = (Verdict.DOWN, "no answer in time")
    unreachable = ANSWERS  # errors of connect() that are failures, not problems of this host

    def __init__(
        self, connection: Connection, loop: asyncio.AbstractEventLoop, protocol: int = 0
    ) -> None:
        self._connection = connection
        self._loop = loop
        self._protocol = protocol
        self._done: Done | None = None
        self._sock: socket.socket | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._soon: asyncio.Handle | None = None
        self._began_ns = 0
        self._unrelated = 0

    @abstractmethod
    def question(self) -> bytes:
        """The datagram of a new attempt."""

    @abstractmethod
    def judge(self, data: bytes) -> Answer | None:
        """What a datagram from the server means; None: it is no answer to our question."""

    def start(self, step: int, done: Done) -> None:
        """See Probe."""
        assert self._done is None
        assert step == 0
        self._done = done
        self._unrelated = 0
        self._began_ns = time.monotonic_ns()
        answer = self._ask()
        if answer is not None:
            self._soon = self._loop.call_soon(self._end, *answer)
            return
        assert self._sock is not None
        self._loop.add_reader(self._sock.fileno(), self._readable)
        seconds = self._connection.timeout_ns / 1e9
        self._timer = self._loop.call_later(seconds, self._end, *self.silence)

    def cancel(self) -> None:
        """See Probe."""
        self._done = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            assert self._sock is not None
            self._loop.remove_reader(self._sock.fileno())
        if self._soon is not None:
            self._soon.cancel()
            self._soon = None
        if self._sock is not None:
            self._sock.close()
            self._sock = None

    def _ask(self) -> Answer | None:
        """Send; an answer when that alone decides."""
        try:
            sock = open_socket(self._connection, socket.SOCK_DGRAM, self._protocol)
            self._sock = sock
            sock.setsockopt(*_RECVERR[sock.family], 1)
            target = (self._connection.address, self._connection.port)
        except OSError as e:
            return Verdict.LOCAL, describe(e)
        try:
            sock.connect(target)
        except OSError as e:
            return Verdict.DOWN if e.errno in self.unreachable else Verdict.LOCAL, describe(e)
        try:
            sock.send(self.question())
        except OSError as e:
            return Verdict.LOCAL if e.errno in _LOCAL else Verdict.DOWN, describe(e)
        return None

    def _readable(self) -> None:
        assert self._sock is not None
        for _ in range(BATCH):
            try:
                data = self._sock.recv(DATAGRAM_BYTES_MAX)
            except BlockingIOError:
                return
            except OSError as e:
                if e.errno == errno.EMSGSIZE:
                    self._smaller()  # a router's limit is no answer of the server's
                    continue
                verdict = Verdict.LOCAL if e.errno in _LOCAL else Verdict.DOWN
                self._end(verdict, describe(e))
                return
            answer = self.judge(data)
            if answer is not None:
                self._end(*answer)
                return
            self._unrelated += 1
            if self._unrelated > UNRELATED_MAX:
                self._end(Verdict.DOWN, "too many unrelated datagrams")
                return

    def _smaller(self) -> None:
        """Empty the queue of ICMP errors: while one waits there is no sleep."""
        assert self._sock is not None
        with contextlib.suppress(BlockingIOError):
            while True:
                self._sock.recvmsg(0, 0, socket.MSG_ERRQUEUE)
        # uvloop stops watching a descriptor that had an error
        self._loop.remove_reader(self._sock.fileno())
        self._loop.add_reader(self._sock.fileno(), self._readable)

    def _end(self, verdict: Verdict, text: str) -> None:
        done = self._done
        assert done is not None
        self.cancel()
        done(Outcome(verdict, text, time.monotonic_ns() - self._began_ns))
