"""For arbitrary text: the loader never raises, and positions are always inside the file."""

from __future__ import annotations

import gc
from pathlib import Path

import msgspec
import pytest
from config_reading import FakeHost, Reader, instance
from hypothesis import example, given, settings
from hypothesis import strategies as st
from servers_reading import real, virtual

from fastvrrp.config import compact, model
from fastvrrp.config.checkkinds import CHECKS
from fastvrrp.config.keywords import LANGUAGE, table
from fastvrrp.config.load import load
from fastvrrp.config.model import Loaded, Severity

pytestmark = pytest.mark.computing

KEYWORDS = sorted({word for path, block in table().items() if path != LANGUAGE for word in block})
PIECES = st.one_of(
    st.sampled_from(KEYWORDS),
    st.sampled_from(
        ["{", "}", " {", " }\n", "\n", " ", "\t", "#", "!", '"', "'", "\\", "\\\n", "@r1 ", "@^r1 "]
    ),
    st.sampled_from(
        ["$A=", "$A", "${A}", "${_RANDOM 3 1}", "${_ENV X}", "~SEQ(A,1,3)", "~LST({A,B},{1,2})"]
    ),
    st.sampled_from(["$A= \\\n b \\\n c\n", "$B=$A", "include *.conf", "include k.conf\n"]),
    st.sampled_from(["10.0.0.1/24", "fe80::1", "eth0", "100", "-1", "0x10", "1.5", "MASTER", "V"]),
    st.text(max_size=6),
)
TEXTS = st.lists(PIECES, max_size=40).map(" ".join)


def check(loaded: Loaded, path: Path, *, behind: int = 0) -> None:
    """What holds for every load. A message is about a place in the file, or so many columns
    `behind` the end of a line, where something is missing."""
    lines = path.read_bytes().decode("latin-1").split("\n")
    for message in loaded.messages:
        at = message.position
        assert at.file == str(path)
        assert 1 <= at.line <= len(lines)
        assert 1 <= at.column <= max(len(lines[at.line - 1]) + behind, 1)
        assert "\n" not in str(message)
        str(message).encode()  # no lone surrogates
    failed = any(m.severity is Severity.ERROR for m in loaded.messages)
    assert (loaded.configuration is None) == failed
    if loaded.configuration is not None:
        encoded = msgspec.msgpack.encode(loaded.configuration, enc_hook=tuple)
        assert msgspec.msgpack.decode(encoded, type=model.Configuration) == loaded.configuration
        plain = compact.without_places(loaded.configuration)
        assert compact.decode(compact.encode(plain)) == plain
        assert compact.Packed(plain.vrrp_instances) == plain.vrrp_instances


@pytest.fixture(scope="module")
def where(tmp_path_factory: pytest.TempPathFactory) -> Reader:
    return Reader(tmp_path_factory.mktemp("property"))


@settings(max_examples=400, deadline=None)
@given(text=TEXTS)
@example(text="~SEQ(A,1,100000) ~SEQ(B,1,100000) x")
@example(text="$A=${A}${A}\n$A")
@example(text="$A= \\\n $B \\\n $B\n$B= \\\n $A\n$A")
@example(text="include {{{,,{,{,{")
@example(text="{" * 3000)
@example(text="}" * 300)
@example(text="a {" * 5000)
@example(text="$A=" + "x" * 70000 + "\n$A $A")
@example(text="global_defs { router_id }")
@example(text='vrrp_instance "" {\n}')
@example(text="\ufeffglobal_defs {\n}")
@example(text="\x85\x1c global_defs {\n}")
def test_any_words(where: Reader, text: str) -> None:
    check(where(text), where.path)


@settings(max_examples=300, deadline=None)
@given(data=st.binary(max_size=300))
def test_any_bytes(where: Reader, data: bytes) -> None:
    check(where(data), where.path)


@settings(max_examples=300, deadline=None)
@given(lines=st.lists(TEXTS, max_size=6), inner=st.booleans())
def test_any_lines_in_an_instance(where: Reader, lines: list[str], inner: bool) -> None:
    if inner:
        check(where(instance("virtual_routes {", *lines, "}")), where.path)
    check(where(instance(*lines)), where.path)


