"""The client's view: an ICMP echo request every few milliseconds, and what came back.

Own sockets instead of ping(8): no program to install, the kernel's timestamps, and short
intervals without asking.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from .namespace import Namespace
from .packet import NS, SO_TIMESTAMPNS

ICMP_ECHO, ICMP_ECHOREPLY = 8, 0  # RFC 792
ICMPV6_ECHO, ICMPV6_ECHOREPLY = 128, 129  # RFC 4443


@dataclass
class Echo:
    """One request. Times are CLOCK_REALTIME nanoseconds; `answered_ns` is 0 without an answer."""

    sent_ns: int
    answered_ns: int = 0


def _checksum(data: bytes) -> int:
    """RFC 1071. The lab has its own so that it shows nothing through the daemon's eyes."""
    if len(data) % 2:
        data += b"\0"
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


class Prober:
    """Pings one address from a namespace until closed; two threads, one sends, one receives."""

    def __init__(
        self,
        namespace: Namespace,
        address: str,
        *,
        interval_s: float = 0.02,
        on_answer: Callable[[Echo], None] | None = None,
    ) -> None:
        """`on_answer` is called in the receiving thread."""
        self.address = address
        self.interval_s = interval_s
        self._on_answer = on_answer
        self._six = ":" in address
        self._ident = (os.getpid() ^ id(self) >> 4) & 0xFFFF
        self._echoes: deque[Echo] = deque(maxlen=0x10000)  # as many as sequence numbers
        self._sent = 0
        family = socket.AF_INET6 if self._six else socket.AF_INET
        protocol = socket.IPPROTO_ICMPV6 if self._six else socket.IPPROTO_ICMP
        self._socket = namespace.call(socket.socket, family, socket.SOCK_RAW, protocol)
        self._socket.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        # Answers wait a tenth of a second at most when close() is called.
        self._socket.settimeout(0.1)
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=work, name=f"probe-{work.__name__}", daemon=True)
            for work in (self._receive, self._send)
        ]
        for thread in self._threads:
            thread.start()

    def _send(self) -> None:
        due = time.monotonic()
        while not self._stop.is_set():
            sequence = self._sent & 0xFFFF
            kind = ICMPV6_ECHO if self._six else ICMP_ECHO
            packet = struct.pack("!BBHHH", kind, 0, 0, self._ident, sequence) + b"fastvrrp"
            if not self._six:  # the kernel fills in the ICMPv6 one
                packet = packet[:2] + struct.pack("!H", _checksum(packet)) + packet[4:]
            self._echoes.append(Echo(time.clock_gettime_ns(time.CLOCK_REALTIME)))
            self._sent += 1
            # No neighbour, no route: for the client that is the same as no answer.
            with contextlib.suppress(OSError):
                self._socket.sendto(packet, (self.address, 0))
            due = max(due + self.interval_s, time.monotonic() - self.interval_s)
            self._stop.wait(max(0.0, due - time.monotonic()))

    def _receive(self) -> None:
        while not self._stop.is_set():
            try:
                data, ancillary, _flags, _address = self._socket.recvmsg(2048, 64)
            except TimeoutError:
                continue
            except OSError:  # an ICMP error reported on the socket
                continue
            body = data if self._six else data[(data[0] & 15) * 4 :]
            kind, _code, _sum, ident, sequence = struct.unpack("!BBHHH", body[:8])
            wanted = ICMPV6_ECHOREPLY if self._six else ICMP_ECHOREPLY
            back = (self._sent - 1 - sequence & 0xFFFF) + 1
            if kind != wanted or ident != self._ident or back > len(self._echoes):
                continue
            echo = self._echoes[-back]
            seconds, nanoseconds = struct.unpack("qq", ancillary[0][2])
            echo.answered_ns = seconds * NS + nanoseconds
            if self._on_answer is not None:
                self._on_answer(echo)

    def echoes(self) -> list[Echo]:
        """The requests so far, oldest first; the last 65536 are kept."""
        return list(self._echoes.copy())

    def recent(self, since_ns: int) -> list[Echo]:
        """The requests sent from `since_ns` on, newest first."""
        return list(itertools.takewhile(lambda e: e.sent_ns >= since_ns, reversed(self.echoes())))

    def answers(self, *, since_ns: int = 0) -> list[int]:
        """Times of the answers from `since_ns` on, sorted."""
        return sorted(e.answered_ns for e in self.echoes() if e.answered_ns > since_ns)

    def silences(self, *, since_ns: int = 0, until_ns: int | None = None) -> list[tuple[int, int]]:
        """Every time without an answer between two answers: (begin, end), CLOCK_REALTIME.

        The first begins with the last answer before `since_ns`, the last ends with `until_ns`
        (now).
        """
        end = until_ns or time.clock_gettime_ns(time.CLOCK_REALTIME)
        answers = self.answers()
        before = [t for t in answers if t <= since_ns][-1:]
        inside = [t for t in answers if since_ns < t <= end]
        marks = [*(before or [since_ns]), *inside, end] if since_ns else [*inside, end]
        return list(itertools.pairwise(marks))

    def losses(self, *, since_ns: int = 0) -> list[tuple[int, int]]:
        """Every time that requests sent from `since_ns` on were in vain: (begin, end).

        From the first one without an answer to an interval behind the last such one; an answer
        that came late ends the time since its own request. What this says does not depend on how
        regularly the requests were sent. Requests behind the last answer may still be answered and
        are left out.
        """
        found: list[tuple[int, int]] = []
        lost: list[int] = []
        for echo in self.echoes():
            if echo.sent_ns < since_ns:
                continue
            if not echo.answered_ns:
                lost.append(echo.sent_ns)
                continue
            if lost:
                found.append((lost[0], lost[-1] + round(self.interval_s * NS)))
                lost.clear()
            found.append((echo.sent_ns, echo.answered_ns))
        return found

    def outage_ns(self, *, since_ns: int = 0, until_ns: int | None = None) -> int:
        """The longest time without an answer; an upper bound, one interval coarse."""
        silences = self.silences(since_ns=since_ns, until_ns=until_ns)
        return max((end - begin for begin, end in silences), default=0)

    def close(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        self._socket.close()

    def __enter__(self) -> Prober:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
