"""real_server and sorry_server: from what is written to what applies.

Large files have tens of thousands of real servers whose blocks say the same. Such a block is read
once; its twins differ in address and port only and are made from what it became (`Pattern`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import msgspec
from msgspec.structs import replace

from fastvrrp.config.blocks import Entries, get, read_block
from fastvrrp.config.checkkinds import CHECKS, REAL_SERVER, read_check
from fastvrrp.config.checks import (
    Draft,
    Settings,
    Surroundings,
    Target,
    check_pace,
    is_link_local,
)
from fastvrrp.config.context import Context
from fastvrrp.config.diagnostics import shown
from fastvrrp.config.model import Command, Position
from fastvrrp.config.node import Node, Twins, fresh
from fastvrrp.config.servers import Forwarding, Lot, RealServer, Servers
from fastvrrp.config.values import bare_address, integer, is_ipv4

_COMMANDS = ("notify_up", "notify_down")


class Endpoint(NamedTuple):
    """ADDR [PORT]; port None: not written."""

    address: str
    family: int
    port: int | None


def endpoint(context: Context, node: Node) -> Endpoint | None:
    """The arguments of virtual_server, real_server and sorry_server; port 0 is "any"."""
    words = node.words
    address, family = bare_address(context, node)
    if not family:
        context.error(
            node, f"{shown(words[1])} is not an address", f"write {words[0]} ADDRESS PORT", word=1
        )
        return None
    if len(words) == 2:
        return Endpoint(address, family, None)
    if len(words) > 3:
        context.extra(node, 3)
    port = integer(words[2])
    if port is None or not 0 <= port <= 65535:
        context.error(node, f"{shown(words[2])} is not a port", "write 1 to 65535", word=2)
        return None
    return Endpoint(address, family, port)


class Service(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What a virtual server gives its real servers; equal ones give the same.

    port        of the service; None: of a group, whose services have theirs
    any_port    of the service or of all services of the group; 0: there are several, or none
    families    of its addresses, which servers without a tunnel must have; empty: not given
    """

    port: int | None
    any_port: int
    is_fwmark: bool
    families: tuple[int, ...]
    forwarding: Forwarding
    weight: int
    inhibit_on_failure: bool
    smtp_alert: bool
    settings: Settings


class Pattern(msgspec.Struct, frozen=True, eq=False, gc=False):
    """A real server whose twins are made from it.

    asks   whether more than its words decided about it, see Context
    """

    model: RealServer
    checks: tuple[Draft, ...]
    commands: tuple[tuple[str, int], ...]  # field, number of its statement
    asks: bool

    def made(self, node: Node, address: str) -> RealServer:
        """A real server that says the same in its own lines."""
        body = node.body or []
        changed: dict[str, Any] = {
            field: replace(getattr(self.model, field), position=body[number].position(1))
            for field, number in self.commands
        }
        checks = [draft.at(address, *draft.places(body)) for draft in self.checks]
        return replace(
            self.model,
            address=address,
            checks=tuple(checks),
            position=node.position(1),
            **changed,
        )


class Mould(msgspec.Struct, frozen=True, eq=False, gc=False):
    """A pattern for real servers with IPv4 addresses that are written line by line the same.

    Each place is a distance in lines from the first line, and a column.
    """

    model: RealServer
    only: tuple[Any, Any, tuple[int, int]] | None  # checker, connection, place, for `checks`
    checks: tuple[tuple[Draft, tuple[int, int], tuple[int, int] | None], ...]
    commands: tuple[tuple[str, tuple[int, int]], ...]
    asks: bool  # as of the pattern

    def cast(self, file: str, line: int, column: int, address: str) -> RealServer:
        """The real server that is written at this place."""
        model = self.model
        if self.only is not None:
            check, to, distance = self.only
            place = _place(file, line, distance)
            checks = (replace(check, connection=replace(to, address=address), position=place),)
        else:
            checks = tuple([self._check(*each, file, line, address) for each in self.checks])
        place = Position(file=file, line=line, column=column)
        made = replace(model, address=address, checks=checks, position=place)
        for field, at in self.commands:
            moved = replace(getattr(model, field), position=_place(file, line, at))
            made = replace(made, **{field: moved})
        return made

    @staticmethod
    def _check(
        draft: Draft,
        place: tuple[int, int],
        command: tuple[int, int] | None,
        file: str,
        line: int,
        address: str,
    ) -> Any:
        told = None if command is None else _place(file, line, command)
        return draft.at(address, _place(file, line, place), told)


