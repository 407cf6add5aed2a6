"""One health check as a program that is read from top to bottom: the model of core/check.pxi.

It keeps no flags: where it is in the text is its state.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

UP, DOWN, LOCAL = "up", "down", "local"


@dataclass(frozen=True)
class Config:
    delay_loop: int
    delay_before_retry: int
    retry: int
    steps: int = 1
    fast: bool = False
    http: bool = False


Life = Generator[tuple[int, int, str, int], str, None]


def life(c: Config) -> Life:
    """Yields (pause before the next attempt, its step, state, failures in a row that did not
    count), and is sent its verdict."""
    pause, state = 0, "unknown"
    failed_step = None
    while True:
        # on the way up
        if failed_step is None:
            step = 0
            while step < c.steps:
                verdict = yield pause, step, state, 0
                if verdict == DOWN:
                    failed_step = step
                    break
                pause = c.delay_loop
                if verdict == UP:
                    step += 1
                    if c.fast and step < c.steps:
                        pause = 0
        if failed_step is not None:
            state = DOWN
            pause = max(c.delay_loop, c.delay_before_retry) if c.http else c.delay_loop
            while True:
                verdict = yield pause, failed_step, state, 0
                if verdict == UP:
                    break
                pause = c.delay_loop
                if verdict == DOWN and c.http:
                    pause = max(c.delay_loop, c.delay_before_retry)
            failed_step = None
            pause = c.delay_loop
            if c.http:
                if c.fast:
                    pause = 0
                continue
        # up
        state = UP
        step = retries = 0
        while failed_step is None:
            verdict = yield pause, step, state, retries
            pause = c.delay_loop
            if verdict == UP:
                step = (step + 1) % c.steps
                retries = 0
            elif verdict == DOWN and retries < c.retry:
                retries += 1
                pause = c.delay_before_retry
            elif verdict == DOWN:
                failed_step = step
