"""Patterns over pages that arrive in pieces: the same as over the whole page."""

from __future__ import annotations

import gc
import itertools
import re
import resource
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastvrrp.config.base import Severity
from fastvrrp.config.load import load
from fastvrrp.config.lvsreaders import REGEX_OPTIONS
from fastvrrp.config.servers import HttpCheck, Regex
from fastvrrp.ipvs.checks.pattern import (
    BURST_NS,
    OPTIONS,
    WINDOW_BYTES,
    Pattern,
    PatternError,
    Search,
)


def search(regex: Regex, *pieces: bytes, window_bytes: int = WINDOW_BYTES) -> tuple[bool, str]:
    one = Search(Pattern(regex), window_bytes)
    for piece in pieces:
        one.feed(piece)
    one.finish()
    return one.found, one.error


def found(pattern: str, page: bytes, *options: str, **more: int) -> bool:
    result, error = search(Regex(pattern=pattern, options=options, **more), page)  # type: ignore[arg-type]
    assert error == ""
    return result


# ---------------------------------------------------------------------- options


@pytest.mark.parametrize(
    ("pattern", "option", "page"),
    [
        ("HELLO", "caseless", b"hello"),
        ("a.b", "dotall", b"a\nb"),
        ("a b", "extended", b"ab"),
        ("^b", "multiline", b"a\nb"),
        ("^.$", "utf", "ü".encode()),
        ("a[]b", "allow_empty_class", b""),
        ("(?<n>a)(?<n>b)", "dupnames", b"ab"),
        (r"\u0061", "alt_bsux", b"a"),
        (r"(a)?\1b", "match_unset_backref", b"b"),
    ],
)
def test_an_option_makes_the_difference(pattern: str, option: str, page: bytes) -> None:
    def ask(*options: str) -> object:
        try:
            return found(pattern, page, *options)
        except PatternError as e:
            return str(e)

    assert ask() != ask(option)


def test_every_option_of_the_configuration_is_known() -> None:
    """Each word compiles, some only together with others."""
    for option in OPTIONS:
        together = ("utf",) if option in {"alt_verbnames", "ucp"} else ()
        Pattern(Regex(pattern="a", options=(option, *together)))
    assert sorted(OPTIONS) == sorted(REGEX_OPTIONS)


def test_firstline_is_about_the_first_line_of_the_page() -> None:
    assert found("a", b"xa\n", "firstline")
    assert not found("a", b"x\na", "firstline")
    regex = Regex(pattern="a", options=("firstline",))
    assert search(regex, b"x" * 40 + b"\n" + b"a" * 100, window_bytes=32) == (False, "")


@pytest.mark.parametrize("pattern", ["(", "a{2,1}", "[z-a]", "(?<=a*)b", r"\N{U+zz}"])
def test_broken_patterns_say_where(pattern: str) -> None:
    with pytest.raises(PatternError, match=r"at offset \d+"):
        Pattern(Regex(pattern=pattern))


CONFIGURATION = """\
virtual_server 10.0.0.1 80 {
    lvs_sched rr
    lvs_method NAT
    protocol TCP
    real_server 10.0.0.2 80 {
        HTTP_GET {
            url {
                path /
                regex "(abc"
            }
            url {
                path /
                regex "a.c"
                regex_options caseless
            }
        }
    }
}
"""


def test_a_broken_pattern_in_a_file_is_left_out_with_its_place(tmp_path: Path) -> None:
    """As keepalived does; its line is told."""
    file = tmp_path / "fastvrrp.conf"
    file.write_text(CONFIGURATION)
    loaded = load(file)
    (message,) = [m for m in loaded.messages if "regex" in m.text]
    assert (message.severity, message.position.line) == (Severity.WARNING, 9)
    assert "missing closing parenthesis at offset 4" in message.text
    (check,) = loaded.configuration.ipvs.virtual_servers[0].real_servers[0].checks
    assert isinstance(check, HttpCheck)
    assert [url.regex for url in check.urls] == [
        None,
        Regex(pattern="a.c", options=("caseless",)),
    ]