def _place(file: str, line: int, distance: tuple[int, int]) -> Position:
    return Position(file=file, line=line + distance[0], column=distance[1])


def _mould(pattern: Pattern, node: Node) -> Mould:
    """`node` is the real server that the pattern was read from."""
    body, line = node.body or [], node.line

    def distance(place: Position) -> tuple[int, int]:
        return place.line - line, place.column

    checks = []
    for draft in pattern.checks:
        place, command = draft.places(body)
        checks.append((draft, distance(place), None if command is None else distance(command)))
    commands = [(field, distance(body[number].position(1))) for field, number in pattern.commands]
    only = None
    if len(checks) == 1 and checks[0][0].has_address:
        draft, down, _ = checks[0]
        only = draft.check, draft.check.connection, down
    return Mould(pattern.model, only, tuple(checks), tuple(commands), pattern.asks)


def _shape(body: list[Node]) -> tuple[Any, ...]:
    """All words of a block, comparable with those of another one."""
    return tuple(
        [node.words if node.body is None else (node.words, _shape(node.body)) for node in body]
    )


class _Known:
    """What was read for one kind of service."""

    __slots__ = ("moulds", "patterns")

    def __init__(self) -> None:
        self.moulds: dict[tuple[int, str], Mould] = {}  # by identity of the body, and port
        self.patterns: dict[tuple[Any, ...], Pattern] = {}


def _lot(mould: Mould, node: Twins) -> Lot:
    file, line, each = node.file, node.line, node.each
    addresses, column = node.addresses, node.position(1).column

    def one(number: int) -> RealServer:
        return mould.cast(file, line + number * each, column, addresses[number])

    return Lot(mould, one, addresses)


def _are_distinct(parts: Sequence[RealServer | Lot]) -> bool:
    """Whether no two have the same address and port."""
    by_port: dict[int, list[str]] = {}
    for part in parts:
        if isinstance(part, Lot):
            by_port.setdefault(part.one(0).port, []).extend(part.addresses)
        else:
            by_port.setdefault(part.port, []).append(part.address)
    return all(len({*addresses}) == len(addresses) for addresses in by_port.values())


def _one_by_one(
    found: Iterable[tuple[RealServer | Lot, Node]],
) -> Iterator[tuple[RealServer, Node]]:
    for part, node in found:
        if not isinstance(part, Lot):
            yield part, node
        elif isinstance(node, Twins):
            for number in range(len(part.addresses)):
                yield part.one(number), node.one(number)


