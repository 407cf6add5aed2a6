"""The journal file, and the clean-up after a crash in a real kernel."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from net_tools import ip, ip_json, run

from fastvrrp.config.model import (
    Configuration,
    Device,
    NextHop,
    VirtualAddress,
    VirtualRoute,
    VirtualRule,
    VrrpInstance,
)
from fastvrrp.net import sysctl
from fastvrrp.net.janitor import clean_up
from fastvrrp.net.journal import (
    Contents,
    Entry,
    Journal,
    JournalError,
    VirtualDevice,
    clean,
    contents_of,
)
from fastvrrp.net.programs import instance_objects, static_objects, up_program
from fastvrrp.net.rtnl import RtnlSocket

CONFIGURATION = Configuration(
    static_rules=(VirtualRule(family=4, preference=200, from_="10.0.0.0/8", table=9),),
    vrrp_instances=(
        VrrpInstance(
            name="VI",
            virtual_router_id=1,
            family=4,
            version=2,
            interface="v0",
            virtual_ipaddress=(
                VirtualAddress(address="10.0.0.1", prefixlen=24, family=4),
                VirtualAddress(address="10.0.0.2", prefixlen=24, family=4),
                VirtualAddress(
                    address="10.3.0.1", prefixlen=32, family=4, peer="10.3.0.2", peer_prefixlen=30
                ),
            ),
            virtual_ipaddress_excluded=(
                VirtualAddress(address="2001:db8::1", prefixlen=128, family=6),
                VirtualAddress(address="10.0.0.3", prefixlen=24, family=4, dev="later0"),
            ),
            virtual_routes=(
                VirtualRoute(family=4, destination="10.20.0.0/16", dev="v0"),
                VirtualRoute(family=4, destination="10.20.0.0/16", dev="v0", metric=9, table=99),
                VirtualRoute(
                    family=6,
                    destination="2001:db8:9::/48",
                    nexthops=(NextHop(via="fe80::1", dev="v0"), NextHop(via="fe80::2", dev="v0")),
                ),
            ),
            virtual_rules=(VirtualRule(family=6, preference=201, table=9),),
        ),
    ),
    devices=(
        Device(name="vrrp.1", kind="macvlan", parent="v0", mac=b"\0\0\x5e\0\1\1"),
        Device(name="theirs", kind="macvlan", parent="v0", mac=b"\0\0\x5e\0\1\2"),
    ),
)


def test_round_trip_and_mode(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal")
    contents = contents_of(
        CONFIGURATION,
        {"v0": 4},
        foreign=("theirs",),
        settings=[sysctl.Setting("v0", "promote_secondaries", "0", "1")],
        nft_tables=["fastvrrp"],
    )
    assert contents.devices == (VirtualDevice("vrrp.1", b"\0\0\x5e\0\1\1"),)
    assert Entry("later0", 0, 4, b"\x0a\0\0\x03", 24) in contents.addresses
    assert Entry("v0", 4, 4, b"\x0a\3\0\x01", 30) in contents.addresses
    old_mask = os.umask(0)
    try:
        journal.write(contents)
    finally:
        os.umask(old_mask)
    assert journal.read() == contents
    assert journal.path.stat().st_mode & 0o7777 == 0o600
    journal.write(Contents())
    assert journal.read() == Contents()
    assert [entry.name for entry in tmp_path.iterdir()] == ["journal"]
    journal.remove()
    journal.remove()
    assert journal.read() is None


def test_union_keeps_both_during_a_reload() -> None:
    first = Contents(addresses=(Entry("v0", 1, 4, b"\0\0\0\1", 24),), nft_tables=("a",))
    second = Contents(addresses=(Entry("v0", 1, 4, b"\0\0\0\2", 24),), nft_tables=("a", "b"))
    both = first | second
    assert both.addresses == first.addresses + second.addresses
    assert both.nft_tables == ("a", "b")


def link_to(path: Path) -> None:
    path.with_name("elsewhere").write_text("{}")
    path.symlink_to("elsewhere")


def hard_link(path: Path) -> None:
    path.with_name("elsewhere").write_text('{"version":1}')
    os.link(path.with_name("elsewhere"), path)


def foreign(path: Path) -> None:
    path.write_text('{"version":1}')
    os.chown(path, 12345, 12345)


def writable(path: Path) -> None:
    path.write_text('{"version":1}')
    path.chmod(0o666)


@pytest.mark.parametrize(
    "plant",
    [
        link_to,
        hard_link,
        pytest.param(foreign, marks=pytest.mark.netns),
        writable,
        os.mkfifo,
        Path.mkdir,
        lambda path: path.write_text('{"version":1,"addresses":[["v0",1'),
        lambda path: path.write_text('{"version":1,"addresses":[["v0","x",4,"AA==",24]]}'),
        lambda path: path.write_text('{"version":99}'),
        lambda path: path.write_bytes(b"\xff\x00garbage"),
    ],
)
def test_an_untrustworthy_journal_is_refused(
    tmp_path: Path, plant: Callable[[Path], object]
) -> None:
    """Symlink, hard link, foreign, writable, not a file, damaged: a message, nothing touched."""
    path = tmp_path / "journal"
    plant(path)
    with pytest.raises(JournalError, match=r"journal"):
        Journal(path).read()
    result = clean_up(path)
    assert result.removed == ()
    assert len(result.problems) == 1
    assert result.problems[0].startswith("refused: ")
    assert clean(path)[0].startswith("problem: refused: ")
    assert path.exists()


def test_a_symlink_as_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    with pytest.raises(OSError, match="link"):
        Journal(tmp_path / "link" / "journal").write(Contents())
    with pytest.raises(JournalError):
        Journal(tmp_path / "link" / "journal").read()


def test_a_planted_temporary_file_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("precious")
    (tmp_path / f".journal.{os.getpid()}").symlink_to("victim")
    Journal(tmp_path / "journal").write(Contents())
    assert (tmp_path / "victim").read_text() == "precious"


def test_the_clean_up_brings_no_event_loop_along() -> None:
    """The supervisor loads it between a crash and a restart."""
    program = (
        "import sys, fastvrrp.net.janitor;"
        "sys.exit(bool({'asyncio', 'pyroute2', 'uvloop'} & set(sys.modules)))"
    )
    assert run(sys.executable, "-c", program) == ""


def test_no_journal_means_nothing_to_do(tmp_path: Path) -> None:
    assert clean(tmp_path / "journal") == []
    assert clean(tmp_path / "no" / "journal") == []


@pytest.mark.netns
def test_leftovers_are_removed_and_nothing_else(link: Callable[..., int], tmp_path: Path) -> None:
    """After a crash exactly the installed objects go, those of others in the same place stay."""
    index = link("v0", "10.0.0.9/24")
    ip("addr add 10.0.1.1/24 dev v0 proto 18" if addr_proto() else "addr add 10.0.1.1/24 dev v0")
    ip("route add 10.20.0.0/16 dev v0 metric 100")
    ip("route add 10.21.0.0/16 dev v0 proto 18")
    ip("rule add pref 200 from 10.0.0.0/8 table 9")
    ip("rule add pref 202 from 10.0.0.0/8 table 9 protocol 18")
    before = snapshot()

    interfaces = {"v0": index}
    journal = Journal(tmp_path / "journal")
    journal.write(contents_of(CONFIGURATION, interfaces))
    with RtnlSocket() as rtnl:
        for objects in (
            instance_objects(CONFIGURATION.vrrp_instances[0], interfaces),
            static_objects(CONFIGURATION, interfaces),
        ):
            assert set(rtnl.play(up_program(objects))) == {0}
        assert snapshot() != before
        result = clean_up(journal.path, rtnl)
    assert result.problems == ()
    assert sorted(result.removed) == [
        "address 10.0.0.1/24 dev v0",
        "address 10.0.0.2/24 dev v0",
        "address 10.3.0.1/30 dev v0",
        "address 2001:db8::1/128 dev v0",
        "route 10.20.0.0/16 table 254",
        "route 10.20.0.0/16 table 99",
        "route 2001:db8:9::/48 table 254",
        "rule preference 200 from 10.0.0.0/8 table 9",
        "rule preference 201 table 9",
    ]
    assert snapshot() == before
    assert not journal.path.exists()
    assert clean(journal.path) == []


def addr_proto() -> bool:
    """Whether this iproute2 can set an address's protocol."""
    return "proto" in run("sh", "-c", "ip addr help 2>&1 || true")


