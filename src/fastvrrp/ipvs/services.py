"""Configuration to table: which services and destinations virtual servers want in the kernel.

Pure. A virtual server is one pool and as many services as its group has addresses and marks.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator
from functools import lru_cache

from fastvrrp.config.servers import (
    Forwarding,
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


@lru_cache(maxsize=1 << 16)  # groups and reloads ask for the same servers again and again
def _destination(
    address: str, port: int, family: int, forwarding: Forwarding, upper: int, lower: int
) -> Destination:
    """With weight 0."""
    is_tunnel = forwarding.method == "TUN"
    return Destination(
        DestinationKey(family, pack_address(address), port),
        weight=0,
        method=METHODS[forwarding.method],
        uthreshold=upper,
        lthreshold=lower,
        tunnel=TUNNELS[forwarding.tunnel] if is_tunnel else Tunnel.IPIP,
        tunnel_port=forwarding.tunnel_port if is_tunnel else 0,
        tunnel_flags=CHECKSUMS[forwarding.checksum] if is_tunnel else NO_CHECKSUM,
    )


def destination(server: RealServer | SorryServer, weight: int, service_port: int) -> Destination:
    """A server as a service of this port (a mark: 0) should hold it.

    Only NAT can change ports; otherwise a destination is listed under the service's own, as
    keepalived does.
    """
    upper = lower = 0
    if isinstance(server, RealServer):
        upper, lower = server.uthreshold, server.lthreshold
    port = server.port if server.forwarding.method == "NAT" else service_port
    plain = _destination(server.address, port, server.family, server.forwarding, upper, lower)
    return plain._replace(weight=weight)


def entries(
    virtual_server: VirtualServer, wanted: Iterable[tuple[RealServer | SorryServer, int]]
) -> Entries:
    """What a virtual server wants in the table, with these servers at these weights.

    Services of one port share one dictionary of destinations. Of two servers that would be the
    same destination the first counts: the kernel can hold one.
    """
    servers = list(wanted)
    by_port: dict[int, Destinations] = {}
    found: Entries = {}
    for service in services(virtual_server):
        port = service.key.port
        destinations = by_port.get(port)
        if destinations is None:
            destinations = by_port[port] = {}
            for server, weight in servers:
                made = destination(server, weight, port)
                destinations.setdefault(made.key, made)
        found[service.key] = Entry(service, destinations)
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
