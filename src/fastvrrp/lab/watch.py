"""Who held which address when: rtnetlink address events of several nodes on one time line."""

from __future__ import annotations

import contextlib
import ipaddress
import selectors
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from .network import Node
from .packet import RECEIVE_BUFFER, SO_RCVBUFFORCE

RTM_NEWADDR, RTM_DELADDR = 20, 21  # linux/rtnetlink.h
RTMGRP_IPV4_IFADDR, RTMGRP_IPV6_IFADDR = 0x10, 0x100
IFA_ADDRESS, IFA_LOCAL = 1, 2  # linux/if_addr.h


@dataclass(frozen=True)
class AddressEvent:
    """`time_ns` is CLOCK_REALTIME when the event was read, moments after it happened."""

    time_ns: int
    node: str
    address: str
    added: bool


def _events(data: bytes) -> list[tuple[str, bool]]:
    """(address, added) of every address message in a netlink datagram."""
    found = []
    while len(data) >= 24:
        length, kind = struct.unpack_from("IH", data)
        if kind in (RTM_NEWADDR, RTM_DELADDR):
            attributes = {}
            offset = 24
            while offset + 4 <= length:
                size, name = struct.unpack_from("HH", data, offset)
                attributes[name & 0x3FFF] = data[offset + 4 : offset + size]
                offset += max(4, size + 3 & ~3)
            packed = attributes.get(IFA_LOCAL) or attributes.get(IFA_ADDRESS)
            if packed:
                found.append((str(ipaddress.ip_address(packed)), kind == RTM_NEWADDR))
        data = data[max(16, length + 3 & ~3) :]
    return found


class AddressWatch:
    """Collects AddressEvents until closed."""

    def __init__(
        self, nodes: Iterable[Node], *, on_event: Callable[[AddressEvent], None] | None = None
    ) -> None:
        """`on_event` is called in the watching thread."""
        self._on_event = on_event
        self._events: list[AddressEvent] = []
        self._selector = selectors.DefaultSelector()
        for node in nodes:
            sock = node.call(
                socket.socket, socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE
            )
            # A router with hundreds of addresses tells of all of them at once.
            with contextlib.suppress(PermissionError):  # the root of a user namespace may not
                sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER)
            sock.bind((0, RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR))
            sock.setblocking(False)
            self._selector.register(sock, selectors.EVENT_READ, node.name)
        self._stop = False
        self._thread = threading.Thread(target=self._collect, name="addresses", daemon=True)
        self._thread.start()

    def _collect(self) -> None:
        while not self._stop:
            for key, _mask in self._selector.select(0.1):
                assert isinstance(key.fileobj, socket.socket)
                data = key.fileobj.recv(65536)
                now = time.clock_gettime_ns(time.CLOCK_REALTIME)
                for address, added in _events(data):
                    event = AddressEvent(now, key.data, address, added)
                    self._events.append(event)
                    if self._on_event is not None:
                        self._on_event(event)

    def events(self, address: str | None = None) -> list[AddressEvent]:
        return [e for e in list(self._events) if address in (None, e.address)]

    def overlaps(self, address: str, *, since_ns: int = 0) -> list[tuple[int, int]]:
        """Every time from `since_ns` on that two or more nodes held the address at once: (begin,
        end), the last one until now when it lasts. CLOCK_REALTIME."""
        holders: set[str] = set()
        begun = 0
        found = []
        now = time.clock_gettime_ns(time.CLOCK_REALTIME)
        for event in self.events(address):
            twofold = len(holders) > 1
            (holders.add if event.added else holders.discard)(event.node)
            if not twofold and len(holders) > 1:
                begun = event.time_ns
            elif twofold and len(holders) < 2:
                found.append((begun, event.time_ns))
        if len(holders) > 1:
            found.append((begun, now))
        return [(max(begin, since_ns), end) for begin, end in found if end > since_ns]

    def overlap_ns(self, address: str, *, since_ns: int = 0) -> int:
        """The longest time from `since_ns` on that two or more nodes held the address at once."""
        spans = self.overlaps(address, since_ns=since_ns)
        return max((end - begin for begin, end in spans), default=0)

    def close(self) -> None:
        self._stop = True
        self._thread.join()
        for key in list(self._selector.get_map().values()):
            assert isinstance(key.fileobj, socket.socket)
            key.fileobj.close()
        self._selector.close()

    def __enter__(self) -> AddressWatch:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
