"""A load balancer under test: the real parts over a table in memory, with a world of servers."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from jumping_time import now_ns

from fastvrrp.config import model, servers
from fastvrrp.config.base import NS_PER_S
from fastvrrp.config.servers import (
    Connection,
    FileCheck,
    MiscCheck,
    RealServer,
    Schedule,
    ServiceAddress,
    TcpCheck,
    VirtualServer,
)
from fastvrrp.ipvs.checks.base import Outcome, Verdict
from fastvrrp.ipvs.journal import Journal
from fastvrrp.ipvs.memory_table import MemoryTable
from fastvrrp.ipvs.objects import DestinationKey, ServiceKey, address_text
from fastvrrp.ipvs.plane import Plane
from fastvrrp.ipvs.pool import Action
from fastvrrp.ipvs.runner import Checks
from fastvrrp.ipvs.upkeep import Upkeep

DELAY_S = 6.0
SETTLE_S = 3 * DELAY_S + 10  # every check has come to a result, whatever it was before


class World:
    """Which servers answer, by number; and who was asked how often."""

    def __init__(self) -> None:
        self.dead: set[int] = set()
        self.weights: dict[int, int] = {}  # what a check says the weight is to be
        self.asked: dict[int, int] = {}

    def probe(self, check: servers.Check) -> Probe:
        assert isinstance(check, TcpCheck | FileCheck | MiscCheck)
        return Probe(self, check)


class Probe:
    """See checks.base.Probe; it asks the world."""

    steps = 1

    def __init__(self, world: World, check: TcpCheck | FileCheck | MiscCheck) -> None:
        self._world = world
        self.number = _number(check)
        self._handle: asyncio.Handle | None = None

    def start(self, step: int, done: Callable[[Outcome], None]) -> None:
        self._world.asked[self.number] = self._world.asked.get(self.number, 0) + 1
        loop = asyncio.get_running_loop()
        self._handle = loop.call_later(0.001, lambda: done(self._outcome()))

    def _outcome(self) -> Outcome:
        if self.number in self._world.dead:
            return Outcome(Verdict.DOWN, "dead", 1_000_000)
        return Outcome(
            Verdict.UP, "alive", 1_000_000, weight_is=self._world.weights.get(self.number)
        )

    def cancel(self) -> None:
        if self._handle is not None:
            self._handle.cancel()


def _number(check: TcpCheck | FileCheck | MiscCheck) -> int:
    match check:
        case TcpCheck():
            return check.connection.port
        case FileCheck():
            return check.weight
        case MiscCheck():
            return int(check.command.argv[0])


class Told:
    """Everything that was told, as (virtual server, action)."""

    def __init__(self) -> None:
        self.all: list[tuple[str, Action]] = []

    def tell(self, virtual_server: VirtualServer, actions: Sequence[Action]) -> None:
        self.all += [(virtual_server.name, action) for action in actions]

    def of(self, kind: type[Any]) -> list[Any]:
        return [action for _, action in self.all if isinstance(action, kind)]


class Balancer:
    """One process's part. Make it inside the running loop (`jumping_time`)."""

    def __init__(
        self,
        table: MemoryTable,
        world: World,
        directory: Path,
        *,
        is_here: Callable[[bytes], bool] = lambda address: True,
    ) -> None:
        self.table = table
        self.told = Told()
        self.journal = Journal(directory / "journal.ipvs")
        self.upkeep = Upkeep(table, self.journal)
        self.plane = Plane(
            self.upkeep,
            lambda listener: Checks(
                loop=asyncio.get_running_loop(),
                make_probe=world.probe,
                listener=listener,
                clock=now_ns,
                dice=random.Random(1),
            ),
            (self.told,),
            is_here=is_here,
            clock=now_ns,
        )

    async def start(self, *virtual_servers: VirtualServer, **ipvs: Any) -> Sequence[str]:
        left = self.journal.read().complete
        observed = await self.upkeep.start(flush=ipvs.get("flush", False))
        return await self.plane.start(configuration(*virtual_servers, **ipvs), left, observed)

    async def reload(self, *virtual_servers: VirtualServer, **ipvs: Any) -> Sequence[str]:
        return await self.plane.reload(configuration(*virtual_servers, **ipvs))

    async def crash(self) -> None:
        """The process is gone; its table stays."""
        self.plane.checks.stop()
        await self.upkeep.close()

    async def stop(self) -> None:
        self.plane.stop()
        await self.upkeep.clear()
        await self.upkeep.close()

    async def shown(self) -> dict[str, dict[str, int]]:
        """The table: weights by service and destination."""
        entries = await self.table.dump()
        return {
            _name(key): {
                address_text(name.address): destination.weight
                for name, destination in sorted(entry.destinations.items())
            }
            for key, entry in entries.items()
        }


def _name(key: ServiceKey) -> str:
    return f"FWM {key.fwmark}" if key.fwmark else f"{address_text(key.address)}:{key.port}"


def configuration(*virtual_servers: VirtualServer, **ipvs: Any) -> model.Configuration:
    return model.Configuration(ipvs=servers.Ipvs(virtual_servers=tuple(virtual_servers), **ipvs))


def tcp(number: int, **schedule: Any) -> TcpCheck:
    """Asks the world for the server of this number."""
    schedule.setdefault("delay_loop_ns", int(DELAY_S * NS_PER_S))
    schedule.setdefault("warmup_ns", 0)
    return TcpCheck(
        connection=Connection(address="192.0.2.1", port=number), schedule=Schedule(**schedule)
    )


def misc(number: int, **schedule: Any) -> MiscCheck:
    """A program that may say a weight."""
    return MiscCheck(
        command=model.Command(argv=(str(number),)),
        timeout_ns=NS_PER_S,
        dynamic=True,
        schedule=tcp(number, **schedule).schedule,
    )


def real(number: int, *checks: servers.Check, **values: Any) -> RealServer:
    """10.0.0.NUMBER, with one check of that number unless others are given."""
    made = checks or (tcp(number),)
    return RealServer(
        **{"address": f"10.0.0.{number}", "port": 80, "family": 4, "checks": made, **values}
    )


def virtual(number: int, *real_servers: RealServer, **values: Any) -> VirtualServer:
    """10.1.0.NUMBER, port 80, rr."""
    address = f"10.1.0.{number}"
    return VirtualServer(
        **{
            "name": f"[{address}]:tcp:80",
            "services": (ServiceAddress(family=4, address=address, port=80),),
            "scheduler": "rr",
            "real_servers": real_servers,
            **values,
        }
    )


def place(number: int) -> DestinationKey:
    return DestinationKey(4, bytes((10, 0, 0, number)), 80)
