"""msgspec without typing_extensions, which it prefers to typing where there is one: with inspect,
ast and dis behind it this takes a twentieth of what it takes to read a large configuration.

Nobody misses it: Python has had all of it that msgspec asks for since 3.11.
"""

from __future__ import annotations

import sys

_UNWANTED = "typing_extensions"

if _UNWANTED in sys.modules:
    import msgspec
else:
    sys.modules[_UNWANTED] = None  # type: ignore[assignment]  # import finds nothing then
    try:
        import msgspec
    finally:
        del sys.modules[_UNWANTED]

__all__ = ["msgspec"]
