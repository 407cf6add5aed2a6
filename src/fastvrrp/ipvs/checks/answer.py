"""The answer to a GET, as it arrives in pieces: header, status, digest, pattern. No I/O.

HTTP is read as keepalived reads it, so that a digest computed with its genhash stays right: the
header ends with an empty line (CRLF), Content-Length is looked for by that very spelling, nothing
is decoded, and what follows Content-Length bytes of body is not in the digest. Unlike there, a
header may be longer than 4 KB, the status may end its line, and a regex sees the body, whatever
the segments are that it arrives in.
"""

from __future__ import annotations

import hashlib
import re

from fastvrrp.config.servers import Url
from fastvrrp.ipvs.checks.base import Verdict, detail
from fastvrrp.ipvs.checks.pattern import Pattern, Search

HEADER_BYTES_MAX = 64 * 1024
ANSWER_BYTES_MAX = 64 * 1024 * 1024  # a server that never stops sending is not up

_END = b"\r\n\r\n"
_LENGTH_NAME = b"Content-Length:"
_LENGTH = re.compile(rb"[ \t\n\v\f\r]*([+-]?[0-9]+)(?:[\r\n]|\Z)")
_STATUS = re.compile(rb"[^ \r\n]* ([0-9]{3})[ \r]")


class Answer:
    """One answer: `feed` every piece, ask for `judge` when the peer has closed.

    What is kept of it is bounded: the header, a running digest, the window of a pattern.
    """

    __slots__ = ("_md5", "_received", "_search", "body_bytes", "content_length", "header", "status")

    def __init__(self, *, digest: bool, pattern: Pattern | None = None) -> None:
        self._md5 = hashlib.md5(usedforsecurity=False) if digest else None
        self._search = Search(pattern) if pattern is not None else None
        self._received = 0
        self.header: bytearray | bytes = bytearray()  # bytes once it is complete
        self.status: int | None = None
        self.content_length: int | None = None
        self.body_bytes = 0  # all that arrived

    def feed(self, data: bytes) -> str:
        """The next piece. Not empty: why no more of it is wanted."""
        self._received += len(data)
        if self._received > ANSWER_BYTES_MAX:
            return f"answer longer than {ANSWER_BYTES_MAX >> 20} MiB"
        if isinstance(self.header, bytes):
            self._body(memoryview(data))
            return ""
        looked = max(0, len(self.header) - len(_END) + 1)
        self.header += data
        end = self.header.find(_END, looked)
        if end < 0:
            if len(self.header) > HEADER_BYTES_MAX:
                return f"header longer than {HEADER_BYTES_MAX >> 10} KiB"
            return ""
        rest = bytes(self.header[end + len(_END) :])
        self.header = bytes(self.header[: end + len(_END)])
        self._read_header(self.header)
        if rest:
            self._body(memoryview(rest))
        return ""

    @property
    def complete_header(self) -> bool:
        return isinstance(self.header, bytes)

    @property
    def digest(self) -> bytes:
        """MD5 of the body so far, 16 bytes; only with `digest`."""
        assert self._md5 is not None
        return self._md5.digest()

    def judge(self, url: Url) -> tuple[Verdict, str]:
        """What the whole answer means for this url, and why."""
        if not self.complete_header:
            return Verdict.DOWN, "no complete header" if self.header else "no answer"
        if self.status is None:
            return Verdict.DOWN, "no status"
        if not any(low <= self.status <= high for low, high in url.status_codes):
            return Verdict.DOWN, f"status {self.status}"
        if url.digest is not None and self.digest != url.digest:
            return Verdict.DOWN, f"digest {self.digest.hex()}"
        if self._search is not None:
            assert url.regex is not None
            self._search.finish()
            if self._search.error:
                return Verdict.DOWN, detail(f"regex: {self._search.error}")
            if self._search.found == url.regex.no_match:
                found = "found" if self._search.found else "not found"
                return Verdict.DOWN, f"regex {found}"
        return Verdict.UP, f"status {self.status}"

    def _read_header(self, header: bytes) -> None:
        text = header.partition(b"\0")[0]
        if match := _STATUS.match(text):
            self.status = int(match[1])
        at = text.find(_LENGTH_NAME)
        if at >= 0 and (match := _LENGTH.match(text, at + len(_LENGTH_NAME))):
            length = int(match[1][:20])
            self.content_length = length if length >= 0 else None

    def _body(self, data: memoryview) -> None:
        before = self.body_bytes
        self.body_bytes += len(data)
        if self._search is not None:
            self._search.feed(data)
        if self._md5 is not None:
            if self.content_length is not None:
                data = data[: max(0, self.content_length - before)]
            self._md5.update(data)
