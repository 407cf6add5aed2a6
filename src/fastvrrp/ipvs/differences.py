"""What a reload changes of virtual servers, for a person."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from fastvrrp.config.base import Struct
from fastvrrp.config.servers import Check, RealServer, VirtualServer
from fastvrrp.ipvs.identity import identity, key_of
from fastvrrp.ipvs.lines import server_name
from fastvrrp.words import counted

# What changes with nobody noticing (`position`), or is told on its own.
_APART = frozenset(("position", "real_servers", "checks", "name"))


def differences(old: Mapping[str, VirtualServer], new: Mapping[str, VirtualServer]) -> list[str]:
    """One line for each virtual server that came, went, or is another one; by `Running.key`."""
    lines = []
    for key, virtual_server in new.items():
        before = old.get(key)
        if before is None:
            count = counted(len(virtual_server.real_servers), "real server")
            lines.append(f"virtual server {virtual_server.name} added, {count}")
        elif before is not virtual_server and before != virtual_server:
            changes = [*_fields(before, virtual_server), *_servers(before, virtual_server)]
            if changes:
                lines.append(f"virtual server {virtual_server.name}: {', '.join(changes)}")
    lines += [f"virtual server {one.name} removed" for key, one in old.items() if key not in new]
    return lines


def _fields(old: Struct, new: Struct) -> Iterator[str]:
    """Names of what differs, with both values where these are short."""
    for name in new.__struct_fields__:
        before, after = getattr(old, name), getattr(new, name)
        if name not in _APART and before != after:
            shown = _is_short(before) and _is_short(after)
            yield f"{name} {before} -> {after}" if shown else name


def _is_short(value: Any) -> bool:
    return isinstance(value, bool | int | str)


def _servers(old: VirtualServer, new: VirtualServer) -> Iterator[str]:
    before = {key_of(server): server for server in old.real_servers}
    after = {key_of(server): server for server in new.real_servers}
    for key, server in after.items():
        name = f"real server {server_name(new, server)}"
        was = before.get(key)
        if was is None:
            yield f"{name} added"
        elif was != server:
            changes = [*_fields(was, server), *_checks(was, server)]
            if changes:
                yield f"{name} {', '.join(changes)}"
    for key, server in before.items():
        if key not in after:
            yield f"real server {server_name(old, server)} removed"


def _checks(old: RealServer, new: RealServer) -> Iterator[str]:
    if _plain(old.checks) != _plain(new.checks):
        yield "checks changed"


def _plain(checks: tuple[Check, ...]) -> list[tuple[Check, bool, bool]]:
    return [(identity(c), c.schedule.alpha, c.schedule.log_all_failures) for c in checks]
