"""How the arguments of a keyword are written in YAML: one shape per kind of argument.

A shape does three things, which therefore agree: it makes words out of a value (`words`), a value
out of words (`value`), and a JSON Schema (`schema`). What a value means is decided by the
keyword's reader, the same one as for keepalived.conf.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence as SequenceOf
from typing import Any, NamedTuple

from fastvrrp.config.diagnostics import shown, suggestion
from fastvrrp.config.keywords import Keyword, int_range
from fastvrrp.config.native.document import Mapping, Scalar, Sequence, Yaml, described
from fastvrrp.config.native.units import (
    NS_PER_UNIT,
    UNITS,
    in_units,
    is_number,
    joined_endpoint,
    nanoseconds,
    spelt,
    split_endpoint,
)
from fastvrrp.config.readers import BOOLEANS, choices_of
from fastvrrp.config.shellwords import UnclosedQuote, joined, split

Schema = dict[str, Any]
VARIABLE: Schema = {"$ref": "#/definitions/variable"}
TEXT: Schema = {"type": ["string", "number"]}
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
            raise Wrong(node, "close the quote") from None
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


class Shape:
    """One kind of argument."""

    def __init__(self, row: Keyword) -> None:
        self.row = row

    def words(self, node: Yaml) -> list[Word] | None:
        """The arguments; None: the statement is not there at all. Raises Wrong."""
        raise NotImplementedError

    def value(self, words: SequenceOf[str]) -> Any:
        """Arguments as plain data. Raises Unspoken."""
        raise NotImplementedError

    def schema(self) -> Schema:
        raise NotImplementedError


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
        numbers = [int(c) if c.isdecimal() else float(c) for c in self.choices() if _is_float(c)]
        return {"anyOf": [{"enum": [*self.choices(), *numbers]}, VARIABLE]}


def _is_float(text: str) -> bool:
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
        return {"anyOf": [TEXT, {"type": "array", "items": TEXT, "minItems": 1}]}


class Fields(Shape):
    """A first value, or a mapping of it and others: `/bin/x`, or {command: /bin/x, user: me}."""

    names: tuple[str, ...] = ()
    required = 1

    def words(self, node: Yaml) -> list[Word] | None:
        if not isinstance(node, Mapping):
            return [self.first(node)]
        found = []
        for name, pair in node.pairs.items():
            if name not in self.names:
                hint = suggestion(name, self.names) or f"known: {', '.join(self.names)}"
                raise Wrong(pair.key, hint, text=f"unknown key {shown(name)}")
        for index, name in enumerate(self.names):
            if name in node.pairs:
                value = node.pairs[name].value
                found.append(self.first(value) if not index else text_of(value, f"write {name}"))
            elif index < self.required or any(n in node.pairs for n in self.names[index:]):
                raise Wrong(node, f"add {name}: ...", f"has no {name}")
        return found

    def first(self, node: Yaml) -> Word:
        return text_of(node, f"write {self.row.syntax}")

    def value(self, words: SequenceOf[str]) -> Any:
        one(words)
        if len(words) == 1:
            return words[0]
        return dict(zip(self.names, words, strict=False))

    def schema(self) -> Schema:
        first = self.first_schema()
        fields = {name: first if not n else TEXT for n, name in enumerate(self.names)}
        mapping = {
            "type": "object",
            "properties": fields,
            "required": list(self.names[: self.required]),
            "additionalProperties": False,
            "dependencies": {
                name: list(self.names[:number]) for number, name in enumerate(self.names) if number
            },
        }
        return {"anyOf": [first, mapping]}

    def first_schema(self) -> Schema:
        return TEXT


class Command(Fields):
    """A program: a text that is split as a shell splits it, or a list of its words."""

    names = ("command", "user", "group")

    def first(self, node: Yaml) -> Word:
        want = "write a program with its arguments"
        if isinstance(node, Sequence):
            if not node.items:
                raise Wrong(node, want, "has nothing in it")
            return Word(joined([text_of(item, want).text for item in node.items]), node)
        return text_of(node, want)

    def first_schema(self) -> Schema:
        return {"anyOf": [TEXT, {"type": "array", "items": TEXT, "minItems": 1}]}


class Pattern(Text):
    """A text that is no list of words."""


class Account(Fields):
    names = ("user", "group")


class Fifo(Fields):
    names = ("path", "user", "group")


class Weight(Shape):
    """A number, or {weight: N, reverse: true}."""

    def words(self, node: Yaml) -> list[Word] | None:
        low, high = int_range(self.row.range)
        want = f"write a number from {low} to {high}, or {{weight: N, reverse: true}}"
        if not isinstance(node, Mapping):
            return [integer_of(node, want)]
        if "weight" not in node.pairs or node.pairs.keys() - {"weight", "reverse"}:
            raise Wrong(node, want)
        found = [integer_of(node.pairs["weight"].value, want)]
        if "reverse" in node.pairs:
            value = node.pairs["reverse"].value
            found.append(Word("reverse" if truth_of(value) else "noreverse", value))
        return found

    def value(self, words: SequenceOf[str]) -> Any:
        number = Number.value(Number(self.row), words)
        options = [word for word in words[1:] if word in ("reverse", "noreverse")]
        return {"weight": number, "reverse": options[-1] == "reverse"} if options else number

    def schema(self) -> Schema:
        low, high = int_range(self.row.range)
        number = {"anyOf": [{"type": "integer", "minimum": low, "maximum": high}, VARIABLE]}
        fields = {"weight": number, "reverse": {"type": "boolean"}}
        mapping = {
            "type": "object",
            "properties": fields,
            "required": ["weight"],
            "additionalProperties": False,
        }
        return {"anyOf": [number, mapping]}


class ExtraInterfaces(Shape):
    """A duration, or {interval: 10s, all: true} for all interfaces."""

    def words(self, node: Yaml) -> list[Word] | None:
        want = "write a duration, or {interval: 10s, all: true}"
        if not isinstance(node, Mapping):
            return [duration_of(node, NS_PER_UNIT["s"], whole=True)]
        if "interval" not in node.pairs or node.pairs.keys() - {"interval", "all"}:
            raise Wrong(node, want)
        found = [duration_of(node.pairs["interval"].value, NS_PER_UNIT["s"], whole=True)]
        if "all" in node.pairs and truth_of(node.pairs["all"].value):
            found.insert(0, Word("all", node.pairs["all"].value))
        return found

    def value(self, words: SequenceOf[str]) -> Any:
        every = list(words[:1]) == ["all"]
        interval = spelt(one(words[every:]), NS_PER_UNIT["s"])
        if interval is None:
            raise Unspoken
        return {"interval": interval, "all": True} if every else interval

    def schema(self) -> Schema:
        duration = {"$ref": "#/definitions/duration"}
        mapping = {
            "type": "object",
            "properties": {"interval": duration, "all": {"type": "boolean"}},
            "required": ["interval"],
            "additionalProperties": False,
        }
        return {"anyOf": [duration, mapping]}


class InitFile(Shape):
    """true, a number, or {value: N, overwrite: true}."""

    def words(self, node: Yaml) -> list[Word] | None:
        want = "write true, a number, or {value: N, overwrite: true}"
        if not isinstance(node, Mapping):
            return [integer_of(node, want)]
        if node.pairs.keys() - {"value", "overwrite"}:
            raise Wrong(node, want)
        found = []
        if "value" in node.pairs:
            found.append(integer_of(node.pairs["value"].value, want))
        if "overwrite" in node.pairs and truth_of(node.pairs["overwrite"].value):
            found.append(Word("overwrite", node.pairs["overwrite"].value))
        return found

    def value(self, words: SequenceOf[str]) -> Any:
        numbers = [n for n in map(numbered, words) if isinstance(n, int)]
        if "overwrite" not in words:
            return numbers[-1] if numbers else True
        found: dict[str, Any] = {"value": numbers[-1]} if numbers else {}
        return {**found, "overwrite": True}

    def schema(self) -> Schema:
        fields = {"value": {"type": "integer"}, "overwrite": {"type": "boolean"}}
        mapping = {"type": "object", "properties": fields, "additionalProperties": False}
        return {"anyOf": [{"type": "integer"}, mapping]}


class Endpoint(Shape):
    """ADDRESS, ADDRESS:PORT or [IPV6]:PORT."""

    def words(self, node: Yaml) -> list[Word] | None:
        found = text_of(node, "write ADDRESS:PORT, [IPV6]:PORT or ADDRESS")
        address, port = split_endpoint(found.text)
        return [Word(address, node), *([] if port is None else [Word(port, node)])]

    def value(self, words: SequenceOf[str]) -> Any:
        return joined_endpoint(one(words), words[1] if len(words) > 1 else None)

    def schema(self) -> Schema:
        return {"type": "string"}


class ReceiveBuffer(Text):
    """Bytes, or a policy."""

    def value(self, words: SequenceOf[str]) -> Any:
        return numbered(one(words))


_KINDS: dict[str, Callable[[Keyword], Shape]] = {
    "flag": Flag,
    "bool": Switch,
    "bool-quirk": Switch,
    "int": Number,
    "int!": Number,
    "int+": Number,
    "int?": lambda row: Optional(row, Number(row)),
    "clamp": Number,
    "time": Duration,
    "time+": Duration,
    "time-ms": Duration,
    "persistence": lambda row: Optional(row, Duration(row)),
    "word": Text,
    "word?": lambda row: Optional(row, Text(row)),
    "words": Words,
    "words?": lambda row: Optional(row, Words(row)),
    "secret": Text,
    "choice": Choice,
    "choice~": Choice,
    "choice?": lambda row: Optional(row, Choice(row)),
    "address": Text,
    "mcast4": Text,
    "mcast6": Text,
    "interface": Text,
    "path": Text,
    "path?": lambda row: Optional(row, Text(row)),
    "weight": Weight,
    "cpus": Words,
    "extra-if": ExtraInterfaces,
    "smtp-server": Endpoint,
    "rx-policy": ReceiveBuffer,
    "init-file": lambda row: Optional(row, InitFile(row)),
    "granularity": Text,
    "status-codes": Words,
    "digest": Text,
    "regex-options": Words,
    "regex-stack": Words,
    "payload": Words,
    "reply": lambda row: Optional(row, Words(row)),
    "dns-name": Text,
    "account": Account,
    "command": Command,
    "command?": lambda row: Optional(row, Command(row)),
    "command-text": Pattern,
    "fifo": Fifo,
}
_ENDPOINTS = frozenset(("sorry_server",))


def shape_of(row: Keyword) -> Shape:
    """The shape of a keyword's arguments. Raises KeyError for a type that has none yet."""
    if row.keyword in _ENDPOINTS:
        return Endpoint(row)
    if row.type == "secret" and " " in row.syntax:
        return Words(row)
    if row.type in ("int", "int+") and unit_of(row) is not None:
        return Duration(row)
    return _KINDS[row.type](row)
