"""Applies what the kernel tells to `Observed`, and says what changed. No socket, no loop here.

Two sources: tables read at one moment (`table_is`) and the notifications in between
(`datagram`). `net.monitor.Monitor` fetches both.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

from fastvrrp.net import wire
from fastvrrp.net.objects import (
    IFF_UP,
    Address,
    Link,
    Route,
    RuleKey,
    decode_address,
    decode_link,
    decode_route,
    decode_rule,
)
from fastvrrp.net.observed import Observed

logger = logging.getLogger(__name__)


def _nothing(*_: object) -> None:
    """The callback of who does not care."""


class Follower:
    """`observed`, and callbacks that are called after it has been changed."""

    def __init__(
        self,
        *,
        on_link: Callable[[Link | None, Link | None], None] = _nothing,
        on_address: Callable[[int, Address, bool], None] = _nothing,
        on_marked: Callable[[Sequence[Address]], None] | None = None,
        on_route: Callable[[Route, bool], None] = _nothing,
        on_rule: Callable[[RuleKey, bool], None] = _nothing,
    ) -> None:
        """`on_marked`: several addresses with our mark came or changed (default: `on_address` for
        each); whether some are told in this way is up to who fetches."""
        self.on_link = on_link
        self.on_address = on_address
        self.on_marked = on_marked or self._one_by_one
        self.on_route = on_route
        self.on_rule = on_rule
        self.observed = Observed()
        self.messages = 0
        self.rejected = 0  # malformed, or not from the kernel

    def datagram(self, data: memoryview) -> bool:
        """Take in the notifications of one datagram. False when its framing is damaged, so that
        something may have been missed; a single damaged message is passed over with a log line.
        """
        try:
            for frame in wire.frames(data):
                self.messages += 1
                handler = _HANDLERS.get(frame.kind)
                if handler is not None:
                    self._notified(handler, data, frame)
        except wire.MalformedMessage as error:
            self._reject(error)
            return False
        return True

    def decoded(self, name: str, data: memoryview, frame: wire.Frame) -> Any:
        """One object of the table `name` ("links", "addresses", "routes", "rules"), or None for
        what does not concern us. A damaged one must not cost the rest of the table."""
        try:
            return _TABLES[name][0](data, frame.start, frame.end)
        except wire.MalformedMessage as error:
            self._reject(error)
            return None

    def table_is(self, name: str, found: list[Any], *, report: bool) -> None:
        """All of one table as it was read; with `report` the callbacks are told the differences."""
        _TABLES[name][1](self, found, report)

    # -- for who fetches

    def routes_in_doubt(self, *, certain: bool = False) -> None:
        """Routes may have gone untold (`certain`: one has); the table should be read again."""

    def call(self, callback: Callable[..., None], *arguments: Any) -> None:
        """Every callback is called through this."""
        callback(*arguments)

    # -- notifications

    def _one_by_one(self, came: Sequence[Address]) -> None:
        for address in came:
            self.call(self.on_address, address.key.ifindex, address, True)

    def _reject(self, error: wire.MalformedMessage) -> None:
        self.rejected += 1
        logger.warning("malformed netlink message: %s", error.strerror)

    def _notified(
        self,
        handler: Callable[[Follower, memoryview, wire.Frame], None],
        data: memoryview,
        frame: wire.Frame,
    ) -> None:
        try:
            handler(self, data, frame)
        except wire.MalformedMessage as error:
            self._reject(error)

    def _new_link(self, data: memoryview, frame: wire.Frame) -> None:
        link = decode_link(data, frame.start, frame.end)
        if link is not None:
            self._link_is(link)

    def _link_is(self, link: Link) -> None:
        old = self.observed.put_link(link)
        if old == link:
            return
        self.call(self.on_link, old, link)
        if old is not None and old.flags & IFF_UP and not link.flags & IFF_UP:
            # IPv4 routes over it are gone, and the kernel does not say so.
            self.routes_in_doubt()

    def _deleted_link(self, data: memoryview, frame: wire.Frame) -> None:
        link = decode_link(data, frame.start, frame.end)
        if link is not None:
            self._link_is_gone(link.ifindex)

    def _link_is_gone(self, ifindex: int) -> None:
        old = self.observed.drop_link(ifindex)
        gone = self.observed.addresses.pop(ifindex, None)
        for address in () if gone is None else gone.values():
            self.call(self.on_address, ifindex, address, False)
        if old is not None:
            self.call(self.on_link, old, None)
        self.routes_in_doubt()

    def _new_address(self, data: memoryview, frame: wire.Frame) -> None:
        address = decode_address(data, frame.start, frame.end)
        if address is not None and self.observed.put_address(address) != address:
            self.call(self.on_address, address.key.ifindex, address, True)

    def _deleted_address(self, data: memoryview, frame: wire.Frame) -> None:
        address = decode_address(data, frame.start, frame.end)
        if address is None:
            return
        # It may be the first that is heard of the address: the kernel tells of a new one of IPv6
        # a little after it is there, and not at all if it goes before that.
        known = self.observed.drop_address(address.key) or address
        self.call(self.on_address, address.key.ifindex, known, False)
        if address.key.family == 4:
            # Routes with this preferred source go with it, untold.
            self.routes_in_doubt()

    def _new_route(self, data: memoryview, frame: wire.Frame) -> None:
        route = decode_route(data, frame.start, frame.end)
        if route is None:
            return
        if frame.flags & wire.NLM_F_REPLACE:
            replaced = self.observed.drop_slot(route.key.slot)
            if replaced:
                # At most one was replaced, and it is not said which: look.
                self.routes_in_doubt(certain=True)
            for old in replaced:
                if old != route:
                    self.call(self.on_route, old, False)
        if route.key.protocol == wire.PROTOCOL and self.observed.put_route(route):
            self.call(self.on_route, route, True)

    def _deleted_route(self, data: memoryview, frame: wire.Frame) -> None:
        route = decode_route(data, frame.start, frame.end)
        if route is not None:
            for removed in self.observed.drop_route(route):
                self.call(self.on_route, removed, False)

    def _new_rule(self, data: memoryview, frame: wire.Frame) -> None:
        rule = decode_rule(data, frame.start, frame.end)
        if rule is not None and rule not in self.observed.rules:
            self.observed.rules.add(rule)
            self.call(self.on_rule, rule, True)

    def _deleted_rule(self, data: memoryview, frame: wire.Frame) -> None:
        rule = decode_rule(data, frame.start, frame.end)
        if rule is not None and rule in self.observed.rules:
            self.observed.rules.discard(rule)
            self.call(self.on_rule, rule, False)

    # -- tables

    def _links_are(self, found: list[Link], report: bool) -> None:
        for ifindex in set(self.observed.links) - {link.ifindex for link in found}:
            self._link_is_gone(ifindex)
        for link in found:
            if report:
                self._link_is(link)
            else:
                self.observed.put_link(link)

    def _addresses_are(self, found: list[Address], report: bool) -> None:
        old = {address.key: address for address in self.observed.all_addresses()}
        # Built anew: the order of the dump is the kernel's own and tells the primary address.
        self.observed.addresses = {}
        for address in found:
            self.observed.put_address(address)
        if not report:
            return
        for address in found:
            if old.pop(address.key, None) != address:
                self.call(self.on_address, address.key.ifindex, address, True)
        for gone in old.values():
            self.call(self.on_address, gone.key.ifindex, gone, False)

    def _routes_are(self, found: list[Route], report: bool) -> None:
        ours = [route for route in found if route.key.protocol == wire.PROTOCOL]
        old = set(self.observed.all_routes())
        self.observed.routes = {}
        for route in ours:
            self.observed.put_route(route)
        if report:
            for route in old - set(ours):
                self.call(self.on_route, route, False)
            for route in ours:
                if route not in old:
                    self.call(self.on_route, route, True)

    def _rules_are(self, found: list[RuleKey], report: bool) -> None:
        old, fresh = self.observed.rules, set(found)
        self.observed.rules = fresh
        if report:
            for rule in old - fresh:
                self.call(self.on_rule, rule, False)
            for rule in fresh - old:
                self.call(self.on_rule, rule, True)


_HANDLERS: dict[int, Callable[[Follower, memoryview, wire.Frame], None]] = {
    wire.RTM_NEWLINK: Follower._new_link,
    wire.RTM_DELLINK: Follower._deleted_link,
    wire.RTM_NEWADDR: Follower._new_address,
    wire.RTM_DELADDR: Follower._deleted_address,
    wire.RTM_NEWROUTE: Follower._new_route,
    wire.RTM_DELROUTE: Follower._deleted_route,
    wire.RTM_NEWRULE: Follower._new_rule,
    wire.RTM_DELRULE: Follower._deleted_rule,
}
_TABLES: dict[
    str,
    tuple[
        Callable[[memoryview, int, int], object],
        Callable[[Follower, list[Any], bool], None],
    ],
] = {
    "links": (decode_link, Follower._links_are),
    "addresses": (decode_address, Follower._addresses_are),
    "routes": (decode_route, Follower._routes_are),
    "rules": (decode_rule, Follower._rules_are),
}
