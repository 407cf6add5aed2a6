"""A blocking rtnetlink socket: play requests, dump objects.

For the slow path and for processes without an event loop (clean-up after a crash). The failover
path plays its programs in the applier thread instead.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import Sequence
from types import TracebackType
from typing import NamedTuple, Self

from fastvrrp.net import objects, wire

_RECEIVE_SIZE = 1 << 18
_TIMEOUT_S = 10.0
_DUMP_ATTEMPTS = 20
_BATCH_BYTES = 16384  # requests sent at once; the kernel answers each before it reads the next
_RTEXT_FILTER_SKIP_STATS = 8
# What a kernel without IPv6 answers to questions about it.
NO_SUCH_FAMILY = frozenset((errno.EOPNOTSUPP, errno.EAFNOSUPPORT, errno.ENOENT))


class Dumped(NamedTuple):
    """One message of a dump, header included."""

    kind: int
    message: bytes


def open_socket(*, receive_buffer: int = 1 << 20) -> socket.socket:
    """An unbound NETLINK_ROUTE socket that checks dump filters strictly where the kernel can.

    Raises OSError.
    """
    sock = socket.socket(wire.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, wire.NETLINK_ROUTE)
    with contextlib.suppress(OSError):  # since Linux 4.20; without it we filter ourselves
        sock.setsockopt(wire.SOL_NETLINK, wire.NETLINK_GET_STRICT_CHK, 1)
    enlarge_receive_buffer(sock, receive_buffer)
    return sock


def enlarge_receive_buffer(sock: socket.socket, size: int) -> None:
    """Beyond net.core.rmem_max when we may (CAP_NET_ADMIN), else up to it."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, 33, size)  # SO_RCVBUFFORCE
    except OSError:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)


def link_dump_body() -> bytes:
    return wire.IFINFOMSG.pack(0, 0, 0, 0, 0) + wire.u32(
        objects.IFLA_EXT_MASK, _RTEXT_FILTER_SKIP_STATS
    )


def dump_requests() -> dict[str, list[tuple[int, bytes]]]:
    """(message type, body) of the dumps that together show one kind of object."""
    families = (wire.AF_INET, wire.AF_INET6)
    return {
        "links": [(wire.RTM_GETLINK, link_dump_body())],
        "addresses": [
            (wire.RTM_GETADDR, wire.IFADDRMSG.pack(family, 0, 0, 0, 0)) for family in families
        ],
        # Only our own: a full internet table stays in the kernel.
        "routes": [
            (wire.RTM_GETROUTE, wire.RTMSG.pack(family, 0, 0, 0, 0, wire.PROTOCOL, 0, 0, 0))
            for family in families
        ],
        "rules": [
            (wire.RTM_GETRULE, wire.FIB_RULE_HDR.pack(family, 0, 0, 0, 0, 0, 0, 0, 0))
            for family in families
        ],
    }


class RtnlSocket:
    """Synchronous rtnetlink. Raises OSError when the kernel does not answer within 10 s.

    Another socket than the kernel's may take its place in tests; it is owned in any case.
    """

    def __init__(self, sock: socket.socket | None = None) -> None:
        if sock is None:
            sock = open_socket()
            sock.bind((0, 0))
            sock.settimeout(_TIMEOUT_S)
        self._socket = sock
        self._sequence = 0
        self._buffer = bytearray(_RECEIVE_SIZE)
        self._view = memoryview(self._buffer)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    def _receive(self) -> memoryview:
        """One datagram from the kernel; anybody else's is ignored."""
        while True:
            size, _, flags, (sender, _) = self._socket.recvmsg_into([self._view])
            if sender != 0:
                continue
            if flags & socket.MSG_TRUNC:
                raise OSError(errno.EMSGSIZE, "netlink message larger than the buffer")
            return self._view[:size]

    def play(self, requests: Sequence[tuple[bytes, int]]) -> list[int]:
        """Send requests in order; the errno of each, 0 for success or a tolerated error.

        One failure does not stop the rest.
        """
        results: list[int] = []
        position = 0
        while position < len(requests):
            batch: list[bytes] = []
            size = 0
            first = self._sequence + 1
            while position < len(requests) and size < _BATCH_BYTES:
                self._sequence += 1
                batch.append(wire.with_sequence(requests[position][0], self._sequence))
                size += len(batch[-1])
                position += 1
            self._socket.sendto(b"".join(batch), (0, 0))
            answers = self._acknowledgements(first, len(batch))
            for index, error in enumerate(answers):
                tolerated = requests[position - len(batch) + index][1]
                results.append(0 if wire.tolerable(error, tolerated) else error)
        return results

    def _acknowledgements(self, first: int, count: int) -> list[int]:
        answers: dict[int, int] = {}
        while len(answers) < count:
            data = self._receive()
            for frame in wire.frames(data):
                if frame.kind == wire.NLMSG_ERROR and 0 <= frame.sequence - first < count:
                    answers[frame.sequence] = wire.answer(data, frame)
        return [answers[first + index] for index in range(count)]

    def dump(self, kind: int, body: bytes) -> list[Dumped]:
        """All objects of a kind; a dump that changed under our eyes is repeated.

        Raises OSError with the kernel's errno.
        """
        for _ in range(_DUMP_ATTEMPTS):
            found = self._dump_once(kind, body)
            if found is not None:
                return found
        raise OSError(errno.EINTR, "the kernel's tables change faster than they can be read")

    def _dump_once(self, kind: int, body: bytes) -> list[Dumped] | None:
        self._sequence += 1
        flags = wire.NLM_F_REQUEST | wire.NLM_F_DUMP
        self._socket.sendto(wire.message(kind, flags, body, self._sequence), (0, 0))
        found: list[Dumped] = []
        interrupted = False
        while True:
            data = self._receive()
            for frame in wire.frames(data):
                if frame.sequence != self._sequence:
                    continue
                interrupted = interrupted or bool(frame.flags & wire.NLM_F_DUMP_INTR)
                if frame.kind in (wire.NLMSG_DONE, wire.NLMSG_ERROR):
                    if error := wire.answer(data, frame):
                        raise OSError(error, os.strerror(error))
                    return None if interrupted else found
                found.append(Dumped(frame.kind, bytes(data[frame.offset : frame.end])))

    def dump_kind(self, name: str) -> list[Dumped]:
        """Both families of "links", "addresses", "routes" or "rules"."""
        found: list[Dumped] = []
        for kind, body in dump_requests()[name]:
            try:
                found += self.dump(kind, body)
            except OSError as error:
                if body[0] != wire.AF_INET6 or error.errno not in NO_SUCH_FAMILY:
                    raise
        return found

    def links(self) -> dict[int, objects.Link]:
        """Links by ifindex."""
        found = {}
        for dumped in self.dump_kind("links"):
            data = memoryview(dumped.message)
            link = objects.decode_link(data, wire.HEADER_SIZE, len(data))
            if link is not None:
                found[link.ifindex] = link
        return found
