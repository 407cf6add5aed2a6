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

from fastvrrp.net import wire
from fastvrrp.net.objects import (
    IFF_UP,
    Address,
    AddressKey,
    Link,
    Route,
    RuleKey,
    decode_address,
    decode_link,
    decode_route,
    decode_rule,
)
from fastvrrp.net.observed import Observed
from fastvrrp.net.route_filter import attach_route_filter
from fastvrrp.net.rtnl import (
    NO_SUCH_FAMILY,
    RtnlSocket,
    dump_requests,
    enlarge_receive_buffer,
    open_socket,
)

logger = logging.getLogger(__name__)

GROUPS = (
    wire.RTNLGRP_LINK,
    wire.RTNLGRP_IPV4_IFADDR,
    wire.RTNLGRP_IPV6_IFADDR,
    wire.RTNLGRP_IPV4_ROUTE,
    wire.RTNLGRP_IPV6_ROUTE,
    wire.RTNLGRP_IPV4_RULE,
    wire.RTNLGRP_IPV6_RULE,
)
_NETLINK_ADD_MEMBERSHIP = 1
_RECEIVE_BUFFER = 32 << 20
_MESSAGE_BUFFER = 1 << 17
_DATAGRAMS_PER_TURN = 256  # then other callbacks get their turn
_DUMP_ATTEMPTS = 20
_RETRY_S = 0.02
_RESCAN_DELAY_S = 0.05  # gathers the many events of one change into one dump
_ANSWER_TIMEOUT_S = 10.0
_ALL = frozenset(("links", "addresses", "routes", "rules"))


def _nothing(*_: object) -> None:
    """The callback of who does not care."""


