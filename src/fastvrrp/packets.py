"""A SOCK_SEQPACKET socket between two of our processes, for any asyncio loop.

Sending never blocks; what the kernel does not take at once waits in a queue. Descriptors travel
with a packet. What a packet means is for its user: supervisor/channel.py, track/runner_wire.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import struct
from collections import deque
from collections.abc import Callable, Sequence

FDS_LIMIT = 4  # descriptors in one packet
BATCH = 64  # packets per wake-up: a chatty end cannot keep the loop from anything else

_FD_SIZE = struct.calcsize("i")

OnPacket = Callable[[bytes, list[int]], None]
OnClose = Callable[[Exception | None], None]


class ProtocolError(Exception):
    """The other end sent something that is not a message."""


def close_all(fds: Sequence[int]) -> None:
    """Close descriptors that nobody else has."""
    for fd in fds:
        with contextlib.suppress(OSError):
            os.close(fd)


class Packets:
    """One end. Calls `on_packet(data, fds)` in the loop; the receiver owns the descriptors.

    A ProtocolError of `on_packet`, which has then closed none of them, breaks the connection.
    `on_close(None)` is called once when the other end is gone, `on_close(exception)` when the
    connection broke (ProtocolError, OSError); not after our own `close()`.
    """

    def __init__(
        self, sock: socket.socket, size_max: int, on_packet: OnPacket, on_close: OnClose
    ) -> None:
        """`size_max`: bytes of the largest packet that is accepted."""
        sock.setblocking(False)
        self._sock = sock
        # The plain number: event loops forbid socket objects that a transport could own.
        self._fd = sock.fileno()
        self._size_max = size_max
        self._on_packet = on_packet
        self._on_close = on_close
        self._loop = asyncio.get_running_loop()
        self._queue: deque[tuple[bytes, Sequence[int]]] = deque()
        self._writing = False
        self._closed = False
        self._drained: asyncio.Future[None] | None = None
        self._loop.add_reader(self._fd, self._readable)

    @property
    def closed(self) -> bool:
        return self._closed

    @property
    def backlog(self) -> int:
        """Packets waiting for the other end to read."""
        return len(self._queue)

    def send(self, packet: bytes, fds: Sequence[int] = ()) -> None:
        """Send now or as soon as possible, in order. Takes `fds` over and closes them.

        After the connection closed a packet is dropped: the close was or will be reported.
        """
        if self._closed:
            close_all(fds)
            return
        self._queue.append((packet, fds))
        if not self._writing:
            self._flush()

    async def drain(self) -> None:
        """Return when the socket took everything sent so far, or the connection closed."""
        while self._queue and not self._closed:
            if self._drained is None:
                self._drained = self._loop.create_future()
            await asyncio.shield(self._drained)

    def receive(self) -> None:
        """Deliver now everything that has arrived; used when the other end is known to be gone."""
        more = True
        while more and not self._closed:
            more = self._readable()

    def close(self) -> None:
        """Close this end; what is still queued is dropped."""
        if self._closed:
            return
        self._closed = True
        self._loop.remove_reader(self._fd)
        self._drop_queue()
        self._sock.close()

    def _fail(self, exc: Exception | None) -> None:
        self.close()
        self._on_close(exc)

    def _flush(self) -> None:
        while self._queue:
            packet, fds = self._queue[0]
            try:
                if fds:
                    socket.send_fds(self._sock, [packet], fds)
                else:
                    self._sock.send(packet)
            except BlockingIOError:
                if not self._writing:
                    self._writing = True
                    self._loop.add_writer(self._fd, self._flush)
                return
            except OSError as exc:
                # The reader still has to see what the other end sent before it went away, so
                # a broken pipe only ends the sending; end of file reports the rest.
                if exc.errno in (errno.EPIPE, errno.ECONNRESET):
                    self._drop_queue()
                else:
                    self._fail(exc)
                return
            self._queue.popleft()
            close_all(fds)
        self._idle()

    def _drop_queue(self) -> None:
        for _, fds in self._queue:
            close_all(fds)
        self._queue.clear()
        self._idle()

    def _idle(self) -> None:
        """Nothing is left to be sent."""
        if self._writing:
            self._writing = False
            self._loop.remove_writer(self._fd)
        if self._drained is not None:
            if not self._drained.done():
                self._drained.set_result(None)
            self._drained = None

    def _readable(self) -> bool:
        """Deliver some packets; returns whether more may be waiting."""
        for _ in range(BATCH):
            if self._closed:
                return False
            try:
                packet, ancillary, flags, _ = self._sock.recvmsg(
                    self._size_max,
                    socket.CMSG_SPACE(FDS_LIMIT * _FD_SIZE),
                    socket.MSG_CMSG_CLOEXEC,
                )
            except (BlockingIOError, InterruptedError):
                return False
            except OSError as exc:
                self._fail(None if exc.errno == errno.ECONNRESET else exc)
                return False
            fds = _received_fds(ancillary)
            if not packet:
                close_all(fds)
                self._fail(None)
                return False
            try:
                if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
                    raise ProtocolError("truncated packet")
                self._on_packet(packet, fds)
            except ProtocolError as exc:
                close_all(fds)
                self._fail(exc)
                return False
        return True


def _received_fds(ancillary: list[tuple[int, int, bytes]]) -> list[int]:
    fds: list[int] = []
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            whole = len(data) - len(data) % _FD_SIZE
            fds.extend(struct.unpack(f"{whole // _FD_SIZE}i", data[:whole]))
    return fds
