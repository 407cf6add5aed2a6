"""Entries of which keepalived.conf has a line each: an address, a route, a tracker with options.

In YAML an entry is a mapping whose keys are the words of the keyword table, or one text with the
words as they stand in keepalived.conf (and, for routes and rules, behind `ip route add`).
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from collections.abc import Sequence as SequenceOf
from typing import Any

from fastvrrp.config.diagnostics import shown, suggestion
from fastvrrp.config.keywords import Keyword, int_range, table
from fastvrrp.config.native.document import Mapping, Scalar, Sequence, Yaml
from fastvrrp.config.native.names import key_of, keys
from fastvrrp.config.native.shapes import (
    TEXT,
    TOKENS,
    VARIABLE,
    Optional,
    Schema,
    Shape,
    Unspoken,
    Word,
    Wrong,
    duration_of,
    integer_of,
    numbered,
    pieces,
    scalar,
    text_of,
    truth_of,
    unit_of,
)
from fastvrrp.config.native.units import joined_endpoint, spelt, split_endpoint
from fastvrrp.config.shellwords import joined

# The block whose rows are the options of an entry, where it is not the keyword's own.
_ELSEWHERE = {
    "static_ipaddress": "vrrp_instance/virtual_ipaddress",
    "vrrp_instance/virtual_ipaddress_excluded": "vrrp_instance/virtual_ipaddress",
    "static_routes": "vrrp_instance/virtual_routes",
    "static_rules": "vrrp_instance/virtual_rules",
    "virtual_server/sorry_server_lvs_method": "virtual_server/lvs_method",
    "virtual_server/real_server/lvs_method": "virtual_server/lvs_method",
}
# Keys of first words that the table has no row for.
_FIRST = {"virtual_server/lvs_method": "method", "global_defs/lvs_sync_daemon": "interface"}
_NEXTHOP = "nexthop"
_NEXTHOP_KEYS = ("via", "dev", "weight", "realms", "encap")
_OPPOSITES = {"reverse": "noreverse"}
_SERVICE_WORDS = frozenset(("fwmark", "group"))


def options_path(row: Keyword) -> str:
    """The block of the table that has the options of a keyword's entries."""
    return _ELSEWHERE.get(row.path, row.path)


def has_options(row: Keyword) -> bool:
    """Whether a keyword's arguments are a first word with options."""
    block = table().get(options_path(row), {})
    if row.type.startswith("lines") or not block:
        return False
    return not row.type.startswith("block")


def is_bare(row: Keyword) -> bool:
    """Whether an option is a word without a value."""
    return not row.type and (not row.syntax or row.syntax.startswith("/"))


def is_positional(row: Keyword) -> bool:
    """Whether the value itself is the word: (address), MAC, TYPE."""
    return row.keyword.startswith("(") or row.keyword.isupper()


