"""The messages of supervisor and child (`messages`), with file descriptors, over `Packets`.

Both ends use `Channel`: the supervisor on plain asyncio, a child on uvloop. A message larger than
one packet should be travels in a sealed memfd, so a status of thousands of instances needs no
fragments.

Wire form: one byte (INLINE or MEMFD), then the MessagePack of one message, or its length as 8
big-endian bytes when the message itself is in the last descriptor passed.
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct
from collections.abc import Callable, Sequence

import msgspec

from fastvrrp.packets import FDS_LIMIT, OnClose, Packets, ProtocolError, close_all
from fastvrrp.supervisor import messages

INLINE = 0
MEMFD = 1
INLINE_LIMIT = 32 * 1024
"""Bytes of a message that still go into the packet itself."""
MESSAGE_LIMIT = 256 * 1024 * 1024
"""Bytes of the largest message or configuration either side accepts."""

_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL

OnMessage = Callable[[messages.AnyMessage, list[int]], None]

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[messages.AnyMessage] = msgspec.msgpack.Decoder(
    messages.AnyMessage
)


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
    except OSError:
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

    `on_close`: see packets.Packets.
    """

    def __init__(self, sock: socket.socket, on_message: OnMessage, on_close: OnClose) -> None:
        self._on_message = on_message
        self._packets = Packets(sock, INLINE_LIMIT + 1024, self._received, on_close)
        self.drain = self._packets.drain
        self.receive = self._packets.receive
        self.close = self._packets.close

    @property
    def closed(self) -> bool:
        return self._packets.closed

    @property
    def backlog(self) -> int:
        """Messages waiting for the other end to read."""
        return self._packets.backlog

    def send(self, message: messages.AnyMessage, fds: Sequence[int] = ()) -> None:
        """Send now or as soon as possible, in order. Duplicates `fds`, so the caller keeps his.

        After the channel closed a message is dropped: the close was or will be reported.
        Raises OSError when descriptors run out.
        """
        if self.closed:
            return
        if len(fds) >= FDS_LIMIT:
            raise ValueError(f"at most {FDS_LIMIT - 1} descriptors in a message")
        packet, memfd = pack(message)
        copies = [] if memfd is None else [memfd]
        try:
            for position, fd in enumerate(fds):
                copies.insert(position, os.dup(fd))
        except OSError:
            close_all(copies)
            raise
        self._packets.send(packet, copies)

    def _received(self, packet: bytes, fds: list[int]) -> None:
        self._on_message(*unpack(packet, fds))
