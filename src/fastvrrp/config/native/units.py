"""Durations and endpoints: `100ms` and `10.0.0.1:80` to the words of keepalived.conf, and back."""

from __future__ import annotations

import functools
import re
from fractions import Fraction

NS_PER_UNIT = {
    "us": 1000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "min": 60_000_000_000,
    "h": 3_600_000_000_000,
    "d": 86_400_000_000_000,
}
DURATION = r"^(0|[0-9]{1,15}(\.[0-9]{1,9})?(us|ms|s|min|h|d))$"
UNITS = "us, ms, s, min, h or d"
_DURATION = re.compile(r"(-?[0-9]{1,15}(?:\.[0-9]{1,9})?)(us|ms|s|min|h|d)")
_NUMBER = re.compile(r"[+-]?(?:[0-9]{1,15}(?:\.[0-9]*)?|\.[0-9]+)")
NS_PER_US = 1000


@functools.lru_cache(1024)
def nanoseconds(text: str) -> Fraction | None:
    """The length of `1.5s`; a bare 0 needs no unit."""
    if text == "0":
        return Fraction(0)
    match = _DURATION.fullmatch(text)
    return Fraction(match[1]) * NS_PER_UNIT[match[2]] if match else None


def is_number(text: str) -> bool:
    """Whether only the unit is missing."""
    return _NUMBER.fullmatch(text) is not None


@functools.lru_cache(1024)
def in_units(length_ns: Fraction, unit_ns: int) -> str | None:
    """A decimal number of units, None if it would not end."""
    value = length_ns / unit_ns
    if value.denominator == 1:
        return str(value.numerator)
    for digits in range(1, 19):
        scaled = value * 10**digits
        if scaled.denominator == 1:
            whole, rest = divmod(abs(scaled.numerator), 10**digits)
            return f"{'-' * (value < 0)}{whole}.{rest:0{digits}d}"
    return None


def spelt(number: str, unit_ns: int) -> str | None:
    """A decimal number of units in the way one would write it, rounded to microseconds as the
    readers do; None if it is no number."""
    if not _NUMBER.fullmatch(number.strip()):
        return None
    length = Fraction(number.strip()) * unit_ns
    length = Fraction((length + NS_PER_US // 2) // NS_PER_US * NS_PER_US)
    if not length:
        return "0"
    fitting = [
        (unit, length / size)
        for unit, size in NS_PER_UNIT.items()
        if (length / size).denominator == 1
    ]
    if not fitting:
        return None
    for unit, count in reversed(fitting):
        if unit in ("us", "ms", "s") or (unit == "min" and count < 60) or unit == "h":
            return f"{count}{unit}"
    return None


def split_endpoint(text: str) -> tuple[str, str | None]:
    """ADDRESS, ADDRESS:PORT or [ADDRESS]:PORT as address and port."""
    if text.startswith("["):
        address, bracket, rest = text[1:].partition("]")
        if bracket and (not rest or rest.startswith(":")):
            return address, rest[1:] or None
        return text, None
    if text.count(":") == 1:
        address, _, port = text.partition(":")
        return address, port
    return text, None


def joined_endpoint(address: str, port: str | None) -> str:
    """The other way round."""
    if port is None:
        return address
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
