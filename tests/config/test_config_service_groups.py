"""virtual_server_group: entries, ranges, marks, and which services meet."""

from __future__ import annotations

import pytest
from config_reading import Reader, texts
from hypothesis import given
from hypothesis import strategies as st
from servers_reading import HEAD, ipvs, problems, real, server, virtual

from fastvrrp.config.servers import ServiceAddress


def group(*lines: str, name: str = "G") -> str:
    """A virtual_server_group; its first line is line 2."""
    return "\n".join((f"virtual_server_group {name} {{", *lines, "}\n"))


def services(read: Reader, *lines: str, at: str = "10.0.0.2") -> tuple[ServiceAddress, ...]:
    """The services of a group that one virtual server balances, without a message."""
    common = HEAD if any("fwmark" not in line for line in lines) else HEAD[:2]
    text = virtual("lvs_method TUN", real(at=at), head="group G", common=common)
    found = server(read, group(*lines) + text)
    assert found.group == "G"
    return found.services


@pytest.mark.parametrize(
    ("line", "address", "count", "port"),
    [
        ("10.0.0.1 80", "10.0.0.1", 1, 80),
        ("10.0.0.1-9 80", "10.0.0.1", 9, 80),
        ("10.0.0.20-10.0.1.4 81", "10.0.0.20", 241, 81),
        ("10.0.4.0/29 82", "10.0.4.0", 8, 82),
        ("10.0.0.1/32 80", "10.0.0.1", 1, 80),
        ("10.1.0.0/16 80", "10.1.0.0", 65536, 80),
        ("2001:DB8::1 80", "2001:db8::1", 1, 80),
        ("2001:db8::10-1f 80", "2001:db8::10", 16, 80),
        ("2001:db8::ff-2001:db8::101 80", "2001:db8::ff", 3, 80),
        ("2001:db8::100/120 80", "2001:db8::100", 256, 80),
    ],
)
def test_addresses(read: Reader, line: str, address: str, count: int, port: int) -> None:
    family = 6 if ":" in address else 4
    expected = ServiceAddress(family=family, address=address, count=count, port=port)
    assert services(read, line) == (expected,)


def test_marks(read: Reader) -> None:
    assert services(read, "fwmark 7", "fwmark 8 inet") == (
        ServiceAddress(family=4, fwmark=7),
        ServiceAddress(family=4, fwmark=8),
    )
    assert services(read, "fwmark 7", at="2001:db8::2")[0].family == 6
    assert services(read, "fwmark 7", "2001:db8::1 80")[0].family == 6


def test_both_families_through_tunnels(read: Reader) -> None:
    lines = ("10.0.0.1 80", "2001:db8::1 80", "fwmark 1 inet", "fwmark 1 inet6")
    assert [one.family for one in services(read, *lines)] == [4, 6, 4, 6]


def test_marks_of_both_families_need_theirs(read: Reader) -> None:
    text = group("10.0.0.1 80", "2001:db8::1 80", "fwmark 1") + virtual(
        "lvs_method TUN", real(), head="group G"
    )
    assert problems(read, text) == [
        "6:16: error: [G]:0: the firewall marks of a group with both families need one each; "
        "write fwmark N inet or fwmark N inet6"
    ]


