"""IPVS services and destinations as the kernel sends them. `wire` has the numbers and what is sent.

A body is one message of a dump without its two headers. Every function raises MalformedMessage for
what contradicts itself.
"""

from __future__ import annotations

import os
import struct
import sys
from collections.abc import Iterator
from socket import ntohs

from fastvrrp.ipvs import wire
from fastvrrp.ipvs.objects import (
    HASHED,
    SINGLE_HOST,
    Counters,
    Destination,
    DestinationKey,
    DestinationStatistics,
    Service,
    ServiceKey,
)
from fastvrrp.net.wire import (
    AF_INET,
    AF_INET6,
    HEADER_SIZE,
    NLMSG_DONE,
    NLMSG_ERROR,
    MalformedMessage,
    attributes,
    of_size,
    read_string,
    read_u8,
    read_u32,
)

_HEAD = struct.Struct("=IHHI")  # of struct nlmsghdr: length, type, flags, sequence
_ERRNO = struct.Struct("=i")
_ATTRIBUTE = struct.Struct("=HH")
_STATS64_KINDS = tuple(range(1, 11))
# IPVS_*_ATTR_STATS64 by its size: ten numbers, on processors that cannot read them unaligned with
# padding before those that need it.
_STATS64 = {
    form.size: form
    for form in map(struct.Struct, ("=" + "HHQ" * 10, "=" + "4xHHQ" * 10, "=HHQ" + "4xHHQ" * 9))
}
_FIRST = _ATTRIBUTE.size  # where the attributes begin, within the one that holds them all


# -- messages


def ends(data: bytes, number: int) -> bool:
    """Whether the answer to a request comes to its end in this datagram."""
    offset, size = 0, len(data)
    unpack = _HEAD.unpack_from
    while size - offset >= HEADER_SIZE:
        length, kind, _, sequence = unpack(data, offset)
        if kind <= NLMSG_DONE and sequence == number and kind in (NLMSG_ERROR, NLMSG_DONE):
            return True
        if length < HEADER_SIZE:
            raise MalformedMessage(f"message of {length} bytes")
        offset += (length + 3) & ~3
    return False


def refusals(data: bytes) -> Iterator[tuple[int, int]]:
    """Sequence number and errno of every request that failed."""
    for kind, sequence, start, end in _messages(data):
        if kind == NLMSG_ERROR and (code := _errno(data, start, end)):
            yield sequence, code


def bodies(data: bytes, number: int) -> Iterator[bytes]:
    """What answers this request. Raises OSError with what the kernel refused it for."""
    for kind, sequence, start, end in _messages(data):
        if sequence != number:
            continue  # of a request that was given up
        if kind not in (NLMSG_ERROR, NLMSG_DONE):
            yield data[start + wire.GENERIC_SIZE : end]
        elif code := _errno(data, start, end):
            raise OSError(code, os.strerror(code))


def _messages(data: bytes) -> Iterator[tuple[int, int, int, int]]:
    """Type, sequence number, begin and end of each message."""
    offset, size = 0, len(data)
    unpack = _HEAD.unpack_from
    while size - offset >= HEADER_SIZE:
        length, kind, _, sequence = unpack(data, offset)
        end = offset + length
        if length < HEADER_SIZE or end > size:
            raise MalformedMessage(f"message of {length} bytes with {size - offset} left")
        yield kind, sequence, offset + HEADER_SIZE, end
        offset += (length + 3) & ~3


def _errno(data: bytes, start: int, end: int) -> int:
    """In NLMSG_ERROR, or in the NLMSG_DONE that ends a dump; 0 for success."""
    if end - start < _ERRNO.size:
        raise MalformedMessage("answer too short")
    code: int = _ERRNO.unpack_from(data, start)[0]
    if code > 0:
        raise MalformedMessage(f"answer {code} is no errno")
    return -code


# -- services and destinations


def decode_service(body: bytes) -> tuple[Service, Counters]:
    """One service of a dump."""
    found = nested(body, wire.SERVICE)
    family = _family_of(required(found, wire.SVC_AF))
    if wire.SVC_FWMARK in found:
        key = ServiceKey(family, 0, b"", 0, read_u32(found[wire.SVC_FWMARK]))
    else:
        key = ServiceKey(
            family,
            u16_of(required(found, wire.SVC_PROTOCOL)),
            _address_of(required(found, wire.SVC_ADDR), family),
            _port_of(required(found, wire.SVC_PORT)),
        )
    netmask = SINGLE_HOST[family]
    if wire.SVC_NETMASK in found:
        order = "big" if family == 4 else sys.byteorder
        netmask = int.from_bytes(of_size(found[wire.SVC_NETMASK], 4), order)
    service = Service(
        key,
        scheduler=read_string(required(found, wire.SVC_SCHED_NAME)),
        flags=read_u32(required(found, wire.SVC_FLAGS)) & ~HASHED,
        timeout_s=read_u32(required(found, wire.SVC_TIMEOUT)),
        netmask=netmask,
        engine=read_string(found.get(wire.SVC_PE_NAME, b"")),
    )
    return service, _counters(found.get(wire.SVC_STATS64))


def decode_destination(body: bytes, family: int) -> Destination:
    """One destination of a dump of a service of this family."""
    found = _in_order(body)
    return _destination_in_any_order(body, family)[0] if found is None else found[0]


