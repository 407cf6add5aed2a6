"""Readers of the arguments that one keyword has, or one kind of keyword. See readers.py."""

from __future__ import annotations

from fastvrrp.config.context import Context
from fastvrrp.config.diagnostics import shown
from fastvrrp.config.keywords import Keyword, int_range
from fastvrrp.config.node import Node
from fastvrrp.config.readers import Reader, argument, choices_of, replaced
from fastvrrp.config.values import integer, within


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
    low, high = int_range(keyword.range)
    value = within(node.words[1], low, high)
    if value is None:
        problem = f"is not a number from {low} to {high}: {shown(node.words[1])}"
        replaced(context, node, keyword, problem, f"write {low} to {high}")
        return None
    return value, reverse


def _cpus(context: Context, node: Node, keyword: Keyword) -> tuple[int, ...] | None:
    if len(node.words) == 1:
        context.missing(node, keyword)
        return None
    last = context.host.cpus() - 1
    numbers = []
    for index, word in enumerate(node.words[1:], 1):
        value = within(word, 0, last)
        if value is None:
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
    low, high = int_range(keyword.range)
    value = within(words[0], low, high)
    if value is None:
        context.warning(
            node,
            f"{keyword.keyword} is not a number from {low} to {high}: {shown(words[0])}, ignored",
            f"write {low} to {high} seconds",
            word=1 + every,
        )
        return None
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
        value = within(node.words[2], 1, 65535)
        if value is None:
            context.error(
                node,
                f"smtp_server: {shown(node.words[2])} is not a port",
                "write 1 to 65535",
                word=2,
            )
            return None
        port = value
    return node.words[1], port


def _rx_policy(context: Context, node: Node, keyword: Keyword) -> int | str | None:
    """Bytes, or MTU or ADVERT."""
    text = argument(context, node, keyword)
    if text is None:
        return None
    if text.upper() in ("MTU", "ADVERT"):
        return text.upper()
    value = integer(text)
    if value is None or value < 0:
        want = "write MTU, ADVERT or a number of bytes"
        replaced(context, node, keyword, f"cannot be {shown(text)}", want)
        return None
    return value


def _include_check(context: Context, node: Node, keyword: Keyword) -> tuple[str, ...]:
    """[+|-]NAME ...; the effect is in source.py, where files are included."""
    names = choices_of(keyword.range)
    for index, word in enumerate(node.words[1:], 1):
        if word.lstrip("+-") not in names:
            context.unknown(node, "check", names, word=index)
    return node.words[1:]


def _init_file(context: Context, node: Node, keyword: Keyword) -> tuple[int, bool] | None:
    """`[VALUE] [overwrite]`."""
    number, overwrite = 0, False
    for index, word in enumerate(node.words[1:], 1):
        value = within(word, -(2**31), 2**31 - 1)
        if value is not None:
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


SPECIAL_READERS: dict[str, Reader] = {
    "weight": _weight,
    "cpus": _cpus,
    "extra-if": _extra_if,
    "smtp-server": _smtp_server,
    "rx-policy": _rx_policy,
    "init-file": _init_file,
    "include-check": _include_check,
}
