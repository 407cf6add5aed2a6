"""Reads configuration files: lines, comments, conditions, definitions, repetitions, includes.

Most lines of most files are plain words; they go the short way through `_lines`. Whatever has a
special character goes through `_logical`, in keepalived's order: comment, `@` condition,
definition, ~SEQ and ~LST, substitution, include, braces.
"""

from __future__ import annotations

import re
from collections import deque
from pathlib import Path
from typing import Any, NamedTuple

from fastvrrp.config.alike import KEYWORD, Shapes
from fastvrrp.config.build import Builder
from fastvrrp.config.diagnostics import Diagnostics, TooManyErrors, shown
from fastvrrp.config.expand import (
    DEFINITION,
    LINE_BYTES_MAX,
    Definitions,
    ExpandError,
    Raw,
    Repetition,
    repetition,
)
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
from fastvrrp.config.model import Position, Severity
from fastvrrp.config.node import Node, Twins, mark, place
from fastvrrp.config.remembered import Blocks
from fastvrrp.config.tracing import Begun, Tracer

FILE_BYTES_MAX = 64 * 1024 * 1024
RAW_LINE_MAX = 64 * 1024  # characters of a line before substitution
NESTING_MAX = 32  # templates in templates
PASSES_MAX = 32  # conditions and repetitions at the beginning of one line
LINES_MADE_MAX = 1_000_000  # lines out of templates and repetitions

_SPECIAL_CHARACTER = re.compile(r'[#!$@~"\\{}]')
_SHORT_MAX = LINE_BYTES_MAX // 4  # lines with fewer characters cannot have too many bytes
_COMMENT = re.compile(r'"[^"]*"?|\\[#!]|[#!]')
_CONDITION = re.compile(r"\s*@(\^?)(\S*)")
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


