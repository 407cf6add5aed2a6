"""The state machine per kind of event that concerns one instance, under virtual time.

Each figure includes the Python call and the list of actions it returns.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastvrrp import _core

from .core import (
    MS,
    OTHER,
    PRIORITY,
    Router,
    adverts,
    backups,
    masters,
    names,
    taking_over,
)
from .wire import GROUP
from .workload import Maker, Workload

WEIGHT = -30
Check = Callable[[Router], None]


def heard(what: str, priority: int, prepare: Callable[[int], Router], check: Check) -> Maker:
    """One advert of another router for every instance; `what` says which and where."""

    def make(count: int) -> Workload:
        packets = adverts(count, priority)

        def run(router: Router) -> Router:
            core, now = router.core, router.now + MS
            for link, pdu in packets:
                core.packet(pdu, link=link, source=OTHER, destination=GROUP, ttl=255, now_ns=now)
            return router

        name = f"{what}, {count} instances"
        return Workload(name, "core", count, lambda: prepare(count), run, check)

    return Maker(make, 8, (255, 4096))


def damaged(count: int) -> Workload:
    """Adverts whose checksum is wrong."""
    packets = [
        (link, bytes((*pdu[:6], pdu[6] ^ 0x55, *pdu[7:]))) for link, pdu in adverts(count, 200)
    ]

    def run(router: Router) -> Router:
        core = router.core
        for link, pdu in packets:
            core.packet(pdu, link=link, source=OTHER, destination=GROUP, ttl=255, now_ns=MS)
        return router

    def check(router: Router) -> None:
        for slot in range(count):
            counters = router.core.status(slot).counters
            assert (counters["checksum_err"], counters["advert_rcvd"]) == (1, 0)

    name = f"advert with a wrong checksum, {count} instances"
    return Workload(name, "core", count, lambda: backups(count), run, check)


def follows(router: Router) -> None:
    """Everybody is backup of the router that was heard."""
    assert router.states() == {_core.BACKUP}
    for slot in range(router.count):
        status = router.core.status(slot)
        assert status.counters["advert_rcvd"] == 1
        assert status.master_address == OTHER


def waits_for_skew(router: Router) -> None:
    for slot in range(router.count):
        status = router.core.status(slot)
        assert status.state == _core.BACKUP
        assert status.next_due_ns == router.now + MS + status.skew_time_ns


def stays_master(router: Router) -> None:
    assert router.states() == {_core.MASTER}
    for slot in range(router.count):
        assert router.core.status(slot).counters["advert_rcvd"] == 1


def yields(router: Router) -> None:
    assert router.states() == {_core.BACKUP}
    for slot in range(router.count):
        assert router.core.status(slot).master_address == OTHER


def weighed(count: int) -> Workload:
    """Trackers change the priority of every master."""

    def run(router: Router) -> Router:
        for slot in range(count):
            router.core.adjust(slot, WEIGHT, now_ns=router.now)
        return router

    def check(router: Router) -> None:
        for slot in range(count):
            assert router.core.status(slot).effective_priority == PRIORITY + WEIGHT

    name = f"tracked weight changes, {count} masters"
    return Workload(name, "core", count, lambda: masters(count), run, check)


def failed(count: int) -> Workload:
    """A tracked script fails: every master goes to FAULT."""

    def run(router: Router) -> tuple[Router, list[Any]]:
        actions: list[Any] = []
        for slot in range(count):
            actions += router.core.fault(slot, set=_core.FAULT_SCRIPT, now_ns=router.now)
        return router, actions

    def check(result: tuple[Router, list[Any]]) -> None:
        router, actions = result
        assert router.states() == {_core.FAULT}
        assert names(actions).count("play") == count

    name = f"fault, {count} masters"
    return Workload(name, "core", count, lambda: masters(count), run, check)


def played(count: int) -> Workload:
    """The kernel has taken the addresses of every new master: they are announced."""

    def run(state: tuple[Router, list[tuple[int, int]]]) -> list[Any]:
        router, programs = state
        actions: list[Any] = []
        for slot, generation in programs:
            actions += router.core.played(slot, generation, now_ns=router.now)
        return actions

    def check(actions: list[Any]) -> None:
        assert names(actions).count("announce") == count

    name = f"addresses are in the kernel, {count} new masters"
    return Workload(name, "core", count, lambda: taking_over(count), run, check)


def replayed(count: int) -> Workload:
    """Somebody has deleted an address of every master: it is asked for again."""

    def run(router: Router) -> list[Any]:
        actions: list[Any] = []
        for slot in range(count):
            actions += router.core.replay(slot, now_ns=router.now)
        return actions

    def check(actions: list[Any]) -> None:
        assert [(a[0], a[2]) for a in actions] == [("play", _core.P_UP)] * count

    name = f"an address was deleted, {count} masters"
    return Workload(name, "core", count, lambda: masters(count), run, check)


def stopped(count: int) -> Workload:
    def run(router: Router) -> list[Any]:
        actions: list[Any] = []
        for slot in range(count):
            actions += router.core.stop(slot, now_ns=router.now)
        return actions

    def check(actions: list[Any]) -> None:
        assert [action[2] for action in actions if action[0] == "tx"] == [0] * count
        assert names(actions).count("play") == count

    return Workload(f"stop of {count} masters", "core", count, lambda: masters(count), run, check)


MAKERS = [
    heard("advert heard as backup", 200, backups, follows),
    heard("priority 0 heard as backup", 0, backups, waits_for_skew),
    heard("lower priority heard as master", PRIORITY - 1, masters, stays_master),
    heard("higher priority heard as master", PRIORITY + 1, masters, yields),
    *(
        Maker(make, 8, (255, 4096))
        for make in (damaged, weighed, failed, played, replayed, stopped)
    ),
]
