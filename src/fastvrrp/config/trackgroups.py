"""track_group: instances that are at fault while they lack a static address, route or rule."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from fastvrrp.config.blocks import Entries, Entry, listed_words
from fastvrrp.config.context import Context
from fastvrrp.config.diagnostics import shown, suggestion
from fastvrrp.config.node import Node


class TrackGroups:
    """The groups of a configuration: who belongs to them, and what they are about."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._nodes: dict[str, Node] = {}
        self._written: dict[str, Entries] = {}
        self._used: set[str] = set()

    def add(self, name: str, node: Node, entries: Entries) -> None:
        """One block."""
        if name in self._nodes:
            text = f"track_group {shown(name)} is defined already, ignored"
            self._context.warning(node, text, "give it another name", word=1)
            return
        self._nodes[name] = node
        self._written[name] = entries

    def resolve(self, entries: Iterable[Entry]) -> list[Entry]:
        """Entries of a static block; one that follows an unknown group follows none."""
        return [self._resolved(entry) for entry in entries]

    def _resolved(self, entry: Entry) -> Entry:
        name = entry.value.track_group
        if name is None:
            return entry
        if name in self._nodes:
            self._used.add(name)
            return entry
        self._context.warning(
            entry.node,
            f"there is no track_group {shown(name)}, ignored",
            suggestion(name, self._nodes) or "add track_group NAME { group { INSTANCE } }",
        )
        value: Any = msgspec.structs.replace(entry.value, track_group=None)
        return Entry(value, entry.node)

    def members(self, instances: Mapping[str, object]) -> dict[str, tuple[str, ...]]:
        """The groups of each instance that has any, once all static entries are resolved."""
        found: dict[str, list[str]] = {}
        for group, node in self._nodes.items():
            names = []
            for name, where, word in listed_words(self._written[group], "group"):
                if name not in instances:
                    self._context.warning(
                        where,
                        f"there is no vrrp_instance {shown(name)}, ignored",
                        suggestion(name, instances) or "name existing instances",
                        word=word,
                    )
                else:
                    names.append(name)
            if not names:
                self._context.warning(
                    node, f"track_group {group} has no instances", "add group { INSTANCE }", word=1
                )
            elif group not in self._used:
                self._context.warning(
                    node,
                    f"track_group {group} is not used",
                    f"add track_group {group} to a static address, route or rule",
                    word=1,
                )
            for name in dict.fromkeys(names):
                found.setdefault(name, []).append(group)
        return {
            name: tuple(group for group in groups if group in self._used)
            for name, groups in found.items()
        }
