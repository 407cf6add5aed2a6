"""Messages with file descriptors over a SOCK_SEQPACKET socket pair, for any asyncio loop.

Both ends use `Channel`: the supervisor on plain asyncio, a child on uvloop. Sending never
blocks; what the kernel does not take at once waits in a queue. A message larger than one packet
should be travels in a sealed memfd, so a status of thousands of instances needs no fragments.

Wire form: one byte (INLINE or MEMFD), then the MessagePack of one message, or its length as 8
big-endian bytes when the message itself is in the last descriptor passed.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import os
import socket
import struct
from collections import deque
from collections.abc import Callable, Sequence

import msgspec

from fastvrrp.supervisor import messages

INLINE = 0
MEMFD = 1
INLINE_LIMIT = 32 * 1024
"""Bytes of a message that still go into the packet itself."""
MESSAGE_LIMIT = 256 * 1024 * 1024
"""Bytes of the largest message or configuration either side accepts."""
FDS_LIMIT = 4

_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL
_FD_SIZE = struct.calcsize("i")

OnMessage = Callable[[messages.AnyMessage, list[int]], None]
OnClose = Callable[[Exception | None], None]

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[messages.AnyMessage] = msgspec.msgpack.Decoder(
    messages.AnyMessage
)


class ProtocolError(Exception):
    """The other end sent something that is not a message."""


def sealed_memfd(name: str, data: bytes) -> int:
    """A memfd holding `data` that nobody can change any more. The caller closes it.

    Source: memfd_create(2), F_ADD_SEALS in fcntl(2). Raises OSError.
    """
    fd = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS)
    except BaseException:
        os.close(fd)
        raise
    return fd


def read_memfd(fd: int) -> bytes:
    """The whole content of a sealed memfd; does not close it.

    Raises ProtocolError when it is not sealed (it could change while being read) or too large.
    """
    try:
        seals = fcntl.fcntl(fd, fcntl.F_GET_SEALS)
    except OSError as exc:
        raise ProtocolError("descriptor is not a memfd") from exc
    if seals & _SEALS != _SEALS:
        raise ProtocolError("memfd is not sealed")
    return read_all(fd)


def read_all(fd: int) -> bytes:
    """The whole content of a file that nobody writes to any more. Raises ProtocolError."""
    size = os.fstat(fd).st_size
    if size > MESSAGE_LIMIT:
        raise ProtocolError(f"memfd of {size} bytes is larger than {MESSAGE_LIMIT}")
    chunks = []
    offset = 0
    while offset < size:
        chunk = os.pread(fd, size - offset, offset)
        if not chunk:
            raise ProtocolError("memfd ended early")
        chunks.append(chunk)
        offset += len(chunk)
    return b"".join(chunks)


def close_fds(fds: Sequence[int]) -> None:
    """Close descriptors that came with a message and that nobody kept."""
    for fd in fds:
        with contextlib.suppress(OSError):
            os.close(fd)


def pack(message: messages.AnyMessage) -> tuple[bytes, int | None]:
    """The packet of a message, and a memfd to be sent along (and then closed) or None."""
    body = _encoder.encode(message)
    if len(body) <= INLINE_LIMIT:
        return bytes((INLINE,)) + body, None
    return bytes((MEMFD,)) + struct.pack(">Q", len(body)), sealed_memfd("fastvrrp-message", body)


def unpack(packet: bytes, fds: list[int]) -> tuple[messages.AnyMessage, list[int]]:
    """A message and the descriptors meant for its receiver.

    Raises ProtocolError; the descriptors are then still the caller's to close.
    """
    if not packet:
        raise ProtocolError("empty packet")
    body = packet[1:]
    rest = fds
    if packet[0] == MEMFD:
        if not fds:
            raise ProtocolError("message descriptor is missing")
        body = read_memfd(fds[-1])
        rest = fds[:-1]
    elif packet[0] != INLINE:
        raise ProtocolError(f"unknown packet form {packet[0]}")
    try:
        message = _decoder.decode(body)
    except msgspec.MsgspecError as exc:
        raise ProtocolError(f"undecodable message: {exc}") from exc
    if packet[0] == MEMFD:
        os.close(fds[-1])
    return message, rest


class Channel:
    """One end. Calls `on_message(message, fds)` in the loop; the receiver owns the descriptors.

    `on_close(None)` is called once when the other end is gone, `on_close(exception)` when the
    channel broke (ProtocolError, OSError); not after our own `close()`.
    """

    def __init__(
        self,
        sock: socket.socket,
        on_message: OnMessage,
        on_close: OnClose,
        *,
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._on_message = on_message
        self._on_close = on_close
        self._loop = loop or asyncio.get_running_loop()
        self._queue: deque[tuple[bytes, list[int]]] = deque()
        self._writing = False
        self._closed = False
        self._drained: asyncio.Future[None] | None = None
        self._loop.add_reader(sock.fileno(), self._readable)

    @property
    def closed(self) -> bool:
        return self._closed

    @property
    def backlog(self) -> int:
        """Messages waiting for the other end to read."""
        return len(self._queue)

    def send(self, message: messages.AnyMessage, fds: Sequence[int] = ()) -> None:
        """Send now or as soon as possible, in order. Duplicates `fds`, so the caller keeps his.

        After the channel closed a message is dropped: the close was or will be reported.
        Raises OSError when descriptors run out.
        """
        if self._closed:
            return
        if len(fds) >= FDS_LIMIT:
            raise ValueError(f"at most {FDS_LIMIT - 1} descriptors in a message")
        packet, memfd = pack(message)
        copies = [] if memfd is None else [memfd]
        try:
            for position, fd in enumerate(fds):
                copies.insert(position, os.dup(fd))
        except OSError:
            close_fds(copies)
            raise
        self._queue.append((packet, copies))
        if not self._writing:
            self._flush()

    async def drain(self) -> None:
        """Return when the socket took everything sent so far, or the channel closed."""
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
        self._loop.remove_reader(self._sock.fileno())
        if self._writing:
            self._loop.remove_writer(self._sock.fileno())
            self._writing = False
        for _, fds in self._queue:
            close_fds(fds)
        self._queue.clear()
        self._sock.close()
        self._wake()

    def _wake(self) -> None:
        if self._drained is not None:
            if not self._drained.done():
                self._drained.set_result(None)
            self._drained = None

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
                    self._loop.add_writer(self._sock.fileno(), self._flush)
                return
            except OSError as exc:
                # The reader still has to see what the other end sent before it went away, so
                # a broken pipe only ends the sending; end of file reports the rest.
                if exc.errno in (errno.EPIPE, errno.ECONNRESET):
                    self._drop_queue()
                    return
                self._fail(exc)
                return
            self._queue.popleft()
            close_fds(fds)
        if self._writing:
            self._writing = False
            self._loop.remove_writer(self._sock.fileno())
        self._wake()

    def _drop_queue(self) -> None:
        for _, fds in self._queue:
            close_fds(fds)
        self._queue.clear()
        if self._writing:
            self._writing = False
            self._loop.remove_writer(self._sock.fileno())
        self._wake()

    def _readable(self) -> bool:
        """Deliver some messages; returns whether more may be waiting."""
        # Bounded, so that a chatty end cannot keep the loop from anything else.
        for _ in range(64):
            if self._closed:
                return False
            try:
                packet, ancillary, flags, _ = self._sock.recvmsg(
                    INLINE_LIMIT + 1024,
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
                close_fds(fds)
                self._fail(None)
                return False
            if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
                close_fds(fds)
                self._fail(ProtocolError("truncated packet"))
                return False
            try:
                message, rest = unpack(packet, fds)
            except ProtocolError as exc:
                close_fds(fds)
                self._fail(exc)
                return False
            self._on_message(message, rest)
        return True


def _received_fds(ancillary: list[tuple[int, int, bytes]]) -> list[int]:
    fds: list[int] = []
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            whole = len(data) - len(data) % _FD_SIZE
            fds.extend(struct.unpack(f"{whole // _FD_SIZE}i", data[:whole]))
    return fds
