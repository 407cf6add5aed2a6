"""When the engine has to wake: never later than a deadline, and not for one that was put off."""

from __future__ import annotations

import socket

import hypothesis.strategies as st
from hypothesis import given

from fastvrrp import _core

MS = 1_000_000
OWN, MASTER = socket.inet_aton("192.0.2.2"), socket.inet_aton("192.0.2.1")
GROUP, VIP = socket.inet_aton("224.0.0.18"), socket.inet_aton("192.0.2.100")
DOWN_NS = 3 * 100 * MS + 156 * 100 * MS // 256  # RFC 9568 6.1, priority 100, 100 ms


def backups(count: int) -> _core.Core:
    core = _core.Core(instances=count)
    core.link(0, ifindex=1, up=True, now_ns=0)
    made = [
        _core.Instance(
            slot=k,
            vrid=k + 1,
            family=4,
            version=3,
            priority=100,
            advert_int_ns=100 * MS,
            link=0,
            source=OWN,
            destination=GROUP,
            addresses=[VIP],
        )
        for k in range(count)
    ]
    core.commit(made, now_ns=0)
    return core


def hear(core: _core.Core, slot: int, now_ns: int) -> None:
    pdu = _core.encode_advert(
        version=3,
        vrid=slot + 1,
        priority=200,
        interval_cs=10,
        addresses=[VIP],
        source=MASTER,
        destination=GROUP,
    )
    code, _ = core.packet(pdu, link=0, source=MASTER, destination=GROUP, ttl=255, now_ns=now_ns)
    assert _core.RX_NAMES[code] == "advert_rcvd"


def test_a_backup_that_hears_its_master_seldom_wakes() -> None:
    """100 adverts put the deadline off as often; the engine wakes when the master falls silent."""
    core = backups(1)
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
    core, now = backups(20), 0
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
