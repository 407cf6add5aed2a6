"""What trackers look like from outside: states for status, and changes for the event stream."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from fastvrrp.config import model
from fastvrrp.track.weights import (
    Binding,
    Kind,
    bindings_of,
    contribution,
    effect,
    file_effect,
)
from fastvrrp.vrrp.compile import interface_weights


class Seen(NamedTuple):
    """One tracker: `value` is what its effect is computed from (up/down or a file's number)."""

    kind: str
    name: str
    up: bool | None
    value: bool | int | None
    detail: str


def seen(status: Mapping[str, Any]) -> Seen:
    """One entry of Trackers.status()."""
    kind, name = str(status["kind"]), str(status["name"])
    if kind == Kind.FILE.value:
        value = int(status["value"])
        faulty = file_effect(value, int(status["weight"]), bool(status["reverse"])).fault
        missing = "" if status["exists"] else ", does not exist"
        return Seen(kind, name, not faulty, value, f"value {value}{missing}")
    up = {"up": True, "down": False}.get(str(status["state"]))
    if kind == Kind.PROCESS.value:
        detail = f"{status['matches']} found, {_wanted(status)} needed"
    else:
        detail = str(status["last_result"] or "")
    return Seen(kind, name, up, up, detail)


def _wanted(status: Mapping[str, Any]) -> str:
    """How many processes there must be: `2`, `2 to 4`, `at most 4`."""
    least, most = int(status["quorum"]), status.get("quorum_max")
    if most is None or most == least:
        return str(least)
    return f"{least} to {most}" if least else f"at most {most}"


class TrackersView:
    """Remembers since when each tracker is as it is."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, str], tuple[Seen, int]] = {}
        self.statuses: Sequence[Mapping[str, Any]] = ()
        """What `Trackers.status` said the last time."""

    def update(self, statuses: Iterable[Mapping[str, Any]]) -> list[Seen]:
        """Take note; returns the trackers that went up or down since the last time."""
        now_ns = time.monotonic_ns()
        self.statuses = tuple(statuses)
        fresh: dict[tuple[str, str], tuple[Seen, int]] = {}
        changed = []
        for status in self.statuses:
            one = seen(status)
            key = (one.kind, one.name)
            old = self._seen.get(key)
            if old is not None and old[0].up == one.up:
                fresh[key] = (one, old[1])
            else:
                fresh[key] = (one, now_ns)
                if one.up is not None:
                    changed.append(one)
        self._seen = fresh
        return changed

    def get(self, kind: Kind, name: str) -> Seen | None:
        entry = self._seen.get((kind.value, name))
        return None if entry is None else entry[0]

    def entries(self) -> list[tuple[Seen, int]]:
        """Every tracker with the monotonic time of its last change."""
        return list(self._seen.values())


def instance_trackers(
    instance: model.VrrpInstance,
    group: model.SyncGroup | None,
    view: TrackersView,
    interfaces: Mapping[str, bool],
) -> list[dict[str, Any]]:
    """The `trackers` of an INSTANCE in docs/control-socket.md."""
    found = []
    for name, (weight, reverse) in interface_weights(instance, group).items():
        up = interfaces.get(name)
        found.append(
            {
                "kind": "interface",
                "name": name,
                "weight": weight,
                "up": bool(up),
                "effect": contribution(bool(up), weight, reverse) if weight else 0,
                "detail": "" if up is not None else "does not exist",
            }
        )
    for binding in bindings_of(instance, group):
        found.append(_bound(binding, view.get(binding.kind, binding.name)))
    return found


def _bound(binding: Binding, state: Seen | None) -> dict[str, Any]:
    value = None if state is None else state.value
    return {
        "kind": binding.kind.value,
        "name": binding.name,
        "weight": binding.weight,
        "up": None if state is None else state.up,
        "effect": effect(binding, value).adjust,
        "detail": "" if state is None else state.detail,
    }


def users(configuration: model.Configuration) -> dict[tuple[str, str], list[str]]:
    """Instances by (kind, name) of the trackers that act on them."""
    groups = {group.name: group for group in configuration.sync_groups}
    found: dict[tuple[str, str], list[str]] = {}
    for instance in configuration.vrrp_instances:
        group = groups.get(instance.sync_group or "")
        for binding in bindings_of(instance, group):
            found.setdefault((binding.kind.value, binding.name), []).append(instance.name)
        for name in interface_weights(instance, group):
            found.setdefault(("interface", name), []).append(instance.name)
    return found
