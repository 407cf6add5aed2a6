"""What every `Table` must do: MemoryTable is tested with it everywhere, NetlinkTable in a guest."""

from __future__ import annotations

import errno
import socket
from collections.abc import Awaitable, Callable, Mapping

import pytest

from fastvrrp.config.servers import Timeouts
from fastvrrp.ipvs.memory_table import SCHEDULERS
from fastvrrp.ipvs.objects import (
    CHECKSUM,
    ONE_PACKET,
    PERSISTENT,
    REMOTE_CHECKSUM,
    SCHEDULER_1,
    SCHEDULER_2,
    SCHEDULER_3,
    Daemon,
    Destination,
    DestinationKey,
    Entry,
    Method,
    Role,
    Service,
    ServiceKey,
    Tunnel,
    pack_address,
)
from fastvrrp.ipvs.reconcile import daemon_matches, reconcile
from fastvrrp.ipvs.table import Failure, Operation, Table, Verb
from looping import Run

TCP, UDP, SCTP = socket.IPPROTO_TCP, socket.IPPROTO_UDP, socket.IPPROTO_SCTP
WEIGHT_MAX = 2**31 - 1


def service_key(address: str = "192.0.2.1", port: int = 80, protocol: int = TCP) -> ServiceKey:
    packed = pack_address(address)
    return ServiceKey(4 if len(packed) == 4 else 6, protocol, packed, port)


def mark_key(mark: int, family: int = 4) -> ServiceKey:
    return ServiceKey(family, 0, b"", 0, mark)


def destination(address: str = "198.51.100.1", port: int = 80, **more: int) -> Destination:
    packed = pack_address(address)
    return Destination(DestinationKey(4 if len(packed) == 4 else 6, packed, port), **more)


def add(service: Service) -> Operation:
    return Operation(Verb.ADD_SERVICE, service.key, service)


def edit(service: Service) -> Operation:
    return Operation(Verb.EDIT_SERVICE, service.key, service)


def delete(key: ServiceKey) -> Operation:
    return Operation(Verb.DELETE_SERVICE, key)


def put(key: ServiceKey, made: Destination) -> Operation:
    return Operation(Verb.ADD_DESTINATION, key, None, made)


def change(key: ServiceKey, made: Destination) -> Operation:
    return Operation(Verb.EDIT_DESTINATION, key, None, made)


def drop(key: ServiceKey, made: Destination) -> Operation:
    return Operation(Verb.DELETE_DESTINATION, key, None, made)


K4, K6 = service_key(), service_key("2001:db8::1")
S4, S6 = Service(K4), Service(K6, netmask=128)
D1, D2 = destination(), destination("198.51.100.2")

