"""From a seed to a whole life: routers, instances, clocks, faults, the verdict.

`run(seed)` is a pure function of its arguments; the same seed gives the same fingerprint on every
machine. A broken rule is raised as checkers.Violation.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

from fastvrrp._core import Core
from fastvrrp.sim import faults
from fastvrrp.sim.checkers import Judge
from fastvrrp.sim.faults import World
from fastvrrp.sim.lan import Frame, Scheduler, Segment
from fastvrrp.sim.node import Clock, Member, Node, VirtualRouter

MS = 1_000_000
SECOND = 1_000 * MS
STORM_INTERVALS = 60
STORM_STEPS = 30_000  # a storm is cut short when adverts are many


@dataclass(frozen=True)
class Options:
    """What a seed decided. Times in nanoseconds."""

    seed: int
    routers: int
    segments: int
    virtual_routers: tuple[VirtualRouter, ...]
    members: tuple[tuple[Member, ...], ...]  # [router][slot]
    ranks: tuple[int, ...]  # last byte of a router's addresses
    clocks: tuple[Clock, ...]
    delay_ns: int
    jitter_ns: int
    applier_ns: tuple[int, int]
    storm_ns: int
    faults: tuple[tuple[int, str, int], ...]  # (begin, kind, duration)

    @property
    def unit_ns(self) -> int:
        return max(m.advert_int_ns for router in self.members for m in router)

    @property
    def settle_ns(self) -> int:
        """Within this everything must be right again after the last fault: start-up delay, a
        preemption delay, then twice the longest detection; retries of the applier; a refresh."""
        flat = [m for router in self.members for m in router]
        detection = max(m.down_timer_adverts * self.unit_ns for m in flat)
        detection += max(self.unit_ns, SECOND)  # skew; version 2 counts it in seconds
        waits = max(m.hold_ns for m in flat) + max(m.preempt_delay_ns for m in flat)
        announcements = max(m.garp_delay_ns + 2 * m.refresh_ns for m in flat)
        return waits + 3 * detection + announcements + 6 * SECOND


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


# ---- choosing ----


def draw_options(seed: int) -> Options:
    rng = random.Random(seed)
    routers = rng.randint(2, 5)
    segments = rng.randint(1, 2)
    version = rng.choice([2, 3, 3, 3])
    group = 0 if rng.random() < 0.35 else -1
    virtual = tuple(
        draw_virtual_router(rng, slot, version, segments, group)
        for slot in range(rng.randint(1 if group < 0 else 2, 3))
    )
    interval = draw_interval(rng, version)
    members = tuple(
        draw_members(rng, len(virtual), interval, grouped=group >= 0) for _ in range(routers)
    )
    unit = max(m.advert_int_ns for router in members for m in router)
    storm = min(STORM_INTERVALS * unit, STORM_STEPS * interval // (routers * routers))
    delay = rng.choice([0, 50_000, interval // 50])
    return Options(
        seed=seed,
        routers=routers,
        segments=segments,
        virtual_routers=virtual,
        members=members,
        ranks=tuple(rng.sample(range(1, 250), routers)),
        clocks=tuple(
            Clock(offset_ns=rng.randrange(10**15), ppm=rng.randint(-500, 500))
            for _ in range(routers)
        ),
        delay_ns=delay,
        jitter_ns=rng.choice([0, delay, interval // 20]),
        applier_ns=(10_000, rng.choice([100_000, 5 * MS, 200 * MS])),
        storm_ns=storm,
        faults=draw_faults(rng, storm, unit),
    )


def draw_interval(rng: random.Random, version: int) -> int:
    if version == 2:
        return rng.choice([1, 2]) * SECOND
    return rng.choice([10, 20, 100, 250, 1000, 2000]) * MS


def draw_virtual_router(
    rng: random.Random, slot: int, version: int, segments: int, group: int
) -> VirtualRouter:
    family = 4 if version == 2 else rng.choice([4, 4, 6])
    if family == 4:
        addresses = [bytes((192, 0, slot, n + 1)) for n in range(rng.randint(1, 3))]
    else:
        prefix = bytes.fromhex("fe80") + bytes(12)
        addresses = [prefix + bytes((slot, n + 1)) for n in range(rng.randint(1, 3))]
    return VirtualRouter(
        vrid=slot + 1,
        family=family,
        version=version,
        segment=rng.randrange(segments),
        addresses=tuple(addresses),
        group=group,
    )


def draw_members(
    rng: random.Random, count: int, interval: int, *, grouped: bool
) -> tuple[Member, ...]:
    """One router's instances. Members of a group agree: priorities that cross would have no
    right master at all."""
    made = [draw_member(rng, interval) for _ in range(count)]
    if grouped:
        made = [made[0]] * count
    return tuple(made)


def draw_member(rng: random.Random, interval: int) -> Member:
    nopreempt = rng.random() < 0.25
    other = interval
    if interval < SECOND and rng.random() < 0.2:
        other = interval * 2  # routers that do not agree; version 3 learns
    return Member(
        priority=rng.choice([1, 50, 100, 100, 100, 101, 150, 254, 255]),
        advert_int_ns=other,
        nopreempt=nopreempt,
        preempt_delay_ns=0 if nopreempt else rng.choice([0, 0, 2 * interval, 10 * interval]),
        want_master=rng.random() < 0.3,
        down_timer_adverts=rng.choice([3, 3, 3, 2, 5]),
        garp_delay_ns=rng.choice([0, interval, 5 * SECOND]),
        refresh_ns=rng.choice([0, 2 * SECOND]),
        hold_ns=rng.choice([0, 0, 0, 2 * interval]),
        timer_expired_backup=254 if nopreempt and rng.random() < 0.3 else 0,
    )


def draw_faults(rng: random.Random, storm: int, unit: int) -> tuple[tuple[int, str, int], ...]:
    """Some kinds are off, the others have random weights."""
    enabled = [kind for kind in faults.KINDS if rng.random() < 0.6]
    if not enabled:
        return ()
    weights = [rng.randint(1, 5) for _ in enabled]
    plan = [
        (rng.randrange(storm), rng.choices(enabled, weights)[0], rng.randrange(1, 12 * unit))
        for _ in range(rng.randint(0, 25))
    ]
    return tuple(sorted(plan))


# ---- living ----


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
            make_core=make_core,
        )

    def start(self) -> None:
        """Schedules the boots, the faults and the sweeps; run_until() then makes it live."""
        options, scheduler = self.options, self.scheduler
        for node in self.nodes:
            boot = self.random.randrange(options.unit_ns)
            scheduler.at(boot, partial(faults.revive, node))
        for begin, kind, duration in options.faults:
            scheduler.at(begin, self._fault(kind, duration))
        self._sweeping()

    def run(self) -> Report:
        """The storm, then the calm. Raises Violation."""
        options, scheduler = self.options, self.scheduler
        self.start()
        scheduler.run_until(options.storm_ns)
        for node in self.nodes:  # a freeze ends before the calm begins
            if not node.running and node.core is not None:
                scheduler.run_until(max(scheduler.now, node.paused_until))
        faults.heal(self.world)
        self.judge.note("all faults have stopped")
        scheduler.run_until(scheduler.now + options.settle_ns)
        self.judge.sweep()
        self.judge.settled()
        for node in self.nodes:
            assert node.core is not None
            self.judge.note(f"r{node.index} {node.core.fingerprint():016x}")
        return Report(
            options=options,
            fingerprint=self.judge.digest.hexdigest(),
            steps=scheduler.steps,
            frames=sum(segment.frames for segment in self.segments),
            master_changes=self.judge.master_changes,
            virtual_ns=scheduler.now,
            trace=self.judge.trace,
        )

    def _fault(self, kind: str, duration: int) -> Callable[[], None]:
        def begin() -> None:
            if self.scheduler.now >= self.options.storm_ns:
                return
            self.judge.note(f"fault {kind} for {duration / 1e9:.3f} s")
            undo = faults.KINDS[kind](self.world)
            end = min(self.scheduler.now + duration, self.options.storm_ns)

            def finish() -> None:
                self.judge.note(f"end of {kind}")
                undo()

            self.scheduler.at(end, finish)

        return begin

    def _sweeping(self) -> None:
        flat = [m for router in self.options.members for m in router]
        period = max(min(m.advert_int_ns for m in flat) // 2, 5 * MS)

        def sweep() -> None:
            self.judge.sweep()
            self.scheduler.at(self.scheduler.now + period, sweep)

        self.scheduler.at(period, sweep)


def run(
    seed: int,
    *,
    verbose: bool = False,
    make_core: type[Core] = Core,
    change: Callable[[Options], Options] = replace,
) -> Report:
    """Lives the life of `seed`. `change` may alter the options that the seed has drawn."""
    return Simulation(change(draw_options(seed)), verbose=verbose, make_core=make_core).run()
