"""Several engine threads behind one surface: a plane on two fake engines over the real core."""

from __future__ import annotations

import logging
import os
import select
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from vrrp_tools import SECOND, Bench, configuration, instance, link, vip

from fastvrrp import _core
from fastvrrp.config import model
from fastvrrp.vrrp.draft import BusyError
from fastvrrp.vrrp.shards import Shards
from fastvrrp.vrrp.status import lateness

INIT, BACKUP, MASTER, FAULT = _core.INIT, _core.BACKUP, _core.MASTER, _core.FAULT
FOUR = ("eth0", "eth1", "eth2", "eth3")


def on(number: int, **fields: Any) -> model.VrrpInstance:
    """VI_n on ethN."""
    given: dict[str, Any] = {
        "interface": f"eth{number}",
        "virtual_ipaddress": (vip(f"10.0.{number + 1}.100/24"),),
    }
    return instance(fields.pop("name", f"VI_{number}"), **(given | fields))


def grouped(*instances: model.VrrpInstance, **groups: tuple[str, ...]) -> model.Configuration:
    """A configuration with these sync groups, as it is loaded."""
    of = {member: name for name, members in groups.items() for member in members}
    return configuration(
        *(msgspec.structs.replace(i, sync_group=of.get(i.name)) for i in instances),
        sync_groups=tuple(model.SyncGroup(name=n, members=m) for n, m in groups.items()),
    )


def advance(bench: Bench, seconds: float) -> None:
    for engine in bench.engines:
        engine.advance(seconds)
    bench.client.poll()


def shards(bench: Bench) -> Shards:
    engine = bench.client.engine
    assert isinstance(engine, Shards)
    return engine


def threads(bench: Bench) -> dict[str, int]:
    return {
        name: shards(bench).thread(running.slot) for name, running in bench.plane.running.items()
    }


def states(bench: Bench) -> dict[str, int]:
    return {name: bench.state(name) for name in bench.plane.running}


def made(bench: Bench, kind: str) -> list[list[tuple[Any, ...]]]:
    """Calls of a kind by engine."""
    return [[c[1:] for c in engine.calls if c[0] == kind] for engine in bench.engines]


def readable(bench: Bench) -> bool:
    return bool(select.select([shards(bench).fileno()], [], [], 0)[0])


@pytest.fixture
def bench(make_bench: Callable[..., Bench]) -> Bench:
    """Two threads, four interfaces."""
    return make_bench(*FOUR, threads=2)


@pytest.fixture
def masters(bench: Bench) -> Bench:
    """VI_0 to VI_3, masters, alternately in thread 0 and thread 1."""
    bench.apply(configuration(*map(on, range(4))))
    advance(bench, 5)
    assert threads(bench) == {"VI_0": 0, "VI_1": 1, "VI_2": 0, "VI_3": 1}
    assert set(states(bench).values()) == {MASTER}
    for engine in bench.engines:
        engine.calls.clear()
    return bench


