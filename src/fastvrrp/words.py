"""Words for people that several rooms need."""

from __future__ import annotations


def counted(count: int, noun: str, plural: str = "") -> str:
    """A number with its noun: `1 error`, `2 errors`; `plural` where an s is not enough."""
    return f"{count} {noun if count == 1 else plural or noun + 's'}"


def stages(read_s: float, apply_s: float) -> str:
    """How long a reload took."""
    return f"read in {read_s:.2f} s, in effect {apply_s:.3f} s later"
