"""The engine's events as an unbroken chain of states, whatever was lost on the way."""

from __future__ import annotations

import asyncio

import pytest
from vrrp_tools import Bench, configuration, instance, vip

from fastvrrp import _core
from fastvrrp.vrrp.slots import CapacityError, SlotTable

INIT, BACKUP, MASTER, FAULT = _core.INIT, _core.BACKUP, _core.MASTER, _core.FAULT


def test_transitions_are_told_once_each_and_in_order(bench: Bench) -> None:
    bench.apply(configuration(instance()))
    bench.engine.advance(5)
    bench.engine.take(bench.engine.core.link(0, ifindex=1, up=False, now_ns=bench.engine.now_ns))
    bench.client.poll()
    told = bench.listener.transitions
    assert [(t.old, t.new, t.first, t.seen) for t in told] == [
        (INIT, BACKUP, True, True),
        (BACKUP, MASTER, False, True),
        (MASTER, FAULT, False, True),
    ]
    assert bench.client.state(0) == FAULT
    mirror = bench.client.mirror(0)
    assert mirror is not None
    assert (mirror.sequence, mirror.transitions) == (3, 3)


def test_a_lost_event_shows_as_the_state_it_led_to(bench: Bench) -> None:
    bench.apply(configuration(instance()))
    bench.engine.advance(5)
    queue = bench.engine.queue
    lost = next(e for e in queue if e.kind == _core.EV_STATE)
    assert (lost.a, lost.b) == (BACKUP, MASTER)
    queue.remove(lost)
    bench.engine.take(bench.engine.core.link(0, ifindex=1, up=False, now_ns=bench.engine.now_ns))
    bench.client.poll()
    assert [(t.old, t.new, t.seen) for t in bench.listener.transitions[1:]] == [
        (BACKUP, MASTER, False),
        (MASTER, FAULT, True),
    ]


def test_after_an_overflow_the_status_is_the_truth(bench: Bench) -> None:
    bench.apply(configuration(instance()))
    bench.engine.advance(5)
    bench.engine.queue.clear()
    bench.engine.lost = True
    bench.client.poll()
    assert bench.client.overflows == 1
    assert bench.listener.resyncs == 1
    assert bench.listener.path(0) == [BACKUP, MASTER]
    assert bench.listener.transitions[-1].seen is False
    assert bench.listener.transitions[-1].priority == 100


def test_events_that_the_status_has_overtaken_are_not_told_again(bench: Bench) -> None:
    bench.apply(configuration(instance()))
    bench.engine.advance(5)
    late = [e for e in bench.engine.queue if e.kind == _core.EV_STATE]
    bench.engine.queue.clear()
    bench.engine.lost = True
    bench.client.poll()
    bench.engine.queue.extend(late)
    bench.client.poll()
    assert bench.listener.path(0) == [BACKUP, MASTER]


def test_a_confirmation_that_was_lost_is_asked_for_again(bench: Bench) -> None:
    draft = bench.plane.prepare(configuration(instance()))
    bench.plane.commit(draft)
    bench.engine.queue.clear()
    bench.engine.lost = True
    bench.client.poll()
    assert bench.calls("commit") == [([0], []), ([], [])]
    bench.client.poll()
    assert bench.listener.epochs == [2]
    assert bench.client.state(0) == BACKUP


def test_a_reused_slot_goes_on_counting(bench: Bench) -> None:
    bench.apply(configuration(instance()))
    bench.engine.advance(5)
    bench.apply(configuration())
    assert bench.client.mirror(0) is None
    bench.apply(configuration(instance("NEXT", virtual_router_id=60)))
    assert bench.plane.running["NEXT"].slot == 0
    assert bench.listener.path(0) == [BACKUP, MASTER, INIT, BACKUP]
    assert bench.listener.transitions[-1].first


def test_priority_and_master_are_mirrored(bench: Bench) -> None:
    bench.apply(configuration(instance(priority=100)))
    bench.plane.set_tracking("VI_1", -40, 0)
    pdu = _core.encode_advert(
        version=2, vrid=51, priority=200, interval_cs=100, addresses=[bytes((10, 0, 1, 100))]
    )
    _, actions = bench.engine.core.packet(
        pdu,
        link=0,
        source=bytes((10, 0, 1, 2)),
        destination=bytes((224, 0, 0, 18)),
        ttl=255,
        now_ns=bench.engine.now_ns,
    )
    bench.engine.take(actions)
    bench.client.poll()
    mirror = bench.client.mirror(0)
    assert mirror is not None
    assert mirror.priority == 60
    assert (mirror.master_address, mirror.master_priority) == (bytes((10, 0, 1, 2)), 200)
    assert [e.kind for e in bench.listener.events if e.kind != _core.EV_LINK] == [
        _core.EV_PRIORITY,
        _core.EV_MASTER_CHANGED,
    ]


def test_many_events_are_delivered_in_batches(bench: Bench) -> None:
    wanted = [
        instance(f"VI_{n}", virtual_router_id=n, virtual_ipaddress=(vip(f"10.0.1.{n}/24"),))
        for n in range(10, 60)
    ]
    bench.apply(configuration(*wanted))
    for _ in range(30):
        bench.engine.tell(_core.EV_LINK_RESYNC)
    bench.client.poll()
    assert {bench.client.state(slot) for slot in range(50)} == {BACKUP}
    assert len([e for e in bench.listener.events if e.kind == _core.EV_LINK_RESYNC]) == 30


async def _waits_for_commit_and_stop(bench: Bench) -> None:
    loop = asyncio.get_running_loop()
    bench.client.attach(loop)
    draft = bench.plane.prepare(configuration(instance()))
    epoch = bench.plane.commit(draft)
    waiting = loop.create_task(bench.client.committed(epoch))
    await asyncio.sleep(0)
    assert not waiting.done()
    bench.client.poll()
    await waiting
    await bench.client.committed(epoch)  # at once, now
    assert await bench.client.stop_instances(0.01) is False
    bench.client.poll()
    assert await bench.client.stop_instances(5.0) is True
    bench.client.detach()


def test_waits_for_commit_and_stop(bench: Bench) -> None:
    asyncio.run(_waits_for_commit_and_stop(bench))


class TestSlots:
    def test_a_key_keeps_its_slot(self) -> None:
        table: SlotTable[str] = SlotTable("things", 3)
        assert [table.take(key) for key in "abab"] == [0, 1, 0, 1]
        assert (table["b"], table.get("c"), "a" in table, len(table)) == (1, None, True, 2)

    def test_a_slot_is_free_after_its_epoch_only(self) -> None:
        table: SlotTable[str] = SlotTable("things", 3)
        for key in "abc":
            table.take(key)
        assert table.release("a", 5) == 0
        assert table.retain("c", 6) == [1]
        table.committed(4)
        with pytest.raises(CapacityError, match="more than 3 things"):
            table.take("d")
        table.committed(5)
        assert table.take("d") == 0
        table.committed(6)
        assert table.take("e") == 1

    def test_a_copy_is_a_draft(self) -> None:
        table: SlotTable[str] = SlotTable("things", 4)
        table.take("a")
        table.release("a", 1)
        draft = table.copy()
        draft.committed(1)
        assert draft.take("b") == 0
        assert table.slots == {}
        assert table.take("b") == 1
