"""Instances that are written alike are read as a whole: nothing else may come of it.

The same text with a comment behind every line has no two blocks that are alike. Its model, with
all positions, and its messages are what those of the plain text are compared with.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from config_reading import FakeHost, Reader, texts
from hypothesis import given, settings
from hypothesis import strategies as st
from remembering import reading, same

from fastvrrp.config.alike import Alike, Shapes
from fastvrrp.config.build import Builder
from fastvrrp.config.diagnostics import Diagnostics
from fastvrrp.config.expand import Definitions
from fastvrrp.config.hostaddresses import HostAddress, number_of
from fastvrrp.config.node import Node
from fastvrrp.config.source import Source

# What a block has beside its number and its addresses.
KINDS: tuple[tuple[str, ...], ...] = (
    ("state MASTER", "interface eth0", "priority 200"),
    ("state MASTER", "interface eth0", "priority 255"),
    ("state BACKUP", "interface eth1", "priority 100", "advert_int 0.1"),
    ("interface eth2", "nopreempt", "garp_master_delay 1", ""),
    ("interface eth3", "authentication {", "    auth_pass abc", "}"),
    ("interface absent", "priority 50"),
    ("interface eth0", "priority 300"),
    ("interface eth0", "prio 3"),
    ("interface lo",),
    ("interface eth0", "notify /bin/true"),
    ("interface eth1", "unicast_src_ip 10.1.0.9", "unicast_peer {", "    10.1.0.8", "}"),
    ("interface eth1", "track_interface {", "    eth2 weight 5", "}"),
    ("interface eth1", "track_src_ip"),
    ("interface eth1", "strict_mode"),
    ("interface eth1", "kernel_rx_buf_size 5000"),
    ("interface eth1", "old_unicast_checksum"),
    ("interface eth1", "lvs_sync_daemon_interface eth2"),
    ("interface eth1", "virtual_routes {", "    10.9.0.0/16 via 10.1.0.1", "}"),
    ("interface eth1", "virtual_ipaddress_excluded {", "    10.1.9.9/32", "}"),
    ("interface eth1", "use_vmac", "version 3"),
)
ADDRESSES = (
    "10.1.0.{n}",
    "10.1.0.{n}/24",
    "10.1.0.{n}/24 dev eth2",
    "10.7.{n}.0/24",
    "10.1.0.1",
    "224.0.0.{n}",
    "0.0.0.0",
    "300.0.0.{n}",
    "10.1.0.{n}/99",
    "2001:db8::{n}",
    "2001:DB8:0::{n}/64",
    "fe80::{n}/64",
    "10.1.0.{n}\n        10.2.0.{n}",
    "10.1.0.{n}\n        10.2.0.1/24 dev eth2",
    "10.1.0.1/10.1.0.1",
    "10.1.0.1/10.1.0.{n}",
)
NUMBERS = ("{n}", "{n}", "{n}", "{n}", "7", "0", "007", "256", "300", "x", "{n} 3")
NAMES = ("V{n}", "V{n}", "V{n}", "a.b-{n}_c:d", "same", "V/{n}", "{n} b", "Ä{n}", "")
GLOBALS = (
    "",
    "vrrp_version 3",
    "vrrp_strict",
    "vrrp_rx_bufs_policy MTU",
    "smtp_alert_vrrp true\nvrrp_garp_master_delay 7",
)
BLOCKS = st.lists(
    st.tuples(
        st.sampled_from(KINDS[:5]) | st.sampled_from(KINDS),
        st.sampled_from(ADDRESSES[:2]) | st.sampled_from(ADDRESSES),
        st.sampled_from(NUMBERS),
        st.sampled_from(NAMES),
        st.booleans(),  # whether the number comes last
        st.sampled_from(("", "", "\n", "\n\n", "global_defs {\nvrrp_version 2\n}\n", "# x\n")),
    ),
    min_size=1,
    max_size=12,
)
Block = tuple[tuple[str, ...], str, str, str, bool, str]


def block(
    lines: tuple[str, ...], address: str, number: str, name: str, is_last: bool, gap: str, n: int
) -> str:
    own = [f"    virtual_router_id {number}"]
    listed = ["    virtual_ipaddress {", f"        {address}", "    }"]
    body = [f"    {line}" if line else "" for line in lines]
    body = [*listed, *body, *own] if is_last else [*own, *body, *listed]
    text = "\n".join((f"vrrp_instance {name} {{", *body, "}"))
    return text.replace("{n}", str(n)) + "\n" + gap


def rendered(settings: str, blocks: list[Block]) -> str:
    parts = [block(*each, n) for n, each in enumerate(blocks, 1)]
    return f"global_defs {{\n{settings}\n}}\n" + "".join(parts)


def commented(text: str) -> str:
    """Every line is one of its own, and means the same."""
    return "\n".join(
        f"{line} # {number}" if line.strip() else line
        for number, line in enumerate(text.split("\n"))
    )


def alike(count: int, *, gap: str = "", lines: tuple[str, ...] = KINDS[0]) -> str:
    blocks = [(lines, "10.{n}.0.1/32", "{n}", "V{n}", False, gap)] * count
    return rendered("vrrp_version 3", blocks)


def with_addresses(host: FakeHost) -> FakeHost:
    """Two interfaces with a network of their own, so that addresses can be wrong."""
    own = HostAddress(4, number_of("10.1.0.1", 4), 24, False)
    host.held = {"eth0": (own,), "eth1": (own._replace(number=own.number + 1),)}
    return host


def compare(read: Reader, text: str) -> None:
    """Read as it is, and with a comment behind every line."""
    plain, single = read(text), read(commented(text))
    assert texts(plain) == texts(single)
    assert plain == single


@settings(max_examples=300, deadline=None)
@given(blocks=BLOCKS, given_to_all=st.sampled_from(GLOBALS))
def test_the_same_as_read_one_by_one(
    blocks: list[Block], given_to_all: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    read = Reader(tmp_path_factory.mktemp("alike", numbered=True))
    with_addresses(read.host)
    text = rendered(given_to_all, blocks)
    compare(read, text)


def test_every_kind_three_times(read: Reader) -> None:
    """Each alone, so that no error of one hides the model of another."""
    with_addresses(read.host)
    for lines in KINDS:
        for address in ADDRESSES:
            text = rendered("", [(lines, address, "{n}", "V{n}", False, "")] * 3)
            compare(read, text)


# Two blocks and one like them that cannot be taken for another: what is odd about the third.
PLAIN = ("state BACKUP", "interface eth1", "priority 100")
ODD: tuple[tuple[str, str, str, str], ...] = (
    *[("", "10.1.0.{n}", "10.1.0.{n}", number) for number in ("256", "300", "999", "0", "2", "07")],
    *[
        ("", "10.1.0.{n}/24", f"{address}/24", "{n}")
        for address in ("224.0.0.9", "239.255.255.255", "0.0.0.0", "255.255.255.255", "10.1.0.2")
    ],
    *[
        ("", "10.1.0.{n}", address, "{n}")
        for address in ("300.0.0.1", "10.1.0", "::", "2001:db8::1", "ff02::12", "1.2.3.4.", "abc")
    ],
    ("", "2001:db8::{n}", "10.1.0.3", "{n}"),
    ("", "2001:db8::{n}/64", "2001:DB8:0:0::3/64", "{n}"),
    ("", "2001:db8::{n}/64", "ff02::12/64", "{n}"),
    ("vrrp_strict", "fe80::{n}/64", "2001:db8::3/64", "{n}"),
    ("vrrp_rx_bufs_policy MTU", "10.1.0.{n}", "10.1.0.{n}", "{n}"),
    ("vrrp_rx_bufs_policy ADVERT", "10.1.0.{n}", "10.1.0.{n}", "{n}"),
)


@pytest.mark.parametrize(("given_to_all", "address", "odd", "number"), ODD)
def test_one_that_is_odd(
    read: Reader, given_to_all: str, address: str, odd: str, number: str
) -> None:
    with_addresses(read.host)
    blocks = [
        *[(PLAIN, address, "{n}", "V{n}", False, "")] * 2,
        (PLAIN, odd, number, "V{n}", False, ""),
        (PLAIN, address, "{n}", "V{n}", False, ""),
    ]
    text = rendered(given_to_all, blocks)
    compare(read, text)


def test_a_line_that_goes_on(read: Reader) -> None:
    """As far as it is the same, the third block is like the others."""
    with_addresses(read.host)
    third = block(PLAIN, "10.1.0.3", "3", "V3", False, "", 3)
    others = [(PLAIN, "10.1.0.{n}", "{n}", "V{n}", False, "")] * 2
    for old, new in (
        ("\n}", "\n} }"),
        ("\n}", "\n}}"),
        ("\n}", "\n} x"),
        ("V3 {", "V3{"),
        ("V3 {", "V3,a {"),
        ("V3 {", "V3 a {"),
        ("id 3", "id 3 4"),
        ("id 3", "id 3000"),
        ("0.3", "0.3 dev eth0"),
        ("0.3", "0.3/24"),
        ("0.3", "0.3g"),
    ):
        text = rendered("", others) + third.replace(old, new, 1)
        plain, single = read(text), read(commented(text))
        assert texts(plain) == texts(single)
        assert plain == single


def test_what_applies_where_a_block_stands(read: Reader) -> None:
    """Other defaults, and groups with some of them as members."""
    some = [(PLAIN, "10.1.0.{n}", "{n}", "V{n}", True, "")] * 3
    text = rendered("vrrp_garp_master_delay 3", some)
    text += "global_defs {\nvrrp_garp_master_delay 9\nvrrp_version 3\n}\n"
    text += "".join(block(*some[0], n) for n in range(4, 8))
    text += (
        "vrrp_sync_group G {\ngroup {\nV2\nV6\n}\n}\nvrrp_sync_group H {\ngroup {\nV3\nV7\n}\n}\n"
    )
    loaded = read(text)
    assert loaded.configuration is not None
    assert loaded == read(commented(text))
    instances = loaded.configuration.vrrp_instances
    assert [each.sync_group for each in instances] == [None, "G", "H", None, None, "G", "H"]
    assert [each.garp.master_delay_s for each in instances] == [3] * 3 + [9] * 4
    assert [each.version for each in instances] == [2] * 3 + [3] * 4


def nodes(directory: Path, text: str) -> list[Node]:
    """The statements of a file."""
    path = directory / "k.conf"
    path.write_text(text)
    diagnostics = Diagnostics()
    builder = Builder(diagnostics)
    Source(diagnostics, builder, Definitions("", {}), "", shapes=Shapes()).read(path)
    assert diagnostics.count == 0
    return builder.root


def which(directory: Path, text: str) -> list[bool]:
    return [type(node.body) is Alike for node in nodes(directory, text)]


def test_which_blocks_are_alike(tmp_path: Path) -> None:
    """Shapes may take turns; gaps, other blocks and comments between them are not in the way."""
    one, other = (
        (KINDS[0], "10.1.0.{n}", "{n}", "V{n}", False),
        (KINDS[2], "10.1.0.{n}/24", "{n}", "W{n}", True),
    )
    found = which(
        tmp_path,
        rendered(
            "",
            [
                (*one, ""),
                (*one, "\n"),
                (*other, "\n\n\n"),
                (*one, "# between\n"),
                (*other, "static_routes {\n}\n"),
                (*other, "vrrp_instance X {\n virtual_router_id 8 # a comment\n}\n"),
                (*one, ""),
            ],
        ),
    )
    assert found == [False, *(False, True, False, True, True), False, *(True, False, True)]


def test_statements_of_a_block_that_is_like_another(tmp_path: Path) -> None:
    """They are those of the block, at their places."""
    text = alike(3, gap="\n", lines=KINDS[4])
    lines = text.split("\n")
    *_, second, third = nodes(tmp_path, text)
    for node in (second, third):
        assert isinstance(node.body, Alike)
        assert lines[node.line - 1] == node.text
        number = node.words[1][1:]
        assert ("virtual_router_id", number) in [line.words for line in node.body]
        inner = [line for each in node.body for line in each.body or ()]
        assert (f"10.{number}.0.1/32",) in [line.words for line in inner]
        for line in (*node.body, *inner):
            assert lines[line.line - 1] == line.text
            assert line.text.split("{")[0].split() == list(line.words)
        assert len(node.body) == len(list(reversed(node.body))) == 4


def test_a_file_in_which_nothing_is_alike(tmp_path: Path) -> None:
    """After some dozens nobody looks any more."""
    text = "".join(
        block(("interface eth0", f"priority {n}"), "10.1.0.{n}", "{n}", "V{n}", False, "", n)
        for n in range(1, 90)
    )
    pair = "".join(block(KINDS[0], "10.2.0.{n}", "{n}", "W{n}", False, "", n) for n in (1, 2))
    assert not any(which(tmp_path, text + pair))
    assert which(tmp_path, pair + text)[:2] == [False, True]


def test_an_include_in_the_middle(read: Reader) -> None:
    """Each place is in the file where it is written."""

    def some(numbers: range) -> str:
        return "".join(block(KINDS[0], "10.1.0.{n}", "{n}", "V{n}", False, "", n) for n in numbers)

    other = read.file("other.conf", some(range(3, 6)))
    text = some(range(1, 3)) + "include other.conf\n" + some(range(6, 9))
    loaded = read(text)
    assert loaded.configuration is not None
    assert loaded == read(commented(text))
    places = [instance.position for instance in loaded.configuration.vrrp_instances]
    files = [place.file for place in places if place is not None]
    assert files == [str(read.path)] * 2 + [str(other)] * 3 + [str(read.path)] * 3


def test_a_file_that_is_read_in_parts(read: Reader) -> None:
    """Blocks on both sides of each seam, and one that the last line does not end."""
    lines = ("interface eth0", *[f"garp_master_delay {n}" for n in range(80)])
    blocks = [(lines, "10.1.{n}.1", "{n}", "V{n}", False, "")] * 90
    long = rendered("", blocks)
    assert len(long) > 1 << 17
    for text in (long, alike(250, gap="\n")):
        assert read(text) == read(commented(text))
    cut = alike(3).rstrip("\n")
    assert read(cut) == read(commented(cut))
    assert read(cut[:-1]) == read(commented(cut[:-1]))


def test_a_reload_knows_blocks_that_were_alike(read: Reader) -> None:
    """What is remembered of them is what is remembered of any other."""
    read(alike(20))
    first = reading(read, None)
    assert first.parsed == 20
    assert same(read, first.held).parsed == 0
    read(alike(20).replace("10.7.0.1/32", "10.77.0.1/32"))
    assert same(read, first.held).parsed == 1


def test_what_the_machine_decided_is_asked_again(read: Reader) -> None:
    """An interface that does not exist now may be there another time."""
    read(rendered("", [(KINDS[5], "10.1.0.{n}", "{n}", "V{n}", False, "")] * 6))
    first = reading(read, None)
    (missing,) = same(read, first.held).messages
    assert "does not exist now" in missing.text
    read.host.links = frozenset(("lo", "absent"))
    assert same(read, first.held).messages == ()
