"""The rig on real namespaces: the observers against packets of our own, and the smoke."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from bench.rig.__main__ import main
from bench.rig.native import program
from bench.rig.network import Hub, Wires
from bench.rig.observe import ADVERT, Addresses, Frames, Intervals, packed
from bench.rig.process import run_json

pytestmark = [pytest.mark.netns, pytest.mark.xdist_group("bench")]


def send(network: Wires, *, count: int, interval_s: float, seconds: float) -> int:
    """The floor's sender on router a; how many adverts it sent."""
    tick_us = str(round(interval_s * 1e6))
    argv = [program("floor_send"), "packet", str(count), tick_us, str(seconds)]
    return int(run_json(network.a.namespace, [*argv, *network.a.interfaces])["sent"])


def test_frames_are_all_seen_with_their_fields(tmp_path: Path) -> None:
    with Wires(300) as network, Frames(network.b, tmp_path / "frames") as frames:
        sent = send(network, count=300, interval_s=0.1, seconds=0.25)
        frames.stop()
        seen = list(frames.read())
        links = network.b.ifindexes()
    assert len(seen) == sent
    assert {(f.kind, f.outgoing, f.priority) for f in seen} == {(ADVERT, 0, 200)}
    where = {(links[f.ifindex], f.vrid, f.address) for f in seen}
    assert where == {(p.link, p.vrid, packed(p.vip)) for p in network.places}
    times = [f.time_ns for f in seen]
    assert max(times) - min(times) < 1_000_000_000


def test_intervals_of_a_regular_sender(tmp_path: Path) -> None:
    with Wires(16) as network, Intervals(network.b, 0.05) as receiver:
        sent = send(network, count=16, interval_s=0.05, seconds=0.5)
        heard = receiver.stop()["received"]
    assert heard["adverts"] == sent
    assert heard["routers"] == 16
    assert heard["intervals"] == sent - 16
    counted = sum(count for name in ("early", "late") for _, count in heard[name])
    assert counted == heard["intervals"]
    assert abs(heard["mean_error_ns"]) < 25_000_000


def test_intervals_against_a_shorter_nominal_one_are_late() -> None:
    with Wires(4) as network, Intervals(network.b, 0.02) as receiver:
        send(network, count=4, interval_s=0.06, seconds=0.5)
        heard = receiver.stop()["received"]
    # a sender that was held up makes up for it, so some of the gaps are shorter
    assert heard["over_2"] >= 0.75 * heard["intervals"] > 0
    assert sum(count for _, count in heard["early"]) == 0


def test_addresses_are_followed(tmp_path: Path) -> None:
    begin = time.time_ns()
    with Wires(1) as network, Addresses(network.a, tmp_path / "log") as watch:
        index = network.a.namespace.index("a0")
        network.a.namespace.addr("add", index=index, address="10.0.0.1", prefixlen=32)
        network.a.namespace.addr("add", index=index, address="172.17.0.1", prefixlen=32)
        network.a.namespace.addr("add", index=index, address="10.0.0.2", prefixlen=32)
        network.a.namespace.addr("del", index=index, address="10.0.0.1", prefixlen=32)
        watch.stop()
        assert watch.held() == 1
        assert watch.appeared(begin) == 2
        assert watch.vanished(begin) == 1
        assert watch.appeared(time.time_ns()) == 0


def test_stranger_sends_what_is_asked(tmp_path: Path) -> None:
    with Hub(2) as network, Frames(network.b, tmp_path / "frames") as frames:
        stranger = network.stranger
        argv = [program("flood"), stranger.interfaces[0], stranger.address(0)]
        words = stranger.namespace.run(*argv, "7", "100", "10", "200", "0.5", "ttl").split("\n", 1)
        assert words[0] == "ready"
        done = json.loads(words[1])
        frames.stop()
        seen = [f for f in frames.read() if f.kind == ADVERT]
    assert 80 <= done["sent"] <= 120
    assert len(seen) == done["sent"]
    assert {(f.vrid, f.priority) for f in seen} == {(7, 100)}


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_smoke_measures_every_kind(tmp_path: Path) -> None:
    """`--quick`: every case gives figures, and those that do not depend on speed are right."""
    assert main(["--quick", "--out", str(tmp_path)]) == 0
    document = json.loads((tmp_path / "results.json").read_text())
    by_kind = {entry["kind"]: entry["rounds"][0] for entry in document["results"]}
    assert by_kind["steady"]["settled"]
    assert by_kind["steady"]["routers"] == 16
    assert by_kind["startup"]["announced"] == 16
    assert by_kind["takeover"]["early_adverts"] == 0
    assert by_kind["reload"]["addresses_touched"] == 0
    assert by_kind["reload"]["priority_zero"] == 0
    assert by_kind["floor-packets"]["heard_share"] == 1
    assert by_kind["flood"]["log_lines"] <= 20
    assert "## Takeover" in (tmp_path / "results.md").read_text()
