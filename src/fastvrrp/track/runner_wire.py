"""What crosses the socket between a RunnerClient and a RunnerService, and the socket itself.

One MessagePack message per SOCK_SEQPACKET datagram, below 64 KB. Requests carry an id chosen by
the client; every request gets exactly one `Done`, every `Cancel` exactly one `Ended`, sent when
the program is gone.
"""

from __future__ import annotations

import asyncio
import enum
import errno
import logging
import socket
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

import msgspec

from fastvrrp.config import model

log = logging.getLogger(__name__)

MESSAGE_BYTES_MAX = 65_000
CANCEL_WAIT_S = 5.0  # how long a cancelled run waits for its program to be gone
RECEIVE_BATCH = 64  # messages per wake-up, so that the loop gets its turn


class Outcome(enum.Enum):
    EXITED = "exited"
    SIGNALLED = "signalled"
    TIMED_OUT = "timed_out"
    FAILED = "failed"  # could not be started
    STARTED = "started"  # only with wait=False


class Result(model.Struct):
    """How a program ended.

    `code` is the exit status (EXITED), the signal number (SIGNALLED) or the errno (FAILED).
    """

    outcome: Outcome
    code: int = 0
    duration_ns: int = 0
    detail: str = ""

    @property
    def ok(self) -> bool:
        """Ended by itself with status 0."""
        return self.outcome is Outcome.EXITED and self.code == 0

    def __str__(self) -> str:
        match self.outcome:
            case Outcome.EXITED:
                return f"exited with status {self.code}"
            case Outcome.SIGNALLED:
                return f"due to signal {self.code}"
            case Outcome.FAILED:
                return f"could not be started: {self.detail}"
            case _:
                return str(self.outcome.value)


class Run(msgspec.Struct, frozen=True, array_like=True, tag=True):
    id: int
    argv: tuple[str, ...]
    account: model.Account | None
    timeout_ns: int
    wait: bool


class Start(msgspec.Struct, frozen=True, array_like=True, tag=True):
    id: int
    argv: tuple[str, ...]
    account: model.Account | None


class Cancel(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """End the program of an earlier Run or Start, after giving it `grace_ns` to end by itself."""

    id: int
    grace_ns: int = 0


class Done(msgspec.Struct, frozen=True, array_like=True, tag=True):
    id: int
    result: Result


class Ended(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """Reply to Cancel."""

    id: int


Request = Run | Start | Cancel
Reply = Done | Ended
T = TypeVar("T")

_encoder = msgspec.msgpack.Encoder()
encode = _encoder.encode
_request_decoder: msgspec.msgpack.Decoder[Request] = msgspec.msgpack.Decoder(Request)
_reply_decoder: msgspec.msgpack.Decoder[Reply] = msgspec.msgpack.Decoder(Reply)
request_decoder = _request_decoder.decode
reply_decoder = _reply_decoder.decode


class Channel(Generic[T]):
    """A non-blocking SOCK_SEQPACKET socket on the running event loop, with a send queue.

    `on_close` is called once, when the peer has closed or broken the protocol; not by `close`.
    """

    def __init__(
        self,
        sock: socket.socket,
        decode: Callable[[bytes], T],
        on_message: Callable[[T], None],
        on_close: Callable[[], None],
    ) -> None:
        self._sock = sock
        self._decode = decode
        self._on_message = on_message
        self._on_close = on_close
        self._loop = asyncio.get_running_loop()
        self._unsent: deque[bytes] = deque()
        self.closed = False
        sock.setblocking(False)
        # The plain number: event loops forbid socket objects that a transport could own.
        self._fd = sock.fileno()
        self._loop.add_reader(self._fd, self._readable)

    def send(self, data: bytes) -> None:
        """Send in order, later if the socket is full. Does nothing after the peer has gone."""
        if self.closed:
            return
        self._unsent.append(data)
        if len(self._unsent) == 1:
            self._writable()

    def close(self) -> None:
        if self.closed:
            return
        self.closed = True
        self._loop.remove_reader(self._fd)
        self._loop.remove_writer(self._fd)
        self._unsent.clear()
        self._sock.close()

    def _writable(self) -> None:
        while self._unsent:
            try:
                self._sock.send(self._unsent[0])
            except BlockingIOError:
                self._loop.add_writer(self._fd, self._writable)
                return
            except OSError as error:
                if error.errno not in (errno.EPIPE, errno.ECONNRESET):
                    self._lost(error)
                    return
                # What the peer said before it went can still be read; end of file reports it.
                self._unsent.clear()
                break
            self._unsent.popleft()
        self._loop.remove_writer(self._fd)

    def _readable(self) -> None:
        for _ in range(RECEIVE_BATCH):
            try:
                data = self._sock.recv(MESSAGE_BYTES_MAX + 1)
            except BlockingIOError:
                return
            except OSError as error:
                self._lost(error)
                return
            if not data:
                self._lost(None)
                return
            try:
                message = self._decode(data)
            except msgspec.DecodeError as error:
                self._lost(error)
                return
            self._on_message(message)
            if self.closed:
                return

    def _lost(self, error: Exception | None) -> None:
        if error is not None:
            log.error("script runner connection lost: %s", error)
        self.close()
        self._on_close()
