"""What is said of checks that run, and the two contracts between who shares and who runs them."""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import NamedTuple, Protocol

from fastvrrp import _core
from fastvrrp.config.servers import Check
from fastvrrp.ipvs.checks.base import Outcome

STATES = {
    _core.CHECK_UNKNOWN: "unknown",
    _core.CHECK_UP: "up",
    _core.CHECK_DOWN: "down",
}


class Kind(enum.Enum):
    """What a Report is about."""

    STATE = "state"  # the check is up or down now, and was not before
    WEIGHT = "weight"  # still up, but it says another weight
    FAILURE = "failure"  # an attempt failed while up, and did not count
    LOCAL = "local"  # first attempt of a series that this host itself made impossible


class Report(NamedTuple):
    """News of a check."""

    kind: Kind
    up: bool  # the state now; False before there is one
    first: bool  # there was no state before
    retries: int  # attempts that had failed before this one, and did not count
    outcome: Outcome  # of the attempt that made the news


Tell = Callable[[Report], None]


class Progress(NamedTuple):
    """How far a check is."""

    state: str  # of STATES
    suspended: bool
    outcome: Outcome | None  # of the last attempt
    at_ns: int  # CLOCK_MONOTONIC, when that ended; 0: never
    due_ns: int  # CLOCK_MONOTONIC, of the next attempt; NEVER while one runs or it is suspended
    failures: int  # in a row, that did not count yet
    attempts: int


class Running(Protocol):
    """One check that runs."""

    def suspend(self) -> None:
        """No attempts; one under way is dropped, the state is kept."""
        ...

    def resume(self) -> None: ...

    def end(self) -> None:
        """Nothing is told any more."""
        ...

    def progress(self) -> Progress: ...


class Driver(Protocol):
    """Who runs checks of some kind."""

    def begin(self, check: Check, warmup_ns: int, suspended: bool, tell: Tell) -> Running:
        """Run a check; `tell` is called from the event loop, never from within a call of the
        result. `warmup_ns` replaces the check's own."""
        ...

    def stop(self) -> None:
        """After the end of all checks: leave the event loop."""
        ...
