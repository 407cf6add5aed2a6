"""Desired against observed: few operations, in an order in which nothing is dropped."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from table_contract import D1, D2, K4, S4, destination, service_key

from fastvrrp.ipvs.memory_table import MemoryTable
from fastvrrp.ipvs.objects import (
    Daemon,
    Destination,
    Destinations,
    Entries,
    Entry,
    Method,
    Role,
    Service,
    ServiceKey,
)
from fastvrrp.ipvs.reconcile import daemon_matches, reconcile, reconcile_daemons
from fastvrrp.ipvs.table import Operation, Verb

K5 = service_key("192.0.2.5")


def entry(*destinations: Destination, service: Service = S4) -> Entry:
    return Entry(service, {made.key: made for made in destinations})


def verbs(operations: list[Operation]) -> list[str]:
    return [operation.verb.name for operation in operations]


def test_nothing_to_do() -> None:
    table = {K4: entry(D1, D2)}
    assert reconcile(table, {K4: entry(D2, D1)}, table) == []
    assert reconcile({}, {}, [K4]) == []


def test_one_weight_is_one_operation() -> None:
    have = {K4: entry(*(destination(port=n + 1) for n in range(500)))}
    heavier = destination(port=7, weight=9)
    want = {K4: Entry(S4, {**have[K4].destinations, heavier.key: heavier})}
    assert reconcile(want, have, want) == [Operation(Verb.EDIT_DESTINATION, K4, None, heavier)]


def test_a_new_service_comes_with_its_destinations_in_order() -> None:
    operations = reconcile({K4: entry(D1, D2)}, {}, [K4])
    assert operations == [
        Operation(Verb.ADD_SERVICE, K4, S4),
        Operation(Verb.ADD_DESTINATION, K4, None, D1),
        Operation(Verb.ADD_DESTINATION, K4, None, D2),
    ]


def test_what_is_not_ours_stays() -> None:
    have = {K4: entry(D1), K5: entry(D1)}
    assert reconcile({}, have, []) == []
    assert reconcile({}, have, [K5]) == [Operation(Verb.DELETE_SERVICE, K5)]
    assert reconcile({K4: entry(D2), K5: entry(D2)}, have, [K4]) == [
        Operation(Verb.ADD_DESTINATION, K4, None, D2),
        Operation(Verb.DELETE_DESTINATION, K4, None, D1),
    ]


def test_additions_come_before_removals() -> None:
    other = destination("198.51.100.9")
    have = {K4: entry(D1, D2), K5: entry(D1)}
    want = {K4: entry(other, D2._replace(weight=0), service=S4._replace(scheduler="rr"))}
    assert verbs(reconcile(want, have, [K5, K4])) == [
        "EDIT_SERVICE",
        "ADD_DESTINATION",
        "EDIT_DESTINATION",
        "DELETE_DESTINATION",
        "DELETE_SERVICE",
    ]


def test_everything_but_identity_is_edited() -> None:
    for change in (
        {"weight": 0},
        {"method": Method.DIRECT},
        {"method": Method.TUNNEL, "tunnel": 1, "tunnel_port": 9},
        {"uthreshold": 5},
    ):
        operations = reconcile({K4: entry(D1._replace(**change))}, {K4: entry(D1)}, [K4])
        assert verbs(operations) == ["EDIT_DESTINATION"]
    for more in ({"scheduler": "rr"}, {"flags": 1}, {"timeout_s": 9}, {"engine": "sip"}):
        service = S4._replace(**more)  # type: ignore[arg-type]
        assert verbs(reconcile({K4: entry(D1, service=service)}, {K4: entry(D1)}, [K4])) == [
            "EDIT_SERVICE"
        ]


# -- any table becomes any other

destinations = st.builds(
    destination,
    address=st.sampled_from(["198.51.100.1", "198.51.100.2", "198.51.100.3"]),
    port=st.sampled_from([80, 81]),
    weight=st.integers(0, 2),
)
entries = st.lists(destinations, max_size=4).map(lambda found: {d.key: d for d in found})
keys = st.sampled_from([service_key(f"192.0.2.{n}") for n in range(1, 6)])
tables = st.dictionaries(keys, st.tuples(st.sampled_from(["rr", "wlc"]), entries), max_size=5).map(
    lambda found: {
        key: Entry(Service(key, name), destinations) for key, (name, destinations) in found.items()
    }
)


async def having(wanted: Mapping[ServiceKey, Entry]) -> MemoryTable:
    table = MemoryTable()
    assert await table.apply(reconcile(wanted, {}, wanted)) == []
    return table


@settings(deadline=None, max_examples=300)
@given(have=tables, want=tables, ours=st.sets(keys))
def test_observed_becomes_desired(have: Entries, want: Entries, ours: set[ServiceKey]) -> None:
    async def scene() -> None:
        table = await having(have)
        table.log.clear()
        assert await table.apply(reconcile(want, await table.dump(), ours)) == []
        after = await table.dump()
        for key in have.keys() | want.keys():
            expected = want.get(key) if key in ours else have.get(key)
            assert after.get(key) == expected
        assert reconcile(want, after, ours) == []
        assert len(table.log) == differences(have, want, ours)

    asyncio.run(scene())


def differences(have: Entries, want: Entries, ours: set[ServiceKey]) -> int:
    """The least number of operations: one for each object that differs."""
    count = 0
    nothing: Destinations = {}
    for key in ours:
        old, new = have.get(key), want.get(key)
        count += (old.service if old else None) != (new.service if new else None)
        if new is not None:
            before, after = old.destinations if old else nothing, new.destinations
            count += sum(before.get(k) != after.get(k) for k in before.keys() | after.keys())
    return count


@settings(deadline=None, max_examples=200)
@given(have=entries, want=entries)
def test_a_service_with_servers_is_never_without_one(
    have: Destinations, want: Destinations
) -> None:
    """While some were there and some will be there."""

    async def scene() -> None:
        table = await having({K4: Entry(S4, have)})
        for operation in reconcile({K4: Entry(S4, want)}, {K4: Entry(S4, have)}, [K4]):
            await table.apply([operation])
            if have and want:
                assert (await table.destinations([K4]))[K4]

    asyncio.run(scene())


# -- sync daemons

MASTER = Daemon(Role.MASTER, "eth0", 5)
BACKUP = Daemon(Role.BACKUP, "eth0", 5)
RUNNING = {"maxlen": 1472, "group": bytes((224, 0, 0, 81)), "port": 8848, "ttl": 1}


def running(daemon: Daemon, **more: object) -> dict[Role, Daemon]:
    return {daemon.role: daemon._replace(**{**RUNNING, **more})}  # type: ignore[arg-type]


def test_a_daemon_that_runs_as_wanted_goes_on() -> None:
    assert reconcile_daemons({Role.MASTER: MASTER}, running(MASTER), {}) == ([], [])
    asked = {Role.MASTER: MASTER}
    assert reconcile_daemons({Role.MASTER: MASTER}, running(MASTER), asked) == ([], [])
    assert reconcile_daemons({}, {}, {}) == ([], [])


def test_the_other_role() -> None:
    assert reconcile_daemons({Role.BACKUP: BACKUP}, running(MASTER), {}) == (
        [Role.MASTER],
        [BACKUP],
    )
    both = {Role.MASTER: MASTER, Role.BACKUP: BACKUP}
    assert reconcile_daemons(both, {}, {}) == ([], [MASTER, BACKUP])
    assert reconcile_daemons({}, {**running(MASTER), **running(BACKUP)}, {}) == (
        [Role.MASTER, Role.BACKUP],
        [],
    )


@pytest.mark.parametrize(
    "change",
    [
        {"interface": "eth1"},
        {"id": 6},
        {"maxlen": 1000},
        {"group": bytes((224, 0, 0, 82))},
        {"port": 8849},
        {"ttl": 2},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_daemon_that_differs_is_started_anew(change: dict[str, object]) -> None:
    other = MASTER._replace(**change)  # type: ignore[arg-type]
    assert reconcile_daemons({Role.MASTER: other}, running(MASTER), {}) == (
        [Role.MASTER],
        [other],
    )
    # And back to the default, of which only what was asked for can tell
    found = running(other) if "maxlen" not in change else running(MASTER, maxlen=1000)
    assert reconcile_daemons({Role.MASTER: MASTER}, found, {Role.MASTER: other}) == (
        [Role.MASTER],
        [MASTER],
    )


def test_lengths_the_kernel_corrects() -> None:
    for role, group, asked, used in (
        (Role.BACKUP, b"", 1, 1024),
        (Role.MASTER, b"", 1, 1),
        (Role.MASTER, b"", 65507, 65507),
        (Role.MASTER, bytes.fromhex("ff02") + bytes(13) + b"\x01", 65507, 65487),
    ):
        want = Daemon(role, "eth0", maxlen=asked, group=group)
        group = group or bytes((224, 0, 0, 81))
        have = Daemon(role, "eth0", maxlen=used, group=group, port=8848, ttl=1)
        assert daemon_matches(want, have)
        assert not daemon_matches(want, have._replace(maxlen=used + 1))
