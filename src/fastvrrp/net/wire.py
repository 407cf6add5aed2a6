"""rtnetlink on the byte level: numbers, message framing, attribute encoding and checked decoding.

Small on purpose: importing a general netlink library takes longer than the whole start of a
supervisor, and this code runs for every kernel event. Numbers are those of linux/netlink.h,
linux/rtnetlink.h, linux/if_link.h, linux/if_addr.h and linux/fib_rules.h.
"""

from __future__ import annotations

import errno
import socket
import struct
import sys
from collections.abc import Iterator
from typing import NamedTuple

AF_INET = int(socket.AF_INET)
AF_INET6 = int(socket.AF_INET6)
AF_NETLINK = 16
NETLINK_ROUTE = 0

# linux/netlink.h
NLM_F_REQUEST = 0x01
NLM_F_ACK = 0x04
NLM_F_DUMP_INTR = 0x10
NLM_F_DUMP = 0x300
NLM_F_REPLACE = 0x100  # on a notification: it took the place of an older object
NLM_F_EXCL = 0x200
NLM_F_CREATE = 0x400
NLM_F_APPEND = 0x800
NLMSG_ERROR = 2
NLMSG_DONE = 3
SOL_NETLINK = 270
NETLINK_GET_STRICT_CHK = 12

# linux/rtnetlink.h
RTM_NEWLINK = 16
RTM_DELLINK = 17
RTM_GETLINK = 18
RTM_NEWADDR = 20
RTM_DELADDR = 21
RTM_GETADDR = 22
RTM_NEWROUTE = 24
RTM_DELROUTE = 25
RTM_GETROUTE = 26
RTM_NEWRULE = 32
RTM_DELRULE = 33
RTM_GETRULE = 34

RTNLGRP_LINK = 1
RTNLGRP_IPV4_IFADDR = 5
RTNLGRP_IPV4_ROUTE = 7
RTNLGRP_IPV4_RULE = 8
RTNLGRP_IPV6_IFADDR = 9
RTNLGRP_IPV6_ROUTE = 11
RTNLGRP_IPV6_RULE = 19

RT_TABLE_UNSPEC = 0
RT_TABLE_MAIN = 254
RT_TABLE_LOCAL = 255

# The originator we write into everything we install. The number is registered for VRRP
# (RTPROT_KEEPALIVED in linux/rtnetlink.h), so `ip route show proto keepalived` finds it.
PROTOCOL = 18

_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_PADDING = (b"", b"\0\0\0", b"\0\0", b"\0")
HEADER_SIZE = _HEADER.size
U32 = struct.Struct("=I")
I32 = struct.Struct("=i")
IFINFOMSG = struct.Struct("=BxHiII")
IFADDRMSG = struct.Struct("=BBBBI")
RTMSG = struct.Struct("=BBBBBBBBI")
RTNEXTHOP = struct.Struct("=HBBi")
FIB_RULE_HDR = struct.Struct("=BBBBBBBBI")
_NLA_TYPE_MASK = 0x3FFF


# Error classes a player of requests tolerates; the numbers are those of `_core.OK_EXIST/OK_GONE`.
OK_EXIST = 1
OK_GONE = 2
GONE_ERRNOS = frozenset((errno.ENOENT, errno.ESRCH, errno.EADDRNOTAVAIL, errno.ENODEV))


class MalformedMessage(OSError):
    """A netlink message that contradicts itself: a length points outside of it, or is not that
    of its kind. An OSError (EBADMSG), because whoever asks the kernel is ready for these."""

    def __init__(self, text: str) -> None:
        super().__init__(errno.EBADMSG, text)


class Request(NamedTuple):
    """One complete rtnetlink request and the errors that count as success (OK_EXIST, OK_GONE)."""

    message: bytes
    tolerated: int


def message(kind: int, flags: int, body: bytes, sequence: int = 0) -> bytes:
    """A complete netlink message. The sequence number is patched by whoever sends it."""
    return _HEADER.pack(HEADER_SIZE + len(body), kind, flags, sequence, 0) + body


