"""AF_PACKET sockets that see only VRRP and address announcements, and what is in their frames.

Shares no code with the daemon: the observers in the laboratory judge it from outside.
"""

from __future__ import annotations

import ctypes
import ipaddress
import os
import socket
import struct
from dataclasses import dataclass

NS = 1_000_000_000
ETH_P_ALL = 0x0003  # linux/if_ether.h
ETH_P_IP, ETH_P_ARP, ETH_P_IPV6 = 0x0800, 0x0806, 0x86DD
IPPROTO_VRRP = 112
ND_NEIGHBOR_ADVERT = 136  # RFC 4861 4.4
PACKET_OUTGOING = 4  # linux/if_packet.h
SO_TIMESTAMPNS = 35  # asm-generic/socket.h
SO_ATTACH_FILTER = 26
SO_RCVBUFFORCE = 33
RECEIVE_BUFFER = 4 << 20  # bytes

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
    (0x15, 0, 1, socket.IPPROTO_ICMPV6),
    (0x06, 0, 0, 0x40000),  # accept
    (0x06, 0, 0, 0),
)


@dataclass(frozen=True)
class Datagram:
    """An IP datagram that carries VRRP; addresses are packed, `pdu` is the VRRP message."""

    source: bytes
    destination: bytes
    ttl: int
    pdu: bytes


@dataclass(frozen=True)
class Announced:
    """Somebody tells the link where an address lives: gratuitous ARP (family 4), unsolicited
    neighbour advertisement (family 6)."""

    family: int
    address: str
    mac: str


def dissect(frame: bytes) -> Datagram | Announced | None:
    """The interesting part of an Ethernet frame; None when there is none."""
    if len(frame) < 34:
        return None
    kind = int.from_bytes(frame[12:14], "big")
    body = frame[14:]
    if kind == ETH_P_ARP and len(body) >= 28:
        sender, target = body[14:18], body[24:28]
        if sender == target and sender != bytes(4):
            return Announced(4, str(ipaddress.IPv4Address(sender)), body[8:14].hex(":"))
    elif kind == ETH_P_IP and body[9] == IPPROTO_VRRP:
        header, total = (body[0] & 15) * 4, int.from_bytes(body[2:4], "big")
        return Datagram(body[12:16], body[16:20], body[8], body[header:total])
    elif kind == ETH_P_IPV6 and len(body) >= 40:
        payload = body[40 : 40 + int.from_bytes(body[4:6], "big")]
        if body[6] == IPPROTO_VRRP:
            return Datagram(body[8:24], body[24:40], body[7], payload)
        if len(payload) >= 24 and payload[0] == ND_NEIGHBOR_ADVERT and not payload[4] & 0x40:
            target6 = str(ipaddress.IPv6Address(payload[8:24]))
            return Announced(6, target6, payload[26:32].hex(":"))
    return None


def open_socket(ifname: str | None = None) -> socket.socket:
    """A filtered, time-stamping packet socket on one interface or on all of the namespace.

    Raises OSError: EPERM without CAP_NET_RAW, ENODEV when there is no such interface.
    """
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    try:
        program = ctypes.create_string_buffer(
            b"".join(struct.pack("HBBI", *step) for step in _FILTER)
        )
        fprog = struct.pack("HP", len(_FILTER), ctypes.addressof(program))
        sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, fprog)
        sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        try:
            sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER)
        except PermissionError:  # root of a user namespace may not exceed net.core.rmem_max
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        if ifname is None:
            _bind_all(sock)
        else:
            sock.bind((ifname, ETH_P_ALL))
    except OSError:
        sock.close()
        raise
    return sock


def _bind_all(sock: socket.socket) -> None:
    """bind(2) to every interface: Python's own bind insists on a name."""
    address = struct.pack("=HHiHBB8s", socket.AF_PACKET, socket.htons(ETH_P_ALL), 0, 0, 0, 0, b"")
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.bind(sock.fileno(), address, len(address)) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def receive(sock: socket.socket) -> tuple[int, str, bool, bytes]:
    """One frame: (CLOCK_REALTIME ns of the kernel, interface, sent by this host, frame).

    Raises TimeoutError when the socket's timeout passes.
    """
    data, ancillary, _flags, address = sock.recvmsg(2048, 64)
    seconds, nanoseconds = struct.unpack("qq", ancillary[0][2])
    return seconds * NS + nanoseconds, address[0], address[2] == PACKET_OUTGOING, data
