"""What the supervisor holds before it is loaded itself: early signals, and its first processes.

Nothing is imported here before the configuration is being read that its reader can do without.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from typing import TYPE_CHECKING

from fastvrrp.supervisor import fork
from fastvrrp.supervisor.reading import Reading, Wanted, start_reading

if TYPE_CHECKING:
    from fastvrrp.supervisor.roles import Role
    from fastvrrp.supervisor.spawn import Settings, Spawned

STOPS = (signal.SIGTERM, signal.SIGINT)
DUMPS: dict[int, str] = {
    signal.SIGUSR1: "data",
    signal.SIGUSR2: "stats",
    signal.SIGRTMIN + 2: "json",
    # keepalived also clears the counters then: two readers would disturb each other
    signal.SIGRTMAX - 1: "stats",
}
"""Signals that ask for a dump, and its kind."""


class EarlySignals:
    """Signals before the event loop handles them.

    Without handlers the kernel would end us at a SIGHUP or SIGUSR1 (signal(7)), and ignore a stop
    where we are process 1 of a container.

    A stop is only noted: as an exception it would get lost in a destructor, or come into the middle
    of an extension's C code, which need not expect one there (msgspec crashes).
    """

    def __init__(self, *, ignore_sigint: bool = False) -> None:
        self.waiting: list[int] = []  # each once: a reload or dumps, for whoever comes next
        self.stops = tuple(n for n in STOPS if not (ignore_sigint and n == signal.SIGINT))
        self.stopped = False
        self._at_once = False
        if ignore_sigint:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        for number in self.stops:
            signal.signal(number, self._stop)
        for other in (signal.SIGHUP, *DUMPS):
            signal.signal(other, self._arrived)

    def end_if_stopped(self) -> None:
        """Raises SystemExit after a stop."""
        if self.stopped:
            raise SystemExit(0)

    @contextlib.contextmanager
    def stop_at_once(self) -> Iterator[None]:
        """Here a stop raises SystemExit when it comes: we wait for others, perhaps for long."""
        try:
            self._at_once = True
            self.end_if_stopped()
            yield
        finally:
            self._at_once = False

    def _stop(self, number: int, frame: object) -> None:
        again, self.stopped = self.stopped, True
        if self._at_once and not again:  # a second one would interrupt the tidying up
            raise SystemExit(0)

    def _arrived(self, number: int, frame: object) -> None:
        if number not in self.waiting:
            self.waiting.append(number)


def one_processor() -> bool:
    """Nothing can run beside us, so nothing is late because of what is loaded before it begins."""
    return len(os.sched_getaffinity(0)) == 1


class Early:
    """Signals, and what was started early. Whoever takes something out answers for it then."""

    def __init__(self, *, ignore_sigint: bool = False) -> None:
        self.signals = EarlySignals(ignore_sigint=ignore_sigint)
        self.has_read = False
        self._reading: Reading | None = None
        self._child: Spawned | None = None
        self.role: Role | None = None  # of the child

    def read(self, wanted: Wanted) -> None:
        """What cannot be started now is tried again where it is needed, and reported there."""
        import fastvrrp.config.compact  # noqa: F401 (once, and for all three)

        self.has_read = True
        with contextlib.suppress(OSError):
            self._reading = start_reading(wanted, fork.launch)

    def spawn(self, settings: Settings) -> None:
        """As `read`."""
        from fastvrrp.supervisor.spawn import spawn

        self.role = settings.role
        with contextlib.suppress(OSError):
            self._child = spawn(settings, fork.launch)

    def take_reading(self) -> Reading | None:
        reading, self._reading = self._reading, None
        return reading

    def take_child(self, role: Role) -> Spawned | None:
        """The child, if it is one of this kind and nobody has taken it."""
        if role != self.role:
            return None
        child, self._child = self._child, None
        return child

    def discard_child(self) -> None:
        """It is in the wrong namespace, or not needed."""
        child, self._child = self._child, None
        if child is not None:
            child.discard()

    def close(self) -> None:
        self.discard_child()
        if (reading := self.take_reading()) is not None:
            reading.close()