def with_sequence(data: bytes, sequence: int) -> bytes:
    """The same message with another sequence number."""
    return data[:8] + U32.pack(sequence) + data[12:]


def retyped(data: bytes, kind: int, flags: int) -> bytes:
    """The body of one message as another request: how a dumped object becomes its own deletion."""
    return message(kind, flags, data[HEADER_SIZE:])


def attribute(kind: int, payload: bytes) -> bytes:
    """One rtattr, padded to four bytes."""
    size = 4 + len(payload)
    return _ATTRIBUTE.pack(size, kind) + payload + _PADDING[size & 3]


def u8(kind: int, value: int) -> bytes:
    return attribute(kind, bytes((value,)))


def u32(kind: int, value: int) -> bytes:
    return attribute(kind, U32.pack(value & 0xFFFFFFFF))


def string(kind: int, value: str) -> bytes:
    return attribute(kind, value.encode() + b"\0")


class Frame(NamedTuple):
    """Where one message of a datagram lies: body from `start` to `end`."""

    kind: int
    flags: int
    sequence: int
    offset: int
    start: int
    end: int


def frames(data: memoryview) -> Iterator[Frame]:
    """The messages of one datagram. Raises MalformedMessage at the first bad length."""
    offset, size = 0, len(data)
    while size - offset >= HEADER_SIZE:
        length, kind, flags, sequence, _ = _HEADER.unpack_from(data, offset)
        end = offset + length
        if length < HEADER_SIZE or end > size:
            raise MalformedMessage(f"message of {length} bytes with {size - offset} left")
        yield Frame(kind, flags, sequence, offset, offset + HEADER_SIZE, end)
        offset += (length + 3) & ~3


def answer(data: memoryview, frame: Frame) -> int:
    """The errno in NLMSG_ERROR, or in the NLMSG_DONE that ends a dump; 0 for success.

    A dump that fails half-way says so only there. Raises MalformedMessage.
    """
    if frame.end - frame.start < I32.size:
        raise MalformedMessage("answer too short")
    code: int = I32.unpack_from(data, frame.start)[0]
    if code > 0:
        raise MalformedMessage(f"answer {code} is no errno")
    return -code


def attributes(
    data: memoryview, start: int, end: int, wanted: frozenset[int] | None = None
) -> dict[int, bytes]:
    """The attributes between two offsets, the last of each kind; only `wanted` ones are copied.

    Raises MalformedMessage when a length is shorter than its header or leaves the message.
    """
    found: dict[int, bytes] = {}
    if start > end:
        raise MalformedMessage("message shorter than its fixed part")
    unpack = _ATTRIBUTE.unpack_from
    while end - start >= 4:
        length, kind = unpack(data, start)
        if length < 4 or start + length > end:
            raise MalformedMessage(f"attribute of {length} bytes with {end - start} left")
        kind &= _NLA_TYPE_MASK
        if wanted is None or kind in wanted:
            found[kind] = bytes(data[start + 4 : start + length])
        start += (length + 3) & ~3
    return found


def read_u8(payload: bytes) -> int:
    if len(payload) < 1:
        raise MalformedMessage("u8 attribute too short")
    return payload[0]


def read_u32(payload: bytes) -> int:
    if len(payload) < 4:
        raise MalformedMessage("u32 attribute too short")
    return int.from_bytes(payload[:4], sys.byteorder)


def of_size(payload: bytes, size: int) -> bytes:
    """The payload, which must have this size. Raises MalformedMessage."""
    if len(payload) != size:
        raise MalformedMessage(f"attribute of {len(payload)} bytes instead of {size}")
    return payload


def read_string(payload: bytes) -> str:
    return payload.split(b"\0", 1)[0].decode("utf-8", "surrogateescape")


def tolerable(error: int, tolerated: int) -> bool:
    """Whether a kernel answer counts as success under these bits."""
    if error == 0 or (error == errno.EEXIST and tolerated & OK_EXIST):
        return True
    return bool(tolerated & OK_GONE) and error in GONE_ERRNOS
