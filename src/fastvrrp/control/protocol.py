"""The control protocol: newline-delimited JSON over DIR/control.sock (docs/control-socket.md).

Requests, replies and events as types, the error codes, and the limits both ends keep.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

SCHEMA = 1
"""Version of every record sent. It grows when a field changes meaning, not when one is added."""

LINE_LIMIT = 64 * 1024
"""Bytes of the longest request line, newline included. Replies may be longer."""

SOCKET_NAME = "control.sock"

_SUN_PATH_LIMIT = 107  # bytes of sockaddr_un.sun_path without its NUL, unix(7)

# Error codes of replies.
BAD_REQUEST = "bad-request"  # not JSON, not an object, wrong types
UNKNOWN_METHOD = "unknown-method"
NOT_FOUND = "not-found"  # no instance, group or tracker of that name
UNAVAILABLE = "unavailable"  # the VRRP process is down or does not answer
BUSY = "busy"  # too many clients
DENIED = "denied"  # the peer may not talk to us
INTERNAL = "internal"  # a fault of ours; the log has the rest


class ControlError(Exception):
    """A request that cannot be answered; `code` is for programs, the text for people."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


class Request(msgspec.Struct, frozen=True):
    """One line from a client."""

    method: str
    id: int | str | None = None
    params: dict[str, Any] = {}


class Error(msgspec.Struct, frozen=True):
    code: str
    message: str


class Result(msgspec.Struct, frozen=True):
    """The line that answers a request."""

    id: int | str | None
    result: Any
    schema: int = SCHEMA


class Failure(msgspec.Struct, frozen=True):
    """The line that refuses a request."""

    id: int | str | None
    error: Error
    schema: int = SCHEMA


class EventLine(msgspec.Struct, frozen=True):
    """One line to a subscribed client."""

    event: dict[str, Any]
    schema: int = SCHEMA


_requests = msgspec.json.Decoder(Request)


def decode_request(line: bytes) -> Request:
    """A request. Raises ControlError(BAD_REQUEST)."""
    try:
        return _requests.decode(line)
    except msgspec.MsgspecError as exc:
        raise ControlError(BAD_REQUEST, f"not a request: {exc}") from exc
    except (UnicodeDecodeError, RecursionError) as exc:
        raise ControlError(BAD_REQUEST, f"not JSON: {exc}") from exc


def encode_result(request_id: int | str | None, result: Any) -> bytes:
    """The reply line of a successful request."""
    return msgspec.json.encode(Result(request_id, result)) + b"\n"


def encode_error(request_id: int | str | None, code: str, text: str) -> bytes:
    """The reply line of a failed request."""
    return msgspec.json.encode(Failure(request_id, Error(code, text))) + b"\n"


def encode_event(record: dict[str, Any]) -> bytes:
    """The line of one event."""
    return msgspec.json.encode(EventLine(record)) + b"\n"


@contextlib.contextmanager
def socket_address(path: Path) -> Iterator[str]:
    """An address for bind() or connect() that also works for a path too long for sockaddr_un.

    Raises OSError when the directory cannot be opened.
    """
    text = str(path)
    if len(os.fsencode(text)) <= _SUN_PATH_LIMIT:
        yield text
        return
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)