class Entry(Shape):
    """One entry."""

    def __init__(self, row: Keyword) -> None:
        super().__init__(row)
        path = options_path(row)
        self.rows = dict(keys(path))
        self.first = _FIRST.get(path, "")
        self.all = {row.keyword: row for row in table().get(path, {}).values()}
        if "to" in self.rows:
            self.rows.pop("destination", None)
        self.required = self.first or next(
            (key for key, row in self.rows.items() if row.keyword[:1] == "("), ""
        )
        self.known = (*([self.first] if self.first else []), *self.rows)

    def words(self, node: Yaml) -> list[Word] | None:
        if isinstance(node, Scalar):
            want = f"write one, or {{{self.required or self.known[0]}: ..., ...}}"
            found = pieces(scalar(text_of(node, want).node, want))
            if not found:
                raise Wrong(node, want)
            return self._split(found)
        if not isinstance(node, Mapping):
            raise Wrong(node, f"write {self.known[0]} or a mapping")
        if not node.pairs:
            raise Wrong(node, f"known: {', '.join(self.known)}", "has nothing in it")
        words: list[Word] = []
        last: list[Word] = []
        for key, (name, value) in node.pairs.items():
            row = self.rows.get(key)
            if row is None and key != self.first:
                raise Wrong(name, self.guess(key), text=f"unknown key {shown(key)}")
            if row is None or row.keyword.startswith("("):
                words[:0] = self._split(pieces(scalar(text_of(value, f"write {key}").node, key)))
            elif row.keyword == _NEXTHOP:
                last += self._nexthops(value)
            else:
                words += self._option(row, name, value)
        if self.required and self.required not in node.pairs:
            raise Wrong(node, f"add {self.required}: ...", f"has no {self.required}")
        return words + last

    def guess(self, key: str) -> str:
        """What may have been meant by an unknown key."""
        row = self.all.get(key)
        if row is not None:
            return f"write {key_of(row)}"
        return suggestion(key, self.known) or f"known: {', '.join(self.known)}"

    def _split(self, found: list[Word]) -> list[Word]:
        return found

    def _option(self, row: Keyword, name: Scalar, value: Yaml) -> list[Word]:
        if is_bare(row):
            if truth_of(value):
                return [Word(row.keyword, name)]
            opposite = _OPPOSITES.get(row.keyword)
            return [Word(opposite, name)] if opposite and opposite in row.syntax else []
        head = [] if is_positional(row) else [Word(row.keyword, name)]
        unit = unit_of(row)
        if unit is not None and not (isinstance(value, Scalar) and value.text == "forever"):
            return [*head, duration_of(value, unit, whole=True)]
        if row.type == "int":
            low, high = int_range(row.range)
            return [*head, integer_of(value, f"write a number from {low} to {high}")]
        return [*head, *pieces(scalar(text_of(value, f"write {row.syntax}").node, ""))]

    def _nexthops(self, node: Yaml) -> Iterable[Word]:
        if not isinstance(node, Sequence):
            raise Wrong(node, "write [{via: ADDRESS, dev: INTERFACE, weight: N}, ...]")
        for item in node.items:
            yield Word(_NEXTHOP, item)
            if isinstance(item, Scalar):
                yield from pieces(scalar(item, "write via ADDRESS dev INTERFACE"))
                continue
            if not isinstance(item, Mapping):
                raise Wrong(item, "write {via: ADDRESS, dev: INTERFACE, weight: N}")
            for key, (name, value) in item.pairs.items():
                if key == "onlink":
                    yield from [Word(key, name)] if truth_of(value) else []
                elif key in _NEXTHOP_KEYS:
                    yield Word(key, name)
                    yield from pieces(scalar(text_of(value, f"write {key}").node, ""))
                else:
                    hint = f"known: {', '.join(_NEXTHOP_KEYS)}, onlink"
                    raise Wrong(name, hint, text=f"unknown key {shown(key)}")

    def value(self, words: SequenceOf[str]) -> Any:
        """A mapping where every word has its place, else the line."""
        try:
            return self._structured(list(words))
        except Unspoken:
            return joined(words)

    def _structured(self, words: list[str]) -> Any:
        found: dict[str, Any] = {}
        if self.required:
            found[self.required] = self._taken(words)
        by_word = {row.keyword: (key, row) for key, row in self.rows.items()}
        if self.required == "" and "to" in self.rows and words and words[0] not in self.all:
            found["to"] = self._taken(words)
        opposites = {other: word for word, other in _OPPOSITES.items()}
        while words:
            word = words.pop(0)
            key, row = by_word.get(opposites.get(word, word), ("", None))
            if row is None or not key or key in found or is_positional(row):
                raise Unspoken
            if is_bare(row):
                found[key] = word not in opposites
                continue
            if not words or row.type in ("metric", "gateway", "encap", "as-to", "congctl", ""):
                found[key] = self._simple(row, words)
                continue
            text = words.pop(0)
            unit = unit_of(row)
            if unit is not None and text != "forever":
                spoken = spelt(text, unit)
                if spoken is None:
                    raise Unspoken
                found[key] = 0 if spoken == "0" else spoken
            elif row.type == "int":
                found[key] = numbered(text)
                if not isinstance(found[key], int):
                    raise Unspoken
            else:
                found[key] = self._single(text)
        if len(found) == 1 and self.required in found:
            return found[self.required]
        return found

    def _simple(self, row: Keyword, words: list[str]) -> Any:
        """The argument of an option that may have several; with one it is as any other."""
        if not words or words[0] in ("lock", "inet", "inet6", "to") or row.type == "encap":
            raise Unspoken
        if row.keyword == _NEXTHOP:
            raise Unspoken
        return self._single(words.pop(0))

    def _single(self, text: str) -> Any:
        if not text or len(text.split()) != 1 or any(c in text for c in "\"'\\"):
            raise Unspoken
        return numbered(text)

    def _taken(self, words: list[str]) -> Any:
        """The first word or words, taken off."""
        if not words:
            raise Unspoken
        text = words.pop(0)
        if not text or len(text.split()) != 1 or any(c in text for c in "\"'\\"):
            raise Unspoken
        return text

    def schema(self) -> Schema:
        fields: dict[str, Schema] = {self.first: TEXT} if self.first else {}
        for key, row in self.rows.items():
            fields[key] = self._option_schema(row)
        mapping: Schema = {
            "type": "object",
            "properties": fields,
            "additionalProperties": False,
            "minProperties": 1,
        }
        if self.required:
            mapping["required"] = [self.required]
        return {"anyOf": [TOKENS, mapping]}

    def _option_schema(self, row: Keyword) -> Schema:
        if is_bare(row):
            return {"type": "boolean", "description": row.meaning}
        found: Schema = TEXT
        if row.keyword == _NEXTHOP:
            hop: Schema = {
                "type": "object",
                "properties": {
                    **dict.fromkeys(_NEXTHOP_KEYS, TEXT),
                    "onlink": {"type": "boolean"},
                },
                "additionalProperties": False,
            }
            found = {"type": "array", "items": {"anyOf": [TEXT, hop]}}
        elif unit_of(row) is not None:
            found = {"$ref": "#/definitions/duration"}
            if "forever" in row.syntax:
                found = {"anyOf": [found, {"const": "forever"}]}
        elif row.type == "int":  # beyond its range some readers mend it, with a warning
            found = {"anyOf": [{"type": "integer"}, VARIABLE]}
        inner = {"allOf": [found]} if "$ref" in found else found
        return {**inner, "description": row.meaning}


