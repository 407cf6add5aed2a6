"""real_server and sorry_server: from what is written to what applies.

Large files have tens of thousands of real servers whose blocks say the same. Such a block is read
once; its twins differ in address and port only and are made from what it became (`Pattern`).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from fastvrrp.config.blocks import Entries, get, has_body, read_block
from fastvrrp.config.checkkinds import CHECKS, REAL_SERVER, read_check
from fastvrrp.config.checks import Draft, Settings, Surroundings, Target, is_link_local
from fastvrrp.config.context import Context
from fastvrrp.config.diagnostics import shown
from fastvrrp.config.model import Command
from fastvrrp.config.node import Node, fresh
from fastvrrp.config.servers import Forwarding, RealServer
from fastvrrp.config.values import bare_address, integer

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

    port        of the service; None: several, of a group
    families    of its addresses, which servers without a tunnel must have; empty: not given
    """

    port: int | None
    is_fwmark: bool
    families: tuple[int, ...]
    forwarding: Forwarding
    weight: int
    inhibit_on_failure: bool
    smtp_alert: bool
    settings: Settings


class Pattern(msgspec.Struct, frozen=True, eq=False, gc=False):
    """A real server whose twins are made from it."""

    model: RealServer
    checks: tuple[tuple[int, Draft], ...]  # number of its block's statement
    commands: tuple[tuple[str, int], ...]  # field, number of its statement


def _shape(body: list[Node]) -> tuple[Any, ...]:
    """All words of a block, comparable with those of another one."""
    return tuple(
        [node.words if node.body is None else (node.words, _shape(node.body)) for node in body]
    )


class RealServers:
    """Makes the real servers of a configuration."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self._patterns: dict[Service, dict[tuple[Any, ...], Pattern]] = {}

    def build(
        self, nodes: list[Node], service: Service, around: Surroundings
    ) -> tuple[RealServer, ...]:
        """Those that can be used; what is wrong with others is said."""
        context, diagnostics = self.context, self.context.diagnostics
        patterns = self._patterns.setdefault(service, {})
        taken: dict[tuple[str, int], Node] = {}
        servers = []
        for node in nodes:
            said = diagnostics.count
            place = endpoint(context, node) if _has_arguments(context, node) else None
            if place is None:
                continue
            is_far = place.family == 4 or not is_link_local(place.address)
            key = place.family, is_far, place.port, _shape(node.body or [])
            pattern = patterns.get(key)
            if pattern is not None:
                server = _twin(pattern, node, place.address)
            else:
                pattern = self._read(node, place, service, around)
                if pattern is None:
                    continue
                if diagnostics.count == said:
                    patterns[key] = pattern
                server = pattern.model
            first = taken.setdefault((server.address, server.port), node)
            if first is node:
                servers.append(server)
                continue
            context.warning(
                node,
                f"{around.owner}: real server {server.address} port {server.port} is listed "
                "twice, ignored here",
                f"the first one is at {first.file}:{first.line}",
                word=1,
            )
        return tuple(servers)

    def _read(
        self, node: Node, place: Endpoint, service: Service, around: Surroundings
    ) -> Pattern | None:
        context = self.context
        errors = context.diagnostics.errors
        entries = read_block(context, node, REAL_SERVER, {})
        forwarding: Forwarding = get(entries, "lvs_method", service.forwarding)
        port = port_to(context, node, place.port, forwarding, service)
        check_family(context, node, place, forwarding, service)
        settings = service.settings.within(entries)
        target = Target(place.address, port, place.family)
        checks = tuple(
            (number, draft)
            for number, statement in enumerate(node.body or ())
            if statement.words[0] in CHECKS and statement.body is not None
            for draft in read_check(around, statement, target, settings)
        )
        commands = self._commands(entries, around)
        if context.diagnostics.errors > errors:
            return None
        body, address = node.body or [], fresh(place.address)
        model = RealServer(
            address=address,
            port=port,
            family=place.family,
            weight=get(entries, "weight", service.weight),
            forwarding=forwarding,
            uthreshold=get(entries, "uthreshold", 0),
            lthreshold=get(entries, "lthreshold", 0),
            inhibit_on_failure=get(entries, "inhibit_on_failure", service.inhibit_on_failure),
            alpha=settings.alpha,
            smtp_alert=get(entries, "smtp_alert", service.smtp_alert),
            checks=tuple([draft.at(body[number], address) for number, draft in checks]),
            position=node.position(1),
            **commands,
        )
        numbers = tuple((field, body.index(entries[field].node)) for field in commands)
        return Pattern(model=model, checks=checks, commands=numbers)

    def _commands(self, entries: Entries, around: Surroundings) -> dict[str, Command]:
        found = {}
        for field in _COMMANDS:
            if field in entries:
                command = around.scripts.command(entries[field].value)
                if command is not None:
                    found[field] = command
        return found


def _has_arguments(context: Context, node: Node) -> bool:
    if len(node.words) > 1:
        return has_body(context, node)
    context.error(node, "real_server needs an address", "write real_server ADDRESS PORT { ... }")
    return False


def _twin(pattern: Pattern, node: Node, address: str) -> RealServer:
    """A real server that says the same as another one."""
    body = node.body or []
    address = fresh(address)
    checks = tuple([draft.at(body[number], address) for number, draft in pattern.checks])
    commands = {
        field: msgspec.structs.replace(
            getattr(pattern.model, field), position=body[number].position(1)
        )
        for field, number in pattern.commands
    }
    return msgspec.structs.replace(
        pattern.model, address=address, checks=checks, position=node.position(1), **commands
    )


def port_to(
    context: Context, node: Node, port: int | None, forwarding: Forwarding, service: Service
) -> int:
    """The port of a server: without NAT packets keep theirs."""
    own = service.port
    if forwarding.method == "NAT":
        return (own or 0) if port is None else port
    if own is None or port is None or port == own:
        return (own or 0) if own is not None else (port or 0)
    method = forwarding.method
    if service.is_fwmark:
        text = f"port {port} is ignored: with {method} and a firewall mark packets keep theirs"
        hint = "remove the port"
    else:
        text = f"port {port} becomes {own}: with {method} packets keep their port"
        hint = f"write {own}, or lvs_method NAT"
    context.warning(node, text, hint, word=2)
    return own


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
