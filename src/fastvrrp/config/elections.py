"""Who is master of a virtual router, and who after the failure of one thing.

The election of RFC 9568 on paper, for `fastvrrp check` with the files of several routers: all run
without a fault, then one router, one interface, one script or the like fails. Members of a sync
group fail together.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from ipaddress import ip_address
from typing import NamedTuple

from fastvrrp.config.influences import (
    FAULT,
    INTERFACE,
    Influence,
    Reach,
    clamped,
    groups_by_name,
    influences,
    reach,
)
from fastvrrp.config.model import OWNER, Configuration, SyncGroup, VrrpInstance

ROUTER = "router"
OF_A_GROUP = "of its sync group"
NAMED_MAX = 3  # interfaces of a sync group that are told apart


class Router(NamedTuple):
    """One router's configuration; `name` is how messages call it."""

    name: str
    configuration: Configuration


class Member(NamedTuple):
    """One router's part in a virtual router."""

    router: Router
    instance: VrrpInstance
    influences: tuple[Influence, ...]
    reach: Reach


class Failure(NamedTuple):
    """What fails: the whole router (kind ROUTER), or something on it."""

    router: str
    kind: str
    name: str


class Outcome(NamedTuple):
    """The priorities of the members, FAULT for one that is out, and the index of the master.

    `master` is None if nobody is left, -1 where only the addresses of the routers decide.
    """

    priorities: tuple[int, ...]
    master: int | None


class VirtualRouter(NamedTuple):
    """The instances that elect one master among them, one per router."""

    family: int
    vrid: int
    members: tuple[Member, ...]

    def normal(self) -> Outcome:
        """Who becomes master when all run without a fault."""
        priorities = tuple([member.reach.normal for member in self.members])
        return Outcome(priorities, self._elected(priorities, None))

    def master(self) -> Member | None:
        """Who becomes master when all run without a fault; None if that is not known."""
        index = self.normal().master
        return None if index is None or index < 0 else self.members[index]

    def after(self, changed: Mapping[int, int]) -> Outcome:
        """What comes of other priorities (or FAULT) of some members, by index."""
        before = self.normal()
        priorities = tuple([changed.get(i, p) for i, p in enumerate(before.priorities)])
        return Outcome(priorities, self._elected(priorities, before.master))

    def _elected(self, priorities: Sequence[int], current: int | None) -> int | None:
        """A router that is master stays it until a better one that preempts comes."""
        alive = [i for i, priority in enumerate(priorities) if priority != FAULT]
        if not alive:
            return None
        if current is not None and current >= 0 and priorities[current] != FAULT:
            alive = [
                i
                for i in alive
                if priorities[i] > priorities[current] and not self.members[i].instance.nopreempt
            ]
            if not alive:
                return current
        most = max(priorities[i] for i in alive)
        best = [i for i in alive if priorities[i] == most]
        if len(best) == 1:
            return best[0]
        sources = [self.members[i].instance.source for i in best]
        known = [ip_address(source) for source in sources if source is not None]
        if len(known) < len(best) or len(set(known)) < len(best):
            return -1
        return best[known.index(max(known, key=int))]


def _partner(instance: VrrpInstance, candidates: Sequence[VrrpInstance]) -> VrrpInstance | None:
    """The same virtual router in another file: by name, by interface, or the only one there is."""
    if len(candidates) == 1:
        return candidates[0]
    for same in (
        [c for c in candidates if c.name == instance.name],
        [c for c in candidates if c.interface == instance.interface],
    ):
        if len(same) == 1:
            return same[0]
    return None


def member_of(router: Router, instance: VrrpInstance, groups: Mapping[str, SyncGroup]) -> Member:
    """One router's part, with what it depends on."""
    found = influences(instance, groups.get(instance.sync_group or ""))
    return Member(router, instance, tuple(found), reach(instance, found))


def virtual_routers(routers: Sequence[Router]) -> list[VirtualRouter]:
    """Match the instances of all routers by family and VRID, in the order of the files."""
    tables: list[dict[tuple[int, int], list[VrrpInstance]]] = []
    groups = [groups_by_name(router.configuration) for router in routers]
    for router in routers:
        by_id: dict[tuple[int, int], list[VrrpInstance]] = {}
        for instance in router.configuration.vrrp_instances:
            by_id.setdefault((instance.family, instance.virtual_router_id), []).append(instance)
        tables.append(by_id)
    found = []
    taken: set[tuple[int, str]] = set()
    for index, router in enumerate(routers):
        for instance in router.configuration.vrrp_instances:
            if (index, instance.name) in taken:
                continue
            members = [member_of(router, instance, groups[index])]
            for other in range(index + 1, len(routers)):
                key = (instance.family, instance.virtual_router_id)
                free = [c for c in tables[other].get(key, ()) if (other, c.name) not in taken]
                partner = _partner(instance, free)
                if partner is not None:
                    taken.add((other, partner.name))
                    members.append(member_of(routers[other], partner, groups[other]))
            found.append(VirtualRouter(instance.family, instance.virtual_router_id, tuple(members)))
    return found


Effects = dict[Failure, int]  # the priority that a failure leaves to an instance


def _own_effects(member: Member) -> Effects:
    """Failures that an instance notices by itself."""
    instance, router = member.instance, member.router.name
    effects: Effects = {}
    if instance.interface is not None and not instance.dont_track_primary:
        effects[Failure(router, INTERFACE, instance.interface)] = FAULT
    total = sum([each.fine or 0 for each in member.influences])
    for each in member.influences:
        failure = Failure(router, each.kind, each.name)
        if each.failed is None:
            effects[failure] = FAULT
        elif each.failed != each.fine and effects.get(failure) != FAULT:
            changed = instance.priority + total - (each.fine or 0) + each.failed
            effects[failure] = OWNER if instance.priority == OWNER else clamped(changed)
    return effects


def effects_of_failures(found: Sequence[VirtualRouter]) -> dict[tuple[str, str], Effects]:
    """What each failure leaves of each instance's priority, by router and instance.

    The fault of a member is the fault of its sync group; the interfaces of the others go by one
    name, because a group may have hundreds.
    """
    effects: dict[tuple[str, str], Effects] = {}
    in_groups: dict[tuple[str, str], list[Member]] = {}
    for virtual in found:
        for member in virtual.members:
            router, instance = member.router.name, member.instance
            effects[router, instance.name] = _own_effects(member)
            if instance.sync_group is not None:
                in_groups.setdefault((router, instance.sync_group), []).append(member)
    for (router, _), members in in_groups.items():
        shared: Effects = {}
        for member in members:
            own = effects[router, member.instance.name]
            shared.update({failure: left for failure, left in own.items() if left == FAULT})
        named = [failure for failure in shared if failure.kind == INTERFACE]
        if len(named) > NAMED_MAX:
            for failure in named:
                del shared[failure]
            shared[Failure(router, INTERFACE, OF_A_GROUP)] = FAULT
        for member in members:
            own = effects[router, member.instance.name]
            weighted = {failure: left for failure, left in own.items() if left != FAULT}
            effects[router, member.instance.name] = {**weighted, **shared}
    return effects


def outcomes(
    virtual: VirtualRouter, effects: Mapping[tuple[str, str], Effects]
) -> Iterator[tuple[Failure, Outcome]]:
    """Every single failure, router by router."""
    for index, member in enumerate(virtual.members):
        router = member.router.name
        yield Failure(router, ROUTER, ""), virtual.after({index: FAULT})
        for failure, left in effects[router, member.instance.name].items():
            yield failure, virtual.after({index: left})
