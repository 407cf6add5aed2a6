"""When the engine has to wake: never later than a deadline, and not for one that was put off; and
what becomes of deadlines when adverts are not read before the next tick."""

from __future__ import annotations

import itertools
import socket
from collections import Counter, deque

import hypothesis.strategies as st
import pytest
from hypothesis import example, given, settings

from fastvrrp import _core

MS = 1_000_000
OWN, MASTER = socket.inet_aton("192.0.2.2"), socket.inet_aton("192.0.2.1")
GROUP, VIP = socket.inet_aton("224.0.0.18"), socket.inet_aton("192.0.2.100")
DOWN_NS = 3 * 100 * MS + 156 * 100 * MS // 256  # RFC 9568 6.1, priority 100, 100 ms


def instance(slot: int, interval_ns: int, priority: int) -> _core.Instance:
    return _core.Instance(
        slot=slot,
        vrid=slot % 255 + 1,
        family=4,
        version=3,
        priority=priority,
        advert_int_ns=interval_ns,
        link=slot // 255,
        source=OWN,
        destination=GROUP,
        addresses=[VIP],
    )


def made(
    count: int, interval_ns: int = 100 * MS, priority: int = 100, *, coalesce: bool = False
) -> _core.Core:
    core = _core.Core(instances=count, links=count // 255 + 1, coalesce=coalesce)
    for link in range(count // 255 + 1):
        core.link(link, ifindex=link + 1, up=True, now_ns=0)
    core.commit([instance(k, interval_ns, priority) for k in range(count)], now_ns=0)
    return core


def hear(core: _core.Core, slot: int, now_ns: int, *, interval_ns: int = 100 * MS) -> None:
    pdu = _core.encode_advert(
        version=3,
        vrid=slot + 1,
        priority=255,
        interval_cs=interval_ns // (10 * MS),
        addresses=[VIP],
        source=MASTER,
        destination=GROUP,
    )
    code, _ = core.packet(pdu, link=0, source=MASTER, destination=GROUP, ttl=255, now_ns=now_ns)
    assert _core.RX_NAMES[code] == "advert_rcvd"


def test_a_backup_that_hears_its_master_seldom_wakes() -> None:
    """100 adverts put the deadline off as often; the engine wakes when the master falls silent."""
    core = made(1)
    wakes = 0
    for k in range(1, 101):
        while core.next_due_ns() < k * 100 * MS:
            core.tick(core.next_due_ns())
            wakes += 1
        hear(core, 0, k * 100 * MS)
    assert wakes == 0
    assert core.next_due_ns() == 100 * 100 * MS + DOWN_NS
    core.tick(core.next_due_ns())
    assert core.status(0).state == _core.MASTER


@given(st.lists(st.tuples(st.integers(0, 19), st.integers(0, 40)), max_size=200))
def test_never_later_than_any_deadline(steps: list[tuple[int, int]]) -> None:
    """Whoever hears what and when: the earliest deadline of all is not slept over."""
    core, now = made(20), 0
    for slot, wait_ms in steps:
        end = now + wait_ms * MS
        while core.next_due_ns() <= end:
            now = max(now, core.next_due_ns())
            core.tick(now)
        now = end
        if core.status(slot).state == _core.BACKUP:
            hear(core, slot, now)
        assert core.next_due_ns() <= min(core.status(k).next_due_ns for k in range(20))
        assert all(core.status(k).next_due_ns > now for k in range(20))


@given(
    st.lists(st.tuples(st.integers(0, 19), st.integers(0, 40)), max_size=60),
    st.lists(st.integers(0, 3000), min_size=1, max_size=8),
)
def test_a_horizon_hides_no_deadline(steps: list[tuple[int, int]], horizons_ms: list[int]) -> None:
    """Whoever looks again by then anyway is told of every deadline up to then, and of one beyond it
    nothing worse than too early; who asks without a horizon afterwards is told as ever."""
    core, now = made(20), 0
    for slot, wait_ms in steps:
        now += wait_ms * MS
        core.tick(now)
        if core.status(slot).state == _core.BACKUP:
            hear(core, slot, now)
        earliest = min(core.status(k).next_due_ns for k in range(20))
        for ahead_ms in horizons_ms:
            until = now + ahead_ms * MS
            told = core.next_due_ns(until_ns=until)
            assert told <= earliest
            if earliest > until:
                assert told > now
            assert now < core.next_due_ns() <= earliest


def becomes_master_ns(
    core: _core.Core, arrivals: list[int], *, interval_ns: int, tick_ns: int, begin_ns: int
) -> int:
    """An engine that reads at ticks: what came before a look is read in it, before any deadline."""
    coming, now = deque(arrivals), begin_ns
    while core.status(0).state != _core.MASTER:
        due = core.next_due_ns(until_ns=now + 2 * tick_ns)
        now = min(max(now, due), now + tick_ns)
        while coming and coming[0] <= now:
            hear(core, 0, now, interval_ns=interval_ns)
            coming.popleft()
        core.tick(now)
    return now


@settings(max_examples=60, deadline=None)
@given(
    interval_cs=st.integers(1, 300),
    priority=st.integers(1, 254),
    phase=st.floats(0, 1, exclude_max=True),
    adverts=st.integers(1, 12),
)
@example(interval_cs=25, priority=254, phase=0.999, adverts=8)  # its skew is a fifth of a tick
@example(interval_cs=50, priority=254, phase=0.5, adverts=8)
@example(interval_cs=51, priority=254, phase=0.999, adverts=8)
def test_reading_by_tick_never_takes_over_early_and_at_most_a_tick_late(
    interval_cs: int, priority: int, phase: float, adverts: int
) -> None:
    """However short the skew, and wherever in the tick an advert comes (RFC 9568 6.1)."""
    interval = interval_cs * 10 * MS
    tick = _core.poll_tick_ns(interval)
    assert tick <= max(MS, interval // 25)
    core = made(1, interval_ns=interval, priority=priority)
    arrivals = [k * interval for k in range(1, adverts + 1)]
    taken = becomes_master_ns(
        core, arrivals, interval_ns=interval, tick_ns=tick, begin_ns=int(phase * tick)
    )
    down = 3 * interval + (256 - priority) * interval // 256
    assert arrivals[-1] + down <= taken <= arrivals[-1] + down + tick


@pytest.mark.parametrize("interval_ns", [10 * MS, 100 * MS])
@pytest.mark.parametrize("count", [1024, 4096])
def test_bursts_do_not_take_others_along(count: int, interval_ns: int) -> None:
    """Awake a little late, an engine sends what is due together and nothing of the next burst: from
    one advert of a router to the next it is an interval, but for that little."""
    little = 20_000
    core = made(count, interval_ns, 255, coalesce=True)
    sent: dict[int, list[int]] = {k: [] for k in range(count)}
    turn = now = 0
    while now < 25 * interval_ns:
        turn += 1
        now = max(now, core.next_due_ns()) + turn * 7919 % little
        for action in core.tick(now):
            if action[0] == "tx" and now > 5 * interval_ns:  # masters, in their places
                sent[action[1]].append(now)
    for times in sent.values():
        assert len(times) >= 17
        gaps = [b - a for a, b in itertools.pairwise(times)]
        assert max(abs(gap - interval_ns) for gap in gaps) <= 2 * little
    together = Counter(at for times in sent.values() for at in times)
    assert max(together.values()) <= 256
