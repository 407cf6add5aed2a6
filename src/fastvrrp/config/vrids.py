"""What instances must not have in common: a virtual router on one link, or an address, be it with
each other or with static_ipaddress."""

from __future__ import annotations

import functools
from collections.abc import Sequence

from fastvrrp.config.context import Context
from fastvrrp.config.model import OWNER, Severity, VirtualAddress, VrrpInstance
from fastvrrp.config.node import Node


def check_vrids(context: Context, instances: Sequence[tuple[VrrpInstance, Node]]) -> None:
    """Multicast: one instance per interface, family, group and VRID. Unicast: peers differ."""
    seen: dict[tuple[object, ...], list[VrrpInstance]] = {}
    for instance, node in instances:
        is_unicast = bool(instance.unicast_peers)
        key = (
            instance.interface,
            instance.family,
            instance.virtual_router_id,
            "" if is_unicast else instance.mcast_dst_ip,
        )
        same = seen.setdefault(key, [])
        for other in same:
            if is_unicast and not _share_peer(instance, other):
                continue
            at = other.position
            where = f" ({at.file}:{at.line})" if at is not None else ""
            on = f" on {instance.interface}" if instance.interface else ""
            context.error(
                node,
                f"{instance.name} and {other.name} both have virtual_router_id "
                f"{instance.virtual_router_id} for IPv{instance.family}{on}{where}",
                "give each its own virtual_router_id",
                word=1,
            )
            break
        same.append(instance)


def _share_peer(one: VrrpInstance, other: VrrpInstance) -> bool:
    return not {p.address for p in one.unicast_peers}.isdisjoint(
        p.address for p in other.unicast_peers
    )


def check_addresses(
    context: Context,
    instances: Sequence[tuple[VrrpInstance, Node]],
    static: Sequence[VirtualAddress],
) -> None:
    """An address of two instances goes when one of them stops being master, and comes back; one
    that is static, too, is there while the router is backup, so two routers have it."""
    warn = functools.partial(context.diagnostics.add, severity=Severity.WARNING)
    owners: dict[tuple[str, str | None], VrrpInstance] = {}
    for instance, node in instances:
        interface = instance.interface
        for address in instance.virtual_ipaddress + instance.virtual_ipaddress_excluded:
            owner = owners.setdefault((address.address, address.dev or interface), instance)
            if owner is not instance:
                warn(
                    address.position or node.position(),
                    text=f"{instance.name}: {address.address} is an address of {owner.name}, too",
                    hint="an address belongs to one virtual router",
                )
    for address in static:
        holder = owners.get((address.address, address.dev))
        if holder is not None and holder.priority != OWNER and address.position is not None:
            warn(
                address.position,
                text=f"{address.address} is a virtual address of {holder.name}, and would be "
                "there while it is backup",
                hint="remove one of the two; only the owner of the address has priority 255",
            )
