"""A whole life from its options: the storm, then the calm, and the verdict.

`run(seed)` is a pure function of its arguments; the same seed gives the same fingerprint on every
machine. A broken rule is raised as checkers.Violation.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from fastvrrp._core import Core
from fastvrrp.sim import faults
from fastvrrp.sim.checkers import MS, Judge
from fastvrrp.sim.faults import World
from fastvrrp.sim.lan import Frame, Scheduler, Segment
from fastvrrp.sim.node import Node
from fastvrrp.sim.options import Options, draw_options

STABLE_INTERVALS = 4  # more than a down interval of the shortest kind


@dataclass
class Report:
    """The outcome of a run that broke no rule."""

    options: Options
    fingerprint: str
    steps: int
    frames: int
    master_changes: int
    virtual_ns: int
    trace: list[str] = field(default_factory=list)


class Simulation:
    """One world made from options; a test may exchange the core of its nodes."""

    def __init__(
        self, options: Options, *, verbose: bool = False, make_core: type[Core] = Core
    ) -> None:
        self.options = options
        self.random = random.Random(options.seed ^ 0x5EED)
        self.scheduler = Scheduler()
        self.segments = [self._segment(number) for number in range(options.segments)]
        self.judge = Judge(self.segments, keep_trace=verbose)
        self.nodes = [self._node(index, make_core) for index in range(options.routers)]
        self.judge.nodes = self.nodes
        self.world = World(self.scheduler, self.random, self.segments, self.nodes, options.unit_ns)

    def _segment(self, number: int) -> Segment:
        def receive(port: int, frame: Frame) -> None:
            self.nodes[port].receive(number, frame)

        options = self.options
        return Segment(
            self.scheduler,
            self.random,
            options.routers,
            options.delay_ns,
            options.jitter_ns,
            receive,
        )

    def _node(self, index: int, make_core: type[Core]) -> Node:
        options = self.options
        rank = options.ranks[index]
        return Node(
            index,
            scheduler=self.scheduler,
            random=self.random,
            segments=self.segments,
            routers=list(options.virtual_routers),
            members=list(options.members[index]),
            sources=[
                {4: bytes((10, n, 0, rank)), 6: bytes.fromhex("fe80") + bytes((*[0] * 12, n, rank))}
                for n in range(options.segments)
            ],
            mac=bytes((2, 0, 0, 0, 0, rank)),
            clock=options.clocks[index],
            observer=self.judge,
            applier_ns=options.applier_ns,
            coalesce=options.coalesce,
            make_core=make_core,
        )

    def start(self) -> None:
        """Schedules the boots, the faults and the sweeps; run_until() then makes it live."""
        options, scheduler = self.options, self.scheduler
        for node in self.nodes:
            boot = self.random.randrange(options.unit_ns)
            scheduler.at(boot, faults.revive, node)
        for begin, kind, duration in options.faults:
            scheduler.at(begin, self._fault, kind, duration)
        flat = options.flat
        period = max(min(m.advert_int_ns for m in flat) // 2, 5 * MS)
        scheduler.at(period, self._sweep, period)

    def run(self) -> Report:
        """The storm, then the calm. Raises Violation."""
        options, scheduler = self.options, self.scheduler
        self.start()
        scheduler.run_until(options.storm_ns)
        for node in self.nodes:  # a freeze ends before the calm begins
            if not node.running and node.core is not None:
                scheduler.run_until(max(scheduler.now, node.paused_until))
        faults.heal(self.world, options.components, options.dead)
        self.judge.note("all faults have stopped")
        scheduler.run_until(scheduler.now + options.settle_ns)
        self.judge.sweep()
        self.judge.settled(options.components)
        made = self.judge.master_changes
        scheduler.run_until(scheduler.now + STABLE_INTERVALS * options.unit_ns)
        self.judge.stable(made)
        for node in self.nodes:
            if node.core is not None:
                self.judge.note(f"r{node.index} {node.core.fingerprint():016x}")
        return Report(
            options=options,
            fingerprint=self.judge.fingerprint(),
            steps=scheduler.steps,
            frames=sum(segment.frames for segment in self.segments),
            master_changes=self.judge.master_changes,
            virtual_ns=scheduler.now,
            trace=self.judge.trace,
        )

    def _fault(self, kind: str, duration: int) -> None:
        scheduler = self.scheduler
        end = min(scheduler.now + duration, self.options.storm_ns)
        if scheduler.now >= end:
            return
        self.judge.note(f"fault {kind} for {duration / 1e9:.3f} s")
        undo = faults.KINDS[kind](self.world, end - scheduler.now)
        scheduler.at(end, self._finish, kind, undo)

    def _finish(self, kind: str, undo: Callable[[], None]) -> None:
        self.judge.note(f"end of {kind}")
        undo()

    def _sweep(self, period: int) -> None:
        self.judge.sweep()
        self.scheduler.at(self.scheduler.now + period, self._sweep, period)


def run(
    seed: int,
    *,
    verbose: bool = False,
    make_core: type[Core] = Core,
    change: Callable[[Options], Options] = replace,
) -> Report:
    """Lives the life of `seed`. `change` may alter the options that the seed has drawn."""
    return Simulation(change(draw_options(seed)), verbose=verbose, make_core=make_core).run()