def decode_statistics(body: bytes, family: int) -> tuple[Destination, DestinationStatistics]:
    """The same with its counters."""
    found = _in_order(body)
    counters = _stats64(body)
    if found is None or counters is None:
        return _destination_in_any_order(body, family)
    destination, counts = found
    return destination, DestinationStatistics(*counts, counters)


# What ip_vs_genl_fill_dest puts into a message since Linux 5.2, up to the counters of packets
_IN_ORDER = struct.Struct("=HH16sHHHxxHHIHHIHHBxxxHHHxxHHHxxHHIHHIHHIHHIHHIHHHxx")
_KINDS = (
    wire.DEST_ADDR,
    wire.DEST_PORT,
    wire.DEST_FWD_METHOD,
    wire.DEST_WEIGHT,
    wire.DEST_TUN_TYPE,
    wire.DEST_TUN_PORT,
    wire.DEST_TUN_FLAGS,
    wire.DEST_U_THRESH,
    wire.DEST_L_THRESH,
    wire.DEST_ACTIVE_CONNS,
    wire.DEST_INACT_CONNS,
    wire.DEST_PERSIST_CONNS,
    wire.DEST_ADDR_FAMILY,
)
_LENGTHS = (20, 6, 8, 8, 5, 6, 6, 8, 8, 8, 8, 8, 6)
_METHOD_MASK = 7  # IP_VS_CONN_F_FWD_MASK


def _in_order(body: bytes) -> tuple[Destination, tuple[int, int, int]] | None:
    """A destination and its numbers of connections, quickly: a table of tens of thousands is read
    again and again. None for a message that another kernel has laid out."""
    if len(body) < _FIRST + _IN_ORDER.size:
        return None
    values = _IN_ORDER.unpack_from(body, _FIRST)
    if values[1::3] != _KINDS or values[0::3] != _LENGTHS:
        return None
    # fmt: off
    (address, port, method, weight, tunnel, tunnel_port, tunnel_flags, upper, lower,
     active, inactive, persistent, af) = values[2::3]
    # fmt: on
    if af == AF_INET:
        key = DestinationKey(4, address[:4], ntohs(port))
    elif af == AF_INET6:
        key = DestinationKey(6, address, ntohs(port))
    else:
        return None
    method &= _METHOD_MASK
    tunnel_port = ntohs(tunnel_port)
    made = Destination(key, weight, method, upper, lower, tunnel, tunnel_port, tunnel_flags)
    return made, (active, inactive, persistent)


def _stats64(body: bytes) -> Counters | None:
    """The counters of 64 bits where they follow in order: behind those of 32."""
    at = _FIRST + _IN_ORDER.size
    for expected in (wire.DEST_STATS, wire.DEST_STATS64):
        if len(body) - at < _ATTRIBUTE.size:
            return None
        length, kind = _ATTRIBUTE.unpack_from(body, at)
        if kind != expected:
            return None
        begin, at = at + _ATTRIBUTE.size, at + ((length + 3) & ~3)
    return _counters(body[begin : begin + length - _ATTRIBUTE.size])


def _destination_in_any_order(
    body: bytes, family: int
) -> tuple[Destination, DestinationStatistics]:
    found = nested(body, wire.DEST)
    if wire.DEST_ADDR_FAMILY in found:
        family = _family_of(found[wire.DEST_ADDR_FAMILY])
    key = DestinationKey(
        family,
        _address_of(required(found, wire.DEST_ADDR), family),
        _port_of(required(found, wire.DEST_PORT)),
    )
    destination = Destination(
        key,
        weight=read_u32(required(found, wire.DEST_WEIGHT)),
        method=read_u32(required(found, wire.DEST_FWD_METHOD)) & _METHOD_MASK,
        uthreshold=read_u32(required(found, wire.DEST_U_THRESH)),
        lthreshold=read_u32(required(found, wire.DEST_L_THRESH)),
        # These three since Linux 5.2
        tunnel=read_u8(found.get(wire.DEST_TUN_TYPE, b"\0")),
        tunnel_port=_port_of(found.get(wire.DEST_TUN_PORT, b"\0\0")),
        tunnel_flags=u16_of(found.get(wire.DEST_TUN_FLAGS, b"\0\0")),
    )
    statistics = DestinationStatistics(
        read_u32(required(found, wire.DEST_ACTIVE_CONNS)),
        read_u32(required(found, wire.DEST_INACT_CONNS)),
        read_u32(required(found, wire.DEST_PERSIST_CONNS)),
        _counters(found.get(wire.DEST_STATS64)),
    )
    return destination, statistics


# -- values


def nested(body: bytes, kind: int) -> dict[int, bytes]:
    """The attributes within the one that holds them all."""
    payload = required(attributes(memoryview(body), 0, len(body)), kind)
    return attributes(memoryview(payload), 0, len(payload))


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
    form = _STATS64.get(len(payload))
    if form is not None:
        values = form.unpack(payload)
        if values[1::3] == _STATS64_KINDS:
            return Counters._make(values[2::3])
    found = attributes(memoryview(payload), 0, len(payload))
    return Counters._make(
        int.from_bytes(of_size(found[kind], 8), sys.byteorder) if kind in found else 0
        for kind in _STATS64_KINDS
    )
