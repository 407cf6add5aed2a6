"""Equal parts of virtual servers become one object, and nothing of them becomes another value."""

from __future__ import annotations

import msgspec
from pool_making import rs, vs

from fastvrrp.config.base import Command, Position
from fastvrrp.config.servers import Connection, MiscCheck, Schedule, TcpCheck, VirtualServer
from fastvrrp.ipvs.identity import identity
from fastvrrp.ipvs.sharing import share

SLOW = Schedule(delay_loop_ns=7_000_000_000, warmup_ns=5_000_000_000)


def decoded() -> VirtualServer:
    """As a process gets it: everything is an object of its own."""
    servers = [
        rs(
            number,
            TcpCheck(
                connection=Connection(
                    address=f"10.0.0.{1 if number == 3 else number}",
                    port=8080,
                    timeout_ns=3_000_000_000,
                ),
                schedule=SLOW,
            ),
            port=8080,
        )
        for number in (1, 2, 3)
    ]
    script = MiscCheck(command=Command(argv=("/bin/true",)), timeout_ns=5, schedule=SLOW)
    whole = vs(*servers, msgspec.structs.replace(servers[0], port=81, checks=(script,)))
    return msgspec.msgpack.decode(msgspec.msgpack.encode(whole), type=VirtualServer)


def test_equal_parts_are_one_object_and_values_stay() -> None:
    one, other = decoded(), decoded()
    share([one])
    assert one == other
    checks = [server.checks[0] for server in one.real_servers]
    assert len({id(check.schedule) for check in checks}) == 1
    connections = [check.connection for check in checks if isinstance(check, TcpCheck)]
    assert len({id(connection.timeout_ns) for connection in connections}) == 1
    assert connections[1].address is one.real_servers[1].address
    assert connections[2].address == "10.0.0.1"  # connect_ip
    assert len({id(check.schedule) for server in other.real_servers for check in server.checks}) > 1


def test_a_check_that_has_nothing_to_forget_is_its_own_identity() -> None:
    plain = TcpCheck(connection=Connection(address="192.0.2.1", port=1), schedule=SLOW)
    assert identity(plain) is plain
    for changed in (
        msgspec.structs.replace(plain, position=Position(file="a", line=1)),
        msgspec.structs.replace(plain, schedule=msgspec.structs.replace(SLOW, alpha=True)),
        msgspec.structs.replace(
            plain, schedule=msgspec.structs.replace(SLOW, log_all_failures=True)
        ),
    ):
        assert changed != plain
        assert identity(changed) == plain
