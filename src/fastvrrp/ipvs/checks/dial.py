"""A TCP connection of a checker, from socket() to an established connection, without coroutines."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import struct
from collections.abc import Callable

from fastvrrp.config.servers import Connection
from fastvrrp.ipvs.checks.base import Verdict

Connected = Callable[[socket.socket], None]
Failed = Callable[[Verdict, str], None]

# What the network or the server says to a connect(). Everything else is a problem of this host:
# no memory, no free port, no such address or interface here.
ANSWERS = frozenset(
    {
        errno.ECONNREFUSED,
        errno.ECONNRESET,
        errno.ECONNABORTED,
        errno.ETIMEDOUT,
        errno.ENETUNREACH,
        errno.EHOSTUNREACH,
        errno.ENETDOWN,
        errno.EHOSTDOWN,
        errno.EPIPE,
        errno.EPROTO,
        errno.ENOPROTOOPT,
        errno.EOPNOTSUPP,
    }
)

_RESET = struct.pack("ii", 1, 0)  # struct linger of sys/socket.h: no farewell
_IP_BIND_ADDRESS_NO_PORT = 24  # linux/in.h


def describe(error: OSError) -> str:
    """`connection refused`, as the system words it, in lower case."""
    text = os.strerror(error.errno) if error.errno else str(error)
    return text[:1].lower() + text[1:]


def open_socket(
    connection: Connection, kind: int = socket.SOCK_STREAM, protocol: int = 0
) -> socket.socket:
    """A non-blocking socket with the checker's mark, interface and source address.

    Raises OSError; all of its reasons are local ones.
    """
    family = socket.AF_INET6 if ":" in connection.address else socket.AF_INET
    sock = socket.socket(family, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, protocol)
    try:
        if connection.fwmark:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, connection.fwmark)
        if connection.bind_if is not None:
            name = connection.bind_if.encode() + b"\0"
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, name)
        if connection.bind_port:
            # Several checkers may use it, and each of them again before TIME_WAIT is over: the
            # connection is reset at its end.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        if connection.bind_address is not None or connection.bind_port:
            if not connection.bind_port and kind == socket.SOCK_STREAM:
                # one port serves any number of connections to different servers
                sock.setsockopt(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
            address = connection.bind_address or ("::" if family == socket.AF_INET6 else "0.0.0.0")
            if protocol == socket.IPPROTO_ICMPV6 and connection.bind_if is not None:
                # these sockets do not take a link-local address's interface from the option
                sock.bind((address, 0, 0, socket.if_nametoindex(connection.bind_if)))
            else:
                sock.bind((address, connection.bind_port))
    except OSError:
        sock.close()
        raise
    return sock


class Dial:
    """Connects once. Exactly one of its two callbacks is called, and never by the constructor.

    `connected` gets the socket and owns it; `failed` gets DOWN for what came from the network,
    LOCAL for what this host could not do. Nothing is called after `cancel`.
    """

    __slots__ = ("_connected", "_failed", "_loop", "_sock", "_soon", "_timer")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        connection: Connection,
        connected: Connected,
        failed: Failed,
    ) -> None:
        self._loop = loop
        self._connected = connected
        self._failed = failed
        self._sock: socket.socket | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._soon: asyncio.Handle | None = None
        try:
            sock = open_socket(connection)
        except OSError as e:
            self._soon = loop.call_soon(self._end, Verdict.LOCAL, describe(e))
            return
        self._sock = sock
        try:
            code = sock.connect_ex((connection.address, connection.port))
        except OSError as e:
            self._soon = loop.call_soon(self._end, Verdict.LOCAL, describe(e))
            return
        if code == errno.EINPROGRESS:
            loop.add_writer(sock, self._writable)
            self._timer = loop.call_later(connection.timeout_ns / 1e9, self._timeout)
        else:
            self._soon = loop.call_soon(self._immediately, code)

    def cancel(self) -> None:
        """Nothing is called any more, nothing stays open."""
        sock = self._release()
        if sock is not None:
            sock.close()

    def _release(self) -> socket.socket | None:
        """The socket, with no callback of ours waiting for it any more."""
        sock, self._sock = self._sock, None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            if sock is not None:
                self._loop.remove_writer(sock)
        if self._soon is not None:
            self._soon.cancel()
            self._soon = None
        return sock

    def _writable(self) -> None:
        assert self._sock is not None
        code = self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            # whatever it is, it arrived after the first packet had left
            self._end(Verdict.DOWN, describe(OSError(code, "")))
        else:
            self._established()

    def _immediately(self, code: int) -> None:
        if code:
            verdict = Verdict.DOWN if code in ANSWERS else Verdict.LOCAL
            self._end(verdict, describe(OSError(code, "")))
        else:
            self._established()

    def _established(self) -> None:
        sock = self._release()
        assert sock is not None
        self._connected(sock)

    def _timeout(self) -> None:
        self._end(Verdict.DOWN, describe(OSError(errno.ETIMEDOUT, "")))

    def _end(self, verdict: Verdict, text: str) -> None:
        self.cancel()
        self._failed(verdict, text)
