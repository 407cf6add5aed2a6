"""Lines of a file that has half a million, without a string for each: the text stays in one.

A few lines at a time are split off (`piece`), so that those that nobody keeps are gone again before
there are many; what is written many times in a row is taken as a whole (`addresses_between`).
"""

from __future__ import annotations

import re

ADDRESS = re.compile("[0-9A-Fa-f.:]+")  # or not quite one
# What a line is: WHOLE needs more than to be split into words, SPECIAL has a special character that
# is not the only brace at its end.
BLANK, STATEMENT, OPEN, CLOSE, WHOLE, SPECIAL = range(6)
_PIECE = 2000  # characters
_PART = 1 << 16  # bytes


def is_ascii(data: bytes) -> bool:
    """Whether a file can be read in parts: there is nothing in it that only all of it decides."""
    return data.isascii() and b"\r" not in data and b"\0" not in data


class Parts:
    """The text of a file, a large one in parts, so that it is not there twice. One ends with a line
    that is nothing but a brace, before one that begins with a letter: no line goes on there, and
    hardly ever a block."""

    def __init__(self, data: bytes) -> None:
        """`data`: see `is_ascii`."""
        self._data = data
        self._begin = 0  # of the part that was given last
        self._next = 0  # where the next one begins

    def __iter__(self) -> Parts:
        return self

    def __next__(self) -> str:
        data, begin = self._data, self._next
        if begin > len(data):
            raise StopIteration
        end = -1
        if len(data) - begin > _PART:
            end = begin + _PART
            while True:
                end = data.rfind(b"\n}\n", begin, end)
                if end < 0 or data[end + 3 : end + 4].isalpha():
                    break
        end = len(data) if end < 0 else end + 2
        self._begin, self._next = begin, end + 1
        return self.text(0, end - begin)

    def text(self, begin: int, end: int) -> str:
        """The text between two offsets of the last part, which may be behind its end."""
        return str(memoryview(self._data)[self._begin + begin : self._begin + end], "ascii")

    def go_on(self, at: int) -> None:
        """The next part begins at this offset of the last one."""
        self._next = self._begin + at


class Lines:
    """The lines of a text that are still to be read, each with its number."""

    def __init__(self, text: str, at: int, number: int) -> None:
        """The next one begins at offset `at`, behind line `number`."""
        self._text = text
        self.at = at
        self.number = number

    def __iter__(self) -> Lines:
        return self

    def __next__(self) -> tuple[int, str]:
        begin = self.at
        if begin > len(self._text):
            raise StopIteration
        end = self._text.find("\n", begin)
        end = len(self._text) if end < 0 else end
        self.at = end + 1
        self.number += 1
        return self.number, self._text[begin:end]


def piece(text: str, at: int) -> list[str]:
    """The lines from offset `at` on, some of them at least."""
    end = text.find("\n", at + _PIECE)
    return (text[at:] if end < 0 else text[at:end]).split("\n")


def above(text: str, at: int, lines: int) -> int:
    """The offset of the line so many lines above the one at this offset."""
    for _ in range(lines):
        at = text.rfind("\n", 0, at - 1) + 1 if at else 0
    return at


def addresses_between(text: str, at: int, before: str, behind: str) -> tuple[list[str], int]:
    """Those that stand between these two, one pair after the other, from offset `at` on, and the
    offset behind them."""
    found: list[str] = []
    match, follows, cut = ADDRESS.match, text.startswith, len(before)
    while follows(before, at):
        address = match(text, at + cut)
        if address is None or not follows(behind, address.end()):
            break
        found.append(address[0])
        at = address.end() + len(behind)
    return found, at
