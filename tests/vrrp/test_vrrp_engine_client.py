"""The engine's events as an unbroken chain of states, whatever was lost on the way."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

import pytest
from vrrp_tools import Bench, configuration, instance, vip

from fastvrrp import _core
from fastvrrp.vrrp.engine_client import (
    BURST_EVENTS,
    BURST_PAUSE_S,
    EVENTS_PER_TURN,
    Transition,
)
from fastvrrp.vrrp.slots import CapacityError, SlotTable
from looping import Clockwork

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
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bench.engine, "stop_instances", lambda: None)
        assert await bench.client.stop_instances(0.01) is False
    bench.client.poll()
    assert await bench.client.stop_instances(5.0) is True
    bench.client.detach()


def test_waits_for_commit_and_stop(bench: Bench) -> None:
    asyncio.run(_waits_for_commit_and_stop(bench))


class TestBursts:
    """Reporting a takeover of many must not compete with the takeover."""

    def run(self, bench: Bench, test: Callable[[Callable[[], int]], Awaitable[None]]) -> None:
        """Run a test with the client attached; it gets a function that counts what was told."""

        async def body() -> None:
            bench.client.attach(asyncio.get_running_loop())
            try:
                await test(lambda: len(bench.listener.events))
            finally:
                bench.client.detach()

        with asyncio.Runner(loop_factory=Clockwork) as runner:
            runner.run(body())

    def test_a_few_events_are_told_at_once(self, bench: Bench) -> None:
        async def test(told: Callable[[], int]) -> None:
            for count in range(1, 10):
                bench.engine.tell(_core.EV_LINK_RESYNC)
                await asyncio.sleep(0.001)
                assert told() == count

        self.run(bench, test)

    @pytest.mark.parametrize("at_once", [1, BURST_EVENTS // 2, 4 * EVENTS_PER_TURN])
    def test_many_wait_and_are_told_together(self, bench: Bench, at_once: int) -> None:
        """However small the pieces are in which the engine tells of them."""

        async def test(told: Callable[[], int]) -> None:
            loop = asyncio.get_running_loop()
            sent, began = 0, loop.time()
            while loop.time() - began < BURST_PAUSE_S / 2:
                for _ in range(at_once):
                    bench.engine.tell(_core.EV_LINK_RESYNC)
                sent += at_once
                await asyncio.sleep(BURST_PAUSE_S / 100)
                # Told within the pause, which began later than `began`.
                assert told() <= BURST_EVENTS or loop.time() - began >= BURST_PAUSE_S
            assert sent > BURST_EVENTS
            while told() < sent:
                await asyncio.sleep(0.002)
                assert loop.time() - began < 5.0
            assert bench.engine.queue == deque()
            # One batch for the beginning; then whole turns.
            assert bench.listener.batches <= BURST_EVENTS + 1 + sent // EVENTS_PER_TURN
            await asyncio.sleep(2.5 * BURST_PAUSE_S)
            bench.engine.tell(_core.EV_LINK_RESYNC)
            await asyncio.sleep(0.005)
            assert told() == sent + 1

        self.run(bench, test)

    def test_a_burst_and_its_end_are_told(self, bench: Bench) -> None:
        """Once each, however long it takes; what is not a burst is none."""
        seen: list[str] = []
        bench.client._on_burst = lambda: seen.append("burst")
        bench.client._on_calm = lambda: seen.append("calm")

        async def test(told: Callable[[], int]) -> None:
            loop = asyncio.get_running_loop()
            bench.engine.tell(_core.EV_LINK_RESYNC)
            await asyncio.sleep(2.5 * BURST_PAUSE_S)
            assert seen == []
            began = loop.time()
            while loop.time() - began < 3 * BURST_PAUSE_S:
                for _ in range(BURST_EVENTS):
                    bench.engine.tell(_core.EV_LINK_RESYNC)
                await asyncio.sleep(BURST_PAUSE_S / 20)
            assert seen == ["burst"]
            while "calm" not in seen:
                await asyncio.sleep(0.002)
                assert loop.time() - began < 5.0
            assert bench.engine.queue == deque()
            await asyncio.sleep(2.5 * BURST_PAUSE_S)
            assert seen == ["burst", "calm"]

        self.run(bench, test)

    def test_a_listener_that_fails_in_a_burst_is_told_the_rest(self, bench: Bench) -> None:
        """Of the same batch, too, and whatever comes later."""
        failures: list[object] = []
        usual = bench.listener.event

        def fail(event: _core.Event) -> None:
            bench.listener.event = usual  # type: ignore[method-assign]
            raise RuntimeError(str(event))

        async def test(told: Callable[[], int]) -> None:
            loop = asyncio.get_running_loop()
            loop.set_exception_handler(lambda loop, context: failures.append(context))
            for _ in range(2 * BURST_EVENTS):
                bench.engine.tell(_core.EV_LINK_RESYNC)
            began = loop.time()
            while told() < BURST_EVENTS:
                await asyncio.sleep(0.002)
                assert loop.time() - began < 5.0
            bench.listener.event = fail  # type: ignore[method-assign]
            while told() < 2 * BURST_EVENTS - 1:
                await asyncio.sleep(0.002)
                assert loop.time() - began < 5.0
            bench.engine.tell(_core.EV_LINK_RESYNC)
            while told() < 2 * BURST_EVENTS:
                await asyncio.sleep(0.002)
                assert loop.time() - began < 5.0

        self.run(bench, test)
        assert len(failures) == 1

    def test_a_pause_ends_with_the_client(self, bench: Bench) -> None:
        async def test(told: Callable[[], int]) -> None:
            for _ in range(2 * BURST_EVENTS):
                bench.engine.tell(_core.EV_LINK_RESYNC)
            await asyncio.sleep(0.002)
            bench.client.detach()
            await asyncio.sleep(2 * BURST_PAUSE_S)
            assert told() == BURST_EVENTS

        self.run(bench, test)


@pytest.mark.parametrize("lost", [False, True])
def test_who_is_master_is_known_even_if_a_listener_fails(bench: Bench, lost: bool) -> None:
    """Of each: whoever is taken for a backup loses his addresses to the next reconciliation."""
    wanted = [
        instance(f"VI_{n}", virtual_router_id=n, virtual_ipaddress=(vip(f"10.0.1.{n}/24"),))
        for n in range(10, 20)
    ]
    bench.apply(configuration(*wanted))
    usual, told = bench.listener.transition, 0

    def fail(change: Transition) -> None:
        nonlocal told
        told += 1
        if told % 4 == 1:
            raise RuntimeError(str(change))
        usual(change)

    bench.listener.transition = fail  # type: ignore[method-assign]
    bench.engine.advance(5)
    if lost:
        bench.engine.queue.clear()
        bench.engine.lost = True
    with pytest.raises(RuntimeError):
        bench.client.poll()
    assert told == 10
    assert sorted(bench.client.masters()) == list(range(10))
    assert bench.listener.resyncs == lost
    bench.client.poll()  # there is nothing left of it


async def _polls_with_a_listener_that_fails(bench: Bench) -> None:
    loop, failures = asyncio.get_running_loop(), []
    loop.set_exception_handler(lambda loop, context: failures.append(context["exception"]))

    def fail(event: _core.Event) -> None:
        raise RuntimeError(event.kind)

    bench.client.attach(loop)
    bench.listener.event = fail  # type: ignore[method-assign]
    for _ in range(3):
        bench.engine.tell(_core.EV_LINK_RESYNC)
    assert bench.client.poll()
    assert [type(failure) for failure in failures] == [RuntimeError]  # once for all of the batch
    bench.client.detach()


def test_who_polls_does_not_suffer_from_a_listener_that_fails(bench: Bench) -> None:
    asyncio.run(_polls_with_a_listener_that_fails(bench))


def test_what_was_gathered_is_sent_even_if_a_listener_fails(bench: Bench) -> None:
    def fail(event: _core.Event) -> None:
        raise RuntimeError(str(event))

    bench.apply(configuration(instance()))
    batches = bench.listener.batches
    bench.listener.event = fail  # type: ignore[method-assign]
    bench.engine.tell(_core.EV_LINK_RESYNC)
    with pytest.raises(RuntimeError):
        bench.client.poll()
    assert bench.listener.batches == batches + 1


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
