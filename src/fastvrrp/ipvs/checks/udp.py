"""UDP_CHECK: nobody says that the port is unreachable, or the right reply comes."""

from __future__ import annotations

from fastvrrp.config.servers import UdpCheck
from fastvrrp.ipvs.checks.base import Surroundings, Verdict
from fastvrrp.ipvs.checks.datagram import FORBIDDEN, Answer, DatagramProbe

DEFAULT_PAYLOAD = b"fastvrrp check - fastvrrp check "  # of keepalived's length


def judge(data: bytes, check: UdpCheck) -> Answer:
    """Whether a datagram is the reply that the checker wants."""
    if not check.require_reply or check.reply is None:
        return Verdict.UP, "answered"
    if not check.min_reply_length <= len(data) <= check.max_reply_length:
        return Verdict.DOWN, f"a reply of {len(data)} bytes"
    size = min(len(data), len(check.reply))
    differences = _number(data, size) ^ _number(check.reply, size)
    if check.reply_mask is not None:
        differences &= _number(check.reply_mask, size)
    if differences:
        return Verdict.DOWN, "another reply than the expected one"
    return Verdict.UP, "the expected reply"


def _number(data: bytes, size: int) -> int:
    return int.from_bytes(data[:size], "big")


class UdpProbe(DatagramProbe):
    """See base.py."""

    __slots__ = ("_check", "silence")

    unreachable = FORBIDDEN

    def __init__(self, check: UdpCheck, surroundings: Surroundings) -> None:
        super().__init__(check.connection, surroundings.loop)
        self._check = check
        if check.require_reply:
            self.silence: Answer = DatagramProbe.silence
        else:
            self.silence = Verdict.UP, "nothing says that it is unreachable"

    def question(self) -> bytes:
        """The checker's payload."""
        return DEFAULT_PAYLOAD if self._check.payload is None else self._check.payload

    def judge(self, data: bytes) -> Answer | None:
        """See DatagramProbe."""
        return judge(data, self._check)
