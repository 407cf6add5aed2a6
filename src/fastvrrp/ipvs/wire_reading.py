"""IPVS services and destinations as the kernel sends them. `wire` has the numbers and what is sent.

A body is one message of a dump without its two headers. Every function raises MalformedMessage for
what contradicts itself.
"""

from __future__ import annotations

import os
import struct
import sys
from collections.abc import Iterator

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
_COUNTS = struct.Struct("=4xI4xI4xI")  # three attributes
_FAMILY_SIZE = wire.U16.size


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


def decode_destination(body: bytes, family: int) -> tuple[Destination, DestinationStatistics]:
    """One destination of a dump of a service of this family."""
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
        method=read_u32(required(found, wire.DEST_FWD_METHOD)) & 7,  # IP_VS_CONN_F_FWD_MASK
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


class DestinationReader:
    """Decodes what it has seen before with one look-up.

    A table is read again and again and nearly always as it was. The kernel writes what can be
    configured first, then the counters, with the family behind the first three of them: these
    bytes stand for the destination. Where another kernel writes in another order, all is decoded.
    """

    _LIMIT = 1 << 17  # destinations remembered; more than that are forgotten and learned anew
    _CONFIGURED = frozenset(
        (
            wire.DEST_ADDR,
            wire.DEST_PORT,
            wire.DEST_FWD_METHOD,
            wire.DEST_WEIGHT,
            wire.DEST_U_THRESH,
            wire.DEST_L_THRESH,
            wire.DEST_TUN_TYPE,
            wire.DEST_TUN_PORT,
            wire.DEST_TUN_FLAGS,
        )
    )

    def __init__(self) -> None:
        self._known: dict[bytes, Destination] = {}
        self._counts = 0  # where the counters begin; 0: not known, or an order of its own
        self._family = 0

    def destination(self, body: bytes, family: int) -> Destination:
        """As decode_destination."""
        known = self._known.get(self._key(body))
        return self._learn(body, family) if known is None else known

    def statistics(self, body: bytes, family: int) -> tuple[Destination, DestinationStatistics]:
        """As decode_destination."""
        known = self._known.get(self._key(body))
        counters = b"" if known is None else self._stats64(body)
        if known is None or not counters:
            self._learn(body, family)
            return decode_destination(body, family)
        active, inactive, persistent = _COUNTS.unpack_from(body, self._counts)
        statistics = DestinationStatistics(active, inactive, persistent, _counters(counters))
        return known, statistics

    def _stats64(self, body: bytes) -> bytes:
        """The counters of 64 bits, which follow on those of 32; empty where they do not."""
        at = self._family + _FAMILY_SIZE
        for expected in (wire.DEST_STATS, wire.DEST_STATS64):
            if len(body) - at < _ATTRIBUTE.size:
                return b""
            length, kind = _ATTRIBUTE.unpack_from(body, at)
            if kind != expected:
                return b""
            begin, at = at + _ATTRIBUTE.size, at + ((length + 3) & ~3)
        return body[begin : begin + length - _ATTRIBUTE.size]

    def _key(self, body: bytes) -> bytes:
        """With the first bytes of the counters and of the family, which tell what they are."""
        family = self._family
        return body[_FIRST : self._counts + _FIRST] + body[family : family + _FAMILY_SIZE]

    def _learn(self, body: bytes, family: int) -> Destination:
        destination, _ = decode_destination(body, family)
        places: dict[int, int] = {}
        offset = _FIRST
        while len(body) - offset >= _ATTRIBUTE.size:
            length, kind = _ATTRIBUTE.unpack_from(body, offset)
            places[kind] = offset
            offset += (length + 3) & ~3
        counts = places[wire.DEST_ACTIVE_CONNS]
        behind = counts + _COUNTS.size
        if (
            places.get(wire.DEST_ADDR_FAMILY) != behind
            or places[wire.DEST_INACT_CONNS] != counts + 8
            or places[wire.DEST_PERSIST_CONNS] != counts + 16
            or max(places[kind] for kind in self._CONFIGURED & places.keys()) > counts
        ):
            return destination
        if self._counts != counts or len(self._known) >= self._LIMIT:
            self._known.clear()
        self._counts, self._family = counts, behind
        self._known[self._key(body)] = destination
        return destination


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
