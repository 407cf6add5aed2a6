"""The state machine under virtual time: what concerns all instances at once.

Each figure includes the Python call and the list of actions it returns.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from fastvrrp import _core
from fastvrrp._core import Core, Instance

from .wire import GROUP, encode
from .workload import Maker, Workload

MS = 1_000_000
INTERVAL_NS = 100 * MS
PRIORITY = 100
PER_LINK = 255  # VRIDs of one family on a link
OWN = bytes((10, 0, 0, 2))
OTHER = bytes((10, 0, 0, 1))
# master down interval (RFC 9568 6.1): three intervals and the skew time
DOWN_NS = 3 * INTERVAL_NS + (256 - PRIORITY) * INTERVAL_NS // 256


def where(slot: int) -> tuple[int, int]:
    """(link, vrid) of an instance."""
    return slot // PER_LINK, slot % PER_LINK + 1


def vip(slot: int) -> bytes:
    link, vrid = where(slot)
    return bytes((10, 100 + link, 0, vrid))


def request(number: int) -> bytes:
    """A well-formed netlink message that is never sent."""
    return (20).to_bytes(4, "little") + bytes(12) + number.to_bytes(4, "little")


def instance(slot: int) -> Instance:
    link, vrid = where(slot)
    address = vip(slot)
    return Instance(
        slot=slot,
        vrid=vrid,
        family=4,
        version=3,
        priority=PRIORITY,
        advert_int_ns=INTERVAL_NS,
        link=link,
        source=OWN,
        destination=GROUP,
        addresses=[address],
        announce=_core.build_announcement(
            family=4, address=address, ifindex=link + 2, mac=bytes((2, 0, 0, 0, 0, 1))
        ),
        up=_core.pack_program([(request(slot), _core.OK_EXIST)]),
        down=_core.pack_program([(request(slot), _core.OK_GONE)]),
    )


@dataclass
class Router:
    """A core with its instances and its clock."""

    core: Core
    count: int
    now: int = 0

    @property
    def links(self) -> int:
        return math.ceil(self.count / PER_LINK)

    def states(self) -> set[int]:
        return {self.core.status(slot).state for slot in range(self.count)}


def backups(count: int) -> Router:
    router = Router(Core(instances=count, links=math.ceil(count / PER_LINK)), count)
    for link in range(router.links):
        router.core.link(link, ifindex=link + 2, up=True, now_ns=0)
    router.core.commit([instance(slot) for slot in range(count)], now_ns=0)
    return router


def masters(count: int) -> Router:
    router, programs = taking_over(count)
    for slot, generation in programs:
        router.core.played(slot, generation, now_ns=router.now)
    return router


def taking_over(count: int) -> tuple[Router, list[tuple[int, int]]]:
    """New masters, and (slot, generation) of the programs that have yet to be played."""
    router = backups(count)
    router.now = DOWN_NS + MS
    actions: list[Any] = list(router.core.tick(router.now))
    return router, [(action[1], action[3]) for action in actions if action[0] == "play"]


def adverts(count: int, priority: int) -> list[tuple[int, bytes]]:
    """(link, PDU) as another router would send them."""
    made = []
    for slot in range(count):
        link, vrid = where(slot)
        pdu = encode([vip(slot)], vrid, priority, INTERVAL_NS // (10 * MS), OTHER)
        made.append((link, pdu))
    return made


def names(actions: list[Any]) -> list[str]:
    return [action[0] for action in actions]


def tick_as_master(count: int) -> Workload:
    def run(router: Router) -> list[Any]:
        return router.core.tick(router.now + INTERVAL_NS)

    def check(actions: list[Any]) -> None:
        assert names(actions) == ["tx"] * count

    return Workload(
        f"advert due as master, {count} instances",
        "core",
        count,
        lambda: masters(count),
        run,
        check,
    )


def takeover(count: int) -> Workload:
    def run(router: Router) -> list[Any]:
        return router.core.tick(DOWN_NS + MS)

    def check(actions: list[Any]) -> None:
        made = names(actions)
        assert made.count("tx") == made.count("play") == count
        states = [a[1] for a in actions if a[0] == "event" and a[1].kind == _core.EV_STATE]
        assert [event.b for event in states] == [_core.MASTER] * count

    return Workload(f"takeover of {count}", "core", count, lambda: backups(count), run, check)


def link_flap(count: int) -> Workload:
    """Every link goes down and comes up: to FAULT and back to BACKUP."""

    def run(router: Router) -> tuple[Router, list[Any]]:
        actions = []
        for up in (False, True):
            for link in range(router.links):
                actions += router.core.link(link, ifindex=link + 2, up=up, now_ns=router.now)
        return router, actions

    def check(result: tuple[Router, list[Any]]) -> None:
        router, actions = result
        entered = [a[1].b for a in actions if a[0] == "event" and a[1].kind == _core.EV_STATE]
        assert entered == [_core.FAULT] * count + [_core.BACKUP] * count
        assert router.states() == {_core.BACKUP}

    return Workload(
        f"links down and up, {count} masters", "core", count, lambda: masters(count), run, check
    )


def commit(count: int) -> Workload:
    """The same records again over running masters: what a reload without changes costs."""

    def prepare() -> tuple[Router, list[Instance]]:
        return masters(count), [instance(slot) for slot in range(count)]

    def run(state: tuple[Router, list[Instance]]) -> Router:
        router, instances = state
        router.core.commit(instances, now_ns=router.now)
        return router

    def check(router: Router) -> None:
        assert router.states() == {_core.MASTER}

    return Workload(f"commit of {count} unchanged", "core", count, prepare, run, check)


MAKERS = [Maker(make, 8, (255, 4096)) for make in (tick_as_master, takeover, link_flap, commit)]
