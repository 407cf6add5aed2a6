"""Configuration to table: which services and destinations virtual servers want in the kernel.

Pure. A virtual server is one pool and as many services as its group has addresses and marks.
"""

from __future__ import annotations

import socket
from collections.abc import Collection, Iterable, Iterator
from functools import lru_cache
from typing import NamedTuple

from fastvrrp import _core
from fastvrrp.config.servers import (
    Forwarding,
    Lot,
    RealServer,
    ServiceAddress,
    SorryServer,
    SyncDaemon,
    VirtualServer,
)
from fastvrrp.ipvs.objects import (
    CHECKSUM,
    NO_CHECKSUM,
    ONE_PACKET,
    PERSISTENT,
    REMOTE_CHECKSUM,
    SCHEDULER_1,
    SCHEDULER_2,
    SCHEDULER_3,
    SINGLE_HOST,
    Daemon,
    Destination,
    DestinationKey,
    Destinations,
    Entries,
    Entry,
    Method,
    Role,
    Service,
    ServiceKey,
    Tunnel,
    pack_address,
)

PROTOCOLS = {
    "TCP": socket.IPPROTO_TCP,
    "UDP": socket.IPPROTO_UDP,
    "SCTP": socket.IPPROTO_SCTP,
}
METHODS = {"NAT": Method.MASQUERADE, "DR": Method.DIRECT, "TUN": Method.TUNNEL}
TUNNELS = {"ipip": Tunnel.IPIP, "gue": Tunnel.GUE, "gre": Tunnel.GRE}
CHECKSUMS = {"nocsum": NO_CHECKSUM, "csum": CHECKSUM, "remcsum": REMOTE_CHECKSUM}
# What sh-fallback, sh-port, mh-fallback and mh-port of a file are as well
FLAGS = {"flag-1": SCHEDULER_1, "flag-2": SCHEDULER_2, "flag-3": SCHEDULER_3}


def service_keys(virtual_server: VirtualServer) -> Iterator[ServiceKey]:
    """Its services, in the order of the file."""
    protocol = PROTOCOLS[virtual_server.protocol]
    for address in virtual_server.services:
        if address.address is None:
            yield ServiceKey(address.family, 0, b"", 0, address.fwmark)
        else:
            yield from _range(address, protocol)


def _range(address: ServiceAddress, protocol: int) -> Iterator[ServiceKey]:
    assert address.address is not None
    first = pack_address(address.address)
    number = int.from_bytes(first, "big")
    for offset in range(address.count):
        packed = (number + offset).to_bytes(len(first), "big")
        yield ServiceKey(address.family, protocol, packed, address.port)


def services(virtual_server: VirtualServer) -> Iterator[Service]:
    """Its services with all they are made of."""
    flags = PERSISTENT if virtual_server.persistence_timeout_s else 0
    if virtual_server.one_packet:
        flags |= ONE_PACKET
    for flag in virtual_server.flags:
        flags |= FLAGS[flag]
    for key in service_keys(virtual_server):
        yield Service(
            key,
            scheduler=virtual_server.scheduler,
            flags=flags,
            timeout_s=virtual_server.persistence_timeout_s,
            netmask=_netmask(key.family, virtual_server.persistence_granularity),
            engine=virtual_server.persistence_engine or "",
        )


def _netmask(family: int, prefixlen: int | None) -> int:
    if prefixlen is None:
        return SINGLE_HOST[family]
    return prefixlen if family == 6 else (0xFFFFFFFF << (32 - prefixlen)) & 0xFFFFFFFF


class _Form(NamedTuple):
    """What a Forwarding makes of a destination."""

    changes_port: bool
    method: Method
    tunnel: Tunnel
    tunnel_port: int
    tunnel_flags: int


@lru_cache(64)
def _form(forwarding: Forwarding) -> _Form:
    method = METHODS[forwarding.method]
    if method is not Method.TUNNEL:
        # Whatever else is written: the kernel checks it all the same.
        return _Form(method is Method.MASQUERADE, method, Tunnel.IPIP, 0, NO_CHECKSUM)
    tunnel = TUNNELS[forwarding.tunnel]
    return _Form(False, method, tunnel, forwarding.tunnel_port, CHECKSUMS[forwarding.checksum])


def destinations(
    servers: Iterable[tuple[RealServer | SorryServer | Lot, int]], service_port: int
) -> Destinations:
    """Servers or lots of them, each with its weight, as a service of this port (a mark: 0) should
    hold them.

    Only NAT can change ports; otherwise a destination is listed under the service's own, as
    keepalived does. Of two servers that would be the same destination the first counts: the kernel
    can hold one.
    """
    rows = [
        (one.one(0), weight, one.addresses)
        if isinstance(one, Lot)
        else (one, weight, (one.address,))
        for one, weight in servers
    ]
    return _core.ipvs_destinations(rows, service_port, _form, DestinationKey, Destination)


def destination_key(server: RealServer | SorryServer, service_port: int) -> DestinationKey:
    """Under which name `destinations` lists a server."""
    changes_port = METHODS[server.forwarding.method] is Method.MASQUERADE
    port = server.port if changes_port else service_port
    return DestinationKey(server.family, pack_address(server.address), port)


def entries(
    virtual_server: VirtualServer, wanted: Collection[tuple[RealServer | SorryServer | Lot, int]]
) -> Entries:
    """What a virtual server wants in the table, with these servers at these weights.

    Services of one port share one dictionary of destinations.
    """
    by_port: dict[int, Destinations] = {}
    found: Entries = {}
    for service in services(virtual_server):
        port = service.key.port
        shared = by_port.get(port)
        if shared is None:
            shared = by_port[port] = destinations(wanted, port)
        found[service.key] = Entry(service, shared)
    return found


def sync_daemon(configured: SyncDaemon, role: Role) -> Daemon:
    """lvs_sync_daemon in one of its roles."""
    return Daemon(
        role,
        configured.interface,
        id=configured.id,
        maxlen=configured.maxlen,
        group=pack_address(configured.group) if configured.group else b"",
        port=configured.port,
        ttl=configured.ttl,
    )
