"""vrrp_sync_group: members, and who belongs where."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from fastvrrp.config.blocks import (
    GROUP,
    STRAY,
    Entries,
    get,
    listed_blocks,
    listed_words,
    unknown_keyword,
)
from fastvrrp.config.context import Context
from fastvrrp.config.defaults import Defaults
from fastvrrp.config.diagnostics import shown, suggestion
from fastvrrp.config.keywords import table
from fastvrrp.config.model import SyncGroup
from fastvrrp.config.node import Node
from fastvrrp.config.notifying import build_notify
from fastvrrp.config.scripts import Scripts
from fastvrrp.config.trackers import Trackers
from fastvrrp.config.tracking import group_tracking


class RawGroup(msgspec.Struct, eq=False, gc=False):
    """A vrrp_sync_group block as read."""

    name: str
    node: Node
    entries: Entries
    defaults: Defaults
    order: int
    members: list[str] = []

    @property
    def weights_allowed(self) -> bool:
        return "sync_group_tracking_weight" in self.entries


def assign_members(
    context: Context, groups: Mapping[str, RawGroup], instances: Mapping[str, object]
) -> dict[str, RawGroup]:
    """Fill in `members` of every group; returns the group of each instance that has one."""
    owner: dict[str, RawGroup] = {}
    for group in groups.values():
        for stray in listed_blocks(group.entries, STRAY):
            _outside(context, group, stray, instances)
        for name, node, word in listed_words(group.entries, "group"):
            if name not in instances:
                context.error(
                    node,
                    f"{group.name}: there is no vrrp_instance {shown(name)}",
                    suggestion(name, instances) or "name existing instances",
                    word=word,
                )
            elif name in owner:
                where = "this group" if owner[name] is group else owner[name].name
                context.error(
                    node,
                    f"{group.name}: {shown(name)} belongs to {where} already",
                    "an instance is in one group only",
                    word=word,
                )
            else:
                owner[name] = group
                group.members.append(name)
    return owner


def _outside(
    context: Context, group: RawGroup, stray: Node, instances: Mapping[str, object]
) -> None:
    """A word alone in the block: a member that lacks `group { }` has no effect, as in keepalived;
    anything else is a keyword that nobody knows."""
    if stray.words[0] in instances:
        context.warning(
            stray,
            f"{group.name}: {shown(stray.words[0])} is not a member here, ignored",
            "members stand in group { INSTANCE ... }",
        )
    else:
        unknown_keyword(context, stray, table()[GROUP], GROUP)


def build_group(
    context: Context, group: RawGroup, trackers: Trackers, scripts: Scripts
) -> SyncGroup | None:
    """The group, or None without members."""
    if not group.members:
        if not get(group.entries, "group"):
            context.warning(
                group.node,
                f"sync group {group.name} has no members, ignored",
                "add group { INSTANCE ... }",
                word=1,
            )
        return None
    if len(group.members) == 1:
        context.warning(
            group.node,
            f"sync group {group.name} has only one member",
            "name the instances that belong together",
            word=1,
        )
    return SyncGroup(
        name=group.name,
        members=tuple(group.members),
        sync_group_tracking_weight=group.weights_allowed,
        notify=build_notify(group.entries, group.defaults, scripts),
        position=group.node.position(1),
        **group_tracking(trackers, group.entries, group.name, group.order),
    )
