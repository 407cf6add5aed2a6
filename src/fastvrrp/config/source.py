"""Reads configuration files: which they are, their lines, and what is alike among those.

Most lines of most files are plain words, and are read here. Whatever has a special character is for
`logical`.
"""

from __future__ import annotations

import re
import weakref
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from fastvrrp.config.alike import KEYWORD, Shapes
from fastvrrp.config.build import Builder
from fastvrrp.config.diagnostics import Diagnostics, TooManyErrors, shown
from fastvrrp.config.expand import Definitions
from fastvrrp.config.include import INCLUDES, Checks, Includes, brace_alternatives
from fastvrrp.config.lines import (
    ADDRESS,
    BLANK,
    CLOSE,
    OPEN,
    SPECIAL,
    STATEMENT,
    WHOLE,
    Lines,
    Parts,
    addresses_between,
    is_ascii,
    piece,
)
from fastvrrp.config.logical import SHORT_MAX, LogicalLines
from fastvrrp.config.memory import digest
from fastvrrp.config.model import Position, Severity
from fastvrrp.config.node import Node, Twins
from fastvrrp.config.remembered import Blocks
from fastvrrp.config.text import Texts
from fastvrrp.config.tracing import GROUND, Begun, Tracer

_SPECIAL_CHARACTER = re.compile(r'[#!$@~"\\{}]')
# Blocks of which large files have tens of thousands that differ in their first line alone.
_ALIKE = frozenset(("real_server",))
_ALIKE_LINE = re.compile(
    rf"([ \t]*(real_server)[ \t]+)({ADDRESS.pattern})([ \t]+([0-9]+)[ \t]*\{{[ \t]*)"
)
_ALIKE_KEPT = 4  # different bodies in turn are recognised up to this number
_OURS = INCLUDES | {"include_check", "random_seed"}


class _Block(NamedTuple):
    """A block that later ones may be like: the text behind its first line, what became of it, and
    the number of the first line."""

    text: str
    body: list[Node]
    first: int


