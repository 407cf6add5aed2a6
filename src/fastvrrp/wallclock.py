"""Wall clock times: for people and logs alone, nothing is ever decided by them."""

from __future__ import annotations

import datetime
import time

_NS_PER_S = 1_000_000_000
_NS_PER_MS = 1_000_000


def utc(now_ns: int) -> str:
    """A monotonic time as UTC, RFC 3339 with milliseconds, by the present difference."""
    wall = time.time_ns() - time.monotonic_ns() + now_ns
    seconds, rest = divmod(wall, _NS_PER_S)
    stamp = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    return stamp.strftime("%Y-%m-%dT%H:%M:%S.") + f"{rest // _NS_PER_MS:03d}Z"
