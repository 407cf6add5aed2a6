"""From statements to the data that YAML would say, for `fastvrrp convert`.

The opposite of lower.py, with the same shapes. What the readers would not use is left out, and
said.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from fastvrrp.config.blocks import _READERS, ADDED_UP, FIRST_WINS
from fastvrrp.config.context import Context
from fastvrrp.config.diagnostics import Diagnostics, shown
from fastvrrp.config.global_defs import INSTANCE_DEFAULTS, SERVER_DEFAULTS
from fastvrrp.config.host import HostInfo
from fastvrrp.config.keywords import TOP, Keyword, table
from fastvrrp.config.model import Severity
from fastvrrp.config.native.lower import (
    CHECKS,
    REAL_SERVERS,
    argument_shape,
    is_list_section,
)
from fastvrrp.config.native.names import (
    REAL_SERVER,
    VIRTUAL_SERVER,
    check_name,
    is_check,
    key_of,
    keys,
    negative_of,
    section,
)
from fastvrrp.config.native.options import Plain, entry_of
from fastvrrp.config.native.shapes import Unspoken
from fastvrrp.config.native.units import joined_endpoint
from fastvrrp.config.node import NativeNode, Node, apart, mark
from fastvrrp.config.shellwords import UnclosedQuote, split

Data = dict[str, Any]
GLOBAL = "global"
# Types whose readers split the text behind the keyword themselves.
TAIL_TYPES = ("command", "command?", "command-text")
_SOURCES = ("mcast_src_ip", "unicast_src_ip")
_NUMBERED = frozenset(("fwmark",))
_DROPPED = frozenset(("include_check",))


def arguments(node: Node, row: Keyword) -> tuple[str, ...]:
    """The arguments of a statement, those of commands split as their reader does."""
    if node.is_native or row.type not in TAIL_TYPES:
        return node.words[1:]
    try:
        return tuple(split(node.tail()))
    except UnclosedQuote:
        raise Unspoken from None


class Lifter:
    """One tree becoming a document; what is left out is said in `diagnostics`."""

    def __init__(self, diagnostics: Diagnostics, host: HostInfo) -> None:
        self._diagnostics = diagnostics
        self._host = host
        self._known: dict[tuple[str, tuple[str, ...]], tuple[bool, Any]] = {}
        self.document: Data = {}

    def lift(self, root: Iterable[Node]) -> Data:
        """The document."""
        for node in root:
            row = table()[TOP].get(node.words[0])
            if row is None:
                self._left_out(node, f"unknown keyword {shown(node.words[0])}")
                continue
            row = table()[TOP].get(row.canonical, row)
            if not row.type.startswith(("block", "lines")):
                self._statements(TOP, [node], self.document.setdefault(GLOBAL, {}))
            elif node.body is None:
                self._left_out(node, f"{node.words[0]} without a block")
            else:
                self._section(row, node)
        if not self.document.get(GLOBAL, True):
            del self.document[GLOBAL]
        return {name: self.document[name] for name in sorted(self.document, key=_rank)}

    def _left_out(self, node: Node, text: str, word: int = 0) -> None:
        position = node.position(word)
        hint = "it is left out"
        self._diagnostics.add(position, Severity.WARNING, f"not converted: {text}", hint)

    def _section(self, row: Keyword, node: Node) -> None:
        name = section(row)
        if row.keyword == "global_defs":
            self._late(node)
            self._statements(row.path, node.body or [], self.document.setdefault(GLOBAL, {}))
        elif row.keyword == VIRTUAL_SERVER:
            found = self._virtual_server(node)
            if found is not None:
                self.document.setdefault(name, []).append(found)
        elif row.type.startswith("lines"):
            self.document.setdefault(name, []).extend(self._entries(row, node))
        elif is_list_section(row):
            self.document.setdefault(name, []).append(self._block(row.path, node))
        elif row.type == "block":
            self.document[name] = self._block(row.path, node)
        else:
            blocks = self.document.setdefault(name, {})
            if len(node.words) < 2 or node.words[1] in blocks:
                self._left_out(node, f"{node.words[0]} again, or without a name")
            elif row.keyword == "virtual_server_group":
                blocks[node.words[1]] = self._entries(row, node)
            else:
                blocks[node.words[1]] = self._block(row.path, node)

    def _late(self, node: Node) -> None:
        """In YAML global reaches every block; in keepalived's format those below it."""
        for defaults, sections in (
            (INSTANCE_DEFAULTS, ("instances", "sync_groups")),
            (SERVER_DEFAULTS, ("virtual_servers",)),
        ):
            if not any(name in self.document for name in sections):
                continue
            for line in node.body or ():
                if line.words[0] in defaults:
                    self._diagnostics.add(
                        line.position(),
                        Severity.WARNING,
                        f"{line.words[0]} does not reach the blocks above it, in YAML it does",
                        "move global_defs to the beginning and compare",
                    )

    def _block(self, path: str, node: Node) -> Data:
        found: Data = {}
        self._statements(path, _body(node), found)
        return found

    def _statements(self, path: str, body: Iterable[Node], found: Data) -> None:
        """The statements of a block, which may have said something before."""
        block = table().get(path, {})
        positives = {negative_of(row, block): row for row in block.values()}
        known = set(keys(path))
        nested: dict[str, tuple[Keyword, list[Node]]] = {}
        several: set[str] = set()
        for node in body:
            word = node.words[0]
            row = block.get(word)
            if row is None or word.startswith("("):
                self._left_out(node, f"unknown keyword {shown(word)}")
                continue
            row = block.get(row.canonical, row)
            key = key_of(row)
            kind = row.type.partition(":")[0]
            if word in _DROPPED and path == "global_defs":
                continue
            if word in positives and word:
                positive = key_of(positives[word])
                found.pop(positive, None)
                found[positive] = False
            elif is_check(row):
                found.setdefault(CHECKS, []).append(self._check(row, node))
            elif kind == "lines":
                found.setdefault(key, []).extend(self._entries(row, node))
            elif kind == "blocks":
                found.setdefault(key, []).append(self._block(row.path, node))
                several.add(key)
            elif kind == "block":
                nested.setdefault(key, (row, []))[1].extend(_body(node))
                found[key] = {}
            elif key in known:
                self._argument(row, key, node, found)
        for key, (row, inner) in nested.items():
            self._statements(row.path, inner, found[key])
        for key in several:
            if len(found[key]) == 1:
                (found[key],) = found[key]
        for source in _SOURCES:
            others = [name for name in found if name in _SOURCES]
            if len(others) > 1 and source == others[0]:
                del found[source]  # the later one counts

    def _argument(self, row: Keyword, key: str, node: Node, found: Data) -> None:
        if key in found and row.keyword in FIRST_WINS:
            return
        good, value = self._spoken(row, node)
        if not good:
            return
        if key in found and row.keyword in ADDED_UP:
            value = [*found[key], *value]
        found.pop(key, None)
        found[key] = value

    def _spoken(self, row: Keyword, node: Node) -> tuple[bool, Any]:
        """Whether a statement counts, and its arguments as data."""
        known = (f"{row.block}/{row.keyword}", node.words)
        if known in self._known and row.type not in TAIL_TYPES:
            return self._known[known]
        result: tuple[bool, Any] = (False, None)
        try:
            words = arguments(node, row)
            if self._counts(row, node, words):
                result = True, argument_shape(row).value(words)
        except Unspoken:
            self._left_out(node, f"{node.words[0]} with what stands behind it")
        self._known[known] = result
        return result

    def _counts(self, row: Keyword, node: Node, words: tuple[str, ...]) -> bool:
        """Whether the keyword's reader uses the value; otherwise what it says is said."""
        diagnostics = Diagnostics()
        at = [mark(node.line, 1)] * (len(words) + 1)
        shadow = NativeNode((row.keyword, *words), node.file, node.line, "", at)
        value = _READERS[row.type](Context(diagnostics, self._host), shadow, row)
        if value is not None and not diagnostics.errors:
            return True
        said = (
            diagnostics.messages[0].text if diagnostics.messages else f"{row.keyword} is unusable"
        )
        self._left_out(node, said)
        return False

    def _entries(self, row: Keyword, node: Node) -> list[Any]:
        """The lines of a list; a list of words may have several in a line."""
        shape = entry_of(row)
        found: list[Any] = []
        for line in node.body or ():
            if line.body is not None:
                self._left_out(line, f"a block in {node.words[0]}")
            elif type(shape) is Plain:
                found += line.words
            else:
                try:
                    found.append(shape.value(line.words))
                except Unspoken:
                    self._left_out(line, f"a line of {node.words[0]}")
        return found

    def _check(self, row: Keyword, node: Node) -> Any:
        settings = self._block(row.path, node)
        name = check_name(row.keyword)
        return {name: settings} if settings else name

    def _virtual_server(self, node: Node) -> Data | None:
        words = node.words[1:]
        if len(words) > 1 and words[0] in ("fwmark", "group"):
            value: Any = words[1]
            if words[0] in _NUMBERED and value.isdecimal():
                value = int(value)
            found: Data = {words[0]: value}
        elif words:
            found = {"address": joined_endpoint(words[0], words[1] if len(words) > 1 else None)}
        else:
            self._left_out(node, "virtual_server without an address")
            return None
        body = _body(node)
        self._statements(VIRTUAL_SERVER, [x for x in body if x.words[0] != "real_server"], found)
        servers = [self._real_server(line) for line in body if line.words[0] == "real_server"]
        if servers:
            found.update(shortened_servers([server for server in servers if server is not None]))
        return found

    def _real_server(self, node: Node) -> Data | None:
        words = node.words[1:]
        if not words or node.body is None:
            self._left_out(node, "real_server without an address or a block")
            return None
        address = joined_endpoint(words[0], words[1] if len(words) > 1 else None)
        return {"address": address, **self._block(REAL_SERVER, node)}


def _body(node: Node) -> list[Node]:
    return list(apart(node.body or ()))


def _rank(name: str) -> int:
    """Definitions first, then what uses them, as one reads."""
    order = (GLOBAL, "tls", "defaults", "templates", "track_scripts", "track_files")
    last = ("instances", "sync_groups", "virtual_server_groups", "virtual_servers")
    if name in order:
        return order.index(name)
    return 100 + last.index(name) if name in last else 50


def shortened_servers(servers: list[Data]) -> Iterator[tuple[str, Any]]:
    """real_servers, with what all of them say in real_server_defaults."""
    common: Data = {}
    if len(servers) > 1:
        first = servers[0]
        common = {
            key: value
            for key, value in first.items()
            if key != "address" and all(server.get(key, ...) == value for server in servers)
        }
    checks = common.pop(CHECKS, None)
    if checks is not None:
        yield CHECKS, checks
    if common:
        yield "real_server_defaults", common
    taken = {*common, *([CHECKS] if checks is not None else [])}
    left = [{k: v for k, v in server.items() if k not in taken} for server in servers]
    yield REAL_SERVERS, [s["address"] if len(s) == 1 else s for s in left]
