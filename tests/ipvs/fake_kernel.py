"""The kernel's side of the IPVS protocol, as bytes on a socket pair: a MemoryTable behind it.

Requests are taken apart by pyroute2, so that what we encode is read by somebody else. Answers are
laid out as Linux 6.1 does (ip_vs_ctl.c), or as an older one.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import struct
import threading
from collections.abc import Coroutine, Iterable
from typing import Any, TypeVar

from pyroute2.netlink.generic.ipvs import ipvsmsg

from fastvrrp.config.servers import Timeouts
from fastvrrp.ipvs import wire
from fastvrrp.ipvs.memory_table import MemoryTable
from fastvrrp.ipvs.objects import (
    HASHED,
    Daemon,
    Destination,
    DestinationKey,
    Role,
    Service,
    ServiceKey,
    address_family,
    pack_address,
)
from fastvrrp.ipvs.table import Operation, Verb
from fastvrrp.net.wire import attribute, frames, u8, u32
from fastvrrp.net.wire import message as net_message

FAMILY_ID = 28
_REQUEST, _ACK, _DUMP = 1, 4, 0x300
_NOOP, _ERROR, _DONE = 1, 2, 3
_CONTROLLER = 16
_CHUNK = 3000  # bytes of a dump in one datagram
_GENERIC = struct.Struct("=BBxx")
_T = TypeVar("_T")


def now(coroutine: Coroutine[Any, Any, _T]) -> _T:
    """The result of a coroutine that waits for nothing."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        result: _T = end.value
        return result
    raise AssertionError("it waits")


def u16(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack("=H", value))


def be16(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack(">H", value))


def statistics(narrow: int, wide: int, value: int = 0, *, padded: bool = False) -> bytes:
    """Both forms of counters. Processors that need it have padding before each 64 bit number."""
    old = b"".join(
        attribute(kind, struct.pack("=Q" if kind in (4, 5) else "=I", value & 0xFFFFFFFF))
        for kind in range(1, 11)
    )
    padding = attribute(11, b"") if padded else b""
    new = b"".join(
        padding + attribute(kind, struct.pack("=Q", value * kind)) for kind in range(1, 11)
    )
    return attribute(narrow, old) + attribute(wide, new)


def service_message(service: Service, *, padded: bool = False, value: int = 0) -> bytes:
    """What ip_vs_genl_fill_service makes."""
    key = service.key
    body = u16(1, address_family(key.family))
    if key.fwmark:
        body += u32(5, key.fwmark)
    else:
        body += u16(2, key.protocol)
        body += attribute(3, key.address.ljust(16, b"\0")) + be16(4, key.port)
    body += attribute(6, service.scheduler.encode() + b"\0")
    if service.engine:
        body += attribute(11, service.engine.encode() + b"\0")
    body += attribute(7, struct.pack("=II", service.flags | HASHED, 0xFFFFFFFF))
    body += u32(8, service.timeout_s)
    body += attribute(9, struct.pack(">I" if key.family == 4 else "=I", service.netmask))
    body += statistics(10, 12, value, padded=padded)
    return _GENERIC.pack(Verb.ADD_SERVICE, 1) + attribute(1, body)


def destination_message(
    made: Destination,
    *,
    old: bool = False,
    padded: bool = False,
    counts: tuple[int, int, int] = (0, 0, 0),
    value: int = 0,
) -> bytes:
    """What ip_vs_genl_fill_dest makes; `old`: before tunnels had kinds (5.2)."""
    body = attribute(1, made.key.address.ljust(16, b"\0")) + be16(2, made.key.port)
    body += u32(3, made.method) + u32(4, made.weight)
    if not old:
        body += u8(13, made.tunnel) + be16(14, made.tunnel_port) + u16(15, made.tunnel_flags)
    body += u32(5, made.uthreshold) + u32(6, made.lthreshold)
    body += u32(7, counts[0]) + u32(8, counts[1]) + u32(9, counts[2])
    body += u16(11, address_family(made.key.family))
    body += statistics(10, 12, value, padded=padded)
    return _GENERIC.pack(Verb.ADD_DESTINATION, 1) + attribute(2, body)


