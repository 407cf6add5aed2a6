"""YAML files: from a text to nodes that know where they were written.

PyYAML's parser (libyaml) gives the events. The tree is made here, because PyYAML's own composer
does not survive a text with a hundred thousand brackets, and decides about the type of a word
before anybody knows which key it stands behind.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from typing import Any, NamedTuple, TypeAlias

import msgspec
import yaml

from fastvrrp.config.diagnostics import Diagnostics, shown
from fastvrrp.config.model import Position, Severity

NESTING_MAX = 50
NODES_MAX = 5_000_000  # with what aliases repeat
TRUTHS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_NULLS = frozenset(("", "~", "null", "Null", "NULL"))
# Plain words that YAML 1.1 takes as truth values, as many editors do.
_TRUTHLIKE = TRUTHS.keys() | {
    word for base in ("yes", "no", "on", "off") for word in (base, base.title(), base.upper())
}
_INTEGER = re.compile(r"[-+]?[0-9]+")
_Loader: Any = getattr(yaml, "CBaseLoader", yaml.BaseLoader)  # C where libyaml is there


class Scalar(msgspec.Struct, eq=False, gc=False):
    """A single value as it was written; `is_plain`: without quotes."""

    text: str
    file: str
    line: int
    column: int
    is_plain: bool = True

    @property
    def is_null(self) -> bool:
        return self.is_plain and self.text in _NULLS

    @property
    def truth(self) -> bool | None:
        """What true and false mean, None for anything else."""
        return TRUTHS.get(self.text) if self.is_plain else None

    @property
    def is_truthlike(self) -> bool:
        """Whether it could be taken for a truth value."""
        return self.is_plain and self.text in _TRUTHLIKE

    @property
    def is_integer(self) -> bool:
        return self.is_plain and _INTEGER.fullmatch(self.text) is not None


class Sequence(msgspec.Struct, eq=False, gc=False):
    file: str
    line: int
    column: int
    items: list[Yaml]


class Mapping(msgspec.Struct, eq=False, gc=False):
    file: str
    line: int
    column: int
    pairs: dict[str, Pair]


class Pair(NamedTuple):
    """A key with its value."""

    key: Scalar
    value: Yaml


Yaml: TypeAlias = Scalar | Sequence | Mapping


def place(node: Yaml) -> Position:
    """Where a node begins."""
    return Position(file=node.file, line=node.line, column=node.column)


def described(node: Yaml) -> str:
    """What a node is, without its text, which may be a secret."""
    if isinstance(node, Mapping):
        return "a mapping"
    if isinstance(node, Sequence):
        return "a list"
    return "nothing" if node.is_null else "a single value"


class _Refused(Exception):
    """The text is no configuration, which has been said."""


class _Open:
    """A list or a mapping whose end has not been read."""

    __slots__ = ("anchor", "in_brackets", "key", "node", "nodes")

    def __init__(
        self, node: Sequence | Mapping, anchor: str | None, in_brackets: bool | None
    ) -> None:
        self.node = node
        self.anchor = anchor
        self.in_brackets = in_brackets
        self.key: Scalar | None = None  # of a mapping, whose value comes next
        self.nodes = 1


class Alias(NamedTuple):
    """Where it is, where what it stands for begins, and how many values that has."""

    name: str
    line: int
    of: int
    nodes: int


class Notes:
    """What a tree does not say of its text.

    spans    lines of values and of brackets that have several
    aliases  all of them
    """

    def __init__(self) -> None:
        self.spans: set[int] = set()
        self.aliases: list[Alias] = []


class _Composer:
    """One text becoming a tree."""

    def __init__(self, diagnostics: Diagnostics, file: str, notes: Notes | None) -> None:
        self._diagnostics = diagnostics
        self._notes = notes
        self._file = file
        self._open: list[_Open] = []
        self._anchors: dict[str, tuple[Yaml, int] | None] = {}
        self._made = 0
        self.root: Yaml | None = None

    def read(self, events: Iterator[Any]) -> None:
        """Raises _Refused and yaml.YAMLError."""
        for event in events:
            kind = type(event)
            if kind is yaml.ScalarEvent:
                line, column = event.start_mark.line + 1, event.start_mark.column + 1
                self._typed(event)
                plain = not event.style
                if self._notes is not None:
                    self._span(line, event)
                value = Scalar(event.value, self._file, line, column, plain)
                if event.anchor:
                    self._anchors[event.anchor] = value, 1
                self._add(value, 1)
            elif kind is yaml.MappingStartEvent:
                self._begin(event, Mapping(self._file, *self._place(event), {}))
            elif kind is yaml.SequenceStartEvent:
                self._begin(event, Sequence(self._file, *self._place(event), []))
            elif kind in (yaml.MappingEndEvent, yaml.SequenceEndEvent):
                self._end(event)
            elif kind is yaml.AliasEvent:
                self._alias(event)
            elif kind is yaml.DocumentStartEvent and self.root is not None:
                self._refuse(event, "a second document", "write it to a file of its own")

    def _place(self, event: Any) -> tuple[int, int]:
        return event.start_mark.line + 1, event.start_mark.column + 1

    def _refuse(self, event: Any, text: str, hint: str) -> None:
        self._say(*self._place(event), text, hint)
        raise _Refused

    def _say(self, line: int, column: int, text: str, hint: str) -> None:
        position = Position(file=self._file, line=line, column=column)
        self._diagnostics.add(position, Severity.ERROR, text, hint)

    def _typed(self, event: Any) -> None:
        if event.tag and event.tag != "!":
            self._say(*self._place(event), "a tag (!...) has no meaning here", "remove it")

    def _begin(self, event: Any, node: Sequence | Mapping) -> None:
        if len(self._open) >= NESTING_MAX:
            self._refuse(event, f"more than {NESTING_MAX} levels", "write fewer")
        self._typed(event)
        if event.anchor:
            self._anchors[event.anchor] = None
        self._open.append(_Open(node, event.anchor, event.flow_style))

    def _span(self, line: int, event: Any) -> None:
        """What begins in this line and ends with the event."""
        end = event.end_mark
        last = end.line + (end.column > 0)  # an indented text ends where the next line begins
        if last > line and self._notes is not None:
            self._notes.spans.update(range(line, last + 1))

    def _end(self, event: Any) -> None:
        opened = self._open.pop()
        if opened.in_brackets:
            self._span(opened.node.line, event)
        if opened.anchor:
            self._anchors[opened.anchor] = opened.node, opened.nodes
        self._add(opened.node, opened.nodes)

    def _alias(self, event: Any) -> None:
        known = self._anchors.get(event.anchor)
        if known is None:
            inside = event.anchor in self._anchors
            text = "an alias within what it stands for" if inside else "an alias of nothing above"
            self._refuse(event, text, "quote the word if it is meant literally")
            return
        self._made += known[1]
        if self._made > NODES_MAX:
            self._refuse(event, f"aliases make more than {NODES_MAX} values", "make fewer")
        if self._notes is not None:
            line = event.start_mark.line + 1
            self._notes.aliases.append(Alias(event.anchor, line, known[0].line, known[1]))
        self._add(*known)

    def _add(self, value: Yaml, nodes: int) -> None:
        if not self._open:
            self.root = value
            return
        inner = self._open[-1]
        inner.nodes += nodes
        if isinstance(inner.node, Sequence):
            inner.node.items.append(value)
        elif inner.key is None:
            inner.key = self._key(value)
        else:
            key, inner.key = inner.key, None
            first = inner.node.pairs.get(key.text)
            if first is None:
                inner.node.pairs[key.text] = Pair(key, value)
            else:
                self._say(
                    key.line,
                    key.column,
                    f"{shown(key.text)} is there already",
                    f"the first one is in line {first.key.line}; keep one",
                )

    def _key(self, value: Yaml) -> Scalar:
        if isinstance(value, Scalar):
            if value.text == "<<" and value.is_plain:
                hint = "write what is common into templates: or defaults:"
                self._say(value.line, value.column, "<< is not understood", hint)
            return value
        self._say(value.line, value.column, "a key must be a single word", "write KEY: VALUE")
        return Scalar("", value.file, value.line, value.column)


# Line breaks for YAML 1.1 and its libraries; for YAML 1.2 (5.4), editors and whoever counts lines
# they are characters like others.
_BREAKS_OF_OLD = dict.fromkeys((0x85, 0x2028, 0x2029), " ")
_BREAK_FOR_SOME = re.compile(r"\r(?!\n|\Z)")  # a line break for YAML, none for most editors


def with_lines(text: str) -> str:
    """The text as the parser is to see it: its lines are those that an editor counts. What cannot
    be written in UTF-8 is replaced."""
    return text.encode(errors="replace").decode().translate(_BREAKS_OF_OLD)


def compose(
    diagnostics: Diagnostics, text: str, file: str, notes: Notes | None = None
) -> Yaml | None:
    """The document of a file; None if it is empty or no YAML, which is said then. Nothing of the
    text gets into a message, because it may be a secret."""
    composer = _Composer(diagnostics, file, notes)
    text = with_lines(text)
    if (found := _BREAK_FOR_SOME.search(text)) is not None:
        before = text[: found.start()].split("\n")
        at = Position(file=file, line=len(before), column=len(before[-1]) + 1)
        diagnostics.add(
            at, Severity.ERROR, "a carriage return within a line", "end each line with a line feed"
        )
        return None
    try:
        composer.read(yaml.parse(io.StringIO(text), Loader=_Loader))
    except _Refused:
        return None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark is not None else (1, 1)
        at = _within(text, file, line, column)
        problem = (error.problem or "").partition("'")[0].strip() or "it cannot be read"
        diagnostics.add(at, Severity.ERROR, f"not YAML: {problem}", _hint(problem))
        return None
    except yaml.YAMLError as error:
        line = text.count("\n", 0, getattr(error, "position", 0)) + 1
        what = "not YAML: a character is not allowed"
        at = Position(file=file, line=line)
        diagnostics.add(at, Severity.ERROR, what, "remove control characters")
        return None
    if isinstance(composer.root, Scalar) and composer.root.is_null:
        return None
    return composer.root


def _within(text: str, file: str, line: int, column: int) -> Position:
    """A place in the text: what ends behind it is wrong at its end."""
    lines = text.rstrip().split("\n")
    if line > len(lines):
        line, column = len(lines), len(lines[-1])
    return Position(file=file, line=line, column=max(min(column, len(lines[line - 1])), 1))


def _hint(problem: str) -> str:
    if "cannot start any token" in problem:
        return "indent with blanks, and quote words that begin with a special character"
    if "escape" in problem:
        return "double a backslash, or use single quotes"
    return "compare the indentation with the lines above, and quote what has ': ' or ' #' in it"
