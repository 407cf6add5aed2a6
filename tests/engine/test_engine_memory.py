"""Memory of an engine over a long time: its rings take what was in them at once, no more, and what
a burst filled does not stay with it."""

from __future__ import annotations

import gc
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fastvrrp import _core
from fastvrrp.lab.network import wait_for
from fastvrrp.supervisor.process import settle_memory

pytestmark = pytest.mark.netns

RECORD_BYTES = 64  # of an event
STEADY_KB = 200  # what the test itself may take meanwhile
OWNERS = 4096
NOWHERE = 1 << 30  # index of no interface: the kernel takes no frame for it
LEFT_KB = 128 + 256 + STEADY_KB  # after a burst: two blocks of the ring, all of that of commands


def own_kb() -> int:
    """What this process has written to and no other shares."""
    settle_memory()
    lines = Path("/proc/self/smaps_rollup").read_text("ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Private_Dirty:"))


@pytest.fixture
def engine() -> Iterator[_core.Engine]:
    made = _core.Engine(instances=8, links=1, groups=1)
    made.start()
    yield made
    made.stop()
    made.join(5)
    gc.unfreeze()


def confirmed(engine: _core.Engine) -> list[int]:
    """Epochs of the confirmations that wait to be read."""
    return [event.a for event in engine.events() if event.kind == _core.EV_COMMITTED]


def exchange(engine: _core.Engine, epochs: range) -> None:
    """One command and its answer after the other."""
    for epoch in epochs:
        engine.commit([], remove=[], epoch=epoch)
        found: list[int] = []
        while not found:
            found = confirmed(engine)
        assert found == [epoch]


def let_it_work(engine: _core.Engine) -> None:
    """Return when the engine has gone through all commands so far: a whole turn lies behind them.

    A turn that had begun takes in what comes meanwhile, and there may be none after it. So it is
    asked for more, for something that does nothing, until the next one is over.
    """
    begun = engine.counters()["turns"]

    def passed() -> bool:
        engine.adjust(0, 0)  # nobody is in this slot
        return engine.counters()["turns"] > begun + 1

    wait_for(passed, 60, "two more turns", poll_s=0)


def test_places_of_links_that_are_not_used_take_none() -> None:
    """There is one for each instance, which may all have a link of their own after a reload."""
    script = """
import sys
from pathlib import Path
from fastvrrp import _core
from fastvrrp.supervisor.process import keep_large_apart, settle_memory

def own_kb():
    settle_memory()
    lines = Path("/proc/self/smaps_rollup").read_text("ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Private_Dirty:"))

keep_large_apart()
sizes, engines = [own_kb()], []
for links in (8, int(sys.argv[1])):
    engines.append(_core.Engine(instances=8, links=links, groups=1))
    sizes.append(own_kb())
print((sizes[2] - sizes[1]) - (sizes[1] - sizes[0]))
"""
    links = 60000
    command = [sys.executable, "-c", script, str(links)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    # What the engine has of each link is a hundred bytes, and more.
    assert int(done.stdout) * 1024 < links * 20


def test_rings_that_are_hardly_filled_stay_small(engine: _core.Engine) -> None:
    """More events than would fit the allowance, few of them at once."""
    exchange(engine, range(1, 500))
    before = own_kb()
    count = 4 * STEADY_KB * 1024 // RECORD_BYTES
    exchange(engine, range(500, 500 + count))
    assert own_kb() - before < STEADY_KB


def test_what_a_burst_filled_is_given_back(engine: _core.Engine) -> None:
    exchange(engine, range(1, 500))
    before = own_kb()
    epochs = range(500, 20_500)
    for epoch in epochs:
        engine.commit([], remove=[], epoch=epoch)
    wait_for(lambda: own_kb() - before > 20_000 * RECORD_BYTES // 1024, 5, "they wait in the ring")
    told = epochs.start
    while told < epochs.stop:
        for epoch in confirmed(engine):
            assert epoch == told
            told += 1
    assert own_kb() - before < LEFT_KB


def test_a_block_is_not_given_back_with_new_events_in_it(engine: _core.Engine) -> None:
    """In a ring that is nearly full the engine writes right behind whoever reads: into the block
    that is being read."""
    ring, batch = 65_536, 100
    sent = ring - 3 * batch
    for epoch in range(1, sent + 1):
        engine.commit([], remove=[], epoch=epoch)
    told: list[int] = []
    while len(told) < ring:  # once round
        told += [e.a for e in engine.events(limit=batch) if e.kind == _core.EV_COMMITTED]
        for epoch in range(sent + 1, sent + batch + 1):
            engine.commit([], remove=[], epoch=epoch)
        sent += batch
        let_it_work(engine)
    while more := engine.events():
        told += [e.a for e in more if e.kind == _core.EV_COMMITTED]
    assert told == sorted(set(told))
    assert sent - len(told) == engine.counters()["events_lost"]


def test_the_end_is_told_although_there_was_no_room_for_it(engine: _core.Engine) -> None:
    """Whoever stops a router in a storm of events would wait in vain, and call it a failure."""
    for epoch in range(1, 65_536 + 2):
        engine.commit([], remove=[], epoch=epoch)
    wait_for(lambda: engine.counters()["events_lost"], 60, "the ring is full")
    engine.stop_instances()
    let_it_work(engine)
    kinds: set[int] = set()
    wait_for(
        lambda: _core.EV_STOPPED in kinds or kinds.update(e.kind for e in engine.events()),
        10,
        "the end is told",
    )


def owner(slot: int, *, fault: int) -> _core.Instance:
    """Says nothing to anybody, and is announced where nobody is."""
    address = (slot + 1).to_bytes(4, "big")
    record = _core.build_announcement(
        family=4, address=address, ifindex=NOWHERE, mac=b"\x02\0\0\0\0\1"
    )
    return _core.Instance(
        slot=slot,
        vrid=slot % 255 + 1,
        family=4,
        version=3,
        priority=255,
        advert_int_ns=1_000_000_000,
        link=0,
        flags=_core.F_UNICAST,
        source=b"\x0a\0\0\1",
        addresses=[address],
        announce=record,
        garp_master_delay_ns=0,
        fault=fault,
    )


def committed(engine: _core.Engine, *, epoch: int, fault: int) -> None:
    engine.commit([owner(slot, fault=fault) for slot in range(OWNERS)], remove=[], epoch=epoch)
    wait_for(lambda: epoch in confirmed(engine), 60, "the commit")


def test_what_thousands_of_new_masters_filled_is_given_back() -> None:
    """Actions of one commit, jobs of the announcer, programs of the applier."""
    engine = _core.Engine(instances=OWNERS, links=1, groups=1)
    engine.start()
    try:
        engine.link(0, ifindex=socket.if_nametoindex("lo"), families=0)
        committed(engine, epoch=1, fault=_core.FAULT_CONFIG)
        before = own_kb()
        committed(engine, epoch=2, fault=0)
        last = OWNERS - 1
        wait_for(lambda: engine.status(last).vips_up, 60, "every program played")
        wait_for(lambda: engine.status(last).counters["announcements"] > 0, 60, "the last one")
        wait_for(lambda: not engine.events() and own_kb() - before < LEFT_KB, 60, "all given back")
    finally:
        engine.stop()
        engine.join(5)
        gc.unfreeze()
