"""Readers of keyword arguments, one per `type` of the keyword table.

A reader takes the statement and the keyword's row and returns the value, or None when there is
none to use; then it has said so. Faults that keepalived mends by a default or a bound are
warnings that name the value used; a missing argument is an error.
"""

from __future__ import annotations

import functools
import re
import socket
from collections.abc import Callable
from typing import Any

from fastvrrp.config.context import Context
from fastvrrp.config.diagnostics import shown
from fastvrrp.config.keywords import SECRET_BLOCKS, Keyword, int_range
from fastvrrp.config.model import NS_PER_S
from fastvrrp.config.node import Node

INTERFACE_BYTES_MAX = 15  # IFNAMSIZ - 1, linux/if.h
NS_PER_US = 1000

_INTEGER = re.compile(r"\s*([+-]?[0-9]{1,20})$")
_DECIMAL = re.compile(r"\s*\+?([0-9]{0,15})(?:\.([0-9]*))?$")
BOOLEANS = {"true": True, "on": True, "yes": True, "false": False, "off": False, "no": False}

Reader = Callable[[Context, Node, Keyword], Any]

_range = functools.cache(int_range)


@functools.cache
def _time_range(text: str, unit_ns: int) -> tuple[int, int]:
    low, _, high = text.partition("..")
    return time_ns(low, unit_ns) or 0, time_ns(high, unit_ns) or 0


@functools.cache
def _choices(text: str) -> tuple[str, ...]:
    return tuple(text.split("/"))


def integer(text: str) -> int | None:
    """A decimal number as keepalived writes it, or None."""
    if text.isdecimal() and text.isascii() and len(text) <= 20:
        return int(text)
    match = _INTEGER.match(text)
    return int(match[1]) if match else None


