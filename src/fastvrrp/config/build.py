"""From text to statements: splits lines into words, and nests statements by their braces."""

from __future__ import annotations

import re

from fastvrrp.config.diagnostics import Diagnostics
from fastvrrp.config.keywords import SECRET_OPENERS, SECRET_WORDS
from fastvrrp.config.model import Severity
from fastvrrp.config.node import Node, VeiledNode, mark, place, unmark

# Quoted word, unresolved ${reference}, escaped comment character, brace, lone quote, plain text.
_TOKEN = re.compile(r'"[^"]*"|\$\{[^{}"]*\}|\\[#!]|[{}"]|[^\s"{}\\$]+|[\\$]')
_BARE_REFERENCE = re.compile(r"\$([A-Za-z_][A-Za-z0-9_]*)")


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
        self.problem(file, at, via, "unexpected '{'", "a block begins with a keyword")
        nameless = Node(("",), file, unmark(at)[0], "", [at], via)
        self._open.append((self.body, nameless))
        self.body = []

    def close(self, file: str, line: int, column: int, via: str = "") -> None:
        """The innermost block ends."""
        if self._open:
            self.body, _ = self._open.pop()
        else:
            at, hint = mark(line, column), "remove it or add the missing '{'"
            self.problem(file, at, via, "'}' without '{'", hint)

    def finish(self) -> None:
        """The last file has ended."""
        for _, node in self._open:
            if node.words[0]:
                self._diagnostics.error(
                    node, f"the block {node.words[0]} is never closed", "add the missing '}'"
                )

    def text(self, text: str, origins: list[int] | None, file: str, line: int, via: str) -> None:
        """Add the statements of one line whose comments and parameters are resolved."""
        _Line(self, text, origins, file, line, via).split()

    def is_in(self, keyword: str) -> bool:
        """Whether the next statement belongs into such a block."""
        return bool(self._open) and self._open[-1][1].words[0] == keyword

    def is_in_secret_block(self) -> bool:
        """Whether any word may be a secret where the next statement belongs."""
        return bool(self._open) and self._open[-1][1].words[0] in SECRET_OPENERS

    def problem(
        self,
        file: str,
        at: int,
        via: str,
        text: str,
        hint: str,
        severity: Severity = Severity.ERROR,
    ) -> None:
        """A message about a place (`mark`) that is no statement."""
        self._diagnostics.add(place(file, at), severity, text, hint, via)


class _Line:
    """One line being split, and the statement that is being collected from it."""

    def __init__(
        self,
        builder: Builder,
        text: str,
        origins: list[int] | None,
        file: str,
        line: int,
        via: str,
    ) -> None:
        self._builder = builder
        self._text = text
        self._origins = origins
        self._file = file
        self._number = line
        self._via = via
        self._words: list[str] = []
        self._marks: list[int] = []
        self._begin = self._end = 0  # of the statement, in the text
        self._is_joinable = False  # the last piece was plain text; what touches it belongs to it
        self._is_secret = False  # the statement may have a secret in it
        self._is_veiled = False  # what follows may be the rest of a secret

    def split(self) -> None:
        """Ends early at what makes the rest of the line unreadable."""
        for match in _TOKEN.finditer(self._text):
            piece, start = match[0], match.start()
            at = mark(self._number, start + 1) if self._origins is None else self._origins[start]
            if piece == '"':
                self._problem(at, "the quote is never closed", 'add the missing " on this line')
                return
            if piece in ("{", "}"):
                if self._words and self._words[0] in SECRET_WORDS and self._cuts(piece, start):
                    self._problem(at, "a brace in a secret", "put the secret in quotes")
                    return
                self._brace(piece, at)
            else:
                self._piece(piece, start, match.end(), at)
        self._flush()

    def _cuts(self, brace: str, at: int) -> bool:
        """Whether a brace behind a secret is rather a part of it."""
        text = self._text
        if brace == "{" or (len(self._words) == 1 and text[at + 1 :].strip()):
            return True
        around = text[at - 1 : at] + text[at + 1 : at + 2]
        return len(around) == 2 and not around[0].isspace() and around[1] not in " \t{}"

    def _brace(self, brace: str, at: int) -> None:
        builder = self._builder
        may_be_secret = self._is_secret or bool(self._words and builder.is_in_secret_block())
        node = self._flush()
        self._is_veiled |= may_be_secret
        self._is_joinable = False
        if brace == "}":
            builder.close(self._file, *unmark(at), self._via)
        elif node is not None:
            builder.open(node)
        else:
            builder.open_last(self._file, at, self._via)

    def _piece(self, piece: str, start: int, end: int, at: int) -> None:
        """A word or a part of one."""
        is_plain = piece[0] != '"'
        if not self._words:
            self._begin = start
        if not is_plain:
            piece = piece[1:-1]
        elif piece[0] == "$":
            is_open = not (self._is_secret or self._is_veiled)
            if is_open and not self._builder.is_in_secret_block():
                self._undefined(piece, start, at)
        elif len(piece) == 2 and piece[0] == "\\":
            piece = piece[1]
        if is_plain and self._is_joinable and start == self._end:
            self._words[-1] += piece
        else:
            self._words.append(piece)
            self._marks.append(at)
        self._is_joinable = is_plain
        self._is_secret |= self._words[-1] in SECRET_WORDS
        self._end = end

    def _flush(self) -> Node | None:
        """The statement is complete."""
        if not self._words:
            return None
        kind = VeiledNode if self._is_veiled else Node
        text = self._text[self._begin : self._end]
        node = kind(tuple(self._words), self._file, self._number, text, self._marks, self._via)
        self._builder.body.append(node)
        self._words, self._marks, self._is_secret = [], [], False
        return node

    def _undefined(self, piece: str, start: int, at: int) -> None:
        if piece.startswith("${"):
            self._problem(
                at,
                f"the parameter {piece[:60]} is not defined",
                "define it above this line, or quote it if it is meant literally",
            )
            return
        match = _BARE_REFERENCE.match(self._text, start)
        if match is not None:
            self._problem(
                at,
                f"the parameter ${match[1][:60]} is not defined and stays as it is",
                "define it above this line; behind a reference comes a blank, or write ${NAME}",
                Severity.WARNING,
            )

    def _problem(self, at: int, text: str, hint: str, severity: Severity = Severity.ERROR) -> None:
        self._builder.problem(self._file, at, self._via, text, hint, severity)
