"""The control socket's server: bounded against clients that are many, slow, silent or hostile.

It knows lines, limits and permissions; what a method does is a handler's business. It runs in
the supervisor on plain asyncio, but any loop will do.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import stat
import struct
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from fastvrrp.control import protocol
from fastvrrp.control.protocol import ControlError

log = logging.getLogger(__name__)

Handler = Callable[[dict[str, Any]], Awaitable[Any]]
"""Params in, JSON-able result out. Raises ControlError."""

_SO_PEERGROUPS = 59  # include/uapi/asm-generic/socket.h
_CREDENTIALS = struct.Struct("iII")  # struct ucred: pid, uid, gid


class Limits(NamedTuple):
    clients: int = 32
    line: int = protocol.LINE_LIMIT  # bytes of a request
    idle_s: float = 300.0  # without a request, unless subscribed
    write_s: float = 30.0  # until a reply has been read
    backlog: int = 1 << 20  # bytes of events a subscriber may leave unread


class Peer(NamedTuple):
    pid: int
    uid: int
    groups: frozenset[int]


def peer_of(sock: socket.socket) -> Peer:
    """Who is at the other end of a Unix socket (SO_PEERCRED, SO_PEERGROUPS; unix(7))."""
    raw = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, uid, gid = _CREDENTIALS.unpack(raw)
    groups = {gid}
    try:
        # 1024 bytes, 256 groups, is as much as getsockopt() of the socket module takes.
        raw = sock.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, 1024)
        groups.update(struct.unpack(f"{len(raw) // 4}I", raw))
    except OSError:
        log.debug("supplementary groups of process %d are unknown", pid)
    return Peer(pid, uid, frozenset(groups))


class ControlServer:
    """Serves `handlers` (by method name) and the event stream at `path`.

    Methods: `await start()`, `publish(record)`, `await stop()`. `on_subscribers(bool)` is called
    when the first subscriber comes and when the last one goes.
    """

    def __init__(
        self,
        path: Path,
        handlers: Mapping[str, Handler],
        *,
        limits: Limits | None = None,
        on_subscribers: Callable[[bool], None] | None = None,
    ) -> None:
        self._path = path
        self._handlers = dict(handlers)
        self._limits = limits or Limits()
        self._on_subscribers = on_subscribers
        self._server: asyncio.Server | None = None
        self._clients: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self._subscribers: set[asyncio.StreamWriter] = set()
        self._gid = 0

    @property
    def subscribers(self) -> int:
        return len(self._subscribers)

    async def start(self) -> None:
        """Create the socket, replacing a stale one. The caller holds the run directory's lock.

        Raises OSError; FileExistsError when something that is not a socket is in the way.
        """
        with contextlib.suppress(FileNotFoundError):
            if not stat.S_ISSOCK(self._path.lstat().st_mode):
                raise FileExistsError(f"{self._path} exists and is not a socket")
            self._path.unlink()
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            # The mode has to be right from the first moment on, hence umask and not chmod.
            previous = os.umask(0o117)
            try:
                with protocol.socket_address(self._path) as address:
                    sock.bind(address)
            finally:
                os.umask(previous)
            self._gid = self._path.stat().st_gid
            sock.listen(self._limits.clients)
            sock.setblocking(False)
            self._server = await asyncio.start_unix_server(
                self._serve, sock=sock, limit=self._limits.line
            )
        except BaseException:  # also a cancellation: no server owns the socket yet
            sock.close()
            raise

    async def stop(self) -> None:
        """Disconnect everybody and remove the socket."""
        if self._server is None:
            return
        self._server.close()
        for task in list(self._clients):
            task.cancel()
        if self._clients:
            await asyncio.wait(list(self._clients))
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()
        self._server = None

    def publish(self, record: dict[str, Any]) -> None:
        """Send one event to every subscriber; one that does not read is disconnected."""
        if not self._subscribers:
            return
        line = protocol.encode_event(record)
        for writer in list(self._subscribers):
            if writer.transport.get_write_buffer_size() > self._limits.backlog:
                self._unsubscribe(writer)
                writer.write(protocol.encode_event({"kind": "overflow"}))
                writer.close()
                # close() waits for the peer to read; a peer that never does is cut off.
                asyncio.get_running_loop().call_later(5.0, writer.transport.abort)
            else:
                writer.write(line)

    def _subscribe(self, writer: asyncio.StreamWriter) -> None:
        self._subscribers.add(writer)
        if len(self._subscribers) == 1 and self._on_subscribers is not None:
            self._on_subscribers(True)

    def _unsubscribe(self, writer: asyncio.StreamWriter) -> None:
        if writer in self._subscribers:
            self._subscribers.discard(writer)
            if not self._subscribers and self._on_subscribers is not None:
                self._on_subscribers(False)

    def _refusal(self, sock: socket.socket) -> tuple[str, str] | None:
        peer = peer_of(sock)
        if peer.uid not in (0, os.geteuid()) and self._gid not in peer.groups:
            log.warning("control: refused process %d of user %d", peer.pid, peer.uid)
            return protocol.DENIED, "only root, the daemon's user and the socket's group may ask"
        if len(self._clients) > self._limits.clients:
            return protocol.BUSY, f"{self._limits.clients} clients are connected already"
        return None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._clients[task] = writer
        try:
            refusal = self._refusal(writer.get_extra_info("socket"))
            if refusal is not None:
                writer.write(protocol.encode_error(None, *refusal))
                await asyncio.wait_for(writer.drain(), self._limits.write_s)
                return
            await self._requests(reader, writer)
        except (ConnectionError, TimeoutError):
            pass  # the client went away, or stopped reading: either way there is nobody to tell
        except asyncio.CancelledError:
            pass  # stop(): the task ends here, and nobody awaits it for more than its end
        finally:
            self._unsubscribe(writer)
            del self._clients[task]
            if writer.transport.get_write_buffer_size() and not writer.is_closing():
                asyncio.get_running_loop().call_later(5.0, writer.transport.abort)
            writer.close()

    async def _requests(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            try:
                line = await asyncio.wait_for(reader.readuntil(b"\n"), self._limits.idle_s)
            except asyncio.IncompleteReadError:
                return
            except asyncio.LimitOverrunError:
                text = f"a request is at most {self._limits.line} bytes"
                writer.write(protocol.encode_error(None, protocol.BAD_REQUEST, text))
                await asyncio.wait_for(writer.drain(), self._limits.write_s)
                return
            reply, subscribe = await self._answer(line)
            writer.write(reply)
            if subscribe:
                # At once: whoever has read the reply misses nothing that happens after it.
                self._subscribe(writer)
            await asyncio.wait_for(writer.drain(), self._limits.write_s)
            if subscribe:
                # Nothing more is expected; reading notices that the client left.
                while await reader.read(4096):
                    pass
                return

    async def _answer(self, line: bytes) -> tuple[bytes, bool]:
        request_id: int | str | None = None
        try:
            request = protocol.decode_request(line)
            request_id = request.id
            if request.method == "events":
                return protocol.encode_result(request_id, {"subscribed": True}), True
            handler = self._handlers.get(request.method)
            if handler is None:
                known = ", ".join(sorted([*self._handlers, "events"]))
                raise ControlError(
                    protocol.UNKNOWN_METHOD, f"no method {request.method!r}; there are {known}"
                )
            return protocol.encode_result(request_id, await handler(request.params)), False
        except ControlError as exc:
            return protocol.encode_error(request_id, exc.code, str(exc)), False
        except Exception:
            # Whatever fault a handler has, the asker gets an answer and the log the rest.
            log.exception("control: request failed")
            return protocol.encode_error(request_id, protocol.INTERNAL, "see the log"), False
