"""Checks across routers: what several configurations say about the same virtual router.

Two routers that disagree about version, interval (VRRPv2), password or transport discard each
other's adverts, and both become master (RFC 3768 7.1, RFC 9568 7.1): errors. What only surprises
at the next failover is a warning.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from fastvrrp.config.elections import Member, Router, VirtualRouter, virtual_routers
from fastvrrp.config.influences import Reach
from fastvrrp.config.model import (
    NS_PER_S,
    OWNER,
    Message,
    Position,
    Severity,
    Tracked,
    UnicastPeer,
    VirtualAddress,
    VrrpInstance,
)


def check_routers(
    routers: Sequence[Router], found: Sequence[VirtualRouter] | None = None
) -> list[Message]:
    """Everything on which the configurations disagree; `found` are their virtual routers."""
    messages: list[Message] = []
    found = virtual_routers(routers) if found is None else found
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
        messages += _strangers(virtual)
        messages += _weights(virtual)
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


def _bare(addresses: Sequence[VirtualAddress]) -> frozenset[str]:
    return frozenset(a.address for a in addresses)


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
    yield from _same_addresses(member, other)
    if mine.priority == theirs.priority:
        text = f"priority {mine.priority}, the same as {where}"
        hint = "give each router its own; now the higher source address wins"
        if mine.priority == OWNER:
            hint = "only one router can own the addresses; write 1 to 254 on the other"
        yield _message(member, warning, text, hint)
    if mine.down_timer_adverts != theirs.down_timer_adverts:
        text = (
            f"down_timer_adverts {mine.down_timer_adverts}, "
            f"but {theirs.down_timer_adverts} in {where}"
        )
        yield _message(member, warning, text, "use one value on all routers")


def _same_addresses(member: Member, other: Member) -> Iterator[Message]:
    """A router that becomes master with other addresses leaves some without a router."""
    mine, theirs = member.instance, other.instance
    where, warning = _where(other), Severity.WARNING
    for what, one, two in (
        ("virtual addresses", mine.virtual_ipaddress, theirs.virtual_ipaddress),
        ("excluded addresses", mine.virtual_ipaddress_excluded, theirs.virtual_ipaddress_excluded),
    ):
        if one == two or _addresses(one) == _addresses(two):
            continue
        missing, further = _bare(two) - _bare(one), _bare(one) - _bare(two)
        if not missing and not further:
            text = f"the prefix lengths of the {what} differ from {where}"
            yield _message(member, warning, text, "write the same ones on all routers")
            continue
        told = [f"{len(missing)} missing"] if len(missing) > 1 else sorted(missing)
        if len(missing) == 1:
            told[0] += " is missing"
        if further:
            told.append(
                f"{len(further)} further ones" if len(further) > 1 else f"{min(further)} is new"
            )
        text = f"the {what} differ from {where}: {', '.join(told)}"
        yield _message(member, warning, text, "list the same addresses on all routers")


def _strangers(virtual: VirtualRouter) -> Iterator[Message]:
    """Peers that are none of the routers; silent where a router's address is not known."""
    sources = {member.instance.source for member in virtual.members}
    if None in sources or len(virtual.members) < 2:
        return
    for member in virtual.members:
        strange = [p for p in member.instance.unicast_peers if p.address not in sources]
        if strange:
            text = f"{_peers(strange)} is the address of none of the routers given"
            hint = "correct it, or check with the files of all routers"
            yield _message(member, Severity.WARNING, f"the peer {text}", hint)


def _peers(peers: Sequence[UnicastPeer]) -> str:
    return " or ".join(peer.address for peer in peers)


def _weighted(instance: VrrpInstance) -> Tracked | None:
    """The first line with a weight of a track_... block."""
    for block in (
        instance.track_interface,
        instance.track_script,
        instance.track_process,
        instance.track_virtual_server,
        instance.track_file,
    ):
        for tracked in block:
            if tracked.weight:
                return tracked
    return None


def _never(reach: Reach, other: Reach) -> bool:
    """Whether two routers are in the same order whatever their trackers say. One that is master
    stays it at equal priorities."""
    if reach.normal > other.normal:
        return reach.least >= other.most
    return reach.normal < other.normal and reach.most <= other.least


def _weights(virtual: VirtualRouter) -> Iterator[Message]:
    """Weights that change a priority, but never the order of the routers."""
    for member in virtual.members:
        reach, instance = member.reach, member.instance
        tracked = _weighted(instance)
        if reach.least == reach.most or tracked is None:
            continue
        others = [other for other in virtual.members if other is not member]
        if not others:
            continue
        if all(_never(reach, other.reach) for other in others):
            nearest = min(others, key=lambda other: abs(other.reach.normal - reach.normal))
            most = nearest.reach.most if reach.normal > nearest.reach.normal else None
            text = (
                f"the weights leave the priority between {reach.least} and {reach.most}, which "
                f"never changes who is master: {nearest.router.name} has {nearest.reach.normal}"
            )
            hint = "make the weights larger than the difference of the priorities"
            if most == reach.least:
                hint = "make the weights larger: with equal priorities the master stays master"
            yield _at(tracked, member, text, hint)
            continue
        rivals = [other for other in others if other.reach.most > reach.least]
        if reach.normal == max(each.reach.normal for each in virtual.members) and all(
            other.instance.nopreempt for other in rivals
        ):
            text = (
                f"the weights never take the mastership away: with nopreempt "
                f"{rivals[0].router.name} waits however low the priority is"
            )
            yield _at(tracked, member, text, "remove nopreempt, or write weight 0")


def _at(tracked: Tracked, member: Member, text: str, hint: str) -> Message:
    message = _message(member, Severity.WARNING, text, hint)
    if tracked.position is None:
        return message
    return Message(
        position=tracked.position, severity=message.severity, text=message.text, hint=hint
    )


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
