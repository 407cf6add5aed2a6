"""The YAML files of a configuration: includes, sections, and the order in which they are read.

Sections of the same name in several files add up. Nothing depends on the order of files but which
of two values of one key counts: the later one.
"""

from __future__ import annotations

from pathlib import Path

from fastvrrp.config.diagnostics import Diagnostics, TooManyErrors, shown, suggestion
from fastvrrp.config.files import YAML_SUFFIXES
from fastvrrp.config.include import brace_alternatives
from fastvrrp.config.keywords import TOP, table
from fastvrrp.config.model import Position, Severity
from fastvrrp.config.native.document import (
    Mapping,
    Notes,
    Scalar,
    Sequence,
    Yaml,
    compose,
    place,
)
from fastvrrp.config.native.entries import Entries
from fastvrrp.config.native.expand import FOR, TEMPLATE, Pairs, Presets, overlaid
from fastvrrp.config.native.lower import REAL_SERVERS, Maker, mapping_of
from fastvrrp.config.native.names import (
    DEFAULTS,
    GLOBAL,
    INCLUDE,
    NODES,
    TEMPLATES,
    global_keys,
    section,
    sections,
)
from fastvrrp.config.native.shapes import Word, Wrong, text_of
from fastvrrp.config.node import Node
from fastvrrp.config.remembered import Blocks
from fastvrrp.config.source import Source
from fastvrrp.config.taken import Unread


def block_sections() -> tuple[str, ...]:
    """The sections of blocks that can have defaults and templates."""
    plain = ("lines", "block:lines")
    found = [
        name
        for name, row in sections().items()
        if name not in (GLOBAL, "tls", "virtual_server_groups") and not row.type.startswith(plain)
    ]
    return (*found, REAL_SERVERS)


