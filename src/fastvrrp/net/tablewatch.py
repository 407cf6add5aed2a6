"""Tells when somebody changes the host's nftables.

`nft flush ruleset`, which a restart of nftables.service begins with, takes everybody's tables. What
was changed is not read from the notifications, of which a firewall manager makes thousands at once:
they are thrown away, and whoever is told looks at his own table.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable

from fastvrrp.net import nftables

log = logging.getLogger(__name__)

PAUSE_S = 0.1  # so many changes are one; and the longest time without the table
_GROUP = 1 << 6  # NFNLGRP_NFTABLES, linux/netfilter/nfnetlink.h
_RECEIVE_BUFFER = 1 << 12  # it overflows, which tells as much


class TableWatch:
    """Belongs to the event loop. Close it."""

    def __init__(self, on_change: Callable[[], None]) -> None:
        """`on_change` is called a moment after a change, also one of our own."""
        self._on_change = on_change
        self._socket: socket.socket | None = None
        self._timer: asyncio.TimerHandle | None = None

    def open(self) -> None:
        """Begin, unless it is open already. A kernel that does not allow it is logged."""
        if self._socket is not None:
            return
        try:
            sock = nftables.open_socket()
        except OSError as exc:
            self._refused(exc)
            return
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
            sock.bind((0, _GROUP))
        except OSError as exc:
            sock.close()
            self._refused(exc)
            return
        self._socket = sock
        asyncio.get_running_loop().add_reader(sock, self._changed, sock)

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()
            self._socket = None

    @staticmethod
    def _refused(exc: OSError) -> None:
        log.warning("a flush of nftables will not be noticed: %s", exc.strerror or exc)

    def _changed(self, sock: socket.socket) -> None:
        """Not woken again before the pause is over."""
        loop = asyncio.get_running_loop()
        loop.remove_reader(sock)
        self._timer = loop.call_later(PAUSE_S, self._tell, sock)

    def _tell(self, sock: socket.socket) -> None:
        self._timer = None
        while True:
            try:
                sock.recv(1)
            except BlockingIOError:
                break
            except OSError:  # ENOBUFS: there were more
                continue
        asyncio.get_running_loop().add_reader(sock, self._changed, sock)
        self._on_change()
