"""Shapes of arguments with parts of their own, and which type of the keyword table has which."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence as SequenceOf
from typing import Any

from fastvrrp.config.diagnostics import shown, suggestion
from fastvrrp.config.keywords import Keyword, int_range
from fastvrrp.config.native.document import Mapping, Sequence, Yaml
from fastvrrp.config.native.shapes import (
    TEXT,
    VARIABLE,
    Choice,
    Duration,
    Flag,
    Number,
    Optional,
    Schema,
    Shape,
    Switch,
    Text,
    Unspoken,
    Word,
    Words,
    Wrong,
    duration_of,
    integer_of,
    numbered,
    one,
    text_of,
    truth_of,
    unit_of,
)
from fastvrrp.config.native.units import NS_PER_UNIT, joined_endpoint, spelt, split_endpoint
from fastvrrp.config.shellwords import joined


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
        return TEXT


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
