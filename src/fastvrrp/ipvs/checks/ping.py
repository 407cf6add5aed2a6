"""PING_CHECK: an ICMP or ICMPv6 echo is answered.

ICMP sockets (socket(AF_INET, SOCK_DGRAM, IPPROTO_ICMP)): the kernel fills in identifier and
checksum, and hands over the replies with this identifier alone. Who may open them is up to
net.ipv4.ping_group_range, see ipvs/ping_range.py.
"""

from __future__ import annotations

import secrets
import socket
import struct
from typing import NamedTuple

from fastvrrp.config.servers import PingCheck
from fastvrrp.ipvs.checks.base import Surroundings, Verdict
from fastvrrp.ipvs.checks.datagram import FORBIDDEN, Answer, DatagramProbe

# type, code, checksum, identifier, sequence number (RFC 792, RFC 4443 4.1)
_HEADER = struct.Struct("!BBHHH")
PAYLOAD = bytes(range(128))


class _Echo(NamedTuple):
    protocol: int
    request: int
    reply: int


_V4 = _Echo(socket.IPPROTO_ICMP, 8, 0)
_V6 = _Echo(socket.IPPROTO_ICMPV6, 128, 129)


def judge(data: bytes, reply: int, sequence: int) -> Answer:
    """What an ICMP message says to our echo; `reply` is the type of an answer to it."""
    if len(data) < _HEADER.size:
        return Verdict.DOWN, f"an ICMP message of {len(data)} bytes"
    kind, code, _, _, answered = _HEADER.unpack_from(data)
    if kind != reply:
        return Verdict.DOWN, f"ICMP type {kind} code {code}"
    if answered != sequence:
        return Verdict.DOWN, "a reply to another echo"
    return Verdict.UP, "echo reply"


class PingProbe(DatagramProbe):
    """See base.py."""

    __slots__ = ("_echo", "_sequence")

    unreachable = FORBIDDEN

    def __init__(self, check: PingCheck, surroundings: Surroundings) -> None:
        self._echo = _V6 if ":" in check.connection.address else _V4
        super().__init__(check.connection, surroundings.loop, self._echo.protocol)
        self._sequence = secrets.randbits(16)

    def question(self) -> bytes:
        """The next echo request."""
        self._sequence = (self._sequence + 1) & 0xFFFF
        return _HEADER.pack(self._echo.request, 0, 0, 0, self._sequence) + PAYLOAD

    def judge(self, data: bytes) -> Answer | None:
        """See DatagramProbe."""
        return judge(data, self._echo.reply, self._sequence)