def test_unknown_options_are_refused() -> None:
    with pytest.raises(PatternError, match="sloppy"):
        Pattern(Regex(pattern="a", options=("sloppy",)))


# ---------------------------------------------------------------------- offsets


@pytest.mark.parametrize(
    ("pattern", "bounds", "wanted"),
    [
        ("world", {"min_offset": 6}, True),
        ("world", {"min_offset": 7}, False),
        ("world", {"min_offset": 500}, False),
        ("^world", {"min_offset": 6}, False),
        ("(?<=o )world", {"min_offset": 6}, True),
        ("world", {"max_offset": 6}, True),
        ("world", {"max_offset": 5}, False),
        ("o", {"min_offset": 5, "max_offset": 6}, False),
        ("o", {"min_offset": 5, "max_offset": 7}, True),
        ("$", {"max_offset": 11}, True),
    ],
)
@pytest.mark.parametrize("size", [100, 3, 1])
def test_offsets(pattern: str, bounds: dict[str, int], wanted: bool, size: int) -> None:
    page = b"hello world"
    pieces = [page[at : at + size] for at in range(0, len(page), size)]
    regex = Regex(pattern=pattern, **bounds)  # type: ignore[arg-type]
    assert search(regex, *pieces) == (wanted, "")
    assert search(regex, *pieces, window_bytes=8) == (wanted, "")


# ---------------------------------------------------------------------- pieces

PATTERNS = (
    r"abc",
    r"a+b",
    r"^ab",
    r"(?m)^b",
    r"b$",
    r"(?m)a$",
    r"\bca",
    r"(?<=ab)c",
    r"(?<!a)b",
    r"a(?=b)",
    r"\Aa",
    r"[^a]{3}",
    r"(a|ab)(c|bcd)",
    r"a.c",
    r"(ab)+c",
    r"x",
    r"b\B",
    r"a??b",
    r"c\Z",  # Python's does not look past a newline at the end
)


@st.composite
def page_in_pieces(draw: st.DrawFn) -> tuple[bytes, list[bytes]]:
    page = bytes(draw(st.lists(st.sampled_from(b"abc\n "), max_size=120)))
    marks = sorted(draw(st.lists(st.integers(0, len(page)), max_size=8)))
    edges = [0, *marks, len(page)]
    return page, [page[a:b] for a, b in itertools.pairwise(edges)]


@given(st.sampled_from(PATTERNS), page_in_pieces(), st.integers(24, 200), st.data())
def test_a_small_window_sees_what_a_large_one_sees(
    pattern: str, case: tuple[bytes, list[bytes]], window: int, data: st.DataObject
) -> None:
    page, pieces = case
    low = data.draw(st.integers(0, 40) | st.just(0))
    high = data.draw(st.none() | st.integers(low, 130))
    regex = Regex(pattern=pattern, min_offset=low, max_offset=high)
    wanted = search(regex, page)
    seen = search(regex, *pieces, window_bytes=window)
    if "longer" in seen[1]:  # said, not guessed
        longest = max((len(m[0]) for m in re.finditer(rb"a+|(ab)+", page)), default=0)
        assert longest + 3 >= window
        return
    assert seen == wanted


@given(st.sampled_from(PATTERNS[:11]), page_in_pieces())
def test_against_pythons_own(pattern: str, case: tuple[bytes, list[bytes]]) -> None:
    """Where the two languages agree, so do we."""
    page, pieces = case
    assert search(Regex(pattern=pattern), *pieces, window_bytes=300) == (
        re.search(pattern.encode(), page) is not None,
        "",
    )


@given(st.text(alphabet="aüß€😀", max_size=60), st.integers(16, 64), st.integers(1, 9))
def test_characters_are_not_cut(text: str, window: int, size: int) -> None:
    page = text.encode()
    pieces = [page[at : at + size] for at in range(0, len(page), size)]
    regex = Regex(pattern="(?<=ü)ß.€", options=("utf",))
    assert search(regex, *pieces, window_bytes=window) == (
        re.search("(?<=ü)ß.€", text) is not None,
        "",
    )


