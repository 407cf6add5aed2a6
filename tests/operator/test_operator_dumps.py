"""The dump files beside those that a keepalived writes about the same configuration."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dump_readers as readers
import pytest

from fastvrrp.lab.daemons import Daemon, Fastvrrp, Keepalived
from fastvrrp.lab.network import Network, wait_for
from keepalived_text import block

pytestmark = [pytest.mark.interop, pytest.mark.netns]

CANARY = "canaryXY"
JSON = signal.SIGRTMIN + 2

TEXT = "\n".join(
    (
        block(
            "global_defs",
            "enable_script_security",
            "script_user root",
            "router_id edge",
            "vrrp_higher_prio_send_advert",
        ),
        block("vrrp_script chk", 'script "/usr/bin/true -x"', "interval 1", "weight -20"),
        block("vrrp_sync_group G", block("group", "A", "B")),
        block(
            "vrrp_instance A",
            "interface eth0\nvirtual_router_id 51\npriority 150\nadvert_int 1",
            "garp_master_delay 7\ngarp_master_refresh 60\ngarp_lower_prio_repeat 3",
            "preempt_delay 20\nsmtp_alert",
            block("authentication", "auth_type PASS", f"auth_pass {CANARY}"),
            block("virtual_ipaddress", "192.0.2.10/24", "192.0.2.13 dev eth1 label eth1:v"),
            'notify_master "/usr/bin/echo master me"\nnotify /usr/bin/true',
        ),
        block(
            "vrrp_instance B",
            "interface eth1\nvirtual_router_id 52\npriority 150\nadvert_int 2\nnopreempt",
            block("virtual_ipaddress", "198.51.100.10/24"),
        ),
        block(
            "vrrp_instance C",
            "interface eth0\nvirtual_router_id 53\nversion 3\npriority 110\nadvert_int 0.1",
            block("virtual_ipaddress", "192.0.2.15/32"),
            block("track_script", "chk"),
            block("track_interface", "eth1 weight 10"),
        ),
    )
)
# What the clock, the state of the moment or a decision of ours (no password in a file) makes
# different.
DIFFERENT = {"last_transition", "auth_data", "wantstate", "state", "vipset", "vips"}


class Dumps:
    """The files of one daemon."""

    def __init__(self, daemon: Daemon, directory: Path) -> None:
        self.daemon = daemon
        self.directory = directory

    def get(self, number: int, name: str) -> str:
        path = self.directory / name
        os.kill(self.daemon.pid, number)
        wait_for(lambda: path.exists() and path.stat().st_size, 5, f"{name} is written")
        return path.read_text()

    def records(self) -> dict[str, dict[str, Any]]:
        found = json.loads(self.get(JSON, "keepalived.json"))
        return {record["data"]["iname"]: record for record in found}


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Dumps, Dumps]]:
    """fastvrrp and keepalived with the same configuration, out of each other's sight."""
    directory = tmp_path_factory.mktemp("dumps")
    with Network(routers=2, clients=0, lans=2) as network:
        for lan in (0, 1):
            network.partition(["r2"], lan)
        ours = Fastvrrp(network["r1"], directory / "r1")
        theirs = Keepalived(network["r2"], directory / "r2")
        theirs.environment = lambda: {**os.environ, "TMPDIR": str(directory)}  # type: ignore[method-assign]
        try:
            for daemon in (ours, theirs):
                daemon.start(TEXT)
                daemon.wait_listening()
                log = daemon
                wait_for(lambda log=log: "(C) Entering MASTER" in log.log(), 10, "C is master")
            yield Dumps(ours, ours.run_dir), Dumps(theirs, directory)
        finally:
            ours.close()
            theirs.close()