class RealServers:
    """Makes the real servers of a configuration."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self._known: dict[Service, _Known] = {}

    def build(
        self, nodes: list[Node], service: Service, around: Surroundings
    ) -> Sequence[RealServer]:
        """Those that can be used; what is wrong with others is said."""
        known = self._known.setdefault(service, _Known())
        found: list[tuple[RealServer | Lot, Node]] = []
        for node in nodes:
            if isinstance(node, Twins):
                found += self._twins(node, service, around, known)
                continue
            server = self._read(node, service, around, known, id(node.body))
            if server is not None:
                found.append((server, node))
        parts = [part for part, _ in found]
        if not _are_distinct(parts):
            return tuple(self._distinct(found, around))
        single = [part for part in parts if not isinstance(part, Lot)]
        return tuple(single) if len(single) == len(parts) else Servers(parts)

    def _twins(
        self, node: Twins, service: Service, around: Surroundings, known: _Known
    ) -> Iterator[tuple[RealServer | Lot, Node]]:
        """As lots, when one of their kind has been read without a message and nobody has to look
        at each of them."""
        body = id(node.body)
        key = body, node.words[2]
        if key not in known.moulds:
            one = node.one(0)
            server = self._read(one, service, around, known, body)
            if server is not None:
                yield server, one
            if len(node.addresses) == 1:
                return
            node = node.rest()
        mould = known.moulds.get(key)
        if mould is not None and all(map(is_ipv4, node.addresses)):
            self.context.asks += mould.asks
            yield _lot(mould, node), node
            return
        for number in range(len(node.addresses)):
            one = node.one(number)
            server = self._read(one, service, around, known, body)
            if server is not None:
                yield server, one

    def _distinct(
        self, found: list[tuple[RealServer | Lot, Node]], around: Surroundings
    ) -> Iterator[RealServer]:
        """keepalived goes on with the first one of the same address and port."""
        taken: dict[tuple[str, int], Node] = {}
        for server, node in _one_by_one(found):
            first = taken.setdefault((server.address, server.port), node)
            if first is node:
                yield server
                continue
            self.context.warning(
                node,
                f"{around.owner}: real server {server.address} port {server.port} is listed "
                "twice, ignored here",
                f"the first one is at {first.file}:{first.line}",
                word=1,
            )

    def _read(
        self, node: Node, service: Service, around: Surroundings, known: _Known, body: int
    ) -> RealServer | None:
        """`body` is the identity of the body it has, or shares with others."""
        context, diagnostics = self.context, self.context.diagnostics
        if len(node.words) < 2:
            hint = "write real_server ADDRESS PORT { ... }"
            context.error(node, "real_server needs an address", hint)
            return None
        said = diagnostics.count
        place = endpoint(context, node)
        if place is None:
            return None
        is_far = place.family == 4 or not is_link_local(place.address)
        key = place.family, is_far, place.port, _shape(node.body or [])
        pattern = known.patterns.get(key)
        if pattern is None:
            pattern = self._pattern(node, place, service, around)
            if pattern is None:
                return None
            if diagnostics.count == said:
                known.patterns[key] = pattern
        else:
            context.asks += pattern.asks
        if diagnostics.count == said and place.family == 4 and len(node.words) == 3:
            known.moulds[body, node.words[2]] = _mould(pattern, node)
        return pattern.made(node, fresh(place.address))

    def _pattern(
        self, node: Node, place: Endpoint, service: Service, around: Surroundings
    ) -> Pattern | None:
        context, body = self.context, node.body or []
        errors, asks = context.diagnostics.errors, context.asks
        entries = read_block(context, node, REAL_SERVER, {})
        forwarding: Forwarding = get(entries, "lvs_method", service.forwarding)
        port = port_to(context, node, place.port, forwarding, service)
        check_family(context, node, place, forwarding, service)
        settings = service.settings.within(entries)
        check_pace(context, entries, service.settings, settings)
        target = Target(place.address, place.port or service.any_port, place.family)
        checks = tuple(
            [
                draft
                for number, statement in enumerate(body)
                if statement.words[0] in CHECKS and statement.body is not None
                for draft in read_check(around, statement, number, target, settings)
            ]
        )
        commands = self._commands(entries, around)
        if context.diagnostics.errors > errors:
            return None
        model = RealServer(
            address=place.address,
            port=port,
            family=place.family,
            weight=get(entries, "weight", service.weight),
            forwarding=forwarding,
            uthreshold=get(entries, "uthreshold", 0),
            lthreshold=get(entries, "lthreshold", 0),
            inhibit_on_failure=get(entries, "inhibit_on_failure", service.inhibit_on_failure),
            alpha=settings.alpha,
            smtp_alert=get(entries, "smtp_alert", service.smtp_alert),
            **commands,
        )
        numbers = tuple([(field, body.index(entries[field].node)) for field in commands])
        return Pattern(model, checks, numbers, context.asks != asks)

    def _commands(self, entries: Entries, around: Surroundings) -> dict[str, Any]:
        found: dict[str, Command] = {}
        for field in _COMMANDS:
            if field in entries:
                command = around.scripts.command(entries[field].value)
                if command is not None:
                    found[field] = command
        return found


def port_to(
    context: Context, node: Node, port: int | None, forwarding: Forwarding, service: Service
) -> int:
    """The port of a server; 0: the one that a packet came to. Without NAT packets keep theirs."""
    own, method = service.port, forwarding.method
    if not port or method == "NAT":
        return port or own or 0
    if port == service.any_port:
        return port
    if service.is_fwmark:
        text = f"with {method} packets keep their port: {port} counts for checks only"
        hint = "remove the port, or write lvs_method NAT"
    elif own is None:
        text = f"with {method} packets keep their port, whatever port {port} says"
        hint = "write addresses of one port into the group, or lvs_method NAT"
    else:
        text = f"port {port} becomes {own}: with {method} packets keep their port"
        hint = f"write {own}, or lvs_method NAT"
    context.warning(node, text, hint, word=2)
    return own if own is not None else port


def check_family(
    context: Context, node: Node, place: Endpoint, forwarding: Forwarding, service: Service
) -> None:
    """Only tunnels lead from one family to the other."""
    others = [family for family in service.families if family != place.family]
    if forwarding.method != "TUN" and others:
        context.error(
            node,
            f"{place.address} is not an IPv{others[0]} address as the service's",
            f"write an IPv{others[0]} address, or lvs_method TUN",
            word=1,
        )
