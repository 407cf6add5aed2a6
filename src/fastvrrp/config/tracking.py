"""The trackers of instances and groups after keepalived's rules about weights.

An address owner keeps priority 255 whatever happens, and the members of a sync group must not
drift apart, so weights mean nothing there: interfaces and files then lead to FAULT (weight 0)
where that is certainly meant, and weighted scripts are left out.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from fastvrrp.config.blocks import Entries, get
from fastvrrp.config.model import OWNER, Tracked
from fastvrrp.config.node import Node
from fastvrrp.config.trackers import KINDS, Trackers

if TYPE_CHECKING:
    from fastvrrp.config.instance import InstanceBuilder


def group_tracking(trackers: Trackers, entries: Entries, owner: str, order: int) -> dict[str, Any]:
    """Trackers of a sync group may have weights."""
    return {
        kind: tuple(tracked for tracked, _ in trackers.resolve(kind, entries, owner, order))
        for kind in KINDS
        if kind in entries
    }


def instance_tracking(
    builder: InstanceBuilder, trackers: Trackers, weights_allowed: bool
) -> dict[str, Any]:
    """Trackers of an instance; `weights_allowed` is false in a sync group without
    sync_group_tracking_weight."""
    fields: dict[str, Any] = {}
    entries = builder.entries
    for kind in KINDS:
        if kind not in entries:
            continue
        found = trackers.resolve(kind, entries, builder.name, builder.order)
        if kind == "track_interface":
            found = _without_own(builder, found)
        reason = ""
        if builder.priority == OWNER:
            reason = "priority 255 never changes"
        elif not weights_allowed:
            reason = "members of a sync group must keep equal steps"
        if reason and kind != "track_process":
            found = list(_unweighted(builder, kind, found, reason))
        fields[kind] = tuple(tracked for tracked, _ in found)
    return fields


def _without_own(
    builder: InstanceBuilder, found: list[tuple[Tracked, Node]]
) -> list[tuple[Tracked, Node]]:
    own = get(builder.entries, "interface")
    kept = []
    for tracked, node in found:
        if tracked.name == own:
            builder.context.warning(
                node,
                f"{builder.name}: the instance's own interface is tracked anyway, ignored",
                "remove the line",
            )
        else:
            kept.append((tracked, node))
    return kept


def _unweighted(
    builder: InstanceBuilder, kind: str, found: Iterable[tuple[Tracked, Node]], reason: str
) -> Iterable[tuple[Tracked, Node]]:
    is_owner = builder.priority == OWNER
    for tracked, node in found:
        if not tracked.weight:
            yield tracked, node
            continue
        keep = (kind == "track_interface" and not is_owner) or (
            kind == "track_file" and tracked.weight == 1
        )
        what = "its weight is taken as 0" if keep else "it is not tracked"
        builder.context.warning(
            node,
            f"{builder.name}: {tracked.name} has weight {tracked.weight}, {what}: {reason}",
            "write weight 0" + ("" if is_owner else ", or track it in the sync group"),
        )
        if keep:
            yield (
                Tracked(
                    name=tracked.name,
                    weight=0,
                    reverse=tracked.reverse,
                    position=tracked.position,
                ),
                node,
            )
