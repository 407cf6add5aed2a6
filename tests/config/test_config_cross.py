"""Several routers compared, and the `fastvrrp check` command."""

from __future__ import annotations

from pathlib import Path

import pytest
from config_reading import Reader, instance, routers

from fastvrrp.cli.main import main
from fastvrrp.config.cross import check_routers
from fastvrrp.config.elections import virtual_routers


def said(read: Reader, *files: str) -> list[str]:
    messages = check_routers(routers(read, *files))
    return [f"{m.severity.value}: {m.text}".replace(f"{read.path}:", "") for m in messages]


def test_a_pair_that_fits(read: Reader) -> None:
    pair = (instance("priority 150"), instance("priority 100"))
    assert said(read, *pair) == []
    (virtual,) = virtual_routers(routers(read, *pair))
    assert (virtual.vrid, virtual.family) == (1, 4)
    master = virtual.master()
    assert master is not None
    assert master.router.name == "r1"


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["priority 150"], ["warning: V: priority 150, the same as V of r1 (1)"]),
        (["version 3"], ["error: V: version 3, but 2 in V of r1 (1)"]),
        (["advert_int 2"], ["error: V: advert_int 2, but 1 in V of r1 (1)"]),
        (["down_timer_adverts 5"], ["warning: V: down_timer_adverts 5, but 3 in V of r1 (1)"]),
        (
            ["authentication {\nauth_type PASS\nauth_pass x\n}"],
            ["error: V: the authentication differs from V of r1 (1)"],
        ),
        (["unicast_peer { 10.0.0.8 }"], ["error: V: unicast, unlike V of r1 (1)"]),
        (
            ["mcast_dst_ip 224.0.0.99"],
            ["error: V: multicast group 224.0.0.99, but 224.0.0.18 in V of r1 (1)"],
        ),
        (
            ["virtual_ipaddress { 10.0.0.2 }"],
            ["warning: V: the virtual addresses differ from V of r1 (1): 10.0.0.2 is new"],
        ),
        (
            ["virtual_router_id 7"],
            [
                "warning: V: no other router has virtual_router_id 1 for IPv4",
                "warning: V: no other router has virtual_router_id 7 for IPv4",
            ],
        ),
    ],
)
def test_what_does_not_fit(read: Reader, lines: list[str], expected: list[str]) -> None:
    assert said(read, instance("priority 150"), instance(*lines)) == expected


def test_version_3_learns_the_interval(read: Reader) -> None:
    pair = [instance("version 3", f"advert_int {i}", f"priority {p}") for i, p in ((1, 9), (2, 8))]
    assert said(read, *pair) == ["warning: V: advert_int 2, but 1 in V of r1 (1)"]


def test_unicast_routers_must_list_each_other(read: Reader) -> None:
    def node(source: str, peer: str, priority: int) -> str:
        return instance(
            f"unicast_src_ip {source}", f"unicast_peer {{ {peer} }}", f"priority {priority}"
        )

    assert said(read, node("10.0.0.2", "10.0.0.3", 9), node("10.0.0.3", "10.0.0.2", 8)) == []
    assert said(read, node("10.0.0.2", "10.0.0.4", 9), node("10.0.0.3", "10.0.0.2", 8)) == [
        "error: V: 10.0.0.3 of V of r2 (1) is not among the peers",
        "warning: V: the peer 10.0.0.4 is the address of none of the routers given",
    ]


def test_the_same_id_on_two_interfaces_is_matched_by_name_or_interface(read: Reader) -> None:
    one = instance(name="A", interface="eth0") + instance(name="B", interface="eth1")
    two = instance("priority 9", name="B", interface="eth2") + instance(
        "priority 9", name="C", interface="eth0"
    )
    found = virtual_routers(routers(read, one, two))
    assert [[m.instance.name for m in v.members] for v in found] == [["A", "C"], ["B", "B"]]


def test_three_routers(read: Reader) -> None:
    files = [instance(f"priority {p}") for p in (50, 200, 100)]
    (virtual,) = virtual_routers(routers(read, *files))
    master = virtual.master()
    assert master is not None
    assert master.router.name == "r2"
    assert said(read, *files) == []