SERVICES = {
    "tcp": S4,
    "udp": Service(service_key(protocol=UDP), "rr"),
    "sctp": Service(service_key(protocol=SCTP), "rr"),
    "ipv6": S6,
    "any port": Service(service_key(port=0), "rr", PERSISTENT, 300),
    "mark": Service(mark_key(1), "rr"),
    "large mark": Service(mark_key(0xFFFFFFFF), "rr"),
    "mark ipv6": Service(mark_key(1, 6), "rr", netmask=128),
    "persistent": Service(K4, "rr", PERSISTENT, 3600, 0xFFFFFF00),
    "odd mask": Service(K4, "rr", PERSISTENT, 3600, 0xFF00FF00),
    "persistent ipv6": Service(K6, "rr", PERSISTENT, 3600, 64),
    "longest persistence": Service(K4, "rr", PERSISTENT, 2678400),
    "one packet": Service(service_key(protocol=UDP), "rr", ONE_PACKET),
    "engine": Service(service_key(protocol=UDP), "rr", PERSISTENT, 60, engine="sip"),
    "flag 1": Service(K4, "sh", SCHEDULER_1),
    "flags": Service(K4, "mh", SCHEDULER_1 | SCHEDULER_2 | SCHEDULER_3),
    "without scheduler": Service(K4, "none"),
    **{name: Service(K4, name) for name in sorted(SCHEDULERS)},
}
DESTINATIONS = {
    "nat": D1,
    "direct": D1._replace(method=Method.DIRECT),
    "tunnel": D1._replace(method=Method.TUNNEL),
    "gue": D1._replace(method=Method.TUNNEL, tunnel=Tunnel.GUE, tunnel_port=6080),
    "gue csum": D1._replace(
        method=Method.TUNNEL, tunnel=Tunnel.GUE, tunnel_port=65535, tunnel_flags=CHECKSUM
    ),
    "gue remcsum": D1._replace(
        method=Method.TUNNEL, tunnel=Tunnel.GUE, tunnel_port=1, tunnel_flags=REMOTE_CHECKSUM
    ),
    "gre": D1._replace(method=Method.TUNNEL, tunnel=Tunnel.GRE),
    "gre csum": D1._replace(method=Method.TUNNEL, tunnel=Tunnel.GRE, tunnel_flags=CHECKSUM),
    "weight 0": D1._replace(weight=0),
    "largest weight": D1._replace(weight=WEIGHT_MAX),
    "thresholds": D1._replace(uthreshold=1000, lthreshold=900),
    "equal thresholds": D1._replace(uthreshold=7, lthreshold=7),
    "largest thresholds": D1._replace(uthreshold=2**32 - 1, lthreshold=2**32 - 1),
    "port 0": destination(port=0, method=Method.DIRECT),
    "other port": destination(port=65535),
    "loopback": destination("127.0.0.1"),
    "tunnel to ipv6": destination("2001:db8::9", method=Method.TUNNEL),
}
REFUSED_SERVICES = {
    "no such scheduler": (Service(K4, "nope"), errno.ENOENT),
    "no such engine": (Service(K4, "rr", PERSISTENT, 60, engine="nope"), errno.ENOENT),
    "ipv6 mask 0": (S6._replace(netmask=0), errno.EINVAL),
    "ipv6 mask 129": (S6._replace(netmask=129), errno.EINVAL),
}
# In a service of IPv4
REFUSED_DESTINATIONS = {
    "weight": (D1._replace(weight=WEIGHT_MAX + 1), errno.ERANGE),
    "thresholds": (D1._replace(uthreshold=1, lthreshold=2), errno.ERANGE),
    "lower alone": (D1._replace(lthreshold=2), errno.ERANGE),
    "gue without port": (
        D1._replace(method=Method.TUNNEL, tunnel=Tunnel.GUE),
        errno.EINVAL,
    ),
    "nat to ipv6": (destination("2001:db8::9"), errno.EINVAL),
    "direct to ipv6": (destination("2001:db8::9", method=Method.DIRECT), errno.EINVAL),
}
NO_DESTINATIONS = ["224.0.0.1", "0.0.0.0", "255.255.255.255", "239.255.255.255"]
NO_DESTINATIONS_6 = ["::", "ff02::1", "fe80::1", "::ffff:192.0.2.1"]


async def done(table: Table, *operations: Operation) -> None:
    assert await table.apply(operations) == []


async def refused(table: Table, operation: Operation, code: int) -> None:
    before = await table.dump()
    failures = await table.apply([operation])
    assert failures == [Failure(operation, code)], f"not {errno.errorcode[code]}"
    assert await table.dump() == before


def named(cases: Mapping[str, object]) -> Callable[..., object]:
    return pytest.mark.parametrize("case", cases.values(), ids=list(cases))


