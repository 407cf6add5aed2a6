"""From text to statements: splits lines into words, and nests statements by their braces."""

from __future__ import annotations

import re

from fastvrrp.config.diagnostics import Diagnostics
from fastvrrp.config.keywords import SECRET_WORDS
from fastvrrp.config.model import Position, Severity
from fastvrrp.config.node import COLUMN_BITS, Node, mark

# Quoted word, unresolved ${reference}, escaped comment character, brace, lone quote, plain text.
_TOKEN = re.compile(r'"[^"]*"|\$\{[^{}"]*\}|\\[#!]|[{}"]|[^\s"{}\\$]+|[\\$]')
_BARE_REFERENCE = re.compile(r"\$([A-Za-z_][A-Za-z0-9_]*)")


def _is_glued(text: str, at: int) -> bool:
    """Whether a brace stands within a word."""
    around = text[at - 1 : at] + text[at + 1 : at + 2]
    return len(around) == 2 and not around[0].isspace() and around[1] not in " \t{}"


class Builder:
    """Makes the tree. `body` is where the next statement belongs."""

    def __init__(self, diagnostics: Diagnostics) -> None:
        self.root: list[Node] = []
        self.body = self.root
        self._open: list[tuple[list[Node], Node]] = []
        self._diagnostics = diagnostics

    def open(self, node: Node) -> None:
        """`node` has been added; its block begins."""
        node.body = []
        self._open.append((self.body, node))
        self.body = node.body

    def open_last(self, file: str, at: int, via: str) -> None:
        """A brace on a line of its own belongs to the statement before it."""
        if self.body and self.body[-1].body is None:
            self.open(self.body[-1])
            return
        self._problem(file, at, via, "unexpected '{'", "a block begins with a keyword")
        nameless = Node([""], file, at >> COLUMN_BITS, "", [at], via)
        self._open.append((self.body, nameless))
        self.body = []

    def close(self, file: str, at: int, via: str = "") -> None:
        """The innermost block ends."""
        if not self._open:
            self._problem(file, at, via, "'}' without '{'", "remove it or add the missing '{'")
            return
        self.body, _ = self._open.pop()

    def finish(self) -> None:
        """The last file has ended."""
        for _, node in self._open:
            if node.words[0]:
                self._diagnostics.error(
                    node, f"the block {node.words[0]} is never closed", "add the missing '}'"
                )

    def text(self, text: str, origins: list[int] | None, file: str, line: int, via: str) -> None:
        """Add the statements of one line whose comments and parameters are resolved."""
        words: list[str] = []
        marks: list[int] = []
        begin = end = 0
        joinable = False  # the last piece was plain text, and what touches it belongs to it
        for match in _TOKEN.finditer(text):
            piece = match[0]
            start = match.start()
            at = origins[start] if origins is not None else mark(line, start + 1)
            if piece == "{":
                if words and words[0] in SECRET_WORDS:
                    self._problem(file, at, via, "a brace in a secret", "put the secret in quotes")
                    return
                if words:
                    node = Node(words, file, line, text[begin:end], marks, via)
                    self.body.append(node)
                    self.open(node)
                    words, marks = [], []
                else:
                    self.open_last(file, at, via)
                joinable = False
                continue
            if piece == "}":
                if (
                    words
                    and words[0] in SECRET_WORDS
                    and (_is_glued(text, start) or (len(words) == 1 and text[start + 1 :].strip()))
                ):
                    self._problem(file, at, via, "a brace in a secret", "put the secret in quotes")
                    return
                if words:
                    self.body.append(Node(words, file, line, text[begin:end], marks, via))
                    words, marks = [], []
                self.close(file, at, via)
                joinable = False
                continue
            if piece == '"':
                self._problem(
                    file, at, via, "the quote is never closed", 'add the missing " on this line'
                )
                return
            if not words:
                begin = start
            if piece[0] == '"':
                words.append(piece[1:-1])
                marks.append(at)
                joinable = False
            else:
                if piece[0] == "$" and (not words or words[0] not in SECRET_WORDS):
                    self._undefined(piece, text[start:], file, at, via)
                elif len(piece) == 2 and piece[0] == "\\":
                    piece = piece[1]
                if joinable and start == end:
                    words[-1] += piece
                else:
                    words.append(piece)
                    marks.append(at)
                joinable = True
            end = match.end()
        if words:
            self.body.append(Node(words, file, line, text[begin:end], marks, via))

    def _undefined(self, piece: str, rest: str, file: str, at: int, via: str) -> None:
        if piece.startswith("${"):
            self._problem(
                file,
                at,
                via,
                f"the parameter {piece[:60]} is not defined",
                "define it above this line, or quote it if it is meant literally",
            )
            return
        match = _BARE_REFERENCE.match(rest)
        if match is not None:
            self._problem(
                file,
                at,
                via,
                f"the parameter ${match[1][:60]} is not defined and stays as it is",
                "define it above this line; behind a reference comes a blank, or write ${NAME}",
                Severity.WARNING,
            )

    def _problem(
        self,
        file: str,
        at: int,
        via: str,
        text: str,
        hint: str,
        severity: Severity = Severity.ERROR,
    ) -> None:
        line, column = at >> COLUMN_BITS, at & ((1 << COLUMN_BITS) - 1)
        position = Position(file=file, line=line, column=column)
        self._diagnostics.add(position, severity, text, hint, via)
