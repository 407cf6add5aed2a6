"""MISC_CHECK: a program says how the server is. It runs in the supervisor, see track/runner.py."""

from __future__ import annotations

import asyncio
import errno
import time

from fastvrrp.config.servers import MiscCheck
from fastvrrp.ipvs.checks.base import Done, Outcome, Surroundings, Verdict, detail
from fastvrrp.track.runner import Outcome as Ending
from fastvrrp.track.runner import Result, resolve

TIMEOUT_GRACE_NS = 100_000_000  # for the runner's own verdict to arrive after the timeout

# The program was not started for reasons that say nothing about it: no memory or processes, the
# supervisor is away or stopping, or has another configuration already.
_LOCAL = frozenset(
    {
        errno.EAGAIN,
        errno.ENOMEM,
        errno.EMFILE,
        errno.ENFILE,
        errno.ECONNRESET,
        errno.ECANCELED,
        errno.EPERM,
    }
)


def judge(result: Result, check: MiscCheck, latency_ns: int) -> Outcome:
    """What the end of the program means."""
    text = detail(str(result))
    match result.outcome:
        case Ending.EXITED if result.code == 0:
            return Outcome(Verdict.UP, text, latency_ns)
        case Ending.EXITED if check.dynamic and result.code >= 2:
            return Outcome(Verdict.UP, text, latency_ns, weight_is=result.code - 2)
        case Ending.FAILED if result.code in _LOCAL:
            return Outcome(Verdict.LOCAL, text, latency_ns)
        case Ending.TIMED_OUT:
            return Outcome(Verdict.DOWN, "timed out", latency_ns)
    return Outcome(Verdict.DOWN, text, latency_ns)


class MiscProbe:
    """See base.py. The program never overlaps itself, not even after a cancel."""

    __slots__ = (
        "_began_ns",
        "_check",
        "_command",
        "_done",
        "_loop",
        "_outlived",
        "_run",
        "_runner",
        "_timer",
    )

    steps = 1

    def __init__(self, check: MiscCheck, surroundings: Surroundings) -> None:
        assert surroundings.runner is not None
        self._check = check
        self._command = resolve(check.command, surroundings.script_account)
        self._loop = surroundings.loop
        self._runner = surroundings.runner
        self._done: Done | None = None
        self._run: asyncio.Task[Result] | None = None
        self._outlived = False  # the run has outlived its attempt and is being killed
        self._timer: asyncio.TimerHandle | None = None
        self._began_ns = 0

    def start(self, step: int, done: Done) -> None:
        """See Probe. A run that still dies has misc_timeout to do so before the new one begins."""
        assert self._done is None
        assert step == 0
        self._done = done
        self._began_ns = time.monotonic_ns()
        if self._run is None:
            self._execute()
        else:
            self._arm()

    def cancel(self) -> None:
        """See Probe. The program is killed, which may take the supervisor a moment."""
        self._forget()
        if self._run is not None:
            self._outlived = True
            self._run.cancel()

    def _execute(self) -> None:
        run = self._runner.run(self._command, timeout_ns=self._check.timeout_ns)
        self._run = self._loop.create_task(run, name=f"MISC_CHECK {self._command.argv[0]}")
        self._run.add_done_callback(self._ended)
        self._arm()

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        seconds = (self._check.timeout_ns + TIMEOUT_GRACE_NS) / 1e9
        self._timer = self._loop.call_later(seconds, self._late)

    def _ended(self, run: asyncio.Task[Result]) -> None:
        outlived, self._outlived, self._run = self._outlived, False, None
        if self._done is None:
            return
        if outlived:
            self._execute()
        elif not run.cancelled():
            self._end(judge(run.result(), self._check, self._latency_ns()))

    def _late(self) -> None:
        # It ignores SIGTERM, or the runner itself is stuck: a failure all the same.
        text = "timed out"
        if self._outlived:
            text = "the run before does not end"
        self._outlived = True
        self._end(Outcome(Verdict.DOWN, text, self._latency_ns()))

    def _latency_ns(self) -> int:
        return time.monotonic_ns() - self._began_ns

    def _forget(self) -> None:
        self._done = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _end(self, outcome: Outcome) -> None:
        done = self._done
        assert done is not None
        self._forget()
        done(outcome)