class ServiceEntry(Entry):
    """What stands behind virtual_server, written as an endpoint."""

    def _split(self, found: list[Word]) -> list[Word]:
        return split_first(found)

    def _taken(self, words: list[str]) -> Any:
        if words and words[0] in _SERVICE_WORDS:
            count = 2
        else:
            count = 2 if words[1:] and words[1].isdecimal() else 1
        taken = words[:count]
        if words[count:] and words[count].lower() in ("tcp", "udp", "sctp"):
            taken.append(words[count])
        if len(taken) < count or any(not w or w.split() != [w] for w in taken):
            raise Unspoken
        del words[: len(taken)]
        if count == 2 and taken[0] not in _SERVICE_WORDS:
            taken[:2] = [joined_endpoint(taken[0], taken[1])]
        return " ".join(taken)

    def value(self, words: SequenceOf[str]) -> Any:
        try:
            return self._structured(list(words))
        except Unspoken:
            return joined(words)


def split_first(found: list[Word]) -> list[Word]:
    """The words of an entry whose first one is an endpoint."""
    if not found or found[0].text in _SERVICE_WORDS:
        return found
    address, port = split_endpoint(found[0].text)
    node = found[0].node
    return [Word(address, node), *([] if port is None else [Word(port, node)]), *found[1:]]


class GroupEntry(Shape):
    """An entry of virtual_server_group: an endpoint, a range of them, or a firewall mark."""

    _FIELDS = ("fwmark", "family")

    def words(self, node: Yaml) -> list[Word] | None:
        want = "write ADDRESS:PORT, FIRST-LAST:PORT or {fwmark: N}"
        if isinstance(node, Scalar):
            return split_first(pieces(scalar(text_of(node, want).node, want))) or None
        if not isinstance(node, Mapping) or "fwmark" not in node.pairs:
            raise Wrong(node, want)
        if node.pairs.keys() - set(self._FIELDS):
            raise Wrong(node, "write {fwmark: N, family: inet6}")
        mark = node.pairs["fwmark"]
        found = [Word("fwmark", mark.key), integer_of(mark.value, "write {fwmark: N}")]
        if "family" in node.pairs:
            found.append(text_of(node.pairs["family"].value, "write inet or inet6"))
        return found

    def value(self, words: SequenceOf[str]) -> Any:
        if words[0] == "fwmark" and len(words) in (2, 3):
            number = numbered(words[1])
            if isinstance(number, int):
                return {"fwmark": number, **dict(zip(("family",), words[2:], strict=False))}
        if len(words) <= 2 and words[0] != "fwmark":
            return joined_endpoint(words[0], words[1] if len(words) > 1 else None)
        return joined(words)

    def schema(self) -> Schema:
        mapping = {
            "type": "object",
            "properties": {
                "fwmark": {"anyOf": [{"type": "integer"}, VARIABLE]},
                "family": {"enum": ["inet", "inet6"]},
            },
            "required": ["fwmark"],
            "additionalProperties": False,
        }
        return {"anyOf": [{"type": "string"}, mapping]}


class Plain(Shape):
    """An entry without options: one word."""

    def words(self, node: Yaml) -> list[Word] | None:
        return [text_of(node, f"write [{self.row.syntax.strip('{} .')}, ...]")]

    def value(self, words: SequenceOf[str]) -> Any:
        return one_word(words)

    def schema(self) -> Schema:
        return TEXT


class Free(Plain):
    """An entry of several words that only its reader knows."""

    def words(self, node: Yaml) -> list[Word] | None:
        want = f"write {self.row.syntax.strip('{} .')}"
        return pieces(scalar(text_of(node, want).node, want)) or None

    def value(self, words: SequenceOf[str]) -> Any:
        return joined(words)


def one_word(words: SequenceOf[str]) -> str:
    if len(words) != 1:
        raise Unspoken
    return words[0]


@functools.cache
def entry_of(row: Keyword) -> Shape:
    """The shape of one entry of a keyword whose block is a list."""
    if row.keyword == "virtual_server_group":
        return GroupEntry(row)
    kind = row.type.partition(":")[2]
    if kind == "servers":
        return ServiceEntry(row)
    if table().get(options_path(row)) and "(entry)" not in table()[options_path(row)]:
        return Entry(row)
    if kind == "words" and "(entry)" not in table().get(row.path, {}):
        return Plain(row)
    return Free(row)


def options_of(row: Keyword) -> Shape:
    """The shape of arguments that are a first word with options."""
    entry = Entry(row)
    return Optional(row, entry) if row.type.endswith("?") or row.type == "vmac" else entry
