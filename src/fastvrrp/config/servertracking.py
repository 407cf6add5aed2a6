"""track_virtual_server: virtual servers whose quorum decides about instances and sync groups.

A line begins with the words that stand behind virtual_server; where TCP and UDP share address and
port, or a group, the protocol says which one is meant. A mark of both families is followed as one.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from fastvrrp.config.blocks import Entry, plain_lines
from fastvrrp.config.context import Context
from fastvrrp.config.diagnostics import shown, suggestion
from fastvrrp.config.model import Tracked
from fastvrrp.config.node import Node
from fastvrrp.config.servers import VirtualServer
from fastvrrp.config.trackoptions import read_options
from fastvrrp.config.values import canonical

KIND = "track_virtual_server"
PROTOCOLS = ("tcp", "udp", "sctp")
_OPTIONS = frozenset(("weight", "reverse", "noreverse", "no_reverse"))


class ServerReference(NamedTuple):
    """One line: the words of the virtual server, its protocol if one is named, the options."""

    words: tuple[str, ...]
    protocol: str | None
    weight: int
    reverse: bool


def read_server_references(context: Context, node: Node) -> list[Entry]:
    """The lines of a track_virtual_server block."""
    entries = []
    for line in plain_lines(context, node):
        end = next((n for n, word in enumerate(line.words) if word in _OPTIONS), len(line.words))
        words, protocol = line.words[:end], None
        if len(words) > 1 and words[-1].lower() in PROTOCOLS:
            words, protocol = words[:-1], words[-1].upper()
        weight, reverse = read_options(context, line, KIND, end)
        entries.append(Entry(ServerReference(words, protocol, weight or 0, bool(reverse)), line))
    return entries


class TrackedServers:
    """The virtual servers of a configuration, by what is written behind virtual_server."""

    def __init__(self, context: Context, servers: Iterable[VirtualServer]) -> None:
        self._context = context
        self._known: dict[str, list[VirtualServer]] = {}
        for server in servers:
            self._known.setdefault(_written(server), []).append(server)

    def resolve(self, entries: Iterable[Entry], owner: str) -> list[tuple[Tracked, Node]]:
        """The references of one block; what refers to nothing is said."""
        found: dict[str, tuple[Tracked, Node]] = {}
        for entry in entries:
            reference, node = entry.value, entry.node
            name = self._find(reference, node, owner)
            if name is None:
                continue
            if name in found:
                text = f"{shown(' '.join(reference.words))} is tracked twice"
                self._context.warning(node, text, "remove one of the lines")
                continue
            tracked = Tracked(
                name=name,
                weight=reference.weight,
                reverse=reference.reverse,
                position=node.position(),
            )
            found[name] = tracked, node
        return list(found.values())

    def _find(self, reference: ServerReference, node: Node, owner: str) -> str | None:
        """The name under which the IPVS process tells of what is meant."""
        name = " ".join(reference.words)
        candidates = [
            server
            for server in self._known.get(_spelt(reference.words), ())
            if reference.protocol in (None, server.protocol)
        ]
        found = {server.name for server in candidates}
        if len(found) == 1:
            return candidates[0].name
        if candidates:
            protocols = sorted({server.protocol.lower() for server in candidates})
            text = f"{owner}: there are several virtual_servers {shown(name)}"
            self._context.error(node, text, f"write {name} {' or '.join(protocols)}")
            return None
        self._context.error(
            node,
            f"{owner}: there is no virtual_server {shown(name)}",
            suggestion(name, self._known) or "write what stands behind virtual_server",
        )
        return None


def _written(server: VirtualServer) -> str:
    """What stands behind virtual_server, in one spelling."""
    if server.group is not None:
        return f"group {server.group}"
    (service,) = server.services
    if service.address is None:
        return f"fwmark {service.fwmark}"
    return f"{service.address} {service.port}"


def _spelt(words: tuple[str, ...]) -> str:
    """The same for what stands in a track_virtual_server block."""
    if words[:1] in (("group",), ("fwmark",)) and len(words) == 2:
        return f"{words[0]} {words[1].lstrip('0') if words[0] == 'fwmark' else words[1]}"
    if not 1 <= len(words) <= 2:
        return ""
    address, _ = canonical(words[0])
    port = words[1] if len(words) > 1 else "0"
    return f"{address} {port}"
