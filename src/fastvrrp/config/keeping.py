"""What is to be kept of a load for the next one: records of its blocks (`memory`).

A block is not remembered where it is not known what was said of it and why.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import msgspec

from fastvrrp.config.expand import Effect, Raw
from fastvrrp.config.memory import (
    NOTHING,
    Defined,
    Further,
    Kept,
    Record,
    are_placed_by_text,
    digest,
    relative,
)
from fastvrrp.config.model import Message
from fastvrrp.config.node import Node
from fastvrrp.config.statements import Elsewhere, Places
from fastvrrp.config.tracing import Found

if TYPE_CHECKING:
    from fastvrrp.config.defaults import Defaults
    from fastvrrp.config.expand import Definitions
    from fastvrrp.config.taken import Entry

T = TypeVar("T")


class Span(msgspec.Struct, frozen=True, gc=False):
    """A block that was read or taken over.

    parameters  names, and digest of what they mean
    templates   whether it has lines elsewhere: in templates, included files, or presets of YAML
    said        what was said of its text: numbers of the first message and of the one behind
    found       None if it was taken over
    """

    record: Record
    nodes: Sequence[Node]
    file: str
    line: int
    parameters: tuple[tuple[str, ...], bytes]
    templates: bool
    said: tuple[int, int]
    found: Found | None = None


class Origin(NamedTuple):
    """Where a virtual server or an instance came from: its block, and what else applied to it.

    weights  whether weights could be tracked
    has_run  whether it has programs run
    said     what was said of it, as in Span
    """

    node: Node
    defaults: Defaults
    weights: bool
    has_run: bool
    said: tuple[int, int]


class Tree(NamedTuple):
    """An entry of YAML whose tree may be kept: as it was the last time, or what `pack` makes, which
    may raise Elsewhere."""

    entry: Entry
    last: Record | None
    pack: Callable[[], bytes] | None


NO_PARAMETERS: tuple[tuple[str, ...], bytes] = ((), b"")


class Records:
    """Makes the records of one load."""

    def __init__(
        self,
        spans: Sequence[Span],
        origins: Iterable[Origin | None],
        messages: Sequence[Message],
        said_each_time: tuple[int, int],
        template_lines: Collection[tuple[str, int]],
        digest_of: Callable[[Defaults], bytes],
    ) -> None:
        """`said_each_time`: whatever is remembered, so that it says nothing of blocks;
        `template_lines`: of all templates, with their file."""
        included = {file for span in spans for file in span.record.more.files}
        self.defaults: dict[bytes, int] = {}
        self.parameters = {NO_PARAMETERS: 0}
        self._spans = {id(node): span for span in spans for node in span.nodes}
        self._modelled: set[int] = set()  # spans of which there is a model
        self._covered: set[tuple[str, bytes]] = set()  # heads and digests of entries with records
        self._messages = messages
        self._digest_of = digest_of
        self._others = _Others(template_lines, included)
        if messages:
            ranges = [said_each_time, *(span.said for span in spans)]
            ranges += [origin.said for origin in origins if origin is not None]
            own = {number for begin, end in ranges for number in range(begin, end)}
            for number, message in enumerate(messages):
                if number not in own:
                    self._others.add(message)
        self._others.sort()

    def of(self, origin: Origin | None) -> Record | None:
        """The record of a block; None if it is not to be remembered."""
        span = None if origin is None else self._spans.get(id(origin.node))
        if (
            origin is None
            or span is None
            or not span.record.more.is_whole
            or (span.templates and self._others.of_templates)
        ):
            return None
        also = range(0) if span.found is None else span.found.also
        if also and self._others.about(span.file, also.start, len(also)):
            return None  # it could not be said again where that stands then
        last, more = span.record, span.record.more
        at = span.file, span.line, last.lines
        further = Further(
            opening=more.opening,
            parameters=self.parameters.setdefault(span.parameters, len(self.parameters)),
            made=more.made,
            has_run=origin.has_run,
            files=more.files,
            defined=more.defined,
            places=more.places,
        )
        about = self._others.about(*at)
        if about or span.said[0] < span.said[1] or origin.said[0] < origin.said[1]:
            of_text = relative(self._messages[slice(*span.said)], *at)
            of_meaning = relative(self._messages[slice(*origin.said)], *at)
            of_all = relative(about, *at)
            if of_text is None or of_meaning is None or of_all is None:
                return None
            if not are_placed_by_text(of_all):
                return None
            further = msgspec.structs.replace(
                further, of_text=of_text, of_meaning=of_meaning, of_all=of_all
            )
        self._modelled.add(id(span))
        self._covered.add((last.head, last.digest))
        digest = self._digest_of(origin.defaults)
        number = self.defaults.setdefault(digest, len(self.defaults))
        new = None if further == NOTHING else further
        if (last.defaults, last.weights, last.further) == (number, origin.weights, new):
            return last
        return msgspec.structs.replace(last, defaults=number, weights=origin.weights, further=new)

    def others(self) -> tuple[Record, ...]:
        """Records of the blocks of which there is no model but that could be taken over as
        statements. After all of `of`."""
        spans = {id(span): span for span in self._spans.values()}
        made = [self._of_statements(span) for n, span in spans.items() if n not in self._modelled]
        found = tuple([record for record in made if record is not None])
        self._covered.update((record.head, record.digest) for record in found)
        return found

    def trees(self, several: Iterable[Tree]) -> Iterator[Record]:
        """Records of those entries of which nothing else is kept. After `others`."""
        for entry, last, pack in several:
            record = last or Record(
                head_of(entry.label, entry.text),
                digest(entry.text.encode()),
                entry.lines,
                len(entry.text),
            )
            if (record.head, record.digest) in self._covered:
                continue
            if pack is not None:
                try:
                    further = Further(tree=pack())
                except Elsewhere:
                    continue
                record = msgspec.structs.replace(record, further=further)
            yield record

    def _of_statements(self, span: Span) -> Record | None:
        last, more, found = span.record, span.record.more, span.found
        kept = more.kept
        if kept is None:
            if found is None:
                return None  # its statements are not known
            lines = range(span.line, span.line + last.lines)
            places = Places(span.file, lines, more.files, found.templates)
            try:
                statements = places.of_all(span.nodes)
            except Elsewhere:
                return None
            kept = Kept(places.all, statements)
        of_text = relative(self._messages[slice(*span.said)], span.file, span.line, last.lines)
        if of_text is None:
            return None
        parameters = self.parameters.setdefault(span.parameters, len(self.parameters))
        further = msgspec.structs.replace(more, kept=kept, parameters=parameters, of_text=of_text)
        return msgspec.structs.replace(last, further=further)


class _Others:
    """Messages that came up when blocks were compared with each other, by file and line."""

    def __init__(
        self, template_lines: Collection[tuple[str, int]], included: Collection[str]
    ) -> None:
        """`included`: files, by blocks."""
        self._by_file: dict[str, list[Message]] = {}
        self._included = included
        self._template_lines = template_lines
        self.of_templates = False  # whether one stands in a template

    def add(self, message: Message) -> None:
        at = message.position
        self._by_file.setdefault(at.file, []).append(message)
        self.of_templates |= at.file in self._included
        self.of_templates |= (at.file, at.line) in self._template_lines

    def sort(self) -> None:
        for messages in self._by_file.values():
            messages.sort(key=_line)

    def about(self, file: str, line: int, lines: int) -> list[Message]:
        """Those about a block of so many lines."""
        messages = self._by_file.get(file, [])
        begin = bisect_left(messages, line, key=_line)
        return messages[begin : bisect_left(messages, line + lines, lo=begin, key=_line)]


def _line(message: Message) -> int:
    return message.position.line


def together(met: Iterable[T], before: Iterable[T]) -> tuple[T, ...]:
    """What was met in blocks that were read, and in those that were taken over."""
    return tuple(sorted({*met, *before}, key=repr))


def head_of(label: str, text: str) -> str:
    """By what a block is found: its first line, below what is above it in YAML."""
    head = text.partition("\n")[0]
    return f"{label}\n{head}" if label else head


def record_of(found: Found, head: str) -> Record | None:
    """What is known of a block as soon as it is read; None if it is not to be remembered."""
    lines = range(found.line, found.last + 1)
    record = Record(head, digest(found.text.encode()), len(lines), len(found.text))
    places = Places(found.file, lines, found.files, {})
    try:
        defined = tuple([_defined(effect, places) for effect in found.effects])
    except Elsewhere:
        return None
    further = Further(
        opening=found.opening,
        made=found.made,
        is_whole=found.is_whole,
        files=found.files,
        defined=defined,
        places=tuple(places.all) if defined else (),
    )
    return record if further == NOTHING else msgspec.structs.replace(record, further=further)


def _defined(effect: Effect, places: Places) -> Defined:
    """Raises Elsewhere."""
    if isinstance(effect.value, str):
        return Defined(effect.name, effect.value)
    lines = [(raw.text, *places.of(raw.file, raw.line)) for raw in effect.value]
    return Defined(effect.name, None, tuple(lines))


def define_again(definitions: Definitions, more: Further, file: str, line: int) -> None:
    """What a block defines that begins there now."""
    for one in more.defined:
        if one.value is not None:
            definitions.define(one.name, one.value)
            continue
        lines = []
        for text, number, below in one.lines:
            name, begin = more.places[number]
            lines.append(Raw(text, name or file, begin + below + (0 if name else line)))
        definitions.define_template(one.name, tuple(lines))
