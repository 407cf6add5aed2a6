"""Real servers that are written the same are read once: nothing else may come of it.

The same text with a comment behind every line has no two blocks that are alike. Its model, with
all positions, and its messages are what those of the plain text are compared with.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from config_reading import Reader, texts
from hypothesis import given, settings
from hypothesis import strategies as st
from servers_reading import HEAD, check, ipvs, real, virtual

from fastvrrp.config.build import Builder
from fastvrrp.config.diagnostics import Diagnostics
from fastvrrp.config.expand import Definitions
from fastvrrp.config.model import Loaded
from fastvrrp.config.node import Node, Twins, apart
from fastvrrp.config.source import Source

pytestmark = pytest.mark.computing

START = "global_defs {\nenable_script_security\nscript_user root\n}\n" + (
    "track_file F {\nfile /run/x\n}\n"
)
BODIES = (
    (),
    ("weight 3",),
    (" weight 3",),
    (check("TCP_CHECK"),),
    (check("TCP_CHECK", "connect_timeout 3", "retry 2"),),
    (check("TCP_CHECK", "connect_ip 10.7.7.7"), "", check("TCP_CHECK", "connect_port 7")),
    (check("HTTP_GET", check("url", "path /", "status_code 200"), check("url", "path /b")),),
    (check("SMTP_CHECK", check("host", "connect_port 25"), check("host", "connect_ip 10.7.7.8")),),
    ("notify_up /bin/true", check("MISC_CHECK", '\tmisc_path "/bin/check a"'), "weight 0"),
    ("notify_down /bin/nothing",),
    (check("FILE_CHECK", "track_file F"), check("PING_CHECK")),
    (check("TCP_CHECK", "conect_timeout 3"),),
    ("weight 99999999999",),
    ("lvs_method DR",),
    (check("TCP_CHECK", "bindto 2001:db8::5"),),
    (check("BFD_CHECK", "name B"),),
)
PLACES = (
    "10.0.0.2 80",
    "10.0.0.3 80",
    "10.0.0.3  80",
    "10.0.0.4 81",
    "10.0.0.5",
    "10.0.0.300 80",
    "10.0.0.6 99999",
    "2001:db8::2 80",
    "fe80::2 80",
    "10.0.0.7/24 80",
    "10.0.0.8 80 x",
)
HEADS = (
    ("10.0.{n}.1 80", HEAD),
    ("10.0.{n}.1 80", (*HEAD, "weight 5", "delay_loop 7")),
    ("10.0.{n}.1 81", ("lvs_sched rr", "lvs_method DR", "protocol TCP")),
    ("2001:db8:{n}::1 80", HEAD),
    ("fwmark 1{n}", HEAD[:2]),
)
SERVERS = st.lists(
    st.tuples(st.sampled_from(PLACES), st.sampled_from(BODIES), st.sampled_from(("", "  "))),
    max_size=8,
)
FILES = st.lists(st.tuples(st.sampled_from(HEADS), SERVERS), min_size=1, max_size=4)
File = list[tuple[tuple[str, tuple[str, ...]], list[tuple[str, tuple[str, ...], str]]]]


def rendered(file: File) -> str:
    parts = [START]
    for number, ((head, common), servers) in enumerate(file):
        lines = [indent + real(*body, at=place) for place, body, indent in servers]
        parts.append(virtual(*lines, head=head.format(n=number), common=common))
    return "".join(parts)


def commented(text: str) -> str:
    """Every line is one of its own, and means the same."""
    return "\n".join(
        f"{line} # {number}" if line.strip() else line
        for number, line in enumerate(text.split("\n"))
    )


def compared(read: Reader, text: str) -> tuple[Loaded, Loaded]:
    return read(text), read(commented(text))


@settings(max_examples=200, deadline=None)
@given(file=FILES)
def test_the_same_as_read_one_by_one(file: File, tmp_path_factory: pytest.TempPathFactory) -> None:
    read = Reader(tmp_path_factory.mktemp("twins", numbered=True))
    plain, single = compared(read, rendered(file))
    assert texts(plain) == texts(single)
    assert plain == single


def test_every_body_twice_in_two_services(read: Reader) -> None:
    """Each alone, so that no error of one hides the model of another."""
    for body in BODIES:
        file: File = [
            ((head, common), [("10.0.0.2 80", body, ""), ("10.0.0.3 80", body, "  ")])
            for head, common in HEADS[:3]
        ]
        plain, single = compared(read, rendered(file))
        assert plain == single
        assert len(plain.messages) == len(single.messages)


def nodes(directory: Path, text: str) -> list[Node]:
    """The statements of the first virtual server of a file."""
    path = directory / "k.conf"
    path.write_text(text)
    diagnostics = Diagnostics()
    builder = Builder(diagnostics)
    Source(diagnostics, builder, Definitions("", {}), "").read(path)
    assert diagnostics.count == 0
    (first, *_) = builder.root
    assert first.body is not None
    return first.body


def test_which_blocks_are_twins(tmp_path: Path) -> None:
    """Alternating bodies are recognised, other first lines and comments are not in the way."""
    one, other = (check("TCP_CHECK", "retry 1"),), (check("TCP_CHECK", "retry 2"), "weight 2")
    text = virtual(
        real(*one),
        real(*one, at="10.0.0.3 80"),
        real(*other, at="10.0.0.4 80"),
        "   " + real(*one, at="2001:db8::5 8080"),
        real(*other, at="10.0.0.6 80"),
        real(*other, at="a 80"),
        real("# a comment", *one, at="10.0.0.7 80"),
        real(*one, at="10.0.0.8 80 x"),
        real(*one, at="10.0.0.9 80"),
        real(*one, at="10.0.0.10 80"),
        common=(),
    )
    body = nodes(tmp_path, text)
    assert [len(node.addresses) if isinstance(node, Twins) else 0 for node in body] == [
        *(0, 1, 0, 1, 2),
        *(0, 0, 2),
    ]
    lines = text.split("\n")
    found = list(apart(body))
    assert len(found) == 10
    for node in found:
        assert lines[node.line - 1].split()[1] == node.words[1]
        assert lines[node.line - 1] == node.text
        assert node.body is not None
        for inner in node.body:
            assert lines[inner.line - 1].split()[0] == inner.words[0]


def test_the_last_lines_of_a_file(tmp_path: Path) -> None:
    """A block that the file does not end is no twin, and is complained about as ever."""
    text = virtual(real("weight 1"), real("weight 1", at="10.0.0.3 80"), common=())
    whole = text.rstrip("\n")
    assert len(nodes(tmp_path, whole)) == 2
    path = tmp_path / "cut.conf"
    path.write_text(whole[: whole.rindex("}\n}")])
    diagnostics = Diagnostics()
    Source(diagnostics, Builder(diagnostics), Definitions("", {}), "").read(path)
    assert len(diagnostics.messages) == 2
    assert all("is never closed" in message.text for message in diagnostics.messages)


def test_a_thousand_servers(read: Reader) -> None:
    count = 1000
    lines = [
        real("weight 2", check("TCP_CHECK", "connect_timeout 3"), at=f"10.1.{n >> 8}.{n & 255} 80")
        for n in range(count)
    ]
    (found,) = ipvs(read, virtual(*lines)).virtual_servers
    assert len(found.real_servers) == count
    for number, server in enumerate(found.real_servers):
        (one,) = server.checks
        assert server.address == one.connection.address == f"10.1.{number >> 8}.{number & 255}"
        assert server.position is not None
        assert one.position is not None
        assert (server.position.line, one.position.line) == (5 + 6 * number, 7 + 6 * number)
    assert len({id(server.checks[0].schedule) for server in found.real_servers}) == 1


def test_twins_in_other_files(read: Reader) -> None:
    """Each place is in the file where it is written."""
    lines = ("weight 2", check("TCP_CHECK", "retry 4"))
    one = read.file("parts/one.conf", "\n\n" + real(*lines, at="10.0.0.3 80") + "\n")
    two = read.file("parts/two.conf", real(*lines, at="10.0.0.4 80") + "\n" + real("frob"))
    loaded = read(virtual(real(*lines), "include parts/one.conf", "include parts/two.conf"))
    assert texts(loaded) == ["8:1: error: unknown keyword 'frob'; remove or correct it"]
    assert loaded.messages[0].position.file == str(two)
    two.write_text(real(*lines, at="10.0.0.4 80") + "\n")
    (found,) = ipvs(
        read, virtual(real(*lines), "include parts/one.conf", "include parts/two.conf")
    ).virtual_servers
    places = [
        (place.file, place.line)
        for server in found.real_servers
        for place in (server.position, server.checks[0].position)
        if place is not None
    ]
    path = str(read.path)
    assert places == [
        (path, 5),
        (path, 7),
        (str(one), 3),
        (str(one), 5),
        (str(two), 1),
        (str(two), 3),
    ]
