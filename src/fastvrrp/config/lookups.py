"""Names and numbers of routes and rules: tables, realms, protocols, service types, ranges.

Each function returns the number or None; then it has reported an error, because a route or rule
without what was asked for would be another one.
"""

from __future__ import annotations

from fastvrrp.config.addresses import prefixed
from fastvrrp.config.context import Context
from fastvrrp.config.diagnostics import shown, suggestion
from fastvrrp.config.keywords import Keyword, int_range
from fastvrrp.config.node import Node
from fastvrrp.config.values import canonical, interface_name

U32_MAX = 0xFFFFFFFF
ANY = frozenset(("default", "all", "any", "default6", "any6"))


def number(text: str) -> int | None:
    """Decimal, hexadecimal or octal, as iproute2 takes numbers."""
    text = text.strip()
    if not text.isascii() or not text[:1].isdigit() or len(text) > 22:
        return None
    try:
        return int(text, 16 if text[:2] in ("0x", "0X") else 8 if text[0] == "0" else 10)
    except ValueError:
        return None


def in_range(context: Context, node: Node, row: Keyword, index: int) -> int | None:
    """A number within the row's range."""
    low, high = int_range(row.range)
    value = number(node.words[index])
    if value is None or not low <= value <= high:
        context.error(
            node,
            f"{row.keyword} is not a number from {low} to {high}: {shown(node.words[index])}",
            f"write {low} to {high}",
            word=index,
        )
        return None
    return value


def named(
    context: Context, node: Node, index: int, table: str, what: str, highest: int
) -> int | None:
    """A name of an iproute2 file, or a number."""
    text = node.words[index]
    names = context.names(table)
    value = names.get(text)
    if value is None:
        value = number(text)
    if value is None or not 0 <= value <= highest:
        context.error(
            node,
            f"there is no {what} {shown(text)}",
            suggestion(text, names) or f"write a name of {table} or 0 to {highest}",
            word=index,
        )
        return None
    return value


def realms(context: Context, node: Node, index: int) -> int | None:
    """[SOURCE/]DESTINATION as the kernel keeps it: source in the upper half."""
    value = 0
    parts = node.words[index].split("/")
    names = context.names("rt_realms")
    for part in parts:
        realm = names.get(part)
        if realm is None:
            realm = number(part)
        if realm is None or not 0 <= realm <= 0xFFFF or len(parts) > 2:
            context.error(
                node,
                f"{shown(node.words[index])} is not a realm",
                "write [SOURCE/]DESTINATION, names of rt_realms or 0 to 65535",
                word=index,
            )
            return None
        value = value << 16 | realm
    return value


def interface(context: Context, node: Node, index: int) -> str | None:
    name = node.words[index]
    if not interface_name(context, node, name, word=index):
        return None
    context.check_interface(node, name, word=index)
    return name


def address(context: Context, node: Node, index: int) -> tuple[str, int] | None:
    """Text and family."""
    text, family = canonical(node.words[index])
    if not family:
        context.error(
            node,
            f"{shown(node.words[index])} is not an address",
            "write an address without prefix length",
            word=index,
        )
        return None
    return text, family


def prefix(
    context: Context, node: Node, index: int, *, left_out: str = ""
) -> tuple[str, int] | None:
    """ADDR[/LEN] or default; family 0 where both are possible. `left_out`: see `prefixed`."""
    text = node.words[index]
    if text in ANY:
        return "default", 6 if text.endswith("6") else 0
    parsed = prefixed(context, node, text, word=index, left_out=left_out)
    if parsed is None:
        return None
    head, length, family = parsed
    return f"{head}/{length}", family


def pair(context: Context, node: Node, row: Keyword, index: int) -> tuple[int, int] | None:
    """A[-B]; None where the rule cannot be, of which there is a message."""
    low, high = int_range(row.range)
    first, dash, last = node.words[index].partition("-")
    begin = number(first)
    end = number(last) if dash else begin
    if not node.is_native and begin is not None and end is not None and low <= end < begin <= high:
        # keepalived asks the kernel for it, which refuses
        text = f"{row.keyword} ends before it begins: {shown(node.words[index])}"
        context.warning(node, f"{text}, the rule is left out", f"write {end}-{begin}", word=index)
        return None
    if begin is None or end is None or not low <= begin <= end <= high:
        context.error(
            node,
            f"{row.keyword} is not a range: {shown(node.words[index])}",
            f"write FIRST-LAST, both from {low} to {high}",
            word=index,
        )
        return None
    return begin, end