def daemon_message(daemon: Daemon) -> bytes:
    body = u32(1, daemon.role) + attribute(2, daemon.interface.encode() + b"\0")
    body += u32(3, daemon.id) + u16(4, daemon.maxlen) + u16(7, daemon.port) + u8(8, daemon.ttl)
    body += attribute(5 if len(daemon.group) == 4 else 6, daemon.group)
    return _GENERIC.pack(9, 1) + attribute(3, body)


class Request:
    """One request, read by pyroute2."""

    def __init__(self, data: bytes) -> None:
        self._message = ipvsmsg(data)
        self._message.decode()
        self.command = self._message["cmd"]

    def service_key(self) -> ServiceKey:
        found = self._message.get_attr("IPVS_CMD_ATTR_SERVICE")
        family = 4 if found.get_attr("IPVS_SVC_ATTR_AF") == socket.AF_INET else 6
        mark = found.get_attr("IPVS_SVC_ATTR_FWMARK")
        if mark is not None:
            return ServiceKey(family, 0, b"", 0, mark)
        return ServiceKey(
            family,
            found.get_attr("IPVS_SVC_ATTR_PROTOCOL"),
            pack_address(found.get_attr("IPVS_SVC_ATTR_ADDR")),
            found.get_attr("IPVS_SVC_ATTR_PORT"),
        )

    def service(self) -> Service:
        found, key = self._message.get_attr("IPVS_CMD_ATTR_SERVICE"), self.service_key()
        flags = found.get_attr("IPVS_SVC_ATTR_FLAGS")
        assert flags["mask"] == 0xFFFFFFFF
        mask = pack_address(found.get_attr("IPVS_SVC_ATTR_NETMASK"))
        return Service(
            key,
            found.get_attr("IPVS_SVC_ATTR_SCHED_NAME"),
            flags["flags"],
            found.get_attr("IPVS_SVC_ATTR_TIMEOUT"),
            struct.unpack(">I" if key.family == 4 else "=I", mask)[0],
            found.get_attr("IPVS_SVC_ATTR_PE_NAME") or "",
        )

    def destination(self) -> Destination:
        found = self._message.get_attr("IPVS_CMD_ATTR_DEST")
        family = found.get_attr("IPVS_DEST_ATTR_ADDR_FAMILY")
        key = DestinationKey(
            4 if family == socket.AF_INET else 6,
            pack_address(found.get_attr("IPVS_DEST_ATTR_ADDR")),
            found.get_attr("IPVS_DEST_ATTR_PORT"),
        )
        if self.command == Verb.DELETE_DESTINATION:
            return Destination(key)
        return Destination(
            key,
            found.get_attr("IPVS_DEST_ATTR_WEIGHT"),
            found.get_attr("IPVS_DEST_ATTR_FWD_METHOD"),
            found.get_attr("IPVS_DEST_ATTR_U_THRESH"),
            found.get_attr("IPVS_DEST_ATTR_L_THRESH"),
            found.get_attr("IPVS_DEST_ATTR_TUN_TYPE"),
            socket.ntohs(found.get_attr("IPVS_DEST_ATTR_TUN_PORT")),
            found.get_attr("IPVS_DEST_ATTR_TUN_FLAGS"),
        )

    def operation(self) -> Operation:
        verb = Verb(self.command)
        if verb in (Verb.ADD_SERVICE, Verb.EDIT_SERVICE):
            return Operation(verb, self.service_key(), self.service())
        if verb is Verb.DELETE_SERVICE:
            return Operation(verb, self.service_key())
        return Operation(verb, self.service_key(), None, self.destination())

    def timeouts(self) -> Timeouts:
        tcp, tcpfin, udp = (
            struct.unpack("=I", self._raw_value(name))[0]
            for name in ("TIMEOUT_TCP", "TIMEOUT_TCP_FIN", "TIMEOUT_UDP")
        )
        return Timeouts(tcp_s=tcp, tcpfin_s=tcpfin, udp_s=udp)

    def _raw_value(self, name: str) -> bytes:
        """pyroute2 shows these as hexadecimal text."""
        text = self._message.get_attr(f"IPVS_CMD_ATTR_{name}")
        return bytes.fromhex(text.replace(":", ""))

    def daemon(self) -> Daemon:
        body = self._raw_value("DAEMON")
        found = {}
        offset = 0
        while offset < len(body):
            length, kind = struct.unpack_from("=HH", body, offset)
            found[kind] = body[offset + 4 : offset + length]
            offset += (length + 3) & ~3

        def number(kind: int) -> int:
            return int.from_bytes(found.get(kind, b""), "little")

        return Daemon(
            Role(number(1)),
            found.get(2, b"").rstrip(b"\0").decode(),
            number(3),
            number(4),
            found.get(5, b"") or found.get(6, b""),
            number(7),
            number(8),
        )