@settings(max_examples=300, deadline=None)
@given(
    option=st.sampled_from(sorted(table()["vrrp_instance/virtual_rules"])),
    route=st.sampled_from(sorted(table()["vrrp_instance/virtual_routes"])),
    address=st.sampled_from(sorted(table()["vrrp_instance/virtual_ipaddress"])),
    value=st.one_of(st.text(max_size=8), st.from_regex(r"[0-9a-fx:./-]{0,12}", fullmatch=True)),
)
def test_any_option_with_any_value(
    where: Reader, option: str, route: str, address: str, value: str
) -> None:
    value = value.replace("\n", " ")
    text = instance(
        "virtual_routes {",
        f"10.0.0.0/8 {route} {value} dev eth0",
        "}",
        "virtual_rules {",
        f"{option} {value} table 5",
        "}",
        vips=f"10.0.0.1 {address} {value}",
    )
    check(where(text), where.path)


SERVER_BLOCKS = (
    "virtual_server",
    "virtual_server/real_server",
    *(f"virtual_server/real_server/{kind}" for kind in CHECKS),
    "virtual_server/real_server/HTTP_GET/url",
)


@settings(max_examples=400, deadline=None)
@given(
    block=st.sampled_from(SERVER_BLOCKS),
    data=st.data(),
    value=st.one_of(
        st.text(max_size=8),
        st.from_regex(r"[0-9a-fx:./ -]{0,12}", fullmatch=True),
        st.sampled_from(("NAT", "TUN type gue", "10.0.0.9 80", "sh", "200-299", "fe80::1", "on")),
    ),
    count=st.integers(1, 3),
)
def test_any_keyword_of_a_server_with_any_value(
    where: Reader, block: str, data: st.DataObject, value: str, count: int
) -> None:
    keyword = data.draw(st.sampled_from(sorted(table()[block])))
    line = f"{keyword} {value}".replace("\n", " ")
    names = block.split("/")[1:]
    opening = ["real_server 10.0.0.2 80 {" if n == "real_server" else f"{n} {{" for n in names]
    body = [*opening, line, *("}" for _ in names)]
    lines = [real(), *body, *body] if count > 1 else body
    heads = ("10.0.0.1 80", "fwmark 1", "group G")
    group = "virtual_server_group G {\n10.0.0.8-9 80\n}\n"
    check(where(group + virtual(*lines, head=heads[count - 1])), where.path)


@settings(max_examples=300, deadline=None)
@given(lines=st.lists(TEXTS, max_size=6), head=st.text(max_size=8))
def test_any_lines_in_a_virtual_server(where: Reader, lines: list[str], head: str) -> None:
    check(where(virtual(*lines, real())), where.path)
    check(where(virtual(real(*lines))), where.path)
    check(where(virtual(real(), head=head.replace("\n", " "))), where.path)
    check(where("virtual_server_group G {\n" + "\n".join(lines) + "\n}\n"), where.path)


def test_the_collector_is_left_as_it_was(where: Reader) -> None:
    assert gc.isenabled()
    where("frob\n" * 300)
    assert gc.isenabled()
    gc.disable()
    try:
        where("")
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_every_prefix_and_every_missing_line(where: Reader) -> None:
    text = (
        "global_defs {\n router_id x\n vrrp_garp_extra_if all 5\n}\n"
        "vrrp_script S {\n script \"/bin/true 'a b'\"\n interval 0.5\n}\n"
        "vrrp_sync_group G { group { V } }\n"
        + instance(
            "authentication {",
            " auth_type PASS",
            " auth_pass x",
            "}",
            "track_script { S weight 5 reverse }",
            "virtual_routes { 10.0.0.0/8 nexthop via 10.0.0.9 dev eth0 weight 2 }",
            "virtual_rules { from 10.0.0.0/8 fwmark 1/2 table 5 priority 3 }",
            "unicast_peer { 10.0.0.9 min_ttl 5 }",
            'notify_master "/bin/true" root',
        )
        + "SSL { key /k }\nvirtual_server_group web {\n10.0.0.5-9 80\nfwmark 3 inet\n}\n"
        + virtual(
            "sorry_server 10.0.0.9 80",
            "quorum_up /bin/true",
            real("HTTP_GET {", "url {", "path /", "status_code 200-299", "}", "}"),
            real("UDP_CHECK {", "payload 00 ff", "}", "PING_CHECK {", "}", at="10.0.0.3 80"),
            head="group web",
        )
    )
    assert where(text).configuration is not None
    for end in range(0, len(text), 3):
        check(where(text[:end]), where.path)
    lines = text.split("\n")
    for index in range(len(lines)):
        check(where("\n".join(lines[:index] + lines[index + 1 :])), where.path)


def test_names_that_cannot_be_files(tmp_path: Path) -> None:
    for name, words in (
        ("a\0b", "cannot read"),
        ("x" * 5000, "cannot read"),
        ("", "the directory has no configuration"),  # the current one
    ):
        loaded = load(name, host=FakeHost(), environ={})
        assert loaded.configuration is None
        assert words in loaded.messages[0].text
