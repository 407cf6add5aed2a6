"""The table in memory refuses and holds what the kernel's does, whatever is done to both."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from fastvrrp.ipvs.memory_table import MemoryTable
from fastvrrp.ipvs.netlink_table import NetlinkTable
from fastvrrp.ipvs.objects import (
    CHECKSUM,
    PERSISTENT,
    REMOTE_CHECKSUM,
    SINGLE_HOST,
    Daemon,
    Destination,
    DestinationKey,
    Method,
    Role,
    Service,
    ServiceKey,
    Tunnel,
    pack_address,
)
from fastvrrp.ipvs.table import Operation, Table, Verb
from looping import Run

ADDRESSES = ("192.0.2.1", "192.0.2.2", "2001:db8::1")
SERVERS = ("198.51.100.1", "127.0.0.1", "224.0.0.5", "0.0.0.0", "2001:db8::9", "fe80::1", "ff02::1")
SCHEDULERS = ("rr", "wlc", "sh", "mh", "lblc", "none", "nope", "")


def service_key(dice: random.Random) -> ServiceKey:
    if dice.random() < 0.3:
        return ServiceKey(dice.choice((4, 6)), 0, b"", 0, dice.choice((1, 2)))
    address = pack_address(dice.choice(ADDRESSES))
    family = 4 if len(address) == 4 else 6
    return ServiceKey(family, dice.choice((6, 17)), address, dice.choice((0, 80)))


def service(dice: random.Random, key: ServiceKey) -> Service:
    odd_masks = (0, 1, 64, 128, 129, 0xFFFFFF00)
    return Service(
        key,
        dice.choice(SCHEDULERS),
        dice.choice((0, 0, PERSISTENT, 0x3C)),
        dice.choice((0, 60)),
        SINGLE_HOST[key.family] if dice.random() < 0.7 else dice.choice(odd_masks),
        dice.choice(("", "", "", "sip", "nope")),
    )


def destination(dice: random.Random) -> Destination:
    address = pack_address(dice.choice(SERVERS))
    key = DestinationKey(4 if len(address) == 4 else 6, address, dice.choice((80, 0)))
    return Destination(
        key,
        dice.choice((0, 1, 2**31 - 1, 2**31)),
        dice.choice((Method.MASQUERADE, Method.TUNNEL, Method.TUNNEL, Method.DIRECT)),
        dice.choice((0, 0, 5)),
        dice.choice((0, 0, 0, 5, 6)),
        dice.choice((Tunnel.IPIP, Tunnel.IPIP, Tunnel.GUE, Tunnel.GRE)),
        dice.choice((0, 6080)),
        dice.choice((0, CHECKSUM, REMOTE_CHECKSUM)),
    )


def operation(dice: random.Random) -> Operation:
    key = service_key(dice)
    verb = dice.choices(tuple(Verb), weights=(4, 2, 1, 8, 4, 2))[0]
    if verb in (Verb.ADD_SERVICE, Verb.EDIT_SERVICE):
        return Operation(verb, key, service(dice, key))
    if verb is Verb.DELETE_SERVICE:
        return Operation(verb, key)
    return Operation(verb, key, None, destination(dice))


async def daemons(dice: random.Random, tables: Sequence[Table]) -> None:
    """Something about sync daemons; both say the same to it."""
    role = dice.choice(tuple(Role))
    daemon = Daemon(role, dice.choice(("eth0", "eth1", "nope")), 3, dice.choice((0, 1, 1400)))
    starts = dice.random() < 0.5
    answers = []
    for table in tables:
        try:
            await (table.start_daemon(daemon) if starts else table.stop_daemon(role))
        except OSError as error:
            answers.append(error.errno)
        else:
            answers.append(0)
    assert answers[0] == answers[1], (starts, daemon)
    assert await tables[0].daemons() == await tables[1].daemons()


@pytest.mark.parametrize("seed", range(6))
def test_both_say_and_hold_the_same(run: Run, table: NetlinkTable, seed: int) -> None:
    dice = random.Random(seed)
    memory = MemoryTable()

    async def scene() -> None:
        refused = 0
        for _ in range(25):
            operations = [operation(dice) for _ in range(dice.choice((1, 5, 40)))]
            failures = await memory.apply(operations)
            assert await table.apply(operations) == failures
            refused += len(failures)
            found, expected = await table.dump(), await memory.dump()
            assert found == expected
            for key, entry in found.items():
                assert list(entry.destinations) == list(expected[key].destinations)
            if dice.random() < 0.2:
                await daemons(dice, (table, memory))
            if dice.random() < 0.05:
                await table.flush()
                await memory.flush()
        assert refused > 20

    run(scene())
