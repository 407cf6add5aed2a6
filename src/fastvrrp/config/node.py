"""Statements of a configuration: words with positions, blocks with bodies.

`Node` is made once per statement, tens of thousands of times for a large file: it costs the
garbage collector nothing, and columns are found only when a message needs them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import ClassVar

import msgspec

from fastvrrp.config.model import Position
from fastvrrp.config.native.wording import native_wording
from fastvrrp.config.shellwords import joined

COLUMN_BITS = 20
_COLUMN_MASK = (1 << COLUMN_BITS) - 1


def mark(line: int, column: int) -> int:
    """Line and column, both from 1, in one number: the origin of one character."""
    return line << COLUMN_BITS | (column if column < _COLUMN_MASK else _COLUMN_MASK)


def unmark(at: int) -> tuple[int, int]:
    """Line and column of a mark."""
    return at >> COLUMN_BITS, at & _COLUMN_MASK


def place(file: str, at: int) -> Position:
    """The position that a mark stands for. Its numbers are new objects, see `fresh`."""
    return Position(file=file, line=at >> COLUMN_BITS, column=at & _COLUMN_MASK)


def fresh(text: str) -> str:
    """A copy for the model. The tree of a large file has several megabytes, all of which can be
    given back to the system, unless here and there something in it is still in use."""
    return text.encode().decode()


class Node(msgspec.Struct, eq=False, gc=False):
    """One statement. `body` is None unless it opens a block.

    text    the statement, or for simple lines the whole line
    marks   origin of each word (`mark`); None: the words stand in `text` as they are split
    via     where a template was used that this line comes from, "" if none
    """

    words: tuple[str, ...]
    file: str
    line: int
    text: str
    marks: list[int] | None = None
    via: str = ""
    body: list[Node] | None = None
    is_veiled: ClassVar[bool] = False
    is_native: ClassVar[bool] = False

    def position(self, word: int = 0) -> Position:
        """Where a word was written; a word past the end counts as the last one."""
        word = min(word, len(self.words) - 1)
        if self.marks is not None:
            return place(self.file, self.marks[word])
        find, words = self.text.find, self.words
        start = find(words[0])
        for number in range(word):
            start = find(words[number + 1], start + len(words[number]))
        return place(self.file, mark(self.line, start + 1))

    def tail(self) -> str:
        """The text behind the first word, for keywords that split it themselves."""
        text = self.text.strip()
        if text.startswith('"'):
            return text[len(self.words[0]) + 2 :].strip()
        return text[len(self.words[0]) :].strip()

    def worded(self, text: str) -> str:
        """A message about this statement in the words of its file."""
        return text


class Twins(Node, kw_only=True, eq=False, gc=False):
    """Blocks, one after the other, that are written line by line like an earlier one, whose body
    they share. Their first lines differ in the second word, an address, alone; words and text are
    of the first of them.

    The lines of that body are the other one's; whoever reads the bodies needs `apart`.

    first      line at which the other block opens
    each       lines of one
    addresses  of all of them
    """

    first: int
    each: int
    addresses: list[str]

    def one(self, number: int) -> Node:
        """One of them, with a body of its own."""
        word, address, *more = self.words
        at = self.text.index(address, self.text.index(word) + len(word))
        own = self.addresses[number]
        line = self.line + number * self.each
        text = self.text[:at] + own + self.text[at + len(address) :]
        body = moved(self.body or [], self.file, line - self.first)
        return Node((word, own, *more), self.file, line, text, self.marks, self.via, body)

    def rest(self) -> Twins:
        """All but the first of them."""
        own = self.one(1)
        return msgspec.structs.replace(
            self,
            words=own.words,
            line=own.line,
            text=own.text,
            addresses=self.addresses[1:],
        )


def apart(nodes: Iterable[Node]) -> Iterator[Node]:
    """The same statements, twins one by one."""
    for node in nodes:
        if isinstance(node, Twins):
            for number in range(len(node.addresses)):
                yield node.one(number)
        else:
            yield node


def moved(body: list[Node], file: str, lines: int) -> list[Node]:
    """Copies, `lines` further down."""
    return [
        Node(
            node.words,
            file,
            node.line + lines,
            node.text,
            node.marks,
            node.via,
            None if node.body is None else moved(node.body, file, lines),
        )
        for node in body
    ]


class VeiledNode(Node, eq=False, gc=False):
    """A statement that may be the rest of a secret: no message shows a word of it."""

    is_veiled: ClassVar[bool] = True


class NativeNode(Node, eq=False, gc=False):
    """A statement out of YAML. What keepalived mends, with a warning, is an error in it."""

    is_native: ClassVar[bool] = True

    def tail(self) -> str:
        """The arguments in quotes, so that they are split as they are."""
        return joined(self.words[1:])

    def worded(self, text: str) -> str:
        """A message in the words of YAML."""
        return native_wording(text)
