"""Lines of keepalived.conf that are more than plain words: comments, continued lines, conditions,
definitions, repetitions, templates, parameters.

They are looked at in keepalived's order: comment, `@` condition, definition, ~SEQ and ~LST,
substitution, include, braces.
"""

from __future__ import annotations

import re
from typing import Protocol

from fastvrrp.config.build import Builder
from fastvrrp.config.diagnostics import Diagnostics, TooManyErrors
from fastvrrp.config.expand import (
    DEFINITION,
    LINE_BYTES_MAX,
    Definitions,
    ExpandError,
    Raw,
    Repetition,
    repetition,
)
from fastvrrp.config.include import INCLUDES
from fastvrrp.config.lines import Lines
from fastvrrp.config.model import Position, Severity
from fastvrrp.config.node import Node, mark, place

RAW_LINE_MAX = 64 * 1024  # characters of a line before substitution
NESTING_MAX = 32  # templates in templates
PASSES_MAX = 32  # conditions and repetitions at the beginning of one line
LINES_MADE_MAX = 1_000_000  # lines out of templates and repetitions
SHORT_MAX = LINE_BYTES_MAX // 4  # lines with fewer characters cannot have too many bytes

_COMMENT = re.compile(r'"[^"]*"?|\\[#!]|[#!]')
_CONDITION = re.compile(r"\s*@(\^?)(\S*)")


def cut_comment(text: str) -> str:
    """The line without its comment; quoted and escaped characters do not begin one."""
    if "#" in text or "!" in text:
        for match in _COMMENT.finditer(text):
            if match[0] in ("#", "!"):
                return text[: match.start()]
    return text


class Files(Protocol):
    """What lines that are about files are given to."""

    def include(self, node: Node, pattern: str) -> None:
        """Read the files that match a pattern, here."""

    def check_includes(self, words: list[str]) -> None:
        """include_check, with what stands behind it."""


class LogicalLines:
    """Makes statements of lines, for one reading of all files; `made` counts lines out of templates
    and repetitions."""

    def __init__(
        self,
        diagnostics: Diagnostics,
        builder: Builder,
        definitions: Definitions,
        config_id: str,
        files: Files,
    ) -> None:
        self.made = 0
        self._diagnostics = diagnostics
        self._builder = builder
        self._definitions = definitions
        self._config_id = config_id
        self._files = files
        self._templates: list[str] = []  # being expanded now
        self._repeats = 1  # product of the ~SEQ and ~LST around the current line

    def physical(self, line: str, numbered: Lines, file: str, number: int) -> None:
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
            self.statement(text, origins, file, line, via)
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
            self.count(file, line)
            self._logical(rest, origins, file, line, via)
        definitions.restore(saved)
        self._repeats //= repeat.times

    def _use(self, name: str, lines: tuple[Raw, ...], file: str, line: int, via: str) -> None:
        if name in self._templates or len(self._templates) >= NESTING_MAX:
            raise ExpandError(f"the template ${name} contains itself", "break the circle")
        self._templates.append(name)
        use = via or f"{file}:{line}"
        for raw in lines:
            self.count(file, line)
            self._logical(raw.text, None, raw.file, raw.line, use)
        self._templates.pop()

    def count(self, file: str, line: int, lines: int = 1) -> None:
        self.made += lines
        if self.made > LINES_MADE_MAX:
            text = f"templates and repetitions make more than {LINES_MADE_MAX} lines"
            self._error(file, mark(line, 1), "", text, "make fewer")
            raise TooManyErrors

    def statement(
        self, text: str, origins: list[int] | None, file: str, line: int, via: str
    ) -> None:
        """A line in which nothing is left to expand."""
        words = text.split(None, 1)
        if not words:
            return
        if len(text) > SHORT_MAX and len(text.strip().encode()) > LINE_BYTES_MAX:
            at = origins[0] if origins else mark(line, 1)
            hint = f"a line has at most {LINE_BYTES_MAX} bytes"
            self._error(file, at, via, "the line is too long", hint)
        elif words[0] in INCLUDES and len(words) == 2:
            start = text.index(words[0])
            marks = [origins[start] if origins else mark(line, start + 1)]
            pattern = words[1].strip().strip('"')
            self._files.include(Node((words[0],), file, line, text, marks, via), pattern)
        elif words[0] == "include_check":
            self._definitions.changes += 1
            self._files.check_includes(text.split()[1:])
            self._builder.text(text, origins, file, line, via)
        else:
            if words[0] == "random_seed" and len(words) == 2:
                self._definitions.changes += 1
                self._definitions.random.seed(words[1].strip())
            self._builder.text(text, origins, file, line, via)

    def _error(self, file: str, at: int, via: str, text: str, hint: str) -> None:
        self._diagnostics.add(place(file, at), Severity.ERROR, text, hint, via)
