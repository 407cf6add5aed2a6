"""From a seed to everything that decides a life: routers, instances, clocks, faults, the calm."""

from __future__ import annotations

import random
from dataclasses import dataclass

from fastvrrp import _core
from fastvrrp.sim import faults
from fastvrrp.sim.machine import Clock, Member, VirtualRouter

MS = 1_000_000
SECOND = 1_000 * MS
STORM_INTERVALS = 60
DELIVERIES = 14_000  # a storm is cut short when adverts are many
FEWEST_INTERVALS = 6
RETRY_NS = 6 * SECOND  # the applier's longest pause between attempts, and the attempt
ANSWER_NS = 2 * SECOND  # announcements that a contention owes come at most a second late

# (weight, lowest, highest): small worlds find most, large ones find the rest
ROUTERS = ((60, 2, 3), (30, 4, 5), (10, 6, 10))
INSTANCES = ((76, 1, 3), (18, 4, 10), (5, 11, 40), (1, 41, 200))
MANY = 12  # instances from which on short intervals and long waits are not drawn
INTERVALS_MS = (10, 20, 50, 100, 250, 330, 1000, 2000, 5000, 10_000, 40_000)


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
    coalesce: bool = False  # adverts leave together, as those of an engine do
    # what stays when faults stop: the component of every router, and the routers that are off
    components: tuple[int, ...] = ()
    dead: frozenset[int] = frozenset()

    @property
    def flat(self) -> list[Member]:
        return [m for router in self.members for m in router]

    @property
    def unit_ns(self) -> int:
        return max(m.advert_int_ns for m in self.flat)

    @property
    def settle_ns(self) -> int:
        """Within this everything must be right again after the last fault: start-up delay, a
        preemption delay, then thrice the longest detection; owed announcements, a refresh; retries
        of the applier."""
        flat = self.flat
        versions = {router.version for router in self.virtual_routers}
        detection = max(m.down_timer_adverts for m in flat) * self.unit_ns
        detection += max(self.unit_ns, SECOND) if 2 in versions else self.unit_ns  # skew
        kinds = {kind for _, kind, _ in self.faults}
        if "forgery" in kinds:
            detection *= 2  # whoever follows a forged master has learned its interval
        waits = max(m.hold_ns for m in flat) + max(m.preempt_delay_ns for m in flat)
        announcements = max(m.garp_delay_ns + 2 * m.refresh_ns for m in flat)
        retries = RETRY_NS if "netlink" in kinds else 0
        applier = 2 * len(self.virtual_routers) * self.applier_ns[1]
        return (
            waits + 3 * detection + announcements + max(ANSWER_NS, self.unit_ns) + retries + applier
        )


