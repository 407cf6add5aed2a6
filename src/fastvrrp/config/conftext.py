"""Statements as the text of a keepalived.conf, for `fastvrrp convert`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from fastvrrp.config.diagnostics import Diagnostics
from fastvrrp.config.expand import LINE_BYTES_MAX
from fastvrrp.config.keywords import TOP, Keyword, table
from fastvrrp.config.model import Severity
from fastvrrp.config.native.lift import TAIL_TYPES, arguments
from fastvrrp.config.native.shapes import Unspoken
from fastvrrp.config.node import Node, apart

INDENT = "    "
_PLAIN = re.compile(r"[^\s\"{}#!$\\~@]+")
_LIST_PLAIN = re.compile(r"[^\s\"{}#!$\\]+")
_UNQUOTABLE = re.compile(r'["$\x00-\x1f\x7f\x85\u2028\u2029]')
_ENCODED = re.compile(r'[\\"{}#!$\x00-\x1f\x7f]')


class ConfText:
    """Writes blocks; what keepalived's format cannot say is left out, and said."""

    def __init__(self, diagnostics: Diagnostics) -> None:
        self._diagnostics = diagnostics

    def text(self, root: Iterable[Node]) -> str:
        """The whole file."""
        parts: list[str] = []
        for node in root:
            row = table()[TOP].get(node.words[0])
            lines = list(self._statement(node, row, ""))
            gap = [""] if node.body is not None and parts else []
            parts += gap + lines
        return "\n".join([*parts, ""])

    def _left_out(self, node: Node, text: str) -> None:
        self._diagnostics.add(
            node.position(), Severity.WARNING, f"not converted: {text}", "it is left out"
        )

    def _statement(self, node: Node, row: Keyword | None, indent: str) -> Iterator[str]:
        try:
            line = self._line(node, row)
        except Unspoken:
            self._left_out(node, f"{node.words[0]} with a character that has no form there")
            return
        if row is not None and row.since == "fastvrrp":
            text = f"keepalived does not know {row.keyword}"
            self._diagnostics.add(node.position(), Severity.WARNING, text, "for fastvrrp only")
        if row is not None and row.type == "bool-quirk" and node.is_native:
            if node.words[1:] == ("off",):
                return  # in keepalived's format it would turn it on
            line = row.keyword
        if len(line.encode()) > LINE_BYTES_MAX:
            self._left_out(node, f"a line of more than {LINE_BYTES_MAX} bytes")
            return
        if node.body is None:
            yield indent + line
            return
        yield f"{indent}{line} {{"
        is_list = row is not None and (row.type.startswith("lines") or _is_group(row))
        rows = {} if is_list or row is None else table().get(row.path, {})
        for inner in apart(node.body or ()):
            yield from self._statement(inner, rows.get(inner.words[0]), indent + INDENT)
        yield indent + "}"

    def _line(self, node: Node, row: Keyword | None) -> str:
        """A statement without its block. Raises Unspoken."""
        if row is not None and row.type in TAIL_TYPES:
            return " ".join([node.words[0], *(_encoded(w) for w in arguments(node, row))])
        first, *rest = node.words
        return " ".join([_word(first, _PLAIN), *(_word(word, _LIST_PLAIN) for word in rest)])


def _is_group(row: Keyword) -> bool:
    return row.block == TOP and row.keyword == "virtual_server_group"


def _word(word: str, plain: re.Pattern[str]) -> str:
    if plain.fullmatch(word):
        return word
    if _UNQUOTABLE.search(word):
        raise Unspoken
    return f'"{word}"'


def _encoded(word: str) -> str:
    """A word that is split as a shell does: what the grammar around it looks at is escaped."""
    if _PLAIN.fullmatch(word) and "'" not in word:
        return word
    escaped = _ENCODED.sub(lambda match: f"\\x{ord(match[0]):02x}", word)
    return f'"{escaped}"'
