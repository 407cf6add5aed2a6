"""Status records as documented, and keepalived's dumps without passwords."""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from vrrp_tools import Bench, configuration, instance, vip

from fastvrrp import _core
from fastvrrp.config import model
from fastvrrp.control.protocol import ControlError
from fastvrrp.vrrp import dumps
from fastvrrp.vrrp.status import answer, status
from fastvrrp.vrrp.trackers_view import TrackersView, seen

SCRIPT = {
    "kind": "script",
    "name": "chk",
    "state": "up",
    "last_result": "exited with status 0",
    "weight": -50,
    "reverse": False,
}
PROCESS = {
    "kind": "process",
    "name": "nginx",
    "state": "down",
    "matches": 0,
    "quorum": 1,
    "weight": 5,
    "reverse": False,
}
FILE = {
    "kind": "file",
    "name": "f",
    "value": 7,
    "exists": True,
    "weight": 2,
    "reverse": False,
}
SECRET = b"s3cret99"


@pytest.fixture
def view() -> TrackersView:
    made = TrackersView()
    made.update([SCRIPT, PROCESS, FILE])
    return made


def everything() -> model.Configuration:
    """A configuration with one of each."""
    command = model.Command(argv=("/usr/bin/check", "-x"))
    return configuration(
        instance(
            priority=150,
            auth_type=1,
            auth_pass=SECRET,
            virtual_ipaddress=(vip("10.0.1.100/24"), vip("10.0.1.101/32", label="eth0:1")),
            virtual_ipaddress_excluded=(vip("2001:db8::9/64", dev="eth1"),),
            virtual_routes=(
                model.VirtualRoute(family=4, destination="10.9.0.0/16", via="10.0.1.7"),
            ),
            track_interface=(model.Tracked(name="eth1", weight=-10),),
            track_script=(model.Tracked(name="chk", weight=-50),),
            track_process=(model.Tracked(name="nginx", weight=5),),
            track_file=(model.Tracked(name="f", weight=2),),
            notify=model.Notify(notify_master=command, smtp_alert=True),
        ),
        track_scripts=(model.TrackScript(name="chk", command=command, weight=-50),),
    )


@pytest.fixture
def master(bench: Bench) -> Bench:
    bench.apply(everything())
    bench.engine.advance(5)
    bench.client.poll()
    bench.add_vip("10.0.1.100", "VI_1")
    return bench


def test_an_instance_has_every_documented_field(master: Bench, view: TrackersView) -> None:
    record = status(master.plane, view)["instances"][0]
    documented = _documented("INSTANCE:")
    assert set(record) == documented
    assert record["state"] == "MASTER"
    assert record["reason"] in _core.REASON_NAMES
    assert record["master"] == {"address": "10.0.1.1", "priority": 150}
    assert record["transitions"] == 2
    assert record["skew_time_ms"] == pytest.approx(1e3 * (256 - 150) / 256)
    assert record["addresses"] == [
        {"address": "10.0.1.100/24", "dev": "eth0", "excluded": False, "present": True},
        {"address": "10.0.1.101/32", "dev": "eth0", "excluded": False, "present": False},
        {"address": "2001:db8::9/64", "dev": "eth1", "excluded": True, "present": False},
    ]
    trackers = {
        t["name"]: (t["kind"], t["up"], t["weight"], t["effect"]) for t in record["trackers"]
    }
    assert trackers == {
        "eth1": ("interface", True, -10, 0),
        "chk": ("script", True, -50, 0),
        "nginx": ("process", False, 5, 0),
        "f": ("file", True, 2, 14),
    }
    json.dumps(record)


def _documented(heading: str) -> set[str]:
    """The field names of a record in docs/control-socket.md, without those of records in it."""
    text = (Path(__file__).parents[2] / "docs/control-socket.md").read_text()
    block = text.split(heading, 1)[1].split("```")[1].strip().removeprefix("{")
    while (plain := re.sub(r"[\[{][^\[\]{}]*[\]}]", "", block)) != block:
        block = plain
    return set(re.findall(r'"(\w+)":', block))


def test_trackers_and_groups(master: Bench, view: TrackersView) -> None:
    records = status(master.plane, view)["trackers"]
    assert {(r["kind"], r["name"], r["up"]) for r in records} == {
        ("script", "chk", True),
        ("process", "nginx", False),
        ("file", "f", True),
        ("interface", "eth1", True),
    }
    assert all(r["instances"] == ["VI_1"] for r in records)
    by_name = {r["name"]: r["detail"] for r in records}
    assert by_name["chk"] == "exited with status 0"
    assert by_name["nginx"] == "0 found, 1 needed"
    assert by_name["f"] == "value 7"


def test_a_group_shows_whose_fault_it_is(bench: Bench, view: TrackersView) -> None:
    group = model.SyncGroup(name="G", members=("A", "B"))
    bad = instance("B", virtual_router_id=52, interface="eth7", sync_group="G")
    bench.apply(configuration(instance("A", sync_group="G"), bad, sync_groups=(group,)))
    bench.client.poll()
    assert status(bench.plane, view)["groups"] == [
        {
            "name": "G",
            "state": "FAULT",
            "members": ["A", "B"],
            "fault": ["B: interface down", "B: no source address"],
        }
    ]


