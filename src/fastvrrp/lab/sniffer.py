"""An observer of VRRP on the wire that shares no code with the daemon it observes.

An AF_PACKET socket in the switch's namespace sees every frame at the port it enters by, with the
kernel's receive timestamp (SO_TIMESTAMPNS), so a busy observer measures nothing wrong. Frames
are kept; they can be written as a pcap file for tshark.
"""

from __future__ import annotations

import ctypes
import ipaddress
import socket
import struct
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from .namespace import Namespace

NS = 1_000_000_000
ETH_P_ALL = 0x0003  # linux/if_ether.h
ETH_P_IP, ETH_P_ARP, ETH_P_IPV6 = 0x0800, 0x0806, 0x86DD
IPPROTO_VRRP = 112
ND_NEIGHBOR_ADVERT = 136  # RFC 4861 4.4
PACKET_OUTGOING = 4  # linux/if_packet.h
SO_TIMESTAMPNS = 35  # asm-generic/socket.h
SO_ATTACH_FILTER = 26
SO_RCVBUFFORCE = 33

# Classic BPF: ARP; IPv4 protocol 112; IPv6 next header 112 or 58 (neighbour advertisements).
_FILTER = (
    (0x28, 0, 0, 12),  # ldh [12]
    (0x15, 7, 0, ETH_P_ARP),
    (0x15, 0, 2, ETH_P_IP),
    (0x30, 0, 0, 23),  # ldb [23]
    (0x15, 4, 5, IPPROTO_VRRP),
    (0x15, 0, 4, ETH_P_IPV6),
    (0x30, 0, 0, 20),  # ldb [20]
    (0x15, 1, 0, IPPROTO_VRRP),
    (0x15, 0, 1, 58),
    (0x06, 0, 0, 0x40000),  # accept
    (0x06, 0, 0, 0),
)


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
    if len(data) < 34:
        return None
    kind = int.from_bytes(data[12:14], "big")
    body = data[14:]
    if kind == ETH_P_ARP and len(body) >= 28:
        sender, target = body[14:18], body[24:28]
        if sender != target or sender == bytes(4):
            return None
        text = str(ipaddress.IPv4Address(sender))
        return Announcement(time_ns, port, data, 4, text, body[8:14].hex(":"))
    if kind == ETH_P_IP and body[9] == IPPROTO_VRRP:
        header = (body[0] & 15) * 4
        pdu = body[header : int.from_bytes(body[2:4], "big")]
        ends = (str(ipaddress.IPv4Address(body[i : i + 4])) for i in (12, 16))
        return _advert(time_ns, port, data, pdu, *ends, ttl=body[8], size=4)
    if kind == ETH_P_IPV6 and len(body) >= 48:
        ends = (str(ipaddress.IPv6Address(body[i : i + 16])) for i in (8, 24))
        if body[6] == IPPROTO_VRRP:
            pdu = body[40 : 40 + int.from_bytes(body[4:6], "big")]
            return _advert(time_ns, port, data, pdu, *ends, ttl=body[7], size=16)
        if body[6] == 58 and body[40] == ND_NEIGHBOR_ADVERT and len(body) >= 64:
            solicited = body[44] & 0x40
            if not solicited:
                target6 = str(ipaddress.IPv6Address(body[48:64]))
                return Announcement(time_ns, port, data, 6, target6, body[66:72].hex(":"))
    return None


def _advert(
    time_ns: int,
    port: str,
    data: bytes,
    pdu: bytes,
    source: str = "",
    destination: str = "",
    *,
    ttl: int,
    size: int,
) -> Advert | None:
    if len(pdu) < 8:
        return None
    version = pdu[0] >> 4
    if version == 3:
        interval_ns = (int.from_bytes(pdu[4:6], "big") & 0x0FFF) * 10_000_000
    else:
        interval_ns = pdu[5] * NS
    chunks = (pdu[8 + i * size : 8 + (i + 1) * size] for i in range(pdu[3]))
    addresses = tuple(str(ipaddress.ip_address(c)) for c in chunks if len(c) == size)
    return Advert(
        time_ns, port, data, version, pdu[1], pdu[2], interval_ns, source, destination, ttl,
        addresses,
    )  # fmt: skip


def open_socket(ifname: str | None = None) -> socket.socket:
    """A filtered packet socket with timestamps in the caller's namespace. Raises OSError."""
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    program = b"".join(struct.pack("HBBI", *step) for step in _FILTER)
    buffer = ctypes.create_string_buffer(program)
    fprog = struct.pack("HP", len(_FILTER), ctypes.addressof(buffer))
    sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, fprog)
    sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    try:
        sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 4 << 20)
    except PermissionError:  # root of a user namespace may not exceed net.core.rmem_max
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    if ifname is None:
        _bind_all(sock)
    else:
        sock.bind((ifname, ETH_P_ALL))
    return sock


def _bind_all(sock: socket.socket) -> None:
    """bind(2) to every interface: Python's own bind insists on a name."""
    address = struct.pack("=HHiHBB8s", socket.AF_PACKET, socket.htons(ETH_P_ALL), 0, 0, 0, 0, b"")
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.bind(sock.fileno(), address, len(address)) != 0:
        raise OSError(ctypes.get_errno(), "bind")


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
                data, ancillary, _flags, address = self._socket.recvmsg(2048, 64)
            except TimeoutError:
                continue
            port, packet_type = address[0], address[2]
            if (packet_type == PACKET_OUTGOING and not self._outgoing) or (
                self._ports is not None and port not in self._ports
            ):
                continue
            seconds, nanoseconds = struct.unpack("qq", ancillary[0][2])
            frame = parse(seconds * NS + nanoseconds, port, data)
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
