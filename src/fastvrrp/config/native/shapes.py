"""How the arguments of a keyword are written in YAML: one shape per kind of argument.

A shape does three things, which therefore agree: it makes words out of a value (`words`), a value
out of words (`value`), and a JSON Schema (`schema`). What a value means is decided by the
keyword's reader, the same one as for keepalived.conf.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence as SequenceOf
from typing import Any, NamedTuple

from fastvrrp.config.diagnostics import suggestion
from fastvrrp.config.keywords import Keyword, int_range
from fastvrrp.config.native.document import Scalar, Sequence, Yaml, described
from fastvrrp.config.native.units import (
    NS_PER_UNIT,
    UNITS,
    in_units,
    is_number,
    nanoseconds,
    spelt,
)
from fastvrrp.config.readers import BOOLEANS, choices_of
from fastvrrp.config.shellwords import UnclosedQuote, split

Schema = dict[str, Any]
VARIABLE: Schema = {"$ref": "#/definitions/variable"}
TEXT: Schema = {"type": ["string", "number"]}
TOKENS: Schema = {**TEXT, "pattern": r"\S"}  # words with blanks between them
_UNITS_OF = {"SECS": NS_PER_UNIT["s"], "TIMER": NS_PER_UNIT["s"], "USECS": 1000, "MS": 1_000_000}


class Word(NamedTuple):
    """A word of a statement and the node it was written as."""

    text: str
    node: Yaml


class Wrong(Exception):
    """A value of another kind than its key wants. No text of the value is shown."""

    def __init__(self, node: Yaml, want: str, problem: str = "", *, text: str = "") -> None:
        """`problem` goes on behind the name of what is wrong, `text` says it all."""
        super().__init__(want)
        self.node = node
        self.want = want
        self.problem = problem
        self.text = text

    def about(self, name: str) -> str:
        """What is wrong with `name`."""
        if self.text:
            return self.text
        if self.problem:
            return f"{name} {self.problem}"
        if isinstance(self.node, Scalar) and not self.node.is_null:
            return f"{name} is not what is wanted"
        return f"{name} cannot be {described(self.node)}"


class Unspoken(Exception):
    """Words that have no form in YAML."""


def scalar(node: Yaml, want: str) -> Scalar:
    """A single value that is there."""
    if not isinstance(node, Scalar) or node.is_null:
        raise Wrong(node, want)
    return node


def text_of(node: Yaml, want: str) -> Word:
    """A word; one that YAML may take as a truth value must be in quotes."""
    found = scalar(node, want)
    if found.is_truthlike:
        raise Wrong(node, "put the word in quotes", "is a truth value")
    return Word(found.text, node)


def truth_of(node: Yaml) -> bool:
    found = node.truth if isinstance(node, Scalar) else None
    if found is None:
        raise Wrong(node, "write true or false")
    return found


def integer_of(node: Yaml, want: str) -> Word:
    if not isinstance(node, Scalar) or not node.is_integer:
        raise Wrong(node, want)
    return Word(node.text, node)


def duration_of(node: Yaml, unit_ns: int, *, whole: bool = False) -> Word:
    """A duration as a decimal number of units."""
    want = "write a number with a unit, e.g. 100ms or 5s"
    text = scalar(node, want).text
    length = nanoseconds(text)
    if length is None:
        if is_number(text):
            raise Wrong(node, want, "has no unit")
        raise Wrong(node, f"{want}; units are {UNITS}")
    number = in_units(length, unit_ns)
    if number is None or (whole and "." in number):
        name = next(name for name, size in NS_PER_UNIT.items() if size == unit_ns)
        raise Wrong(node, f"write whole {name}", f"is no whole number of {name}")
    return Word(number, node)


def pieces(node: Scalar) -> list[Word]:
    """The words of a text with blanks between them."""
    text = node.text
    if '"' in text or "'" in text or "\\" in text:
        try:
            return [Word(word, node) for word in split(text)]
        except UnclosedQuote:
            raise Wrong(node, "close the quote", "has a quote that is never closed") from None
    return [Word(word, node) for word in text.split()]


def unit_of(row: Keyword) -> int | None:
    """Nanoseconds of the unit that a number is in, None for what is no duration."""
    if row.type in ("time", "time+"):
        return NS_PER_UNIT["s"]
    if row.type == "time-ms":
        return NS_PER_UNIT["ms"]
    first = row.syntax.strip("[]").partition("/")[0]
    return _UNITS_OF.get(first)


def one(words: SequenceOf[str]) -> str:
    """The only argument; further ones mean nothing."""
    if not words:
        raise Unspoken
    return words[0]


def numbered(text: str) -> int | str:
    """A number as one."""
    plain = text.strip()
    digits = plain.removeprefix("-")
    if digits.isascii() and digits.isdecimal() and (digits == "0" or digits[0] != "0"):
        return int(plain)
    return text


class Shape(ABC):
    """One kind of argument."""

    def __init__(self, row: Keyword) -> None:
        self.row = row

    @abstractmethod
    def words(self, node: Yaml) -> list[Word] | None:
        """The arguments; None: the statement is not there at all. Raises Wrong."""

    @abstractmethod
    def value(self, words: SequenceOf[str]) -> Any:
        """Arguments as plain data. Raises Unspoken."""

    @abstractmethod
    def schema(self) -> Schema:
        """What an editor is told of it (JSON Schema)."""


class Flag(Shape):
    """true: the keyword is there."""

    def words(self, node: Yaml) -> list[Word] | None:
        return [] if truth_of(node) else None

    def value(self, words: SequenceOf[str]) -> Any:
        return True

    def schema(self) -> Schema:
        return {"type": "boolean"}


class Switch(Flag):
    """true or false, both of which say something."""

    def words(self, node: Yaml) -> list[Word] | None:
        return [Word("on" if truth_of(node) else "off", node)]

    def value(self, words: SequenceOf[str]) -> Any:
        if not words or self.row.type == "bool-quirk":
            return True
        if words[0] not in BOOLEANS:
            raise Unspoken
        return BOOLEANS[words[0]]


class Optional(Shape):
    """true where the argument is left out."""

    def __init__(self, row: Keyword, inner: Shape) -> None:
        super().__init__(row)
        self.inner = inner

    def words(self, node: Yaml) -> list[Word] | None:
        found = node.truth if isinstance(node, Scalar) else None
        if found is None:
            return self.inner.words(node)
        return [] if found else None

    def value(self, words: SequenceOf[str]) -> Any:
        return self.inner.value(words) if words else True

    def schema(self) -> Schema:
        return {"anyOf": [{"type": "boolean"}, self.inner.schema()]}


class Number(Shape):
    def words(self, node: Yaml) -> list[Word] | None:
        low, high = int_range(self.row.range)
        return [integer_of(node, f"write a number from {low} to {high}")]

    def value(self, words: SequenceOf[str]) -> Any:
        found = numbered(one(words).strip().removeprefix("+"))
        if isinstance(found, int):
            return found
        try:
            return int(found)
        except ValueError:
            raise Unspoken from None

    def schema(self) -> Schema:
        if self.row.type == "clamp":  # what is beyond is mended, with a warning
            return {"anyOf": [{"type": "integer"}, VARIABLE]}
        low, high = int_range(self.row.range)
        return {"anyOf": [{"type": "integer", "minimum": low, "maximum": high}, VARIABLE]}


class Duration(Shape):
    """A number with its unit; the keyword's own unit may allow whole numbers only."""

    def words(self, node: Yaml) -> list[Word] | None:
        is_whole = not self.row.type.startswith("time")
        return [duration_of(node, unit_of(self.row) or 1, whole=is_whole)]

    def value(self, words: SequenceOf[str]) -> Any:
        found = spelt(one(words), unit_of(self.row) or 1)
        if found is None:
            raise Unspoken
        return 0 if found == "0" else found

    def schema(self) -> Schema:
        return {"$ref": "#/definitions/duration"}


