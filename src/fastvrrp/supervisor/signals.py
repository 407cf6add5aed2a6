"""The signals of the supervisor, collected from its first moment on."""

from __future__ import annotations

import asyncio
import signal
from typing import Protocol

from fastvrrp.supervisor.early import DUMPS, EarlySignals


class Receiver(Protocol):
    """Who gets the signals that do not stop us."""

    def on_signal(self, number: int) -> None: ...
    def on_child_end(self) -> None: ...


class Signals:
    """Collects signals from the start on; `connect` names who gets them, late ones first."""

    def __init__(self, early: EarlySignals) -> None:
        """`early` noted what arrived before, and goes on adding to it."""
        self._stop = asyncio.Event()
        self._waiting = early.waiting
        self._receiver: Receiver | None = None
        loop = asyncio.get_running_loop()
        for number in early.stops:
            loop.add_signal_handler(number, self._stop.set)
        for other in (signal.SIGHUP, *DUMPS):
            loop.add_signal_handler(other, self._arrived, other)
        loop.add_signal_handler(signal.SIGCHLD, self._child_ended)
        self._numbers = {*early.stops, signal.SIGHUP, *DUMPS, signal.SIGCHLD}
        if early.stopped:
            self._stop.set()

    def close(self) -> None:
        """Nothing is woken any more. asyncio closes what signals wake its loop by before it forgets
        them: whatever came in between, the end of an orphan say, left a traceback in the log.

        Nor does any of them end us: when asyncio has forgotten them, the kernel would do with them
        what it does with a program that knows none, and our PID files would be left.
        """
        signal.pthread_sigmask(signal.SIG_BLOCK, self._numbers)
        signal.set_wakeup_fd(-1)

    def connect(self, receiver: Receiver) -> None:
        # keepalived ignores a reload or dump until it is initialised; so do we with dumps, but
        # a reload asked for while starting would be lost for good.
        self._receiver = receiver
        if signal.SIGHUP in self._waiting:
            receiver.on_signal(signal.SIGHUP)
        self._waiting.clear()

    def _child_ended(self) -> None:
        if self._receiver is not None:
            self._receiver.on_child_end()

    def _arrived(self, number: int) -> None:
        if self._receiver is not None:
            self._receiver.on_signal(number)
        elif number not in self._waiting:
            self._waiting.append(number)

    @property
    def stopped(self) -> bool:
        return self._stop.is_set()

    def stop(self) -> None:
        self._stop.set()

    async def wait_stop(self) -> None:
        await self._stop.wait()