def time_ns(text: str, unit_ns: int = NS_PER_S) -> int | None:
    """A decimal number of units as nanoseconds, rounded to microseconds, or None."""
    if text.isdecimal() and text.isascii() and len(text) < 16:
        return int(text) * unit_ns
    match = _DECIMAL.match(text)
    if match is None or not (match[1] or match[2]):
        return None
    fraction = (match[2] or "")[:18]
    value = int(match[1] or "0") * unit_ns
    if fraction:
        value += int(fraction) * unit_ns // 10 ** len(fraction)
    return (value + NS_PER_US // 2) // NS_PER_US * NS_PER_US


def canonical(text: str) -> tuple[str, int]:
    """The address in its usual spelling and its family, ("", 0) if it is none."""
    for family, number in (4, socket.AF_INET), (6, socket.AF_INET6):
        try:
            return socket.inet_ntop(number, socket.inet_pton(number, text)), family
        except (OSError, ValueError):
            continue
    return "", 0


def bare_address(context: Context, node: Node, *, word: int = 1) -> tuple[str, int]:
    """`canonical` of a word; keepalived overlooks a prefix length, so that is a warning only."""
    head, slash, _ = node.words[word].partition("/")
    address, family = canonical(head)
    if family and slash:
        context.warning(
            node,
            f"{shown(node.words[word])} is taken as {address}: a prefix length means nothing here",
            f"write {address}",
            word=word,
        )
    return address, family


def is_multicast(address: str, family: int) -> bool:
    if family == 4:
        return 224 <= int(address.split(".", 1)[0]) < 240
    return address.lower().startswith("ff")


def _quoted(keyword: Keyword, text: str) -> str:
    """The value as it may appear in a message."""
    return "what is written" if keyword.block in SECRET_BLOCKS else shown(text)


def _bad(context: Context, node: Node, keyword: Keyword, what: str, want: str) -> None:
    """Ignored, the default applies."""
    used = f", using {keyword.default}" if keyword.default else ", ignored"
    context.warning(node, f"{keyword.keyword} {what}{used}", want, word=1)


def _text(context: Context, node: Node, keyword: Keyword) -> str | None:
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
        _bad(context, node, keyword, f"is neither on nor off: {shown(node.words[1])}", want)
    return value


def _bool_quirk(context: Context, node: Node, keyword: Keyword) -> bool | None:
    """keepalived takes any valid value, even `off`, as on."""
    value = _bool(context, node, keyword)
    if value is False:
        context.warning(
            node,
            f"{keyword.keyword} {node.words[1]} turns it on, as in keepalived",
            "leave the line out to keep it off",
            word=1,
        )
        return True
    return value


def _int(context: Context, node: Node, keyword: Keyword) -> int | None:
    text = node.words[1] if len(node.words) == 2 else _text(context, node, keyword)
    if text is None:
        return None
    low, high = _range(keyword.range)
    value = integer(text)
    if value is not None and low <= value <= high:
        return value
    want = f"a number from {low} to {high}"
    problem = f"is not {want}: {_quoted(keyword, text)}"
    if keyword.type == "int!":
        context.error(node, f"{keyword.keyword} {problem}", f"write {want}", word=1)
    else:
        _bad(context, node, keyword, problem, f"write {want}")
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
    text = _text(context, node, keyword)
    if text is None:
        return None
    value = integer(text)
    low, high = _range(keyword.range)
    if value is None:
        _bad(context, node, keyword, f"is not a number: {shown(text)}", f"write {low} to {high}")
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
    text = _text(context, node, keyword)
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
        _bad(context, node, keyword, f"is not a time of {want}: {shown(text)}", f"write {want}")
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
    return _text(context, node, keyword)


def _word_optional(context: Context, node: Node, keyword: Keyword) -> str | None:
    """ "" without an argument."""
    return "" if len(node.words) == 1 else _text(context, node, keyword)


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
    text = _text(context, node, keyword)
    if text is None:
        return None
    choices = _choices(keyword.range)
    if text in choices:
        return text
    for choice in choices:
        if keyword.type == "choice~" and text.upper() == choice.upper():
            return choice
    want = "write " + " or ".join(choices)
    _bad(context, node, keyword, f"cannot be {_quoted(keyword, text)}", want)
    return None


def _choice_optional(context: Context, node: Node, keyword: Keyword) -> str | None:
    """ "" without an argument."""
    return "" if len(node.words) == 1 else _choice(context, node, keyword)


def _address(context: Context, node: Node, keyword: Keyword) -> tuple[str, int] | None:
    """Text and family."""
    text = _text(context, node, keyword)
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
    text = _text(context, node, keyword)
    if text is None:
        return None
    address, family = canonical(text)
    if family != wanted or not is_multicast(address, family):
        what = f"is not an IPv{wanted} multicast address: {shown(text)}"
        example = "224.0.0.18" if wanted == 4 else "ff02::12"
        _bad(context, node, keyword, what, f"write one, e.g. {example}")
        return None
    if family == 6 and address[3:4] != "2":
        context.warning(
            node,
            f"{keyword.keyword} {address} is not link-local",
            "write an address that begins with ff02:",
            word=1,
        )
    return address


def interface_name(context: Context, node: Node, name: str, *, word: int = 1) -> bool:
    """Whether it can be the name of an interface; says so if it cannot."""
    if not name or len(name.encode()) > INTERFACE_BYTES_MAX or "/" in name or name in (".", ".."):
        context.error(
            node,
            f"{shown(name)} cannot be the name of an interface",
            f"a name has 1 to {INTERFACE_BYTES_MAX} bytes and no slash",
            word=word,
        )
        return False
    return True


def _interface(context: Context, node: Node, keyword: Keyword) -> str | None:
    text = _text(context, node, keyword)
    if text is None or not interface_name(context, node, text):
        return None
    return text


def _path(context: Context, node: Node, keyword: Keyword) -> str | None:
    text = _text(context, node, keyword)
    if text == "":
        context.missing(node, keyword)
        return None
    return text


def _weight(context: Context, node: Node, keyword: Keyword) -> tuple[int, bool] | None:
    """`weight N [reverse]`: number and direction."""
    if len(node.words) < 2:
        context.missing(node, keyword)
        return None
    reverse = False
    for index, word in enumerate(node.words[2:], 2):
        if word in ("reverse", "noreverse"):
            reverse = word == "reverse"
        else:
            context.unknown(node, "option", ("reverse", "noreverse"), word=index)
    low, high = _range(keyword.range)
    value = integer(node.words[1])
    if value is None or not low <= value <= high:
        problem = f"is not a number from {low} to {high}: {shown(node.words[1])}"
        _bad(context, node, keyword, problem, f"write {low} to {high}")
        return None
    return value, reverse


def _cpus(context: Context, node: Node, keyword: Keyword) -> tuple[int, ...] | None:
    if len(node.words) == 1:
        context.missing(node, keyword)
        return None
    last = context.host.cpus() - 1
    numbers = []
    for index, word in enumerate(node.words[1:], 1):
        value = integer(word)
        if value is None or not 0 <= value <= last:
            context.warning(
                node,
                f"{keyword.keyword}: there is no CPU {shown(word)}, ignored",
                f"write numbers from 0 to {last}",
                word=index,
            )
        elif value not in numbers:
            numbers.append(value)
    return tuple(numbers)


def _extra_if(context: Context, node: Node, keyword: Keyword) -> tuple[bool, int] | None:
    """`[all] SECS`: all interfaces, seconds."""
    words = node.words[1:]
    every = words[:1] == ("all",)
    words = words[every:]
    if not words:
        context.missing(node, keyword)
        return None
    if len(words) > 1:
        context.extra(node, 2 + every)
    low, high = _range(keyword.range)
    value = integer(words[0])
    if value is None or not low <= value <= high:
        context.warning(
            node,
            f"{keyword.keyword} is not a number from {low} to {high}: {shown(words[0])}, ignored",
            f"write {low} to {high} seconds",
            word=1 + every,
        )
        return None
    if value and not every:
        context.warning(
            node,
            f"{keyword.keyword} without `all` concerns virtual MAC interfaces, "
            "which are not built yet: no effect",
            f"write {keyword.keyword} all {value} to repeat addresses of all other interfaces",
        )
    return every, value


def _smtp_server(context: Context, node: Node, keyword: Keyword) -> tuple[str, int] | None:
    """Host and port; the name is resolved when a mail is sent, not here."""
    if len(node.words) < 2:
        context.missing(node, keyword)
        return None
    if len(node.words) > 3:
        context.extra(node, 3)
    port = 25
    if len(node.words) > 2:
        value = integer(node.words[2])
        if value is None or not 1 <= value <= 65535:
            context.error(
                node,
                f"smtp_server: {shown(node.words[2])} is not a port",
                "write 1 to 65535",
                word=2,
            )
            return None
        port = value
    return node.words[1], port


def _rx_policy(context: Context, node: Node, keyword: Keyword) -> int | None:
    """Bytes; the policies MTU and ADVERT are known but do nothing yet."""
    text = _text(context, node, keyword)
    if text is None:
        return None
    if text.upper() in ("MTU", "ADVERT"):
        context.warning(node, f"{keyword.keyword} {text} has no effect yet", "write bytes", word=1)
        return None
    value = integer(text)
    if value is None or value < 0:
        want = "write MTU, ADVERT or a number of bytes"
        _bad(context, node, keyword, f"cannot be {shown(text)}", want)
        return None
    return value


def _include_check(context: Context, node: Node, keyword: Keyword) -> tuple[str, ...]:
    """[+|-]NAME ...; the effect is in source.py, where files are included."""
    names = _choices(keyword.range)
    for index, word in enumerate(node.words[1:], 1):
        if word.lstrip("+-") not in names:
            context.unknown(node, "check", names, word=index)
    return node.words[1:]


def _init_file(context: Context, node: Node, keyword: Keyword) -> tuple[int, bool] | None:
    """`[VALUE] [overwrite]`."""
    number, overwrite = 0, False
    for index, word in enumerate(node.words[1:], 1):
        value = integer(word)
        if value is not None and -(2**31) <= value < 2**31:
            number = value
            if abs(value) > 254:
                context.warning(
                    node,
                    f"{keyword.keyword} {value} is beyond any priority",
                    "write -254 to 254",
                    word=index,
                )
        elif word == "overwrite":
            overwrite = True
        else:
            context.unknown(node, "option", ("overwrite", "a number"), word=index)
    return number, overwrite


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
    "weight": _weight,
    "cpus": _cpus,
    "extra-if": _extra_if,
    "smtp-server": _smtp_server,
    "rx-policy": _rx_policy,
    "init-file": _init_file,
    "include-check": _include_check,
}
