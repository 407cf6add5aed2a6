"""Words for people that several rooms need."""

from __future__ import annotations


def counted(count: int, noun: str, plural: str = "") -> str:
    """A number with its noun: `1 error`, `2 errors`; `plural` where an s is not enough."""
    return f"{count} {noun if count == 1 else plural or noun + 's'}"
