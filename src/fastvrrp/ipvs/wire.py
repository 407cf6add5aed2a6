"""IPVS on the byte level: generic netlink, family "IPVS". Requests for services and destinations.

Beside `net.wire`, which frames messages. Numbers are those of linux/ip_vs.h. What happens tens of
thousands of times at a start, adding a destination, is one `Struct`. `wire_reading` has the
answers, `wire_settings` the rest of IPVS.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Sequence
from socket import htons

from fastvrrp import _core
from fastvrrp.ipvs.objects import (
    DestinationKey,
    Service,
    ServiceKey,
    address_family,
)
from fastvrrp.ipvs.table import Operation
from fastvrrp.net.wire import (
    HEADER_SIZE,
    NLM_F_ACK,
    NLM_F_DUMP,
    NLM_F_REQUEST,
    attribute,
    string,
    u32,
)
from fastvrrp.net.wire import message as net_message

NETLINK_GENERIC = 16
NLMSG_NOOP = 1

_VERSION = 1  # IPVS_GENL_VERSION, and that of the controller is not looked at

# IPVS_CMD_*; those of services and destinations are table.Verb
GET_SERVICE = 4
GET_DEST = 8

# IPVS_CMD_ATTR_*
SERVICE = 1
DEST = 2

# IPVS_SVC_ATTR_*
SVC_AF = 1
SVC_PROTOCOL = 2
SVC_ADDR = 3
SVC_PORT = 4
SVC_FWMARK = 5
SVC_SCHED_NAME = 6
SVC_FLAGS = 7
SVC_TIMEOUT = 8
SVC_NETMASK = 9
SVC_PE_NAME = 11
SVC_STATS64 = 12

# IPVS_DEST_ATTR_*
DEST_ADDR = 1
DEST_PORT = 2
DEST_FWD_METHOD = 3
DEST_WEIGHT = 4
DEST_U_THRESH = 5
DEST_L_THRESH = 6
DEST_ACTIVE_CONNS = 7
DEST_INACT_CONNS = 8
DEST_PERSIST_CONNS = 9
DEST_STATS = 10
DEST_ADDR_FAMILY = 11
DEST_STATS64 = 12
DEST_TUN_TYPE = 13
DEST_TUN_PORT = 14
DEST_TUN_FLAGS = 15

# struct nlmsghdr and struct genlmsghdr
_MESSAGE = struct.Struct("=IHHIIBBxx")
GENERIC_SIZE = 4  # bytes of the latter
U16 = struct.Struct("=HHHxx")  # one whole attribute
_FLAGS = struct.Struct("=II")  # struct ip_vs_flags

# An address and port, as services and destinations have them. The port is in network order.
_ADDRESS_PORT = struct.Struct("=HH16sHHHxx")
# IPVS_CMD_ATTR_DEST with its identity
_DEST_IDENTITY = struct.Struct("=HH HH16s HHHxx HHHxx")


def message(command: int, flags: int, family_id: int, sequence: int, *, body: bytes = b"") -> bytes:
    """A complete request; `flags` beside NLM_F_REQUEST."""
    size = _MESSAGE.size + len(body)
    head = _MESSAGE.pack(size, family_id, NLM_F_REQUEST | flags, sequence, 0, command, _VERSION)
    return head + body


def service_identity(key: ServiceKey) -> bytes:
    """The attributes that name a service."""
    family = U16.pack(6, SVC_AF, address_family(key.family))
    if key.fwmark:
        return family + u32(SVC_FWMARK, key.fwmark)
    return (
        family
        + U16.pack(6, SVC_PROTOCOL, key.protocol)
        + _ADDRESS_PORT.pack(20, SVC_ADDR, key.address, 6, SVC_PORT, htons(key.port))
    )


def _whole_service(service: Service) -> bytes:
    order = "big" if service.key.family == 4 else sys.byteorder
    return (
        service_identity(service.key)
        + string(SVC_SCHED_NAME, service.scheduler)
        + attribute(SVC_FLAGS, _FLAGS.pack(service.flags, 0xFFFFFFFF))
        + u32(SVC_TIMEOUT, service.timeout_s)
        + attribute(SVC_NETMASK, service.netmask.to_bytes(4, order))
        + (string(SVC_PE_NAME, service.engine) if service.engine else b"")
    )


def _destination_identity(key: DestinationKey) -> bytes:
    # fmt: off
    return _DEST_IDENTITY.pack(
        _DEST_IDENTITY.size, DEST,
        20, DEST_ADDR, key.address,
        6, DEST_PORT, htons(key.port),
        6, DEST_ADDR_FAMILY, address_family(key.family),
    )
    # fmt: on


def encode(operations: Sequence[Operation], family_id: int, sequence: int) -> bytes:
    """Requests for all, numbered from `sequence`, for one send. The kernel tells of refusals."""
    return _core.ipvs_requests(operations, family_id, sequence, _named, _body)


def _named(key: ServiceKey) -> bytes:
    return attribute(SERVICE, service_identity(key))


def _body(operation: Operation) -> bytes:
    """Of an operation that does not add or edit a destination."""
    if operation.service is not None:
        return attribute(SERVICE, _whole_service(operation.service))
    if operation.destination is not None:
        return _named(operation.key) + _destination_identity(operation.destination.key)
    return _named(operation.key)


def end_request(sequence: int) -> bytes:
    """Does nothing but be acknowledged. The kernel answers in order, so behind others it tells that
    they were carried out; asking each costs more, and is not safe: an errno of EINTR, as when a
    sync daemon is stopped that has not yet run, is never answered (af_netlink.c)."""
    return net_message(NLMSG_NOOP, NLM_F_REQUEST | NLM_F_ACK, b"", sequence)


def services_request(family_id: int, sequence: int) -> bytes:
    """A dump of all services."""
    return message(GET_SERVICE, NLM_F_DUMP, family_id, sequence)


def destinations_request(key: ServiceKey, family_id: int, sequence: int) -> bytes:
    """A dump of the destinations of one service. An unknown service has none."""
    body = attribute(SERVICE, service_identity(key))
    return message(GET_DEST, NLM_F_DUMP, family_id, sequence, body=body)


assert _MESSAGE.size == HEADER_SIZE + GENERIC_SIZE
