"""Whatever is changed by a reload: the table ends up as if the daemon had started with that."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import Any

import pytest
from balancing import SETTLE_S, Balancer, World, tcp, virtual
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jumping_time import run_virtually

from fastvrrp.config.servers import RealServer, ServiceAddress, SorryServer, VirtualServer
from fastvrrp.ipvs.memory_table import MemoryTable
from fastvrrp.ipvs.table import Operation, Verb

pytestmark = pytest.mark.computing

NUMBERS = st.integers(1, 4)
Schedules = st.fixed_dictionaries(
    {},
    optional={"alpha": st.booleans(), "retry": st.integers(0, 2), "delay_loop_ns": st.just(10**9)},
)


@st.composite
def real_servers(draw: Any) -> RealServer:
    number = draw(NUMBERS)
    checks = draw(st.lists(NUMBERS, max_size=3))
    schedule = draw(Schedules)
    return RealServer(
        address=f"10.0.0.{number}",
        port=80,
        family=4,
        weight=draw(st.integers(0, 3)),
        inhibit_on_failure=draw(st.booleans()),
        uthreshold=draw(st.sampled_from((0, 10))),
        checks=tuple(tcp(k, **schedule) for k in checks),
    )


@st.composite
def virtual_servers(draw: Any, number: int) -> VirtualServer:
    reals = draw(st.lists(real_servers(), max_size=4, unique_by=lambda one: one.address))
    sorry = draw(st.sampled_from((None, "10.0.0.1", "10.0.0.200")))
    values: dict[str, Any] = {
        "scheduler": draw(st.sampled_from(("rr", "wlc"))),
        "quorum": draw(st.integers(1, 4)),
        "hysteresis": 0,
        "persistence_timeout_s": draw(st.sampled_from((0, 300))),
    }
    if draw(st.booleans()):
        values["group"], values["name"] = f"G{number}", f"[G{number}]:0"
        values["services"] = tuple(
            ServiceAddress(family=4, fwmark=number * 10 + k) for k in range(draw(NUMBERS))
        ) or (ServiceAddress(family=4, fwmark=number * 10 + 9),)
    if sorry is not None:
        values["sorry_server"] = SorryServer(
            address=sorry, port=80, family=4, inhibit=draw(st.booleans())
        )
    return virtual(number, *reals, **values)


@st.composite
def configurations(draw: Any) -> tuple[VirtualServer, ...]:
    numbers = draw(st.lists(st.integers(1, 3), unique=True))
    return tuple(draw(virtual_servers(number)) for number in numbers)


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(configurations(), min_size=2, max_size=4),
    st.sets(NUMBERS),
)
def test_reloads_lead_where_a_start_leads(
    steps: list[tuple[VirtualServer, ...]], dead: set[int]
) -> None:
    async def main(directory: Path) -> None:
        world = World()
        world.dead = dead
        it = Balancer(MemoryTable(), world, directory)
        await it.start(*steps[0])
        for step in steps[1:]:
            await asyncio.sleep(SETTLE_S)
            it.table.log.clear()
            await it.reload(*step)
            check_gentle(it.table.log)
        await asyncio.sleep(SETTLE_S)
        fresh = Balancer(MemoryTable(), world, directory / "fresh")
        (directory / "fresh").mkdir()
        await fresh.start(*steps[-1])
        await asyncio.sleep(SETTLE_S)
        assert await it.table.dump() == await fresh.table.dump()
        assert not it.upkeep.refused
        assert it.upkeep.mended == 0
        up = sum(one.pool.up(key) for one in it.plane.running.values() for key in one.servers)
        assert it.plane.servers_up == up
        wanted = {one for running in it.plane.running.values() for one in running.subscribers()}
        assert all(it.plane.checks.view(one) is not None for one in wanted)
        await it.stop()
        await fresh.stop()
        assert await it.table.dump() == {}

    with tempfile.TemporaryDirectory() as directory:
        run_virtually(main(Path(directory)))


def check_gentle(log: list[Operation | str]) -> None:
    """Nothing is deleted to be added again: that would drop its connections."""
    added, deleted = set(), set()
    for one in log:
        assert isinstance(one, Operation)
        name = (one.key, one.destination.key if one.destination is not None else None)
        if one.verb in (Verb.ADD_SERVICE, Verb.ADD_DESTINATION):
            assert name not in deleted
            added.add(name)
        if one.verb in (Verb.DELETE_SERVICE, Verb.DELETE_DESTINATION):
            assert name not in added
            deleted.add(name)


@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.too_slow])
@given(configurations(), configurations(), st.sets(NUMBERS), st.booleans())
def test_a_crash_leads_where_a_reload_leads(
    before: tuple[VirtualServer, ...],
    after: tuple[VirtualServer, ...],
    dead: set[int],
    settled: bool,
) -> None:
    """The next process may start with another configuration, after any time."""

    async def main(directory: Path) -> None:
        world = World()
        world.dead = dead
        table = MemoryTable()
        first = Balancer(table, world, directory)
        await first.start(*before)
        await asyncio.sleep(SETTLE_S if settled else 0.5)
        await first.crash()
        table.log.clear()
        second = Balancer(table, world, directory)
        await second.start(*after)
        check_gentle(table.log)
        await asyncio.sleep(SETTLE_S)
        fresh = Balancer(MemoryTable(), world, directory / "fresh")
        (directory / "fresh").mkdir()
        await fresh.start(*after)
        await asyncio.sleep(SETTLE_S)
        assert await table.dump() == await fresh.table.dump()
        await second.stop()
        await fresh.stop()
        assert await table.dump() == {}

    with tempfile.TemporaryDirectory() as directory:
        run_virtually(main(Path(directory)))
