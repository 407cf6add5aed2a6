"""When what a change leaves behind is put into little memory: as soon as changes pause, and now and
then while they keep coming."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

LATEST_S = 5.0  # from the first of changes without a pause


class Settling:
    """Calls `settle` when the last change was `pause_s` ago, but once in LATEST_S while there is no
    such pause: what waits for the collector, and the interpreter's free lists, which only a full
    collection empties, would grow from each change to the next.

    `is_changing` tells of a change that has not ended: it is not interrupted, and calls `soon` when
    it ends, as it has to in any case.
    """

    def __init__(
        self,
        settle: Callable[[], object],
        pause_s: float,
        *,
        is_changing: Callable[[], bool] = lambda: False,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._settle = settle
        self._pause_s = pause_s
        self._is_changing = is_changing
        self._latest: float | None = None  # loop time; None: there is nothing to settle
        self._handle: asyncio.Handle | None = None

    def soon(self) -> None:
        """Something has changed."""
        now = self._loop.time()
        if self._latest is None:
            self._latest = now + LATEST_S
        if self._handle is not None:
            self._handle.cancel()
        due = min(now + self._pause_s, self._latest)
        if due > now:
            self._handle = self._loop.call_at(due, self._due)
        else:  # high time, and a timer's turn comes after that of a change that waits for this one
            self._handle = self._loop.call_soon(self._due)

    def _due(self) -> None:
        self._handle = None
        if not self._is_changing():
            self._latest = None
            self._settle()

    @property
    def is_due(self) -> bool:
        """Whether there is something that will be settled."""
        return self._latest is not None

    def close(self) -> None:
        """Nothing is settled any more, unless something changes."""
        self._latest = None
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
