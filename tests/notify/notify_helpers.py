"""A runner that records, and small builders, for the notification tests."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from fastvrrp.config import model
from fastvrrp.track.runner import Outcome, Result
from looping import FakeRunner, S


class Fake(FakeRunner):
    """Runs nothing: each program "runs" until released, or at once when `held` is False."""

    def __init__(self, *, held: bool = False) -> None:
        self.held = held
        self.started: list[tuple[str, ...]] = []
        self.ended: list[tuple[str, ...]] = []
        self.cancelled: list[tuple[str, ...]] = []
        self.timeouts_ns: list[int] = []
        self.readers: dict[int, tuple[str, ...]] = {}
        self.terminated: list[int] = []
        self._release = asyncio.Event()

    def release(self) -> None:
        """Let the programs that run now end."""
        self._release.set()
        self._release = asyncio.Event()

    async def program(self, command: model.Command, timeout_ns: int) -> Result:
        argv = command.argv
        self.started.append(argv)
        self.timeouts_ns.append(timeout_ns)
        try:
            if self.held:
                await asyncio.wait_for(self._release.wait(), timeout_ns / S)
        except TimeoutError:
            return Result(outcome=Outcome.TIMED_OUT)
        except asyncio.CancelledError:
            self.cancelled.append(argv)
            raise
        self.ended.append(argv)
        return Result(outcome=Outcome.EXITED)

    async def start(self, command: model.Command, *, extra_args: Sequence[str] = ()) -> int:
        handle = len(self.readers) + 1
        self.readers[handle] = (*command.argv, *extra_args)
        return handle

    async def terminate(self, handle: int, *, grace_ns: int = 0) -> None:
        self.terminated.append(handle)


def instance(name: str, notify: model.Notify | None = None) -> model.VrrpInstance:
    return model.VrrpInstance(
        name=name, virtual_router_id=1, family=4, version=2, notify=notify or model.Notify()
    )


def configuration(
    *instances: model.VrrpInstance,
    groups: Sequence[model.SyncGroup] = (),
    **defs: Any,
) -> model.Configuration:
    return model.Configuration(
        global_defs=model.GlobalDefs(**defs),
        vrrp_instances=instances,
        sync_groups=tuple(groups),
    )
