"""What the prober thread checks: TCP_CHECK, and HTTP_GET without a pattern.

Commands to it, its events as reports.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from fastvrrp import _core
from fastvrrp.config.servers import Check, HttpCheck, TcpCheck
from fastvrrp.ipvs.checks.base import Outcome, Verdict
from fastvrrp.ipvs.checks.dial import describe
from fastvrrp.ipvs.checks.request import WORDS, requests, whole_wait
from fastvrrp.ipvs.objects import pack_address
from fastvrrp.ipvs.reports import STATES, Kind, Progress, Report, Tell

CHECKS_MAX = 200_000  # the prober's other places are for those it has not let go yet


PHASES = {_core.PHASE_SENDING: "sending", _core.PHASE_ANSWER: "answer"}


def takes(check: Check) -> bool:
    """Whether the prober can run it."""
    if isinstance(check, HttpCheck):
        return not check.tls and all(url.regex is None for url in check.urls)
    return isinstance(check, TcpCheck)


def outcome_of(said: _core.ProbeEvent | _core.ProbeStatus, timeout_ns: int) -> Outcome:
    """An attempt of the prober in the words of TcpProbe and HttpProbe."""
    return Outcome(Verdict(said.verdict), _detail(said, timeout_ns), said.latency_ns)


def _detail(said: _core.ProbeEvent | _core.ProbeStatus, timeout_ns: int) -> str:
    phase = PHASES.get(said.phase, "")
    if said.why == _core.WHY_STATUS:
        return f"status {said.error}"
    if said.why == _core.WHY_DIGEST:
        return f"digest {said.digest.hex()}"
    if said.why == _core.WHY_TIMEOUT:
        return f"{phase} timed out"
    if said.why == _core.WHY_DRIPPED:
        return f"{phase} not complete after {whole_wait(timeout_ns)}"
    if said.why != _core.WHY_ERROR:
        return WORDS[said.why]
    if not said.error:
        return "connected"
    text = describe(OSError(said.error, ""))
    return f"{phase}: {text}" if phase else text


class Connected:
    """One check that runs; see `reports.Running`."""

    __slots__ = ("_check", "_connects", "_handle", "_state", "_tell")

    def __init__(
        self, connects: Connects, handle: int, check: TcpCheck | HttpCheck, tell: Tell
    ) -> None:
        self._connects = connects
        self._handle = handle
        self._check = check
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
        outcome = self._outcome(s) if s.at_ns else None
        state = STATES[s.state]
        return Progress(state, s.suspended, outcome, s.at_ns, s.due_ns, s.failures, s.attempts)

    def event(self, e: _core.ProbeEvent) -> None:
        """What the prober says."""
        outcome = self._outcome(e)
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
            retry = self._check.schedule.retry
            failures = retry if known and s.state == _core.CHECK_DOWN else 0
            self._become(s.state, failures, self._outcome(s))

    def _outcome(self, said: _core.ProbeEvent | _core.ProbeStatus) -> Outcome:
        return outcome_of(said, self._check.connection.timeout_ns)

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
        """See `reports.Driver`. Raises TypeError for a check that it does not take."""
        if not isinstance(check, (TcpCheck, HttpCheck)) or not takes(check):
            raise TypeError(f"the prober runs no such {type(check).__name__}")
        connection, schedule = check.connection, check.schedule
        source = connection.bind_address
        more: dict[str, Any] = {}
        if isinstance(check, HttpCheck):
            more["urls"] = [
                (request, url.digest, url.status_codes)
                for request, url in zip(requests(check), check.urls, strict=True)
            ]
            more["fast_recovery"] = check.fast_recovery
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
            **more,
        )
        one = self._running[handle] = Connected(self, handle, check, tell)
        return one

    @contextmanager
    def together(self) -> Iterator[None]:
        """For whoever begins or ends many: the prober is woken once, when all are."""
        self.prober.hold()
        try:
            yield
        finally:
            self.prober.release()

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