class TableContract:
    """Needs a fixture `table`: an empty one, in which eth0 and eth1 can carry a sync daemon."""

    def test_empty_at_first(self, run: Run, table: Table) -> None:
        async def scene() -> None:
            assert await table.dump() == {}
            assert await table.services() == {}
            assert await table.destinations([]) == {}
            assert await table.destinations([K4, K6]) == {K4: {}, K6: {}}
            assert await table.statistics() == {}
            assert await table.daemons() == {}
            assert await table.apply([]) == []

        run(scene())

    @named(SERVICES)
    def test_service_is_as_it_was_added(self, run: Run, table: Table, case: Service) -> None:
        async def scene() -> None:
            await done(table, add(case))
            assert await table.services() == {case.key: case}
            assert await table.dump() == {case.key: Entry(case, {})}
            await refused(table, add(case), errno.EEXIST)
            await done(table, delete(case.key))
            assert await table.services() == {}

        run(scene())

    @named(SERVICES)
    def test_service_is_edited_in_place(self, run: Run, table: Table, case: Service) -> None:
        async def scene() -> None:
            before = S6 if case.key.family == 6 else S4
            before = before._replace(key=case.key)
            method = Method.TUNNEL
            await done(table, add(before), put(case.key, D1._replace(method=method)))
            await done(table, edit(case))
            expected = Entry(case, {D1.key: D1._replace(method=method)})
            assert await table.dump() == {case.key: expected}
            await done(table, edit(before))
            assert (await table.services())[case.key] == before

        run(scene())

    def test_services_are_apart(self, run: Run, table: Table) -> None:
        """Address, port, protocol, family and mark: each makes another service."""
        keys = [
            service_key(),
            service_key(port=81),
            service_key(protocol=UDP),
            service_key("192.0.2.2"),
            service_key("::c000:201"),
            mark_key(1),
            mark_key(2),
            mark_key(1, 6),
        ]

        async def scene() -> None:
            made = [Service(k, netmask=128 if k.family == 6 else 0xFFFFFFFF) for k in keys]
            await done(table, *map(add, made))
            await done(table, put(keys[5], D1))
            assert await table.services() == dict(zip(keys, made, strict=True))
            await done(table, delete(keys[2]))
            assert (await table.services()).keys() == set(keys) - {keys[2]}
            found = await table.destinations(keys)
            assert {k for k in keys if found[k]} == {keys[5]}

        run(scene())

    @named(REFUSED_SERVICES)
    def test_service_is_refused(self, run: Run, table: Table, case: tuple[Service, int]) -> None:
        service, code = case

        async def scene() -> None:
            await refused(table, add(service), code)
            good = S6 if service.key.family == 6 else S4
            await done(table, add(good))
            await refused(table, edit(service), code)

        run(scene())

    def test_service_that_is_not_there(self, run: Run, table: Table) -> None:
        async def scene() -> None:
            for key in (K4, K6, mark_key(9)):
                service = Service(key, netmask=128 if key.family == 6 else 0xFFFFFFFF)
                for operation in (
                    edit(service),
                    delete(key),
                    put(key, D1),
                    change(key, D1),
                    drop(key, D1),
                ):
                    await refused(table, operation, errno.ESRCH)

        run(scene())

    @named(DESTINATIONS)
    def test_destination_is_as_it_was_added(
        self, run: Run, table: Table, case: Destination
    ) -> None:
        async def scene() -> None:
            await done(table, add(S4), put(K4, case))
            assert await table.destinations([K4]) == {K4: {case.key: case}}
            await refused(table, put(K4, case), errno.EEXIST)
            await refused(table, drop(K4, destination("203.0.113.77")), errno.ENOENT)
            await done(table, drop(K4, case))
            assert await table.destinations([K4]) == {K4: {}}
            await refused(table, drop(K4, case), errno.ENOENT)

        run(scene())

    @named(DESTINATIONS)
    def test_destination_is_edited_in_place(
        self, run: Run, table: Table, case: Destination
    ) -> None:
        async def scene() -> None:
            await done(table, add(S4))
            await refused(table, change(K4, case), errno.ENOENT)
            before = Destination(case.key, weight=3, method=Method.TUNNEL)
            await done(table, put(K4, before), put(K4, D2), change(K4, case))
            assert await table.destinations([K4]) == {K4: {case.key: case, D2.key: D2}}
            await done(table, change(K4, before))
            assert await table.destinations([K4]) == {K4: {case.key: before, D2.key: D2}}

        run(scene())

    @named(REFUSED_DESTINATIONS)
    def test_destination_is_refused(
        self, run: Run, table: Table, case: tuple[Destination, int]
    ) -> None:
        made, code = case

        async def scene() -> None:
            await done(table, add(S4))
            await refused(table, put(K4, made), code)
            await done(table, put(K4, Destination(made.key, method=Method.TUNNEL)))
            await refused(table, change(K4, made), code)

        run(scene())

    @pytest.mark.parametrize("address", NO_DESTINATIONS + NO_DESTINATIONS_6)
    def test_address_that_no_server_has(self, run: Run, table: Table, address: str) -> None:
        async def scene() -> None:
            service = S6 if ":" in address else S4
            await done(table, add(service))
            await refused(table, put(service.key, destination(address)), errno.EINVAL)

        run(scene())

    def test_one_port_and_address_once_per_service(self, run: Run, table: Table) -> None:
        async def scene() -> None:
            other = service_key(port=81)
            await done(table, add(S4), add(Service(other)))
            await done(table, put(K4, D1), put(other, D1), put(K4, destination(port=81)))
            found = await table.destinations([K4, other])
            assert {key: len(value) for key, value in found.items()} == {K4: 2, other: 1}
            await done(table, delete(K4))
            assert await table.destinations([K4, other]) == {K4: {}, other: {D1.key: D1}}

        run(scene())

    def test_the_newest_destination_comes_first(self, run: Run, table: Table) -> None:
        made = [destination(f"198.51.100.{n}") for n in range(1, 6)]

        async def scene() -> None:
            await done(table, add(S4), *(put(K4, one) for one in made))
            await done(table, change(K4, made[2]._replace(weight=9)))
            found = (await table.destinations([K4]))[K4]
            assert list(found) == [one.key for one in reversed(made)]

        run(scene())

    def test_a_refusal_stops_nothing_else(self, run: Run, table: Table) -> None:
        """In a long list each failure names its own operation."""
        made = [destination(f"198.51.100.{n % 250 + 1}", 1 + n // 250) for n in range(1000)]
        operations = [put(K4, one) for one in made]
        wrong = {3, 255, 256, 257, 700, 999}
        for index in wrong:
            operations[index] = put(K4, made[index]._replace(weight=WEIGHT_MAX + 1))

        async def scene() -> None:
            failures = await table.apply([add(S4), *operations, add(S4)])
            assert [f.operation for f in failures[:-1]] == [operations[n] for n in sorted(wrong)]
            assert {f.errno for f in failures[:-1]} == {errno.ERANGE}
            assert failures[-1] == Failure(add(S4), errno.EEXIST)
            found = (await table.destinations([K4]))[K4]
            assert found.keys() == {made[n].key for n in set(range(1000)) - wrong}

        run(scene())

    def test_everything_may_be_refused(self, run: Run, table: Table) -> None:
        async def scene() -> None:
            operations = [put(K4, destination(port=1 + n)) for n in range(3000)]
            failures = await table.apply(operations)
            assert failures == [Failure(operation, errno.ESRCH) for operation in operations]

        run(scene())

    def test_many_services(self, run: Run, table: Table) -> None:
        async def scene() -> None:
            keys = [service_key(f"192.0.2.{n % 200 + 1}", 1 + n // 200) for n in range(500)]
            wanted = {k: Entry(Service(k, "rr"), {D1.key: D1, D2.key: D2}) for k in keys}
            await done(table, *reconcile(wanted, {}, wanted))
            assert await table.dump() == wanted
            statistics = await table.statistics()
            assert statistics.keys() == wanted.keys()
            for one in statistics.values():
                assert one.destinations.keys() == {D1.key, D2.key}
                assert set(one.counters) == {0}
                assert {tuple(found[:3]) for found in one.destinations.values()} == {(0, 0, 0)}
            await done(table, *reconcile({}, wanted, wanted))
            assert await table.dump() == {}

        run(scene())

    def test_flush(self, run: Run, table: Table) -> None:
        async def scene() -> None:
            await done(table, add(S4), put(K4, D1), add(S6), add(Service(mark_key(7))))
            await table.flush()
            assert await table.dump() == {}
            await table.flush()

        run(scene())

    def test_timeouts(self, run: Run, table: Table) -> None:
        async def scene() -> None:
            assert await table.timeouts() == Timeouts(tcp_s=900, tcpfin_s=120, udp_s=300)
            await table.set_timeouts(Timeouts(tcp_s=7200, udp_s=30))
            assert await table.timeouts() == Timeouts(tcp_s=7200, tcpfin_s=120, udp_s=30)
            await table.set_timeouts(Timeouts(tcpfin_s=2678400))
            assert await table.timeouts() == Timeouts(tcp_s=7200, tcpfin_s=2678400, udp_s=30)
            await fails(table.set_timeouts(Timeouts(tcp_s=2**32 - 1)), errno.EINVAL)

        run(scene())

    @pytest.mark.parametrize("role", Role)
    def test_sync_daemon(self, run: Run, table: Table, role: Role) -> None:
        plain = Daemon(role, "eth0")

        async def scene() -> None:
            await fails(table.stop_daemon(role), errno.ESRCH)
            await table.start_daemon(plain)
            [found] = (await table.daemons()).values()
            assert found == Daemon(
                role, "eth0", maxlen=1472, group=bytes((224, 0, 0, 81)), port=8848, ttl=1
            )
            assert daemon_matches(plain, found)
            await fails(table.start_daemon(plain), errno.EEXIST)
            await table.stop_daemon(role)
            assert await table.daemons() == {}
            await fails(table.stop_daemon(role), errno.ESRCH)

        run(scene())

    @pytest.mark.parametrize("role", Role)
    @pytest.mark.parametrize(
        ("maxlen", "group"),
        [
            (1, ""),
            (1000, ""),
            (1400, "224.0.0.90"),
            (65507, ""),
            (1300, "ff02::90"),
            (65507, "ff02::1"),
        ],
    )
    def test_sync_daemon_with_everything(
        self, run: Run, table: Table, role: Role, maxlen: int, group: str
    ) -> None:
        packed = pack_address(group) if group else b""
        wanted = Daemon(role, "eth1", 255, maxlen, packed, 9000, 7)

        async def scene() -> None:
            await table.start_daemon(wanted)
            [found] = (await table.daemons()).values()
            assert found[:3] == wanted[:3]
            assert (found.port, found.ttl) == (9000, 7)
            assert found.group == (packed or bytes((224, 0, 0, 81)))
            assert daemon_matches(wanted, found)
            assert not daemon_matches(wanted._replace(id=3), found)
            assert not daemon_matches(wanted._replace(maxlen=1399), found)

        run(scene())

    def test_both_sync_daemons(self, run: Run, table: Table) -> None:
        async def scene() -> None:
            await table.start_daemon(Daemon(Role.MASTER, "eth0", 1))
            await table.start_daemon(Daemon(Role.BACKUP, "eth1", 2))
            found = await table.daemons()
            assert {role: (d.interface, d.id) for role, d in found.items()} == {
                Role.MASTER: ("eth0", 1),
                Role.BACKUP: ("eth1", 2),
            }
            await table.stop_daemon(Role.MASTER)
            assert (await table.daemons()).keys() == {Role.BACKUP}

        run(scene())

    def test_sync_daemon_is_refused(self, run: Run, table: Table) -> None:
        async def scene() -> None:
            await fails(table.start_daemon(Daemon(Role.MASTER, "nope0")), errno.ENODEV)
            group = pack_address("192.0.2.1")
            await fails(table.start_daemon(Daemon(Role.MASTER, "eth0", group=group)), errno.EINVAL)
            assert await table.daemons() == {}

        run(scene())

    def test_sync_daemon_and_other_families_exclude_each_other(
        self, run: Run, table: Table
    ) -> None:
        mixed = destination("2001:db8::9", method=Method.TUNNEL)

        async def scene() -> None:
            await done(table, add(S4), put(K4, mixed))
            await fails(table.start_daemon(Daemon(Role.MASTER, "eth0")), errno.EINVAL)
            await done(table, drop(K4, mixed))
            await table.start_daemon(Daemon(Role.MASTER, "eth0"))
            await refused(table, put(K4, mixed), errno.EINVAL)
            await done(table, put(K4, D1))

        run(scene())


async def fails(awaitable: Awaitable[object], code: int) -> None:
    with pytest.raises(OSError, match=rf"^\[Errno {code}\]"):
        await awaitable