def snapshot() -> list[object]:
    return [
        ip_json("addr show dev v0"),
        ip_json("route show table all"),
        ip_json("-6 route show table all"),
        ip_json("rule show"),
        ip_json("-6 rule show"),
    ]


@pytest.mark.netns
def test_an_unmarked_address_that_is_listed_stays(link: Callable[..., int], tmp_path: Path) -> None:
    """The operator configured the same address by hand: it lacks our mark and is not ours."""
    index = link("v0", "10.0.0.1/24")
    journal = Journal(tmp_path / "journal")
    journal.write(contents_of(CONFIGURATION, {"v0": index}))
    assert clean(journal.path) == []
    assert ip_json("-4 addr show dev v0")[0]["addr_info"][0]["local"] == "10.0.0.1"


@pytest.mark.netns
def test_a_renamed_interface_is_still_cleaned(link: Callable[..., int], tmp_path: Path) -> None:
    index = link("v0")
    journal = Journal(tmp_path / "journal")
    journal.write(contents_of(CONFIGURATION, {"v0": index}))
    objects = instance_objects(CONFIGURATION.vrrp_instances[0], {"v0": index})
    with RtnlSocket() as rtnl:
        rtnl.play(up_program(objects)[:1])
    ip("link set v0 down")
    ip("link set v0 name w0")
    assert clean(journal.path) == ["address 10.0.0.1/24 dev w0"]