def test_sync_groups_prefer_one_router(read: Reader) -> None:
    def node(first: int, second: int) -> str:
        return (
            instance(f"priority {first}")
            + instance(f"priority {second}", name="W", vrid=2)
            + "vrrp_sync_group G { group { V W } }\n"
        )

    assert said(read, node(150, 150), node(100, 100)) == []
    assert (
        said(read, node(150, 100), node(100, 150))
        == ["warning: sync group G: its members prefer different masters"] * 2
    )


LOCAL = instance(interface="lo2")


def check(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, list[str]]:
    code = main(["check", *words])
    captured = capsys.readouterr()
    assert captured.err == ""
    return code, captured.out.splitlines()


def test_command_valid(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.conf"
    path.write_text(LOCAL)
    code, lines = check(capsys, str(path))
    assert code == 0
    assert lines == [
        f"{path}:2:12: warning: interface 'lo2' does not exist now; did you mean lo?",
        f"{path}: valid, 1 instance, 1 virtual address; 1 warning",
    ]


def test_command_errors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.conf"
    path.write_text("global_defs {\n routter_id x\n}\n")
    code, lines = check(capsys, str(path))
    assert code == 1
    assert lines == [
        f"{path}:2:2: error: unknown keyword 'routter_id'; did you mean router_id?",
        f"{path}: not valid, 1 error",
    ]


def test_command_missing_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, lines = check(capsys, str(tmp_path / "none.conf"))
    assert code == 1
    assert "No such file" in lines[0]


def test_command_with_two_routers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = []
    for name, priority in (("a", 150), ("b", 100)):
        path = tmp_path / f"{name}.conf"
        script = "notify /nowhere/x nosuchuser"
        path.write_text(instance(f"priority {priority}", script, interface="lan0"))
        paths.append(str(path))
    code, lines = check(capsys, *paths)
    assert code == 0
    # What is missing on this machine is not the other routers' fault.
    assert not any("does not exist" in line or "no user" in line for line in lines)
    assert lines[-5:] == [
        f"virtual router 1, IPv4: master is {paths[0]} (priority 150), "
        f"then {paths[1]} (priority 100)",
        f"  without {paths[0]}: {paths[1]}",
        f"  {paths[0]} without interface lan0: {paths[1]}",
        f"  whatever fails on {paths[1]}: {paths[0]}",
        "2 routers: they fit together",
    ]


def test_command_with_two_routers_that_disagree(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, two = tmp_path / "a.conf", tmp_path / "b.conf"
    one.write_text(instance("priority 150"))
    two.write_text(instance("version 3"))
    code, lines = check(capsys, str(one), str(two))
    assert code == 1
    assert lines[-2:] == [
        f"{two}:1:15: error: V: version 3, but 2 in V of {one} ({one}:1); "
        "use one version, else both become master",
        "2 routers: 1 error",
    ]


def test_command_with_one_file_for_two_routers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.conf"
    path.write_text(instance("@r1 priority 150", "@r2 priority 50", "debug 1"))
    code, lines = check(capsys, str(path), "--config-id", "r1", "--config-id", "r2")
    assert code == 0
    assert [line for line in lines if "debug" in line] == [
        f"{path}:9:1: warning: debug has no effect: it never had one; "
        "the rest of the configuration works without it"
    ]
    assert lines[-5] == (
        f"virtual router 1, IPv4: master is {path} as r1 (priority 150), "
        f"then {path} as r2 (priority 50)"
    )


def test_command_equal_priorities(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.conf"
    path.write_text(instance())
    code, lines = check(capsys, str(path), "--config-id", "r1", "--config-id", "r2")
    assert code == 0
    assert lines[-6].startswith("virtual router 1, IPv4: the higher source address is master of")


def test_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["check", "--help"])
    assert stopped.value.code == 0
    text = capsys.readouterr().out
    for words in ("FILE:LINE:COLUMN", "exit status", "examples:", "--config-id r1"):
        assert words in text
