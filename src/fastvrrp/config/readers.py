"""Readers of keyword arguments, one per `type` of the keyword table that several keywords have.

A reader takes the statement and the keyword's row and returns the value, or None when there is
none to use; then it has said so. Faults that keepalived mends by a default or a bound are
warnings that name the value used; a missing argument is an error.

The same words always give the same value here: nothing but the words may decide about it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from fastvrrp.config.context import Context
from fastvrrp.config.diagnostics import shown
from fastvrrp.config.keywords import SECRET_BLOCKS, Keyword, int_range
from fastvrrp.config.model import NS_PER_S
from fastvrrp.config.node import Node
from fastvrrp.config.values import (
    bare_address,
    canonical,
    integer,
    interface_name,
    is_multicast,
    time_ns,
    within,
)

BOOLEANS = {"true": True, "on": True, "yes": True, "false": False, "off": False, "no": False}

Reader = Callable[[Context, Node, Keyword], Any]


@functools.cache
def _time_range(text: str, unit_ns: int) -> tuple[int, int]:
    low, _, high = text.partition("..")
    return time_ns(low, unit_ns) or 0, time_ns(high, unit_ns) or 0


@functools.cache
def choices_of(text: str) -> tuple[str, ...]:
    return tuple(text.split("/"))


def _quoted(keyword: Keyword, text: str) -> str:
    """The value as it may appear in a message."""
    return "what is written" if keyword.block in SECRET_BLOCKS else shown(text)


def replaced(context: Context, node: Node, keyword: Keyword, what: str, want: str) -> None:
    """Ignored, the default applies; in YAML, which nobody has written for keepalived, an error."""
    if node.is_native:
        context.error(node, f"{keyword.keyword} {what}", want, word=1)
        return
    used = f", using {keyword.default}" if keyword.default else ", ignored"
    context.warning(node, f"{keyword.keyword} {what}{used}", want, word=1)


def argument(context: Context, node: Node, keyword: Keyword) -> str | None:
    """The one mandatory argument."""
    words = node.words
    if len(words) != 2:
        if len(words) < 2:
            context.missing(node, keyword)
            return None
        context.extra(node, 2)
    return words[1]


def _flag(context: Context, node: Node, keyword: Keyword) -> bool:
    if len(node.words) > 1:
        context.extra(node, 1)
    return True


def _bool(context: Context, node: Node, keyword: Keyword) -> bool | None:
    if len(node.words) == 1:
        return True
    if len(node.words) > 2:
        context.extra(node, 2)
    value = BOOLEANS.get(node.words[1])
    if value is None:
        want = "write true, on, yes, false, off or no"
        replaced(context, node, keyword, f"is neither on nor off: {shown(node.words[1])}", want)
    return value


def _bool_quirk(context: Context, node: Node, keyword: Keyword) -> bool | None:
    """keepalived takes any valid value, even `off`, as on; YAML means what it says."""
    value = _bool(context, node, keyword)
    if value is False and not node.is_native:
        context.warning(
            node,
            f"{keyword.keyword} {node.words[1]} turns it on, as in keepalived",
            "leave the line out to keep it off",
            word=1,
        )
        return True
    return value


def _int(context: Context, node: Node, keyword: Keyword) -> int | None:
    text = node.words[1] if len(node.words) == 2 else argument(context, node, keyword)
    if text is None:
        return None
    low, high = int_range(keyword.range)
    value = within(text, low, high)
    if value is not None:
        return value
    want = f"a number from {low} to {high}"
    problem = f"is not {want}: {_quoted(keyword, text)}"
    if keyword.type == "int!":
        context.error(node, f"{keyword.keyword} {problem}", f"write {want}", word=1)
    else:
        replaced(context, node, keyword, problem, f"write {want}")
    return None


def _int_optional(context: Context, node: Node, keyword: Keyword) -> int | None:
    """-1 without an argument."""
    return -1 if len(node.words) == 1 else _int(context, node, keyword)


def _int_positive(context: Context, node: Node, keyword: Keyword) -> int | None:
    """0 is taken as 1, as keepalived does."""
    value = _int(context, node, keyword)
    if value == 0:
        context.warning(
            node, f"{keyword.keyword} 0 makes no sense, using 1", "write 1 or more", word=1
        )
        return 1
    return value


def _clamp(context: Context, node: Node, keyword: Keyword) -> int | None:
    text = argument(context, node, keyword)
    if text is None:
        return None
    value = integer(text)
    low, high = int_range(keyword.range)
    if value is None:
        replaced(
            context, node, keyword, f"is not a number: {shown(text)}", f"write {low} to {high}"
        )
        return None
    bounded = min(max(value, low), high)
    if bounded != value:
        context.warning(
            node,
            f"{keyword.keyword} {value} is out of range, using {bounded}",
            f"write {low} to {high}",
            word=1,
        )
    return bounded


def _time(context: Context, node: Node, keyword: Keyword) -> int | None:
    """Nanoseconds."""
    text = argument(context, node, keyword)
    if text is None:
        return None
    is_ms = keyword.type == "time-ms"
    unit_ns = NS_PER_S // 1000 if is_ms else NS_PER_S
    value = time_ns(text, unit_ns)
    low_ns, high_ns = _time_range(keyword.range, unit_ns)
    if keyword.type == "time+" and value == 0:
        context.warning(node, f"{keyword.keyword} 0 makes no sense, using 1", "write 1", word=1)
        return unit_ns
    if value is None or not low_ns <= value <= high_ns:
        unit = "milliseconds" if is_ms else "seconds"
        low, _, high = keyword.range.partition("..")
        want = f"{low} to {high} {unit}"
        replaced(context, node, keyword, f"is not a time of {want}: {shown(text)}", f"write {want}")
        return None
    if len(text) > 7 and len(text.partition(".")[2].rstrip("0")) > 6 and not is_ms:
        context.warning(
            node,
            f"{keyword.keyword} is rounded to microseconds",
            "write at most six decimals",
            word=1,
        )
    return value


def _word(context: Context, node: Node, keyword: Keyword) -> str | None:
    return argument(context, node, keyword)


def _word_optional(context: Context, node: Node, keyword: Keyword) -> str | None:
    """ "" without an argument."""
    return "" if len(node.words) == 1 else argument(context, node, keyword)


def _words(context: Context, node: Node, keyword: Keyword) -> tuple[str, ...] | None:
    if len(node.words) == 1:
        context.missing(node, keyword)
        return None
    return node.words[1:]


def _words_optional(context: Context, node: Node, keyword: Keyword) -> tuple[str, ...]:
    return node.words[1:]


def _secret(context: Context, node: Node, keyword: Keyword) -> str | None:
    """Like a word, but nothing of it ever appears in a message."""
    if len(node.words) == 1:
        context.missing(node, keyword)
        return None
    if len(node.words) > 2 and keyword.keyword != "key":
        context.extra(node, 2)
    return node.words[1]


def _choice(context: Context, node: Node, keyword: Keyword) -> str | None:
    text = argument(context, node, keyword)
    if text is None:
        return None
    choices = choices_of(keyword.range)
    if text in choices:
        return text
    for choice in choices:
        if keyword.type == "choice~" and text.upper() == choice.upper():
            return choice
    want = "write " + " or ".join(choices)
    replaced(context, node, keyword, f"cannot be {_quoted(keyword, text)}", want)
    return None


def _choice_optional(context: Context, node: Node, keyword: Keyword) -> str | None:
    """ "" without an argument."""
    return "" if len(node.words) == 1 else _choice(context, node, keyword)


def _address(context: Context, node: Node, keyword: Keyword) -> tuple[str, int] | None:
    """Text and family."""
    text = argument(context, node, keyword)
    if text is None:
        return None
    address, family = bare_address(context, node)
    if not family:
        context.error(
            node,
            f"{keyword.keyword} is not an address: {shown(text)}",
            "write an IPv4 or IPv6 address without prefix length",
            word=1,
        )
        return None
    return address, family


def _multicast(context: Context, node: Node, keyword: Keyword) -> str | None:
    wanted = int(keyword.type[-1])
    text = argument(context, node, keyword)
    if text is None:
        return None
    address, family = canonical(text)
    if family != wanted or not is_multicast(address, family):
        what = f"is not an IPv{wanted} multicast address: {shown(text)}"
        example = "224.0.0.18" if wanted == 4 else "ff02::12"
        replaced(context, node, keyword, what, f"write one, e.g. {example}")
        return None
    if family == 6 and address[3:4] != "2":
        context.warning(
            node,
            f"{keyword.keyword} {address} is not link-local",
            "write an address that begins with ff02:",
            word=1,
        )
    return address


def _interface(context: Context, node: Node, keyword: Keyword) -> str | None:
    text = argument(context, node, keyword)
    if text is None or not interface_name(context, node, text):
        return None
    return text


def _path(context: Context, node: Node, keyword: Keyword) -> str | None:
    text = argument(context, node, keyword)
    if text == "":
        context.missing(node, keyword)
        return None
    return text


READERS: dict[str, Reader] = {
    "flag": _flag,
    "bool": _bool,
    "bool-quirk": _bool_quirk,
    "int": _int,
    "int!": _int,
    "int?": _int_optional,
    "int+": _int_positive,
    "clamp": _clamp,
    "time": _time,
    "time+": _time,
    "time-ms": _time,
    "word": _word,
    "word?": _word_optional,
    "words": _words,
    "words?": _words_optional,
    "secret": _secret,
    "choice": _choice,
    "choice~": _choice,
    "choice?": _choice_optional,
    "address": _address,
    "mcast4": _multicast,
    "mcast6": _multicast,
    "interface": _interface,
    "path": _path,
    "path?": _word_optional,
}