class TestDistribution:
    def test_sockets_are_made_by_one_thread_only(self, bench: Bench) -> None:
        bench.apply(configuration(*map(on, range(4))))
        sockets = [
            {slot for slot, spec in engine.links.items() if spec["families"]}
            for engine in bench.engines
        ]
        slots = bench.plane.links.slots
        assert sockets == [{slots["eth0"], slots["eth2"]}, {slots["eth1"], slots["eth3"]}]

    def test_instances_of_a_thread_are_neighbours(self, bench: Bench) -> None:
        """A page of records is used by one thread."""
        many = [on(n % 4, name=f"V{n}", virtual_router_id=n + 1) for n in range(40)]
        bench.apply(configuration(*many))
        where = sorted((r.slot, shards(bench).thread(r.slot)) for r in bench.plane.running.values())
        assert where == [(slot, slot // 20) for slot in range(40)]
        assert list(bench.plane.running) == [f"V{n}" for n in range(40)]  # reported as written

    def test_it_is_logged_when_it_changes(
        self, bench: Bench, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO)
        for _ in range(2):
            bench.apply(configuration(on(0), on(1), on(2)))
        text = "instances by engine thread: 2, 1"
        assert [r.message for r in caplog.records].count(text) == 1

    def test_what_is_only_tracked_is_known_where_it_is_needed(self, bench: Bench) -> None:
        tracked = (model.Tracked(name="eth3", weight=0),)
        bench.apply(configuration(on(0), on(1), on(2, track_interface=tracked)))
        slot = bench.plane.links.slots["eth3"]
        assert [engine.up.get(slot) for engine in bench.engines] == [True, None]
        bench.apply(configuration(on(0), on(1, track_interface=tracked), on(2)))
        assert [engine.up.get(slot) for engine in bench.engines] == [True, True]
        advance(bench, 5)
        for engine in bench.engines:
            engine.set_up(slot, False)
        assert states(bench) == {"VI_0": MASTER, "VI_1": FAULT, "VI_2": MASTER}

    def test_a_tracked_interface_that_appears_is_told_to_all_who_wait(
        self, make_bench: Callable[..., Bench]
    ) -> None:
        bench = make_bench("eth0", "eth1", threads=2)
        tracked = (model.Tracked(name="eth7", weight=0),)
        both = configuration(on(0, track_interface=tracked), on(1, track_interface=tracked))
        bench.apply(both)
        advance(bench, 5)
        assert set(states(bench).values()) == {FAULT}
        bench.observed.put_link(link(7, "eth7"))
        bench.plane.refresh({"VI_0", "VI_1"})
        advance(bench, 5)
        assert set(states(bench).values()) == {MASTER}
        bench.observed.drop_link(7)
        bench.plane.refresh({"VI_0", "VI_1"})
        assert set(states(bench).values()) == {FAULT}

    def test_every_thread_waits_as_long_before_it_believes_in_a_change(self, bench: Bench) -> None:
        """interface_up_down_delays, with sockets or without, and for who joins later."""
        tracked = (model.Tracked(name="eth3", weight=0),)
        delay = model.InterfaceDelay(interface="eth3", down_ns=5, up_ns=6)
        wanted = configuration(on(0), on(1), on(2, track_interface=tracked))
        bench.apply(msgspec.structs.replace(wanted, interface_delays=(delay,)))
        slot = bench.plane.links.slots["eth3"]
        wanted = configuration(on(0), on(1, track_interface=tracked), on(2))
        bench.apply(msgspec.structs.replace(wanted, interface_delays=(delay,)))
        for engine in bench.engines:
            spec = engine.links[slot]
            assert (spec["down_delay_ns"], spec["up_delay_ns"]) == (5, 6)
        bench.apply(wanted)
        for engine in bench.engines:
            spec = engine.links[slot]
            assert (spec["down_delay_ns"], spec["up_delay_ns"]) == (0, 0)

    def test_pacing_groups_stay_together(self, bench: Bench) -> None:
        paced = model.GarpGroup(interfaces=("eth0", "eth1", "eth9"), garp_interval_ns=1000)
        bench.apply(configuration(*map(on, range(4)), garp_groups=(paced,)))
        assert threads(bench) == {"VI_0": 0, "VI_1": 0, "VI_2": 1, "VI_3": 1}

    def test_a_slot_goes_on_counting_in_another_thread(self, masters: Bench) -> None:
        """Who gets the slot of one that was elsewhere is heard from the first event on."""
        slot = masters.plane.running["VI_0"].slot
        masters.apply(configuration(on(2)))
        masters.apply(configuration(on(2), on(3, name="NEW")))
        assert masters.plane.running["NEW"].slot == slot
        assert threads(masters) == {"VI_2": 0, "NEW": 1}
        advance(masters, 5)
        assert masters.listener.path(slot) == [BACKUP, MASTER, INIT, BACKUP, MASTER]
        assert all(change.seen for change in masters.listener.transitions)


class TestOneSurface:
    def test_a_commit_is_confirmed_when_all_have(self, bench: Bench) -> None:
        draft = bench.plane.prepare(configuration(on(0), on(1)))
        epoch = bench.plane.commit(draft)
        late = [e for e in bench.engines[1].queue if e.kind == _core.EV_COMMITTED]
        bench.engines[1].queue.remove(late[0])
        bench.client.poll()
        assert bench.listener.epochs == []
        bench.engines[1].queue.append(late[0])
        bench.client.poll()
        assert bench.listener.epochs == [epoch]

    def test_confirmations_come_in_order(self, bench: Bench) -> None:
        """What one thread has done of the second says nothing about the first."""
        first = bench.plane.commit(bench.plane.prepare(configuration(on(0), on(1))))
        held = list(bench.engines[1].queue)
        bench.engines[1].queue.clear()
        second = bench.plane.commit(bench.plane.prepare(configuration(on(0, priority=90), on(1))))
        bench.client.poll()
        assert bench.listener.epochs == []
        bench.engines[1].queue.extend(held)
        bench.client.poll()
        assert bench.listener.epochs == [second]
        assert second == first + 1

    def test_a_lost_confirmation_is_asked_of_everybody(self, bench: Bench) -> None:
        bench.plane.commit(bench.plane.prepare(configuration(on(0))))
        bench.engines[0].queue.clear()
        bench.engines[0].lost = True
        bench.client.poll()
        bench.client.poll()
        assert bench.listener.epochs[-1] == 2
        assert made(bench, "commit") == [[([0], []), ([], [])], [([], [])]]
        assert bench.state("VI_0") == BACKUP

    def test_the_end_is_told_when_all_have_ended(self, bench: Bench) -> None:
        told = shards(bench)
        told.stop_instances()
        bench.engines[1].queue.clear()
        assert [e.kind for e in told.events()] == []
        bench.engines[1].tell(_core.EV_STOPPED)
        assert [e.kind for e in told.events()] == [_core.EV_STOPPED]

    def test_an_interface_is_told_of_once(self, bench: Bench) -> None:
        tracked = (model.Tracked(name="eth3", weight=-10),)
        bench.apply(configuration(*(on(n, track_interface=tracked) for n in (0, 1))))
        bench.listener.events.clear()
        slot = bench.plane.links.slots["eth3"]
        for engine in bench.engines:
            engine.set_up(slot, False)
        bench.client.poll()
        assert [(e.slot, e.b) for e in bench.listener.events if e.kind == _core.EV_LINK] == [
            (slot, 0)
        ]

    @pytest.mark.parametrize("limit", [1, 3, 100])
    def test_a_batch_is_full_while_there_is_more(self, bench: Bench, limit: int) -> None:
        """Whoever reads until a batch is not full has read everything, whatever was left out."""
        bench.apply(configuration(on(0), on(1)))
        assert not readable(bench)
        for k in range(20):
            bench.engines[k % 2].tell(_core.EV_COMMITTED, a=1)  # confirmed long ago: not told
            bench.engines[k % 2].tell(_core.EV_LINK_RESYNC)
        seen = 0
        while True:
            assert readable(bench) == (seen < 20)
            batch = shards(bench).events(limit)
            assert {e.kind for e in batch} == {_core.EV_LINK_RESYNC} or not batch
            seen += len(batch)
            if len(batch) < limit:
                break
        assert seen == 20
        assert not readable(bench)

    def test_events_are_in_the_order_of_their_times(self, bench: Bench) -> None:
        order = [(0, 1), (1, 2), (0, 3), (0, 4), (1, 5)]
        for thread, now_ns in order:
            bench.engines[thread].now_ns = now_ns
            bench.engines[thread].tell(_core.EV_LINK_RESYNC)
        assert [e.now_ns for e in shards(bench).events()] == [1, 2, 3, 4, 5]

    def test_losses_of_any_thread_are_noticed(self, masters: Bench) -> None:
        for engine in masters.engines:
            engine.set_up(masters.plane.links.slots["eth1"], False)
            engine.queue.clear()
            engine.lost = True
        masters.client.poll()
        assert masters.state("VI_1") == FAULT
        assert masters.client.overflows == 1

    def test_questions_go_to_who_knows(self, masters: Bench) -> None:
        for name, running in masters.plane.running.items():
            assert masters.client.engine.status(running.slot).state == MASTER, name
        masters.plane.set_tracking("VI_1", -40, 0)
        masters.plane.client.engine.replay(masters.plane.running["VI_3"].slot)
        assert made(masters, "adjust")[0] == []
        assert made(masters, "replay") == [[], [(masters.plane.running["VI_3"].slot,)]]
        assert masters.client.engine.counters()["turns"] == sum(
            len(engine.calls) for engine in masters.engines
        )
        with pytest.raises(KeyError):
            masters.client.engine.status(63)


class Startable:
    """An engine that can or cannot be started."""

    def __init__(self, *, error: OSError | None = None, rt_errno: int = 0) -> None:
        self.error = error
        self.rt_errno = rt_errno
        self.said: list[str] = []
        self._fd = os.eventfd(0)

    def fileno(self) -> int:
        return self._fd

    def start(self) -> None:
        self.said.append("start")
        if self.error is not None:
            raise self.error

    def stop(self) -> None:
        self.said.append("stop")

    def join(self, timeout_s: float | None = None) -> bool:
        self.said.append("join")
        return self.rt_errno == 0

    def lateness(self) -> list[int]:
        return [1, self.rt_errno]


class TestStart:
    def test_all_or_none(self) -> None:
        good, bad, other = engines = [Startable(), Startable(error=OSError(12, "")), Startable()]
        with pytest.raises(OSError, match="12"):
            Shards(engines).start()
        assert (good.said, bad.said, other.said) == (["start", "stop", "join"], ["start"], [])

    def test_whoever_was_refused_real_time_counts(self) -> None:
        all_of_them = Shards([Startable(), Startable(rt_errno=1), Startable()])
        all_of_them.start()
        assert all_of_them.rt_errno == 1
        assert all_of_them.lateness() == [3, 1]
        assert lateness(all_of_them) == {
            "histogram": [[1, 3], [2, 1]],
            "threads": [[[1, 1]], [[1, 1], [2, 1]], [[1, 1]]],
        }
        assert not all_of_them.join(1.0)
        assert Shards([Startable(), Startable()]).join(1.0)
        assert Shards([Startable(), Startable()]).rt_errno == 0


class TestMoves:
    """A reload that ties together what two threads have."""

    def test_the_smaller_part_goes_where_the_larger_is(self, masters: Bench) -> None:
        masters.apply(grouped(*map(on, range(4)), G=("VI_0", "VI_1", "VI_2")))
        assert threads(masters) == {"VI_0": 0, "VI_1": 0, "VI_2": 0, "VI_3": 1}
        assert set(states(masters).values()) == {MASTER}
        slots = {name: r.slot for name, r in masters.plane.running.items()}
        (moved,) = made(masters, "hand over")[1]
        assert moved == ([masters.plane.links.slots["eth1"]], [slots["VI_1"]])
        # nobody was stopped or started, nobody's addresses were touched
        assert [p for plays in made(masters, "play") for p in plays] == []
        for name in masters.plane.running:
            assert masters.listener.path(slots[name]) == [BACKUP, MASTER], name
        group = masters.plane.group_slot("G")
        assert group is not None
        assert masters.client.engine.group_state(group) == MASTER

    def test_the_group_then_acts_as_one(self, masters: Bench) -> None:
        masters.apply(grouped(*map(on, range(4)), G=("VI_0", "VI_1")))
        slot = masters.plane.links.slots["eth0"]
        for engine in masters.engines:
            if slot in engine.links:
                engine.set_up(slot, False)
        assert states(masters) == {"VI_0": FAULT, "VI_1": FAULT, "VI_2": MASTER, "VI_3": MASTER}
        assert masters.engines[0].core.next_due_ns() < _core.NEVER

    def test_a_group_is_not_torn_apart_on_the_way(self, masters: Bench) -> None:
        """{0, 2} are a group in thread 0; 2 is to go with {1, 3} of thread 1: 0 goes along."""
        masters.apply(grouped(*map(on, range(4)), G=("VI_0", "VI_2"), H=("VI_1", "VI_3")))
        advance(masters, 5)
        more = on(1, name="MORE", virtual_router_id=60, virtual_ipaddress=(vip("10.0.2.60/24"),))
        masters.apply(grouped(*map(on, range(4)), more, G=("VI_0", "VI_2"), H=("VI_1", "VI_3")))
        masters.apply(grouped(*map(on, range(4)), more, H=("VI_1", "VI_2", "VI_3")))
        assert set(threads(masters).values()) == {1}
        (moved,) = made(masters, "hand over")[0]
        assert moved[1] == sorted(masters.plane.running[n].slot for n in ("VI_0", "VI_2"))
        assert [p for plays in made(masters, "play") for p in plays if p[1] == _core.P_DOWN] == []

    def test_who_leaves_says_goodbye_by_its_own_sockets(self, masters: Bench) -> None:
        """The sockets of its link move, so it does before it is removed."""
        two = (on(1), on(1, name="GONE", virtual_router_id=60))
        masters.apply(configuration(on(0), *two, on(2), on(3)))
        advance(masters, 5)
        gone = masters.plane.running["GONE"].slot
        masters.apply(grouped(on(0), on(1), on(2), on(3), G=("VI_0", "VI_1", "VI_2")))
        assert masters.plane.by_slot(gone) is None
        removed = [
            (call[0], engine)
            for engine, calls in enumerate(made(masters, "commit"))
            for call in calls
            if gone in call[1]
        ]
        assert [engine for _, engine in removed] == [threads(masters)["VI_1"]]
        assert masters.listener.path(gone)[-1] == INIT
        assert ("play", gone, _core.P_DOWN) in masters.engines[threads(masters)["VI_1"]].calls

    def test_what_a_mover_tracks_is_known_where_it_goes(self, masters: Bench) -> None:
        tracked = (model.Tracked(name="eth3", weight=0),)
        wanted = (on(0), on(1, track_interface=tracked), on(2), on(3))
        masters.apply(configuration(*wanted))
        masters.apply(grouped(*wanted, G=("VI_0", "VI_1", "VI_2")))
        assert threads(masters)["VI_1"] == 0
        assert states(masters)["VI_1"] == MASTER
        slot = masters.plane.links.slots["eth3"]
        for engine in masters.engines:
            engine.set_up(slot, False)
        assert states(masters) == {"VI_0": FAULT, "VI_1": FAULT, "VI_2": FAULT, "VI_3": FAULT}

    @pytest.mark.parametrize("turn", [0, 1])
    def test_events_of_before_come_first(self, bench: Bench, turn: int) -> None:
        """What the giver told is older than what the receiver tells of the same instance,
        whosever turn it is to be read."""
        bench.apply(configuration(*map(on, range(4))))
        for engine in bench.engines:
            engine.advance(5)
        bench.plane.commit(
            bench.plane.prepare(grouped(*map(on, range(4)), G=("VI_0", "VI_1", "VI_2")))
        )
        slot = bench.plane.links.slots["eth1"]
        bench.engines[0].queue.clear()
        for engine in bench.engines:
            engine.now_ns += 1000
            engine.set_up(slot, False)
        running = bench.plane.running["VI_1"]
        for _ in range(turn):
            assert shards(bench).events(0) == []
        while readable(bench):
            bench.client._drain(3)  # as many as the receiver has at once
        assert bench.listener.path(running.slot) == [BACKUP, MASTER, FAULT]
        assert all(t.seen for t in bench.listener.transitions if t.slot == running.slot)

    def test_an_interface_under_another_name_keeps_its_instance(self, masters: Bench) -> None:
        """The link has another slot then, in the same thread: its instance goes on."""
        observed = masters.observed
        busy = on(3, name="BUSY", virtual_router_id=9, advert_int_ns=SECOND // 100, version=3)
        masters.apply(configuration(*map(on, range(4)), busy))
        before = threads(masters)
        assert before["VI_1"] == before["BUSY"]  # a new link would go to the other one
        old = observed.link_by_name("eth1")
        assert old is not None
        observed.put_link(old._replace(name="wan0", altnames=("eth1",)))
        masters.plane.refresh(set(masters.plane.running))
        assert "wan0" in masters.plane.links.slots
        assert threads(masters) == before
        advance(masters, 5)
        assert states(masters)["VI_1"] == MASTER

    def test_nothing_changes_while_an_engine_is_busy(self, masters: Bench) -> None:
        for engine in masters.engines:
            engine.busy = True
        wanted = grouped(*map(on, range(4)), G=("VI_0", "VI_1"))
        with pytest.raises(BusyError, match="try again"):
            masters.apply(wanted)
        assert threads(masters) == {"VI_0": 0, "VI_1": 1, "VI_2": 0, "VI_3": 1}
        assert made(masters, "commit") == [[], []]
        for engine in masters.engines:
            engine.busy = False
        masters.apply(wanted)
        assert threads(masters)["VI_0"] == threads(masters)["VI_1"]
        assert set(states(masters).values()) == {MASTER}


INTERFACES = ("eth0", "eth1", "eth2", "gone0")


@st.composite
def reloads(draw: st.DrawFn) -> list[model.Configuration]:
    """A few configurations of the same instances: some come and go, change, are grouped anew."""
    number = draw(st.integers(2, 6))
    return [draw(configurations(number)) for _ in range(draw(st.integers(2, 4)))]


@st.composite
def configurations(draw: st.DrawFn, number: int) -> model.Configuration:
    chosen = draw(st.lists(st.integers(0, number - 1), unique=True))
    groups: dict[str, list[str]] = {"G": [], "H": []}
    made = []
    for n in sorted(chosen):
        group = draw(st.sampled_from((None, None, "G", "H")))
        tracked = draw(st.lists(st.sampled_from(INTERFACES), max_size=1))
        if group is not None:
            groups[group].append(f"VI_{n}")
        made.append(
            instance(
                f"VI_{n}",
                virtual_router_id=n + 1,
                interface=f"eth{n % 3}",
                priority=draw(st.sampled_from((100, 150, 255))),
                advert_int_ns=draw(st.sampled_from((1, 2))) * SECOND,
                virtual_ipaddress=(vip(f"10.0.1.{100 + n}/24"),),
                track_interface=tuple(model.Tracked(name=t, weight=-10) for t in tracked),
                sync_group=group,
            )
        )
    paced = draw(st.sampled_from(((), ("eth0", "eth2"), ("eth1", "eth2"))))
    return configuration(
        *made,
        sync_groups=tuple(
            model.SyncGroup(name=name, members=tuple(members))
            for name, members in groups.items()
            if members
        ),
        garp_groups=(model.GarpGroup(interfaces=paced, garp_interval_ns=1000),) if paced else (),
    )


class Life:
    """A bench through some reloads, and what each instance has gone through, by its name."""

    def __init__(self, threads: int) -> None:
        self.bench = Bench("eth0", "eth1", "eth2", threads=threads)
        self.paths: dict[str, list[tuple[int, int, int]]] = {}
        self._told = 0

    def reload(self, wanted: model.Configuration, pause: float) -> None:
        before = dict(self.bench.plane.running)
        self.bench.apply(wanted)
        advance(self.bench, pause)
        names = {r.slot: name for name, r in self.bench.plane.running.items()}
        old = {r.slot: name for name, r in before.items()}
        transitions = self.bench.listener.transitions
        for change in transitions[self._told :]:
            name = old.get(change.slot) or names[change.slot]
            if change.new != INIT and change.slot in names:
                name = names[change.slot]
            assert change.seen
            self.paths.setdefault(name, []).append((change.new, change.reason, change.now_ns))
        self._told = len(transitions)

    def now(self) -> dict[str, object]:
        """Everything about the instances but where they are."""
        return {
            name: self.bench.client.engine.status(running.slot)._replace(slot=0, sequence=0)
            for name, running in self.bench.plane.running.items()
        }


@settings(max_examples=100, deadline=None)
@given(
    wanted=reloads(),
    count=st.integers(2, 4),
    pauses=st.lists(st.sampled_from((0.0, 0.7, 5.0)), min_size=4, max_size=4),
)
def test_the_number_of_threads_makes_no_difference(
    wanted: list[model.Configuration], count: int, pauses: list[float]
) -> None:
    """To any instance at any time: state, deadlines, counters, and all it has gone through."""
    one, several = Life(1), Life(count)
    try:
        for step, pause in zip(wanted, pauses, strict=False):
            one.reload(step, pause)
            several.reload(step, pause)
            assert several.now() == one.now()
            assert several.paths == one.paths
            assert_well_placed(several.bench, step)
        for life in (one, several):
            life.reload(configuration(), 0.0)
        assert several.paths == one.paths
        for engine in several.bench.engines:
            assert engine.core.next_due_ns() == _core.NEVER
            assert engine.core.illegal_transitions() == 0
            assert not any(spec["ifindex"] for spec in engine.links.values())
    finally:
        one.bench.close()
        several.bench.close()


def assert_well_placed(bench: Bench, wanted: model.Configuration) -> None:
    where, plane = threads(bench), bench.plane
    for one in wanted.sync_groups:
        assert len({where[name] for name in one.members}) <= 1
    of_link: dict[str, int] = {}
    for name, running in plane.running.items():
        interface = running.instance.interface or ""
        assert of_link.setdefault(interface, where[name]) == where[name]
    for paced in wanted.garp_groups:
        assert len({of_link[i] for i in paced.interfaces if i in of_link}) <= 1
    for interface, slot in plane.links.slots.slots.items():
        having = [n for n, e in enumerate(bench.engines) if e.links.get(slot, {}).get("families")]
        assert having == ([of_link[interface]] if interface in of_link else [])
        depending = (
            where[name]
            for name, running in plane.running.items()
            if slot in (running.record.link, *(link for link, _, _ in running.record.tracks))
        )
        for thread in depending:
            assert bench.engines[thread].up.get(slot, False) == (interface != "gone0")
