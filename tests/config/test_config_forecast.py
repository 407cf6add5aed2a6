"""Several routers: weights against each other, and who is master after each single failure."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from config_reading import Reader, instance, routers

from fastvrrp.config.cross import check_routers
from fastvrrp.config.elections import virtual_routers
from fastvrrp.config.forecast import forecast, ranges

HEAD = "global_defs {\n enable_script_security\n script_user root\n}\n"


def script(weight: int = 0, name: str = "S") -> str:
    return f"vrrp_script {name} {{\n script /bin/check\n weight {weight}\n}}\n"


def tracking(*names: str) -> str:
    return "track_script {\n" + "\n".join(names) + "\n}"


def said(read: Reader, *files: str) -> list[str]:
    return [f"{m.text}; {m.hint}" for m in check_routers(routers(read, *files))]


def told(read: Reader, *files: str) -> list[str]:
    return list(forecast(virtual_routers(routers(read, *files))))


def weighted(priority: int, weight: int, *lines: str) -> str:
    return HEAD + script(weight) + instance(f"priority {priority}", tracking("S"), *lines)


def plain(priority: int, *lines: str) -> str:
    return instance(f"priority {priority}", *lines)


# --- weights


@pytest.mark.parametrize(
    ("one", "two", "warned"),
    [
        ((150, -20), (100, -20), [1, 2]),  # 130 to 150, and 80 to 100
        ((150, -50), (100, -50), [1, 2]),  # 100 and 100: the master stays
        ((150, -51), (100, -51), []),
        ((150, -51), (100, 0), []),
        ((150, -50), (100, 0), [1]),  # 100 and 100: the master stays
        ((101, 2), (100, 2), []),  # 101 to 103, and 100 to 102
        ((150, 0), (100, 20), [2]),
        ((150, 0), (100, 60), []),
    ],
)
def test_weights_that_change_nothing(
    read: Reader, one: tuple[int, int], two: tuple[int, int], warned: Sequence[int]
) -> None:
    found = routers(read, weighted(*one), weighted(*two))
    messages = [m for m in check_routers(found) if "never changes who is master" in m.text]
    assert len(messages) == len(warned)
    if one == (150, -20):
        text = "V: the weights leave the priority between 130 and 150, which never changes who is "
        assert [m.text for m in messages] == [
            text + "master: r2 has 100",
            text.replace("130 and 150", "80 and 100") + "master: r1 has 150",
        ]
        assert {m.hint for m in messages} == {
            "make the weights larger than the difference of the priorities"
        }
        assert {(m.position.line, m.position.column) for m in messages} == {(17, 1)}
    if one == (150, -50) and two == (100, 0):
        assert messages[0].hint == (
            "make the weights larger: with equal priorities the master stays master"
        )


def test_two_weights_may_only_matter_together(read: Reader) -> None:
    both = HEAD + script(-30) + script(-30, "T")
    one = both + instance("priority 150", tracking("S", "T"))
    assert said(read, one, plain(100)) == []
    (alone,) = said(read, HEAD + script(-30) + instance("priority 150", tracking("S")), plain(100))
    assert "between 120 and 150" in alone


def test_nopreempt_waits_however_low_the_priority(read: Reader) -> None:
    pair = weighted(150, -60, "nopreempt"), weighted(100, -60, "nopreempt")
    assert said(read, *pair) == [
        "V: the weights never take the mastership away: with nopreempt r2 waits however low the "
        "priority is; remove nopreempt, or write weight 0"
    ]
    assert "  r1 without script S: r1 (r1 has priority 90 then)" in told(read, *pair)
    assert said(read, weighted(150, -60), weighted(100, -60)) == []
    # What fails is left at once, whatever the others have.
    assert said(read, weighted(150, 0, "nopreempt"), plain(100, "nopreempt")) == []


def test_positive_weights_count_while_all_is_well(read: Reader) -> None:
    lines = told(read, plain(110), weighted(100, 20))
    assert lines[0] == (
        "virtual router 1, IPv4: master is r2 (priority 120), then r1 (priority 110)"
    )
    assert "  r2 without script S: r1 (r2 has priority 100 then)" in lines


# --- routers that must know each other


def test_two_owners(read: Reader) -> None:
    assert said(read, plain(255), plain(255)) == [
        f"V: priority 255, the same as V of r1 ({read.path}:1); "
        "only one router can own the addresses; write 1 to 254 on the other"
    ]


def test_prefix_lengths_and_addresses(read: Reader) -> None:
    def node(priority: int, vips: str) -> str:
        return instance(f"priority {priority}", vips=vips)

    where = f"V of r1 ({read.path}:1)"
    assert said(read, node(9, "10.0.0.1/24"), node(8, "10.0.0.1/25")) == [
        f"V: the prefix lengths of the virtual addresses differ from {where}; "
        "write the same ones on all routers"
    ]
    assert said(read, node(9, "10.0.0.1\n10.0.0.2\n10.0.0.3"), node(8, "10.0.0.1\n10.0.0.4")) == [
        f"V: the virtual addresses differ from {where}: 2 missing, 10.0.0.4 is new; "
        "list the same addresses on all routers"
    ]
    excluded = "virtual_ipaddress_excluded {\n10.0.0.9\n}"
    assert said(read, plain(9, excluded), plain(8)) == [
        f"V: the excluded addresses differ from {where}: 10.0.0.9 is missing; "
        "list the same addresses on all routers"
    ]


def test_a_peer_that_is_no_router(read: Reader) -> None:
    def node(priority: int, source: str, *peers: str) -> str:
        listed = "\n".join(peers)
        return plain(priority, f"unicast_src_ip {source}", f"unicast_peer {{\n{listed}\n}}")

    one, two = node(9, "10.0.0.2", "10.0.0.3", "10.0.0.7"), node(8, "10.0.0.3", "10.0.0.2")
    assert said(read, one, two) == [
        "V: the peer 10.0.0.7 is the address of none of the routers given; "
        "correct it, or check with the files of all routers"
    ]


# --- who is master then


def test_a_pair(read: Reader) -> None:
    one = HEAD + script() + script(-60, "T") + instance("priority 150", tracking("S", "T"))
    assert told(read, one, plain(100)) == [
        "virtual router 1, IPv4: master is r1 (priority 150), then r2 (priority 100)",
        "  without r1: r2",
        "  r1 without interface eth0: r2",
        "  r1 without script S: r2",
        "  r1 without script T: r2 (r1 has priority 90 then)",
        "  whatever fails on r2: r1",
    ]


def test_three_routers_of_which_two_are_equal(read: Reader) -> None:
    assert told(read, plain(200), plain(100), plain(100)) == [
        "virtual router 1, IPv4: master is r1 (priority 200), then r2 (priority 100), then r3 "
        "(priority 100)",
        "  without r1: the one with the higher address",
        "  r1 without interface eth0: the one with the higher address",
        "  whatever fails on r2: r1",
        "  whatever fails on r3: r1",
    ]
    sources = ["mcast_src_ip 10.0.0.4", "mcast_src_ip 10.0.0.30", "mcast_src_ip 10.0.0.9"]
    lines = told(read, *[plain(p, s) for p, s in zip((200, 100, 100), sources, strict=True)])
    assert lines[1] == "  without r1: r2"


def test_equal_routers(read: Reader) -> None:
    lines = told(read, plain(100), plain(100))
    assert lines[0].startswith("virtual router 1, IPv4: the higher source address is master of r1")
    assert "  without r1: r2" in lines
    assert "  without r2: r1" in lines


def test_a_sync_group_fails_together(read: Reader) -> None:
    def node(*priorities: int) -> str:
        members = "".join(
            instance(
                f"priority {priority}",
                name=f"V{n}",
                vrid=n,
                interface=f"eth{n}",
                vips=f"10.{n}.0.1",
            )
            for n, priority in enumerate(priorities, 1)
        )
        names = "\n".join(f"V{n}" for n, _ in enumerate(priorities, 1))
        return members + f"vrrp_sync_group G {{\n group {{\n{names}\n}}\n}}\n"

    assert told(read, node(150, 150), node(100, 100)) == [
        "virtual routers 1-2, IPv4: master is r1 (priority 150), then r2 (priority 100)",
        "  without r1: r2",
        "  r1 without interface eth1 or eth2: r2",
        "  whatever fails on r2: r1",
    ]
    many = [node(*[150] * 5), node(*[100] * 5)]
    assert "  r1 without an interface of its sync group: r2" in told(read, *many)


def test_addresses_on_another_interface(read: Reader) -> None:
    one = instance("priority 150", vips="10.0.0.1 dev eth1\n10.0.0.9 dev eth2 no_track")
    lines = told(read, one, plain(100))
    assert "  r1 without interface eth0 or eth1: r2" in lines


def test_thousands_are_a_few_lines(read: Reader) -> None:
    def node(priority: int, other: int) -> str:
        return "".join(
            instance(
                f"priority {priority if n % 2 else other}",
                name=f"V{n}",
                vrid=(n - 1) % 255 + 1,
                interface=f"v{(n - 1) // 255}",
                vips=f"10.{n // 250}.{n % 250}.1",
            )
            for n in range(1, 1001)
        )

    lines = told(read, node(150, 50), node(100, 100))
    assert len(lines) == 8
    assert lines[0].startswith("virtual routers 1-255 (500 of them), IPv4: master is r1")
    assert lines[2] == "  r1 without its interface: r2"


def test_many_kinds_are_cut_short(read: Reader) -> None:
    def node(step: int) -> str:
        return "".join(
            instance(f"priority {n + step}", name=f"V{n}", vrid=n, vips=f"10.0.{n}.1")
            for n in range(1, 41)
        )

    lines = told(read, node(1), node(0))
    assert lines[-1] == "... and 20 more virtual routers, of 20 kinds"


def test_ranges() -> None:
    assert ranges([7, 1, 2, 3, 9, 8, 20]) == "1-3, 7-9, 20"
    assert ranges([]) == ""
