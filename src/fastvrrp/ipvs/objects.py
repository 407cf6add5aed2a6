"""What the kernel's IPVS table is made of, as values: services, destinations, sync daemons.

Identity and attributes are apart: a `ServiceKey` or `DestinationKey` names an object, the rest of
it can be edited in place. Numbers are those of linux/ip_vs.h; addresses are in network order.
"""

from __future__ import annotations

import enum
import socket
from typing import NamedTuple

# linux/ip_vs.h: IP_VS_SVC_F_*. HASHED is the kernel's own mark and never part of a Service.
PERSISTENT = 0x0001
HASHED = 0x0002
ONE_PACKET = 0x0004
SCHEDULER_1 = 0x0008
SCHEDULER_2 = 0x0010
SCHEDULER_3 = 0x0020

SINGLE_HOST = {4: 0xFFFFFFFF, 6: 128}  # Service.netmask without persistence granularity

_PROTOCOLS = {socket.IPPROTO_TCP: "tcp", socket.IPPROTO_UDP: "udp", socket.IPPROTO_SCTP: "sctp"}
_AF = {4: socket.AF_INET, 6: socket.AF_INET6}


class Method(enum.IntEnum):
    """IP_VS_CONN_F_*: how packets get to a destination."""

    MASQUERADE = 0
    LOCAL = 1  # shown by old kernels for a destination on this host; never asked for
    TUNNEL = 2
    DIRECT = 3
    BYPASS = 4  # the kernel's own


class Tunnel(enum.IntEnum):
    """IP_VS_CONN_F_TUNNEL_TYPE_*."""

    IPIP = 0
    GUE = 1
    GRE = 2


# IP_VS_TUNNEL_ENCAP_FLAG_*
NO_CHECKSUM = 0
CHECKSUM = 1
REMOTE_CHECKSUM = 2


class ServiceKey(NamedTuple):
    """Identity of a service: address, port and protocol, or a firewall mark and nothing else."""

    family: int  # 4 or 6
    protocol: int  # IPPROTO_*; 0 with a mark
    address: bytes  # empty with a mark
    port: int
    fwmark: int = 0

    def __str__(self) -> str:
        if self.fwmark:
            return f"FWM {self.fwmark}"
        protocol = _PROTOCOLS.get(self.protocol, str(self.protocol))
        return f"[{address_text(self.address)}]:{protocol}:{self.port}"


class Service(NamedTuple):
    key: ServiceKey
    scheduler: str = "wlc"  # "none": created without one
    flags: int = 0  # PERSISTENT, ONE_PACKET, SCHEDULER_1..3
    timeout_s: int = 0  # of persistence
    netmask: int = 0xFFFFFFFF  # IPv4: the mask as a number; IPv6: a prefix length, 1..128
    engine: str = ""  # persistence engine


class DestinationKey(NamedTuple):
    """Identity of a destination within its service."""

    family: int  # 4 or 6; only a tunnel may lead to another family than the service's
    address: bytes
    port: int

    def __str__(self) -> str:
        return f"[{address_text(self.address)}]:{self.port}"


class Destination(NamedTuple):
    key: DestinationKey
    weight: int = 1  # 0..2^31-1; 0: no new connections
    method: int = Method.MASQUERADE
    uthreshold: int = 0  # connections; 0: no limit
    lthreshold: int = 0
    tunnel: int = Tunnel.IPIP
    tunnel_port: int = 0
    tunnel_flags: int = NO_CHECKSUM


Destinations = dict[DestinationKey, Destination]


class Entry(NamedTuple):
    """A service with its destinations. Nobody changes a dictionary that others may hold."""

    service: Service
    destinations: Destinations


Entries = dict[ServiceKey, Entry]


class Role(enum.IntEnum):
    """IP_VS_STATE_*: of a sync daemon."""

    MASTER = 1
    BACKUP = 2


class Daemon(NamedTuple):
    """One of the kernel's two connection sync daemons.

    0 and empty mean the kernel's default when it is started; what runs always shows values.
    """

    role: Role
    interface: str
    id: int = 0  # 0..255
    maxlen: int = 0  # bytes of UDP payload
    group: bytes = b""  # multicast address, 4 or 16 bytes
    port: int = 0
    ttl: int = 0


class Counters(NamedTuple):
    """IPVS_STATS_ATTR_*, 64 bits each; the rates are the kernel's, per second. The kernel brings
    both up to date every 2 s; numbers of connections beside them are exact."""

    connections: int = 0
    packets_in: int = 0
    packets_out: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    connections_rate: int = 0
    packets_in_rate: int = 0
    packets_out_rate: int = 0
    bytes_in_rate: int = 0
    bytes_out_rate: int = 0


class DestinationStatistics(NamedTuple):
    active: int  # connections that can carry data
    inactive: int  # closing, or not yet open
    persistent: int  # templates that keep clients at this destination
    counters: Counters


class ServiceStatistics(NamedTuple):
    counters: Counters
    destinations: dict[DestinationKey, DestinationStatistics]


def pack_address(address: str) -> bytes:
    """4 or 16 bytes. Raises OSError for what is no address."""
    return socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)


def address_text(address: bytes) -> str:
    return socket.inet_ntop(socket.AF_INET if len(address) == 4 else socket.AF_INET6, address)


def address_family(family: int) -> int:
    """AF_INET or AF_INET6 for 4 or 6."""
    return int(_AF[family])
