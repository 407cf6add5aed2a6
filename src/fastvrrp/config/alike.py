"""vrrp_instance blocks that are written, line by line, like an earlier one: only the name, the
virtual router id and the one address differ.

Large files have thousands of them. Such a block is recognised as a whole; its statements are made
when somebody asks for one, for a message that is, and what the earlier one means is taken for all
else (`instances.Instances`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from fastvrrp.config.lines import ADDRESS, BLANK, CLOSE, OPEN, STATEMENT, Lines
from fastvrrp.config.model import Position
from fastvrrp.config.node import Node, mark, moved, place

KEYWORD = "vrrp_instance"
_KEPT = 16  # shapes in turn that are recognised up to this number
_VAIN_MAX = 64  # shapes that nothing was like, before no more are looked for
_NAME = re.compile("[0-9A-Za-z_.:-]{1,200}")
_VRID = re.compile("[1-9][0-9]{0,2}")

_KindOf = Callable[[str], tuple[int, Any, str]]


class Spot(NamedTuple):
    """A word that differs: its offset in the text of the block, and where it stands."""

    offset: int
    word: str
    line: int  # behind the first one
    column: int


class Shape:
    """A block that others may be like."""

    def __init__(self, text: str, node: Node, name: Spot, vrid: Spot, address: Spot) -> None:
        """`text` is the whole block, that of `node`; its last line ends there."""
        spots = sorted((name, vrid, address))
        ends = [0, *(spot.offset + len(spot.word) for spot in spots)]
        begins = [*(spot.offset for spot in spots), len(text)]
        self._between = [text[end:begin] for end, begin in zip(ends, begins, strict=True)]
        self._is_swapped = spots[1] is address
        one, other = (ADDRESS, _VRID) if self._is_swapped else (_VRID, ADDRESS)
        self._find_one, self._find_other = one.match, other.match
        self.node = node
        self.lines = text.count("\n") + 1
        self._head = self._between[1].find("\n")  # characters of the first line behind the name
        self._vrid, self._address = vrid, address

    def like(self, text: str, at: int, file: str, number: int) -> tuple[Node, int] | None:
        """The block at this offset, in this line, if it is like this one, and the offset of the
        line behind it."""
        first, second, third, last = self._between
        if not text.startswith(first, at):
            return None
        name = _NAME.match(text, at + len(first))
        if name is None or not text.startswith(second, name.end()):
            return None
        one = self._find_one(text, name.end() + len(second))
        if one is None or not text.startswith(third, one.end()):
            return None
        other = self._find_other(text, one.end() + len(third))
        if other is None or not text.startswith(last, other.end()):
            return None
        end = other.end() + len(last)
        if end < len(text) and text[end] != "\n":
            return None
        vrid, address = (other, one) if self._is_swapped else (one, other)
        line = text[at : name.end() + self._head]
        body = Alike(self, file, number, vrid[0], address[0])
        return Node((KEYWORD, name[0]), file, number, line, body=body), end + 1

    def address_place(self, file: str, number: int) -> Position:
        """Where the address of a block in this line stands."""
        return place(file, mark(number + self._address.line, self._address.column))

    def statements(self, file: str, number: int, vrid: str, address: str) -> list[Node]:
        """Those of a block in this line."""
        nodes = moved(self.node.body or [], file, number - self.node.line)
        for spot, word in ((self._vrid, vrid), (self._address, address)):
            _rewrite(nodes, number + spot.line, spot, word)
        return nodes


def _rewrite(nodes: Iterable[Node], line: int, spot: Spot, word: str) -> None:
    for node in nodes:
        if node.body is not None:
            _rewrite(node.body, line, spot, word)
        elif node.line == line:
            *before, last = node.words
            node.words = (*before, last.replace(spot.word, word, 1))
            begin = spot.column - 1
            node.text = node.text[:begin] + word + node.text[begin + len(spot.word) :]


class Alike(list[Node]):
    """The statements of a block that is like another one, made when the first is asked for."""

    __slots__ = ("_file", "_number", "address", "shape", "vrid")

    def __init__(self, shape: Shape, file: str, number: int, vrid: str, address: str) -> None:
        self.shape = shape
        self._file = file
        self._number = number
        self.vrid = vrid
        self.address = address

    def _made(self) -> list[Node]:
        if not super().__len__():
            self.extend(self.shape.statements(self._file, self._number, self.vrid, self.address))
        return self

    def address_place(self) -> Position:
        """Where the address stands."""
        return self.shape.address_place(self._file, self._number)

    def __bool__(self) -> bool:
        return True

    def __len__(self) -> int:
        self._made()
        return super().__len__()

    def __getitem__(self, index: Any) -> Any:
        self._made()
        return super().__getitem__(index)

    def __iter__(self) -> Iterator[Node]:
        self._made()
        return super().__iter__()

    def __reversed__(self) -> Iterator[Node]:
        self._made()
        return super().__reversed__()


class Shapes:
    """Those of one load."""

    def __init__(self) -> None:
        self._known: list[Shape] = []
        self._vain = 0

    def like(self, text: str, at: int, file: str, number: int) -> tuple[Node, int, int] | None:
        """The block at this offset, in this line, if it is like a known one; the offset and the
        number of the line behind it."""
        for shape in self._known:
            found = shape.like(text, at, file, number)
            if found is not None:
                self._vain = 0
                return found[0], found[1], number + shape.lines
        return None

    def learn(self, text: str, begin: int, at: int, node: Node, kind_of: _KindOf) -> None:
        """Later blocks may be like this one, which begins at offset `begin`, and behind its first
        line at `at`, if all its lines are plain. It comes first from now on."""
        if self._vain >= _VAIN_MAX or len(node.words) != 2:
            return
        shape = _shape(text, begin, at, node, kind_of)
        if shape is not None:
            self._vain += 1
            self._known = [shape, *self._known[: _KEPT - 1]]


def _shape(text: str, begin: int, at: int, node: Node, kind_of: _KindOf) -> Shape | None:
    within: list[tuple[str, ...]] = []  # first lines of blocks
    vrids: list[Spot] = []
    addresses: list[Spot] = []
    lines = Lines(text, at, node.line)
    for number, line in lines:
        kind, words, _ = kind_of(line)
        where = at - begin, number - node.line
        at = lines.at
        if kind == CLOSE:
            if not within:
                break
            within.pop()
        elif kind == OPEN:
            within.append(words)
        elif kind == STATEMENT:
            if not within and words[0] == "virtual_router_id" and len(words) == 2:
                vrids.append(_spot(*where, words[1], line.rindex(words[1])))
            elif within == [("virtual_ipaddress",)]:
                if len(words) != 1:
                    return None
                address = words[0].partition("/")[0]
                addresses.append(_spot(*where, address, line.index(address)))
        elif kind != BLANK:
            return None
    else:
        return None
    if len(vrids) != 1 or len(addresses) != 1:
        return None
    name = _spot(0, 0, node.words[1], node.text.rindex(node.words[1]))
    return Shape(text[begin : at - 1], node, name, vrids[0], addresses[0])


def _spot(offset: int, lines: int, word: str, column: int) -> Spot:
    """Of a word in a line, `column` counted from 0."""
    return Spot(offset + column, word, lines, column + 1)
