"""Entries of a YAML file that were read before: a reload does not parse their text again.

The entries of sections are found by indentation. Of a run of known ones
the parser gets the first line alone, and blank lines for the rest. That it takes this line for an
entry of its section proves that it would have taken the whole run so: nothing above is open
(quotes, brackets), and no entry of the run depends on another one.

That holds for entries that are plain blocks, so others are parsed each time: those with anchors or
aliases, whose first or last line is part of a value or of brackets of several, whose first line
says more than the name, or at whose end a text may go on in what looks like comments. So are
`global`, `tls` and sections that are lists of lines, and entries of which no model but statements
are kept (`remembered`) if some come of defaults or templates. It holds for files with nothing that
YAML forbids, in which nothing breaks lines or indents them but line feeds and blanks, without
`nodes`, which change entries. Whatever else is not as it is expected raises Unread, then everything
is parsed: an error anywhere, a name twice, other defaults and templates than the last time.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from fastvrrp.config.diagnostics import Diagnostics
from fastvrrp.config.native.document import Mapping, Scalar, Yaml
from fastvrrp.config.native.expand import Presets
from fastvrrp.config.native.names import NODES, sections
from fastvrrp.config.node import Node, unmark
from fastvrrp.config.remembered import Blocks
from fastvrrp.config.taken import Entry, Match, Unread
from fastvrrp.config.tracing import Found

_ODD = re.compile("[\t\r\x85\u2028\u2029\ufeff&*]")
# What YAML forbids is among it: the parser has to see that, in a comment as well.
_ODD_IN_FILE = re.compile(
    "[^\n -~\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"
)
_SECTION_END = re.compile(r" *(?:#.*)?")
_BETWEEN = re.compile(r"(?:\n *(?:#[^\n]*)?(?=\n))*\n")
_NAMED = re.compile(r" *([A-Za-z0-9_][A-Za-z0-9_.-]*): *(?:#.*)?")
_LISTED = re.compile(r" *- +[a-z_]+:.*")
_WITHOUT_ENTRIES = frozenset(("global", "tls"))
_OPEN_END = re.compile(r"[|>][-+0-9]* *(?:#.*)?\Z")


class _Run(NamedTuple):
    """Known entries, one after the other; `column` is where the first one begins."""

    column: int
    nodes: list[Node]


class _Cut(NamedTuple):
    """A file that was cut: the text that is left to parse, and where in it runs stand."""

    text: str
    runs: dict[tuple[str, int], _Run]  # by section and line
    names: frozenset[tuple[str, str]]  # of the entries that are not in the text, by section


class Entries:
    """The entries of all files of one load."""

    def __init__(self, blocks: Blocks, presets: Presets, diagnostics: Diagnostics) -> None:
        self._blocks = blocks
        self._presets = presets
        self._diagnostics = diagnostics
        self._runs: dict[tuple[str, str, int], _Run] = {}  # by section, file and line
        self._read: dict[tuple[str, str, int], Entry] = {}  # the same, of those to be remembered
        self._files: set[str] = set()

    @property
    def keeps(self) -> bool:
        """Whether entries are remembered, so that the parser has to say what spans lines."""
        return self._blocks.keeps

    def cut(self, text: str, file: str) -> _Cut:
        """A file without what is known of it."""
        whole = _Cut(text, {}, frozenset())
        if file in self._files:
            return whole
        self._files.add(file)
        if _ODD_IN_FILE.search(text):
            return whole
        found = [entry for name in _names() for entry in _entries(text, name)]
        for entry in found:
            self._read[entry.section, file, entry.line] = entry
        known = [(entry, self._blocks.known(entry)) for entry in found]
        named = [(e.section, _name(e)) for e, match in known if match is not None and _name(e)]
        if len(named) != len({*named}):
            return whole  # a name twice, which is an error
        runs: dict[tuple[str, int], _Run] = {}
        names: set[tuple[str, str]] = set()
        parts, at = [], 0
        run: _Run | None = None
        for entry, match in sorted(known, key=_offset):
            if match is None:
                run = None
                continue
            nodes = self._blocks.take_entry(match, entry, file)
            if run is not None and _BETWEEN.fullmatch(text, at, entry.at):
                run.nodes.extend(nodes)
                names.add((entry.section, _name(entry)))
            else:
                first = entry.at + len(entry.head)
                parts.append(text[at:first])
                run = runs[entry.section, entry.line] = _Run(entry.column, nodes)
                at = first
            parts.append("\n" * text.count("\n", at, entry.end))
            at = entry.end
        parts.append(text[at:])
        self._runs.update({(name, file, line): run for (name, line), run in runs.items()})
        return _Cut("".join(parts), runs, frozenset(names))

    def composed(
        self, cut: _Cut, file: str, root: Yaml | None, spans: set[int], errors: int
    ) -> None:
        """What the parser made of it. `spans` are lines with what spans several of them, `errors`
        how many there were. Raises Unread."""
        for key in [key for key in self._read if key[1] == file]:
            entry = self._read[key]
            is_changed = isinstance(root, Mapping) and NODES in root.pairs
            if is_changed or not spans.isdisjoint((entry.line, entry.line + entry.lines - 1)):
                del self._read[key]
        if not cut.runs:
            return
        if errors or not isinstance(root, Mapping) or NODES in root.pairs:
            raise Unread
        for name, line in cut.runs:
            if line in spans or name not in root.pairs:
                raise Unread
        for name, called in cut.names:
            section = root.pairs[name].value
            if isinstance(section, Mapping) and called in section.pairs:
                raise Unread

    def settle(self) -> None:
        """All files are read, so it is known what presets say. Raises Unread."""
        if self.keeps:
            self._blocks.check_presets(self._presets)

    def statements(
        self, section: str, start: Yaml, value: Yaml, made: Iterator[Node]
    ) -> Iterable[Node]:
        """What becomes of an entry: what is known in its place, or else what is `made` of it."""
        key = section, start.file, start.line
        run = self._runs.pop(key, None)
        if run is not None:
            is_named = isinstance(start, Scalar)
            if is_named and not (
                start.column == run.column and isinstance(value, Scalar) and value.is_null
            ):
                raise Unread
            return run.nodes
        entry = self._read.get(key)
        if entry is None or not self.keeps:
            return made
        self._presets.asked.clear()
        before = len(self._diagnostics.messages)
        nodes = list(made)
        if nodes:
            self._blocks.read(self._found(entry, nodes, before))
        return nodes

    def _found(self, entry: Entry, nodes: list[Node], before: int) -> Found:
        node = nodes[0]
        places = [unmark(at) for at in node.marks or ()]
        is_there = {line for line, _ in places} == {entry.line} and node.line == entry.line
        return Found(
            nodes,
            node.file,
            entry.line,
            entry.text,
            entry.line + entry.lines - 1,
            is_there and len(nodes) == 1,
            (node.words, tuple([column for _, column in places])),
            tuple(sorted(self._presets.asked)),
            0,
            (before, len(self._diagnostics.messages)),
            section=entry.section,
        )

    def said_each_time(self, begin: int) -> None:
        """Messages from this one on come of presets, and of nothing that is remembered."""
        self._blocks.said_each_time = begin, len(self._diagnostics.messages)

    def end(self) -> None:
        """All entries have become statements. Raises Unread where a known one has not."""
        if self._runs:
            raise Unread


def _names() -> list[str]:
    """The sections that have entries."""
    rows = sections().items()
    return [n for n, row in rows if n not in _WITHOUT_ENTRIES and not row.type.startswith("lines")]


def _offset(known: tuple[Entry, Match | None]) -> int:
    return known[0].at


def _name(entry: Entry) -> str:
    """Of an entry of a mapping; "" in lists."""
    named = _NAMED.fullmatch(entry.head)
    return named[1] if named is not None else ""


def _entries(text: str, section: str) -> Iterator[Entry]:
    """The entries of a section that begin as they have to, and have nothing odd in them."""
    heading = f"{section}:"
    if text.startswith(heading):
        at = 0
    else:
        at = text.find(f"\n{heading}") + 1
        if not at:
            return
    if text.find(f"\n{heading}", at) >= 0:
        return  # twice, which is an error
    line = text.count("\n", 0, at) + 1
    end = text.find("\n", at)
    if end < 0 or not _SECTION_END.fullmatch(text, at + len(heading), end):
        return
    indent, pattern = -1, None
    while end >= 0:
        at, line = end + 1, line + 1
        end = text.find("\n", at)
        head = text[at:] if end < 0 else text[at:end]
        content = head.lstrip(" ")
        if not content or content[0] == "#":
            continue
        width = len(head) - len(content)
        if pattern is None:
            indent, pattern = width, _entry_pattern(width)
        if width < indent or (not width and content[:2] != "- "):
            return
        if width > indent:
            continue
        match = pattern.match(text, at)
        assert match is not None
        entry = Entry(section, match[0], at, line, width + 1)
        if (_LISTED if content[0] == "-" else _NAMED).fullmatch(head) and _is_plain(match[0]):
            yield entry
        line += entry.lines - 1
        end = match.end() if match.end() < len(text) else -1


def _is_plain(text: str) -> bool:
    """Whether an entry has nothing odd in it, and is all that there is of it: behind the | or > of
    a text, even an empty one, deeper lines are no comments."""
    return not _ODD.search(text) and not _OPEN_END.search(text, text.rfind("\n") + 1)


def _entry_pattern(indent: int) -> re.Pattern[str]:
    """A line, and all deeper ones behind it but comments and blank lines at the end."""
    blank = r"(?:\n *(?:#[^\n]*)?(?=\n|\Z))*"
    return re.compile(rf"[^\n]*(?:{blank}\n {{{indent + 1}}} *[^ #\n][^\n]*)*")
