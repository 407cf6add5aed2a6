"""What the load balancer says on the event stream."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from balancing import SETTLE_S, Balancer, World, real, tcp, virtual
from jumping_time import run_virtually

from fastvrrp.config.servers import SorryServer
from fastvrrp.ipvs.memory_table import MemoryTable
from fastvrrp.ipvs.report import Reporter
from fastvrrp.supervisor.messages import InstanceState


class Heard:
    """The supervisor's side."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []

    def event(self, record: dict[str, Any]) -> None:
        self.events.append(record)

    def summary(self, text: str) -> None:
        pass

    def states(self, states: Sequence[InstanceState]) -> None:
        pass


class Count:
    virtual_servers = (1, 1)
    real_servers = (1, 1)


def listened(tmp_path: Path, world: World) -> tuple[Balancer, Heard]:
    heard = Heard()
    reporter = Reporter(heard, Count)
    reporter.subscribed = True
    it = Balancer(MemoryTable(), world, tmp_path)
    it.plane._tellers = (it.told, reporter)
    return it, heard


def servers(heard: Heard) -> list[tuple[str, bool, str]]:
    return [
        (event["server"], event["up"], event["reason"])
        for event in heard.events
        if event["kind"] == "server"
    ]


def test_a_server_that_starts_down_and_is(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """alpha: whoever listens hears of its first failure, as scripts and FIFOs do."""

    async def main() -> None:
        world = World()
        world.dead = {1}
        it, heard = listened(tmp_path, world)
        await it.start(virtual(1, real(1, tcp(1, alpha=True)), real(2)))
        await asyncio.sleep(SETTLE_S)
        one, two = "[10.0.0.1]:tcp:80", "[10.0.0.2]:tcp:80"
        assert servers(heard) == [(two, True, "start"), (one, False, "check")]
        # of a check that runs already: within the reload
        await it.reload(
            virtual(1, real(1, tcp(1, alpha=True)), real(2)),
            virtual(2, real(3, tcp(1, alpha=True)), real(4)),
        )
        assert ("[10.0.0.3]:tcp:80", False, "check") in servers(heard)
        world.dead = set()
        await asyncio.sleep(SETTLE_S)
        assert servers(heard)[-1][1:] == (True, "check")
        await it.stop()

    run_virtually(main())
    assert not [record for record in caplog.records if record.exc_info]


def test_every_kind(tmp_path: Path) -> None:
    async def main() -> None:
        world = World()
        it, heard = listened(tmp_path, world)
        sorry = SorryServer(address="10.0.0.200", port=80, family=4)
        await it.start(virtual(1, real(1), sorry_server=sorry))
        world.dead = {1}
        await asyncio.sleep(SETTLE_S)
        await it.reload(virtual(1, real(1, weight=3), sorry_server=sorry))
        kinds = [event["kind"] for event in heard.events]
        assert kinds == ["server", "quorum", "check", "server", "quorum", "sorry", "weight"]
        await it.stop()

    run_virtually(main())
