"""Every fault that a seed can draw really happens to somebody: it is counted where it takes effect.

A fault of which nothing comes - a loss without packets, a reload that changes nothing, a pause of a
router that is off - would prove nothing, however often it is drawn.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from fastvrrp import _core
from fastvrrp._core import FAULT, INIT, MASTER
from fastvrrp.sim import faults, forger, node
from fastvrrp.sim.checkers import Judge
from fastvrrp.sim.lan import Frame, Segment
from fastvrrp.sim.machine import Kernel
from fastvrrp.sim.node import Node
from fastvrrp.sim.options import draw_options
from fastvrrp.sim.swarm import Simulation, run

pytestmark = pytest.mark.computing

SEEDS = range(1000, 1100)
FEWEST = 3


class Effects:
    """Counts what happens in the lives that are lived while it is in place."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.seen: Counter[str] = Counter()
        self._patch = patch
        self._forged: set[int] = set()
        self._kept: list[Frame] = []  # so that no other frame gets its identity
        self._frames()
        self._machines()
        self._configurations()

    def _wrap(self, where: Any, name: str, around: Any) -> None:
        original = getattr(where, name)

        def wrapped(*words: Any, **named: Any) -> Any:
            return around(original, *words, **named)

        self._patch.setattr(where, name, wrapped)

    def _frames(self) -> None:
        def lost(original: Any, segment: Segment, sender: int, port: int, own: bool) -> bool:
            gone: bool = original(segment, sender, port, own)
            if gone:
                blocked = (sender, port) in segment.blocked
                burst = segment.scheduler.now < segment.weather.burst_until
                whole = (port, sender) in segment.blocked
                kind = ("partition" if whole else "one way") if blocked else "loss"
                self.seen["burst" if burst and not blocked else kind] += 1
            return gone

        def deliver(original: Any, segment: Segment, sender: int, port: int, frame: Frame) -> None:
            before = segment.scheduler._sequence
            last = segment._last.get((sender, port), 0)
            original(segment, sender, port, frame)
            self.seen["duplication"] += segment.scheduler._sequence - before > 1
            self.seen["reordering"] += segment._last.get((sender, port), 0) < last

        def corrupt(original: Any, segment: Segment, frame: Frame) -> Any:
            self.seen["corruption"] += 1
            return original(segment, frame)

        def forged(original: Any, *words: Any) -> Any:
            frame = original(*words)
            self._forged.add(id(frame))
            self._kept.append(frame)
            return frame

        def received(original: Any, judge: Judge, *words: Any) -> None:
            if id(words[2]) in self._forged:
                self.seen["forgery rejected" if words[3] else "forgery believed"] += 1
            original(judge, *words)

        self._wrap(Segment, "_is_lost", lost)
        self._wrap(Segment, "_deliver", deliver)
        self._wrap(Segment, "_corrupt", corrupt)
        self._wrap(forger, "forged", forged)
        self._wrap(Judge, "received", received)

    def _machines(self) -> None:
        def resume(original: Any, router: Node, life: int) -> None:
            waiting = len(router.inbox)
            was = router.awake_since
            original(router, life)
            if router.awake_since != was:
                self.seen["pause"] += 1
                self.seen["pause, packets waited"] += waiting > 0
                longest = max(m.advert_int_ns for m in router.members)
                self.seen["pause of a down interval"] += router.frozen_ns > 4 * longest

        def crash(original: Any, router: Node) -> None:
            self.seen["crash of a master"] += MASTER in router.states.values()
            original(router)

        def stop(original: Any, router: Node) -> None:
            self.seen["restart of a master"] += MASTER in router.states.values()
            original(router)

        def event(original: Any, judge: Judge, router: Node, told: Any, actions: Any) -> None:
            if told.kind == _core.EV_PRIORITY:
                self.seen["tracker"] += 1
            elif told.kind == _core.EV_STATE and told.b == FAULT:
                up = router.links[router.routers[told.slot].segment]
                self.seen["script" if up else "link"] += 1
            original(judge, router, told, actions)

        def touch(original: Any, router: Node, *words: Any) -> Any:
            refused = original(router, *words)
            self.seen["netlink"] += refused > 0
            return refused

        def lose(original: Any, router: Node, slot: int) -> None:
            self.seen["thief"] += bool(router.kernel.held.get(slot))
            original(router, slot)

        def superseded(original: Any, kernel: Kernel, work: Any) -> Any:
            gone = original(kernel, work)
            self.seen["a program that came too late"] += bool(gone)
            return gone

        self._wrap(Node, "_resume", resume)
        self._wrap(Node, "crash", crash)
        self._wrap(Node, "stop", stop)
        self._wrap(Judge, "_event", event)
        self._wrap(Node, "_touch", touch)
        self._wrap(Node, "lose_address", lose)
        self._wrap(Kernel, "superseded", superseded)

    def _configurations(self) -> None:
        def reconfigured(original: Any, router: Node, slots: list[int], change: Any) -> Any:
            members, addresses = list(router.members), list(router.addresses)
            absent = set(router.absent)
            made = original(router, slots, change)
            masters = any(router.states[slot] == MASTER for slot in slots)
            of_whom = "a master" if masters else "others"
            if router.absent != absent:
                self.seen["an instance comes"] += 1
            elif router.addresses != addresses:
                self.seen[f"addresses of {of_whom}"] += 1
            elif router.members == members:
                self.seen[f"the same again of {of_whom}"] += 1
            for name in change:
                old = [getattr(members[s], name, None) for s in slots]
                if old != [getattr(router.members[s], name, None) for s in slots]:
                    self.seen[f"{name} of {of_whom}"] += 1
            return made

        def removed(original: Any, judge: Judge, router: Node, slots: list[int]) -> None:
            states = {router.states[slot] for slot in slots}
            self.seen["an instance goes"] += bool(states - {INIT})
            self.seen["a master goes"] += MASTER in states
            original(judge, router, slots)

        self._wrap(node.Node, "_reconfigured", reconfigured)
        self._wrap(Judge, "removed", removed)


