"""Importing a library while something small stands in place of another one that it would load:
half of a start is loading modules, and much of it is for what we never use.

pathlib comes without urllib, of which it needs how a path is quoted in a `file:` URI.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any


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


class StandIn(ModuleType):
    """Has what we know to be asked for. Anything else comes from the real one, so that another
    version of a library costs time and nothing else."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)  # the import itself asks for these
        return getattr(self.real(), name)

    def real(self) -> ModuleType:
        """Loads it if need be."""
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]  # in the middle of an import
        import importlib

        return importlib.import_module(self.__name__)


class _Quoting(StandIn):
    """What pathlib takes from urllib.parse while it is loaded."""

    def quote_from_bytes(self, text: bytes) -> str:
        quoted: str = self.real().quote_from_bytes(text)
        return quoted


with in_place_of("urllib.parse", _Quoting("urllib.parse")):
    import pathlib  # noqa: F401
