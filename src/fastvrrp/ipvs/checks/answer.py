"""The answer to a GET, as it arrives in pieces: what it means for a url. No I/O.

It is read by core/http.pxi, as the prober reads it; patterns, which the prober does not know, are
looked for here. Unlike in keepalived a header may be longer than 4 KB, the status may end its line,
and a regex sees the body, whatever the segments are that it arrives in.
"""

from __future__ import annotations

from collections.abc import Iterable

from fastvrrp import _core
from fastvrrp.config.servers import Url
from fastvrrp.ipvs.checks.base import Verdict, detail
from fastvrrp.ipvs.checks.pattern import Pattern, Search
from fastvrrp.ipvs.checks.request import WORDS


def takes_interim(ranges: Iterable[tuple[int, int]]) -> bool:
    """Whether for these ranges of statuses an interim answer (1xx) is the answer."""
    return any(low <= 199 and high >= 100 for low, high in ranges)


class Answer:
    """One answer: `feed` every piece, ask for `judge` when the peer has closed.

    What is kept of it is bounded: the header, a running digest, the window of a pattern.
    """

    __slots__ = ("_reader", "_search", "header")

    def __init__(
        self, *, digest: bool, pattern: Pattern | None = None, takes_interim: bool = False
    ) -> None:
        """`takes_interim`: an answer 1xx counts, not the one behind it."""
        self._reader = _core.HttpAnswer(digest=digest, takes_interim=takes_interim)
        self._search = Search(pattern) if pattern is not None else None
        self.header = bytearray()

    def feed(self, data: bytes) -> str:
        """The next piece. Not empty: why no more of it is wanted."""
        reader = self._reader
        before = reader.header_bytes
        if why := reader.feed(data):
            return WORDS[why]
        of_header = reader.header_bytes - before
        if of_header:
            self.header += data[:of_header]
        if self._search is not None and len(data) > of_header:
            self._search.feed(memoryview(data)[of_header:])
        return ""

    @property
    def complete_header(self) -> bool:
        return self._reader.complete_header

    @property
    def status(self) -> int | None:
        return self._reader.status

    @property
    def content_length(self) -> int | None:
        return self._reader.content_length

    @property
    def body_bytes(self) -> int:
        """All that arrived."""
        return self._reader.body_bytes

    @property
    def digest(self) -> bytes:
        """MD5 of the body so far, 16 bytes; only with `digest`."""
        return self._reader.digest

    def judge(self, url: Url) -> tuple[Verdict, str]:
        """What the whole answer means for this url, and why."""
        if not self.complete_header:
            return Verdict.DOWN, WORDS[_core.WHY_NO_HEADER if self.header else _core.WHY_NO_ANSWER]
        if self.status is None:
            return Verdict.DOWN, WORDS[_core.WHY_NO_STATUS]
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
