"""nf_tables as netlink requests: the few objects and expressions that our table needs.

The kernel is asked directly, so that no program has to be installed. A transaction is a list of
requests, of which all take effect or none. Numbers are those of linux/netfilter/nf_tables.h and
linux/netfilter/nfnetlink.h; integers in attributes are in network byte order.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterable, Sequence

from fastvrrp.net import wire
from fastvrrp.net.rtnl import enlarge_receive_buffer

NETLINK_NETFILTER = 12
NFPROTO_IPV4, NFPROTO_INET, NFPROTO_IPV6 = 2, 1, 10
HOOK_INPUT, HOOK_OUTPUT = 1, 3
ACCEPT, DROP = 1, 0

META_IIFNAME, META_OIFNAME, META_NFPROTO, META_L4PROTO = 6, 7, 15, 16
NETWORK_HEADER, TRANSPORT_HEADER = 1, 2
IFNAMSIZ = 16

# Types of set elements as the program nft numbers them, which shows sets by them; with the size in
# bytes, and the byte order that it is to assume: 0 several, 1 the host's, 2 that of the network.
IPV4_ADDR, IPV6_ADDR, ICMPV6_TYPE, IFNAME = (7, 4, 2), (8, 16, 2), (29, 1, 2), (41, 16, 1)
IFNAME_IPV6_ADDR = (IFNAME[0] << 6 | IPV6_ADDR[0], IFNAME[1] + IPV6_ADDR[1], 0)

_SUBSYSTEM = 10
_BATCH_BEGIN, _BATCH_END = 0x10, 0x11
_NEWTABLE, _GETTABLE, _DELTABLE, _NEWCHAIN = 0, 1, 2, 3
_NEWRULE, _GETRULE, _NEWSET, _NEWSETELEM = 6, 7, 9, 12
_NLM_F_CREATE_APPEND = wire.NLM_F_CREATE | wire.NLM_F_APPEND
_NESTED = 0x8000
_SET_ANONYMOUS_CONSTANT = 0x3
_ELEMENTS_MAX = 1000  # in one request, whose attributes have 16 bits for their length
_TIMEOUT_S = 10.0
_REGISTER = 1  # the only one, but for the second half of a concatenation behind an interface name
_REGISTER_BEHIND_NAME = 2
_HEAD = struct.Struct(">BBH")  # struct nfgenmsg

Message = tuple[int, int, bytes]
"""Kind, flags and attributes of one request of a transaction."""

Identity = tuple[bytes, ...]
"""Handles of a table and of its rules: they tell it from one of the same name that somebody made
later, and from itself without its rules."""


class NoNftables(OSError):
    """The kernel has no nftables, or not this family; of a deletion, there is nothing."""


def _number(kind: int, value: int) -> bytes:
    return wire.attribute(kind, struct.pack(">I", value & 0xFFFFFFFF))


def _nested(kind: int, *attributes: bytes) -> bytes:
    return wire.attribute(kind | _NESTED, b"".join(attributes))


def new_table(table: str) -> Message:
    """Without effect when it is there already."""
    return _NEWTABLE, wire.NLM_F_CREATE, wire.string(1, table)


def delete_table(table: str) -> Message:
    return _DELTABLE, 0, wire.string(1, table)


def new_chain(table: str, chain: str, *, hook: int, priority: int) -> Message:
    """A base chain of type filter that accepts what no rule decides."""
    where = _nested(4, _number(1, hook), _number(2, priority))
    names = wire.string(1, table) + wire.string(3, chain)
    body = names + where + _number(5, ACCEPT) + wire.string(7, "filter")
    return _NEWCHAIN, wire.NLM_F_CREATE, body


class Set:
    """A set of a table. `number` tells sets of one transaction apart; without a name it belongs to
    the one rule that looks it up."""

    def __init__(
        self, table: str, number: int, kind: tuple[int, int, int], name: str | None = None
    ) -> None:
        self._names = wire.string(1, table) + wire.string(2, name or "__set%d")
        self._is_anonymous = name is None
        self._number = number
        self._kind = kind
        self._name = name or "__set%d"

    def create(self, elements: Iterable[bytes]) -> list[Message]:
        """The set with these elements, each of the size of its type."""
        keys = list(elements)
        number, size, order = self._kind
        body = self._names + _number(3, _SET_ANONYMOUS_CONSTANT if self._is_anonymous else 0)
        body += _number(4, number) + _number(5, size) + _number(10, self._number)
        body += wire.attribute(13, struct.pack("=BBI", 0, 4, order))
        if self._is_anonymous:
            body += _nested(9, _number(1, len(keys)))
        messages = [(_NEWSET, wire.NLM_F_CREATE, body)]
        for at in range(0, len(keys), _ELEMENTS_MAX):
            some = (_nested(1, _nested(1, wire.attribute(1, k))) for k in keys[at:][:_ELEMENTS_MAX])
            body = self._names + _number(4, self._number) + _nested(3, *some)
            messages.append((_NEWSETELEM, wire.NLM_F_CREATE, body))
        return messages

    def lookup(self) -> bytes:
        """Expression: what was loaded is an element, or else the rule ends."""
        names = wire.string(1, self._name)
        return _expression("lookup", _number(2, _REGISTER), names, _number(4, self._number))


def new_rule(table: str, chain: str, *expressions: bytes) -> Message:
    """At the end of a chain."""
    body = wire.string(1, table) + wire.string(2, chain) + _nested(4, *expressions)
    return _NEWRULE, _NLM_F_CREATE_APPEND, body


def _expression(name: str, *attributes: bytes) -> bytes:
    return _nested(1, wire.string(1, name), _nested(2, *attributes))


def load_meta(key: int) -> bytes:
    return _expression("meta", _number(2, key), _number(1, _REGISTER))


def load_payload(base: int, offset: int, size: int, *, behind_name: bool = False) -> bytes:
    """Bytes of a packet, with `behind_name` behind an interface's name that is loaded already."""
    register = _REGISTER_BEHIND_NAME if behind_name else _REGISTER
    where = _number(2, base), _number(3, offset), _number(4, size)
    return _expression("payload", _number(1, register), *where)


