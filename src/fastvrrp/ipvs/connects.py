"""TCP_CHECKs, as the prober thread runs them: commands to it, its events as reports."""

from __future__ import annotations

import asyncio
import random

from fastvrrp import _core
from fastvrrp.config.servers import Check, TcpCheck
from fastvrrp.ipvs.checks.base import Outcome, Verdict
from fastvrrp.ipvs.checks.dial import describe
from fastvrrp.ipvs.objects import pack_address
from fastvrrp.ipvs.reports import STATES, Kind, Progress, Report, Tell

CHECKS_MAX = 200_000  # the prober's other places are for those it has not let go yet


def outcome_of(verdict: int, error: int, latency_ns: int) -> Outcome:
    """An attempt of the prober in the words of TcpProbe."""
    detail = describe(OSError(error, "")) if error else "connected"
    return Outcome(Verdict(verdict), detail, latency_ns)


class Connected:
    """One check that runs; see `reports.Running`."""

    __slots__ = ("_connects", "_handle", "_retry", "_state", "_tell")

    def __init__(self, connects: Connects, handle: int, retry: int, tell: Tell) -> None:
        self._connects = connects
        self._handle = handle
        self._retry = retry
        self._tell = tell
        self._state = _core.CHECK_UNKNOWN  # that was told

    def suspend(self) -> None:
        """See `reports.Running`."""
        self._connects.prober.suspend(self._handle)

    def resume(self) -> None:
        """See `reports.Running`."""
        self._connects.prober.resume(self._handle, self._connects.random())

    def end(self) -> None:
        """See `reports.Running`."""
        self._connects.end(self._handle)

    def progress(self) -> Progress:
        """See `reports.Running`."""
        s = self._connects.prober.status(self._handle)
        outcome = outcome_of(s.verdict, s.error, s.latency_ns) if s.at_ns else None
        state = STATES[s.state]
        return Progress(state, s.suspended, outcome, s.at_ns, s.due_ns, s.failures, s.attempts)

    def event(self, e: _core.ProbeEvent) -> None:
        """What the prober says."""
        outcome = outcome_of(e.verdict, e.error, e.latency_ns)
        if e.change:
            self._become(e.change, e.failures, outcome)
        else:
            kind = Kind.LOCAL if outcome.verdict is Verdict.LOCAL else Kind.FAILURE
            self._tell(Report(kind, e.up, e.first, e.failures, outcome))

    def look(self) -> None:
        """Events were lost: tell what has become of it."""
        s = self._connects.prober.status(self._handle)
        if s.state != _core.CHECK_UNKNOWN:
            known = self._state != _core.CHECK_UNKNOWN
            failures = self._retry if known and s.state == _core.CHECK_DOWN else 0
            self._become(s.state, failures, outcome_of(s.verdict, s.error, s.latency_ns))

    def _become(self, state: int, failures: int, outcome: Outcome) -> None:
        if state == self._state:
            return  # seen before its event, after others were lost
        first = self._state == _core.CHECK_UNKNOWN
        self._state = state
        self._tell(Report(Kind.STATE, state == _core.CHECK_UP, first, failures, outcome))


class Connects:
    """See the module; a `reports.Driver`. Belongs to the thread of `loop`.

    The prober is started and stopped by whoever made it.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, prober: _core.Prober, *, dice: random.Random
    ) -> None:
        self.prober = prober
        self._loop = loop
        self._dice = dice
        self._running: dict[int, Connected] = {}
        loop.add_reader(prober.fileno(), self._events)

    def __len__(self) -> int:
        return len(self._running)

    def begin(self, check: Check, warmup_ns: int, suspended: bool, tell: Tell) -> Connected:
        """See `reports.Driver`. Raises TypeError for other checks than TCP_CHECK."""
        if not isinstance(check, TcpCheck):
            raise TypeError(f"the prober runs no {type(check).__name__}")
        connection, schedule = check.connection, check.schedule
        source = connection.bind_address
        handle = self.prober.add(
            pack_address(connection.address),
            connection.port,
            timeout_ns=connection.timeout_ns,
            delay_loop_ns=schedule.delay_loop_ns,
            delay_before_retry_ns=schedule.delay_before_retry_ns,
            warmup_ns=warmup_ns,
            retry=schedule.retry,
            random=self.random(),
            bind_address=None if source is None else pack_address(source),
            bind_port=connection.bind_port,
            bind_if=(connection.bind_if or "").encode(),
            fwmark=connection.fwmark,
            tell_failures=True,  # subscribers come and go, and want different things
            suspended=suspended,
        )
        one = self._running[handle] = Connected(self, handle, schedule.retry, tell)
        return one

    def stop(self) -> None:
        """See `reports.Driver`."""
        self._loop.remove_reader(self.prober.fileno())

    # ------------------------------------------------------------------ for Connected

    def random(self) -> int:
        return self._dice.getrandbits(32)

    def end(self, handle: int) -> None:
        if self._running.pop(handle, None) is not None:
            self.prober.remove(handle)

    # ------------------------------------------------------------------ events

    def _events(self) -> None:
        for event in self.prober.events():
            one = self._running.get(event.handle)
            if one is not None:
                one.event(event)
        if self.prober.overflowed():
            for one in list(self._running.values()):
                one.look()