class NativeFiles:
    """The documents that were read; `finish` makes their statements."""

    def __init__(
        self, diagnostics: Diagnostics, source: Source, blocks: Blocks, config_id: str
    ) -> None:
        self._diagnostics = diagnostics
        self._source = source
        self._config_id = config_id
        self._presets = Presets()
        self._entries = Entries(blocks, self._presets, diagnostics, config_id)
        self._maker = Maker(diagnostics, self._presets, self._entries)
        self._sections: dict[str, list[Yaml]] = {}
        self._global: Pairs = {}
        self._others: list[tuple[str, Pairs]] = []  # of other nodes

    def read(self, path: Path, at: Position | None = None) -> None:
        """Read a file and what it includes. Problems become messages."""
        name = str(path)
        text = self._source.text(path, name, at or Position(file=name, line=1), Severity.ERROR)
        if text is None:
            return
        self._source.includes.enter(path)
        root = self._composed(text, name)
        if isinstance(root, Mapping):
            self._document(root, path)
        elif root is not None:
            self._maker.wrong(root, "this is no configuration", "write instances: and the like")
        self._source.includes.leave()

    def _composed(self, text: str, file: str) -> Yaml | None:
        entries, diagnostics = self._entries, self._diagnostics
        if not entries.keeps:
            return compose(diagnostics, text, file)
        cut, before = entries.cut(text, file), diagnostics.errors
        notes = Notes()
        try:
            root = compose(diagnostics, cut.text, file, notes)
        except TooManyErrors:
            if cut.runs:
                raise Unread from None
            raise
        entries.composed(cut, file, root, notes, diagnostics.errors - before)
        return root

    def _document(self, root: Mapping, path: Path) -> None:
        pairs = root.pairs
        if NODES in pairs:
            pairs = self._with_node(pairs)
        known = (GLOBAL, DEFAULTS, TEMPLATES, INCLUDE, NODES, *sections())
        for name, (key, value) in pairs.items():
            try:
                if name == INCLUDE:
                    self._include(value, path)
                elif name == GLOBAL:
                    self._global = overlaid(self._global, mapping_of(value).pairs)
                elif name == DEFAULTS:
                    self._defaults(mapping_of(value).pairs)
                elif name == TEMPLATES:
                    self._templates(mapping_of(value).pairs)
                elif name in sections():
                    self._sections.setdefault(name, []).append(value)
                elif name != NODES:
                    self._unknown(key, known)
            except Wrong as error:
                self._maker.said(error, name)

    def _unknown(self, key: Scalar, known: tuple[str, ...]) -> None:
        row = table()[TOP].get(key.text)
        hint = suggestion(key.text, known)
        if row is not None and row.type.startswith(("block", "lines")):
            hint = f"write {section(row)}"
        elif key.text in global_keys():
            hint = f"write {key.text} to global"
        self._maker.wrong(key, f"unknown section {shown(key.text)}", hint or "remove it")

    def _with_node(self, pairs: Pairs) -> Pairs:
        """The document with the part of it that is for this node alone."""
        try:
            nodes = mapping_of(pairs[NODES].value).pairs
            own = nodes.get(self._config_id)
            for name, part in nodes.items():
                if name != self._config_id:
                    self._other_node(mapping_of(part.value).pairs)
            if own is None:
                return pairs
            return overlaid(pairs, mapping_of(own.value).pairs)
        except Wrong as error:
            self._maker.said(error, NODES)
            return pairs

    def _other_node(self, pairs: Pairs) -> None:
        """What another node has for itself: its form is looked at."""
        known = (GLOBAL, DEFAULTS, TEMPLATES, INCLUDE, NODES, *sections())
        for name, (key, value) in pairs.items():
            if name not in known:
                self._unknown(key, known)
            elif name in block_sections() and isinstance(value, Mapping):
                blocks = [pair.value for pair in value.pairs.values()]
                self._others += [(name, b.pairs) for b in blocks if isinstance(b, Mapping)]

    def _of_sections(self, pairs: Pairs, what: str) -> list[tuple[str, Pairs]]:
        found = []
        for name, (key, value) in pairs.items():
            if name in block_sections():
                found.append((name, mapping_of(value).pairs))
            else:
                hint = suggestion(name, block_sections())
                hint = hint or f"known: {', '.join(sorted(block_sections()))}"
                self._maker.wrong(key, f"there are no {what} for {shown(name)}", hint)
        return found

    def _defaults(self, pairs: Pairs) -> None:
        for name, block in self._of_sections(pairs, DEFAULTS):
            for odd in (FOR, TEMPLATE):
                if odd in block:
                    raise Wrong(block[odd].key, "write it to the blocks", text=f"no {odd} here")
            below = self._presets.defaults.get(name, {})
            self._presets.defaults[name] = overlaid(below, block)

    def _templates(self, pairs: Pairs) -> None:
        for name, block in self._of_sections(pairs, TEMPLATES):
            known = self._presets.templates.setdefault(name, {})
            for called, pair in block.items():
                if called in known:
                    first = place(known[called].key)
                    text = f"the template {shown(called)} is defined already"
                    hint = f"the first one is at {first.file}:{first.line}"
                    self._maker.wrong(pair.key, text, hint)
                else:
                    known[called] = pair

    def _include(self, value: Yaml, path: Path) -> None:
        """Files and patterns, relative to the file that names them."""
        for item in value.items if isinstance(value, Sequence) else [value]:
            pattern = text_of(item, "write FILE or [FILE, conf.d/*.yaml]").text
            found = []
            for alternative in brace_alternatives(pattern):
                matches = self._source.includes.matches(path.parent, alternative)
                if not matches and not any(c in alternative for c in "*?["):
                    text = f"no file matches {shown(alternative)}"
                    self._maker.wrong(item, text, "create it or remove this")
                found += matches
            for match in found:
                self._included(match, item)

    def _included(self, path: Path, item: Yaml) -> None:
        includes = self._source.includes
        problem = includes.problem(path)
        if problem == "circle":
            chain = " -> ".join(includes.chain(path))
            self._maker.wrong(item, f"include circle: {chain}", "remove one include")
        elif problem == "many":
            self._maker.wrong(item, "too many files are included", "include fewer")
            raise TooManyErrors
        elif problem == "skip":
            text = f"{path} is a directory or executable, not read"
            self._diagnostics.add(place(item), Severity.WARNING, text, "include text files only")
        elif path.suffix in YAML_SUFFIXES:
            self.read(path, place(item))
        else:
            self._source.read(path, place(item))

    def finish(self, root: list[Node]) -> None:
        """Add the statements to those of included files in keepalived's format."""
        maker = self._maker
        self._entries.settle()
        root[:0] = self._globals()
        for name in sections():
            for value in self._sections.get(name, ()):
                try:
                    root += maker.section(name, value)
                except Wrong as error:
                    maker.said(error, name)
        self._entries.end()
        self._look_at_parts()
        before = len(self._diagnostics.messages)
        for name, key in self._presets.unused():
            text = f"the template {shown(key.text)} of {name} is not used"
            self._diagnostics.add(place(key), Severity.WARNING, text, "remove it, or name it")
        self._entries.said_each_time(before)

    def _look_at_parts(self) -> None:
        """Defaults, templates and what is for other nodes: a mistake is one even if nobody
        meets it yet."""
        parts = list(self._presets.defaults.items())
        for name, templates in self._presets.templates.items():
            blocks = [pair.value for pair in templates.values()]
            parts += [(name, block.pairs) for block in blocks if isinstance(block, Mapping)]
        for name, pairs in (*parts, *self._others):
            self._maker.look_at(name, pairs)

    def _globals(self) -> list[Node]:
        """global: what stands outside all blocks in keepalived's format, and global_defs."""
        known = global_keys()
        outside = {n: p for n, p in self._global.items() if n in known and known[n].block == TOP}
        inside = {name: pair for name, pair in self._global.items() if name not in outside}
        body = self._maker.block(TOP, outside)
        if inside:
            first = next(iter(inside.values())).key
            made = self._maker.block("global_defs", inside)
            settings = self._maker.statement([Word("global_defs", first)], made)
            if all(self._entries.is_known(pair.key) for pair in inside.values()):
                self._entries.note(first, [settings])
            body.append(settings)
        return body