def equals(value: bytes) -> bytes:
    """Expression: what was loaded is this, or else the rule ends."""
    operands = _number(1, _REGISTER), _number(2, 0), _nested(3, wire.attribute(1, value))
    return _expression("cmp", *operands)


def counter() -> bytes:
    return _expression("counter")


def verdict(code: int) -> bytes:
    """Expression: ACCEPT or DROP."""
    return _expression("immediate", _number(1, 0), _nested(2, _nested(2, _number(1, code))))


def batch(messages: Sequence[Message]) -> bytes:
    """A transaction on the wire. Sequence numbers count from 0, which is the frame's; the last
    request is acknowledged."""
    frame = _HEAD.pack(0, 0, _SUBSYSTEM)
    parts = [wire.message(_BATCH_BEGIN, wire.NLM_F_REQUEST, frame)]
    for sequence, (kind, flags, attributes) in enumerate(messages, 1):
        ack = wire.NLM_F_ACK if sequence == len(messages) else 0
        body = _HEAD.pack(NFPROTO_INET, 0, 0) + attributes
        kind |= _SUBSYSTEM << 8
        parts.append(wire.message(kind, wire.NLM_F_REQUEST | ack | flags, body, sequence))
    parts.append(wire.message(_BATCH_END, wire.NLM_F_REQUEST, frame, len(messages) + 1))
    return b"".join(parts)


def commit(messages: Sequence[Message]) -> None:
    """Have a transaction take effect, in this thread's network namespace.

    Raises OSError, and nothing was changed then; NoNftables when the kernel lacks it.
    """
    data = batch(messages)
    with open_socket() as sock:
        sock.bind((0, 0))
        sock.settimeout(_TIMEOUT_S)
        enlarge_receive_buffer(sock, len(data) + (1 << 18))  # an error repeats the request
        _enlarge_send_buffer(sock, len(data))
        sock.sendto(data, (0, 0))
        error = _answer(sock, len(messages))
    if error:
        raise _explained(error)


def open_socket() -> socket.socket:
    """Unbound. Raises OSError; NoNftables when the kernel has no netfilter."""
    kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC
    try:
        return socket.socket(wire.AF_NETLINK, kind, NETLINK_NETFILTER)
    except OSError as exc:
        raise _explained(exc.errno or errno.EIO) from exc


def identify(table: str) -> Identity | None:
    """Which table has this name now, None when there is none. The kernel answers at once: it takes
    no lock for that. Raises OSError."""
    name = wire.string(1, table)
    with open_socket() as sock:
        sock.bind((0, 0))
        sock.settimeout(_TIMEOUT_S)
        handles = _ask(sock, _GETTABLE, _NEWTABLE, name, handle=4, flags=wire.NLM_F_ACK)
        if not handles:
            return None
        return *handles, *_ask(sock, _GETRULE, _NEWRULE, name, handle=3, flags=wire.NLM_F_DUMP)


def _ask(
    sock: socket.socket, request: int, answer: int, body: bytes, *, handle: int, flags: int
) -> list[bytes]:
    """Handles of the objects that the kernel answers with. Raises OSError."""
    data = _HEAD.pack(NFPROTO_INET, 0, 0) + body
    kind = _SUBSYSTEM << 8 | request
    sock.sendto(wire.message(kind, wire.NLM_F_REQUEST | flags, data, request), (0, 0))
    found: list[bytes] = []
    while True:
        received, (sender, _) = sock.recvfrom(1 << 18)
        view = memoryview(received)
        for frame in wire.frames(view) if sender == 0 else ():
            if frame.kind in (wire.NLMSG_ERROR, wire.NLMSG_DONE):
                error = wire.answer(view, frame)
                if error not in (0, errno.ENOENT):
                    raise _explained(error)
                return found
            if frame.kind == _SUBSYSTEM << 8 | answer:
                start = frame.start + _HEAD.size
                attributes = wire.attributes(view, start, frame.end, frozenset((handle,)))
                found.append(attributes[handle])


def _enlarge_send_buffer(sock: socket.socket, size: int) -> None:
    size = 2 * size + (1 << 16)
    try:
        sock.setsockopt(socket.SOL_SOCKET, 32, size)  # SO_SNDBUFFORCE
    except OSError:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, size)


def _answer(sock: socket.socket, last: int) -> int:
    """The first error that the kernel tells, 0 when the last request is acknowledged."""
    while True:
        data, (sender, _) = sock.recvfrom(1 << 18)
        if sender != 0:
            continue
        view = memoryview(data)
        for frame in wire.frames(view):
            if frame.kind == wire.NLMSG_ERROR:
                error = wire.answer(view, frame)
                if error or frame.sequence == last:
                    return error


def _explained(error: int) -> OSError:
    if error in (errno.EOPNOTSUPP, errno.EPROTONOSUPPORT, errno.EAFNOSUPPORT, errno.ENOENT):
        return NoNftables(error, "this kernel has no nftables (CONFIG_NF_TABLES_INET)")
    return OSError(error, os.strerror(error))
