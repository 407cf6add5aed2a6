"""Whatever a checked server answers: SMTP lines, DNS messages, replies by UDP, ICMP messages.

Each target raises when a checker takes what it must not, keeps what it need not, or disagrees with
the reference beside it, which is written from the rules and not from the code.
"""

from __future__ import annotations

from fastvrrp.config.servers import Connection, UdpCheck
from fastvrrp.ipvs.checks import dns, ping, udp
from fastvrrp.ipvs.checks.base import DETAIL_CHARACTERS, Verdict, detail
from fastvrrp.ipvs.checks.smtp import LINE_BYTES_MAX, Dialogue

# ---------------------------------------------------------------------- SMTP

HELO = b"HELO me\r\n"
QUIT = b"QUIT\r\n"


def smtp_seeds() -> list[bytes]:
    """A byte for the size of the pieces, then what the server says."""
    good = b"220 mx ESMTP\r\n250 mx\r\n221 bye\r\n"
    said = (
        good,
        good.replace(b"\r", b""),
        b"220-mx\r\n220 mx\r\n250 mx\r\n221\r\n",
        b"220 mx\r\n250-mx\r\n250 SIZE\r\n",
        b"554 no\r\n",
        b"220 " + b"x" * (LINE_BYTES_MAX - 5) + b"\n250 y\n\n",
        b"220 " + b"x" * LINE_BYTES_MAX + b"\n",
        b"220 a\0\xff\n250 \x1b[0m\n",
    )
    return [bytes((size,)) + text for text in said for size in (0, 1, 7, 22)]


def smtp_reference(pieces: list[bytes]) -> str:
    """over, wrong, or more (is needed); the end of a line ends its piece."""
    codes = [b"220 ", b"250 ", b""]
    line = b""
    for piece in pieces:
        line += piece
        head, end, _ = line.partition(b"\n")
        if len(head) + len(end) > LINE_BYTES_MAX:
            return "wrong"
        if end:
            code = codes.pop(0)
            if head[: len(code)] != code:
                return "wrong"
            if not codes:
                return "over"
            line = b""
    return "more"


def fuzz_smtp(data: bytes) -> None:
    size, text = (data[0] if data else 0) or LINE_BYTES_MAX, data[1:]
    pieces = [text[begin : begin + size] for begin in range(0, len(text), size)]
    dialogue = Dialogue("me")
    sent, state = b"", "more"
    for piece in pieces:
        step = dialogue.received(piece)
        assert sum(map(bool, (step.failure, step.over, step.send))) <= 1
        sent += step.send
        assert (HELO + QUIT).startswith(sent)
        if step.failure or step.over:
            state = "over" if step.over else "wrong"
            shown = detail(step.failure)
            assert shown.isprintable()
            assert len(shown) <= DETAIL_CHARACTERS
            break
        assert len(dialogue._received) <= LINE_BYTES_MAX
    assert state == smtp_reference(pieces)
    if state == "over":
        assert sent == HELO + QUIT


# ---------------------------------------------------------------------- DNS


def dns_seeds() -> list[bytes]:
    """Two bytes of the id that was asked with, then the answer."""
    question = b"\3www\7example\3com\0\0\1\0\1"
    answers = [
        b"\x12\x34" + flags + b"\0\1\0\0\0\0\0\0" + question
        for flags in (b"\x81\x80", b"\x81\x83", b"\x01\x00", b"\x85\x85", b"\x83\x80")
    ]
    return [
        ident + answer
        for ident in (b"\x12\x34", b"\x12\x35")
        for answer in (*answers, answers[0][:12], answers[0][:11], b"")
    ]


def fuzz_dns(data: bytes) -> None:
    ident, message = int.from_bytes(data[:2], "big"), data[2:]
    answer = dns.judge(message, ident)
    if len(message) < 12:
        assert answer is None
        return
    ours = message[0] << 8 | message[1] == ident
    response = bool(message[2] >> 7)
    assert (answer is not None) == (ours and response)
    if answer is not None:
        code = message[3] % 16
        assert answer[0] is (Verdict.DOWN if code else Verdict.UP)
        assert f"rcode {code}" in answer[1] or not code


# ---------------------------------------------------------------------- UDP

ASKED = Connection(address="192.0.2.1", port=53)


def udp_seeds() -> list[bytes]:
    """Whether a reply is required and has a mask, the lengths that are good, the size of what is
    expected, that, its mask, and the datagram."""
    return [
        bytes((flags, least, 8, 4)) + b"good" + mask + datagram
        for flags in (0, 1, 3)
        for least in (0, 4)
        for mask in (b"\xff\xff\xff\xff", b"\xff\0\0\xff")
        for datagram in (b"", b"go", b"good", b"gaad", b"goodbye", b"nonsense!")
    ]


def fuzz_udp(data: bytes) -> None:
    head, rest = data[:4].ljust(4, b"\0"), data[4:]
    required, masked = bool(head[0] & 1), bool(head[0] & 2)
    size = head[3]
    expected, mask, reply = rest[:size], rest[size : 2 * size], rest[2 * size :]
    check = UdpCheck(
        ASKED,
        require_reply=required,
        min_reply_length=head[1],
        max_reply_length=head[2],
        reply=expected,
        reply_mask=mask.ljust(len(expected), b"\xff") if masked else None,
    )
    verdict, text = udp.judge(reply, check)
    good = True
    if required:
        good = head[1] <= len(reply) <= head[2]
        for place, (came, due) in enumerate(zip(reply, expected, strict=False)):
            counts = check.reply_mask[place] if check.reply_mask is not None else 0xFF
            good = good and (came & counts) == (due & counts)
    assert verdict is (Verdict.UP if good else Verdict.DOWN)
    assert text


# ---------------------------------------------------------------------- ICMP


def icmp_seeds() -> list[bytes]:
    """A byte for the family, two of the sequence number that was sent, then the message."""
    made = []
    for family, reply in ((4, 0), (6, 129)):
        for kind in (reply, 3, 8, 128, 11):
            for sequence in (b"\0\7", b"\7\0"):
                message = bytes((kind, 0, 0xAB, 0xCD, 0, 9)) + sequence + bytes(range(20))
                made += [bytes((family,)) + b"\0\7" + message[:length] for length in (28, 8, 7)]
    return made


def fuzz_icmp(data: bytes) -> None:
    reply = 129 if data[:1] == b"\6" else 0
    sequence, message = int.from_bytes(data[1:3], "big"), data[3:]
    verdict, text = ping.judge(message, reply, sequence)
    good = len(message) >= 8 and message[0] == reply
    good = good and int.from_bytes(message[6:8], "big") == sequence
    assert verdict is (Verdict.UP if good else Verdict.DOWN)
    assert text
