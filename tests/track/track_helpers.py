"""Types and small helpers of the tracker tests."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from fastvrrp.config import model

S = model.NS_PER_S

Run = Callable[[Coroutine[Any, Any, None]], None]
MakeScript = Callable[[str], str]


def command(*argv: str, account: model.Account | None = None) -> model.Command:
    return model.Command(argv=argv, account=account)


def alive(pid: int) -> bool:
    """Whether the process exists and is no zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


async def until(condition: Callable[[], object], limit_s: float = 3.0) -> None:
    """Return as soon as the condition holds; fail when it does not within the limit."""
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        await asyncio.sleep(0.01)
