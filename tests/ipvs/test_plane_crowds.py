"""Thousands at once: news costs what has changed, not what there is."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from balancing import SETTLE_S, Balancer, World, real, tcp, virtual
from jumping_time import run_virtually

from fastvrrp.config.servers import ServiceAddress, VirtualServer
from fastvrrp.ipvs import plane, running
from fastvrrp.ipvs.checks.base import Outcome, Verdict
from fastvrrp.ipvs.memory_table import MemoryTable
from fastvrrp.ipvs.objects import Entries, pack_address
from fastvrrp.ipvs.reports import Kind, Report
from fastvrrp.ipvs.running import Subscriber

A = "10.1.0.1:80"
DEAD = Report(Kind.STATE, False, True, 0, Outcome(Verdict.DOWN, "dead", 1))


def test_many_failures_in_one_turn_are_one_wish(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All servers of a rack: what is wanted is worked out once, not for each of them."""
    made: list[VirtualServer] = []
    entries = running.entries

    def counted(virtual_server: VirtualServer, *wanted: object) -> Entries:
        made.append(virtual_server)
        return entries(virtual_server, *wanted)  # type: ignore[arg-type]

    async def main() -> None:
        it = Balancer(MemoryTable(), World(), tmp_path)
        await it.start(virtual(1, *(real(n) for n in range(1, 101))))
        monkeypatch.setattr(running, "entries", counted)
        [key] = it.plane.running
        for server in list(it.plane.running[key].servers)[:99]:
            it.plane._reported(Subscriber(key, server, 0), DEAD)
        await it.upkeep.settled()
        await asyncio.sleep(0.01)
        assert await it.shown() == {A: {"10.0.0.100": 1}}
        assert len(made) == 1
        await it.stop()
        assert await it.shown() == {}

    run_virtually(main())


def test_news_just_before_the_services_are_left_or_taken_away(tmp_path: Path) -> None:
    async def main() -> None:
        it = Balancer(MemoryTable(), World(), tmp_path)
        await it.start(virtual(1, real(1), real(2)), virtual(2, real(1)))
        first, second = it.plane.running
        [one, *_] = it.plane.running[first].servers
        it.plane._reported(Subscriber(first, one, 0), DEAD)
        it.plane._reported(Subscriber(second, one, 0), DEAD)
        await it.reload(virtual(1, real(1), real(2)))  # at once: the second one is gone
        assert await it.shown() == {A: {"10.0.0.2": 1}}
        two = list(it.plane.running[first].servers)[1]
        it.plane._reported(Subscriber(first, two, 0), DEAD)
        await it.stop()
        await asyncio.sleep(0.01)
        assert await it.shown() == {}

    run_virtually(main())


def test_a_reload_knows_what_a_shared_check_has_said(tmp_path: Path) -> None:
    """A server that is new, of which another virtual server's check says that it is dead: when the
    reload is over it is not served."""

    async def main() -> None:
        world = World()
        world.dead = {1}
        it = Balancer(MemoryTable(), world, tmp_path)
        await it.start(virtual(1, real(1), real(2)))
        await asyncio.sleep(SETTLE_S)
        assert await it.shown() == {A: {"10.0.0.2": 1}}
        await it.reload(virtual(1, real(1), real(2)), virtual(2, real(1), real(2)))
        assert (await it.shown())["10.1.0.2:80"] == {"10.0.0.2": 1}
        await it.stop()

    run_virtually(main())


def test_an_address_concerns_its_own_virtual_servers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ha_suspend: thousands that come together are thousands of steps, not millions."""
    looked: list[VirtualServer] = []
    here: set[bytes] = set()

    def address(number: int) -> bytes:
        return pack_address(f"10.1.0.{number}")

    def suspending(virtual_server: VirtualServer) -> bytes | None:
        looked.append(virtual_server)
        return running.suspending_address(virtual_server)

    async def main() -> None:
        world = World()
        it = Balancer(MemoryTable(), world, tmp_path, is_here=lambda one: one in here)
        several = [virtual(n, real(n), ha_suspend=True) for n in range(1, 101)]
        await it.start(*several)
        monkeypatch.setattr(plane, "suspending_address", suspending)
        for number in range(1, 101):
            here.add(address(number))
            it.plane.address_changed(address(number))
        assert len(looked) <= 100
        await asyncio.sleep(SETTLE_S)
        assert world.asked.keys() == set(range(1, 101))
        # two of the same address, one of them without ha_suspend by now, and a group
        udp = virtual(1, real(1, tcp(201)), protocol="UDP", ha_suspend=True)
        group = virtual(
            3,
            real(3, tcp(203)),
            group="g",
            services=(ServiceAddress(family=4, address="10.1.0.3", port=80),),
            ha_suspend=True,
        )
        await it.reload(several[0], udp, virtual(2, real(2)), group)
        here.clear()
        for number in range(1, 4):
            it.plane.address_changed(address(number))
        suspended = [one.suspended for one in it.plane.running.values()]
        assert suspended == [True, True, False, False]
        await it.stop()

    run_virtually(main())
