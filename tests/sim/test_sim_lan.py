"""The simulated Ethernet itself: order, delay, loss, partitions, neighbour tables, clocks."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastvrrp._core import build_announcement
from fastvrrp.sim.lan import Frame, Scheduler, Segment
from fastvrrp.sim.machine import Clock

MAC = bytes((2, 0, 0, 0, 0, 9))
VIP = bytes((192, 0, 2, 1))


@dataclass
class Net:
    """A segment of three ports that notes what arrives."""

    delay_ns: int = 100
    jitter_ns: int = 0
    scheduler: Scheduler = field(default_factory=Scheduler)
    heard: list[tuple[int, int, bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        def receive(port: int, frame: Frame) -> None:
            self.heard.append((self.scheduler.now, port, frame.data))

        self.segment = Segment(
            self.scheduler, random.Random(1), 3, self.delay_ns, self.jitter_ns, receive
        )

    def send(self, sender: int, text: bytes = b"x") -> None:
        self.segment.send(sender, Frame(text, b"source", b"destination"))

    def run(self) -> list[tuple[int, int, bytes]]:
        self.scheduler.run_until(10**9)
        return self.heard


def test_everybody_else_hears_after_the_delay() -> None:
    net = Net()
    net.send(1)
    assert net.run() == [(100, 0, b"x"), (100, 2, b"x")]


def test_unicast_reaches_one() -> None:
    net = Net()
    net.segment.send(0, Frame(b"x", b"s", b"d"), to=(2,))
    assert net.run() == [(100, 2, b"x")]


def test_jitter_keeps_the_order_unless_told_otherwise() -> None:
    texts = [bytes((n,)) for n in range(50)]
    for reordering in (False, True):
        net = Net(jitter_ns=1000)
        net.segment.weather.reordering = reordering
        for text in texts:
            net.send(0, text)
        order = [data for _, port, data in net.run() if port == 1]
        assert sorted(order) == texts
        assert (order != texts) == reordering


def test_partition_is_one_way() -> None:
    net = Net()
    net.segment.blocked = {(0, 1)}
    net.send(0, b"a")
    net.send(1, b"b")
    assert net.run() == [(100, 2, b"a"), (100, 0, b"b"), (100, 2, b"b")]
    assert not net.segment.connected(0, 1)
    assert not net.segment.connected(1, 0)
    assert net.segment.connected(0, 2)


def test_loss_and_burst_and_duplication() -> None:
    net = Net()
    net.segment.weather.loss = 0.5
    for _ in range(400):
        net.send(0)
    assert 300 < len(net.run()) < 500
    net = Net()
    net.segment.weather.burst_until = 50
    net.send(0, b"lost")
    net.scheduler.at(50, lambda: net.send(0, b"kept"))
    assert {data for _, _, data in net.run()} == {b"kept"}
    net = Net()
    net.segment.weather.duplication = 1.0
    net.send(0)
    assert len(net.run()) == 4


def test_corruption_changes_or_shortens() -> None:
    net = Net()
    net.segment.weather.corruption = 1.0
    sent = bytes(40)
    for _ in range(200):
        net.send(0, sent)
    got = {data for _, _, data in net.run()}
    assert sent not in got
    flips = [d for d in got if len(d) == len(sent)]
    assert all(sum(byte.bit_count() for byte in data) == 1 for data in flips)
    assert any(len(data) < len(sent) for data in got)


@pytest.mark.parametrize(
    ("family", "address"), [(4, VIP), (6, bytes.fromhex("fe80") + bytes(13) + b"\1")]
)
def test_hosts_believe_announcements(family: int, address: bytes) -> None:
    """Real frames, as the core builds them; the host beside the sender hears them, too."""
    record = build_announcement(family=family, address=address, ifindex=2, mac=MAC)
    net = Net()
    net.segment.blocked = {(0, 2)}
    net.segment.send(0, Frame(record[12:]))
    net.run()
    tables = [host.neighbours for host in net.segment.hosts]
    assert tables == [{address: MAC}, {address: MAC}, {}]
    assert [host.missed for host in net.segment.hosts] == [set(), set(), {address}]


def test_scheduler_keeps_order_and_time() -> None:
    scheduler = Scheduler()
    done: list[object] = []

    def note(name: str) -> None:
        done.append((scheduler.now, name))

    for name in "abc":
        scheduler.at(5, partial(note, name))
    scheduler.at(3, lambda: scheduler.at(1, lambda: done.append((scheduler.now, "late"))))
    scheduler.at(11, lambda: done.append("never"))
    scheduler.run_until(10)
    assert done == [(3, "late"), (5, "a"), (5, "b"), (5, "c")]
    assert scheduler.now == 10


@given(st.integers(0, 10**16), st.integers(-500, 500), st.integers(0, 10**13))
def test_clock_turns_back(offset: int, ppm: int, ahead: int) -> None:
    """`when` is the first moment at which the clock shows it."""
    clock = Clock(offset, ppm)
    local = offset + ahead
    when = clock.when(local)
    assert clock.local(when) >= local
    assert when == 0 or clock.local(when - 1) < local
