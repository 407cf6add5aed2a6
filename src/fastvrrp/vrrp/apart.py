"""Making a model, and all that a start needs, apart from what stays, so that its memory goes back
to the system."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from fastvrrp import _core
from fastvrrp.config import compact, model


def is_possible() -> bool:
    """Whether the interpreter's allocator is its usual one: one that looks for faults insists on
    getting back what it made, and one for threads without a common lock on making all objects."""
    return not (
        sys.flags.dev_mode
        or os.environ.get("PYTHONMALLOC")
        or {*"td"} & {*sys.abiflags}  # a build for threads without that lock, or for debugging
    )


_held = False  # between `hold` and `release`


def hold() -> None:
    """Objects that are made until `release` have memory of the C library. Where they are freed does
    not matter."""
    global _held
    _held = is_possible()
    _core.allocate_apart(_held)


def release() -> None:
    """The interpreter's allocator is in use again. Harmless without `hold`."""
    global _held
    _held = False
    _core.allocate_apart(False)


@contextmanager
def memory_apart() -> Iterator[None]:
    """As between `hold` and `release`, also among these."""
    if is_possible():
        _core.allocate_apart(True)
    try:
        yield
    finally:
        _core.allocate_apart(_held)


@contextmanager
def memory_of_what_stays() -> Iterator[None]:
    """The interpreter's allocator, also between `hold` and `release`: what is made now would lie
    among what goes, and keep its pages."""
    _core.allocate_apart(False)
    try:
        yield
    finally:
        _core.allocate_apart(_held)


def decode(data: bytes | memoryview) -> model.Configuration:
    """The same as compact.decode."""
    with memory_apart():
        return compact.decode(data)