class Monitor:
    """Keeps `observed` current and tells of changes.

    Callbacks run on the loop, after `observed` has been changed. After an overflow the
    differences are reported one by one as usual, then `on_resync` once. Must be created in the
    network namespace it shall watch.

    Raises OSError when the sockets cannot be made.
    """

    def __init__(
        self,
        *,
        on_link: Callable[[Link | None, Link | None], None] = _nothing,
        on_address: Callable[[int, Address, bool], None] = _nothing,
        on_route: Callable[[Route, bool], None] = _nothing,
        on_rule: Callable[[RuleKey, bool], None] = _nothing,
        on_resync: Callable[[], None] = _nothing,
        receive_buffer: int = _RECEIVE_BUFFER,
    ) -> None:
        self.on_link = on_link
        self.on_address = on_address
        self.on_route = on_route
        self.on_rule = on_rule
        self.on_resync = on_resync
        self.observed = Observed()
        self.overflows = 0
        self.messages = 0
        self.rejected = 0  # malformed, or not from the kernel
        self._buffer = bytearray(_MESSAGE_BUFFER)
        self._view = memoryview(self._buffer)
        self._dirty: set[str] = set()
        self._announce_resync = False
        self._task: asyncio.Task[None] | None = None
        self._rescan: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._sequence = 0
        self._events = open_socket()
        self._queries = open_socket(receive_buffer=4 << 20)
        try:
            enlarge_receive_buffer(self._events, receive_buffer)
            attach_route_filter(self._events)
            for sock in (self._events, self._queries):
                sock.setblocking(False)
                sock.bind((0, 0))
        except OSError:
            self.close()
            raise

    async def start(self) -> None:
        """Subscribe, then read everything: `observed` is complete on return.

        Raises OSError.
        """
        for group in GROUPS:
            self._events.setsockopt(wire.SOL_NETLINK, _NETLINK_ADD_MEMBERSHIP, group)
        for name in sorted(_ALL):
            await self._read_table(name, report=False)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._events.fileno(), self._readable)

    def close(self) -> None:
        """Stop watching. `observed` keeps its last content."""
        if self._rescan is not None:
            self._rescan.cancel()
        if self._task is not None:
            self._task.cancel()
        if self._loop is not None:
            for sock in (self._events, self._queries):
                if sock.fileno() >= 0:
                    self._loop.remove_reader(sock.fileno())
        self._events.close()
        self._queries.close()

    def resync(self, tables: frozenset[str] = _ALL) -> None:
        """Read tables ("links", "addresses", "routes", "rules") again, soon."""
        if self._loop is None:
            raise RuntimeError("the monitor was not started")
        self._dirty |= tables
        self._announce_resync = self._announce_resync or tables == _ALL
        if self._task is None:
            self._loop.remove_reader(self._events.fileno())
            self._task = self._loop.create_task(self._refresh())

    async def play(self, requests: Sequence[tuple[bytes, int]]) -> list[int]:
        """Play requests off the failover path (static objects, deletions); errno of each.

        Runs in a worker thread, because the kernel's RTNL lock can block. Raises OSError.
        """
        # Made here and not in the thread: this thread is the one in the right namespace.
        with RtnlSocket() as rtnl:
            return await asyncio.get_running_loop().run_in_executor(None, rtnl.play, requests)

    # -- notifications

    def drain(self) -> None:
        """Take in everything the kernel has told up to now, callbacks included."""
        while self._task is None and self._readable():
            pass

    def _readable(self) -> bool:
        """One turn; whether more may be waiting."""
        for _ in range(_DATAGRAMS_PER_TURN):
            try:
                size, _, flags, (sender, _) = self._events.recvmsg_into([self._view])
            except BlockingIOError:
                return False
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                self.overflows += 1
                logger.warning("netlink notifications were lost, reading everything again")
                self.resync()
                return False
            if sender != 0:  # only the kernel is believed
                self.rejected += 1
                continue
            if flags & socket.MSG_TRUNC:
                self._buffer = bytearray(2 * len(self._buffer))
                self._view = memoryview(self._buffer)
                self.overflows += 1
                self.resync()
                return False
            self._datagram(self._view[:size])
            if self._task is not None:
                return False  # a table is being read again: the rest waits in the socket
        return True

    def _datagram(self, data: memoryview) -> None:
        try:
            for frame in wire.frames(data):
                self.messages += 1
                handler = _HANDLERS.get(frame.kind)
                if handler is not None:
                    handler(self, data, frame)
        except wire.MalformedMessage as error:
            self.rejected += 1
            logger.warning("malformed netlink message: %s", error)

    def _call(self, callback: Callable[..., None], *arguments: Any) -> None:
        """A consumer's mistake must cost neither the later events nor the consistency of
        `observed`, so it is reported to the loop's handler like that of any callback."""
        try:
            callback(*arguments)
        except Exception as error:
            assert self._loop is not None
            self._loop.call_exception_handler(
                {"message": f"in {callback!r} of the netlink monitor", "exception": error}
            )

    def _new_link(self, data: memoryview, frame: wire.Frame) -> None:
        link = decode_link(data, frame.start, frame.end)
        if link is not None:
            self._link_is(link)

    def _link_is(self, link: Link) -> None:
        old = self.observed.put_link(link)
        if old == link:
            return
        self._call(self.on_link, old, link)
        if old is not None and old.flags & IFF_UP and not link.flags & IFF_UP:
            # IPv4 routes over it are gone, and the kernel does not say so.
            self._rescan_routes()

    def _deleted_link(self, data: memoryview, frame: wire.Frame) -> None:
        link = decode_link(data, frame.start, frame.end)
        if link is not None:
            self._link_is_gone(link.ifindex)

    def _link_is_gone(self, ifindex: int) -> None:
        old = self.observed.drop_link(ifindex)
        for address in self.observed.addresses.pop(ifindex, {}).values():
            self._call(self.on_address, ifindex, address, False)
        if old is not None:
            self._call(self.on_link, old, None)
        self._rescan_routes()

    def _new_address(self, data: memoryview, frame: wire.Frame) -> None:
        address = decode_address(data, frame.start, frame.end)
        if address is not None and self.observed.put_address(address) != address:
            self._call(self.on_address, address.key.ifindex, address, True)

    def _deleted_address(self, data: memoryview, frame: wire.Frame) -> None:
        address = decode_address(data, frame.start, frame.end)
        if address is None:
            return
        known = self.observed.drop_address(address.key)
        if known is not None:
            self._call(self.on_address, address.key.ifindex, known, False)
            if address.key.family == 4:
                # Routes with this preferred source go with it, untold.
                self._rescan_routes()

    def _new_route(self, data: memoryview, frame: wire.Frame) -> None:
        route = decode_route(data, frame.start, frame.end)
        if route is None:
            return
        if frame.flags & wire.NLM_F_REPLACE:
            replaced = self.observed.drop_slot(route.key.slot)
            if replaced:
                # At most one was replaced, and it is not said which: look.
                self._rescan_routes(certain=True)
            for old in replaced:
                if old != route:
                    self._call(self.on_route, old, False)
        if route.key.protocol == wire.PROTOCOL and self.observed.put_route(route):
            self._call(self.on_route, route, True)

    def _deleted_route(self, data: memoryview, frame: wire.Frame) -> None:
        route = decode_route(data, frame.start, frame.end)
        if route is not None:
            for removed in self.observed.drop_route(route):
                self._call(self.on_route, removed, False)

    def _new_rule(self, data: memoryview, frame: wire.Frame) -> None:
        rule = decode_rule(data, frame.start, frame.end)
        if rule is not None and rule not in self.observed.rules:
            self.observed.rules.add(rule)
            self._call(self.on_rule, rule, True)

    def _deleted_rule(self, data: memoryview, frame: wire.Frame) -> None:
        rule = decode_rule(data, frame.start, frame.end)
        if rule is not None and rule in self.observed.rules:
            self.observed.rules.discard(rule)
            self._call(self.on_rule, rule, False)

    def _rescan_routes(self, *, certain: bool = False) -> None:
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
        while self._dirty:
            if self._dirty >= _ALL:
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
                await asyncio.sleep(_RETRY_S * 10)
        self._task = None
        self._loop.add_reader(self._events.fileno(), self._readable)
        if self._announce_resync:
            self._announce_resync = False
            self._call(self.on_resync)

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
                found += await self._dump(kind, body)
            except OSError as error:
                if body[0] != wire.AF_INET6 or error.errno not in NO_SUCH_FAMILY:
                    raise
        _APPLY[name](self, found, report)

    async def _dump(self, kind: int, body: bytes) -> list[Any]:
        """Raises OSError, also when the kernel is silent or never holds still."""
        for attempt in range(_DUMP_ATTEMPTS):
            objects = await asyncio.wait_for(self._dump_once(kind, body), _ANSWER_TIMEOUT_S)
            if objects is not None:
                return objects
            await asyncio.sleep(_RETRY_S * attempt)
        raise OSError(errno.EINTR, "the tables change faster than they can be read")

    async def _dump_once(self, kind: int, body: bytes) -> list[Any] | None:
        """Decoded objects, or None when the table changed meanwhile."""
        loop = asyncio.get_running_loop()
        self._sequence += 1
        sequence = self._sequence
        flags = wire.NLM_F_REQUEST | wire.NLM_F_DUMP
        self._queries.sendto(wire.message(kind, flags, body, sequence), (0, 0))
        decode = _DECODERS[kind]
        found: list[Any] = []
        buffer = memoryview(bytearray(_MESSAGE_BUFFER))
        interrupted = False
        finished: asyncio.Future[bool] = loop.create_future()

        def readable() -> None:
            nonlocal interrupted
            try:
                size, _, message_flags, (sender, _) = self._queries.recvmsg_into([buffer])
                if sender != 0 or finished.done():
                    return
                if message_flags & socket.MSG_TRUNC:
                    raise OSError(errno.EMSGSIZE, "netlink message larger than the buffer")
                data = buffer[:size]
                for frame in wire.frames(data):
                    if frame.sequence != sequence:
                        continue
                    interrupted = interrupted or bool(frame.flags & wire.NLM_F_DUMP_INTR)
                    if frame.kind == wire.NLMSG_DONE:
                        finished.set_result(not interrupted)
                        return
                    if frame.kind == wire.NLMSG_ERROR:
                        code = -wire.I32.unpack_from(data, frame.start)[0]
                        raise OSError(code, os.strerror(code))
                    decoded = decode(data, frame.start, frame.end)
                    if decoded is not None:
                        found.append(decoded)
            except BlockingIOError:
                return
            except wire.MalformedMessage as error:
                self.rejected += 1
                finished.set_exception(OSError(errno.EBADMSG, str(error)))
            except OSError as error:
                finished.set_exception(error)

        loop.add_reader(self._queries.fileno(), readable)
        try:
            return found if await finished else None
        finally:
            if self._queries.fileno() >= 0:
                loop.remove_reader(self._queries.fileno())

    def _apply_links(self, found: list[Link], report: bool) -> None:
        for ifindex in set(self.observed.links) - {link.ifindex for link in found}:
            self._link_is_gone(ifindex)
        for link in found:
            if report:
                self._link_is(link)
            else:
                self.observed.put_link(link)

    def _apply_addresses(self, found: list[Address], report: bool) -> None:
        old = {address.key: address for address in self.observed.all_addresses()}
        # Built anew: the order of the dump is the kernel's own and tells the primary address.
        fresh: dict[int, dict[AddressKey, Address]] = {}
        for address in found:
            fresh.setdefault(address.key.ifindex, {})[address.key] = address
        self.observed.addresses = fresh
        if not report:
            return
        for address in found:
            if old.pop(address.key, None) != address:
                self._call(self.on_address, address.key.ifindex, address, True)
        for gone in old.values():
            self._call(self.on_address, gone.key.ifindex, gone, False)

    def _apply_routes(self, found: list[Route], report: bool) -> None:
        ours = [route for route in found if route.key.protocol == wire.PROTOCOL]
        old = set(self.observed.all_routes())
        self.observed.routes = {}
        for route in ours:
            self.observed.put_route(route)
        if report:
            for route in old - set(ours):
                self._call(self.on_route, route, False)
            for route in ours:
                if route not in old:
                    self._call(self.on_route, route, True)

    def _apply_rules(self, found: list[RuleKey], report: bool) -> None:
        old, fresh = self.observed.rules, set(found)
        self.observed.rules = fresh
        if report:
            for rule in old - fresh:
                self._call(self.on_rule, rule, False)
            for rule in fresh - old:
                self._call(self.on_rule, rule, True)


_HANDLERS: dict[int, Callable[[Monitor, memoryview, wire.Frame], None]] = {
    wire.RTM_NEWLINK: Monitor._new_link,
    wire.RTM_DELLINK: Monitor._deleted_link,
    wire.RTM_NEWADDR: Monitor._new_address,
    wire.RTM_DELADDR: Monitor._deleted_address,
    wire.RTM_NEWROUTE: Monitor._new_route,
    wire.RTM_DELROUTE: Monitor._deleted_route,
    wire.RTM_NEWRULE: Monitor._new_rule,
    wire.RTM_DELRULE: Monitor._deleted_rule,
}
_DECODERS: dict[int, Callable[[memoryview, int, int], object]] = {
    wire.RTM_GETLINK: decode_link,
    wire.RTM_GETADDR: decode_address,
    wire.RTM_GETROUTE: decode_route,
    wire.RTM_GETRULE: decode_rule,
}
_APPLY: dict[str, Callable[[Monitor, list[Any], bool], None]] = {
    "links": Monitor._apply_links,
    "addresses": Monitor._apply_addresses,
    "routes": Monitor._apply_routes,
    "rules": Monitor._apply_rules,
}
