"""DNS_CHECK: a query over UDP is answered without an error code. Records are not looked at."""

from __future__ import annotations

import secrets
import struct

from fastvrrp.config.servers import DnsCheck
from fastvrrp.ipvs.checks.base import Surroundings, Verdict
from fastvrrp.ipvs.checks.datagram import Answer, DatagramProbe

# RFC 1035 4.1.1: id, flags, and the numbers of questions, answers, authorities, additional
HEADER = struct.Struct("!6H")
_QR = 0x8000
_RD = 0x0100
_RCODE = 0x000F
_IN = 1

LABEL_BYTES_MAX = 63  # RFC 1035 2.3.4
NAME_BYTES_MAX = 255

# IANA's registry of DNS parameters
QUERY_TYPES = {
    "A": 1,
    "NS": 2,
    "CNAME": 5,
    "SOA": 6,
    "MX": 15,
    "TXT": 16,
    "AAAA": 28,
    "RRSIG": 46,
    "DNSKEY": 48,
}
_RCODES = {1: "FORMERR", 2: "SERVFAIL", 3: "NXDOMAIN", 4: "NOTIMP", 5: "REFUSED"}


def encode_name(name: str) -> bytes:
    """The wire form of a name (RFC 1035 3.1); "." is the root.

    Raises ValueError for an empty label and for what is too long.
    """
    name = name.removesuffix(".")
    wire = b""
    for label in name.encode().split(b".") if name else ():
        if not 1 <= len(label) <= LABEL_BYTES_MAX:
            raise ValueError(f"a label of {len(label)} bytes, 1 to {LABEL_BYTES_MAX} are possible")
        wire += bytes((len(label),)) + label
    wire += b"\0"
    if len(wire) > NAME_BYTES_MAX:
        raise ValueError(f"a name of {len(wire)} bytes, {NAME_BYTES_MAX} are possible")
    return wire


def judge(data: bytes, ident: int) -> Answer | None:
    """What a datagram says to the query `ident`; None: it is not the answer."""
    if len(data) < HEADER.size:
        return None
    answered, flags, *_ = HEADER.unpack_from(data)
    if answered != ident or not flags & _QR:
        return None
    code = flags & _RCODE
    if code:
        return Verdict.DOWN, f"rcode {code}{f' ({_RCODES[code]})' if code in _RCODES else ''}"
    return Verdict.UP, "answered"


class DnsProbe(DatagramProbe):
    """See base.py. Raises ValueError for a name or a type that cannot be asked for."""

    __slots__ = ("_ident", "_question")

    def __init__(self, check: DnsCheck, surroundings: Surroundings) -> None:
        super().__init__(check.connection, surroundings.loop)
        if check.query_type not in QUERY_TYPES:
            raise ValueError(f"DNS query type {check.query_type}")
        kind = QUERY_TYPES[check.query_type]
        self._question = encode_name(check.name) + struct.pack("!HH", kind, _IN)
        self._ident = 0

    def question(self) -> bytes:
        """A query that asks for recursion, with an id that cannot be guessed."""
        self._ident = secrets.randbits(16)
        return HEADER.pack(self._ident, _RD, 1, 0, 0, 0) + self._question

    def judge(self, data: bytes) -> Answer | None:
        """See DatagramProbe."""
        return judge(data, self._ident)