def test_json(both: tuple[Dumps, Dumps]) -> None:
    """The same fields in the same order, with the same values where these are the same."""
    ours, theirs = (dumps.records() for dumps in both)
    assert list(ours) == list(theirs)
    for name, record in theirs.items():
        for part in ("data", "stats"):
            assert list(ours[name][part]) == list(record[part]), name
        mine = ours[name]["data"]
        assert {k: mine[k] for k in mine.keys() - DIFFERENT} == {
            k: record["data"][k] for k in mine.keys() - DIFFERENT
        }
        assert {k: type(v) for k, v in mine.items() if k != "last_transition"} == {
            k: type(v) for k, v in record["data"].items() if k != "last_transition"
        }
    assert [ours[n]["data"]["state"] for n in "C"] == [theirs[n]["data"]["state"] for n in "C"]
    assert ours["C"]["data"]["wantstate"] == theirs["C"]["data"]["wantstate"] == 2
    assert ours["C"]["data"]["vips"] == theirs["C"]["data"]["vips"]
    assert ours["A"]["data"]["auth_data"] == "*" * 8


def test_stats(both: tuple[Dumps, Dumps]) -> None:
    """The same lines but for the numbers."""
    ours, theirs = (dumps.get(signal.SIGUSR2, "keepalived.stats") for dumps in both)
    assert re.sub(r"\d+", "N", ours) == re.sub(r"\d+", "N", theirs)


def test_programs_find_the_same(both: tuple[Dumps, Dumps]) -> None:
    """What exporters and VyOS read out of both daemons' files."""
    json_texts = [dumps.get(JSON, "keepalived.json") for dumps in both]
    ours, theirs = (readers.exporter_json(text) for text in json_texts)
    assert ours == theirs
    assert ours["C"]["state"] == 2
    texts = [dumps.get(signal.SIGUSR1, "keepalived.data") for dumps in both]
    mine, yours = (readers.exporter_data(text) for text in texts)
    assert mine == yours == ours
    scripts = [readers.exporter_scripts(text) for text in texts]
    assert scripts[0] == scripts[1] == {"chk": (1, 0)}
    stats = [
        readers.exporter_stats(dumps.get(signal.SIGUSR2, "keepalived.stats")) for dumps in both
    ]
    shapes = [
        {name: {part: list(values) for part, values in one.items()} for name, one in found.items()}
        for found in stats
    ]
    assert shapes[0] == shapes[1]
    assert stats[0]["C"][""]["Became master"] == 1
    rows, their_rows = (readers.vyos(text) for text in json_texts)
    assert [row[:5] for row in rows] == [row[:5] for row in their_rows]
    assert all(abs(time.time() - row[5]) < 60 for row in rows)
    # Theirs ends at a line of flags for this reader, so that only ours can be shown.
    for name, found in readers.other_exporter_data(texts[0]).items():
        assert found["Interface"] == ours[name]["ifp_ifname"]
        assert found["Virtual Router ID"] == ours[name]["vrid"]
        assert found["State"] == readers.STATES[ours[name]["state"]]
        assert abs(time.time() - found["Last transition"]) < 60


def labels(text: str) -> dict[str, list[str]]:
    """Labels of the lines `   LABEL = ...`, and titles of lists, by instance."""
    found: dict[str, list[str]] = {}
    current: list[str] = []
    for line in text.splitlines():
        if not line.startswith("   "):
            current = []
            if line.startswith(" VRRP Instance = "):
                current = found[line.partition(" = ")[2]] = []
        elif not line.startswith("    "):
            current.append(re.split(r" = | ?:| ?\(| \d", line.strip())[0])
    return found


def test_data_has_the_same_labels(both: tuple[Dumps, Dumps]) -> None:
    """In the same order, but for what the real one tells of its inside, and for what is last."""
    ours, theirs = (labels(dumps.get(signal.SIGUSR1, "keepalived.data")) for dumps in both)
    internal = {"Flags", "Number of config faults", "Number of track scripts init", "Read timeout"}
    internal |= {"Number of interface and track script faults", "fd_in", "Multicast address"}
    # The one heard last, which they name also when there was none.
    internal |= {"Master router", "Master priority"}
    for name, expected in theirs.items():
        wanted = [label for label in expected if label not in internal]
        assert [label for label in ours[name] if label in wanted] == wanted, name
        assert set(ours[name]) - set(expected) <= {"Reason", "Multicast address", "Fault"}


def test_data_has_no_password(both: tuple[Dumps, Dumps]) -> None:
    ours, theirs = (dumps.get(signal.SIGUSR1, "keepalived.data") for dumps in both)
    assert CANARY in theirs  # of 2.2.7, which is why the files are worth a test
    assert CANARY not in ours
    assert "VRRP Instance = A" in ours