class Source:
    """Feeds a Builder from a file and everything it includes."""

    def __init__(
        self,
        diagnostics: Diagnostics,
        builder: Builder,
        definitions: Definitions,
        config_id: str,
        *,
        checks: Checks | None = None,
        blocks: Blocks | None = None,
        shapes: Shapes | None = None,
        one_by_one: bool = False,
    ) -> None:
        """`checks`: of includes, in force from the beginning; `blocks`: read the last time;
        `shapes`: instances that are alike are not read one by one (`alike`); `one_by_one`: real
        servers are."""
        self.includes = Includes()
        self.is_lacking = False  # a file that has to be there was not
        self._diagnostics = diagnostics
        self._builder = builder
        self._definitions = definitions
        self._checks = checks or Checks()
        self.known = blocks or Blocks()
        self._shapes = shapes
        self._is_alike = frozenset() if one_by_one else _ALIKE
        self._tracer = Tracer(definitions, self.includes, diagnostics) if self.known.keeps else None
        self._kinds: dict[str, tuple[int, Any, str]] = {}
        self._blocks: deque[_Block] = deque(maxlen=_ALIKE_KEPT)
        self._texts = Texts(diagnostics)
        self._digests: dict[Path, bytes | None] = {}  # of included files; None: cannot be read
        self._meanings: dict[tuple[str, str, str, Checks], str] = {}  # of includes
        self._matched: dict[tuple[Path, str], list[Path]] = {}
        # weak: with a circle nothing of a load would be freed while the collector is off
        files = weakref.proxy(self)
        definitions.attend(files)
        self._logical = LogicalLines(diagnostics, builder, definitions, config_id, files)

    def read(self, path: Path, at: Position | None = None) -> None:
        """Read a file, which is asked for at `at`. Problems become messages."""
        name = str(path)
        data = self._texts.read(path, name, at or Position(file=name, line=1), Severity.ERROR)
        if data is not None:
            self.includes.enter(path)
            self._lines(data, name)
            self.includes.leave()
        else:
            self.is_lacking = True
        self._builder.finish()

    def text(self, path: Path, name: str, at: Position, severity: Severity) -> str | None:
        """The text of a file; None if it cannot be read, which is said at `at`."""
        data = self._texts.read(path, name, at, severity)
        return None if data is None else self._texts.decoded(data, name)

    def _lines(self, data: bytes, file: str) -> None:
        """The statements of one file."""
        self._directory(file)
        if not is_ascii(data):
            self._part(self._texts.decoded(data, file), None, file, 0, None)
            return
        number, begun, parts = 0, None, Parts(data)
        for text in parts:
            number, begun = self._part(text, parts, file, number, begun)

    def _part(
        self, text: str, parts: Parts | None, file: str, number: int, begun: Begun | None
    ) -> tuple[int, Begun | None]:
        """The statements of a part behind line `number`, at whose beginning a block has begun.
        Returns its last line's number, and the block that has begun in it."""
        builder, kinds, body = self._builder, self._kinds, self._builder.body
        root, known, tracer = builder.root, self.known, self._tracer
        shapes, logical = self._shapes, self._logical
        ground = GROUND
        at = 0  # what is to be read
        while at <= len(text):
            for line in piece(text, at):
                begin, end = at, at + len(line)
                at, number = end + 1, number + 1
                kind, detail, line = kinds.get(line) or self._kind(line)
                if body is root and tracer is not None:
                    block = known.take(text, begin, line, number, file, parts)
                    if block is not None:
                        tracer.taken()
                        body += block.nodes
                        number += block.record.lines - 1
                        logical.count(file, number, block.record.more.made)
                        at = begin + block.record.size + 1
                        break
                    if kind in (OPEN, SPECIAL):
                        ground = tracer.line(root, logical.made)
                if kind == STATEMENT:
                    body.append(Node(detail, file, number, line))
                    continue
                is_elsewhere = False  # whether what comes next is not the next line
                if kind == CLOSE:
                    builder.close(file, number, detail)
                elif kind == OPEN:
                    if detail[0] in self._is_alike:
                        found = self._twins(text, begin, line, number, file)
                        if found is not None:
                            twins, at = found
                            body.append(twins)
                            number += twins.each * len(twins.addresses) - 1
                            break
                    mine = shapes if body is root and detail[0] == KEYWORD else None
                    if mine is not None and (behind := self._alike(text, begin, file, number)):
                        at, number = behind[0], behind[1] - 1
                        break
                    node = Node(detail, file, number, line)
                    body.append(node)
                    builder.open(node)
                    if detail[0] in self._is_alike:
                        self._remember(text, at, node)
                    elif mine is not None:
                        mine.learn(text, begin, at, node, self._kind_of)
                elif kind == WHOLE:
                    logical.statement(line, None, file, number, "")
                elif kind == SPECIAL:
                    lines = Lines(text, at, number)
                    logical.physical(line, lines, file, number)
                    is_elsewhere = lines.at != at
                    end = lines.at - 1
                before, body = body, builder.body
                if tracer is not None and (body is not before or kind == SPECIAL):
                    if before is root and (body is not root or len(root) > ground.nodes):
                        begun = tracer.begun(ground, root, text, begin, number)
                    if body is root and begun is not None:
                        last = lines.number if is_elsewhere else number
                        made = logical.made
                        known.read(tracer.ended(begun, root, file, text, end, last, made))
                        begun = None
                if is_elsewhere:
                    at, number = lines.at, lines.number
                    break
        if parts is not None:
            parts.go_on(at)
        if begun is not None:
            begun.carry(text)
        return number, begun

    def _twins(
        self, text: str, at: int, line: str, number: int, file: str
    ) -> tuple[Twins, int] | None:
        """Blocks, from this line on, that are like one of the last ones, and the offset behind."""
        head = _ALIKE_LINE.fullmatch(line)
        if head is None or not self._builder.is_in("virtual_server"):
            return None
        behind_line = at + len(line) + 1
        for block in self._blocks:
            if text.startswith(block.text, behind_line):
                break
        else:
            return None
        before, word, address, behind, port = head.groups()
        behind += "\n" + block.text
        addresses, at = addresses_between(text, at, before, behind)
        twins = Twins(
            (word, address, port),
            file,
            number,
            line,
            body=block.body,
            first=block.first,
            each=behind.count("\n"),
            addresses=addresses,
        )
        return twins, at

    def _remember(self, text: str, at: int, node: Node) -> None:
        """Keep a block that begins if all its lines are plain, so that others may be like it. What
        is behind its first line begins at offset `at`."""
        depth = 1
        lines = Lines(text, at, node.line)
        for _, line in lines:
            kind, detail, _ = self._kind_of(line)
            if kind in (WHOLE, SPECIAL) or (kind == OPEN and detail[0] in _ALIKE):
                return
            depth += (kind == OPEN) - (kind == CLOSE)
            if not depth:
                break
        if not depth and lines.at <= len(text) and node.body is not None:
            self._blocks.appendleft(_Block(text[at : lines.at], node.body, node.line))

    def _alike(self, text: str, at: int, file: str, number: int) -> tuple[int, int] | None:
        """Take instances, from this offset and line on, that are like others; the offset and the
        number of the line behind, None if there is none."""
        assert self._shapes is not None
        root, known, begin = self._builder.root, self.known, at
        while (found := self._shapes.like(text, at, file, number)) is not None:
            node, behind, following = found
            root.append(node)
            if known.keeps:
                known.alike(node, text[at : behind - 1], following - number)
            at, number = behind, following
            while text.startswith("\n", at):
                at, number = at + 1, number + 1
        return None if at == begin else (at, number)

    def _kind_of(self, line: str) -> tuple[int, Any, str]:
        return self._kinds.get(line) or self._kind(line)

    def _kind(self, line: str) -> tuple[int, Any, str]:
        """What a line is; its words, or the column of its closing brace; and the line. Most lines
        of a large file stand in it many times: they are looked at once, and kept once."""
        kind: int = SPECIAL
        detail: Any = None
        first = _SPECIAL_CHARACTER.search(line)
        if first is None:
            words = tuple(line.split())
            if not words:
                kind = BLANK
            elif words[0] in _OURS or len(line) > SHORT_MAX:
                kind = WHOLE
            else:
                kind, detail = STATEMENT, words
        elif first[0] in "{}" and not line[first.end() :].strip():
            words = tuple(line[: first.start()].split())
            if first[0] == "}" and not words:
                kind, detail = CLOSE, first.end()
            elif first[0] == "{" and words and words[0] not in INCLUDES:
                kind, detail = OPEN, words
        found = self._kinds[line] = kind, detail, line
        return found

    def _directory(self, file: str) -> None:
        self._definitions.stand_in(str(Path(file).absolute().parent))

    def include(self, node: Node, pattern: str) -> None:
        """Splice in the files that match; what does not fit is reported where it is asked for."""
        checks = self._checks.of(node.words[0])
        base = Path(node.file).parent
        self._definitions.ask_include(node.words[0], str(base), pattern)
        if node.via:
            self._definitions.changes += 1  # relative to the file of a template
        found = []
        for alternative in brace_alternatives(pattern):
            matches = self._matches(base, alternative)
            if not matches:
                wild = any(c in alternative for c in "*?[")
                strict = checks.wildcard or (checks.match and not wild)
                if alternative != pattern:
                    strict = checks.brace
                report = self._lacking(strict)
                report(node, f"no file matches {shown(alternative)}", "create it or remove this")
            found += matches
        for path in found:
            problem = self.includes.problem(path)
            if problem == "circle":
                chain = " -> ".join(self.includes.chain(path))
                self._diagnostics.error(node, f"include circle: {chain}", "remove one include")
            elif problem == "many":
                self._diagnostics.error(node, "too many files are included", "include fewer")
                raise TooManyErrors
            elif problem == "skip":
                report = self._lacking(checks.readable)
                report(
                    node,
                    f"{path} is a directory or executable, not read",
                    "include text files only",
                )
            else:
                severity = Severity.ERROR if checks.readable else Severity.WARNING
                data = self._texts.read(path, str(path), node.position(), severity)
                self._note(path, data)
                if data is not None:
                    self._spliced(data, path, node.file)
                else:
                    self.is_lacking |= checks.readable

    def _note(self, path: Path, data: bytes | None) -> None:
        """This was read there."""
        if self._tracer is not None:
            found = None if data is None else digest(data)
            if self._digests.setdefault(path, found) != found:
                self._definitions.changes += 1  # it changes while it is read

    def meaning(self, keyword: str, directory: str, pattern: str) -> str:
        """Equal if an include would read the same in the same way."""
        asked = keyword, directory, pattern, self._checks
        known = self._meanings.get(asked)
        if known is None:
            found = [
                (alternative, str(path), self._content(path))
                for alternative in brace_alternatives(pattern)
                for path in self._matches(Path(directory), alternative)
            ]
            known = self._meanings[asked] = repr((self._checks, found))
        return known

    def _matches(self, base: Path, pattern: str) -> list[Path]:
        """Asked once: a file that comes while others are read is new the next time."""
        known = self._matched.get((base, pattern))
        if known is None:
            known = self._matched[base, pattern] = self.includes.matches(base, pattern)
        return known

    def _content(self, path: Path) -> bytes | str | None:
        """What is in a file, or why it is not read."""
        if path not in self._digests:
            problem = self.includes.problem(path)
            if problem:
                return problem
            data = self._texts.content(path)
            self._digests[path] = None if data is None else digest(data)
        return self._digests[path]

    def _lacking(self, has_to_be_there: bool) -> Callable[[Node, str, str], None]:
        """Who is told that something of an include is not there."""
        self.is_lacking |= has_to_be_there
        return self._diagnostics.error if has_to_be_there else self._diagnostics.warning

    def check_includes(self, words: list[str]) -> None:
        """include_check: it lasts to the end of the file."""
        self._checks = self._checks.changed(words)
        self._definitions.version += 1

    def _spliced(self, data: bytes, path: Path, back: str) -> None:
        before = self._checks
        self.includes.enter(path)
        self._lines(data, str(path))
        self.includes.leave()
        if self._checks is not before:
            self._checks = before  # include_check lasts to the end of the file that has it
            self._definitions.version += 1
        self._directory(back)
