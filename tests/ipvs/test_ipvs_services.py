"""Virtual servers to services and destinations. kernel/ compares many more with keepalived's."""

from __future__ import annotations

import pytest

from fastvrrp.config.servers import (
    Forwarding,
    RealServer,
    ServiceAddress,
    SorryServer,
    SyncDaemon,
    VirtualServer,
)
from fastvrrp.ipvs import services
from fastvrrp.ipvs.objects import (
    CHECKSUM,
    ONE_PACKET,
    PERSISTENT,
    SCHEDULER_1,
    SCHEDULER_3,
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

ONE = ServiceAddress(family=4, address="192.0.2.1", port=80)
NAT = RealServer(address="198.51.100.1", port=8080, family=4, weight=3)


def virtual_server(*addresses: ServiceAddress, **more: object) -> VirtualServer:
    return VirtualServer(name="V", services=addresses or (ONE,), **more)  # type: ignore[arg-type]


def key(address: str, port: int, protocol: int = 6) -> ServiceKey:
    packed = pack_address(address)
    return ServiceKey(4 if len(packed) == 4 else 6, protocol, packed, port)


def test_a_plain_one() -> None:
    [(found, entry)] = services.entries(virtual_server(), [(NAT, 3)]).items()
    assert found == key("192.0.2.1", 80)
    assert entry.service == Service(found, "wlc", 0, 0, 0xFFFFFFFF, "")
    name = DestinationKey(4, pack_address("198.51.100.1"), 8080)
    assert entry.destinations == {name: Destination(name, weight=3)}


def test_everything_of_a_service() -> None:
    made = virtual_server(
        protocol="UDP",
        scheduler="mh",
        flags=("flag-1", "flag-3"),
        one_packet=True,
        persistence_timeout_s=50,
        persistence_granularity=24,
        persistence_engine="sip",
    )
    flags = PERSISTENT | ONE_PACKET | SCHEDULER_1 | SCHEDULER_3
    expected = Service(key("192.0.2.1", 80, 17), "mh", flags, 50, 0xFFFFFF00, "sip")
    assert list(services.services(made)) == [expected]


@pytest.mark.parametrize(("length", "mask"), [(32, 0xFFFFFFFF), (1, 0x80000000), (0, 0)])
def test_granularity(length: int, mask: int) -> None:
    [service] = services.services(virtual_server(persistence_granularity=length))
    assert service.netmask == mask


def test_granularity_of_ipv6_is_a_length() -> None:
    six = ServiceAddress(family=6, address="2001:db8::1", port=80)
    assert [s.netmask for s in services.services(virtual_server(six))] == [128]
    found = services.services(virtual_server(six, persistence_granularity=64))
    assert [s.netmask for s in found] == [64]
    # keepalived 2.2.7 has 128 for those of a group
    two = ServiceAddress(family=6, address="2001:db8::2", count=2, port=80)
    found = services.services(virtual_server(six, two, group="G", persistence_granularity=64))
    assert [s.netmask for s in found] == [64, 64, 64]


def test_groups_become_a_service_for_each_address() -> None:
    group = virtual_server(
        ServiceAddress(family=4, address="192.0.2.254", count=4, port=80),
        ServiceAddress(family=6, address="2001:db8::ffff", count=2, port=81),
        ServiceAddress(family=6, fwmark=7),
        protocol="SCTP",
    )
    assert list(services.service_keys(group)) == [
        *(key(f"192.0.{n}", 80, 132) for n in ("2.254", "2.255", "3.0", "3.1")),
        *(key(f"2001:db8::{n}", 81, 132) for n in ("ffff", "1:0")),
        ServiceKey(6, 0, b"", 0, 7),
    ]
    assert [str(found) for found in services.service_keys(group)][3:] == [
        "[192.0.3.1]:sctp:80",
        "[2001:db8::ffff]:sctp:81",
        "[2001:db8::1:0]:sctp:81",
        "FWM 7",
    ]


def test_services_of_one_port_share_their_destinations() -> None:
    group = virtual_server(
        ServiceAddress(family=4, address="192.0.2.1", count=3, port=80),
        ServiceAddress(family=4, address="192.0.2.1", count=2, port=81),
    )
    found = list(services.entries(group, [(NAT, 1)]).values())
    assert len({id(entry.destinations) for entry in found}) == 2


def test_only_nat_changes_ports() -> None:
    """As keepalived lists them: without NAT under the port of the service."""
    group = virtual_server(ONE, ServiceAddress(family=4, fwmark=5))
    direct = RealServer(
        address="198.51.100.2", port=8080, family=4, forwarding=Forwarding(method="DR")
    )
    any_port = RealServer(address="198.51.100.3", port=0, family=4)
    by_address, by_mark = (
        [name.port for name in entry.destinations]
        for entry in services.entries(group, [(NAT, 1), (direct, 1), (any_port, 1)]).values()
    )
    assert by_address == [8080, 80, 0]
    assert by_mark == [8080, 0, 0]


def test_a_tunnel_with_everything() -> None:
    gue = Forwarding(method="TUN", tunnel="gue", tunnel_port=6080, checksum="csum")
    server = RealServer(
        address="2001:db8::9", port=80, family=6, forwarding=gue, uthreshold=9, lthreshold=2
    )
    name = DestinationKey(6, pack_address("2001:db8::9"), 80)
    expected = Destination(name, 7, Method.TUNNEL, 9, 2, Tunnel.GUE, 6080, CHECKSUM)
    assert services.destinations([(server, 7)], 80) == {name: expected}


def test_what_belongs_to_tunnels_stays_with_them() -> None:
    """Whatever else is written, a NAT or DR destination has no tunnel: the kernel would refuse a
    tunnel port of 0 even where there is no tunnel."""
    odd = Forwarding(method="DR", tunnel="gue", tunnel_port=0, checksum="remcsum")
    server = RealServer(address="198.51.100.1", port=80, family=4, forwarding=odd)
    [made] = services.destinations([(server, 1)], 80).values()
    assert (made.tunnel, made.tunnel_port, made.tunnel_flags) == (Tunnel.IPIP, 0, 0)


def test_a_sorry_server() -> None:
    sorry = SorryServer(address="198.51.100.9", port=80, family=4)
    [entry] = services.entries(virtual_server(), [(sorry, 1)]).values()
    [made] = entry.destinations.values()
    assert made == Destination(made.key, 1)


def test_the_first_of_two_that_are_one_counts() -> None:
    direct = Forwarding(method="DR")
    servers = [
        RealServer(address="198.51.100.1", port=port, family=4, weight=port, forwarding=direct)
        for port in (1, 2)
    ]
    [entry] = services.entries(virtual_server(), [(s, s.weight) for s in servers]).values()
    assert [made.weight for made in entry.destinations.values()] == [1]


def test_no_servers() -> None:
    [entry] = services.entries(virtual_server(), []).values()
    assert entry.destinations == {}


def test_sync_daemons() -> None:
    plain = SyncDaemon(interface="eth0")
    assert services.sync_daemon(plain, Role.BACKUP) == Daemon(Role.BACKUP, "eth0")
    full = SyncDaemon(interface="eth0", id=3, maxlen=1000, port=9, ttl=2, group="ff02::1")
    group = pack_address("ff02::1")
    assert services.sync_daemon(full, Role.MASTER) == Daemon(
        Role.MASTER, "eth0", 3, 1000, group, 9, 2
    )
