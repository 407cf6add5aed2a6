"""A blocking client of the control socket, for the command line and other simple programs."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from fastvrrp.control import protocol
from fastvrrp.control.protocol import ControlError


class Unreachable(Exception):
    """No daemon answers; the text says what to do about it."""


class Client:
    """One connection to the daemon of `run_dir`. Use it as a context manager.

    `timeout_s` bounds every wait except that for the next event. Raises Unreachable when there is
    no daemon, or it goes away, or does not answer in time.
    """

    def __init__(self, run_dir: Path, *, timeout_s: float = 10.0) -> None:
        self._path = run_dir / protocol.SOCKET_NAME
        self._timeout_s = timeout_s
        self._next_id = 1
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        self._sock.settimeout(timeout_s)
        try:
            with protocol.socket_address(self._path) as address:
                self._sock.connect(address)
        except OSError as exc:
            self._sock.close()
            raise Unreachable(_advice(self._path, exc)) from exc
        self._lines = self._sock.makefile("rb")

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        self._lines.close()
        self._sock.close()

    def request(self, method: str, params: dict[str, Any] | None = None) -> Any:
        """The result of one request. Raises ControlError when the daemon refuses it."""
        request_id = self._next_id
        self._next_id += 1
        line = msgspec.json.encode({"id": request_id, "method": method, "params": params or {}})
        try:
            self._sock.sendall(line + b"\n")
        except BrokenPipeError:
            pass  # the daemon hung up: what it said before doing so is read below
        except OSError as exc:
            raise Unreachable(f"the daemon at {self._path} went away: {exc}") from exc
        reply = self._record()
        if "error" in reply:
            error = reply["error"]
            raise ControlError(error["code"], error["message"])
        if reply.get("id") != request_id or "result" not in reply:
            raise Unreachable(f"{self._path} does not speak our protocol")
        return reply["result"]

    def events(self) -> Iterator[dict[str, Any]]:
        """Subscribe at once; iterating blocks for the next event until the daemon ends.

        Ends when the daemon stops; after an "overflow" record the daemon has hung up.
        """
        self.request("events")
        self._sock.settimeout(None)
        return self._events()

    def _events(self) -> Iterator[dict[str, Any]]:
        while line := self._lines.readline():
            yield _object(line, self._path)["event"]

    def _record(self) -> dict[str, Any]:
        try:
            line = self._lines.readline()
        except TimeoutError as exc:
            raise Unreachable(
                f"the daemon at {self._path} did not answer within {self._timeout_s:g} s"
            ) from exc
        except OSError as exc:
            raise Unreachable(f"the daemon at {self._path} went away: {exc}") from exc
        if not line:
            raise Unreachable(f"the daemon at {self._path} closed the connection")
        return _object(line, self._path)


def _object(line: bytes, path: Path) -> dict[str, Any]:
    try:
        record: dict[str, Any] = msgspec.json.decode(line, type=dict[str, Any])
    except msgspec.MsgspecError as exc:
        raise Unreachable(f"{path} does not speak our protocol") from exc
    if record.get("schema") != protocol.SCHEMA:
        raise Unreachable(
            f"the daemon at {path} speaks schema {record.get('schema')}, "
            f"this command speaks {protocol.SCHEMA}: use the same version of both"
        )
    return record


def _advice(path: Path, exc: OSError) -> str:
    if isinstance(exc, PermissionError):
        return f"no permission for {path}: run as root or as a member of the socket's group"
    if isinstance(exc, FileNotFoundError | ConnectionRefusedError | NotADirectoryError):
        return (
            f"no daemon is running at {path.parent}: start it with `fastvrrp run`, "
            "or name its run directory with --run-dir"
        )
    return f"cannot connect to {path}: {exc}"
