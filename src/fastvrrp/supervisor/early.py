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
    """

    def __init__(self, *, ignore_sigint: bool = False) -> None:
        self.waiting: list[int] = []  # each once: a reload or dumps, for whoever comes next
        self.stops = tuple(n for n in STOPS if not (ignore_sigint and n == signal.SIGINT))
        self.stopped = False  # a stop was asked for, whatever came of it
        self._deferred = False
        if ignore_sigint:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        for number in self.stops:
            signal.signal(number, self._stop)
        for other in (signal.SIGHUP, *DUMPS):
            signal.signal(other, self._arrived)

    @contextlib.contextmanager
    def stop_deferred(self) -> Iterator[None]:
        """A stop waits until the end: what is being made must not get lost half made."""
        self._deferred = True
        try:
            yield
        finally:
            self._deferred = False
        if self.stopped:
            raise SystemExit(0)

    def only_note(self) -> None:
        """From here on a stop ends nothing by itself: whoever calls this looks at `stopped`.

        What ends us is an exception, of which an event loop that is being made, or a callback of
        the interpreter's memory, makes a text for the log.
        """
        self._deferred = True

    def _stop(self, number: int, frame: object) -> None:
        again, self.stopped = self.stopped, True
        if not self._deferred and not again:  # a second one would interrupt the tidying up
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
        with self.signals.stop_deferred(), contextlib.suppress(OSError):
            self._reading = start_reading(wanted, fork.launch)

    def spawn(self, settings: Settings) -> None:
        """As `read`."""
        from fastvrrp.supervisor.spawn import spawn

        self.role = settings.role
        with self.signals.stop_deferred(), contextlib.suppress(OSError):
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
        self.signals.only_note()  # or it would end us half way
        self.discard_child()
        if (reading := self.take_reading()) is not None:
            reading.close()