class Text(Shape):
    def words(self, node: Yaml) -> list[Word] | None:
        return [text_of(node, f"write {self.row.syntax}")]

    def value(self, words: SequenceOf[str]) -> Any:
        return one(words)

    def schema(self) -> Schema:
        return TEXT


class Choice(Shape):
    """One of some words."""

    def choices(self) -> tuple[str, ...]:
        return choices_of(self.row.range)

    def words(self, node: Yaml) -> list[Word] | None:
        want = "write " + " or ".join(self.choices())
        found = text_of(node, want)
        if isinstance(node, Scalar) and node.is_plain and _is_number(found.text):
            raise Wrong(node, "put it in quotes", "is a number")
        if found.text in self.choices():
            return [found]
        raise Wrong(node, suggestion(found.text, self.choices()) or want)

    def value(self, words: SequenceOf[str]) -> Any:
        text = one(words)
        if text in self.choices():
            return text
        for choice in self.choices():
            if self.row.type == "choice~" and text.upper() == choice.upper():
                return choice
        raise Unspoken

    def schema(self) -> Schema:
        return {"anyOf": [{"enum": list(self.choices())}, VARIABLE]}


def _is_number(text: str) -> bool:
    """Whether YAML takes a plain word as a number."""
    return text.replace(".", "", 1).isdecimal()


class Words(Shape):
    """A list, or one text that is split at its blanks."""

    def words(self, node: Yaml) -> list[Word] | None:
        want = f"write [{self.row.syntax.replace('...', ', ...')}]"
        if isinstance(node, Sequence):
            if not node.items:
                raise Wrong(node, want, "has nothing in it")
            return [text_of(item, want) for item in node.items]
        found = pieces(scalar(text_of(node, want).node, want))
        if not found:
            raise Wrong(node, want)
        return found

    def value(self, words: SequenceOf[str]) -> Any:
        one(words)
        return [numbered(word) for word in words]

    def schema(self) -> Schema:
        return {"anyOf": [TOKENS, {"type": "array", "items": TEXT, "minItems": 1}]}