EXPECTED = (
    "loss",
    "burst",
    "partition",
    "one way",
    "duplication",
    "reordering",
    "corruption",
    "forgery rejected",
    "forgery believed",
    "pause",
    "pause, packets waited",
    "pause of a down interval",
    "crash of a master",
    "restart of a master",
    "tracker",
    "script",
    "link",
    "netlink",
    "thief",
    "a program that came too late",
    "priority of a master",
    "priority of others",
    "advert_int_ns of a master",
    "advert_int_ns of others",
    "addresses of a master",
    "refresh_ns of a master",
    "nopreempt of others",
    "preempt_delay_ns of others",
    "the same again of a master",
    "an instance comes",
    "an instance goes",
    "a master goes",
)


def test_every_kind_takes_effect(monkeypatch: pytest.MonkeyPatch) -> None:
    effects = Effects(monkeypatch)
    for seed in SEEDS:
        run(seed)
    rare = {name: effects.seen[name] for name in EXPECTED if effects.seen[name] < FEWEST}
    assert not rare, f"of {dict(effects.seen)}"


def test_clocks_run_apart() -> None:
    """A clock that is fast by 500 ppm and one that is slow differ by a second in 1000."""
    rates = [clock.ppm for seed in SEEDS for clock in draw_options(seed).clocks]
    assert min(rates) < -400
    assert max(rates) > 400
    simulation = Simulation(draw_options(SEEDS[0]))
    simulation.start()
    clocks = [router.clock for router in simulation.nodes]
    began = [clock.local(0) for clock in clocks]
    simulation.scheduler.run_until(10**12)
    shown = [router.local() - start for router, start in zip(simulation.nodes, began, strict=True)]
    assert shown == [10**12 + clock.ppm * 10**6 for clock in clocks]


def test_kinds_are_all_there_are() -> None:
    """A kind that is added must be counted above."""
    assert set(faults.KINDS) == {
        *("partition", "loss", "burst", "duplication", "reordering", "corruption", "pause"),
        *("crash", "restart", "link", "tracker", "script", "thief", "netlink", "reload"),
        *("tracker storm", "reload storm", "link storm", "forgery"),
    }
