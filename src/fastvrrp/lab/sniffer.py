"""An observer of VRRP on the wire that shares no code with the daemon it observes.

An AF_PACKET socket in the switch's namespace sees every frame at the port it enters by, with the
kernel's receive timestamp (SO_TIMESTAMPNS), so a busy observer measures nothing wrong. Frames
are kept; they can be written as a pcap file for tshark.
"""

from __future__ import annotations

import ipaddress
import struct
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .packet import NS, Announced, Datagram, dissect, open_socket, receive

if TYPE_CHECKING:
    from .namespace import Namespace


@dataclass(frozen=True)
class Frame:
    """One frame as it entered the switch. `time_ns` is CLOCK_REALTIME."""

    time_ns: int
    port: str
    data: bytes


@dataclass(frozen=True)
class Advert(Frame):
    """A VRRP advertisement, decoded leniently; `interval_ns` as written in the packet."""

    version: int
    vrid: int
    priority: int
    interval_ns: int
    source: str
    destination: str
    ttl: int
    addresses: tuple[str, ...]


@dataclass(frozen=True)
class Announcement(Frame):
    """A gratuitous ARP (family 4) or an unsolicited neighbour advertisement (family 6)."""

    family: int
    address: str
    mac: str


def parse(time_ns: int, port: str, data: bytes) -> Frame | None:
    """Decode an Ethernet frame; None when it is neither an advert nor an announcement."""
    found = dissect(data)
    if isinstance(found, Announced):
        return Announcement(time_ns, port, data, found.family, found.address, found.mac)
    if not isinstance(found, Datagram) or len(found.pdu) < 8:
        return None
    pdu = found.pdu
    version = pdu[0] >> 4
    if version == 3:
        interval_ns = (int.from_bytes(pdu[4:6], "big") & 0x0FFF) * 10_000_000
    else:
        interval_ns = pdu[5] * NS
    size = len(found.source)
    chunks = (pdu[8 + i * size : 8 + (i + 1) * size] for i in range(pdu[3]))
    return Advert(
        time_ns,
        port,
        data,
        version=version,
        vrid=pdu[1],
        priority=pdu[2],
        interval_ns=interval_ns,
        source=str(ipaddress.ip_address(found.source)),
        destination=str(ipaddress.ip_address(found.destination)),
        ttl=found.ttl,
        addresses=tuple(str(ipaddress.ip_address(c)) for c in chunks if len(c) == size),
    )


class Sniffer:
    """Collects Advert and Announcement frames until closed. Safe to read while it runs."""

    def __init__(
        self,
        namespace: Namespace,
        *,
        ports: Iterable[str] | None = None,
        outgoing: bool = False,
        on_frame: Callable[[Frame], None] | None = None,
    ) -> None:
        """Watch all interfaces, or only `ports`; with `outgoing` also what the node sends itself.

        `on_frame` is called in the sniffer's thread.
        """
        self._ports = None if ports is None else frozenset(ports)
        self._outgoing = outgoing
        self._on_frame = on_frame
        self._frames: list[Frame] = []
        self._condition = threading.Condition()
        self._socket = namespace.call(open_socket)
        self._socket.settimeout(0.1)
        self._stop = False
        self._thread = threading.Thread(target=self._collect, name="sniffer", daemon=True)
        self._thread.start()

    def _collect(self) -> None:
        while not self._stop:
            try:
                time_ns, port, outgoing, data = receive(self._socket)
            except TimeoutError:
                continue
            if (outgoing and not self._outgoing) or (
                self._ports is not None and port not in self._ports
            ):
                continue
            frame = parse(time_ns, port, data)
            if frame is None:
                continue
            with self._condition:
                self._frames.append(frame)
                self._condition.notify_all()
            if self._on_frame is not None:
                self._on_frame(frame)

    def frames(self) -> list[Frame]:
        """Everything so far, oldest first."""
        with self._condition:
            return list(self._frames)

    def adverts(
        self, *, vrid: int | None = None, port: str | None = None, since_ns: int = 0
    ) -> list[Advert]:
        return [
            f
            for f in self.frames()
            if isinstance(f, Advert)
            and f.time_ns >= since_ns
            and (vrid is None or f.vrid == vrid)
            and (port is None or f.port == port)
        ]

    def announcements(
        self, address: str, *, port: str | None = None, since_ns: int = 0
    ) -> list[Announcement]:
        return [
            f
            for f in self.frames()
            if isinstance(f, Announcement)
            and f.time_ns >= since_ns
            and f.address == address
            and (port is None or f.port == port)
        ]

    def wait(
        self, wanted: Callable[[Frame], bool], timeout_s: float, what: str, *, since_ns: int = 0
    ) -> Frame:
        """The first frame from `since_ns` on that satisfies `wanted`, seen already or to come.

        Raises TimeoutError naming `what`.
        """
        position = 0
        found: list[Frame] = []

        def look() -> bool:
            nonlocal position
            new, position = self._frames[position:], len(self._frames)
            found.extend(f for f in new if f.time_ns >= since_ns and wanted(f))
            return bool(found)

        with self._condition:
            if not self._condition.wait_for(look, timeout_s):
                raise TimeoutError(f"not seen within {timeout_s:g} s: {what}")
        return found[0]

    def wait_advert(
        self,
        *,
        vrid: int,
        port: str,
        priority: int | None = None,
        since_ns: int = 0,
        timeout_s: float = 10,
    ) -> Advert:
        """The first matching advert from `since_ns` (CLOCK_REALTIME) on. Raises TimeoutError."""

        def wanted(frame: Frame) -> bool:
            return (
                isinstance(frame, Advert)
                and frame.vrid == vrid
                and frame.port == port
                and (priority is None or frame.priority == priority)
            )

        what = f"advert of VRID {vrid} from {port}"
        if priority is not None:
            what += f" with priority {priority}"
        frame = self.wait(wanted, timeout_s, what, since_ns=since_ns)
        assert isinstance(frame, Advert)
        return frame

    def forget(self) -> None:
        """Drop what was collected, for an observer that runs for hours."""
        with self._condition:
            self._frames.clear()

    def write_pcap(self, path: Path) -> None:
        """Write the frames as a pcap file with nanosecond stamps (LINKTYPE_ETHERNET)."""
        parts = [struct.pack("=IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 262144, 1)]
        for frame in self.frames():
            seconds, rest = divmod(frame.time_ns, NS)
            size = len(frame.data)
            parts.append(struct.pack("=IIII", seconds, rest, size, size) + frame.data)
        path.write_bytes(b"".join(parts))

    def close(self) -> None:
        self._stop = True
        self._thread.join()
        self._socket.close()

    def __enter__(self) -> Sniffer:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