def test_one_name(master: Bench, view: TrackersView) -> None:
    found = answer("status", {"name": "chk"}, master.plane, view)
    assert found["instances"] == []
    assert [t["name"] for t in found["trackers"]] == ["chk"]
    with pytest.raises(ControlError, match="nobody") as caught:
        answer("status", {"name": "nobody"}, master.plane, view)
    assert caught.value.code == "not-found"


def test_counters_and_unknown_methods(master: Bench, view: TrackersView) -> None:
    counters = answer("counters", {}, master.plane, view)
    assert counters["instances"]["VI_1"]["become_master"] == 1
    assert "turns" in counters["engine"]
    shown = answer("status", {}, master.plane, view)["lateness"]
    assert shown == {"histogram": [[4, 7], [16, 1]], "threads": [[[4, 7], [16, 1]]]}
    with pytest.raises(ControlError) as caught:
        answer("dance", {}, master.plane, view)
    assert caught.value.code == "unknown-method"


@pytest.mark.parametrize(
    ("status_", "up"),
    [
        ({**SCRIPT, "state": "init", "last_result": None}, None),
        ({**FILE, "weight": 0}, False),
        ({**FILE, "weight": 0, "value": 0}, True),
        ({**FILE, "value": -254, "weight": 1}, False),
    ],
)
def test_tracker_states(status_: dict[str, Any], up: bool | None) -> None:
    assert seen(status_).up is up


def test_changes_of_trackers_are_noticed_once(view: TrackersView) -> None:
    assert view.update([SCRIPT, PROCESS, FILE]) == []
    changed = view.update([{**SCRIPT, "state": "down"}, PROCESS, {**FILE, "value": 9}])
    assert [(c.name, c.up) for c in changed] == [("chk", False)]


class TestDumps:
    @pytest.fixture(autouse=True)
    def _umask(self) -> Iterator[None]:
        """As the daemon's."""
        before = os.umask(0o027)
        yield
        os.umask(before)

    def dump(self, kind: str, bench: Bench, view: TrackersView, tmp_path: Path) -> str:
        path = tmp_path / f"keepalived.{kind}"
        dumps.write(kind, path, bench.plane, view)
        assert stat.S_IMODE(path.stat().st_mode) & 0o137 == 0
        assert list(tmp_path.iterdir()) == [path]
        return path.read_text()

    @pytest.mark.parametrize("kind", ["data", "stats", "json"])
    def test_no_password_appears(
        self, kind: str, master: Bench, view: TrackersView, tmp_path: Path
    ) -> None:
        text = self.dump(kind, master, view, tmp_path)
        assert SECRET.decode() not in text
        assert "VI_1" in text

    def test_json_has_keepalived_s_fields(
        self, master: Bench, view: TrackersView, tmp_path: Path
    ) -> None:
        (record,) = json.loads(self.dump("json", master, view, tmp_path))
        data = record["data"]
        assert data["auth_data"] == "*" * 8
        assert data["state"] == 2
        assert data["wantstate"] == 2
        assert (data["iname"], data["ifp_ifname"], data["vrid"]) == ("VI_1", "eth0", 51)
        assert (data["base_priority"], data["effective_priority"]) == (150, 150)
        assert (data["adver_int"], data["master_adver_int"], data["vipset"]) == (1, 1, True)
        assert data["script_master"] == "'/usr/bin/check' '-x'"
        assert data["vips"] == [
            "10.0.1.100/24 dev eth0 scope global set",
            "10.0.1.101 dev eth0 scope global label eth0:1",
        ]
        assert data["evips"] == ["2001:db8::9/64 dev eth1 scope global"]
        assert data["vroutes"] == ["10.9.0.0/16 via 10.0.1.7"]
        assert data["track_script"] == ["'/usr/bin/check' '-x'"]
        assert (data["track_ifp"], data["track_process"]) == (["eth1"], ["nginx"])
        assert set(record["stats"]) == {name for name, _ in dumps._STATISTICS}
        assert record["stats"]["become_master"] == 1

    def test_stats_have_keepalived_s_lines(
        self, master: Bench, view: TrackersView, tmp_path: Path
    ) -> None:
        lines = self.dump("stats", master, view, tmp_path).splitlines()
        assert lines[0] == "VRRP Instance: VI_1"
        assert lines[4] == "  Became master: 1"
        assert lines[6:9] == ["  Packet Errors:", "    Length: 0", "    TTL: 0"]
        assert len(lines) == 19

    def test_without_instances_there_is_no_file(
        self, bench: Bench, view: TrackersView, tmp_path: Path
    ) -> None:
        dumps.write("json", tmp_path / "keepalived.json", bench.plane, view)
        assert list(tmp_path.iterdir()) == []

    def test_a_link_in_the_way_is_not_followed(
        self, master: Bench, view: TrackersView, tmp_path: Path
    ) -> None:
        victim = tmp_path / "victim"
        victim.write_text("mine")
        path = tmp_path / "keepalived.json"
        path.symlink_to(victim)
        dumps.write("json", path, master.plane, view)
        assert victim.read_text() == "mine"
        assert not path.is_symlink()
