"""Frames that no honest router sends: every field of an advert is the caller's choice.

Shares no code with the daemon it attacks.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterable
from dataclasses import dataclass, field

GROUPS = {4: "224.0.0.18", 6: "ff02::12"}  # RFC 9568 5.1.1.2, 5.1.2.2
GROUP_MACS = {4: bytes.fromhex("01005e000012"), 6: bytes.fromhex("333300000012")}
VRRP = 112
OWN_MAC = bytes.fromhex("020000000099")


def checksum(data: bytes) -> int:
    """RFC 1071."""
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return int(~total & 0xFFFF)


@dataclass(frozen=True)
class Forged:
    """An advert; `frame` makes it an Ethernet frame. `interval` is in the unit of the version:
    seconds (2) or hundredths of one (3)."""

    source: str
    destination: str = ""  # empty: the multicast group
    version: int = 3
    type: int = 1
    vrid: int = 51
    priority: int = 100
    interval: int = 10
    addresses: tuple[str, ...] = ("192.0.2.100",)
    ttl: int = 255
    count: int | None = None
    checksum_xor: int = 0
    tail: bytes = b""  # after the message, covered by the IP length only
    cut: int | None = None  # keep only so many bytes of the message
    options: bytes = b""  # of the IPv4 header, a multiple of four bytes
    family: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "family", ipaddress.ip_address(self.source).version)

    def _target(self) -> str:
        return self.destination or GROUPS[self.family]

    def pdu(self) -> bytes:
        """The VRRP message with its checksum (pseudo-header for version 3)."""
        packed = [ipaddress.ip_address(a).packed for a in self.addresses]
        count = len(packed) if self.count is None else self.count
        if self.version == 2:
            timing = bytes((0, self.interval & 0xFF))
        else:
            timing = struct.pack("!H", self.interval & 0x0FFF)
        head = bytes((self.version << 4 | self.type, self.vrid, self.priority, count & 0xFF))
        body = b"".join(packed) + (bytes(8) if self.version == 2 else b"")
        message = head + timing + bytes(2) + body
        pseudo = b""
        if self.version != 2:
            pseudo = ipaddress.ip_address(self.source).packed
            pseudo += ipaddress.ip_address(self._target()).packed
            pseudo += struct.pack("!IHBB", len(message), 0, 0, VRRP)
            if self.family == 4:
                pseudo = pseudo[:8] + struct.pack("!BBH", 0, VRRP, len(message))
        summed = checksum(pseudo + message) ^ self.checksum_xor
        return message[:6] + struct.pack("!H", summed) + message[8:]

    def packet(self) -> bytes:
        """The IP packet."""
        message = (self.pdu() + self.tail)[: self.cut]
        source = ipaddress.ip_address(self.source).packed
        target = ipaddress.ip_address(self._target()).packed
        if self.family == 6:
            return struct.pack("!IHBB", 6 << 28, len(message), VRRP, self.ttl) + (
                source + target + message
            )
        words = 5 + len(self.options) // 4
        total = 4 * words + len(message)
        head = struct.pack("!BBHHHBBH", 4 << 4 | words, 0xC0, total, 0, 0, self.ttl, VRRP, 0)
        head += source + target + self.options
        return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + message

    def frame(
        self, *, mac: bytes = bytes.fromhex("020000000099"), to: bytes | None = None
    ) -> bytes:
        """The Ethernet frame, to the group's hardware address unless told otherwise."""
        to = GROUP_MACS[self.family] if to is None else to
        return to + OWN_MAC + (b"\x08\x00" if self.family == 4 else b"\x86\xdd") + self.packet()


def fragments(packet: bytes, size: int, ident: int = 7) -> Iterable[bytes]:
    """An IPv4 packet without options in fragments of `size` payload bytes (a multiple of 8)."""
    head, payload = packet[:20], packet[20:]
    for offset in range(0, len(payload), size):
        part = payload[offset : offset + size]
        more = 0x2000 if offset + size < len(payload) else 0
        changed = (
            head[:2]
            + struct.pack("!HHH", 20 + len(part), ident, more | offset // 8)
            + head[8:10]
            + bytes(2)
            + head[12:]
        )
        yield changed[:10] + struct.pack("!H", checksum(changed)) + changed[12:] + part