def test_what_is_no_utf8_matches_nothing_and_is_no_error() -> None:
    assert found("ok", b"gr\xff\xfee ok", "utf")
    assert not found("a.b", b"a\xffb", "utf")
    assert found("x", b"\x80\x80\x80x", "utf", min_offset=1)


# ---------------------------------------------------------------------- bounds


def test_a_match_longer_than_the_window_is_said() -> None:
    page = b"a" + b"x" * 100 + b"b"
    assert search(Regex(pattern="ax+b"), page, window_bytes=64) == (
        False,
        "a match would be longer than 64 bytes",
    )
    assert search(Regex(pattern="ax+b"), page, window_bytes=128) == (True, "")
    assert search(Regex(pattern="ax+b"), b"a" + b"x" * 200_000 + b"b") == (True, "")


LARGE = WINDOW_BYTES - 1000  # in one window, with what follows it
HOSTILE = (
    (r"^(a+)+$", b"a" * 40 + b"b"),
    (r"(a+)+$", b"a" * LARGE + b"b"),
    (r"(a|aa)+$", b"a" * LARGE + b"b"),
    (r"a*a*[xy]", b"a" * LARGE),  # nothing but a cubic number of simple steps
    (r"a*a*b", b"a" * LARGE + b"cb"),
    (r"(?s).*.*.*[xy]", b"a" * LARGE),
    (r"(.+)\1\1[xy]", b"ab" * (LARGE // 2)),
    (r"(*COMMIT)(a+)+$", b"a" * LARGE + b"b"),
)


@pytest.mark.parametrize(("pattern", "page"), HOSTILE, ids=[pattern for pattern, _ in HOSTILE])
def test_catastrophic_patterns_have_an_end(pattern: str, page: bytes) -> None:
    """Without it most of them need years."""
    result, error = search(Regex(pattern=pattern), page)
    assert not result
    assert error in ("match limit exceeded", "no answer within 0.2 s of processor time")


def test_the_time_is_that_of_a_whole_page() -> None:
    """Which comes in pieces, each of which would do."""
    times = itertools.count(0, BURST_NS // 40)
    one = Search(Pattern(Regex(pattern="never")), 64, clock=lambda: next(times))
    for _ in range(200):
        one.feed(b"x" * 64)
    one.finish()
    assert one.error == "no answer within 2 s of processor time"


def test_a_match_that_needs_many_steps_is_found() -> None:
    """At its place, behind and before those that need few."""
    page = b"b" * 10_000 + b"a" + b"x" * 150_000 + b"c" + b"b" * 10_000
    assert search(Regex(pattern="a(x|y)+?c"), page) == (True, "")
    assert search(Regex(pattern="a.*xcb", min_offset=10_000, max_offset=10_000), page) == (
        True,
        "",
    )
    assert search(Regex(pattern="a.*xcb", min_offset=10_001), page) == (False, "")


@pytest.mark.parametrize("pattern", [r"\Ga", r"b(*COMMIT)a", r"b{9}(*SKIP)a|[^b]bb$"])
def test_what_depends_on_the_beginning_is_not_divided(pattern: str) -> None:
    """Divided into several searches, each of these would be found."""
    assert search(Regex(pattern=pattern), b"b" * 9001 + b"a") == (False, "")


def test_a_deep_match_works() -> None:
    page = b"(" * 3000 + b")" * 3000
    assert search(Regex(pattern=r"\A(\((?1)*\))\Z"), page) == (True, "")


def test_patterns_give_their_memory_back() -> None:
    def many() -> None:
        for number in range(2000):
            pattern = Pattern(Regex(pattern=f"(a|b{number})+c{{1,50}}"))
            one = Search(pattern)
            one.feed(b"abab" * 100)
            one.finish()
        gc.collect()

    many()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(4):
        many()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 4096
