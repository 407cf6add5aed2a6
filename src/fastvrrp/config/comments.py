"""Comments of a configuration, carried over to what it is converted to.

A comment belongs to a statement: one behind it to that, others to the next one, or to the one above
where a block ends. The statement is found in the result by what it is: its keyword, the block that
it is in, and which of several it is. Where it is no longer by itself, because many blocks share it,
the comment goes to its block. One about what another router has for itself (a line whose `@` does
not apply, a part of `nodes:`) says so, and stands where this router has the same statement.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from fastvrrp.config.keywords import TOP, table
from fastvrrp.config.logical import cut_comment
from fastvrrp.config.node import Node, apart

# What a statement is, and those around it: keyword (with its name, outside all blocks) and how many
# of the same are above it in its block.
Path = tuple[tuple[str, int], ...]
# A line for some routers alone.
_CONDITIONAL = re.compile(r"^[ \t]*@\^?(\S+)", re.MULTILINE)


class Comment(NamedTuple):
    """A comment without its first character.

    is_behind  there is something before it in its line
    is_last    nothing of its block comes behind it
    is_first   it stands above everything, and a blank line below it
    condition  the `@` of its line
    is_outside it stands above a section of YAML or beside its name, not within one
    is_heading what its line begins is below it, deeper
    """

    line: int
    text: str
    is_behind: bool
    is_last: bool
    is_first: bool
    condition: str = ""
    is_outside: bool = False
    is_heading: bool = False


class Layout:
    """The lines of a file, among which its comments stand. Blocks end by indentation, or with a
    brace."""

    def __init__(self, lines: Sequence[str], *, by_indentation: bool) -> None:
        self._lines = lines
        self._by_indentation = by_indentation
        end = len(lines)
        self._content, self._blank = [end] * end, [end] * end  # by line: the next such one below
        content = blank = end
        for number in range(end - 1, -1, -1):
            self._content[number], self._blank[number] = content, blank
            if not lines[number].strip():
                blank = number
            elif not _is_remark(lines[number]):
                content = number
        self._first = content

    def comment(self, number: int, before: str, text: str) -> Comment:
        """The one in a line (number from 0), with what stands before it."""
        lines, content = self._lines, self._content[number]
        following = lines[content] if content < len(lines) else ""
        is_last = following.lstrip()[:1] == "}"
        if self._by_indentation:
            is_last = _width(following) < _width(lines[number])
        words = before.split(None, 1)
        is_first = (
            self._first >= number and not words and self._blank[number] < content < len(lines)
        )
        condition = ""
        if words and words[0][0] == "@" and not self._by_indentation:
            condition = _clean(words[0])
        is_outside = is_heading = False
        if self._by_indentation:
            is_outside = not _width(lines[number])
            is_heading = bool(words) and _width(following) > _width(lines[number])
        text = _clean(text)
        return Comment(
            number + 1, text, bool(words), is_last, is_first, condition, is_outside, is_heading
        )


def _is_remark(line: str) -> bool:
    return line.lstrip()[:1] in ("", "#", "!")


def _width(line: str) -> int:
    return len(line) - len(line.lstrip())


def _clean(text: str) -> str:
    """As it can stand in either format."""
    return "".join(c if c.isprintable() else " " for c in text).strip().rstrip("\\")


def conf_comments(text: str) -> Iterator[Comment]:
    """Those of a keepalived.conf."""
    lines = text.split("\n")
    layout = Layout(lines, by_indentation=False)
    for number, line in enumerate(lines):
        before = cut_comment(line)
        if len(before) < len(line):
            yield layout.comment(number, before, line[len(before) + 1 :])


def conf_nodes(text: str) -> Iterator[str]:
    """The routers for which a keepalived.conf has lines of their own."""
    yield from _CONDITIONAL.findall(text)


class _Anchor(NamedTuple):
    """A statement: where it stands, and what it is.

    is_own  it applies to the router whose configuration this is
    node    the other one it is for, "" if it is not for one alone
    """

    file: str
    line: int
    path: Path
    is_own: bool = True
    node: str = ""


def _anchors(body: Iterable[Node], around: Path = ()) -> Iterator[_Anchor]:
    block = table()[TOP] if not around else {}
    counts: Counter[str] = Counter()
    for node in apart(body):
        row = block.get(node.words[0])
        word = node.words[0] if row is None else row.canonical
        what = " ".join((word, *node.words[1:])) if not around else word
        path = (*around, (what, counts[what]))
        counts[what] += 1
        yield _Anchor(node.file, node.line, path)
        yield from _anchors(node.body or (), path)


class Carrier:
    """Puts comments into a text, whose statements are `result`, from a configuration with the
    statements `source`. `others` are those of the same files for other routers, with their names;
    first those for "", any router that the files do not name."""

    def __init__(
        self,
        source: Iterable[Node],
        result: Iterable[Node],
        text: str,
        others: Iterable[tuple[str, Iterable[Node]]] = (),
    ) -> None:
        self._lines = text.rstrip("\n").split("\n")
        self._source: dict[str, list[_Anchor]] = {}
        for anchor in _anchors(source):
            self._source.setdefault(anchor.file, []).append(anchor)
        for name, statements in others:
            known = {(a.file, a.line) for anchors in self._source.values() for a in anchors}
            for anchor in _anchors(statements):
                if (anchor.file, anchor.line) not in known:
                    self._source.setdefault(anchor.file, []).append(
                        anchor._replace(is_own=False, node=name)
                    )
        for anchors in self._source.values():
            anchors.sort(key=_line)
        self._result: dict[Path, int] = {}
        for anchor in _anchors(result):
            self._result.setdefault(anchor.path, anchor.line)
        self._blocks = sorted(line for path, line in self._result.items() if len(path) == 1)
        self._above: dict[int, list[str]] = {}
        self._behind: dict[int, str] = {}
        self._top: list[str] = []
        self._end: list[str] = []

    @property
    def has_comments(self) -> bool:
        return bool(self._top or self._above or self._behind or self._end)

    def add(self, file: str, comments: Iterable[Comment], *, has_parts: bool) -> None:
        """Those of one file. `has_parts`: what is for one router stands together, as in YAML."""
        anchors = self._source.get(file, [])
        lines = [anchor.line for anchor in anchors]
        own = {anchor.line for anchor in anchors if anchor.is_own}
        for comment in comments:
            before = bisect_right(lines, comment.line) - 1
            following = bisect_left(lines, comment.line)
            if comment.condition and comment.line not in own:
                # of a line that does not apply: not to be taken for a word about a neighbour
                comment = comment._replace(text=f"{comment.condition}: {comment.text}")
            if comment.is_heading and lines[before : before + 1] != [comment.line]:
                comment = comment._replace(is_behind=False)  # `instances:`, which is no statement
            if not comment.is_behind and not has_parts:
                while before >= 0 and anchors[before].node:
                    before -= 1  # whose line does not apply
            while comment.is_outside and anchors[following : following + 1]:
                if not anchors[following].node:
                    break
                following += 1
            if comment.is_first or not anchors:
                self._top.append(comment.text)
            elif before >= 0 and (comment.is_behind or comment.is_last):
                first = bisect_left(lines, lines[before])
                self._put(comment, _inner(anchors[first : before + 1]))
            elif following < len(lines):
                if _is_heading(anchors[following : following + 2]):
                    following += 1
                self._put(comment, anchors[following])
            else:
                self._end.append(comment.text)

    def _put(self, comment: Comment, anchor: _Anchor) -> None:
        line, is_itself = self._place(anchor.path)
        text = comment.text
        if anchor.node and not comment.condition:
            text = f"@{anchor.node}: {text}"
        if not line:
            self._end.append(text)
        elif (
            comment.is_behind
            and is_itself
            and anchor.is_own
            and comment.line == anchor.line
            and line not in self._behind
        ):
            self._behind[line] = text
        else:
            self._above.setdefault(line, []).append(text)

    def _place(self, path: Path) -> tuple[int, bool]:
        """The line in the result, 0 if there is none: of the statement itself, or of the same one
        above it, which it may have replaced, or of what is around it and by itself."""
        begin = self._result.get(path[:1])
        if begin is None:
            return 0, False
        behind = bisect_right(self._blocks, begin)
        end = self._blocks[behind] if behind < len(self._blocks) else len(self._lines) + 1
        for length in range(len(path), 0, -1):
            line = self._result.get(path[:length])
            if line is None and length == len(path) > 1:
                word, number = path[-1]
                same = (self._result.get((*path[:-1], (word, n))) for n in range(number)[::-1])
                line = next((found for found in same if found is not None), None)
            if line is not None and begin <= line < end:
                return line, length == len(path)
        return begin, False

    def text(self, *, behind: bool) -> str:
        """The result with the comments; `behind`: some at the end of lines, too."""
        lines = [f"# {text}".rstrip() for text in self._top]
        if lines:
            lines.append("")
        for number, line in enumerate(self._lines, 1):
            indent = line[: _width(line)]
            above, last = self._above.get(number, []), self._behind.get(number)
            if last is not None and not behind:
                above, last = [*above, last], None
            lines += [f"{indent}# {text}".rstrip() for text in above]
            lines.append(line if last is None else f"{line}  # {last}".rstrip())
        if self._end:
            lines += ["", *(f"# {text}".rstrip() for text in self._end)]
        return "\n".join([*lines, ""])


def _inner(anchors: Sequence[_Anchor]) -> _Anchor:
    """Of statements in one line the last one of the first block: there are many blocks where a
    template or `for` makes them."""
    block = anchors[0].path[0]
    return [anchor for anchor in anchors if anchor.path[0] == block][-1]


def _is_heading(anchors: Sequence[_Anchor]) -> bool:
    """Whether the first one is a block that begins with the other one, as `global` of YAML."""
    return (
        len(anchors) == 2
        and anchors[0].line == anchors[1].line
        and anchors[0].path[0][0] == "global_defs"
        and len(anchors[0].path) == 1
    )


def _line(anchor: _Anchor) -> int:
    return anchor.line
