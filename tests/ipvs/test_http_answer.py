"""Answers of web servers, as bytes: what they mean, however they are cut into pieces.

The digests and statuses of odd answers are what keepalived 2.2.7 made of them: genhash and a
running HTTP_GET, measured; tests/cli/test_genhash.py compares on the spot.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastvrrp._core import HTTP_ANSWER_BYTES_MAX, HTTP_HEADER_BYTES_MAX, HttpAnswer
from fastvrrp.config.servers import Regex, Url
from fastvrrp.ipvs.checks.answer import Answer, takes_interim
from fastvrrp.ipvs.checks.base import Verdict
from fastvrrp.ipvs.checks.pattern import Pattern

UP, DOWN = Verdict.UP, Verdict.DOWN
OK = b"HTTP/1.0 200 OK\r\n"


def md5(body: bytes) -> bytes:
    return hashlib.md5(body).digest()


def read(pieces: Iterable[bytes], url: Url | None = None) -> Answer:
    """An answer that arrived in these pieces, completely."""
    regex = url.regex if url is not None else None
    ranges = url.status_codes if url is not None else ()
    one = Answer(
        digest=True,
        pattern=Pattern(regex) if regex is not None else None,
        takes_interim=takes_interim(ranges),
    )
    for piece in pieces:
        assert one.feed(piece) == ""
    return one


def judged(answer: bytes, **url: object) -> tuple[Verdict, str]:
    wanted = Url(path="/", **url)  # type: ignore[arg-type]
    return read([answer], wanted).judge(wanted)


# ---------------------------------------------------------------------- digest


@pytest.mark.parametrize(
    ("header", "counts"),
    [
        (b"", b"abcdef"),
        (b"Content-Length: 3", b"abc"),
        (b"Content-Length:3", b"abc"),
        (b"Content-Length:\t \v3", b"abc"),
        (b"Content-Length: \r\n 3", b"abc"),
        (b"Content-Length: +3", b"abc"),
        (b"Content-Length: 003", b"abc"),
        (b"Content-Length: 3\nX: y", b"abc"),
        (b"Content-Length: 3\0\r\nX: y", b"abc"),
        (b"Content-Length: 0", b""),
        (b"Content-Length: -0", b""),
        (b"Content-Length: 6", b"abcdef"),
        (b"Content-Length: 99", b"abcdef"),
        (b"X-Content-Length: 2", b"ab"),
        (b"X-Content-Length: 2\r\nContent-Length: 4", b"ab"),
        (b"Content-Length: 2\r\nContent-Length: 4", b"ab"),
        # what does not count as a length
        (b"content-length: 3", b"abcdef"),
        (b"CONTENT-LENGTH: 3", b"abcdef"),
        (b"Content-Length : 3", b"abcdef"),
        (b"Content-Length: 3 ", b"abcdef"),
        (b"Content-Length: 3\t", b"abcdef"),
        (b"Content-Length: 3, 3", b"abcdef"),
        (b"Content-Length: 3x", b"abcdef"),
        (b"Content-Length: 0x3", b"abcdef"),
        (b"Content-Length: -3", b"abcdef"),
        (b"Content-Length: + 3", b"abcdef"),
        (b"Content-Length: ", b"abcdef"),
        (b"Content-Length: 4294967299", b"abcdef"),
        (b"Content-Length: 99999999999999999999999", b"abcdef"),
        (b"X: a\0b\r\nContent-Length: 3", b"abcdef"),
        (b"Transfer-Encoding: chunked", b"abcdef"),
    ],
)
def test_what_the_digest_is_of(header: bytes, counts: bytes) -> None:
    answer = OK + header + (b"\r\n" if header else b"") + b"\r\nabcdef"
    one = read([answer])
    assert one.digest == md5(counts)
    assert one.body_bytes == 6
    assert judged(answer, digest=md5(counts)) == (UP, "status 200")
    wrong = md5(b"another page")
    assert judged(answer, digest=wrong) == (DOWN, f"digest {md5(counts).hex()}")


def test_a_length_in_the_status_line_counts_and_one_in_the_body_does_not() -> None:
    assert read([b"HTTP/1.0 200 Content-Length: 2\r\n\r\nabc"]).digest == md5(b"ab")
    assert read([OK + b"\r\nContent-Length: 2\r\n"]).digest == md5(b"Content-Length: 2\r\n")


def test_a_badly_spelt_length_hides_the_next() -> None:
    """As there: only the first one is looked at."""
    assert read([OK + b"Content-Length: x\r\nContent-Length: 3\r\n\r\nabcdef"]).digest == md5(
        b"abcdef"
    )


# ---------------------------------------------------------------------- status


@pytest.mark.parametrize(
    "line",
    [
        b"HTTP/1.0 200 OK",
        b"HTTP/1.1 204 ",
        b"garbage 299 foo",
        b"HTTP/1.1 200",  # keepalived finds no status here
    ],
)
def test_statuses_that_are_fine(line: bytes) -> None:
    verdict, text = judged(line + b"\r\n\r\nabc")
    assert verdict is UP
    assert text.startswith("status 2")


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (b"HTTP/1.0 404 No", "status 404"),
        (b"HTTP/1.0 302 Found\r\nLocation: /y", "status 302"),
        (b"HTTP/1.1 101 Switching Protocols", "status 101"),
        (b"HTTP/1.0 300 x", "status 300"),
        (b"HTTP/1.0 000 x", "status 0"),
        (b"200 OK", "no status"),
        (b"200", "no status"),
        (b"HTTP/1.0  200 OK", "no status"),
        (b"HTTP/1.0\t200 OK", "no status"),
        (b"HTTP/1.0 2000 OK", "no status"),
        (b"HTTP/1.0 20 OK", "no status"),
        (b"HTTP/1.0 +200 OK", "no status"),
        (b"HTTP/1.0 0200 OK", "no status"),
        (b"HTTP/1.0 200x OK", "no status"),
        (b"HTTP/1.0 OK 200", "no status"),
        (b"HTTP/1.0 200\nfoo", "no status"),
        (b"X:\r\nY: 200 ", "no status"),
        (b"", "no status"),
        (b"\0 200 x", "no status"),
    ],
)
def test_statuses_that_are_not(line: bytes, text: str) -> None:
    assert judged(line + b"\r\n\r\nabc") == (DOWN, text)


def test_status_ranges() -> None:
    ranges = ((200, 200), (300, 399), (503, 503))
    for status, verdict in ((200, UP), (201, DOWN), (300, UP), (399, UP), (503, UP), (504, DOWN)):
        answer = f"HTTP/1.0 {status} x\r\n\r\n".encode()
        assert judged(answer, status_codes=ranges)[0] is verdict


HINTS = b"HTTP/1.1 103 Early Hints\r\nContent-Length: 1\r\nLink: </a.css>\0\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


@pytest.mark.parametrize("interim", [CONTINUE, HINTS, b"x 199 y\r\n\r\n", 9 * HINTS + CONTINUE])
def test_an_interim_answer_is_not_the_answer(interim: bytes) -> None:
    """RFC 9110 15.2; keepalived 2.2.7 takes 103 for the status, and the rest for the page."""
    final = OK + b"Content-Length: 3\r\n\r\nabcdef"
    regex = Regex(pattern="^abc")
    assert judged(interim + final, digest=md5(b"abc"), regex=regex) == (UP, "status 200")
    assert judged(interim + b"HTTP/1.1 503 no\r\n\r\n") == (DOWN, "status 503")
    assert judged(interim + b"garbage\r\n\r\n") == (DOWN, "no status")
    assert judged(interim) == (DOWN, "no complete header")
    one = read([interim + final])
    assert (one.status, one.content_length, one.body_bytes) == (200, 3, 6)
    assert one.digest == md5(b"abc")


@pytest.mark.parametrize("ranges", [((103, 103),), ((100, 299),), ((150, 404), (500, 599))])
def test_who_wants_an_interim_answer_has_it_as_with_keepalived(
    ranges: tuple[tuple[int, int], ...],
) -> None:
    final = OK + b"\r\nabc"
    wanted = any(low <= 103 <= high for low, high in ranges)
    said = (UP if wanted else DOWN, "status 103")
    assert judged(HINTS.replace(b"Content-Length: 1\r\n", b"") + final, status_codes=ranges) == said
    if wanted:
        assert judged(HINTS + final, status_codes=ranges, digest=md5(b"H")) == (UP, "status 103")


def test_interim_answers_have_an_end() -> None:
    one = Answer(digest=False)
    fed = 0
    while fed + len(CONTINUE) <= HTTP_HEADER_BYTES_MAX:
        assert one.feed(CONTINUE) == ""
        fed += len(CONTINUE)
    assert one.feed(CONTINUE) == "header longer than 64 KiB"


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (b"", "no answer"),
        (b"garbage", "no complete header"),
        (OK + b"X: y\r\n", "no complete header"),
        (b"HTTP/1.0 200 OK\n\nabc", "no complete header"),
    ],
)
def test_no_header(answer: bytes, text: str) -> None:
    assert judged(answer) == (DOWN, text)


def test_status_then_digest_then_regex() -> None:
    """The first thing that is wrong is what is said."""
    regex = Regex(pattern="z")
    answer = OK + b"\r\nabc"
    assert judged(answer, digest=md5(b"abc"), regex=regex) == (DOWN, "regex not found")
    assert judged(answer, digest=md5(b"abd"), regex=regex)[1].startswith("digest")
    assert judged(b"HTTP/1.0 404 x\r\n\r\nabc", digest=md5(b"abd"))[1] == "status 404"


# ---------------------------------------------------------------------- regex


@pytest.mark.parametrize(
    ("regex", "verdict"),
    [
        (Regex(pattern="wor"), UP),
        (Regex(pattern="abc"), DOWN),
        (Regex(pattern="abc", no_match=True), UP),
        (Regex(pattern="wor", no_match=True), DOWN),
        (Regex(pattern="^hello"), UP),  # the header is not searched
        (Regex(pattern="marker"), DOWN),
        (Regex(pattern="world$"), UP),
        (Regex(pattern="HELLO"), DOWN),
        (Regex(pattern="HELLO", options=("caseless",)), UP),
    ],
)
def test_regex_sees_the_body(regex: Regex, verdict: Verdict) -> None:
    # as keepalived: Content-Length is no bound for it
    answer = OK + b"X: marker\r\nContent-Length: 2\r\n\r\nhello world"
    assert judged(answer, regex=regex)[0] is verdict


# ---------------------------------------------------------------------- pieces and bounds


@st.composite
def cut(draw: st.DrawFn) -> tuple[bytes, list[bytes]]:
    """An answer, mostly sane, and the same in pieces."""
    line = draw(st.sampled_from([b"HTTP/1.0 200 OK", b"HTTP/1.1 404 x", b"x", b"", b"h 103 x"]))
    names = st.sampled_from([b"Content-Length: ", b"X: ", b"content-length: ", b"\0"])
    fields = draw(st.lists(st.tuples(names, st.sampled_from([b"3", b"0", b"77", b"x", b""]))))
    end = draw(st.sampled_from([b"\r\n\r\n", b"\n\n", b"\r\n", b""]))
    body = draw(st.binary(max_size=300))
    answer = b"\r\n".join([line, *(name + value for name, value in fields)]) + end + body
    marks = sorted(draw(st.lists(st.integers(0, len(answer)), max_size=12)))
    edges = [0, *marks, len(answer)]
    return answer, [answer[a:b] for a, b in itertools.pairwise(edges)]


@given(cut())
def test_pieces_do_not_matter(case: tuple[bytes, list[bytes]]) -> None:
    whole, pieces = case
    url = Url(path="/", digest=md5(b""), regex=Regex(pattern=r"^\x00*[a-z]|\xff$"))
    assert b"".join(pieces) == whole
    one, other = read([whole], url), read(pieces, url)
    assert one.judge(url) == other.judge(url)
    assert (one.digest, one.status, one.content_length, one.body_bytes) == (
        other.digest,
        other.status,
        other.content_length,
        other.body_bytes,
    )


@given(cut())
def test_against_a_slow_reader(case: tuple[bytes, list[bytes]]) -> None:
    """The same said in another way: whole strings, no state."""
    whole, pieces = case
    one = read(pieces)
    header, found, body = whole.partition(b"\r\n\r\n")
    while found and header.split(b"\0")[0].startswith(b"h 103 x"):
        header, found, body = body.partition(b"\r\n\r\n")
    assert one.complete_header is bool(found)
    if not found:
        return
    text = header.split(b"\0")[0] + (b"" if b"\0" in header else b"\r\n\r\n")
    length = None
    if b"Content-Length:" in text:
        value = text.split(b"Content-Length:")[1].lstrip(b" \t\n\v\f\r")
        digits = value[: len(value) - len(value.lstrip(b"0123456789"))]
        rest = value[len(digits) :]
        if digits and (rest[:1] in (b"\r", b"\n") or not rest):
            length = int(digits)
    assert one.content_length == length
    assert one.digest == md5(body if length is None else body[:length])
    words = text.split(b"\r\n")[0].split(b" ")
    code = words[1] if len(words) > 1 else b""
    assert one.status == (int(code) if len(code) == 3 and code.isdigit() else None)


def test_long_headers_have_an_end() -> None:
    field = b"X: " + b"y" * 1000 + b"\r\n"
    one = Answer(digest=False)
    fed = len(OK)
    assert one.feed(OK) == ""
    while fed + len(field) <= HTTP_HEADER_BYTES_MAX:
        assert one.feed(field) == ""
        fed += len(field)
    assert "header longer than 64 KiB" in one.feed(field)
    # ten times what keepalived takes is fine
    whole = OK + field * 40 + b"\r\nabc"
    assert judged(whole) == (UP, "status 200")


@pytest.mark.parametrize(("extra", "problem"), [(0, ""), (1, "header longer than 64 KiB")])
@pytest.mark.parametrize("size", [1, 1000, 1 << 20])
def test_a_header_is_too_long_whatever_its_pieces(extra: int, problem: str, size: int) -> None:
    rest = HTTP_HEADER_BYTES_MAX + extra - len(OK + b"X: \r\n\r\n")
    whole = OK + b"X: " + b"y" * rest + b"\r\n\r\nabc"
    one = Answer(digest=True)
    said = [one.feed(whole[at : at + size]) for at in range(0, len(whole), size)]
    assert next(filter(None, said), "") == problem
    assert problem or one.digest == md5(b"abc")


@given(st.lists(st.binary(max_size=200), max_size=8))
def test_digests_are_md5(pieces: list[bytes]) -> None:
    one = HttpAnswer(digest=True)
    one.feed(b"\r\n\r\n")
    for piece in pieces:
        one.feed(piece)
        assert len(one.digest) == 16  # what has come so far; more may come
    assert one.digest == md5(b"".join(pieces))


def test_no_digest_that_was_not_asked_for() -> None:
    with pytest.raises(ValueError, match="no digest"):
        assert HttpAnswer(digest=False).digest


def test_long_answers_have_an_end() -> None:
    one = Answer(digest=False)
    piece = OK + b"\r\n" + bytes(65536)
    fed = 0
    while not (problem := one.feed(piece)):
        fed += len(piece)
        piece = bytes(65536)
    assert problem == "answer longer than 64 MiB"
    assert HTTP_ANSWER_BYTES_MAX - len(piece) < fed <= HTTP_ANSWER_BYTES_MAX
