"""`encap TYPE OPTIONS` of a route or a next hop."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from fastvrrp.config import lookups
from fastvrrp.config.diagnostics import shown
from fastvrrp.config.model import Encap
from fastvrrp.config.options import Options

LABEL_MAX = 0xFFFFF  # 20 bits, RFC 3032 2.1
LABELS_MAX = 16
_NUMBERS = {  # by type: option to field and largest value
    "ip": {
        "id": ("id", 2**64 - 1),
        "tos": ("tos", 255),
        "ttl": ("ttl", 255),
        "flags": ("flags", 65535),
    },
    "ip6": {
        "id": ("id", 2**64 - 1),
        "tc": ("tos", 255),
        "hoplimit": ("ttl", 255),
        "flags": ("flags", 65535),
    },
    "mpls": {"ttl": ("ttl", 255)},
    "ila": {},
}
_FAMILIES = {"ip": 4, "ip6": 6}
_NAMES = {  # of ila: option to field, and the numbers of linux/ila.h
    "csum-mode": (
        "csum_mode",
        {"adj-transport": 0, "neutral-map": 1, "no-action": 2, "neutral-map-auto": 3},
    ),
    "ident-type": (
        "ident_type",
        {
            "luid": 1,
            "virt-v4": 2,
            "virt-uni-v6": 3,
            "virt-multi-v6": 4,
            "nonlocal-addr": 5,
            "use-format": 32,
        },
    ),
    "hook-type": ("hook_type", {"output": 0, "input": 1}),
}
_LOCATOR = re.compile(r"[0-9a-fA-F]{1,4}(:[0-9a-fA-F]{1,4}){3}")


def read_encap(options: Options) -> Encap | None:
    """The encapsulation whose type is the present word; leaves the last word of it behind. None
    after an error."""
    kind = options.words[options.index]
    if kind not in _NUMBERS:
        options.good = False
        options.context.unknown(options.node, "encap type", list(_NUMBERS), word=options.index)
        return None
    fields: dict[str, Any] = {"type": kind}
    if kind in _FIRST:
        options.index += 1
        if options.index == len(options.words):
            options.error(f"encap {kind} needs a value", _FIRST[kind][1], options.index - 1)
            return None
        name, want, read = _FIRST[kind]
        fields[name] = read(options.words[options.index])
        if fields[name] is None:
            options.error(f"{shown(options.words[options.index])} is not for {kind}", want)
    while options.index + 1 < len(options.words):
        option = options.words[options.index + 1]
        reader = _reader(kind, option)
        if reader is None:
            break
        options.index += 2
        if options.index >= len(options.words):
            options.error(f"{option} needs a value", f"write {option} VALUE", options.index - 1)
            break
        name, value = reader(options)
        fields[name] = value
    return Encap(**fields) if options.good else None


def _labels(text: str) -> tuple[int, ...] | None:
    labels = [lookups.number(part) for part in text.split("/")]
    good = [label for label in labels if label is not None and label <= LABEL_MAX]
    return tuple(good) if len(good) == len(labels) <= LABELS_MAX else None


def _locator(text: str) -> str | None:
    return text.lower() if _LOCATOR.fullmatch(text) else None


_FIRST: dict[str, tuple[str, str, Callable[[str], Any]]] = {
    "mpls": ("labels", f"write labels up to {LABEL_MAX} with / between them", _labels),
    "ila": ("locator", "write a locator such as 2001:db8:0:1", _locator),
}


def _reader(kind: str, option: str) -> Callable[[Options], tuple[str, Any]] | None:
    """What reads the value of an option; None for a word that is none of this type."""
    if option in _NUMBERS[kind]:
        field, highest = _NUMBERS[kind][option]
        return lambda options: (field, _number(options, option, highest))
    if kind in _FAMILIES and option in ("dst", "src"):
        return lambda options: (option, _address(options, _FAMILIES[kind]))
    if kind == "ila" and option in _NAMES:
        name, values = _NAMES[option]
        return lambda options: (name, _named(options, option, values))
    return None


def _number(options: Options, option: str, highest: int) -> int | None:
    value = lookups.number(options.words[options.index])
    if value is None or value > highest:
        text = shown(options.words[options.index])
        options.error(f"{option} is not a number up to {highest}: {text}", f"write 0 to {highest}")
        return None
    return value


def _address(options: Options, family: int) -> str | None:
    found = lookups.address(options.context, options.node, options.index)
    if found is None:
        options.good = False
        return None
    if found[1] != family:
        options.error(f"{found[0]} is not an IPv{family} address", f"write an IPv{family} address")
    return found[0]


def _named(options: Options, option: str, values: dict[str, int]) -> int | None:
    text = options.words[options.index]
    if text not in values:
        options.error(f"{option} cannot be {shown(text)}", f"write {' or '.join(values)}")
    return values.get(text)
