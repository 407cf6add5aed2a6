"""Lives of a health check told by the machine and by its model, which must agree."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

from check_model import Config, life

from fastvrrp import _core
from fastvrrp.ipvs.checks.base import Verdict

S = 1_000_000_000
LOOP = 6 * S
RETRY = 2 * S
STATES = {"unknown": _core.CHECK_UNKNOWN, "up": _core.CHECK_UP, "down": _core.CHECK_DOWN}
VERDICTS = {"up": Verdict.UP, "down": Verdict.DOWN, "local": Verdict.LOCAL}


def made(config: Config, *, warmup: int = 0, kind: Any = _core.Check) -> Any:
    """The machine; `kind` is the class to be judged."""
    return kind(
        delay_loop_ns=config.delay_loop,
        delay_before_retry_ns=config.delay_before_retry,
        warmup_ns=warmup,
        retry=config.retry,
        steps=config.steps,
        fast_recovery=config.fast,
        http=config.http,
    )


def compare(config: Config, verdicts: tuple[str, ...], kind: Any = _core.Check) -> None:
    """The same life told by both; raises AssertionError where they part."""
    machine = made(config, kind=kind)
    model = life(config)
    _, step, state, failures = next(model)
    now = 1000 * S
    for number, verdict in enumerate(verdicts):
        seen = (machine.step, machine.state, machine.failures)
        assert seen == (step, STATES[state], failures), verdicts[:number]
        before = machine.state
        due, change = machine.result(VERDICTS[verdict], now)
        pause, step, state, failures = model.send(verdict)
        assert due == now + pause, verdicts[: number + 1]
        assert change == (machine.state if machine.state != before else 0), verdicts[: number + 1]
        now = due
    assert (machine.step, machine.state, machine.failures) == (step, STATES[state], failures)


def short_lives() -> Iterator[tuple[Config, tuple[str, ...]]]:
    """Every life of seven results, of all kinds of checks with up to three urls and two retries."""
    for steps, fast, retry in itertools.product(range(4), (False, True), range(3)):
        config = Config(LOOP, RETRY, retry, steps or 1, fast, http=bool(steps))
        for verdicts in itertools.product(VERDICTS, repeat=7):
            yield config, verdicts


def longer_lives() -> Iterator[tuple[Config, tuple[str, ...]]]:
    """Every life of eleven results without local problems; delay_before_retry is the longer one."""
    for retry, http in itertools.product(range(3), (False, True)):
        config = Config(LOOP, 2 * LOOP, retry, 2 if http else 1, http=http)
        for verdicts in itertools.product(("up", "down"), repeat=11):
            yield config, verdicts
