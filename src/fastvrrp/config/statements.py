"""Statements as they are kept for the next load, which need not parse their block then.

A block moves in its file, and what it includes or takes from templates moves apart from it: where
a statement stands is kept as a place that can be found again, and lines below it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from fastvrrp.config.expand import Raw
from fastvrrp.config.node import COLUMN_BITS, NativeNode, Node, Twins, VeiledNode, unmark

# A block is "" and 0, a line of a template "$NAME" and its number, an included file its name and 0.
Place = tuple[str, int]
_OWN: Place = ("", 0)
_KINDS: tuple[type[Node], ...] = (Node, VeiledNode, NativeNode, Twins)


class Elsewhere(Exception):
    """A statement stands where it could not be found again."""


class Stored(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A statement.

    place  number of its place, `line` lines below which it stands
    words  None: as the text is split
    marks  of Node, relative to its place
    via    of Node: number of a place, and lines below it
    twins  of Twins: lines of each, and the addresses; the body counts from their first line
    """

    kind: int
    text: str
    place: int
    line: int
    words: tuple[str, ...] | None = None
    body: list[Stored] | None = None
    marks: list[int] | None = None
    via: tuple[int, int] | None = None
    twins: tuple[int, list[str]] | None = None


def _split(text: str, has_body: bool) -> tuple[str, ...]:
    return tuple((text.partition("{")[0] if has_body else text).split())


class Places:
    """Finds places in what a block was made of: its own lines, files it includes, templates."""

    def __init__(
        self,
        file: str,
        lines: range,
        files: Iterable[str],
        templates: Mapping[str, Sequence[Raw]],
    ) -> None:
        self._numbers: dict[Place, int] = {_OWN: 0}
        self._file = file
        self._lines = lines
        self._files = {*files}
        self._templates = templates
        self._raws: dict[tuple[str, int], Place] | None = None

    @property
    def all(self) -> list[Place]:
        """Those that were found, by number."""
        return list(self._numbers)

    def _number(self, place: Place) -> int:
        return self._numbers.setdefault(place, len(self._numbers))

    def of(self, file: str, line: int) -> tuple[int, int]:
        """Number of the place, and lines below it. Raises Elsewhere."""
        if file == self._file and line in self._lines:
            return 0, line - self._lines.start
        if file in self._files:
            return self._number((file, 0)), line
        if self._raws is None:
            self._raws = {
                (raw.file, raw.line): (f"${name}", number)
                for name, raws in self._templates.items()
                for number, raw in enumerate(raws)
            }
        place = self._raws.get((file, line))
        if place is None:
            raise Elsewhere
        return self._number(place), 0

    def of_all(self, nodes: Iterable[Node]) -> list[Stored]:
        """Statements as they are kept. Raises Elsewhere."""
        return [self._stored(node) for node in nodes]

    def _stored(self, node: Node) -> Stored:
        place, line = self.of(node.file, node.line)
        kind, twins, body = _KINDS.index(type(node)), None, None
        if isinstance(node, Twins):
            there = range(node.first, node.first + node.each)
            body = Places(node.file, there, (), {}).of_all(node.body or ())
            twins = node.each, node.addresses
        elif node.body is not None:
            body = self.of_all(node.body)
        marks, via = None, None
        if node.marks is not None:
            if node.is_native and any(unmark(at)[0] not in self._lines for at in node.marks):
                raise Elsewhere  # a word of an entry may be one of presets
            below = (node.line - line) << COLUMN_BITS
            marks = [at - below for at in node.marks]
        if node.via:
            used_in, _, used_at = node.via.rpartition(":")
            via = self.of(used_in, int(used_at))
        words = None if _split(node.text, body is not None) == node.words else node.words
        return Stored(kind, node.text, place, line, words, body, marks, via, twins)


def restored(
    statements: Iterable[Stored],
    places: Iterable[Place],
    file: str,
    line: int,
    templates: Mapping[str, Sequence[Raw]],
) -> list[Node]:
    """The statements of a block which begins in this line now."""
    found = []
    for name, number in places:
        if not name:
            found.append((file, line))
        elif name[0] == "$":
            raw = templates[name[1:]][number]
            found.append((raw.file, raw.line))
        else:
            found.append((name, 0))
    return _nodes(statements, found)


def _nodes(statements: Iterable[Stored], places: list[tuple[str, int]]) -> list[Node]:
    nodes = []
    for kind, text, place, line, words, body, marks, via, twins in map(_FIELDS, statements):
        file, begin = places[place]
        line += begin
        if words is None:
            words = _split(text, body is not None)
        if marks is not None:
            marks = [at + (begin << COLUMN_BITS) for at in marks]
        use = ""
        if via is not None:
            used_in, used_at = places[via[0]]
            use = f"{used_in}:{used_at + via[1]}"
        if twins is not None:
            made: Node = Twins(
                words,
                file,
                line,
                text,
                marks,
                use,
                _nodes(body, [(file, line)]),
                first=line,
                each=twins[0],
                addresses=twins[1],
            )
        else:
            inner = None if body is None else _nodes(body, places)
            made = _KINDS[kind](words, file, line, text, marks, use, inner)
        nodes.append(made)
    return nodes


_FIELDS = msgspec.structs.astuple
