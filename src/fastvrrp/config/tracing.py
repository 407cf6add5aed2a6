"""What an outermost block was made of, noted while it is read.

A block may be taken over another time (`remembered`) if its text is the same and whatever else had
a say in it: parameters and included files, of which Definitions notes the names. What it defines is
noted as well, so that it can be defined again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from fastvrrp.config.diagnostics import Diagnostics
from fastvrrp.config.expand import RANDOM, Definitions, Effect, Raw
from fastvrrp.config.include import Includes
from fastvrrp.config.lines import above
from fastvrrp.config.logical import cut_comment
from fastvrrp.config.node import Node, unmark


class Ground(NamedTuple):
    """How things stand before a line outside all blocks."""

    nodes: int
    changes: int  # see Definitions
    files: int
    made: int  # lines out of templates and repetitions
    messages: int


GROUND = Ground(0, 0, 0, 0, 0)
NOWHERE = Ground(-1, -1, -1, -1, -1)


class Begun:
    """An outermost block that is being read.

    first  number of its first statement outside all blocks
    line   number of its first line
    text   what of it stood in parts of the file that are gone
    begin  offset of its first line in the part that is read; 0 in later ones
    """

    __slots__ = ("begin", "first", "ground", "line", "text")

    def __init__(self, first: int, line: int, ground: Ground, begin: int) -> None:
        self.first = first
        self.line = line
        self.ground = ground
        self.begin = begin
        self.text = ""

    def carry(self, text: str) -> None:
        """This part of the file is gone, the block goes on."""
        self.text += text[self.begin :] + "\n"
        self.begin = 0


class Found(NamedTuple):
    """A block that has been read, and all that decided about it.

    nodes      what became of it; several where templates or repetitions make several blocks
    last       number of its last line
    is_whole   it is one block, which begins in its first line
    opening    words of its first line and their columns; None: as the line is split
    names      of parameters that were looked up
    made       lines out of templates and repetitions
    said       about its text: number of the first message, and of the one behind
    effects    what it defines
    files      that it includes
    templates  among the parameters
    label      of an entry of YAML, or ""
    also       lines of another text that it was made of
    """

    nodes: list[Node]
    file: str
    line: int
    text: str
    last: int
    is_whole: bool
    opening: tuple[tuple[str, ...], tuple[int, ...]] | None
    names: tuple[str, ...]
    made: int
    said: tuple[int, int]
    effects: tuple[Effect, ...] = ()
    files: tuple[str, ...] = ()
    templates: Mapping[str, tuple[Raw, ...]] = {}
    label: str = ""
    also: range = range(0)


class Tracer:
    """Notes it, for one reading of all files."""

    def __init__(
        self, definitions: Definitions, includes: Includes, diagnostics: Diagnostics
    ) -> None:
        self._definitions = definitions
        self._includes = includes
        self._diagnostics = diagnostics
        self._ground = GROUND

    def line(self, root: list[Node], made: int) -> Ground:
        """A line comes that may open a block."""
        ground = self._ground = Ground(
            len(root),
            self._definitions.changes,
            len(self._includes.files),
            made,
            len(self._diagnostics.messages),
        )
        self._definitions.begin()
        return ground

    def taken(self) -> None:
        """A block was taken over: it is not known what it asked for, as it would be of one that was
        read within what is noted now (an include behind a condition)."""
        self._ground = NOWHERE

    def begun(
        self, ground: Ground, root: list[Node], text: str, begin: int, number: int
    ) -> Begun | None:
        """The line at this offset, whose number is this, has opened a block. None if it is not to
        be remembered."""
        if ground is not self._ground:
            return None  # another file was read meanwhile
        if len(root) > ground.nodes and root[ground.nodes].body is not None:
            return Begun(ground.nodes, number, ground, begin)
        node = root[-1] if root else None
        # A brace on a line of its own.
        if node is None or node.body is None or node.via or node.line >= number:
            return None
        brace, begin = begin, above(text, begin, number - node.line)
        head, *between = text[begin:brace].split("\n")
        # What was noted of it began with the brace.
        if "$" in head or any(cut_comment(line).strip() for line in between):
            return None
        if tuple(head.split()) != node.words:
            return None
        return Begun(len(root) - 1, node.line, ground, begin)

    def ended(
        self, begun: Begun, root: list[Node], file: str, text: str, end: int, last: int, made: int
    ) -> Found | None:
        """The block has ended with line `last`, at this offset. None if it did more than to be
        read."""
        ground, definitions = begun.ground, self._definitions
        effects, names = tuple(definitions.effects), definitions.asked
        if (
            ground is not self._ground
            or definitions.changes - ground.changes != len(effects)
            or RANDOM in names
            or len(root) <= begun.first
            or root[-1].body is None  # it may get one
        ):
            return None
        nodes = root[begun.first :]
        whole = begun.text + text[begun.begin : end]
        node, opening = nodes[0], None
        is_whole = len(nodes) == 1 and not node.via and node.line == begun.line
        if is_whole and (node.marks is not None or tuple(_head(whole)) != node.words):
            places = [unmark(at) for at in node.marks or ()]
            is_whole = {line for line, _ in places} == {node.line}
            opening = node.words, tuple([column for _, column in places])
        known = definitions.templates
        return Found(
            nodes,
            file,
            begun.line,
            whole,
            last,
            is_whole,
            opening,
            tuple(sorted(names)),
            made - ground.made,
            (ground.messages, len(self._diagnostics.messages)),
            effects,
            tuple(map(str, self._includes.files[ground.files :])),
            {name: known[name] for name in names if name in known} if names else {},
        )


def _head(text: str) -> list[str]:
    return text.partition("\n")[0].partition("{")[0].split()
