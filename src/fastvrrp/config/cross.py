"""Checks across routers: what several configurations say about the same virtual router.

Two routers that disagree about version, interval (VRRPv2), password or transport discard each
other's adverts, and both become master (RFC 3768 7.1, RFC 9568 7.1): errors. What only surprises
at the next failover is a warning.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from fastvrrp.config.model import (
    NS_PER_S,
    Configuration,
    Message,
    Position,
    Severity,
    VirtualAddress,
    VrrpInstance,
)


class Router(NamedTuple):
    """One router's configuration; `name` is how messages call it."""

    name: str
    configuration: Configuration


class Member(NamedTuple):
    """One router's part in a virtual router."""

    router: Router
    instance: VrrpInstance


class VirtualRouter(NamedTuple):
    """The instances that elect one master among them, one per router."""

    family: int
    vrid: int
    members: tuple[Member, ...]

    def master(self) -> Member | None:
        """Who becomes master when all run without a fault; None if priorities are equal."""
        ranked = sorted(self.members, key=lambda m: m.instance.priority, reverse=True)
        if len(ranked) > 1 and ranked[0].instance.priority == ranked[1].instance.priority:
            return None
        return ranked[0]


def _partner(instance: VrrpInstance, candidates: Sequence[VrrpInstance]) -> VrrpInstance | None:
    """The same virtual router in another file: by name, by interface, or the only one there is."""
    for same in (
        [c for c in candidates if c.name == instance.name],
        [c for c in candidates if c.interface == instance.interface],
        candidates,
    ):
        if len(same) == 1:
            return same[0]
    return None


def virtual_routers(routers: Sequence[Router]) -> list[VirtualRouter]:
    """Match the instances of all routers by family and VRID, in the order of the files."""
    tables: list[dict[tuple[int, int], list[VrrpInstance]]] = []
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
            members = [Member(router, instance)]
            for other in range(index + 1, len(routers)):
                key = (instance.family, instance.virtual_router_id)
                free = [c for c in tables[other].get(key, ()) if (other, c.name) not in taken]
                partner = _partner(instance, free)
                if partner is not None:
                    taken.add((other, partner.name))
                    members.append(Member(routers[other], partner))
            found.append(VirtualRouter(instance.family, instance.virtual_router_id, tuple(members)))
    return found


def check_routers(routers: Sequence[Router]) -> list[Message]:
    """Everything on which the configurations disagree."""
    messages: list[Message] = []
    found = virtual_routers(routers)
    for virtual in found:
        if len(virtual.members) == 1:
            member = virtual.members[0]
            messages.append(
                _message(
                    member,
                    Severity.WARNING,
                    f"no other router has virtual_router_id {virtual.vrid} for IPv{virtual.family}",
                    "one router alone is no redundancy; compare the virtual_router_id lines",
                )
            )
        for index, member in enumerate(virtual.members):
            for other in virtual.members[:index]:
                messages += _pair(member, other)
    messages += _groups(routers, found)
    return messages


def _message(member: Member, severity: Severity, text: str, hint: str) -> Message:
    position = member.instance.position or Position(file=member.router.name, line=1)
    name = member.instance.name
    return Message(position=position, severity=severity, text=f"{name}: {text}", hint=hint)


def _where(member: Member) -> str:
    at = member.instance.position
    place = f" ({at.file}:{at.line})" if at is not None else ""
    return f"{member.instance.name} of {member.router.name}{place}"


def _addresses(addresses: Sequence[VirtualAddress]) -> frozenset[tuple[str, int]]:
    return frozenset((a.address, a.prefixlen) for a in addresses)


def _pair(member: Member, other: Member) -> Iterator[Message]:
    """What `member` says against what `other`, of an earlier file, says."""
    mine, theirs = member.instance, other.instance
    where = _where(other)
    both = "else both become master"
    error, warning = Severity.ERROR, Severity.WARNING
    if mine.version != theirs.version:
        text = f"version {mine.version}, but {theirs.version} in {where}"
        yield _message(member, error, text, f"use one version, {both}")
        return  # the rest of the packet is another one then
    if mine.advert_int_ns != theirs.advert_int_ns:
        text = (
            f"advert_int {mine.advert_int_ns / NS_PER_S:g}, "
            f"but {theirs.advert_int_ns / NS_PER_S:g} in {where}"
        )
        severity = error if mine.version == 2 else warning
        yield _message(member, severity, text, "use one interval on all routers")
    if (mine.auth_type, mine.auth_pass) != (theirs.auth_type, theirs.auth_pass):
        text = f"the authentication differs from {where}"
        yield _message(member, error, text, f"use the same auth_type and auth_pass, {both}")
    if bool(mine.unicast_peers) != bool(theirs.unicast_peers):
        kind = "unicast" if mine.unicast_peers else "multicast"
        text = f"{kind}, unlike {where}"
        yield _message(member, error, text, f"list peers on all routers or on none, {both}")
    elif mine.unicast_peers:
        yield from _unicast(member, other)
        yield from _unicast(other, member)
    elif mine.mcast_dst_ip != theirs.mcast_dst_ip:
        text = f"multicast group {mine.mcast_dst_ip}, but {theirs.mcast_dst_ip} in {where}"
        yield _message(member, error, text, f"use one group, {both}")
    if _addresses(mine.virtual_ipaddress) != _addresses(theirs.virtual_ipaddress):
        text = f"the virtual addresses differ from {where}"
        yield _message(member, warning, text, "list the same addresses on all routers")
    if mine.priority == theirs.priority:
        text = f"priority {mine.priority}, the same as {where}"
        hint = "give each router its own; now the higher source address wins"
        yield _message(member, warning, text, hint)
    if mine.down_timer_adverts != theirs.down_timer_adverts:
        text = (
            f"down_timer_adverts {mine.down_timer_adverts}, "
            f"but {theirs.down_timer_adverts} in {where}"
        )
        yield _message(member, warning, text, "use one value on all routers")


def _unicast(member: Member, other: Member) -> Iterator[Message]:
    """A router that does not list the other never sends it an advert."""
    source = other.instance.source
    if source is None or any(p.address == source for p in member.instance.unicast_peers):
        return
    text = f"{source} of {_where(other)} is not among the peers"
    hint = f"add {source} to unicast_peer, else both become master"
    yield _message(member, Severity.ERROR, text, hint)


def _groups(routers: Sequence[Router], found: Sequence[VirtualRouter]) -> Iterator[Message]:
    """The members of a sync group should have their masters on one router."""
    masters: dict[tuple[str, str], str] = {}
    for virtual in found:
        master = virtual.master()
        if master is None or len(virtual.members) < 2:
            continue
        for member in virtual.members:
            masters[member.router.name, member.instance.name] = master.router.name
    for router in routers:
        for group in router.configuration.sync_groups:
            names = {masters.get((router.name, name)) for name in group.members} - {None}
            if len(names) > 1:
                yield Message(
                    position=group.position or Position(file=router.name, line=1),
                    severity=Severity.WARNING,
                    text=f"sync group {group.name}: its members prefer different masters",
                    hint="order the priorities of all members alike on all routers",
                )
