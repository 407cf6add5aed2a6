"""FILE_CHECK: what a tracked file says about a real server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from fastvrrp.config.servers import FileCheck
from fastvrrp.ipvs.checks.base import Done, Outcome, Surroundings, Verdict

FAULT = -(2**31)  # a product this low, and any lower, fails the server


def judge(value: int, check: FileCheck) -> Outcome:
    """What a value means. With weight 0 it decides alone and changes no weight."""
    if check.weight == 0:
        up = (value == 0) != check.reverse
        return Outcome(Verdict.UP if up else Verdict.DOWN, f"value {value}", 0)
    product = value * (-check.weight if check.reverse else check.weight)
    if product <= FAULT:
        return Outcome(Verdict.DOWN, f"value {value}, weight {product}", 0)
    return Outcome(Verdict.UP, f"value {value}, weight {product:+}", 0, product)


class FileProbe:
    """See base.py, FollowingProbe. The file was read before: an attempt only looks at its value."""

    __slots__ = ("_changed", "_check", "_files", "_loop", "_soon")

    steps = 1

    def __init__(self, check: FileCheck, surroundings: Surroundings) -> None:
        assert surroundings.files is not None
        self._check = check
        self._files = surroundings.files
        self._loop = surroundings.loop
        self._soon: asyncio.Handle | None = None
        self._changed: Callable[[], None] | None = None

    def start(self, step: int, done: Done) -> None:
        """See Probe."""
        assert self._soon is None
        assert step == 0
        self._soon = self._loop.call_soon(self._look, done)

    def cancel(self) -> None:
        """See Probe."""
        if self._soon is not None:
            self._soon.cancel()
            self._soon = None

    def follow(self, changed: Callable[[], None] | None) -> None:
        """See FollowingProbe."""
        if self._changed is not None:
            self._files.unfollow(self._check.track_file, self._changed)
        self._changed = changed
        if changed is not None:
            self._files.follow(self._check.track_file, changed)

    def _look(self, done: Done) -> None:
        self._soon = None
        value = self._files.value(self._check.track_file)
        if value is None:
            done(Outcome(Verdict.LOCAL, f"no track_file {self._check.track_file}", 0))
        else:
            done(judge(value, self._check))
