"""Single words to values: numbers, times, addresses, names of interfaces."""

from __future__ import annotations

import re
from socket import AF_INET, AF_INET6, inet_ntop, inet_pton

from fastvrrp.config.context import Context
from fastvrrp.config.diagnostics import shown
from fastvrrp.config.model import NS_PER_S
from fastvrrp.config.node import Node

INTERFACE_BYTES_MAX = 15  # IFNAMSIZ - 1, linux/if.h
NS_PER_US = 1000

_INTEGER = re.compile(r"\s*([+-]?[0-9]{1,20})$")
_DECIMAL = re.compile(r"\s*\+?([0-9]{0,15})(?:\.([0-9]*))?$")


def integer(text: str) -> int | None:
    """A decimal number as keepalived writes it, or None."""
    if text.isdecimal() and text.isascii() and len(text) <= 20:
        return int(text)
    match = _INTEGER.match(text)
    return int(match[1]) if match else None


def within(text: str, low: int, high: int) -> int | None:
    """A decimal number from `low` to `high`, or None."""
    value = integer(text)
    return value if value is not None and low <= value <= high else None


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


def is_ipv4(text: str) -> bool:
    """Whether it is an IPv4 address, which then is in its usual spelling."""
    try:
        inet_pton(AF_INET, text)
    except (OSError, ValueError):
        return False
    return True


def canonical(text: str) -> tuple[str, int]:
    """The address in its usual spelling and its family, ("", 0) if it is none."""
    try:
        return inet_ntop(AF_INET, inet_pton(AF_INET, text)), 4
    except (OSError, ValueError):
        pass
    try:
        return inet_ntop(AF_INET6, inet_pton(AF_INET6, text)), 6
    except (OSError, ValueError):
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
