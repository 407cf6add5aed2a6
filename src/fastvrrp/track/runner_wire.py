"""What crosses the socket between a RunnerClient and a RunnerService, and the socket itself.

One MessagePack message per SOCK_SEQPACKET datagram, below 64 KB. Requests carry an id chosen by
the client; every request gets exactly one `Done`, every `Cancel` exactly one `Ended`, sent when
the program is gone.
"""

import enum
import logging
import socket
from collections.abc import Callable
from typing import Generic, TypeVar

import msgspec

from fastvrrp.config import model
from fastvrrp.packets import Packets, ProtocolError, close_all

log = logging.getLogger(__name__)

MESSAGE_BYTES_MAX = 65_000
CANCEL_WAIT_S = 5.0  # how long a cancelled run waits for its program to be gone


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
    """The requests or the replies of one end, on the running event loop.

    `on_close` is called once, when the peer has closed or broken the protocol; not by `close`.
    """

    def __init__(
        self,
        sock: socket.socket,
        decode: Callable[[bytes], T],
        on_message: Callable[[T], None],
        on_close: Callable[[], None],
    ) -> None:
        self._decode = decode
        self._on_message = on_message
        self._on_close = on_close
        self._packets = Packets(sock, MESSAGE_BYTES_MAX, self._received, self._lost)
        self.close = self._packets.close

    @property
    def closed(self) -> bool:
        return self._packets.closed

    def send(self, data: bytes) -> None:
        """Send in order, later if the socket is full. Does nothing after the peer has gone."""
        self._packets.send(data)

    def _received(self, packet: bytes, fds: list[int]) -> None:
        try:
            message = self._decode(packet)
        except msgspec.DecodeError as error:
            raise ProtocolError(f"undecodable message: {error}") from error
        close_all(fds)
        self._on_message(message)

    def _lost(self, error: Exception | None) -> None:
        if error is not None:
            log.error("script runner connection lost: %s", error)
        self._on_close()
