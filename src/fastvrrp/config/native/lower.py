"""From YAML to statements: every block of a file becomes what keepalived.conf would have said.

What a value means, whether it is in its range and whether what it names exists is decided later,
by the readers that both formats have in common.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from fastvrrp.config.diagnostics import Diagnostics, shown, suggestion
from fastvrrp.config.keywords import Keyword, table
from fastvrrp.config.model import Severity
from fastvrrp.config.native.document import Mapping, Pair, Scalar, Sequence, Yaml, place
from fastvrrp.config.native.entries import Entries
from fastvrrp.config.native.expand import FOR, TEMPLATE, Pairs, Presets, has_variable, repeated
from fastvrrp.config.native.kinds import shape_of
from fastvrrp.config.native.names import (
    REAL_SERVER,
    VIRTUAL_SERVER,
    check_name,
    checks,
    key_of,
    keys,
    negative_of,
    sections,
    spelt,
)
from fastvrrp.config.native.options import entry_of, has_options, options_of
from fastvrrp.config.native.shapes import Shape, Word, Wrong, text_of, truth_of
from fastvrrp.config.native.units import split_endpoint
from fastvrrp.config.node import NativeNode, Node, mark

REAL_SERVERS = "real_servers"
SERVER_DEFAULTS = "real_server_defaults"
CHECKS = "checks"
# How a virtual server is called: exactly one of these.
HEADS = ("address", "fwmark", "group")
_LIST_SECTIONS = frozenset(("garp_group", VIRTUAL_SERVER))
_SHAPES: dict[tuple[str, str], Shape] = {}


def argument_shape(row: Keyword) -> Shape:
    """The shape of what stands behind a keyword that opens no block."""
    key = row.block, row.keyword
    found = _SHAPES.get(key)
    if found is None:
        found = _SHAPES[key] = options_of(row) if has_options(row) else shape_of(row)
    return found


def is_list_section(row: Keyword) -> bool:
    """Whether the blocks of a section have no names, so that they are a list."""
    return row.keyword in _LIST_SECTIONS


class Maker:
    """Makes statements; what is wrong is said at the place of the value."""

    def __init__(self, diagnostics: Diagnostics, presets: Presets, entries: Entries) -> None:
        self.presets = presets
        self._entries = entries
        self._diagnostics = diagnostics
        self._said: set[tuple[str, int, int]] = set()
        # Block, key, value and whether it has no quotes -> words: most blocks say the same things.
        self._spoken: dict[tuple[str, str, str, bool], tuple[str, ...]] = {}

    def wrong(self, node: Yaml, text: str, hint: str = "") -> None:
        """An error, once for each place: templates are read many times."""
        key = node.file, node.line, node.column
        if key not in self._said:
            self._said.add(key)
            self._diagnostics.add(place(node), Severity.ERROR, text, hint)

    def said(self, error: Wrong, name: str) -> None:
        """An error about the value of `name`."""
        self.wrong(error.node, error.about(name), error.want)

    def statement(self, words: Iterable[Word], body: list[Node] | None = None) -> Node:
        """A statement of words, with their places. It stands in one file: a word that presets of
        another one add is where its keyword is."""
        texts, marks = [], []
        first = None
        for text, node in words:
            first = first or node
            if node.file != first.file:
                node = first
            texts.append(text)
            marks.append(mark(node.line, node.column))
        assert first is not None
        return NativeNode(tuple(texts), first.file, first.line, "", marks, "", body)

    def block(self, path: str, pairs: Pairs) -> list[Node]:
        """The statements of a block."""
        known = keys(path)
        body: list[Node] = []
        for name, (key, value) in pairs.items():
            if type(value) is Scalar:
                spoken = path, name, value.text, value.is_plain
                words = self._spoken.get(spoken)
                if words is not None:
                    body.append(self._again(words, key, value))
                    continue
            row = known.get(name)
            if row is None:
                self.unknown(key, known, path)
                continue
            try:
                made = list(self.keyword(row, key, value))
            except Wrong as error:
                self.said(error, name)
                continue
            body += made
            if type(value) is Scalar and len(made) == 1 and made[0].body is None:
                self._spoken[spoken] = made[0].words
        return body

    def _again(self, words: tuple[str, ...], key: Scalar, value: Scalar) -> Node:
        """A statement that was made of the same key and value before."""
        marks = [mark(key.line, key.column)]
        marks += [mark(value.line, value.column)] * (len(words) - 1)
        return NativeNode(words, key.file, key.line, "", marks)

    def unknown(self, key: Scalar, known: Iterable[str], path: str) -> None:
        word = spelt(path).get(key.text)
        names = [name for name in known if name[:1] != "("]
        hint = f"write {word}" if word else suggestion(key.text, names)
        if not hint:
            hint = f"known: {', '.join(sorted(names))}" if len(names) <= 12 else "remove it"
        self.wrong(key, f"unknown key {shown(key.text)}", hint)

    def keyword(self, row: Keyword, key: Scalar, value: Yaml) -> Iterator[Node]:
        """The statements of one key. Raises Wrong."""
        kind, _, _ = row.type.partition(":")
        head = Word(row.keyword, key)
        if kind == "lines":
            yield self.statement([head], list(self.entries(row, value)))
        elif kind == "block":
            yield self.statement([head], self.block(row.path, mapping_of(value).pairs))
        elif kind == "blocks":
            for item in value.items if isinstance(value, Sequence) else [value]:
                yield self.statement([head], self.block(row.path, mapping_of(item).pairs))
        else:
            negative = negative_of(row, table()[row.block])
            if negative and not truth_of(value):
                yield self.statement([Word(negative, key)])
                return
            words = argument_shape(row).words(value)
            if words is not None:
                yield self.statement([head, *words])

    def entries(self, row: Keyword, value: Yaml) -> Iterator[Node]:
        """The lines of a list; a single one needs no brackets."""
        shape = entry_of(row)
        for item in value.items if isinstance(value, Sequence) else [value]:
            try:
                words = shape.words(item)
            except Wrong as error:
                self.said(error, key_of(row))
                continue
            if words:
                yield self.statement(words)

    def section(self, name: str, value: Yaml) -> Iterator[Node]:
        """The blocks of a section."""
        row = sections()[name]
        if row.type.startswith("lines"):
            lines = self.statement([Word(row.keyword, value)], list(self.entries(row, value)))
            self._entries.note(value, [lines])
            yield lines
        elif row.keyword == "virtual_server_group":
            for key, entries in mapping_of(value).pairs.values():
                yield from self._entries.statements(
                    name, key, entries, self._group(row, key, entries)
                )
        elif is_list_section(row):
            for item in value.items if isinstance(value, Sequence) else [value]:
                yield from self._entries.statements(name, item, item, self._listed(name, row, item))
        elif row.type == "block":
            settings = self.statement([Word(row.keyword, value)], self._plain(name, row, value))
            self._entries.note(value, [settings])
            yield settings
        else:
            for key, block in mapping_of(value).pairs.values():
                yield from self._entries.statements(
                    name, key, block, self._named(name, row, key, block)
                )

    def look_at(self, section: str, pairs: Pairs) -> None:
        """Say what is wrong with a part of a block, whether anybody uses it or not."""
        path = REAL_SERVER if section == REAL_SERVERS else sections()[section].path
        special: tuple[str, ...] = (FOR, TEMPLATE)
        if path in (VIRTUAL_SERVER, REAL_SERVER):
            special += (*HEADS, CHECKS, REAL_SERVERS, SERVER_DEFAULTS)
            self._look_at_servers(pairs)
        own = {k: p for k, p in pairs.items() if k not in special and not has_variable(p.value)}
        self.block(path, own)

    def _look_at_servers(self, pairs: Pairs) -> None:
        for name in (CHECKS, SERVER_DEFAULTS):
            if name not in pairs or has_variable(pairs[name].value):
                continue
            try:
                if name == CHECKS:
                    list(self._checks(pairs[name].value))
                else:
                    self.look_at(REAL_SERVERS, mapping_of(pairs[name].value).pairs)
            except Wrong as error:
                self.said(error, name)

    def _group(self, row: Keyword, key: Scalar, entries: Yaml) -> Iterator[Node]:
        yield self.statement(
            [Word(row.keyword, key), Word(key.text, key)], list(self.entries(row, entries))
        )

    def _plain(self, name: str, row: Keyword, value: Yaml) -> list[Node]:
        return self.block(row.path, mapping_of(value).pairs)

    def _named(self, name: str, row: Keyword, key: Scalar, block: Yaml) -> Iterator[Node]:
        try:
            pairs = self.presets.merged(name, mapping_of(block).pairs)
            for called, made in repeated(key, pairs):
                if called.is_null or not called.text:
                    raise Wrong(called, "write NAME:", "has no name")
                head = [Word(row.keyword, called), Word(called.text, called)]
                yield self.statement(head, self.block(row.path, made))
        except Wrong as error:
            self.said(error, key.text)

    def _listed(self, name: str, row: Keyword, item: Yaml) -> Iterator[Node]:
        here = Scalar("", item.file, item.line, item.column)
        try:
            pairs = self.presets.merged(name, mapping_of(item).pairs)
            for _, made in repeated(here, pairs):
                if row.keyword == VIRTUAL_SERVER:
                    yield self._virtual_server(here, made)
                else:
                    yield self.statement([Word(row.keyword, here)], self.block(row.path, made))
        except Wrong as error:
            self.said(error, name)

    def _virtual_server(self, here: Scalar, pairs: Pairs) -> Node:
        """address, fwmark or group is its name; checks are those of its real servers."""
        heads = [name for name in HEADS if name in pairs]
        if len(heads) != 1:
            raise Wrong(here, "add address, fwmark or group, one of them", "has no single name")
        value = pairs[heads[0]].value
        found = text_of(value, "write ADDRESS:PORT")
        if heads[0] == "address":
            words = _endpoint(found)
        else:
            words = [Word(heads[0], pairs[heads[0]].key), found]
        special = (*HEADS, CHECKS, REAL_SERVERS, SERVER_DEFAULTS)
        body = self.block(VIRTUAL_SERVER, {k: p for k, p in pairs.items() if k not in special})
        further = {}
        self._look_at_servers(pairs)
        if SERVER_DEFAULTS in pairs:
            further = mapping_of(pairs[SERVER_DEFAULTS].value).pairs
        if CHECKS in pairs:
            further = {CHECKS: pairs[CHECKS], **further}
        if REAL_SERVERS in pairs:
            servers = pairs[REAL_SERVERS].value
            for item in servers.items if isinstance(servers, Sequence) else [servers]:
                try:
                    body += self._real_servers(item, further)
                except Wrong as error:
                    self.said(error, REAL_SERVERS)
        return self.statement([Word(VIRTUAL_SERVER, here), *words], body)

    def _real_servers(self, item: Yaml, further: Pairs) -> Iterator[Node]:
        """One, or those that a `for` makes."""
        own = mapping_of(item).pairs if not isinstance(item, Scalar) else {}
        if isinstance(item, Scalar):
            key = Scalar("address", item.file, item.line, item.column)
            own = {"address": Pair(key, item)}
        here = Scalar("", item.file, item.line, item.column)
        pairs = self.presets.merged(REAL_SERVERS, own, further)
        for _, made in repeated(here, pairs):
            if "address" not in made:
                raise Wrong(here, "add address: ADDRESS:PORT", "has no address")
            found = text_of(made["address"].value, "write address: ADDRESS:PORT")
            plain = {k: pair for k, pair in made.items() if k not in ("address", CHECKS)}
            body = self.block(REAL_SERVER, plain)
            if CHECKS in made:
                body += self._checks(made[CHECKS].value)
            yield self.statement([Word("real_server", here), *_endpoint(found)], body)

    def _checks(self, value: Yaml) -> Iterator[Node]:
        """Each is a name, or a mapping of one to its settings."""
        for item in value.items if isinstance(value, Sequence) else [value]:
            if isinstance(item, Scalar):
                yield from self._check(item, None)
                continue
            for key, settings in mapping_of(item).pairs.values():
                yield from self._check(key, settings)

    def _check(self, key: Scalar, settings: Yaml | None) -> Iterator[Node]:
        row = checks().get(key.text)
        if row is None:
            hint = suggestion(key.text, checks()) or f"known: {', '.join(checks())}"
            for known in checks().values():
                if known.keyword == key.text:
                    hint = f"write {check_name(known.keyword)}"
            self.wrong(key, f"unknown check {shown(key.text)}", hint)
            return
        pairs: Pairs = {}
        if settings is not None and not (isinstance(settings, Scalar) and settings.is_null):
            pairs = mapping_of(settings).pairs
        yield self.statement([Word(row.keyword, key)], self.block(row.path, pairs))


def _endpoint(found: Word) -> list[Word]:
    address, port = split_endpoint(found.text)
    return [Word(address, found.node), *([] if port is None else [Word(port, found.node)])]


def mapping_of(node: Yaml) -> Mapping:
    if not isinstance(node, Mapping):
        raise Wrong(node, "write KEY: VALUE lines")
    return node