class FakeKernel:
    """Answers on `sock` from a thread. `table` is what it has."""

    def __init__(self, *, old: bool = False, padded: bool = False) -> None:
        self.table = MemoryTable()
        self.datagrams = 0  # received
        self.old = old
        self.padded = padded
        self.sock, self._own = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for end in (self.sock, self._own):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 << 20)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("@ll", 5, 0))
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._own.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._own.close()

    def _serve(self) -> None:
        # Its client may go away with answers unread.
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            self._serve_all()

    def _serve_all(self) -> None:
        while data := self._own.recv(1 << 22):
            self.datagrams += 1
            view = memoryview(data)
            for frame in frames(view):
                message = bytes(view[frame.offset : frame.end])
                for answer in self.answers(frame.kind, frame.flags, frame.sequence, message):
                    self._own.send(answer)

    def answers(self, kind: int, flags: int, sequence: int, message: bytes) -> Iterable[bytes]:
        """The datagrams one request is answered with."""
        assert flags & _REQUEST
        code = 0
        if kind == _CONTROLLER:
            assert b"IPVS\0" in message
            reply = _GENERIC.pack(1, 2) + attribute(2, b"IPVS\0") + u16(1, FAMILY_ID)
            yield net_message(_CONTROLLER, 0, reply, sequence)
        elif kind != _NOOP:
            assert kind == FAMILY_ID
            request = Request(message)
            if flags & _DUMP == _DUMP:
                yield from self._dump(request, sequence)
                return
            if request.command == 13:
                yield net_message(FAMILY_ID, 0, self._config(), sequence)
            else:
                code = self._do(request)
        if (code or flags & _ACK) and code != errno.EINTR:
            yield net_message(_ERROR, 0, struct.pack("=i", -code) + message[:16], sequence)

    def _config(self) -> bytes:
        timeouts = now(self.table.timeouts())
        body = u32(4, timeouts.tcp_s) + u32(5, timeouts.tcpfin_s) + u32(6, timeouts.udp_s)
        return _GENERIC.pack(12, 1) + body

    def _do(self, request: Request) -> int:
        """The errno."""
        try:
            if request.command == 9:
                now(self.table.start_daemon(request.daemon()))
            elif request.command == 10:
                now(self.table.stop_daemon(request.daemon().role))
                return errno.EINTR  # as when it has not run yet
            elif request.command == 12:
                now(self.table.set_timeouts(request.timeouts()))
            elif request.command == 17:
                now(self.table.flush())
            else:
                for failure in now(self.table.apply([request.operation()])):
                    return failure.errno
        except OSError as error:
            return error.errno or errno.EIO
        return 0

    def _dump(self, request: Request, sequence: int) -> Iterable[bytes]:
        if request.command == wire.GET_SERVICE:
            found = now(self.table.services()).values()
            bodies = [service_message(one, padded=self.padded) for one in found]
        elif request.command == wire.GET_DEST:
            key = request.service_key()
            destinations = now(self.table.destinations([key]))[key].values()
            bodies = [
                destination_message(one, old=self.old, padded=self.padded) for one in destinations
            ]
        else:
            bodies = [daemon_message(one) for one in now(self.table.daemons()).values()]
        datagram = b""
        for body in bodies:
            datagram += net_message(FAMILY_ID, 2, body, sequence)
            if len(datagram) > _CHUNK:
                yield datagram
                datagram = b""
        if datagram:
            yield datagram
        yield net_message(_DONE, 2, struct.pack("=i", 0), sequence)
