"""Libraries imported without what they can use and we do not: half of a start is loading modules.

msgspec without typing_extensions, which it prefers to typing where there is one: with inspect,
ast and dis behind it this takes a twentieth of what it takes to read a large configuration.
Nobody misses it: Python has had all of it that msgspec asks for since 3.11. Nor do we have
UUIDs or decimal numbers, of which it only needs the types.

Event loops without ssl where no process of the interpreter speaks TLS: OpenSSL is a twelfth of
what a router has to load before its first advert. asyncio expects that there may be none. A real
one can still be imported later. Without inspect, too, because of which they would load what
compiles programs; but it tells what a callback is in messages, so that `complete` loads it when
the first advert is out.
"""

from __future__ import annotations

import sys
import types
from types import ModuleType
from typing import Any

from fastvrrp.instead import StandIn, in_place_of


class _Uuid(StandIn):
    """What msgspec compares with when it does not know a type."""

    UUID = type("UUID", (), {})
    SafeUUID = type("SafeUUID", (), {"unknown": None})


class _Decimal(StandIn):
    Decimal = type("Decimal", (), {})


with (
    in_place_of("typing_extensions", None),
    in_place_of("uuid", _Uuid("uuid")),
    in_place_of("decimal", _Decimal("decimal")),
):
    import msgspec

__all__ = ["asyncio_without_tls", "complete", "msgspec", "uvloop_without_tls"]


class _NoTls(ModuleType):
    """What uvloop takes from ssl while it is loaded: numbers, and classes that it compares with."""

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):
            raise AttributeError(name)
        return -1 if name.startswith("SSL_") else type(name, (Exception,), {})


class _Inspect(StandIn):
    """What event loops ask inspect while they start; anything else is asked of itself."""

    @staticmethod
    def isgenerator(thing: object) -> bool:
        return isinstance(thing, types.GeneratorType)

    def iscoroutinefunction(self, thing: Any) -> bool:
        while isinstance(thing, types.MethodType):
            thing = thing.__func__
        if isinstance(thing, types.BuiltinFunctionType):
            return False
        if isinstance(thing, types.FunctionType) and not hasattr(thing, _MARKER):
            return bool(thing.__code__.co_flags & _COROUTINE)
        return bool(self.real().iscoroutinefunction(thing))


_COROUTINE = 0x80  # CO_COROUTINE of code.h
_MARKER = "_is_coroutine_marker"  # inspect.markcoroutinefunction


def complete() -> None:
    """Load what was left out and may be asked for later."""
    import inspect  # noqa: F401


def asyncio_without_tls() -> None:
    """Import asyncio."""
    with in_place_of("ssl", None), in_place_of("inspect", _Inspect("inspect")):
        import asyncio  # noqa: F401


def uvloop_without_tls() -> ModuleType:
    """Import uvloop."""
    with in_place_of("ssl", _NoTls("ssl")), in_place_of("inspect", _Inspect("inspect")):
        import uvloop  # noqa: F401
    return sys.modules["uvloop"]
