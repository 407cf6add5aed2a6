"""No two instances may be the same virtual router on the same link, nor should they share an
address."""

from __future__ import annotations

from collections.abc import Sequence

from fastvrrp.config.context import Context
from fastvrrp.config.model import Severity, VrrpInstance
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


def check_addresses(context: Context, instances: Sequence[tuple[VrrpInstance, Node]]) -> None:
    """An address of two instances goes when one of them stops being master, and comes back."""
    owners: dict[tuple[str, str | None], VrrpInstance] = {}
    for instance, node in instances:
        for address in (*instance.virtual_ipaddress, *instance.virtual_ipaddress_excluded):
            owner = owners.setdefault(
                (address.address, address.dev or instance.interface), instance
            )
            if owner is not instance:
                context.diagnostics.add(
                    address.position or node.position(),
                    Severity.WARNING,
                    f"{instance.name}: {address.address} is an address of {owner.name}, too",
                    "an address belongs to one virtual router",
                )
