"""One vrrp_script: when it runs and what its results mean.

Runs start at multiples of the interval after the first one, on the monotonic clock; one that
would start while the previous one is still active is skipped, so a script never overlaps itself.
A script that has not ended by its timeout counts as failed at that moment, even while it still
takes seconds to die.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable

from fastvrrp.config import model
from fastvrrp.track.runner import Runner
from fastvrrp.track.runner_wire import Outcome, Result
from fastvrrp.track.weights import RiseFall

log = logging.getLogger(__name__)

TIMEOUT_GRACE_NS = 100_000_000  # for the runner's own verdict to arrive after the timeout


def next_due_ns(due_ns: int, interval_ns: int, now_ns: int) -> int:
    """The first start after the one at `due_ns` that is not in the past."""
    behind_ns = max(now_ns - due_ns, 1)
    return due_ns + -(-behind_ns // interval_ns) * interval_ns


class ScriptTracker:
    """Runs one script for ever; `up` is None until the first result."""

    def __init__(
        self,
        definition: model.TrackScript,
        command: model.Command,
        runner: Runner,
        changed: Callable[[], None],
        *,
        clock: Callable[[], int],
        previous: ScriptTracker | None = None,
    ) -> None:
        """`command` is the definition's with its account filled in. `previous` is the tracker
        whose result to carry over: the same script before a reload."""
        self.definition = definition
        self.command = command
        self._runner = runner
        self._changed = changed
        self._clock = clock
        self._task: asyncio.Task[None] | None = None
        self._last: Result | None = None
        self._runs = 0
        self._running = False
        if previous is None:
            self._counter = RiseFall.initial(
                definition.rise, definition.fall, init_fail=definition.init_fail
            )
        else:
            self._counter = previous._counter.rescaled(definition.rise, definition.fall)
            self._last = previous._last
            self._runs = previous._runs

    @property
    def up(self) -> bool | None:
        return self._counter.up

    def start(self, delay_ns: int = 0) -> None:
        """Begin, with the first run after `delay_ns`."""
        self._task = asyncio.get_running_loop().create_task(
            self._loop(self._clock() + delay_ns), name=f"script {self.definition.name}"
        )

    async def stop(self) -> None:
        """End, killing a run that is active."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    def status(self) -> dict[str, object]:
        """For the control socket."""
        return {
            "kind": "script",
            "name": self.definition.name,
            "state": {None: "init", True: "up", False: "down"}[self.up],
            "command": list(self.command.argv),
            "interval_ns": self.definition.interval_ns,
            "timeout_ns": self.definition.timeout_ns,
            "weight": self.definition.weight,
            "reverse": self.definition.reverse,
            "rise": self.definition.rise,
            "fall": self.definition.fall,
            "counter": self._counter.result,
            "runs": self._runs,
            "running": self._running,
            "last_result": None if self._last is None else str(self._last),
            "last_duration_ns": None if self._last is None else self._last.duration_ns,
        }

    async def _loop(self, due_ns: int) -> None:
        while True:
            await asyncio.sleep(max(due_ns - self._clock(), 0) / model.NS_PER_S)
            await self._run_once()
            due_ns = next_due_ns(due_ns, self.definition.interval_ns, self._clock())

    async def _run_once(self) -> None:
        timeout_ns = self.definition.timeout_ns
        run = asyncio.ensure_future(self._runner.run(self.command, timeout_ns=timeout_ns))
        self._running = True
        try:
            await asyncio.wait({run}, timeout=(timeout_ns + TIMEOUT_GRACE_NS) / model.NS_PER_S)
            if run.done():
                self._record(run.result())
            else:
                # It ignores SIGTERM, or the runner itself is stuck: a failure all the same.
                self._record(Result(outcome=Outcome.TIMED_OUT, duration_ns=timeout_ns))
                await run
        finally:
            self._running = False
            if not run.done():
                run.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await run

    def _record(self, result: Result) -> None:
        name = self.definition.name
        before = self.up
        self._counter = self._counter.after(result.ok)
        self._runs += 1
        last_code = 0 if self._last is None else self._last.code  # success is not worth a line
        if result.outcome is Outcome.EXITED and result.code != last_code:
            log.info("Script `%s` now returning %d", name, result.code)
        self._last = result
        if self.up == before:
            return
        if self.up:
            log.info("VRRP_Script(%s) succeeded", name)
        elif result.outcome is Outcome.TIMED_OUT:
            log.warning("VRRP_Script(%s) timed_out", name)
        else:
            log.warning("VRRP_Script(%s) failed (%s)", name, result)
        self._changed()
