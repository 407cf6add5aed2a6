"""Every micro bench there is."""

from __future__ import annotations

from . import core, events, native, parsing, programs, wheel, wire
from .workload import Maker, Workload

MAKERS: list[Maker] = [
    *wire.MAKERS,
    *wheel.MAKERS,
    *events.MAKERS,
    *core.MAKERS,
    *native.MAKERS,
    *programs.MAKERS,
    *parsing.MAKERS,
]


def small() -> list[Workload]:
    """Each workload once, at the size of a test."""
    return [maker.make(maker.small) for maker in MAKERS]


def full() -> list[Workload]:
    return [maker.make(size) for maker in MAKERS for size in maker.full]
