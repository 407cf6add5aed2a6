"""Follows the kernel's links, addresses, routes and rules on an asyncio loop.

Notifications are hints: they keep `Observed` current, and whenever they cannot be trusted
(overflow, truncation, changes the kernel does not tell) the tables are read again, with
notifications held back in the socket meanwhile. They are then applied on top of the dump, which
converges because none is missing and the last one about an object states what it is.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
from collections.abc import Callable, Sequence
from typing import Any

from fastvrrp import _core
from fastvrrp.net import wire
from fastvrrp.net.follower import Follower
from fastvrrp.net.objects import Address
from fastvrrp.net.route_filter import attach_route_filter
from fastvrrp.net.rtnl import (
    NO_SUCH_FAMILY,
    RtnlSocket,
    dump_requests,
    open_socket,
)

logger = logging.getLogger(__name__)

GROUPS = {
    "links": (wire.RTNLGRP_LINK,),
    "addresses": (wire.RTNLGRP_IPV4_IFADDR, wire.RTNLGRP_IPV6_IFADDR),
    "routes": (wire.RTNLGRP_IPV4_ROUTE, wire.RTNLGRP_IPV6_ROUTE),
    "rules": (wire.RTNLGRP_IPV4_RULE, wire.RTNLGRP_IPV6_RULE),
}
_NETLINK_ADD_MEMBERSHIP = 1
_RECEIVE_BUFFER = 32 << 20
_QUERY_BUFFER = 4 << 20
_MESSAGE_BUFFER = 1 << 17
_DATAGRAMS_PER_TURN = 256  # then other callbacks get their turn
_BURST = 32  # addresses of ours in one turn are the beginning of many
_BURST_PAUSE_S = 0.025  # the threads that bring them about need the processor more
_DUMP_ATTEMPTS = 20
_RETRY_S = 0.02
_REFRESH_RETRY_S = 0.2  # after a table that could not be read, twice as long each time
_REFRESH_RETRY_MAX_S = 5.0
_RESCAN_DELAY_S = 0.05  # gathers the many events of one change into one dump
_ANSWER_TIMEOUT_S = 10.0
_ALL = frozenset(GROUPS)


class Monitor(Follower):
    """Keeps `observed` current and tells of changes.

    Callbacks run on the loop, after `observed` has been changed. After an overflow the
    differences are reported one by one as usual, then `on_resync` once. Must be created in the
    network namespace it shall watch.

    Raises OSError when a socket cannot be made.
    """

    def __init__(
        self,
        *,
        on_resync: Callable[[], None] = lambda: None,
        receive_buffer: int = _RECEIVE_BUFFER,
        tables: frozenset[str] = _ALL,
        **callbacks: Callable[..., None],
    ) -> None:
        """`tables` are those that are kept current; `callbacks` are those of Follower."""
        super().__init__(**callbacks)
        self.on_resync = on_resync
        self._tables = tables
        self.overflows = 0
        self._buffer = bytearray(_MESSAGE_BUFFER)
        self._view = memoryview(self._buffer)
        self._dirty: set[str] = set()
        self._announce_resync = False
        self._task: asyncio.Task[None] | None = None
        self._rescan: asyncio.TimerHandle | None = None
        self._pause: asyncio.Handle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._sequence = 0
        self._events = open_socket(receive_buffer=receive_buffer)
        try:
            attach_route_filter(self._events)
            _bind(self._events)
        except OSError:
            self.close()
            raise

    async def start(self) -> None:
        """Subscribe, then read everything: `observed` is complete on return.

        Raises OSError.
        """
        for name in self._tables:
            for group in GROUPS[name]:
                self._events.setsockopt(wire.SOL_NETLINK, _NETLINK_ADD_MEMBERSHIP, group)
        for name in sorted(self._tables):
            await self._read_table(name, report=False)
        self._loop = asyncio.get_running_loop()
        self._listen()

    def close(self) -> None:
        """Stop watching. `observed` keeps its last content."""
        if self._rescan is not None:
            self._rescan.cancel()
        if self._task is not None:
            self._task.cancel()
        if self._loop is not None and self._events.fileno() >= 0:
            self._deafen()
        self._events.close()

    def resync(self, tables: frozenset[str] = _ALL) -> None:
        """Read tables ("links", "addresses", "routes", "rules") again, soon."""
        if self._loop is None:
            raise RuntimeError("the monitor was not started")
        self._dirty |= tables & self._tables
        self._announce_resync = self._announce_resync or tables == _ALL
        if self._task is None:
            self._deafen()
            self._task = self._loop.create_task(self._refresh())

    async def play(self, requests: Sequence[tuple[bytes, int]]) -> list[int]:
        """Play requests off the failover path (static objects, deletions); errno of each.

        Runs in a worker thread, because the kernel's RTNL lock can block. Raises OSError.
        """
        # Made here, because this thread is the one in the right namespace; closed there, because
        # a thread cannot be cancelled.
        rtnl = RtnlSocket()

        def play() -> list[int]:
            with rtnl:
                return rtnl.play(requests)

        return await asyncio.get_running_loop().run_in_executor(None, play)

    # -- notifications

    def drain(self) -> None:
        """Take in everything the kernel has told up to now, callbacks included."""
        while self._task is None and self._turn()[0]:
            pass

    async def up_to_date(self) -> None:
        """Return when `observed` has all that the kernel has told up to now."""
        self.drain()
        while self._task is not None:  # a table is being read again
            await asyncio.wait({self._task})
            self.drain()

    def _listen(self) -> None:
        """Take notifications in as they come."""
        assert self._loop is not None
        self._pause = None
        self._loop.add_reader(self._events.fileno(), self._readable)

    def _deafen(self) -> None:
        assert self._loop is not None
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None
        self._loop.remove_reader(self._events.fileno())

    def _readable(self) -> None:
        """A few are taken in at once. Many addresses of ours are a takeover of many: what follows
        waits a little, in the socket's large buffer."""
        assert self._loop is not None
        _, marked = self._turn()
        if marked >= _BURST and self._task is None:
            self._deafen()
            self._pause = self._loop.call_later(_BURST_PAUSE_S, self._resume, 0)

    def _resume(self, count: int) -> None:
        """After a pause: take in everything, `count` of ours in earlier turns of the loop."""
        assert self._loop is not None
        self._pause = None
        more, marked = self._turn()
        count += marked
        if self._task is not None:
            return  # it listens again when all is read
        if more:
            self._pause = self._loop.call_soon(self._resume, count)
        elif count >= _BURST:
            self._pause = self._loop.call_later(_BURST_PAUSE_S, self._resume, 0)
        else:
            self._listen()

    def _turn(self) -> tuple[bool, int]:
        """Take in what waits, up to a limit: whether more may be waiting, and how many addresses
        of ours there were."""
        left = _DATAGRAMS_PER_TURN
        marked = 0
        while left > 0:
            came: list[Address] = []
            size, taken, strangers = _core.read_addresses(
                self._events.fileno(),
                self._buffer,
                self.observed.addresses,
                came,
                wire.PROTOCOL,
                left,
            )
            left -= taken + bool(size)
            marked += taken
            self.messages += taken
            self.rejected += strangers  # only the kernel is believed
            if came:
                self.call(self.on_marked, came)
            if size == -errno.ENOBUFS:
                self.overflows += 1
                logger.warning("netlink notifications were lost, reading everything again")
                self.resync()
            elif size < 0:
                raise OSError(-size, os.strerror(-size))
            elif size > len(self._buffer):
                self._buffer = bytearray(2 * len(self._buffer))
                self._view = memoryview(self._buffer)
                self.overflows += 1
                self.resync()
            elif size > 0 and not self.datagram(self._view[:size]):
                self.resync()
            if self._task is not None:
                return False, marked  # a table is being read again: the rest waits in the socket
            if size == 0:
                break
        return left <= 0, marked

    def call(self, callback: Callable[..., None], *arguments: Any) -> None:
        """A consumer's mistake must cost neither the later events nor the consistency of
        `observed`, so it is reported to the loop's handler like that of any callback."""
        try:
            callback(*arguments)
        except Exception as error:
            assert self._loop is not None
            self._loop.call_exception_handler(
                {"message": f"in {callback!r} of the netlink monitor", "exception": error}
            )

    def routes_in_doubt(self, *, certain: bool = False) -> None:
        wanted = certain or self.observed.routes
        if self._rescan is None and wanted and self._loop is not None:
            self._rescan = self._loop.call_later(_RESCAN_DELAY_S, self._rescan_due)

    def _rescan_due(self) -> None:
        self._rescan = None
        self.resync(frozenset(("routes",)))

    # -- reading tables

    async def _refresh(self) -> None:
        """Re-read what is dirty, then let notifications flow again."""
        assert self._loop is not None
        pause_s = _REFRESH_RETRY_S
        while self._dirty:
            if self._dirty >= self._tables:
                self._discard_notifications()
            tables = sorted(self._dirty)
            self._dirty.clear()
            for name in tables:
                try:
                    await self._read_table(name, report=True)
                except OSError as error:
                    logger.warning("cannot read %s from the kernel: %s", name, error)
                    self._dirty.add(name)
            if self._dirty:
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, _REFRESH_RETRY_MAX_S)
        self._task = None
        if self._events.fileno() < 0:
            return  # closed while the last table was being read
        self._listen()
        if self._announce_resync:
            self._announce_resync = False
            self.call(self.on_resync)

    def _discard_notifications(self) -> None:
        """Throw away what waits in the socket, before everything is read again.

        After an overflow the queue holds the time before the gap: applied on top of a newer dump
        it would bring back objects whose deletion fell into the gap.
        """
        while True:
            try:
                self._events.recv_into(self._view)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise

    async def _read_table(self, name: str, *, report: bool) -> None:
        found: list[Any] = []
        for kind, body in dump_requests()[name]:
            try:
                found += await self._dump(name, kind, body)
            except OSError as error:
                if body[0] != wire.AF_INET6 or error.errno not in NO_SUCH_FAMILY:
                    raise
        self.table_is(name, found, report=report)

    async def _dump(self, name: str, kind: int, body: bytes) -> list[Any]:
        """Raises OSError, also when the kernel is silent or never holds still."""
        # A socket of its own: what an attempt that failed half-way left in it disturbs no other.
        with open_socket(receive_buffer=_QUERY_BUFFER) as sock:
            _bind(sock)
            for attempt in range(_DUMP_ATTEMPTS):
                objects = await asyncio.wait_for(
                    self._dump_once(sock, name, kind, body), _ANSWER_TIMEOUT_S
                )
                if objects is not None:
                    return objects
                await asyncio.sleep(_RETRY_S * attempt)
        raise OSError(errno.EINTR, "the tables change faster than they can be read")

    async def _dump_once(
        self, sock: socket.socket, name: str, kind: int, body: bytes
    ) -> list[Any] | None:
        """Decoded objects, or None when the table changed meanwhile."""
        loop = asyncio.get_running_loop()
        self._sequence += 1
        sequence = self._sequence
        flags = wire.NLM_F_REQUEST | wire.NLM_F_DUMP
        sock.sendto(wire.message(kind, flags, body, sequence), (0, 0))
        found: list[Any] = []
        buffer = memoryview(bytearray(_MESSAGE_BUFFER))
        interrupted = False
        finished: asyncio.Future[bool] = loop.create_future()

        def readable() -> None:
            nonlocal interrupted
            try:
                size, _, message_flags, (sender, _) = sock.recvmsg_into([buffer])
                if sender != 0 or finished.done():
                    return
                if message_flags & socket.MSG_TRUNC:
                    raise OSError(errno.EMSGSIZE, "netlink message larger than the buffer")
                data = buffer[:size]
                for frame in wire.frames(data):
                    if frame.sequence != sequence:
                        continue
                    interrupted = interrupted or bool(frame.flags & wire.NLM_F_DUMP_INTR)
                    if frame.kind in (wire.NLMSG_DONE, wire.NLMSG_ERROR):
                        if code := wire.answer(data, frame):
                            raise OSError(code, os.strerror(code))
                        finished.set_result(not interrupted)
                        return
                    decoded = self.decoded(name, data, frame)
                    if decoded is not None:
                        found.append(decoded)
            except BlockingIOError:
                return
            except OSError as error:
                finished.set_exception(error)

        loop.add_reader(sock.fileno(), readable)
        try:
            return found if await finished else None
        finally:
            loop.remove_reader(sock.fileno())


def _bind(sock: socket.socket) -> None:
    """Ready for an event loop. Raises OSError."""
    sock.setblocking(False)
    sock.bind((0, 0))
