"""What is to be kept of a load for the next one: records of its blocks (`memory`).

A block is not remembered where it is not known what was said of it and why.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import msgspec

from fastvrrp.config.memory import NOTHING, Further, Record, are_placed_by_text, relative
from fastvrrp.config.model import Message
from fastvrrp.config.node import Node

if TYPE_CHECKING:
    from fastvrrp.config.defaults import Defaults

T = TypeVar("T")


class Span(msgspec.Struct, frozen=True, gc=False):
    """A block that was read or taken over.

    parameters  names, and digest of what they mean
    templates   whether one of them is a template, or it may have presets of YAML
    said        what was said of its text: numbers of the first message and of the one behind
    """

    record: Record
    node: Node
    parameters: tuple[tuple[str, ...], bytes]
    templates: bool
    said: tuple[int, int]


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
        self.defaults: dict[bytes, int] = {}
        self.parameters = {NO_PARAMETERS: 0}
        self._spans = {id(span.node): span for span in spans}
        self._messages = messages
        self._digest_of = digest_of
        self._others = _Others(template_lines)
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
        if origin is None or span is None or (span.templates and self._others.of_templates):
            return None
        last, node, more = span.record, span.node, span.record.more
        further = Further(
            opening=more.opening,
            parameters=self.parameters.setdefault(span.parameters, len(self.parameters)),
            made=more.made,
            has_run=origin.has_run,
        )
        about = self._others.about(node, last.lines)
        if about or span.said[0] < span.said[1] or origin.said[0] < origin.said[1]:
            of_text = relative(self._messages[slice(*span.said)], node, last.lines)
            of_meaning = relative(self._messages[slice(*origin.said)], node, last.lines)
            of_all = relative(about, node, last.lines)
            if of_text is None or of_meaning is None or of_all is None:
                return None
            if not are_placed_by_text(of_all):
                return None
            further = msgspec.structs.replace(
                further, of_text=of_text, of_meaning=of_meaning, of_all=of_all
            )
        digest = self._digest_of(origin.defaults)
        number = self.defaults.setdefault(digest, len(self.defaults))
        new = None if further == NOTHING else further
        if (last.defaults, last.weights, last.further) == (number, origin.weights, new):
            return last
        return msgspec.structs.replace(last, defaults=number, weights=origin.weights, further=new)


class _Others:
    """Messages that came up when blocks were compared with each other, by file and line."""

    def __init__(self, template_lines: Collection[tuple[str, int]]) -> None:
        self._by_file: dict[str, list[Message]] = {}
        self._template_lines = template_lines
        self.of_templates = False  # whether one stands in a template

    def add(self, message: Message) -> None:
        at = message.position
        self._by_file.setdefault(at.file, []).append(message)
        self.of_templates |= (at.file, at.line) in self._template_lines

    def sort(self) -> None:
        for messages in self._by_file.values():
            messages.sort(key=_line)

    def about(self, node: Node, lines: int) -> list[Message]:
        """Those about a block of so many lines."""
        messages = self._by_file.get(node.file, [])
        begin = bisect_left(messages, node.line, key=_line)
        return messages[begin : bisect_left(messages, node.line + lines, lo=begin, key=_line)]


def _line(message: Message) -> int:
    return message.position.line


def together(met: Iterable[T], before: Iterable[T]) -> tuple[T, ...]:
    """What was met in blocks that were read, and in those that were taken over."""
    return tuple(sorted({*met, *before}, key=repr))
