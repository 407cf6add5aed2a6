"""Faults: each begins at a moment, lasts a while, and undoes itself.

A fault is a function (world) -> undo. Which kinds occur, when and how often, is drawn from the
seed by swarm.py; `heal` ends everything at once.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from fastvrrp import _core
from fastvrrp._core import Core
from fastvrrp.sim.lan import Scheduler, Segment, Weather
from fastvrrp.sim.node import Actions, Node


@dataclass
class World:
    """Everything a fault can touch."""

    scheduler: Scheduler
    random: random.Random
    segments: list[Segment]
    nodes: list[Node]
    unit_ns: int  # the longest advertisement interval: faults last some of these

    def node(self) -> Node:
        return self.random.choice(self.nodes)

    def segment(self) -> Segment:
        return self.random.choice(self.segments)

    def slots(self, node: Node) -> list[int]:
        """One instance, or all members when they form a group and must agree."""
        slot = self.random.randrange(len(node.routers))
        if node.routers[slot].group < 0:
            return [slot]
        return [k for k, router in enumerate(node.routers) if router.group >= 0]


Undo = Callable[[], None]


def nothing() -> None:
    """The undo of a fault that is over at once."""


def partition(world: World) -> Undo:
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


def loss(world: World) -> Undo:
    weather = world.segment().weather
    weather.loss = world.random.choice([0.01, 0.1, 0.3, 0.7])

    def undo() -> None:
        weather.loss = 0.0

    return undo


def burst(world: World) -> Undo:
    """Everything is lost for less than a detection time, or a little longer."""
    weather = world.segment().weather
    length = world.random.randrange(1, 5 * world.unit_ns)
    weather.burst_until = world.scheduler.now + length
    return nothing


def duplication(world: World) -> Undo:
    weather = world.segment().weather
    weather.duplication = 0.3

    def undo() -> None:
        weather.duplication = 0.0

    return undo


def reordering(world: World) -> Undo:
    weather = world.segment().weather
    weather.reordering = True

    def undo() -> None:
        weather.reordering = False

    return undo


def corruption(world: World) -> Undo:
    weather = world.segment().weather
    weather.corruption = world.random.choice([0.05, 0.5])

    def undo() -> None:
        weather.corruption = 0.0

    return undo


def pause(world: World) -> Undo:
    """A frozen machine: some intervals, or many; its packets wait or are gone."""
    node = world.node()
    length = world.random.randrange(1, 8 * world.unit_ns)
    node.pause(world.scheduler.now + length, deaf=world.random.random() < 0.5)
    return nothing


def crash(world: World) -> Undo:
    node = world.node()
    node.crash()
    return partial(revive, node)


def restart(world: World) -> Undo:
    """An orderly stop, and a start a while later."""
    node = world.node()
    if not node.running:
        return nothing
    node.stop()
    return partial(revive, node)


def revive(node: Node) -> None:
    if node.core is None:
        node.start()


def link_down(world: World) -> Undo:
    node = world.node()
    segment = world.random.randrange(len(world.segments))
    node.set_link(segment, False)
    return partial(node.set_link, segment, True)


def tracker(world: World) -> Undo:
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


def script(world: World) -> Undo:
    """A tracker of weight 0 fails."""
    node = world.node()
    slot = world.slots(node)[0]
    node.control(lambda core, now: core.fault(slot, set=_core.FAULT_SCRIPT, now_ns=now))
    return partial(recovers, node, slot)


def recovers(node: Node, slot: int) -> None:
    node.control(lambda core, now: core.fault(slot, clear=_core.FAULT_SCRIPT, now_ns=now))


def thief(world: World) -> Undo:
    """Another program deletes an address."""
    node = world.node()
    if node.running:
        node.lose_address(world.slots(node)[0])
    return nothing


def netlink(world: World) -> Undo:
    """The kernel refuses some requests."""
    kernel = world.node().kernel
    kernel.failure_rate = 0.5

    def undo() -> None:
        kernel.failure_rate = 0.0

    return undo


def reload(world: World) -> Undo:
    """A new priority by configuration. Owners stay owners: they are so by their addresses."""
    node = world.node()
    slots = [s for s in world.slots(node) if node.members[s].priority != 255]
    if slots:
        node.reload(slots, priority=world.random.randrange(1, 255))
    return nothing


KINDS: dict[str, Callable[[World], Undo]] = {
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
}


def heal(world: World) -> None:
    """Every fault ends now: all run, all can talk, nothing is refused or out of order."""
    for segment in world.segments:
        segment.blocked.clear()
        segment.weather = Weather()
    for node in world.nodes:
        node.kernel.failure_rate = 0.0
        for number, up in enumerate(node.links):
            if not up:
                node.set_link(number, True)
        revive(node)
        for slot in range(len(node.routers)):
            adjust(node, [slot], 0)
            recovers(node, slot)
