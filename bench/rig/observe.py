"""What the independent observers saw: frames, intervals between adverts, addresses.

The programs run in the receiving router's namespace and know nothing of the daemons. Frames bear
the kernel's time stamp; address events that of reading rtnetlink, which is never too early.
"""

from __future__ import annotations

import mmap
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, Self

from bench.configuration import VIP_PREFIX

from .native import program
from .network import Router
from .process import Helper

FRAMES_MAX = 4_000_000
EVENTS_MAX = 1_000_000
ADVERT, ARP = 1, 3
_HEADER = struct.Struct("=QQQ")  # native/log.h
_HEADER_SIZE = 64


class Frame(NamedTuple):
    """An advert or ARP frame (native/capture.h)."""

    time_ns: int
    ifindex: int
    address: int  # as in memory; see `packed`
    kind: int
    outgoing: int
    vrid: int
    priority: int
    gratuitous: int


class AddressEvent(NamedTuple):
    """An address that appeared (`added`) or went (native/addresses.c)."""

    time_ns: int
    ifindex: int
    address: int
    added: int


_FRAME = struct.Struct("=QIIBBBBB3x")
_EVENT = struct.Struct("=QIII4x")


def packed(text: str) -> int:
    """An address as the records hold it."""
    return int(struct.unpack("=I", socket.inet_aton(text))[0])


_VIP_FIRST_OCTET = int(VIP_PREFIX.rstrip("."))


def is_vip(address: int) -> bool:
    return struct.pack("=I", address)[0] == _VIP_FIRST_OCTET


class _Log:
    """A record file that grows while it is read."""

    def __init__(self, helper: Helper, file: Path, record: struct.Struct) -> None:
        self._helper = helper
        self._record = record
        with file.open("rb") as stream:
            self._map = mmap.mmap(stream.fileno(), 0, prot=mmap.PROT_READ)

    def _records(self, begin: int = 0) -> Iterator[tuple[Any, ...]]:
        """Complete records from number `begin`. Raises RuntimeError when some were lost."""
        count, discarded, lost = _HEADER.unpack_from(self._map)
        if discarded or lost:
            raise RuntimeError(f"the observer lost {discarded + lost} records")
        size = self._record.size
        at = _HEADER_SIZE + begin * size
        yield from self._record.iter_unpack(self._map[at : _HEADER_SIZE + count * size])

    def recorded(self) -> int:
        """How many records there are, without reading them."""
        return int(_HEADER.unpack_from(self._map)[0])

    def stop(self) -> None:
        """End the observation; the records stay readable."""
        self._helper.stop()

    def close(self) -> None:
        self._helper.close()
        self._map.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class Frames(_Log):
    """Every VRRP and ARP frame at a router, for seconds rather than minutes."""

    def __init__(self, router: Router, file: Path) -> None:
        argv = [program("frames"), str(file), str(FRAMES_MAX)]
        super().__init__(Helper(router.namespace, argv), file, _FRAME)

    def read(self) -> Iterator[Frame]:
        return map(Frame._make, self._records())


class Addresses(_Log):
    """Virtual addresses of a router, as they come and go."""

    def __init__(self, router: Router, file: Path) -> None:
        argv = [program("addresses"), str(file), str(EVENTS_MAX)]
        super().__init__(Helper(router.namespace, argv), file, _EVENT)
        self._read = 0
        self._held: set[tuple[int, int]] = set()

    def events(self) -> list[AddressEvent]:
        return [e for e in map(AddressEvent._make, self._records()) if is_vip(e.address)]

    def held(self) -> int:
        """How many virtual addresses there are now."""
        for record in self._records(self._read):
            self._read += 1
            event = AddressEvent._make(record)
            if is_vip(event.address):
                key = (event.ifindex, event.address)
                (self._held.add if event.added else self._held.discard)(key)
        return len(self._held)

    def appeared(self, since_ns: int, until_ns: int | None = None) -> int:
        """How often a virtual address appeared: on a backup, false takeovers."""
        end = until_ns if until_ns is not None else 1 << 63
        return sum(1 for e in self.events() if e.added and since_ns <= e.time_ns <= end)

    def vanished(self, since_ns: int) -> int:
        return sum(1 for e in self.events() if not e.added and e.time_ns >= since_ns)


class Intervals(Helper):
    """Regularity of the adverts at a router against their nominal interval."""

    def __init__(self, router: Router, interval_s: float) -> None:
        super().__init__(
            router.namespace, [program("intervals"), str(round(interval_s * 1_000_000_000))]
        )
