"""Importing a library while something small stands in place of another one that it would load:
half of a start is loading modules, and much of it is for what we never use.

pathlib comes without urllib, of which it needs how a path is quoted in a `file:` URI.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from types import ModuleType


@contextlib.contextmanager
def in_place_of(name: str, module: ModuleType | None) -> Iterator[None]:
    """`import name` gives this meanwhile, and fails if it is None; nothing changes if it has been
    imported already."""
    if name in sys.modules:
        yield
        return
    sys.modules[name] = module  # type: ignore[assignment]  # None is documented
    try:
        yield
    finally:
        if sys.modules.get(name) is module:
            del sys.modules[name]


class _Quoting(ModuleType):
    """What pathlib takes from urllib.parse while it is loaded."""

    @staticmethod
    def quote_from_bytes(text: bytes) -> str:
        from urllib.parse import quote_from_bytes

        return quote_from_bytes(text)


with in_place_of("urllib.parse", _Quoting("urllib.parse")):
    import pathlib  # noqa: F401
