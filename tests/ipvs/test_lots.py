"""Real servers that arrive as lots come to the same as one by one."""

from __future__ import annotations

from typing import Any

import pytest
from pool_making import check, key, rs, sorry, vs

from fastvrrp.config.packing import Packer, Unpacker
from fastvrrp.config.servers import Forwarding, Lot, RealServer, Servers, VirtualServer
from fastvrrp.ipvs.pool import Pool
from fastvrrp.ipvs.services import entries

POOLS: dict[str, VirtualServer] = {
    "alike": vs(*[rs(n, weight=3) for n in (1, 2, 3)]),
    "two lots": vs(*[rs(n, weight=2 if n > 2 else 1) for n in (1, 2, 3, 4)]),
    "down": vs(rs(1), rs(2), *[rs(n, check(alpha=True)) for n in (3, 4)]),
    "inhibited": vs(*[rs(n, check(alpha=True), inhibit_on_failure=True) for n in (1, 2)]),
    "quorum": vs(rs(1, weight=9), rs(2, weight=9), rs(3), quorum=19),
    "too much": vs(*[rs(n, weight=1 << 31) for n in (1, 2)]),
    "sorry": vs(rs(1), rs(2), rs(3, weight=0), sorry_server=sorry(inhibit=True)),
    "DR": vs(*[rs(n, forwarding=Forwarding(method="DR"), uthreshold=7) for n in (1, 2)]),
}


def arrived(virtual_server: VirtualServer) -> VirtualServer:
    return Unpacker().unpack(Packer().pack(virtual_server))


def lots(virtual_server: VirtualServer) -> list[Lot]:
    real_servers: Any = virtual_server.real_servers
    assert isinstance(real_servers, Servers)
    return [part for part in real_servers.parts if isinstance(part, Lot)]


@pytest.mark.parametrize("name", POOLS)
def test_the_same_pool_and_the_same_table(name: str) -> None:
    one_by_one = POOLS[name]
    together = arrived(one_by_one)
    assert lots(together)
    assert together == one_by_one
    assert hash(together) == hash(one_by_one)
    for virtual_server in (one_by_one, together):
        pool, plain = Pool(virtual_server), Pool(one_by_one)
        assert (pool.live_weight, pool.quorum_up) == (plain.live_weight, plain.quorum_up)
        table = entries(virtual_server, pool.desired_lots())
        assert table == entries(one_by_one, plain.desired())
        assert table == entries(virtual_server, pool.desired())  # which looks at each of them
        assert table == entries(virtual_server, pool.desired_lots())
        assert pool.start() == plain.start()
        assert pool.servers == plain.servers


def test_what_happens_to_one_of_a_lot() -> None:
    pool = Pool(arrived(POOLS["alike"]))
    assert len(pool.desired_lots()) == 1
    pool.result(key(2), 0, False)
    assert [server.address for server, _ in pool.desired()] == ["10.0.0.1", "10.0.0.3"]
    assert pool.live_weight == 6
    pool.stop()
    assert pool.desired_lots() == []


def test_a_pool_that_ends_before_anything_happened() -> None:
    pool = Pool(arrived(POOLS["alike"]))
    pool.stop()
    assert pool.desired_lots() == []


def test_servers_are_a_sequence() -> None:
    """Of values: each is made anew, and the same."""
    servers = arrived(POOLS["two lots"]).real_servers
    plain = POOLS["two lots"].real_servers
    assert (len(servers), servers[3], servers[-1], servers[1:3]) == (
        4,
        plain[3],
        plain[-1],
        plain[1:3],
    )
    assert plain[2] in servers
    assert isinstance(servers[0], RealServer)
    assert servers[0] is not servers[0]
    assert repr(servers) == repr(plain)
    assert servers != plain[:3]
    assert servers != list(plain)
