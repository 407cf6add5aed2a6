"""Libraries imported without what they can use and we do not: half of a start is loading modules.

msgspec without typing_extensions, which it prefers to typing where there is one: with inspect,
ast and dis behind it this takes a twentieth of what it takes to read a large configuration.
Nobody misses it: Python has had all of it that msgspec asks for since 3.11. Nor is platform, a
hundredth of a start, needed to know that this is not AIX.

Event loops without ssl where no process of the interpreter speaks TLS: OpenSSL is a twelfth of
what a router has to load before its first advert. asyncio expects that there may be none. A real
one can still be imported later.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from types import ModuleType


@contextlib.contextmanager
def _in_place_of(name: str, module: ModuleType | None) -> Iterator[None]:
    """`import name` gives this meanwhile, and fails if it is None; nothing changes if it has been
    imported already."""
    if name in sys.modules:
        yield
        return
    sys.modules[name] = module  # type: ignore[assignment]  # None is documented
    try:
        yield
    finally:
        del sys.modules[name]


class _Platform(ModuleType):
    """What uuid, which msgspec can encode, asks platform while it is loaded."""

    @staticmethod
    def system() -> str:
        return os.uname().sysname


with _in_place_of("typing_extensions", None), _in_place_of("platform", _Platform("platform")):
    import msgspec

__all__ = ["asyncio_without_tls", "msgspec", "uvloop_without_tls"]


class _NoTls(ModuleType):
    """What uvloop takes from ssl while it is loaded: numbers, and classes that it compares with."""

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):
            raise AttributeError(name)
        return -1 if name.startswith("SSL_") else type(name, (Exception,), {})


def asyncio_without_tls() -> None:
    """Import asyncio."""
    with _in_place_of("ssl", None):
        import asyncio  # noqa: F401


def uvloop_without_tls() -> ModuleType:
    """Import uvloop."""
    with _in_place_of("ssl", _NoTls("ssl")):
        import uvloop  # noqa: F401
    return sys.modules["uvloop"]