def cut_comment(text: str) -> str:
    """The line without its comment; quoted and escaped characters do not begin one."""
    if "#" in text or "!" in text:
        for match in _COMMENT.finditer(text):
            if match[0] in ("#", "!"):
                return text[: match.start()]
    return text


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
    ) -> None:
        """`checks`: of includes, in force from the beginning; `blocks`: read the last time;
        `shapes`: instances that are alike are not read one by one (`alike`)."""
        self.includes = Includes()
        self._diagnostics = diagnostics
        self._builder = builder
        self._definitions = definitions
        self._config_id = config_id
        self._checks = checks or Checks()
        self.known = blocks or Blocks()
        self._shapes = shapes
        self._tracer = Tracer(definitions, self.includes, diagnostics) if self.known.keeps else None
        self._kinds: dict[str, tuple[int, Any, str]] = {}
        self._blocks: deque[_Block] = deque(maxlen=_ALIKE_KEPT)
        self._templates: list[str] = []  # being expanded now
        self._repeats = 1  # product of the ~SEQ and ~LST around the current line
        self._made = 0

    def read(self, path: Path, at: Position | None = None) -> None:
        """Read a file, which is asked for at `at`. Problems become messages."""
        name = str(path)
        data = self._data(path, name, at or Position(file=name, line=1), Severity.ERROR)
        if data is not None:
            self.includes.enter(path)
            self._lines(data, name)
            self.includes.leave()
        self._builder.finish()

    def text(self, path: Path, name: str, at: Position, severity: Severity) -> str | None:
        """The text of a file; None if it cannot be read, which is said at `at`."""
        data = self._data(path, name, at, severity)
        return None if data is None else self._decoded(data, name)

    def _data(self, path: Path, name: str, at: Position, severity: Severity) -> bytes | None:
        """As `text`, its bytes."""
        add = self._diagnostics.add
        try:
            with path.open("rb") as stream:
                data = stream.read(FILE_BYTES_MAX + 1)
        except (OSError, ValueError) as error:  # ValueError: a NUL byte in the name
            reason = getattr(error, "strerror", None) or str(error)
            add(at, severity, f"cannot read {name}: {reason}", "give a readable file")
            return None
        if len(data) > FILE_BYTES_MAX:
            add(at, Severity.ERROR, f"{name} has more than {FILE_BYTES_MAX} bytes")
            return None
        return data

    def _decoded(self, data: bytes, name: str) -> str:
        try:
            text = data.decode()
        except UnicodeDecodeError as error:
            before = data[: error.start]
            line = before.count(b"\n") + 1
            column = error.start - (before.rfind(b"\n") + 1) + 1
            position = Position(file=name, line=line, column=column)
            text = data.decode("latin-1")
            hint = "save the file as UTF-8"
            self._diagnostics.add(position, Severity.WARNING, "not UTF-8, read as Latin-1", hint)
        if "\0" in text:
            text = self._without_nul(text, name)
        return text.replace("\r\n", "\n") if "\r" in text else text

    def _without_nul(self, text: str, file: str) -> str:
        """What is left of a damaged file, to look for further mistakes."""
        lines = text.split("\n")
        for number, line in enumerate(lines, 1):
            if "\0" in line:
                at = mark(number, line.index("\0") + 1)
                self._error(file, at, "", "the line has a NUL byte", "correct or remove it")
                lines[number - 1] = ""
        return "\n".join(lines)

    def _lines(self, data: bytes, file: str) -> None:
        """The statements of one file."""
        self._directory(file)
        if not is_ascii(data):
            self._part(self._decoded(data, file), None, file, 0, None)
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
        shapes = self._shapes
        at = 0  # what is to be read
        while at <= len(text):
            for line in piece(text, at):
                begin, end = at, at + len(line)
                at, number = end + 1, number + 1
                kind, detail, line = kinds.get(line) or self._kind(line)
                if body is root and tracer is not None:
                    block = known.take(text, begin, line, number, file, parts)
                    if block is not None:
                        body.append(block)
                        number += block.record.lines - 1
                        self._count(file, number, block.record.more.made)
                        at = begin + block.record.size + 1
                        break
                    if kind in (OPEN, SPECIAL):
                        tracer.line(root, self._made)
                if kind == STATEMENT:
                    body.append(Node(detail, file, number, line))
                    continue
                is_elsewhere = False  # whether what comes next is not the next line
                if kind == CLOSE:
                    builder.close(file, number, detail)
                elif kind == OPEN:
                    if detail[0] in _ALIKE:
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
                    if detail[0] in _ALIKE:
                        self._remember(text, at, node)
                    elif mine is not None:
                        mine.learn(text, begin, at, node, self._kind_of)
                elif kind == WHOLE:
                    self._statement(line, None, file, number, "")
                elif kind == SPECIAL:
                    lines = Lines(text, at, number)
                    self._physical(line, lines, file, number)
                    is_elsewhere = lines.at != at
                    end = lines.at - 1
                before, body = body, builder.body
                if body is not before and tracer is not None:
                    if before is root:
                        begun = tracer.begun(root, text, begin, number)
                    elif body is root and begun is not None:
                        last = lines.number if is_elsewhere else number
                        if root[-1] is begun.node:
                            known.read(tracer.ended(begun, text, end, last, self._made))
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
        root, tracer, begin = self._builder.root, self._tracer, at
        while (found := self._shapes.like(text, at, file, number)) is not None:
            node, behind, following = found
            root.append(node)
            if tracer is not None:
                self.known.read(tracer.alike(node, text[at : behind - 1], following - 1))
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
            elif words[0] in _OURS or len(line) > _SHORT_MAX:
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

    def _physical(self, line: str, numbered: Lines, file: str, number: int) -> None:
        """A line with special characters, and those it continues on."""
        text = cut_comment(line)
        self._warn_of_comment(line, text, file, number)
        if len(text) > RAW_LINE_MAX:
            self._error(file, mark(number, 1), "", "the line is too long", "correct or remove it")
            return
        if not text.rstrip().endswith("\\"):
            self._logical(text, None, file, number, "")
            return
        match = _CONDITION.match(text)
        condition = " " * match.end() + text[match.end() :] if match else text
        match = DEFINITION.match(condition)
        if match is not None:
            self._template(numbered, file, number, text, match)
            return
        # Any other line that ends in a backslash goes on in the next one.
        origins = [mark(number, column + 1) for column in range(len(text))]
        while text.rstrip().endswith("\\"):
            kept = len(text.rstrip()) - 1
            text, origins = text[:kept], origins[:kept]
            if len(text) > RAW_LINE_MAX:
                break
            below, line = next(numbered, (number, ""))
            more = cut_comment(line)
            text += " " + more
            origins.append(mark(below, 1))
            origins += [mark(below, column + 1) for column in range(len(more))]
        self._logical(text, origins, file, number, "")

    def _warn_of_comment(self, line: str, text: str, file: str, number: int) -> None:
        """`auth_pass a#b` is the password `a`: hardly what was meant."""
        end = len(text)
        if end + 1 >= len(line) or line[end + 1].isspace() or not text:
            return
        if text[-1].isalnum() and line[end + 1].isalnum():
            self._diagnostics.add(
                Position(file=file, line=number, column=end + 1),
                Severity.WARNING,
                f"'{line[end]}' within a word begins a comment: the rest is not read",
                "put the word in quotes, or a blank before the comment",
            )

    def _template(
        self, numbered: Lines, file: str, number: int, text: str, begin: re.Match[str]
    ) -> None:
        """A definition of several lines; blank lines in it do not end it."""
        condition = _CONDITION.match(text)
        rest = " " * begin.end() + text.rstrip()[begin.end() : -1]
        made = [Raw(rest, file, number)] if rest.strip() else []
        for below, raw in numbered:
            line = cut_comment(raw).rstrip()
            if not line:
                continue
            made.append(Raw(line.removesuffix("\\"), file, below))
            if not line.endswith("\\"):
                break
        if condition is None or self._applies(condition):
            self._definitions.define_template(begin[1], tuple(made))

    def _applies(self, condition: re.Match[str]) -> bool:
        return (condition[2] == self._config_id) != bool(condition[1])

    def _logical(
        self, text: str, origins: list[int] | None, file: str, line: int, via: str
    ) -> None:
        """One line without comment: conditions and macros, then its statements."""
        definitions = self._definitions

        def identity(length: int) -> list[int]:
            return [mark(line, column + 1) for column in range(length)]

        def substitute(start: int, end: int) -> str:
            part = identity(end)[start:] if origins is None else origins[start:end]
            return definitions.substitute(text[start:end], part, identity).text

        try:
            for _ in range(PASSES_MAX):
                first = text.lstrip()[:1]
                if first == "@":
                    condition = _CONDITION.match(text)
                    if condition is None or not self._applies(condition):
                        return
                    text = " " * condition.end() + text[condition.end() :]
                    continue
                if first == "$":
                    definition = DEFINITION.match(text)
                    if definition is not None:
                        definitions.define(definition[1], text[definition.end() :].strip())
                        return
                    template = definitions.template(text)
                    if template is not None:
                        self._use(template[0], template[1], file, line, via)
                        return
                if first == "~":
                    repeat = repetition(text, substitute, self._repeats)
                    if repeat is not None:
                        rest = " " * repeat.end + text[repeat.end :]
                        self._repeated(repeat, rest, origins, file, line, via)
                        return
                if "$" not in text:
                    break
                before = text
                text, origins = definitions.substitute(text, origins, identity)
                if text == before or text.lstrip()[:1] not in ("@", "$", "~"):
                    break
            self._statement(text, origins, file, line, via)
        except ExpandError as error:
            at = error.at
            if at is None:
                at = mark(line, error.column + 1) if origins is None else origins[error.column]
            self._error(file, at, via, error.text, error.hint)

    def _repeated(
        self,
        repeat: Repetition,
        rest: str,
        origins: list[int] | None,
        file: str,
        line: int,
        via: str,
    ) -> None:
        """The rest of a ~SEQ or ~LST line, once for each of its rows."""
        definitions = self._definitions
        self._repeats *= repeat.times
        saved = definitions.save(repeat.names)
        for row in repeat.rows:
            for name, value in zip(repeat.names, row, strict=True):
                definitions.bind(name, value)
            self._count(file, line)
            self._logical(rest, origins, file, line, via)
        definitions.restore(saved)
        self._repeats //= repeat.times

    def _use(self, name: str, lines: tuple[Raw, ...], file: str, line: int, via: str) -> None:
        if name in self._templates or len(self._templates) >= NESTING_MAX:
            raise ExpandError(f"the template ${name} contains itself", "break the circle")
        self._templates.append(name)
        use = via or f"{file}:{line}"
        for raw in lines:
            self._count(file, line)
            self._logical(raw.text, None, raw.file, raw.line, use)
        self._templates.pop()

    def _count(self, file: str, line: int, lines: int = 1) -> None:
        self._made += lines
        if self._made > LINES_MADE_MAX:
            text = f"templates and repetitions make more than {LINES_MADE_MAX} lines"
            self._error(file, mark(line, 1), "", text, "make fewer")
            raise TooManyErrors

    def _statement(
        self, text: str, origins: list[int] | None, file: str, line: int, via: str
    ) -> None:
        """A line in which nothing is left to expand."""
        words = text.split(None, 1)
        if not words:
            return
        if len(text) > _SHORT_MAX and len(text.strip().encode()) > LINE_BYTES_MAX:
            at = origins[0] if origins else mark(line, 1)
            hint = f"a line has at most {LINE_BYTES_MAX} bytes"
            self._error(file, at, via, "the line is too long", hint)
        elif words[0] in INCLUDES and len(words) == 2:
            start = text.index(words[0])
            marks = [origins[start] if origins else mark(line, start + 1)]
            pattern = words[1].strip().strip('"')
            self._include(Node((words[0],), file, line, text, marks, via), pattern)
        elif words[0] == "include_check":
            self._definitions.changes += 1
            self._checks = self._checks.changed(text.split()[1:])
            self._builder.text(text, origins, file, line, via)
        else:
            if words[0] == "random_seed" and len(words) == 2:
                self._definitions.changes += 1
                self._definitions.random.seed(words[1].strip())
            self._builder.text(text, origins, file, line, via)

    def _include(self, node: Node, pattern: str) -> None:
        """Splice in the files that match; what does not fit is reported where it is asked for."""
        checks = self._checks.of(node.words[0])
        base = Path(node.file).parent
        found = []
        for alternative in brace_alternatives(pattern):
            matches = self.includes.matches(base, alternative)
            if not matches:
                wild = any(c in alternative for c in "*?[")
                strict = checks.wildcard or (checks.match and not wild)
                if alternative != pattern:
                    strict = checks.brace
                report = self._diagnostics.error if strict else self._diagnostics.warning
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
                report = self._diagnostics.error if checks.readable else self._diagnostics.warning
                report(
                    node,
                    f"{path} is a directory or executable, not read",
                    "include text files only",
                )
            else:
                severity = Severity.ERROR if checks.readable else Severity.WARNING
                data = self._data(path, str(path), node.position(), severity)
                if data is not None:
                    self._spliced(data, path, node.file)

    def _spliced(self, data: bytes, path: Path, back: str) -> None:
        before = self._checks
        self.includes.enter(path)
        self._lines(data, str(path))
        self.includes.leave()
        self._checks = before  # include_check lasts to the end of the file that has it
        self._directory(back)

    def _error(self, file: str, at: int, via: str, text: str, hint: str) -> None:
        self._diagnostics.add(place(file, at), Severity.ERROR, text, hint, via)
