"""IPVS services and destinations on the byte level: generic netlink, family "IPVS".

Beside `net.wire`, which frames messages. Numbers are those of linux/ip_vs.h. What must be quick is
one `Struct`: adding a destination, which happens tens of thousands of times at a start; and telling
whether a dumped one is as it was is one look-up.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Sequence
from socket import htons

from fastvrrp.ipvs.objects import (
    HASHED,
    SINGLE_HOST,
    Counters,
    Destination,
    DestinationKey,
    DestinationStatistics,
    Service,
    ServiceKey,
    address_family,
)
from fastvrrp.ipvs.table import Operation, Verb
from fastvrrp.net.wire import (
    AF_INET,
    AF_INET6,
    HEADER_SIZE,
    NLM_F_ACK,
    NLM_F_DUMP,
    NLM_F_REQUEST,
    Frame,
    MalformedMessage,
    attribute,
    attributes,
    of_size,
    read_string,
    read_u8,
    read_u32,
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
_SERVICE = 1
_DEST = 2

# IPVS_SVC_ATTR_*
_SVC_AF = 1
_SVC_PROTOCOL = 2
_SVC_ADDR = 3
_SVC_PORT = 4
_SVC_FWMARK = 5
_SVC_SCHED_NAME = 6
_SVC_FLAGS = 7
_SVC_TIMEOUT = 8
_SVC_NETMASK = 9
_SVC_PE_NAME = 11
_SVC_STATS64 = 12

# IPVS_DEST_ATTR_*
_DEST_ADDR = 1
_DEST_PORT = 2
_DEST_FWD_METHOD = 3
_DEST_WEIGHT = 4
_DEST_U_THRESH = 5
_DEST_L_THRESH = 6
_DEST_ACTIVE_CONNS = 7
_DEST_INACT_CONNS = 8
_DEST_PERSIST_CONNS = 9
_DEST_ADDR_FAMILY = 11
_DEST_STATS64 = 12
_DEST_TUN_TYPE = 13
_DEST_TUN_PORT = 14
_DEST_TUN_FLAGS = 15

# struct nlmsghdr and struct genlmsghdr
_MESSAGE = struct.Struct("=IHHIIBBxx")
GENERIC_SIZE = 4  # bytes of the latter
_ATTRIBUTE = struct.Struct("=HH")
U16 = struct.Struct("=HHHxx")  # one whole attribute
_FLAGS = struct.Struct("=II")  # struct ip_vs_flags
_STATS64 = struct.Struct("=" + "HHQ" * 10)
_STATS64_KINDS = tuple(range(1, 11))

# An address and port, as services and destinations have them. The port is in network order.
_ADDRESS_PORT = struct.Struct("=HH16sHHHxx")
# IPVS_CMD_ATTR_DEST with everything in it
_WHOLE_DEST = struct.Struct("=HH HH16s HHHxx HHHxx HHI HHI HHI HHI HHBxxx HHHxx HHHxx")
# IPVS_CMD_ATTR_DEST with its identity
_DEST_IDENTITY = struct.Struct("=HH HH16s HHHxx HHHxx")


def message(command: int, flags: int, family_id: int, sequence: int, *, body: bytes = b"") -> bytes:
    """A complete request; `flags` beside NLM_F_REQUEST."""
    size = _MESSAGE.size + len(body)
    head = _MESSAGE.pack(size, family_id, NLM_F_REQUEST | flags, sequence, 0, command, _VERSION)
    return head + body


# -- services and destinations, towards the kernel


def service_identity(key: ServiceKey) -> bytes:
    """The attributes that name a service."""
    family = U16.pack(6, _SVC_AF, address_family(key.family))
    if key.fwmark:
        return family + u32(_SVC_FWMARK, key.fwmark)
    return (
        family
        + U16.pack(6, _SVC_PROTOCOL, key.protocol)
        + _ADDRESS_PORT.pack(20, _SVC_ADDR, key.address, 6, _SVC_PORT, htons(key.port))
    )


def _whole_service(service: Service) -> bytes:
    order = "big" if service.key.family == 4 else sys.byteorder
    return (
        service_identity(service.key)
        + string(_SVC_SCHED_NAME, service.scheduler)
        + attribute(_SVC_FLAGS, _FLAGS.pack(service.flags, 0xFFFFFFFF))
        + u32(_SVC_TIMEOUT, service.timeout_s)
        + attribute(_SVC_NETMASK, service.netmask.to_bytes(4, order))
        + (string(_SVC_PE_NAME, service.engine) if service.engine else b"")
    )


def _whole_destination(destination: Destination) -> bytes:
    (family, address, port), weight, method, upper, lower, tunnel, tunnel_port, tunnel_flags = (
        destination
    )
    # fmt: off
    return _WHOLE_DEST.pack(
        _WHOLE_DEST.size, _DEST,
        20, _DEST_ADDR, address,
        6, _DEST_PORT, htons(port),
        6, _DEST_ADDR_FAMILY, AF_INET if family == 4 else AF_INET6,
        8, _DEST_FWD_METHOD, method,
        8, _DEST_WEIGHT, weight,
        8, _DEST_U_THRESH, upper,
        8, _DEST_L_THRESH, lower,
        5, _DEST_TUN_TYPE, tunnel,
        6, _DEST_TUN_PORT, htons(tunnel_port),
        6, _DEST_TUN_FLAGS, tunnel_flags,
    )
    # fmt: on


def _destination_identity(key: DestinationKey) -> bytes:
    # fmt: off
    return _DEST_IDENTITY.pack(
        _DEST_IDENTITY.size, _DEST,
        20, _DEST_ADDR, key.address,
        6, _DEST_PORT, htons(key.port),
        6, _DEST_ADDR_FAMILY, address_family(key.family),
    )
    # fmt: on


def encode(operations: Sequence[Operation], family_id: int, sequence: int) -> bytes:
    """Requests for all, numbered from `sequence`, for one send. The kernel tells of refusals."""
    parts: list[bytes] = []
    pack, head = _MESSAGE.pack, _MESSAGE.size
    last_key, named = None, b""
    for index, (verb, key, service, destination) in enumerate(operations):
        if verb is Verb.ADD_SERVICE or verb is Verb.EDIT_SERVICE:
            assert service is not None
            body = attribute(_SERVICE, _whole_service(service))
        else:
            if key is not last_key:
                last_key, named = key, attribute(_SERVICE, service_identity(key))
            body = named
            if verb is Verb.DELETE_DESTINATION:
                assert destination is not None
                body += _destination_identity(destination.key)
            elif verb is not Verb.DELETE_SERVICE:
                assert destination is not None
                body += _whole_destination(destination)
        size = head + len(body)
        parts.append(pack(size, family_id, NLM_F_REQUEST, sequence + index, 0, verb, _VERSION))
        parts.append(body)
    return b"".join(parts)


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
    body = attribute(_SERVICE, service_identity(key))
    return message(GET_DEST, NLM_F_DUMP, family_id, sequence, body=body)


# -- services and destinations, from the kernel

_SERVICE_FIELDS = frozenset(
    (
        _SVC_AF,
        _SVC_PROTOCOL,
        _SVC_ADDR,
        _SVC_PORT,
        _SVC_FWMARK,
        _SVC_SCHED_NAME,
        _SVC_FLAGS,
        _SVC_TIMEOUT,
        _SVC_NETMASK,
        _SVC_PE_NAME,
        _SVC_STATS64,
    )
)
_DESTINATION_FIELDS = frozenset(
    (
        _DEST_ADDR,
        _DEST_PORT,
        _DEST_FWD_METHOD,
        _DEST_WEIGHT,
        _DEST_U_THRESH,
        _DEST_L_THRESH,
        _DEST_ADDR_FAMILY,
        _DEST_TUN_TYPE,
        _DEST_TUN_PORT,
        _DEST_TUN_FLAGS,
        _DEST_ACTIVE_CONNS,
        _DEST_INACT_CONNS,
        _DEST_PERSIST_CONNS,
        _DEST_STATS64,
    )
)


def decode_service(data: memoryview, frame: Frame) -> tuple[Service, Counters]:
    """One service of a dump. Raises MalformedMessage."""
    found = nested(data, frame, _SERVICE, _SERVICE_FIELDS)
    family = _family_of(required(found, _SVC_AF))
    if _SVC_FWMARK in found:
        key = ServiceKey(family, 0, b"", 0, read_u32(found[_SVC_FWMARK]))
    else:
        key = ServiceKey(
            family,
            u16_of(required(found, _SVC_PROTOCOL)),
            _address_of(required(found, _SVC_ADDR), family),
            _port_of(required(found, _SVC_PORT)),
        )
    netmask = SINGLE_HOST[family]
    if _SVC_NETMASK in found:
        order = "big" if family == 4 else sys.byteorder
        netmask = int.from_bytes(of_size(found[_SVC_NETMASK], 4), order)
    service = Service(
        key,
        scheduler=read_string(required(found, _SVC_SCHED_NAME)),
        flags=read_u32(required(found, _SVC_FLAGS)) & ~HASHED,
        timeout_s=read_u32(required(found, _SVC_TIMEOUT)),
        netmask=netmask,
        engine=read_string(found.get(_SVC_PE_NAME, b"")),
    )
    return service, _counters(found.get(_SVC_STATS64))


def decode_destination(
    data: memoryview, frame: Frame, family: int
) -> tuple[Destination, DestinationStatistics]:
    """One destination of a dump of a service of this family. Raises MalformedMessage."""
    found = nested(data, frame, _DEST, _DESTINATION_FIELDS)
    if _DEST_ADDR_FAMILY in found:
        family = _family_of(found[_DEST_ADDR_FAMILY])
    key = DestinationKey(
        family,
        _address_of(required(found, _DEST_ADDR), family),
        _port_of(required(found, _DEST_PORT)),
    )
    destination = Destination(
        key,
        weight=read_u32(required(found, _DEST_WEIGHT)),
        method=read_u32(required(found, _DEST_FWD_METHOD)) & 7,  # IP_VS_CONN_F_FWD_MASK
        uthreshold=read_u32(required(found, _DEST_U_THRESH)),
        lthreshold=read_u32(required(found, _DEST_L_THRESH)),
        # These three since Linux 5.2
        tunnel=read_u8(found.get(_DEST_TUN_TYPE, b"\0")),
        tunnel_port=_port_of(found.get(_DEST_TUN_PORT, b"\0\0")),
        tunnel_flags=u16_of(found.get(_DEST_TUN_FLAGS, b"\0\0")),
    )
    statistics = DestinationStatistics(
        read_u32(required(found, _DEST_ACTIVE_CONNS)),
        read_u32(required(found, _DEST_INACT_CONNS)),
        read_u32(required(found, _DEST_PERSIST_CONNS)),
        _counters(found.get(_DEST_STATS64)),
    )
    return destination, statistics


class DestinationReader:
    """Decodes dumped destinations whose counters do not matter.

    A table is read again and again and nearly always as it was. The kernel writes what can be
    configured first, then the counters, with the family behind the first three of them, so these
    bytes stand for the destination: what was seen before costs a look-up.
    """

    _LIMIT = 1 << 17  # destinations remembered; more than that are forgotten and learned anew
    _COUNTERS = 24  # bytes of the three attributes between

    def __init__(self) -> None:
        self._known: dict[bytes, Destination] = {}
        self._size = 0  # of what comes before the counters; 0: not known
        self._mark = b""  # header of the first counter
        self._family_mark = b""

    def read(self, data: memoryview, frame: Frame, family: int) -> Destination:
        """As decode_destination. Raises MalformedMessage."""
        begin = frame.start + GENERIC_SIZE + _ATTRIBUTE.size
        counters = begin + self._size
        behind = counters + self._COUNTERS
        if (
            not self._size
            or behind + U16.size > frame.end
            or data[counters : counters + 4] != self._mark
            or data[behind : behind + 4] != self._family_mark
        ):
            destination, _ = decode_destination(data, frame, family)
            self._learn(data, begin, frame.end)
            return destination
        key = bytes(data[begin:counters]) + bytes(data[behind : behind + 8])
        known = self._known.get(key)
        if known is None:
            known, _ = decode_destination(data, frame, family)
            if len(self._known) >= self._LIMIT:
                self._known.clear()
            self._known[key] = known
        return known

    def _learn(self, data: memoryview, begin: int, end: int) -> None:
        """Find the layout in a message that has been decoded; keep none if it is another."""
        places: dict[int, int] = {}
        offset = begin
        while end - offset >= 4:
            length, kind = _ATTRIBUTE.unpack_from(data, offset)
            places[kind] = offset
            offset += (length + 3) & ~3
        counters = places[_DEST_ACTIVE_CONNS]
        configured = _DESTINATION_FIELDS & places.keys() - {
            _DEST_ADDR_FAMILY,
            _DEST_ACTIVE_CONNS,
            _DEST_INACT_CONNS,
            _DEST_PERSIST_CONNS,
            _DEST_STATS64,
        }
        in_front = all(places[kind] < counters for kind in configured)
        if in_front and places.get(_DEST_ADDR_FAMILY) == counters + self._COUNTERS:
            self._size = counters - begin
            self._mark = _ATTRIBUTE.pack(8, _DEST_ACTIVE_CONNS)
            self._family_mark = _ATTRIBUTE.pack(6, _DEST_ADDR_FAMILY)
        else:
            self._size = 0


# -- values


def nested(
    data: memoryview, frame: Frame, kind: int, wanted: frozenset[int] | None
) -> dict[int, bytes]:
    outer = attributes(data, frame.start + GENERIC_SIZE, frame.end, frozenset((kind,)))
    payload = required(outer, kind)
    return attributes(memoryview(payload), 0, len(payload), wanted)


def required(found: dict[int, bytes], kind: int) -> bytes:
    payload = found.get(kind)
    if payload is None:
        raise MalformedMessage(f"IPVS attribute {kind} is missing")
    return payload


def u16_of(payload: bytes) -> int:
    return int.from_bytes(of_size(payload, 2), sys.byteorder)


def _port_of(payload: bytes) -> int:
    return int.from_bytes(of_size(payload, 2), "big")


def _family_of(payload: bytes) -> int:
    family = u16_of(payload)
    if family not in (AF_INET, AF_INET6):
        raise MalformedMessage(f"address family {family}")
    return 4 if family == AF_INET else 6


def _address_of(payload: bytes, family: int) -> bytes:
    """union nf_inet_addr has room for either family."""
    size = 4 if family == 4 else 16
    if len(payload) < size:
        raise MalformedMessage("address too short")
    return payload[:size]


def _counters(payload: bytes | None) -> Counters:
    """IPVS_*_ATTR_STATS64; all 0 where the kernel has none (before 4.2)."""
    if payload is None:
        return Counters()
    if len(payload) == _STATS64.size:
        values = _STATS64.unpack(payload)
        if values[1::3] == _STATS64_KINDS:
            return Counters._make(values[2::3])
    # Another order, or padded as on processors that cannot read unaligned numbers.
    found = attributes(memoryview(payload), 0, len(payload))
    return Counters._make(
        int.from_bytes(of_size(found[kind], 8), sys.byteorder) if kind in found else 0
        for kind in _STATS64_KINDS
    )


assert _MESSAGE.size == HEADER_SIZE + GENERIC_SIZE
