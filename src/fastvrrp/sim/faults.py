"""Faults: each begins at a moment, lasts a while, and undoes itself.

A fault is a function (world, length_ns) -> undo. Which kinds occur, when, how often and how long is
drawn from the seed by options.py; `heal` ends everything at once.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from fastvrrp import _core
from fastvrrp._core import Core
from fastvrrp.sim.forger import forge
from fastvrrp.sim.lan import Scheduler, Segment, Weather
from fastvrrp.sim.machine import VirtualRouter
from fastvrrp.sim.node import Actions, Node

OWNER = 255


@dataclass
class World:
    """Everything a fault can touch."""

    scheduler: Scheduler
    random: random.Random
    segments: list[Segment]
    nodes: list[Node]
    unit_ns: int  # the longest advertisement interval: faults last some of these
    calm: bool = False  # faults have stopped
    # as drawn: what a reload may change, it must be able to put back
    intervals: list[list[int]] = field(default_factory=list)  # [router][slot]

    def __post_init__(self) -> None:
        self.intervals = [[m.advert_int_ns for m in node.members] for node in self.nodes]

    def node(self) -> Node:
        return self.random.choice(self.nodes)

    def segment(self) -> Segment:
        return self.random.choice(self.segments)

    def slots(self, node: Node) -> list[int]:
        """One instance, or all members of its group, which must agree."""
        return node.allies[self.random.randrange(len(node.routers))]

    def storm(self, length: int, most: int, action: Callable[[], None]) -> None:
        """`action` again and again within `length`, at moments of no pattern."""
        for _ in range(self.random.randint(2, most)):
            self.scheduler.at(
                self.scheduler.now + self.random.randrange(length), self._unless_calm, action
            )

    def _unless_calm(self, action: Callable[[], None]) -> None:
        if not self.calm:
            action()


Undo = Callable[[], None]


def nothing() -> None:
    """The undo of a fault that is over at once."""


def partition(world: World, length: int) -> Undo:
    """The segment falls into two halves, or one direction between two routers goes dark."""
    segment = world.segment()
    everybody = range(segment.ports)
    if world.random.random() < 0.5:
        inside = set(world.random.sample(everybody, world.random.randrange(1, segment.ports)))
        cut = {(a, b) for a in everybody for b in everybody if (a in inside) != (b in inside)}
    else:
        a, b = world.random.sample(everybody, 2)
        cut = {(a, b)}
    segment.blocked |= cut

    def undo() -> None:
        segment.blocked -= cut

    return undo


def loss(world: World, length: int) -> Undo:
    weather = world.segment().weather
    weather.loss = world.random.choice([0.01, 0.1, 0.3, 0.7])

    def undo() -> None:
        weather.loss = 0.0

    return undo


def burst(world: World, length: int) -> Undo:
    """Everything is lost for less than a detection time, or a little longer."""
    weather = world.segment().weather
    weather.burst_until = world.scheduler.now + world.random.randrange(1, 5 * world.unit_ns)
    return nothing


def duplication(world: World, length: int) -> Undo:
    weather = world.segment().weather
    weather.duplication = 0.3

    def undo() -> None:
        weather.duplication = 0.0

    return undo


def reordering(world: World, length: int) -> Undo:
    weather = world.segment().weather
    weather.reordering = True

    def undo() -> None:
        weather.reordering = False

    return undo


def corruption(world: World, length: int) -> Undo:
    weather = world.segment().weather
    weather.corruption = world.random.choice([0.05, 0.5])

    def undo() -> None:
        weather.corruption = 0.0

    return undo


def pause(world: World, length: int) -> Undo:
    """A frozen machine: some intervals, or many; its packets wait or are gone."""
    node = world.node()
    until = world.scheduler.now + world.random.randrange(1, 8 * world.unit_ns)
    node.pause(until, deaf=world.random.random() < 0.5)
    return nothing


def crash(world: World, length: int) -> Undo:
    node = world.node()
    node.crash()
    return partial(revive, node)


def restart(world: World, length: int) -> Undo:
    """An orderly stop, and a start a while later."""
    node = world.node()
    if not node.running:
        return nothing
    node.stop()
    return partial(revive, node)


def revive(node: Node) -> None:
    if node.core is None:
        node.start()


def link_down(world: World, length: int) -> Undo:
    node = world.node()
    segment = world.random.randrange(len(world.segments))
    node.set_link(segment, False)
    return partial(node.set_link, segment, True)


def tracker(world: World, length: int) -> Undo:
    """A weighted tracker moves the effective priority."""
    node = world.node()
    slots = world.slots(node)
    total = world.random.choice([-100, -30, -1, 1, 30, 100])
    adjust(node, slots, total)
    return partial(adjust, node, slots, 0)


def adjust(node: Node, slots: list[int], total: int) -> None:
    def command(core: Core, now: int) -> Actions:
        return [a for slot in slots for a in core.adjust(slot, total, now_ns=now)]

    node.control(command)


def script(world: World, length: int) -> Undo:
    """A tracker of weight 0 fails."""
    node = world.node()
    slot = world.slots(node)[0]
    node.control(lambda core, now: core.fault(slot, set=_core.FAULT_SCRIPT, now_ns=now))
    return partial(recovers, node, slot)


def recovers(node: Node, slot: int) -> None:
    node.control(lambda core, now: core.fault(slot, clear=_core.FAULT_SCRIPT, now_ns=now))


def thief(world: World, length: int) -> Undo:
    """Another program deletes an address."""
    node = world.node()
    if node.running:
        node.lose_address(world.slots(node)[0])
    return nothing


def netlink(world: World, length: int) -> Undo:
    """The kernel refuses some requests."""
    kernel = world.node().kernel
    kernel.failure_rate = 0.5

    def undo() -> None:
        kernel.failure_rate = 0.0

    return undo


def reload(world: World, length: int) -> Undo:
    """One other configuration: priority, interval, addresses, instances that come and go."""
    world.random.choice(RELOADS)(world, world.node())
    return nothing


def new_priority(world: World, node: Node) -> None:
    """Owners stay owners: they are so by their addresses."""
    slots = world.slots(node)
    if all(node.members[slot].priority != OWNER for slot in slots):
        node.reload(slots, priority=world.random.randrange(1, OWNER))


def new_interval(world: World, node: Node) -> None:
    """To half, or back. Version 2 does not learn: there all routers change in the same moment, and
    one that is frozen just then is a fault of the operator's that `heal` ends."""
    slots = world.slots(node)
    divisor = world.random.choice((1, 2))
    for other in world.nodes if node.routers[slots[0]].version == 2 else [node]:
        whole = 10**9 if node.routers[slots[0]].version == 2 else 10**7
        interval = world.intervals[other.index][slots[0]]
        if interval // divisor % whole == 0:
            other.reload(slots, advert_int_ns=interval // divisor)


def new_addresses(world: World, node: Node) -> None:
    """Some of 1 to 6, at least one."""
    slot = world.slots(node)[0]
    numbers = world.random.sample(range(1, 7), world.random.randint(1, 4))
    node.reload([slot], addresses=addresses_of(node.routers[slot], slot, numbers))


def addresses_of(router: VirtualRouter, slot: int, numbers: list[int]) -> tuple[bytes, ...]:
    start = router.addresses[0][:-1]
    return tuple(start + bytes((n,)) for n in numbers)


def new_timers(world: World, node: Node) -> None:
    """Refresh, second announcement, preemption: what must not disturb a running instance."""
    slots = world.slots(node)
    old = node.members[slots[0]]
    if world.random.random() < 0.5:
        refresh = 0 if old.refresh_ns else 2 * old.advert_int_ns
        node.reload(slots, refresh_ns=refresh)
    elif old.preempt_delay_ns:
        node.reload(slots, preempt_delay_ns=0)
    else:
        node.reload(slots, nopreempt=not old.nopreempt, timer_expired_backup=0)


def comes_or_goes(world: World, node: Node) -> None:
    """An instance is removed or, when it is away, added again. Groups come and go whole: of half a
    group nobody could be the right master."""
    slots = world.slots(node)
    if slots[0] in node.absent:
        node.reload(slots)
    else:
        node.remove(slots)


def same_again(world: World, node: Node) -> None:
    """A reload that changes nothing, of everything."""
    node.reload(node.present)


RELOADS = (
    new_priority,
    new_priority,
    new_interval,
    new_addresses,
    new_timers,
    comes_or_goes,
    same_again,
)


def tracker_storm(world: World, length: int) -> Undo:
    """Scripts that cannot make up their mind."""
    node = world.node()
    touched = [world.slots(node) for _ in range(3)]

    def change() -> None:
        slots = world.random.choice(touched)
        if world.random.random() < 0.7:
            adjust(node, slots, world.random.choice([-100, -30, -1, 0, 1, 30, 100]))
        elif world.random.random() < 0.5:
            node.control(partial(failing, slots[0], _core.FAULT_SCRIPT, 0))
        else:
            node.control(partial(failing, slots[0], 0, _core.FAULT_SCRIPT))

    world.storm(length, 40, change)

    def undo() -> None:
        for slots in touched:
            adjust(node, slots, 0)
            recovers(node, slots[0])

    return undo


def failing(slot: int, bits: int, clear: int, core: Core, now: int) -> Actions:
    return core.fault(slot, set=bits, clear=clear, now_ns=now)


def reload_storm(world: World, length: int) -> Undo:
    """An impatient operator: one router or all, reload after reload."""
    nodes = [world.node()] if world.random.random() < 0.5 else world.nodes

    def change() -> None:
        world.random.choice(RELOADS)(world, world.random.choice(nodes))

    world.storm(length, 20, change)
    return nothing


def link_storm(world: World, length: int) -> Undo:
    """A bad cable: up and down many times."""
    node = world.node()
    segment = world.random.randrange(len(world.segments))

    def flap() -> None:
        node.set_link(segment, not node.links[segment])

    world.storm(length, 30, flap)
    return partial(node.set_link, segment, True)


def forgery(world: World, length: int) -> Undo:
    """Forged packets, many of them right in every field."""
    for segment in world.segments:
        segment.weather.forgers += 1
    world.storm(length, 60, partial(forge, world.random, world.nodes, world.segments))

    def undo() -> None:
        for segment in world.segments:
            segment.weather.forgers = max(0, segment.weather.forgers - 1)

    return undo


KINDS: dict[str, Callable[[World, int], Undo]] = {
    "partition": partition,
    "loss": loss,
    "burst": burst,
    "duplication": duplication,
    "reordering": reordering,
    "corruption": corruption,
    "pause": pause,
    "crash": crash,
    "restart": restart,
    "link": link_down,
    "tracker": tracker,
    "script": script,
    "thief": thief,
    "netlink": netlink,
    "reload": reload,
    "tracker storm": tracker_storm,
    "reload storm": reload_storm,
    "link storm": link_storm,
    "forgery": forgery,
}


def heal(
    world: World, components: tuple[int, ...] = (), dead: frozenset[int] = frozenset()
) -> None:
    """Every fault ends now: nothing is refused, lost or out of order, every configuration is whole.
    What stays: routers of other `components` do not hear each other, and the `dead` are off."""
    world.calm = True
    place = components or (0,) * len(world.nodes)
    ports = range(len(world.nodes))
    cut = {(a, b) for a in ports for b in ports if place[a] != place[b]}
    for segment in world.segments:
        segment.blocked = set(cut)
        segment.weather = Weather()
    for node in world.nodes:
        node.kernel.failure_rate = 0.0
        for number, up in enumerate(node.links):
            if not up:
                node.set_link(number, True)
        if node.index in dead:
            if node.core is not None:
                node.crash()
            continue
        revive(node)
        for slot in range(len(node.routers)):
            interval = world.intervals[node.index][slot]
            if slot in node.absent or node.members[slot].advert_int_ns != interval:
                slots = node.allies[slot]
                node.reload(slots, advert_int_ns=interval)
            adjust(node, [slot], 0)
            recovers(node, slot)
