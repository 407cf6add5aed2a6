"""Splitting of script commands and patterns: shell-like quotes and escapes, but no shell."""

from __future__ import annotations

import re
from collections.abc import Iterable

_SIMPLE = {
    "a": "\a",
    "b": "\b",
    "E": "\x1b",
    "f": "\f",
    "n": "\n",
    "r": "\r",
    "t": "\t",
    "v": "\v",
}
_SAFE = re.compile(r"[A-Za-z0-9_./:=,@%+-]+")
_OCTAL = "01234567"
_HEX = "0123456789abcdefABCDEF"


class UnclosedQuote(ValueError):
    """A quote without its end."""


def _run(text: str, start: int, digits: str, count: int) -> str:
    end = start
    while end < len(text) and end - start < count and text[end] in digits:
        end += 1
    return text[start:end]


def _escape(text: str, at: int) -> tuple[str, int]:
    """The character meant by the escape whose backslash is at `at`, and where it ends."""
    if at + 1 >= len(text):
        return "\\", at + 1
    letter = text[at + 1]
    if letter in _SIMPLE:
        return _SIMPLE[letter], at + 2
    if letter in _OCTAL:
        digits = _run(text, at + 1, _OCTAL, 3)
        return chr(int(digits, 8) & 0xFF), at + 1 + len(digits)
    if letter == "x":
        digits = _run(text, at + 2, _HEX, 2)
        if digits:
            return chr(int(digits, 16)), at + 2 + len(digits)
        return "x", at + 2
    if letter == "c" and at + 2 < len(text):
        return chr(ord(text[at + 2]) & 0x1F), at + 3
    return letter, at + 2


def split(text: str) -> list[str]:
    """Words of `text`. Quoted and plain pieces that touch are one word.

    Escapes: \\a \\b \\E \\f \\n \\r \\t \\v, up to three octal digits, \\x and up to two
    hexadecimal ones, \\cC, and any other character for itself. Raises UnclosedQuote.
    """
    words: list[str] = []
    current: list[str] | None = None
    quote = ""
    at = 0
    while at < len(text):
        char = text[at]
        if char == "\\":
            char, at = _escape(text, at)
            current = [*current, char] if current is not None else [char]
            continue
        at += 1
        if quote:
            if char == quote:
                quote = ""
            elif current is not None:
                current.append(char)
        elif char in "\"'":
            quote = char
            current = current if current is not None else []
        elif char.isspace():
            if current is not None:
                words.append("".join(current))
                current = None
        elif current is not None:
            current.append(char)
        else:
            current = [char]
    if quote:
        raise UnclosedQuote(quote)
    if current is not None:
        words.append("".join(current))
    return words


def quoted(word: str) -> str:
    """A word that `split` gives back as it is."""
    return '"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"'


def joined(words: Iterable[str]) -> str:
    """Words that `split` gives back as they are; quotes only where they are needed."""
    return " ".join([word if _SAFE.fullmatch(word) else quoted(word) for word in words])
