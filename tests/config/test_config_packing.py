"""Virtual servers arrive as they were, but for their places, and what is equal is one object."""

from __future__ import annotations

from itertools import product
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from fastvrrp.config.base import Account, Command, Position
from fastvrrp.config.compact import without_places
from fastvrrp.config.packing import PackedServer, Packer, Unpacker
from fastvrrp.config.servers import (
    Check,
    Connection,
    DnsCheck,
    FileCheck,
    Forwarding,
    HttpCheck,
    MiscCheck,
    PingCheck,
    RealServer,
    Schedule,
    ServiceAddress,
    SmtpCheck,
    SorryServer,
    TcpCheck,
    UdpCheck,
    Url,
    VirtualServer,
)

SLOW = Schedule(delay_loop_ns=7_000_000_000, warmup_ns=5_000_000_000)


def place(line: int) -> Position:
    return Position(file="/etc/a.conf", line=line)


def virtual_server(*real_servers: RealServer) -> VirtualServer:
    return VirtualServer(
        name="[192.0.2.1]:tcp:80",
        services=(ServiceAddress(family=4, address="192.0.2.1", port=80),),
        quorum_up=Command(argv=("/bin/up",), position=place(2)),
        sorry_server=SorryServer(address="192.0.2.9", port=80, family=4),
        real_servers=real_servers,
        position=place(1),
    )


def tcp(address: str, **more: Any) -> TcpCheck:
    return TcpCheck(connection=Connection(address=address, port=80), schedule=SLOW, **more)


def server(number: int, *checks: Check, **more: Any) -> RealServer:
    address = f"10.0.0.{number}"
    return RealServer(
        **{"address": address, "port": 80, "family": 4, "position": place(number)} | more,
        checks=checks,
    )


def arrived(*virtual_servers: VirtualServer) -> list[VirtualServer]:
    packer, unpacker = Packer(), Unpacker()
    data = msgspec.msgpack.encode([packer.pack(one) for one in virtual_servers])
    packed = msgspec.msgpack.decode(data, type=list[PackedServer])
    return [unpacker.unpack(one) for one in packed]


def test_servers_that_differ_in_their_addresses_are_one_pattern() -> None:
    whole = virtual_server(*[server(n, tcp(f"10.0.0.{n}", position=place(n))) for n in (1, 2, 3)])
    packed = Packer().pack(whole)
    assert (len(packed.patterns), packed.real_servers) == (1, ())
    one, other = arrived(whole, replace(whole, name="other"))
    assert one == without_places(whole)
    assert type(one) is VirtualServer
    checks = [check for each in (one, other) for rs in each.real_servers for check in rs.checks]
    assert len({id(check.schedule) for check in checks}) == 1
    for real in one.real_servers:
        [check] = real.checks
        assert isinstance(check, TcpCheck)
        assert check.connection.address is real.address


VARIANTS: dict[str, list[Any]] = {
    "port": [80, 81],
    "weight": [1, 2],
    "forwarding": [Forwarding(), Forwarding(method="DR")],
    "uthreshold": [0, 1],
    "lthreshold": [0, 1],
    "inhibit_on_failure": [False, True],
    "alpha": [False, True],
    "smtp_alert": [False, True],
    "family": [4, 6],
    "notify_up": [
        None,
        Command(argv=("/bin/a",), position=place(7)),
        Command(argv=("/bin/a",), account=Account(user="x", uid=1, gid=1)),
    ],
    "notify_down": [None, Command(argv=("/bin/b",))],
}
CHECKS: list[tuple[Check, ...]] = [
    (),
    (tcp("10.0.0.1"),),
    (tcp("10.0.0.1"), tcp("10.9.9.9")),
    (tcp("10.9.9.9"),),
    (TcpCheck(connection=Connection(address="10.0.0.1", port=80, fwmark=3)),),
    (HttpCheck(connection=Connection(address="10.0.0.1", port=80), urls=(Url(path="/"),)),),
    (HttpCheck(connection=Connection(address="10.0.0.1", port=80), urls=(Url(path="/b"),)),),
    (SmtpCheck(connection=Connection(address="10.0.0.1", port=25), position=place(3)),),
    (DnsCheck(connection=Connection(address="10.0.0.1", port=53), name="a."),),
    (UdpCheck(connection=Connection(address="10.0.0.1", port=53), payload=b"x"),),
    (PingCheck(connection=Connection(address="10.0.0.1", port=0)),),
    (MiscCheck(command=Command(argv=("/bin/c",), position=place(4)), timeout_ns=5),),
    (MiscCheck(command=Command(argv=("/bin/d",)), timeout_ns=5),),
    (FileCheck(track_file="f"),),
]


def test_everything_that_may_differ_arrives() -> None:
    """Each variant between two servers of another pattern, all in one virtual server."""
    plain = server(1, tcp("10.0.0.1"))
    variants = [
        replace(plain, **{name: value}) for name, values in VARIANTS.items() for value in values
    ]
    variants += [replace(plain, checks=checks) for checks in CHECKS]
    variants += [
        replace(plain, weight=weight, checks=checks)
        for weight, checks in product((3, 4), CHECKS[:3])
    ]
    assert {*RealServer.__struct_fields__} == {*VARIANTS, "address", "checks", "position"}
    mixed = [one for variant in variants for one in (variant, replace(variant, address="10.1.1.1"))]
    whole = virtual_server(*mixed, *mixed)
    assert arrived(whole) == [without_places(whole)]
    distinct = {without_places(one) for one in variants}
    # The second of each pair connects elsewhere where the first connects to itself.
    assert len(distinct) <= len(Packer().pack(whole).patterns) <= 2 * len(distinct)


def test_the_bytes_of_many_are_hardly_more_than_their_addresses() -> None:
    whole = virtual_server(*[server(n, tcp(f"10.0.0.{n}")) for n in range(1, 201)])
    few = virtual_server(*[server(n, tcp(f"10.0.0.{n}")) for n in range(1, 101)])
    size = [len(msgspec.msgpack.encode(Packer().pack(one))) for one in (few, whole)]
    assert size[1] - size[0] <= 100 * (len("10.0.0.200") + 3)


def test_a_pattern_that_is_missing_is_refused() -> None:
    packed = replace(Packer().pack(virtual_server(server(1))), members=((1, ("10.0.0.1",)),))
    with pytest.raises(msgspec.DecodeError, match="pattern"):
        Unpacker().unpack(packed)
