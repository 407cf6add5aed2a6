"""Answers of web servers: whatever arrives, in whatever pieces, is judged, bounded and the same."""

from __future__ import annotations

import hashlib
import itertools

from fastvrrp._core import HTTP_HEADER_BYTES_MAX
from fastvrrp.config.servers import Regex, Url
from fastvrrp.ipvs.checks.answer import Answer
from fastvrrp.ipvs.checks.base import DETAIL_CHARACTERS, Verdict
from fastvrrp.ipvs.checks.pattern import Pattern

URL = Url(
    path="/",
    digest=hashlib.md5(b"abc").digest(),
    regex=Regex(pattern=r"(?<=a)b|^\w+c$", options=("utf", "multiline"), min_offset=1),
)
PATTERN = Pattern(URL.regex) if URL.regex else None
PIECES_MAX = 8


def seeds() -> list[bytes]:
    """The first byte says how many pieces, the next ones where they are cut."""
    answers = (
        b"HTTP/1.0 200 OK\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabcdef",
        b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 \r\nContent-Length:\t0\r\n\r\n\xff\xfe" + "grüße".encode(),
        b"HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\nHTTP/1.1 200 OK\r\n\r\nabc",
        b"ICY 200 OK\n\n",
        b"\r\n\r\n",
    )
    return [b"\x00" + answer for answer in answers] + [b"\x03\x05\x11\x14" + a for a in answers]


def _read(pieces: list[bytes]) -> tuple[str, tuple[Verdict, str] | None]:
    answer = Answer(digest=True, pattern=PATTERN)
    for piece in pieces:
        problem = answer.feed(piece)
        if problem:
            return problem, None
        assert answer.complete_header or len(answer.header) <= HTTP_HEADER_BYTES_MAX
    verdict, text = answer.judge(URL)
    assert verdict in (Verdict.UP, Verdict.DOWN)
    assert text
    assert text.isprintable()
    assert len(text) <= DETAIL_CHARACTERS
    return "", (verdict, text)


def fuzz_http(data: bytes) -> None:
    cuts = data[0] % PIECES_MAX if data else 0
    marks = sorted(data[1 : 1 + cuts])
    answer = data[1 + cuts :]
    edges = [0, *(min(mark, len(answer)) for mark in marks), len(answer)]
    pieces = [answer[a:b] for a, b in itertools.pairwise(edges)]
    assert _read(pieces) == _read([answer])