def test_both_families_without_tunnels(read: Reader) -> None:
    text = group("10.0.0.1 80", "2001:db8::1 80") + virtual(real(), head="group G")
    assert problems(read, text) == [
        "9:13: error: 10.0.0.2 is not an IPv6 address as the service's; "
        "write an IPv6 address, or lvs_method TUN"
    ]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("10.0.0.256 80", "2:1: error: '10.0.0.256' is not an address; write ADDRESS, FIRST-LAST"),
        ("10.0.0.1 0x50", "2:10: error: '0x50' is not a port; write 1 to 65535"),
        ("10.0.0.1 65536", "2:10: error: '65536' is not a port; "),
        ("10.0.0.9-5 80", "2:1: error: '10.0.0.9-5' is not a range of addresses; "),
        ("10.0.0.9-9 80", "2:1: error: '10.0.0.9-9' is not a range of addresses; "),
        ("10.0.0.9-256 80", "2:1: error: '10.0.0.9-256' is not a range of addresses; "),
        ("10.0.0.9-x 80", "2:1: error: '10.0.0.9-x' is not a range of addresses; "),
        ("10.0.0.9-2001:db8::1 80", "2:1: error: '10.0.0.9-2001:db8::1' is not a range"),
        ("2001:db8::1-g 80", "2:1: error: '2001:db8::1-g' is not a range of addresses; "),
        ("2001:db8::1-10000 80", "2:1: error: '2001:db8::1-10000' is not a range of addresses"),
        (
            "10.0.4.9/29 80",
            "2:1: error: '10.0.4.9/29' does not begin where its prefix begins; write 10.0.4.8/29",
        ),
        ("10.0.0.0/33 80", "2:1: error: '10.0.0.0/33' is not a range of addresses; "),
        ("10.0.0.0/ 80", "2:1: error: '10.0.0.0/' is not a range of addresses; "),
        ("10.0.0.0/15 80", "2:1: error: '10.0.0.0/15' has more than 65536 addresses, each a "),
        ("2001:db8::/96 80", "2:1: error: '2001:db8::/96' has more than 65536 addresses, "),
        ("fwmark", "2:1: error: fwmark needs a number; write fwmark 1 to 4294967295"),
        ("fwmark 0", "2:8: error: '0' is no fwmark; write fwmark 1 to 4294967295"),
        ("fwmark 7 ipv4", "2:10: error: unknown family 'ipv4'; known: inet, inet6"),
        ("10.0.0.1 {\n}", "2:1: error: no block is possible in virtual_server_group; "),
    ],
)
def test_what_is_no_entry(read: Reader, line: str, message: str) -> None:
    text = group(line, "10.9.9.9 80") + virtual(real(), head="group G")
    (said,) = problems(read, text)
    assert said.startswith(message)


def test_words_behind_an_entry(read: Reader) -> None:
    loaded = read(group("10.0.0.1 80 tcp", "fwmark 7 inet 5") + virtual(real(), head="group G"))
    assert [said.partition(";")[0] for said in texts(loaded)] == [
        "2:13: warning: one more word than 10.0.0.1 takes, ignored",
        "3:15: warning: one more word than fwmark takes, ignored",
    ]


def test_empty_group(read: Reader) -> None:
    assert problems(read, group() + virtual(real(), head="group G")) == [
        "1:22: error: virtual_server_group 'G' is empty; add ADDRESS PORT"
    ]


def test_group_without_use(read: Reader) -> None:
    said = (
        "1:22: warning: virtual_server_group G is not used; "
        "add virtual_server group G, or remove it"
    )
    assert ipvs(read, group("10.0.0.1 80"), said).virtual_servers == ()


def test_group_defined_below(read: Reader) -> None:
    """As with keepalived, which looks for groups at the end."""
    found = server(read, virtual(real(), head="group G") + group("10.0.0.1 80"))
    assert found.services[0].address == "10.0.0.1"


@pytest.mark.parametrize("name", ["", "a b"])
def test_name(read: Reader, name: str) -> None:
    (said,) = problems(read, group("10.0.0.1 80", name=name).replace("  {", " {"))
    assert said.startswith("1:")
    assert "name" in said


def test_two_groups_of_one_name(read: Reader) -> None:
    text = group("10.0.0.1 80") + group("10.0.0.2 80") + virtual(real(), head="group G")
    assert problems(read, text) == [
        "4:22: error: virtual_server_group 'G' is defined already; "
        f"the first one is at {read.path}:1; give this one another name"
    ]


