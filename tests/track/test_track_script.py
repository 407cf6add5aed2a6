"""Scheduling of tracked scripts, with a runner whose results the test decides."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from track_helpers import MakeScript

from fastvrrp.config import model
from fastvrrp.supervisor.runner import Executor
from fastvrrp.track.runner import Outcome, Result
from fastvrrp.track.script import ScriptTracker, next_due_ns
from looping import FakeRunner, Run, S, command, until

MS = 1_000_000


class Fake(FakeRunner):
    """A runner with a fixed duration and a list of exit statuses, the last one repeated."""

    def __init__(self, codes: Sequence[int], duration_s: float = 0.0) -> None:
        self.codes = list(codes)
        self.duration_s = duration_s
        self.starts: list[float] = []
        self.active = 0
        self.most_active = 0
        self.cancelled = 0

    async def program(self, command: model.Command, timeout_ns: int) -> Result:
        self.starts.append(time.monotonic())
        self.active += 1
        self.most_active = max(self.most_active, self.active)
        try:
            await asyncio.sleep(self.duration_s)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.active -= 1
        code = self.codes.pop(0) if len(self.codes) > 1 else self.codes[0]
        return Result(outcome=Outcome.EXITED, code=code)


def tracker(
    runner: object, log: list[bool | None] | None = None, **changes: object
) -> ScriptTracker:
    values: dict[str, object] = {
        "name": "s",
        "command": command("/x"),
        "interval_ns": 20 * MS,
        "timeout_ns": S,
    }
    definition = model.TrackScript(**{**values, **changes})  # type: ignore[arg-type]

    def changed() -> None:
        if log is not None:
            log.append(made.up)

    made = ScriptTracker(
        definition,
        definition.command,
        runner,  # type: ignore[arg-type]
        changed,
        clock=time.monotonic_ns,
    )
    return made


@given(st.integers(0, 10**12), st.integers(1, 10**10), st.integers(-(10**10), 10**12))
def test_next_start_is_the_first_multiple_that_is_not_past(
    due: int, interval: int, late: int
) -> None:
    now = due + late
    following = next_due_ns(due, interval, now)
    assert (following - due) % interval == 0
    assert following > due
    assert following >= now
    assert following - interval == due or following - interval < now


def test_rise_and_fall_with_fractional_interval(run: Run) -> None:
    async def scene() -> None:
        fake = Fake([0, 1, 1, 0, 1, 1, 1, 0, 0, 0])
        log: list[bool | None] = []
        one = tracker(fake, log, rise=2, fall=3)
        assert one.up is None
        one.start()
        await until(lambda: len(fake.starts) >= 10)
        await one.stop()
        # The first result decides; two failures are forgiven, the third is not; two successes.
        assert log == [True, False, True]
        # Nine starts at multiples of 20 ms after the first, which alone may have been late.
        assert fake.starts[9] - fake.starts[0] >= 8 * 0.02

    run(scene())


def test_init_fail_needs_rise_successes(run: Run) -> None:
    async def scene() -> None:
        fake = Fake([0])

        class Log(list[bool | None]):
            def append(self, up: bool | None) -> None:
                super().append(up)
                starts.append(len(fake.starts))

        starts: list[int] = []
        log = Log()
        one = tracker(fake, log, rise=3, init_fail=True)
        assert one.up is False
        one.start()
        await until(lambda: len(fake.starts) > 3)
        assert (log, starts) == ([True], [3])
        await one.stop()

    run(scene())


def test_slow_script_never_overlaps(run: Run) -> None:
    async def scene() -> None:
        fake = Fake([0], duration_s=0.05)
        one = tracker(fake)
        one.start()
        await until(lambda: len(fake.starts) >= 4)
        await one.stop()
        assert fake.most_active == 1
        gaps = [b - a for a, b in zip(fake.starts, fake.starts[1:], strict=False)]
        assert 0.045 < min(gaps) < 0.2  # the third 20 ms slot

    run(scene())


def test_stop_cancels_the_run(run: Run) -> None:
    async def scene() -> None:
        fake = Fake([0], duration_s=30)
        one = tracker(fake, timeout_ns=60 * S)
        one.start()
        await until(lambda: fake.active)
        await one.stop()
        assert (fake.active, fake.cancelled) == (0, 1)
        assert one.up is None

    run(scene())


def test_hanging_runner_counts_as_failure_at_the_deadline(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    async def scene() -> None:
        fake = Fake([0], duration_s=1.0)
        log: list[bool | None] = []
        one = tracker(fake, log, timeout_ns=50 * MS)
        one.start()
        start = time.monotonic()
        await until(lambda: log)
        assert log == [False]
        assert 0.1 < time.monotonic() - start < 0.9
        assert len(fake.starts) == 1
        # The late success of the same run is not counted.
        await until(lambda: len(fake.starts) == 2)
        assert log == [False]
        await one.stop()

    run(scene())
    assert "VRRP_Script(s) timed_out" in caplog.text


def test_exit_statuses_are_told_when_they_change(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    """keepalived's lines: none for a first success, one for each other status."""
    caplog.set_level("INFO")

    async def scene() -> None:
        fake = Fake([0, 0, 1, 1, 2, 0, 0, 0])
        one = tracker(fake, fall=9)
        one.start()
        await until(lambda: len(fake.starts) > 8)
        await one.stop()

    run(scene())
    lines = [r.getMessage() for r in caplog.records if "now returning" in r.getMessage()]
    assert lines == [f"Script `s` now returning {code}" for code in (1, 2, 0)]


def test_real_script(run: Run, make_script: MakeScript, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")

    async def scene() -> None:
        executor = Executor()
        log: list[bool | None] = []
        one = tracker(executor, log, command=command(make_script("exit 2")))
        one.start()
        await until(lambda: log)
        await one.stop()
        assert log == [False]
        status = one.status()
        assert (status["state"], status["last_result"]) == ("down", "exited with status 2")
        await executor.close()

    run(scene())
    assert "Script `s` now returning 2" in caplog.text
    assert "VRRP_Script(s) failed (exited with status 2)" in caplog.text
