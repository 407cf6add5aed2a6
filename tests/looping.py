"""Event loops for tests of asynchronous parts, one of them with a time of its own, and a script
runner that runs nothing."""

from __future__ import annotations

import asyncio
import selectors
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import pytest
import uvloop

from fastvrrp.config import model
from fastvrrp.track.runner import Result

LIMIT_S = 60.0  # against what hangs; a busy machine takes its time
S = model.NS_PER_S

Run = Callable[[Coroutine[Any, Any, None]], None]


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    """Run a coroutine to its end on either event loop, with an overall limit."""
    factory = uvloop.new_event_loop if request.param == "uvloop" else asyncio.new_event_loop

    def run_it(coroutine: Coroutine[Any, Any, None]) -> None:
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(asyncio.wait_for(coroutine, LIMIT_S))

    return run_it


class _Jumping(selectors.DefaultSelector):
    """Does not wait for a time, but says that it is over."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            return super().select()
        ready = super().select(0)
        if not ready:
            self.now_s += max(timeout, 0.0)
        return ready


class Clockwork(asyncio.SelectorEventLoop):
    """Its time is 0 at first and passes only while there is nothing to do, at once then. So what
    happens within a few milliseconds does so however slow the machine is, and nobody waits. Not
    for what other threads and processes have a part in.
    """

    def __init__(self) -> None:
        self._jumping = _Jumping()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now_s


async def until(condition: Callable[[], object], limit_s: float = 3.0) -> None:
    """Return as soon as the condition holds; fail when it does not within the limit."""
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        await asyncio.sleep(0.005)


def command(*argv: str, account: model.Account | None = None) -> model.Command:
    return model.Command(argv=argv, account=account)


class FakeRunner:
    """Satisfies `track.runner.Runner`; a subclass says what happens to a program that is run."""

    async def program(self, command: model.Command, timeout_ns: int) -> Result:
        """The end of a program; `command` has the extra arguments in its argv."""
        raise NotImplementedError

    async def run(
        self,
        command: model.Command,
        *,
        timeout_ns: int,
        extra_args: Sequence[str] = (),
        wait: bool = True,
    ) -> Result:
        argv = (*command.argv, *extra_args)
        return await self.program(model.Command(argv=argv, account=command.account), timeout_ns)

    async def start(self, command: model.Command, *, extra_args: Sequence[str] = ()) -> int:
        raise AssertionError("nothing should be started")

    async def terminate(self, handle: int, *, grace_ns: int = 0) -> None:
        raise AssertionError("nothing was started")