@pytest.mark.netns
def test_nft_table_and_settings_are_undone(link: Callable[..., int], tmp_path: Path) -> None:
    link("v0")
    run("nft", "add", "table", "inet", "net-left")
    run("nft", "add", "table", "inet", "other")
    run("sysctl", "-qw", "net.ipv4.conf.v0.promote_secondaries=0")
    wanted = {("v0", "promote_secondaries"): "1", ("gone0", "promote_secondaries"): "1"}
    plan = sysctl.plan(wanted)
    assert plan == (sysctl.Setting("v0", "promote_secondaries", "0", "1"),)
    journal = Journal(tmp_path / "journal")
    journal.write(Contents(settings=plan, nft_tables=("net-left", "not-there")))
    assert sysctl.apply(plan) == []
    assert sysctl.read("v0", "promote_secondaries") == "1"
    assert sysctl.plan(wanted, plan) == plan
    assert sysctl.plan({}, plan) == ()
    assert sorted(clean(journal.path)) == [
        "nft table net-left",
        "setting net.ipv4.conf.v0.promote_secondaries back to 0",
    ]
    assert sysctl.read("v0", "promote_secondaries") == "0"
    assert run("nft", "list", "tables").split("\n") == ["table inet other", ""]


@pytest.mark.netns
def test_reports_of_memberships_are_undone(namespace: str, tmp_path: Path) -> None:
    """disable_local_igmp: net.ipv4.igmp_link_local_mcast_reports of the network namespace."""
    name = sysctl.IGMP_REPORTS
    plan = sysctl.plan_igmp(True)
    assert plan == (sysctl.Setting(sysctl.HOST, name, "1", "0"),)
    assert sysctl.plan({}, plan) == ()
    assert sysctl.apply(plan) == []
    assert sysctl.read(sysctl.HOST, name) == "0"
    assert sysctl.plan_igmp(True) == ()  # somebody else's
    assert sysctl.plan_igmp(True, plan) == plan
    assert sysctl.plan_igmp(False, plan) == ()
    journal = Journal(tmp_path / "journal")
    journal.write(Contents(settings=plan))
    assert clean(journal.path) == [f"setting net.ipv4.{name} back to 1"]
    assert sysctl.read(sysctl.HOST, name) == "1"


@pytest.mark.netns
def test_a_hostile_journal_cannot_reach_beyond_its_kinds(namespace: str, tmp_path: Path) -> None:
    """Names in it are checked: no path in /proc but ours, no nft language."""
    journal = Journal(tmp_path / "journal")
    journal.write(
        Contents(
            settings=(
                sysctl.Setting("../../../kernel", "panic", "0", "0"),
                sysctl.Setting("lo", "forwarding", "1", "0"),
                sysctl.Setting(sysctl.HOST, "ip_forward", "1", "0"),
            ),
            nft_tables=("x; flush ruleset",),
        )
    )
    result = clean_up(journal.path)
    assert result.removed == ()
    assert len(result.problems) == 4
    assert all(problem.startswith("refused: ") for problem in result.problems)
    assert journal.path.exists()


@pytest.mark.netns
def test_a_listed_macvlan_is_deleted(link: Callable[..., int], tmp_path: Path) -> None:
    """Only with name, kind and address as listed."""
    link("v0")
    ip("link add link v0 name vrrp.1 address 00:00:5e:00:01:01 type macvlan mode private")
    journal = Journal(tmp_path / "journal")
    journal.write(
        Contents(
            devices=(
                VirtualDevice("vrrp.1", bytes(6)),
                VirtualDevice("vrrp.1", b"", "ipvlan"),
                VirtualDevice("v0", bytes(6)),
                VirtualDevice("v0", b""),
            )
        )
    )
    assert clean(journal.path) == []
    journal.write(Contents(devices=(VirtualDevice("vrrp.1", b"\0\0\x5e\0\1\1"),)))
    assert clean(journal.path) == ["link vrrp.1"]
