"""Entries of a YAML file that were read before: a reload does not parse their text again.

The parser gets the text without what is known (`outline` finds it): of a run of known entries it
gets the key of the first one alone, or the first line where that is an item of a list, and blank
lines for the rest. That it takes this for an entry of its list or mapping proves that it would have
taken the whole run so: nothing above is open (quotes, brackets), and no entry of the run depends on
another one. Then what is known comes to where it was: what became of the entry (`remembered`), or
its tree (`trees`), to which defaults, templates, `for` and what `nodes` say are applied anew.

Trees are kept of whatever has places outside of its own text: statements out of presets, or of an
entry that something of `nodes` is laid over; and of all that does not become blocks. A model that
came of an entry and of what is laid over it is found by both texts.

That holds for entries that are plain blocks, so others are parsed each time: those in whose first
or last line there is a part of a value or of brackets of several, or at whose end a text may go on
in what looks like comments; those with an alias of something outside, or of which there is one
outside: their text does not decide what they mean. It holds for files with nothing that YAML
forbids, in which nothing breaks lines or indents them but line feeds and blanks. Whatever else is
not as it is expected raises Unread, then everything is parsed: an error anywhere, a name twice,
other defaults and templates than the last time for what they were applied to.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple, TypeVar

from fastvrrp.config.diagnostics import Diagnostics
from fastvrrp.config.memory import Record
from fastvrrp.config.native.document import (
    NODES_MAX,
    Alias,
    Mapping,
    Notes,
    Pair,
    Scalar,
    Sequence,
    Yaml,
)
from fastvrrp.config.native.expand import Pairs, Presets
from fastvrrp.config.native.names import NODES
from fastvrrp.config.native.outline import Path, entries
from fastvrrp.config.native.trees import packed, unpacked
from fastvrrp.config.node import Node, unmark
from fastvrrp.config.remembered import Blocks
from fastvrrp.config.taken import Entry, Match, Unread
from fastvrrp.config.tracing import Found

# What YAML forbids is among it: the parser has to see that, in a comment as well.
_ODD_IN_FILE = re.compile(
    "[^\n -~\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"
)
_BETWEEN = re.compile(r"(?:\n *(?:#[^\n]*)?(?=\n))*\n")
_ANCHOR = re.compile(r"&([A-Za-z0-9_-]+)")
_ALIAS = re.compile(r"\*[A-Za-z0-9_-]")  # and more: comments and texts may look so
_ALIASED_MAX = 100  # values that an alias in an entry that is remembered stands for

_Place = tuple[str, str, int]  # section, file and line of an entry that becomes blocks


class _Known(NamedTuple):
    """`value` stands in its place.

    tree  its record, if there is one of the tree alone
    pair  whether it is what `nodes` have for an entry, or that entry
    """

    entry: Entry
    value: Yaml
    tree: Record | None = None
    pair: bool = False


class _Cut(NamedTuple):
    """A file that was cut: the text that is left to parse, its entries, and what of them is known,
    in runs."""

    text: str
    found: list[Entry]
    runs: list[list[_Known]]

    @property
    def known(self) -> Iterator[_Known]:
        for run in self.runs:
            yield from run


class Entries:
    """The entries of all files of one load."""

    def __init__(
        self, blocks: Blocks, presets: Presets, diagnostics: Diagnostics, config_id: str
    ) -> None:
        self._blocks = blocks
        self._presets = presets
        self._diagnostics = diagnostics
        self._own: Path = NODES, config_id
        self._taken: dict[_Place, list[Node]] = {}
        self._read: dict[_Place, Entry] = {}  # what may be remembered with what becomes of it
        self._changes: dict[_Place, tuple[Entry, Entry]] = {}  # what `nodes` have, for what
        self._restored: set[tuple[str, int]] = set()  # lines of which there were trees
        self._below: dict[tuple[str, int], tuple[str, int]] = {}  # what `nodes` change, by that
        self._files: set[str] = set()

    @property
    def keeps(self) -> bool:
        """Whether entries are remembered, so that the parser has to take notes."""
        return self._blocks.keeps

    def cut(self, text: str, file: str) -> _Cut:
        """A file without what is known of it."""
        if file in self._files:
            return _Cut(text, [], [])
        self._files.add(file)
        if _ODD_IN_FILE.search(text):
            return _Cut(text, [], [])
        found = entries(text)
        changed = {(*e.path[2:], e.name): e for e in found if e.path[:2] == self._own}
        pairs = self._pairs(found, changed, file)
        cut = _Cut("", found, [])
        parts, at = [], 0
        run: list[_Known] = []
        for entry in found:
            known = self._known(entry, file, pairs, is_changed=(*entry.path, entry.name) in changed)
            if known is None:
                run = []
                continue
            is_next = run and run[-1].entry.path == entry.path
            if is_next and _BETWEEN.fullmatch(text, at, entry.at):
                run.append(known)
            else:
                run = [known]
                cut.runs.append(run)
                first = entry.at + entry.opening
                parts.append(text[at:first])
                at = first
            parts.append("\n" * text.count("\n", at, entry.end))
            at = entry.end
        parts.append(text[at:])
        return cut._replace(text="".join(parts))

    def _pairs(self, found: list[Entry], changed: dict[Path, Entry], file: str) -> set[int]:
        """The lines of entries that are known with what this node has for them, and of that."""
        pairs: set[int] = set()
        for base in found if changed else ():
            above = changed.get((*base.path, base.name)) if len(base.path) == 1 else None
            if above is None or not base.name or len(above.path) != 3:
                continue
            match = self._blocks.known(_paired(above, base))
            if match is not None:
                self._take(match, above, file)
                pairs.update((base.line, above.line))
        return pairs

    def _known(
        self, entry: Entry, file: str, pairs: set[int], *, is_changed: bool
    ) -> _Known | None:
        at = file, entry.line, entry.column
        instead = Scalar("", *at) if entry.name else Mapping(*at, {})
        match = self._blocks.known(entry)
        tree = match.record if match is not None and match.record.more.tree else None
        if entry.line in pairs:
            return _Known(entry, instead, tree, pair=True)
        if tree is not None:
            lines = range(entry.line, entry.line + entry.lines)
            self._restored.update([(file, line) for line in lines])
            return _Known(entry, unpacked(tree.more.tree, file, entry.line), tree)
        if match is None or is_changed:
            return None
        self._take(match, entry, file)
        return _Known(entry, instead)

    def _take(self, match: Match, entry: Entry, file: str) -> None:
        self._taken[entry.path[-1], file, entry.line] = self._blocks.take_entry(match, entry, file)

    def composed(self, cut: _Cut, file: str, root: Yaml | None, notes: Notes, errors: int) -> None:
        """What the parser made of it, with so many errors, gets what is known. Raises Unread."""
        if cut.runs:
            _compare(cut, notes, errors)
        if not isinstance(root, Mapping):
            if cut.runs:
                raise Unread
            return
        runs = _by_path(cut.runs, lambda run: run[0].entry)
        found = [entry for entry in cut.found if _is_whole(entry, notes.spans)]
        mixed = _mixed(found, notes.aliases)
        if any(not _is_whole(run[0].entry, notes.spans) for run in cut.runs):
            raise Unread
        known = {known.entry.line: known for known in cut.known}
        for path, there in _by_path(found, lambda entry: entry).items():
            container = _at(root, path)
            _fill(container, runs.pop(path, ()), file)
            values = _values(container)
            for entry in there:
                if entry.line in known:
                    last = known[entry.line]
                    if last.tree is not None:
                        self._blocks.keep_tree(entry, last.tree)
                        if not last.pair:
                            self._may_become(entry, file)
                elif entry.line in values and entry.line not in mixed:
                    self._remember(entry, values[entry.line], file)
        self._lay_over(root, cut, file)

    def _remember(self, entry: Entry, value: Yaml, file: str) -> None:
        lines = range(entry.line, entry.line + entry.lines)
        self._blocks.keep_tree(entry, pack=functools.partial(packed, value, file, lines))
        self._may_become(entry, file)

    def _may_become(self, entry: Entry, file: str) -> None:
        """An entry that is no item of presets may become blocks."""
        path = entry.path[2:] if entry.path[:2] == self._own else entry.path
        if len(path) == 1:
            self._read[path[0], file, entry.line] = entry

    def _lay_over(self, root: Mapping, cut: _Cut, file: str) -> None:
        """What this node has for itself takes the place of other entries, or changes them. Raises
        Unread where those are not there any more."""
        nodes = root.pairs.get(NODES)
        own = nodes and isinstance(nodes.value, Mapping) and nodes.value.pairs.get(self._own[1])
        if not own or not isinstance(own.value, Mapping):
            return
        taken = [k.entry for k in cut.known if k.tree is None and not k.pair]
        for section, (_, above) in own.value.pairs.items():
            if section not in root.pairs:
                continue
            below = root.pairs[section].value
            if not isinstance(above, Mapping) or not isinstance(below, Mapping):
                if any(entry.path == (section,) for entry in taken):
                    raise Unread
                continue
            paths = (section,), (*self._own, section)
            names = above.pairs.keys() & below.pairs.keys()
            if any(entry.path in paths and entry.name in names for entry in taken):
                raise Unread
            for name in names:
                line, under = above.pairs[name].key.line, below.pairs[name].key.line
                changes = self._read.pop((section, file, line), None)
                base = self._read.get((section, file, under))
                if changes is not None and base is not None:
                    self._changes[section, file, line] = changes, base
                self._below[file, line] = file, under

    def settle(self) -> None:
        """All files are read, so it is known what presets say. Raises Unread."""
        if self.keeps:
            self._blocks.check_presets(self._presets)

    def statements(
        self, section: str, start: Yaml, value: Yaml, made: Iterator[Node]
    ) -> Iterable[Node]:
        """What becomes of an entry: what is known in its place, or else what is `made` of it."""
        if not self.keeps:
            return made
        key = section, start.file, start.line
        taken = self._taken.pop(key, None)
        if taken is not None:
            return taken
        self._presets.asked.clear()
        before = len(self._diagnostics.messages)
        nodes = list(made)
        self.note(start, nodes)
        entry, base = self._changes.get(key) or (self._read.get(key), None)
        if entry is not None and nodes:
            self._blocks.read(self._found(entry, base, nodes, before))
        return nodes

    def note(self, start: Yaml, nodes: Iterable[Node]) -> None:
        """These were made of what begins there."""
        if self.is_known(start):
            self._blocks.recall(nodes)

    def is_known(self, start: Yaml) -> bool:
        """Whether what begins there was not parsed, nor what it was laid over."""
        at = start.file, start.line
        return at in self._restored and self._below.get(at, at) in self._restored

    def _found(self, entry: Entry, base: Entry | None, nodes: list[Node], before: int) -> Found:
        node = nodes[0]
        places = [unmark(at) for at in node.marks or ()]
        is_there = {line for line, _ in places} == {entry.line} and node.line == entry.line
        return Found(
            nodes,
            node.file,
            entry.line,
            entry.text if base is None else _paired(entry, base).text,
            entry.line + entry.lines - 1,
            is_there and len(nodes) == 1,
            (node.words, tuple([column for _, column in places])),
            tuple(sorted(self._presets.asked)),
            0,
            (before, len(self._diagnostics.messages)),
            label=entry.label,
            also=range(0) if base is None else range(base.line, base.line + base.lines),
        )

    def said_each_time(self, begin: int) -> None:
        """Messages from this one on come of presets, and of nothing that is remembered."""
        self._blocks.said_each_time = begin, len(self._diagnostics.messages)

    def end(self) -> None:
        """All entries have become statements. Raises Unread where a known one has not."""
        if self._taken:
            raise Unread


def _paired(above: Entry, base: Entry) -> Entry:
    """An entry and what is laid over it, to be looked up: only both texts decide what it means."""
    return above._replace(text=f"{above.text}\n\0{base.text}")


def _compare(cut: _Cut, notes: Notes, errors: int) -> None:
    """Raises Unread where known entries could have made a difference to the parser."""
    texts = [known.entry.text for known in cut.known]
    anchors = {name for text in texts if "&" in text for name in _ANCHOR.findall(text)}
    nodes = sum(alias.nodes for alias in notes.aliases)
    nodes += _ALIASED_MAX * sum(len(_ALIAS.findall(text)) for text in texts if "*" in text)
    if errors or nodes > NODES_MAX or any(alias.name in anchors for alias in notes.aliases):
        raise Unread


def _is_whole(entry: Entry, spans: set[int]) -> bool:
    """Whether it has nothing of several lines in its first or last one."""
    return spans.isdisjoint((entry.line, entry.line + entry.lines - 1))


def _mixed(found: Iterable[Entry], aliases: Iterable[Alias]) -> set[int]:
    """The first lines of entries of whose values others are aliases, or that have aliases of what
    is not in them, or of much."""
    mixed: set[int] = set()
    begins: dict[int, int] | None = None
    for alias in aliases:
        if begins is None:
            begins = {
                line: entry.line
                for entry in found
                for line in range(entry.line, entry.line + entry.lines)
            }
        use, of = begins.get(alias.line), begins.get(alias.of)
        if use != of or alias.nodes > _ALIASED_MAX:
            mixed.update(line for line in (use, of) if line is not None)
    return mixed


_T = TypeVar("_T")


def _by_path(several: Iterable[_T], entry_of: Callable[[_T], Entry]) -> dict[Path, list[_T]]:
    found: dict[Path, list[_T]] = {}
    for one in several:
        found.setdefault(entry_of(one).path, []).append(one)
    return found


def _at(root: Mapping, path: Path) -> Mapping | Sequence | None:
    """What stands below these keys, without brackets."""
    node: Yaml = root
    for name in path:
        if not isinstance(node, Mapping) or not _is_block(node) or name not in node.pairs:
            return None
        node = node.pairs[name].value
    return node if not isinstance(node, Scalar) and _is_block(node) else None


def _is_block(node: Mapping | Sequence) -> bool:
    """Whether it has no brackets; a list is taken for one where its items begin further right."""
    if isinstance(node, Mapping):
        first = next(iter(node.pairs.values()), None)
        return first is not None and (first.key.line, first.key.column) == (node.line, node.column)
    return bool(node.items) and node.items[0].column > node.column


def _values(there: Mapping | Sequence | None) -> dict[int, Yaml]:
    """By the lines in which entries begin."""
    if isinstance(there, Mapping):
        return {key.line: value for key, value in there.pairs.values()}
    return {item.line: item for item in there.items} if there is not None else {}


def _fill(there: Mapping | Sequence | None, runs: Iterable[list[_Known]], file: str) -> None:
    """Puts runs where their first entries are. Raises Unread where there are none."""
    heads = {run[0].entry.line: run for run in runs}
    if not heads:
        return
    if isinstance(there, Mapping):
        there.pairs = _filled_pairs(there.pairs, heads, file)
    elif there is not None:
        there.items = _filled_items(there, heads)
    if heads:
        raise Unread


def _filled_pairs(pairs: Pairs, heads: dict[int, list[_Known]], file: str) -> Pairs:
    filled: Pairs = {}
    for name, pair in pairs.items():
        run = heads.pop(pair.key.line, None)
        new = {name: pair}
        if run is not None:
            first, value = run[0].entry, pair.value
            is_empty = isinstance(value, Scalar) and value.is_plain and not value.text
            if not is_empty or (name, pair.key.column) != (first.name, first.column):
                raise Unread
            new = {
                e.name: Pair(Scalar(e.name, file, e.line, e.column), known) for e, known, *_ in run
            }
            if len(new) != len(run):
                raise Unread  # a name twice, which is an error
        if not filled.keys().isdisjoint(new):
            raise Unread
        filled.update(new)
    return filled


def _filled_items(there: Sequence, heads: dict[int, list[_Known]]) -> list[Yaml]:
    filled: list[Yaml] = []
    for item in there.items:
        run = heads.pop(item.line, None)
        if run is None:
            filled.append(item)
            continue
        if not isinstance(item, Mapping) or there.column != run[0].entry.column:
            raise Unread
        filled += [known.value for known in run]
    return filled