def test_group_of_two_protocols(read: Reader) -> None:
    text = (
        group("10.0.0.1 53")
        + virtual(real(), head="group G")
        + virtual("protocol UDP", real(), head="group G")
    )
    found = ipvs(read, text).virtual_servers
    assert [(one.name, one.protocol) for one in found] == [("[G]:0", "TCP"), ("[G]:1", "UDP")]


def test_no_protocol(read: Reader) -> None:
    mixed = group("10.0.0.1 53", "fwmark 1")
    loaded = read(mixed + virtual(real(), head="group G", common=HEAD[:2]))
    assert texts(loaded) == [
        "5:16: warning: [G]:0: no protocol, using UDP; add protocol TCP, UDP or SCTP"
    ]
    marks = group("fwmark 1") + virtual(real(), head="group G", common=HEAD[:2])
    assert server(read, marks).protocol == "TCP"


def test_port_0_of_an_entry(read: Reader) -> None:
    found = server(
        read,
        group("10.0.0.1") + virtual(real(), head="group G"),
        "4:16: warning: [G]:0: a service of all ports must be persistent, using 360 seconds; "
        "write a port, or persistence_timeout SECONDS",
    )
    assert found.persistence_timeout_s == 360


# -- services that meet


def test_same_entry_twice(read: Reader) -> None:
    found = server(
        read,
        group("10.0.0.1 80", "10.0.0.1 80") + virtual(real(), head="group G"),
        "3:1: warning: listed twice, ignored here; remove one of the lines",
    )
    assert len(found.services) == 1


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (("10.0.0.1-9 80", "10.0.0.9 80"), "[G]:0 lists one service twice"),
        (("10.0.0.0/24 80", "10.0.0.255-10.0.1.1 80"), "[G]:0 lists one service twice"),
        (("10.0.0.1-9 80", "10.0.0.9 81"), ""),
        (("10.0.0.1-9 80", "10.0.0.10 80"), ""),
        (("fwmark 1", "fwmark 2"), ""),
        (("fwmark 1", "fwmark 1 inet"), "[G]:0 lists one service twice"),
        (("2001:db8::1-9 80", "2001:db8::9 80"), "[G]:0 lists one service twice"),
    ],
)
def test_entries_that_meet(read: Reader, lines: tuple[str, ...], message: str) -> None:
    to = "2001:db8:1::2 80" if ":" in lines[0] else "10.0.0.2 80"
    common = HEAD[:2] if "fwmark" in lines[0] else HEAD
    loaded = read(group(*lines) + virtual(real(at=to), head="group G", common=common))
    assert [said for said in texts(loaded) if message in said] == texts(loaded)
    assert bool(texts(loaded)) == bool(message)


def test_group_and_address_that_meet(read: Reader) -> None:
    text = (
        group("10.0.0.1-9 80")
        + virtual(real(), head="group G")
        + virtual(real(), head="10.0.0.5 80")
    )
    assert problems(read, text) == [
        "11:16: error: [10.0.0.5]:tcp:80 balances what [G]:0 balances already; "
        f"the first one is at {read.path}:4; list each service once"
    ]


ENTRIES = st.tuples(st.integers(0, 30), st.integers(1, 12), st.sampled_from((80, 81)))


@given(entries=st.lists(ENTRIES, min_size=1, max_size=5, unique=True))
def test_meeting_is_having_a_service_in_common(
    entries: list[tuple[int, int, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Against the plain definition: no (address, port) twice."""
    read = Reader(tmp_path_factory.mktemp("meet", numbered=True))
    lines = [
        f"10.0.0.{first} {port}" if count == 1 else f"10.0.0.{first}-{first + count - 1} {port}"
        for first, count, port in entries
    ]
    single = [(n, port) for first, count, port in entries for n in range(first, first + count)]
    loaded = read(group(*lines) + virtual(real(), head="group G"))
    assert (loaded.configuration is None) == (len(set(single)) < len(single)), texts(loaded)