def draw_options(seed: int) -> Options:
    rng = random.Random(seed)
    routers = weighted(rng, ROUTERS)
    segments = rng.randint(1, 2)
    count = weighted(rng, INSTANCES)
    many = count >= MANY
    groups = draw_groups(rng, count)
    base = draw_base(rng, many=many)
    versions = draw_versions(rng, groups, base)
    virtual = tuple(
        draw_virtual_router(rng, slot, versions[slot], segments, groups[slot])
        for slot in range(count)
    )
    intervals = draw_intervals(rng, virtual, base)
    shared = rng.random() < 0.9  # the default of configurations: a master says a last word
    members = tuple(
        draw_members(rng, virtual, intervals, many=many, last_word=shared) for _ in range(routers)
    )
    flat = [m for router in members for m in router]
    unit = max(m.advert_int_ns for m in flat)
    deliveries = sum(routers * unit // interval for interval in intervals)  # in a unit
    storm = unit * min(STORM_INTERVALS, max(FEWEST_INTERVALS, DELIVERIES // deliveries))
    least = min(intervals)
    delay = rng.choice([0, 50_000, least // 50])
    slowest = rng.choice([100_000, 5 * MS, 200 * MS]) // (1 + count // MANY)
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
        jitter_ns=rng.choice([0, delay, least // 20]),
        applier_ns=(10_000, max(20_000, slowest)),
        storm_ns=storm,
        faults=draw_faults(rng, storm, unit),
        components=draw_components(rng, routers),
        dead=draw_dead(rng, routers),
        coalesce=rng.random() < 0.8,
    )


def weighted(rng: random.Random, ranges: tuple[tuple[int, int, int], ...]) -> int:
    """A number from one of the ranges; the shares are their first elements."""
    _, low, high = rng.choices(ranges, [share for share, _, _ in ranges])[0]
    return rng.randint(low, high)


def draw_groups(rng: random.Random, count: int) -> list[int]:
    """A sync group number per slot, -1 for none. Every group has two members or more."""
    groups = [-1] * count
    if count >= 2 and rng.random() < 0.4:
        slots = list(range(count))
        if count > 3:
            rng.shuffle(slots)
        number = 0
        while len(slots) >= 2 and number < rng.choice([1, 1, 2, 5]):
            size = min(len(slots), rng.choice([2, 3, 3, 8]))
            for slot in slots[:size]:
                groups[slot] = number
            slots = slots[size:]
            number += 1
    return groups


def draw_base(rng: random.Random, *, many: bool) -> int:
    """The interval that most instances have."""
    return rng.choice([i for i in INTERVALS_MS if not many or i >= 250]) * MS


def draw_versions(rng: random.Random, groups: list[int], base: int) -> list[int]:
    """Version 2 counts seconds; members of a group are of one version."""
    if base % SECOND or base > 255 * SECOND:
        return [3] * len(groups)
    of_group = {group: rng.choice([2, 3, 3]) for group in sorted(set(groups))}
    return [rng.choice([2, 3, 3]) if group < 0 else of_group[group] for group in groups]


def draw_virtual_router(
    rng: random.Random, slot: int, version: int, segments: int, group: int
) -> VirtualRouter:
    family = 4 if version == 2 else rng.choice([4, 4, 6])
    return VirtualRouter(
        vrid=slot + 1,
        family=family,
        version=version,
        segment=rng.randrange(segments),
        addresses=addresses(slot, family, range(1, 1 + rng.randint(1, 3))),
        group=group,
    )


def addresses(slot: int, family: int, numbers: range | list[int]) -> tuple[bytes, ...]:
    """Virtual addresses of a slot; numbers 1 to 250."""
    if family == 4:
        return tuple(bytes((192, 0, slot, n)) for n in numbers)
    prefix = bytes.fromhex("fe80") + bytes(12)
    return tuple(prefix + bytes((slot, n)) for n in numbers)


def draw_intervals(rng: random.Random, virtual: tuple[VirtualRouter, ...], base: int) -> list[int]:
    """Per slot; members of a group share theirs, so that they have one right master in one time."""
    factor = [1] * len(virtual)
    if rng.random() < 0.2 and base <= 10 * SECOND:
        of_group = {router.group: rng.choice([1, 2]) for router in virtual}
        factor = [
            rng.choice([1, 1, 2, 4]) if router.group < 0 else of_group[router.group]
            for router in virtual
        ]
    return [base * f for f in factor]


def draw_members(
    rng: random.Random,
    virtual: tuple[VirtualRouter, ...],
    intervals: list[int],
    *,
    many: bool,
    last_word: bool,
) -> tuple[Member, ...]:
    """One router's instances. Members of a group agree: priorities that cross would have no
    right master at all."""
    of_group: dict[int, Member] = {}
    made = []
    for router, interval in zip(virtual, intervals, strict=True):
        member = of_group.get(router.group)
        if member is None:
            member = draw_member(rng, router.version, interval, many=many, last_word=last_word)
            if router.group >= 0:
                of_group[router.group] = member
        made.append(member)
    return tuple(made)


def draw_member(
    rng: random.Random, version: int, interval: int, *, many: bool, last_word: bool
) -> Member:
    nopreempt = rng.random() < 0.25
    other = interval
    if version == 3 and interval <= 10 * SECOND and rng.random() < 0.1:
        other = interval * rng.choice([2, 4])  # routers that do not agree; version 3 learns
    return Member(
        priority=rng.choice([1, 50, 100, 100, 100, 101, 150, 254, 255]),
        advert_int_ns=other,
        nopreempt=nopreempt,
        preempt_delay_ns=0 if nopreempt else rng.choice([0, 0, 2 * interval, 10 * interval]),
        want_master=rng.random() < 0.3,
        down_timer_adverts=rng.choice([3, 3, 3, 2, 5]),
        garp_delay_ns=rng.choice([0, interval, 2 * interval if many else 5 * SECOND]),
        refresh_ns=rng.choice([0, 0, 2 * interval if many else 2 * SECOND]),
        hold_ns=rng.choice([0, 0, 0, 2 * interval]),
        flags=_core.F_HIGHER_PRIO_SEND_ADVERT if last_word else 0,
        timer_expired_backup=254 if nopreempt and rng.random() < 0.3 else 0,
    )


def draw_faults(rng: random.Random, storm: int, unit: int) -> tuple[tuple[int, str, int], ...]:
    """Some kinds are off, the others have random weights."""
    enabled = [kind for kind in faults.KINDS if rng.random() < 0.5]
    if not enabled:
        return ()
    weights = [rng.randint(1, 5) for _ in enabled]
    plan = [
        (rng.randrange(storm), rng.choices(enabled, weights)[0], rng.randrange(1, 12 * unit))
        for _ in range(rng.randint(0, 25))
    ]
    return tuple(sorted(plan))


def draw_components(rng: random.Random, routers: int) -> tuple[int, ...]:
    """Mostly one; sometimes the calm still has a network of two halves."""
    if rng.random() < 0.8:
        return (0,) * routers
    return tuple(rng.randint(0, 1) for _ in range(routers))


def draw_dead(rng: random.Random, routers: int) -> frozenset[int]:
    """Mostly all live in the calm."""
    if rng.random() < 0.8:
        return frozenset()
    return frozenset(rng.sample(range(routers), rng.randint(1, routers - 1)))
