"""Pools, checks and table together: what a failure, a reload, a crash and a stranger lead to."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from balancing import DELAY_S, SETTLE_S, Balancer, World, misc, place, real, tcp, virtual
from jumping_time import run_virtually

from fastvrrp.config.servers import (
    ServiceAddress,
    SorryServer,
    SyncDaemon,
    Timeouts,
    VirtualServer,
)
from fastvrrp.ipvs.journal import Contents
from fastvrrp.ipvs.memory_table import MemoryTable
from fastvrrp.ipvs.objects import Role, Service, ServiceKey
from fastvrrp.ipvs.pool import QuorumChanged, ServerChanged, Why
from fastvrrp.ipvs.table import Failure, Operation, Verb

A, B = "10.1.0.1:80", "10.1.0.2:80"
ONE, TWO, THREE = "10.0.0.1", "10.0.0.2", "10.0.0.3"
STRANGER = ServiceKey(4, 6, bytes((10, 9, 9, 9)), 80)


async def balancer(tmp_path: Path, world: World | None = None, **options: Any) -> Balancer:
    return Balancer(MemoryTable(), world or World(), tmp_path, **options)


def verbs(table: MemoryTable) -> list[Verb]:
    return [one.verb for one in table.log if isinstance(one, Operation)]


# ---------------------------------------------------------------------- life


def test_a_server_dies_and_returns(tmp_path: Path) -> None:
    async def main() -> None:
        world = World()
        it = await balancer(tmp_path, world)
        await it.start(virtual(1, real(1), real(2)))
        assert await it.shown() == {A: {ONE: 1, TWO: 1}}
        await asyncio.sleep(DELAY_S)
        world.dead = {2}
        await asyncio.sleep(SETTLE_S)
        assert await it.shown() == {A: {ONE: 1}}
        assert it.plane.servers_up == 1
        world.dead = set()
        await asyncio.sleep(SETTLE_S)
        assert await it.shown() == {A: {ONE: 1, TWO: 1}}
        changes = [(one.server.address, one.up) for one in it.told.of(ServerChanged)]
        assert changes == [(ONE, True), (TWO, True), (TWO, False), (TWO, True)]
        await it.stop()
        assert await it.shown() == {}

    run_virtually(main())


def test_one_check_behind_many_services_runs_once(tmp_path: Path) -> None:
    async def main() -> None:
        world = World()
        it = await balancer(tmp_path, world)
        await it.start(*(virtual(n, real(1), real(2)) for n in range(1, 21)))
        await asyncio.sleep(1 + 10 * DELAY_S - 1)
        assert world.asked == {1: 10, 2: 10}
        world.dead = {1}
        await asyncio.sleep(SETTLE_S)
        assert all(servers == {TWO: 1} for servers in (await it.shown()).values())
        await it.stop()

    run_virtually(main())


def test_the_weight_a_check_wishes(tmp_path: Path) -> None:
    async def main() -> None:
        world = World()
        world.weights = {1: 7}
        it = await balancer(tmp_path, world)
        await it.start(virtual(1, real(1, weight=3), real(2)))
        await asyncio.sleep(SETTLE_S)
        assert await it.shown() == {A: {ONE: 7, TWO: 1}}
        await it.reload(virtual(1, real(1, weight=5), real(2)))
        assert await it.shown() == {A: {ONE: 7, TWO: 1}}
        world.weights = {}
        await asyncio.sleep(SETTLE_S)
        assert await it.shown() == {A: {ONE: 5, TWO: 1}}
        await it.stop()

    run_virtually(main())


def test_the_sorry_server_takes_over(tmp_path: Path) -> None:
    async def main() -> None:
        world = World()
        it = await balancer(tmp_path, world)
        sorry = SorryServer(address="10.0.0.200", port=80, family=4)
        await it.start(virtual(1, real(1), sorry_server=sorry))
        world.dead = {1}
        await asyncio.sleep(SETTLE_S)
        assert await it.shown() == {A: {"10.0.0.200": 1}}
        quorum = [(one.up, one.why) for one in it.told.of(QuorumChanged)]
        assert quorum == [(True, Why.START), (False, Why.CHECK)]
        await it.stop()

    run_virtually(main())


def test_a_group_is_checked_once_and_served_everywhere(tmp_path: Path) -> None:
    async def main() -> None:
        world = World()
        it = await balancer(tmp_path, world)
        services = (
            ServiceAddress(family=4, address="10.1.0.1", count=2, port=80),
            ServiceAddress(family=4, fwmark=5),
        )
        group = virtual(1, real(1), real(2), name="[G]:0", group="G", services=services)
        await it.start(group)
        world.dead = {2}
        await asyncio.sleep(SETTLE_S)
        assert await it.shown() == {A: {ONE: 1}, B: {ONE: 1}, "FWM 5": {ONE: 1}}
        assert len(it.plane.checks) == 2
        await it.stop()

    run_virtually(main())


# ---------------------------------------------------------------------- reload


def test_a_reload_does_what_is_different_and_no_more(tmp_path: Path) -> None:
    async def main() -> None:
        world = World()
        it = await balancer(tmp_path, world)
        others = [virtual(n, real(1), real(2)) for n in range(2, 30)]
        await it.start(virtual(1, real(1), real(2)), *others)
        await asyncio.sleep(SETTLE_S)
        asked = dict(world.asked)
        it.table.log.clear()
        told = len(it.told.all)
        changes = await it.reload(virtual(1, real(1), real(2, weight=2)), *others)
        assert changes == [
            "virtual server [10.1.0.1]:tcp:80: real server [10.0.0.2]:tcp:80 weight 1 -> 2"
        ]
        assert verbs(it.table) == [Verb.EDIT_DESTINATION]
        assert (await it.shown())[A] == {ONE: 1, TWO: 2}
        assert world.asked == asked, "no check began anew"
        assert len(it.told.all) == told + 1  # WeightChanged
        await it.stop()

    run_virtually(main())


def test_a_reload_of_the_same_does_nothing(tmp_path: Path) -> None:
    async def main() -> None:
        it = await balancer(tmp_path)
        await it.start(virtual(1, real(1)), virtual(2, real(2)))
        await asyncio.sleep(SETTLE_S)
        it.table.log.clear()
        assert await it.reload(virtual(1, real(1)), virtual(2, real(2))) == []
        assert verbs(it.table) == []
        await it.stop()

    run_virtually(main())


def test_states_survive_a_reload(tmp_path: Path) -> None:
    async def main() -> None:
        world = World()
        world.dead = {2}
        it = await balancer(tmp_path, world)
        await it.start(virtual(1, real(1), real(2)))
        await asyncio.sleep(SETTLE_S)
        await it.reload(virtual(1, real(3), real(2, weight=5), real(1)), virtual(2, real(2)))
        assert await it.shown() == {A: {ONE: 1, THREE: 1}, B: {}}, "a failed server stays out"
        await it.stop()

    run_virtually(main())


def test_services_come_and_go(tmp_path: Path) -> None:
    async def main() -> None:
        it = await balancer(tmp_path)
        await it.start(virtual(1, real(1)))
        changes = await it.reload(virtual(2, real(2), real(3)))
        assert await it.shown() == {B: {TWO: 1, THREE: 1}}
        assert changes == [
            "virtual server [10.1.0.2]:tcp:80 added, 2 real servers",
            "virtual server [10.1.0.1]:tcp:80 removed",
        ]
        gone = [one for one in it.told.of(ServerChanged) if not one.up]
        assert [(one.server.address, one.why) for one in gone] == [(ONE, Why.REMOVED)]
        assert it.plane.servers_up == 2
        await it.reload()
        assert await it.shown() == {}
        assert len(it.plane.checks) == 0
        await it.stop()

    run_virtually(main())


def test_what_changes_is_edited_in_place(tmp_path: Path) -> None:
    """A service or destination that is deleted to be added again drops connections."""

    async def main() -> None:
        it = await balancer(tmp_path)
        await it.start(virtual(1, real(1), real(2)))
        it.table.log.clear()
        changes = await it.reload(
            virtual(1, real(1, uthreshold=9), real(2), scheduler="wlc", persistence_timeout_s=50)
        )
        assert verbs(it.table) == [Verb.EDIT_SERVICE, Verb.EDIT_DESTINATION]
        assert changes == [
            "virtual server [10.1.0.1]:tcp:80: scheduler rr -> wlc, "
            "persistence_timeout_s 0 -> 50, real server [10.0.0.1]:tcp:80 uthreshold 0 -> 9"
        ]
        await it.stop()

    run_virtually(main())


def test_checks_that_are_renewed_begin_anew(tmp_path: Path) -> None:
    async def main() -> None:
        world = World()
        world.dead = {2}
        it = await balancer(tmp_path, world)
        await it.start(virtual(1, real(1), real(2)))
        await asyncio.sleep(SETTLE_S)
        asked = dict(world.asked)
        same = it.plane.configuration
        await it.plane.reload(same, lambda check: check.connection.port == 2)  # type: ignore[union-attr]
        assert await it.shown() == {A: {ONE: 1}}, "what is known of servers stays"
        await asyncio.sleep(1.5)
        assert world.asked[2] == asked[2] + 1, "a second from now, as after a start"
        await it.stop()

    run_virtually(main())


# ---------------------------------------------------------------------- crash and others


def test_the_next_process_takes_the_table_over(tmp_path: Path) -> None:
    """Nothing is touched, and a server that had failed is not served again unchecked."""

    async def main() -> None:
        world = World()
        world.dead = {2}
        table = MemoryTable()
        first = Balancer(table, world, tmp_path)
        configured = (virtual(1, real(1), real(2), real(3)), virtual(2, real(1)))
        await first.start(*configured)
        await asyncio.sleep(SETTLE_S)
        before = await first.shown()
        assert before[A] == {ONE: 1, THREE: 1}
        await first.crash()
        table.log.clear()
        second = Balancer(table, world, tmp_path)
        await second.start(*configured)
        assert verbs(table) == []
        assert await second.shown() == before
        assert not [one for one in second.told.of(ServerChanged) if not one.up]
        world.dead = {1}
        await asyncio.sleep(SETTLE_S)
        assert await second.shown() == {A: {TWO: 1, THREE: 1}, B: {}}
        await second.stop()

    run_virtually(main())


def test_weights_that_checks_gave_outlive_a_crash(tmp_path: Path) -> None:
    """A server that is being emptied, weight 0, keeps its connections."""

    async def main() -> None:
        world = World()
        world.weights = {1: 0, 2: 7, 3: 0}
        table = MemoryTable()
        configured = virtual(
            1,
            real(1, misc(1), weight=5),
            real(2, tcp(4), misc(2), weight=3),
            real(3, misc(3), inhibit_on_failure=True),
            real(4, misc(4)),
        )
        first = Balancer(table, world, tmp_path)
        await first.start(configured)
        await asyncio.sleep(SETTLE_S)
        before = await first.shown()
        assert before == {A: {ONE: 0, TWO: 7, THREE: 0, "10.0.0.4": 1}}
        await first.crash()
        table.log.clear()
        second = Balancer(table, world, tmp_path)
        await second.start(configured)
        assert second.plane.running["[10.1.0.1]:tcp:80 TCP 4"].pool.live_weight == 8
        await asyncio.sleep(SETTLE_S)
        assert verbs(table) == []
        world.weights = {2: 6}
        await asyncio.sleep(SETTLE_S)
        assert await second.shown() == {A: {ONE: 5, TWO: 6, THREE: 1, "10.0.0.4": 1}}
        await second.stop()

    run_virtually(main())


@pytest.mark.parametrize("done", range(6))
def test_a_crash_while_the_table_is_filled(tmp_path: Path, done: int) -> None:
    """Who was not in it yet had not failed: the next process adds him."""

    class Dying(MemoryTable):
        async def apply(self, operations: Iterable[Operation]) -> list[Failure]:
            await super().apply(islice(operations, left.pop()))
            return await asyncio.get_running_loop().create_future()

    async def main() -> None:
        world = World()
        world.dead = {2}
        table = Dying()
        configured = (virtual(1, real(1), real(2)), virtual(2, real(3)))
        while left:  # it dies once more while the rest is added
            process = Balancer(table, world, tmp_path)
            starting = asyncio.create_task(process.start(*configured))
            await asyncio.sleep(0.1)
            starting.cancel()
            await process.crash()
        table.__class__ = MemoryTable
        last = Balancer(table, world, tmp_path)
        await last.start(*configured)
        assert await last.shown() == {A: {ONE: 1, TWO: 1}, B: {THREE: 1}}
        assert last.plane.servers_up == 3
        await asyncio.sleep(SETTLE_S)
        before = {A: {ONE: 1}, B: {THREE: 1}}
        assert await last.shown() == before
        await last.crash()
        again = Balancer(table, world, tmp_path)
        await again.start(*configured)
        assert await again.shown() == before
        await again.stop()

    left = [1, done]
    run_virtually(main())


def test_a_group_that_grew_while_nobody_ran(tmp_path: Path) -> None:
    async def main() -> None:
        world = World()
        world.dead = {2}
        addresses = [
            ServiceAddress(family=4, address=f"10.1.0.{number}", port=80) for number in (1, 2)
        ]

        def group(count: int) -> VirtualServer:
            services = tuple(addresses[:count])
            return virtual(1, real(1), real(2), name="[G]:0", group="G", services=services)

        table = MemoryTable()
        first = Balancer(table, world, tmp_path)
        await first.start(group(1))
        await asyncio.sleep(SETTLE_S)
        await first.crash()
        second = Balancer(table, world, tmp_path)
        await second.start(group(2))
        assert await second.shown() == {A: {ONE: 1}, B: {ONE: 1}}, "the failed one stays out"
        await second.stop()

    run_virtually(main())


def test_quorum_goes_on_after_a_crash(tmp_path: Path) -> None:
    async def main() -> None:
        world = World()
        world.dead = {1, 2}
        table = MemoryTable()
        sorry = SorryServer(address="10.0.0.200", port=80, family=4)
        configured = virtual(1, real(1), real(2, inhibit_on_failure=True), sorry_server=sorry)
        first = Balancer(table, world, tmp_path)
        await first.start(configured)
        await asyncio.sleep(SETTLE_S)
        before = await first.shown()
        assert before == {A: {TWO: 0, "10.0.0.200": 1}}
        await first.crash()
        table.log.clear()
        second = Balancer(table, world, tmp_path)
        await second.start(configured)
        await asyncio.sleep(SETTLE_S)
        assert verbs(table) == []
        assert await second.shown() == before
        await second.stop()

    run_virtually(main())


def test_what_a_crash_left_and_nobody_wants_is_removed(tmp_path: Path) -> None:
    async def main() -> None:
        table = MemoryTable()
        await table.apply([Operation(Verb.ADD_SERVICE, STRANGER, Service(STRANGER, "rr"))])
        first = Balancer(table, World(), tmp_path)
        await first.start(virtual(1, real(1)), virtual(2, real(2)))
        await first.crash()
        second = Balancer(table, World(), tmp_path)
        await second.start(virtual(2, real(2)))
        assert await second.shown() == {"10.9.9.9:80": {}, B: {TWO: 1}}
        await second.stop()
        assert await second.shown() == {"10.9.9.9:80": {}}
        assert second.journal.read() == Contents()

    run_virtually(main())


def test_a_service_of_somebody_else_with_our_address_is_adopted(tmp_path: Path) -> None:
    """Made by ipvsadm or keepalived before: its connections go on."""

    async def main() -> None:
        table = MemoryTable()
        key = ServiceKey(4, 6, bytes((10, 1, 0, 1)), 80)
        await table.apply([Operation(Verb.ADD_SERVICE, key, Service(key, "wlc"))])
        table.log.clear()
        it = Balancer(table, World(), tmp_path)
        await it.start(virtual(1, real(1)))
        assert verbs(table) == [Verb.EDIT_SERVICE, Verb.ADD_DESTINATION]
        await it.stop()
        assert await it.shown() == {}

    run_virtually(main())


def test_flush_leaves_nobody_else(tmp_path: Path) -> None:
    async def main() -> None:
        table = MemoryTable()
        await table.apply([Operation(Verb.ADD_SERVICE, STRANGER, Service(STRANGER, "rr"))])
        it = Balancer(table, World(), tmp_path)
        await it.start(virtual(1, real(1)), flush=True)
        assert await it.shown() == {A: {ONE: 1}}
        await it.stop()

    run_virtually(main())


def test_what_somebody_else_changes_is_put_right(tmp_path: Path) -> None:
    async def main() -> None:
        it = await balancer(tmp_path)
        await it.start(virtual(1, real(1), real(2)))
        key = next(iter(await it.table.dump()))
        destination = (await it.table.destinations([key]))[key][place(2)]
        gone = Operation(Verb.DELETE_DESTINATION, key, None, destination)
        assert not await it.table.apply([gone])
        await asyncio.sleep(15)
        assert await it.shown() == {A: {ONE: 1, TWO: 1}}
        assert it.upkeep.mended == 1
        await it.stop()

    run_virtually(main())


# ---------------------------------------------------------------------- addresses and instances


def test_checks_are_suspended_without_the_address(tmp_path: Path) -> None:
    async def main() -> None:
        world, here = World(), set[bytes]()
        it = await balancer(tmp_path, world, is_here=lambda address: address in here)
        address = bytes((10, 1, 0, 1))
        await it.start(virtual(1, real(1), ha_suspend=True), virtual(2, real(2)))
        world.dead = {1}
        await asyncio.sleep(SETTLE_S)
        assert 1 not in world.asked
        assert await it.shown() == {A: {ONE: 1}, B: {TWO: 1}}
        here.add(address)
        it.plane.address_changed(address)
        await asyncio.sleep(SETTLE_S)
        assert await it.shown() == {A: {}, B: {TWO: 1}}
        here.clear()
        it.plane.address_changed(address)
        asked = world.asked[1]
        world.dead = set()
        await asyncio.sleep(SETTLE_S)
        assert world.asked[1] == asked
        assert (await it.shown())[A] == {}, "what is known stays"
        await it.stop()

    run_virtually(main())


@pytest.mark.parametrize(
    ("states", "roles"),
    [
        (["MASTER"], {Role.MASTER}),
        (["BACKUP"], {Role.BACKUP}),
        (["BACKUP", "MASTER"], {Role.MASTER}),
        (["MASTER", "FAULT"], {Role.BACKUP}),
        (["MASTER", "STOPPED"], set()),
        ([], set()),
    ],
)
def test_the_sync_daemon_follows_its_instance(
    tmp_path: Path, states: list[str], roles: set[Role]
) -> None:
    async def main() -> None:
        it = await balancer(tmp_path)
        daemon = SyncDaemon(interface="eth0", instance="V1", id=5)
        await it.start(virtual(1, real(1)), sync_daemon=daemon)
        for state in states:
            await it.plane.instance_states({"V1": state, "V2": "MASTER"})
        assert set(await it.table.daemons()) == roles
        await it.stop()
        assert await it.table.daemons() == {}

    run_virtually(main())


def test_without_an_instance_both_sync_daemons_run(tmp_path: Path) -> None:
    async def main() -> None:
        it = await balancer(tmp_path)
        daemon = SyncDaemon(interface="eth0")
        await it.start(virtual(1, real(1)), sync_daemon=daemon, timeouts=Timeouts(tcp_s=77))
        assert set(await it.table.daemons()) == set(Role)
        assert (await it.table.timeouts()).tcp_s == 77
        await it.reload(virtual(1, real(1)))
        assert await it.table.daemons() == {}
        await it.stop()

    run_virtually(main())


def test_checks_of_one_server_have_all_to_succeed(tmp_path: Path) -> None:
    async def main() -> None:
        world = World()
        world.dead = {8}
        it = await balancer(tmp_path, world)
        await it.start(virtual(1, real(1, tcp(7), tcp(8), tcp(9))))
        await asyncio.sleep(SETTLE_S)
        assert await it.shown() == {A: {}}
        await it.reload(virtual(1, real(1, tcp(9), tcp(7))))
        assert await it.shown() == {A: {ONE: 1}}, "the one that failed is gone"
        await it.stop()

    run_virtually(main())
