"""What an outermost block was made of, noted while it is read.

A block may be taken over another time (`remembered`) if its text is the same and whatever else had
a say in it: parameters, of which Definitions notes the names. What a block does to the rest of the
file cannot be taken over.
"""

from __future__ import annotations

from typing import NamedTuple

from fastvrrp.config.diagnostics import Diagnostics
from fastvrrp.config.expand import RANDOM, Definitions
from fastvrrp.config.include import Includes
from fastvrrp.config.lines import above
from fastvrrp.config.node import Node, unmark


class Ground(NamedTuple):
    """How things stand before a line outside all blocks."""

    nodes: int
    changes: int  # see Definitions
    files: int
    made: int  # lines out of templates and repetitions
    messages: int


class Begun:
    """An outermost block that is being read.

    text   what of it stood in parts of the file that are gone
    begin  offset of its first line in the part that is read; 0 in later ones
    """

    __slots__ = ("begin", "ground", "node", "text")

    def __init__(self, node: Node, ground: Ground, begin: int) -> None:
        self.node = node
        self.ground = ground
        self.begin = begin
        self.text = ""

    def carry(self, text: str) -> None:
        """This part of the file is gone, the block goes on."""
        self.text += text[self.begin :] + "\n"
        self.begin = 0


class Found(NamedTuple):
    """A block that has been read, and all that decided about it.

    opening   words of its first line and their columns; None: as the line is split
    names     of parameters that were looked up
    made      lines out of templates and repetitions
    said      about its text: number of the first message, and of the one behind
    section   of YAML, or ""
    """

    node: Node
    text: str
    last: int  # number of its last line
    opening: tuple[tuple[str, ...], tuple[int, ...]] | None
    names: tuple[str, ...]
    made: int
    said: tuple[int, int]
    section: str = ""


class Tracer:
    """Notes it, for one reading of all files."""

    def __init__(
        self, definitions: Definitions, includes: Includes, diagnostics: Diagnostics
    ) -> None:
        self._definitions = definitions
        self._includes = includes
        self._diagnostics = diagnostics
        self._ground = Ground(0, 0, 0, 0, 0)

    def line(self, root: list[Node], made: int) -> None:
        """A line comes that may open a block."""
        self._ground = self._now(root, made)
        self._definitions.asked.clear()

    def _now(self, root: list[Node], made: int) -> Ground:
        return Ground(
            len(root),
            self._definitions.changes,
            len(self._includes.files),
            made,
            len(self._diagnostics.messages),
        )

    def begun(self, root: list[Node], text: str, begin: int, number: int) -> Begun | None:
        """The line at this offset, whose number is this, has opened a block. None if it is not to
        be remembered."""
        ground = self._ground
        node = root[-1] if root else None
        if node is None or node.via:
            return None
        if node.line == number:
            return Begun(node, ground, begin) if len(root) == ground.nodes + 1 else None
        # A brace on a line of its own.
        begin = above(text, begin, number - node.line)
        head = text[begin : text.find("\n", begin)]
        if len(root) != ground.nodes or tuple(head.split()) != node.words:
            return None
        return Begun(node, ground, begin)

    def ended(self, begun: Begun, text: str, end: int, last: int, made: int) -> Found | None:
        """The block has ended with line `last`, at this offset. None if it did more than to be
        read."""
        ground, node = begun.ground, begun.node
        now = self._now([], made)
        names = self._definitions.asked
        if now.changes != ground.changes or now.files != ground.files or RANDOM in names:
            return None
        whole = begun.text + text[begun.begin : end]
        opening = None
        if node.marks is not None or tuple(_head(whole)) != node.words:
            places = [unmark(at) for at in node.marks or ()]
            if {line for line, _ in places} != {node.line}:
                return None
            opening = node.words, tuple([column for _, column in places])
        return Found(
            node,
            whole,
            last,
            opening,
            tuple(sorted(names)),
            made - ground.made,
            (ground.messages, now.messages),
        )


def _head(text: str) -> list[str]:
    return text.partition("\n")[0].partition("{")[0].split()
