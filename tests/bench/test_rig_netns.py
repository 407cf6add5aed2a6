"""The rig on real namespaces: the observers against packets of our own."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Iterable
from pathlib import Path

import pytest
from bench.rig.native import program
from bench.rig.network import Hub, Wires
from bench.rig.observe import ADVERT, Addresses, Frame, Frames, Intervals, packed
from bench.rig.process import run_json

from machine import MS, now_ns

pytestmark = [pytest.mark.netns, pytest.mark.xdist_group("bench")]


def send(network: Wires, *, count: int, interval_s: float, seconds: float) -> int:
    """The floor's sender on router a; how many adverts it sent."""
    tick_us = str(round(interval_s * 1e6))
    argv = [program("floor_send"), "packet", str(count), tick_us, "1", str(seconds)]
    return int(run_json(network.a.namespace, [*argv, *network.a.interfaces])["sent"])


def test_frames_are_all_seen_with_their_fields(tmp_path: Path) -> None:
    with Wires(300) as network, Frames(network.b, tmp_path / "frames") as frames:
        before = now_ns()
        sent = send(network, count=300, interval_s=0.1, seconds=0.25)
        after = now_ns()
        frames.stop()
        seen = list(frames.read())
        links = network.b.ifindexes()
    assert len(seen) == sent >= 300
    assert {(f.kind, f.outgoing, f.priority) for f in seen} == {(ADVERT, 0, 200)}
    where = {(links[f.ifindex], f.vrid, f.address) for f in seen}
    assert where == {(p.link, p.vrid, packed(p.vip)) for p in network.places}
    begin, end = min(f.time_ns for f in seen), max(f.time_ns for f in seen)
    assert before < begin < end < after


def gaps_ns(frames: Iterable[Frame]) -> list[int]:
    """The times between the adverts of each virtual router."""
    adverts = sorted((f.vrid, f.time_ns) for f in frames)
    return [b[1] - a[1] for a, b in itertools.pairwise(adverts) if a[0] == b[0]]


@pytest.mark.parametrize("nominal_s", [0.05, 0.02], ids=["regular", "all late"])
def test_intervals_are_those_of_the_frames(tmp_path: Path, nominal_s: float) -> None:
    """Whatever the sender's punctuality was: two observers of the same frames agree. They stamp
    each for itself, which a millisecond on either side of a limit allows for."""
    with (
        Wires(16) as network,
        Frames(network.b, tmp_path / "frames") as frames,
        Intervals(network.b, nominal_s) as receiver,
    ):
        sent = send(network, count=16, interval_s=0.05, seconds=0.5)
        heard = receiver.stop()["received"]
        frames.stop()
        gaps = gaps_ns(frames.read())
    assert heard["adverts"] == sent
    assert heard["routers"] == 16
    assert heard["intervals"] + heard["phase_changes"] == len(gaps) == sent - 16
    assert heard["intervals"] == sum(n for name in ("early", "late") for _, n in heard[name])
    for name, factor in (("over_1_5", 1.5), ("over_2", 2), ("over_3", 3)):
        limit = factor * nominal_s * 1e9
        least, most = (sum(g > limit + d for g in gaps) for d in (MS, -MS))
        assert least <= heard[name] <= most
    assert abs(heard["late_max_ns"] - (max(gaps) - nominal_s * 1e9)) < MS


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
    # 200/s for half a second, the last look at the clock a bit before its end
    assert 80 <= done["sent"] <= 101
    assert len(seen) == done["sent"]
    assert {(f.vrid, f.priority) for f in seen} == {(7, 100)}
