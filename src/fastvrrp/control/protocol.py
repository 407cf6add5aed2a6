"""The control protocol: newline-delimited JSON over DIR/control.sock (docs/control-socket.md).

Requests, replies and events as types, the error codes, and the limits both ends keep.
"""

from __future__ import annotations

from typing import Any

import msgspec

SCHEMA = 1
"""Version of every record sent. It grows when a field changes meaning, not when one is added."""

LINE_LIMIT = 64 * 1024
"""Bytes of the longest request line, newline included. Replies may be longer."""

SOCKET_NAME = "control.sock"

# Error codes of replies.
BAD_REQUEST = "bad-request"  # not JSON, not an object, wrong types
UNKNOWN_METHOD = "unknown-method"
NOT_FOUND = "not-found"  # no instance, group or tracker of that name
UNAVAILABLE = "unavailable"  # the VRRP process is down or does not answer
BUSY = "busy"  # too many clients
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


class Reply(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line to a client: exactly one of `result` and `error`."""

    id: int | str | None
    schema: int = 0  # always given; 0 would be left out
    result: Any = msgspec.UNSET
    error: Error | msgspec.UnsetType = msgspec.UNSET


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


def encode_result(request_id: int | str | None, result: Any) -> bytes:
    """The reply line of a successful request."""
    return msgspec.json.encode(Reply(request_id, SCHEMA, result=result)) + b"\n"


def encode_error(request_id: int | str | None, code: str, text: str) -> bytes:
    """The reply line of a failed request."""
    return msgspec.json.encode(Reply(request_id, SCHEMA, error=Error(code, text))) + b"\n"


def encode_event(record: dict[str, Any]) -> bytes:
    """The line of one event."""
    return msgspec.json.encode(EventLine(record)) + b"\n"
