"""Virtual servers as they travel between our processes: what real servers have in common once.

A large configuration has tens of thousands of real servers, of which a virtual server's mostly
differ in their addresses alone. Written out they are megabytes, which every process that passes
them on has to copy. Places in files are left out, as in `compact`.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from operator import attrgetter
from typing import Any, get_args

import msgspec
from msgspec.structs import replace

from fastvrrp.config.base import Command
from fastvrrp.config.compact import without_places
from fastvrrp.config.servers import (
    Check,
    Connection,
    Lot,
    MiscCheck,
    RealServer,
    Servers,
    VirtualServer,
)

_APART = frozenset(("address", "position", "notify_up", "notify_down", "checks"))
_CHECK_APART = frozenset(("position", "connection", "command"))
_FIELDS = VirtualServer.__struct_fields__


def _values(kind: Any, apart: frozenset[str] = frozenset()) -> attrgetter[Any]:
    """Reads all fields but these."""
    return attrgetter(*[name for name in kind.__struct_fields__ if name not in apart])


_SERVER = _values(RealServer, _APART)
_CONNECTION = _values(Connection, _APART)
_CHECKS = {kind: _values(kind, _CHECK_APART) for kind in get_args(Check)}
_CONNECTED = frozenset(kind for kind in _CHECKS if "connection" in kind.__struct_fields__)
_WHOLE = _values(VirtualServer)


class PackedServer(VirtualServer):
    """A virtual server without `real_servers`: numbers of patterns, each with the addresses of
    those that follow it one after the other.

    In a pattern addresses are empty: the real server's own, and those of checks that connect to it.
    """

    patterns: tuple[RealServer, ...] = ()
    members: tuple[tuple[int, tuple[str, ...]], ...] = ()


class Packer:
    """For the virtual servers of one configuration, which often have the same patterns."""

    def __init__(self) -> None:
        self._patterns: dict[Any, RealServer] = {}
        self._of_lots: dict[Hashable, RealServer] = {}

    def pack(self, virtual_server: VirtualServer) -> PackedServer:
        """The same without places."""
        numbers: dict[int, int] = {}  # of patterns
        patterns: list[RealServer] = []
        members: list[tuple[int, list[str]]] = []
        real_servers: Sequence[RealServer] = virtual_server.real_servers
        for part in real_servers.parts if isinstance(real_servers, Servers) else real_servers:
            if isinstance(part, Lot):
                pattern, addresses = self._of_lot(part), part.addresses
            else:
                pattern, addresses = self._pattern(part), (part.address,)
            number = numbers.setdefault(id(pattern), len(patterns))
            if number == len(patterns):
                patterns.append(pattern)
            if not members or members[-1][0] != number:
                members.append((number, []))
            members[-1][1].extend(addresses)
        fields = dict(zip(_FIELDS, _WHOLE(virtual_server), strict=True)) | {
            "real_servers": (),
            "position": None,
            "quorum_up": _placeless(virtual_server.quorum_up),
            "quorum_down": _placeless(virtual_server.quorum_down),
        }
        grouped = tuple([(number, tuple(addresses)) for number, addresses in members])
        return PackedServer(**fields, patterns=tuple(patterns), members=grouped)

    def _of_lot(self, lot: Lot) -> RealServer:
        pattern = self._of_lots.get(lot.kind)
        if pattern is None:
            pattern = self._of_lots[lot.kind] = self._pattern(lot.one(0))
        return pattern

    def _pattern(self, server: RealServer) -> RealServer:
        key = _key(server)
        pattern = self._patterns.get(key)
        if pattern is None:
            checks = tuple([_blank(check, server.address) for check in server.checks])
            pattern = without_places(replace(server, address="", checks=checks))
            self._patterns[key] = pattern
        return pattern


def _placeless(command: Command | None) -> Command | None:
    return None if command is None else replace(command, position=None)


def _key(server: RealServer) -> tuple[Any, ...]:
    """Equal for servers of one pattern; places do not count. It is made tens of thousands of times,
    hence all in one."""
    address, up, down = server.address, server.notify_up, server.notify_down
    parts: list[Any] = []
    for check in server.checks:
        kind: Any = type(check)
        if kind in _CONNECTED:
            to = check.connection  # type: ignore[union-attr]  # each of _CONNECTED has it
            elsewhere = None if to.address == address else to.address
            parts.append((kind, _CHECKS[kind](check), _CONNECTION(to), elsewhere))
        else:
            command = check.command if isinstance(check, MiscCheck) else None
            parts.append((kind, _CHECKS[kind](check), _words(command)))
    if up is not None or down is not None:
        parts.append((_words(up), _words(down)))
    return _SERVER(server), *parts


def _words(command: Command | None) -> Any:
    return None if command is None else (command.argv, command.account)


def _blank(check: Any, address: str) -> Any:
    if type(check) not in _CONNECTED or check.connection.address != address:
        return check
    return replace(check, connection=replace(check.connection, address=""))


class Unpacker:
    """For the virtual servers of one configuration: what they have in common is one object."""

    def __init__(self) -> None:
        self._moulds: dict[RealServer, _Mould] = {}

    def unpack(self, packed: PackedServer) -> VirtualServer:
        """What was packed. Raises msgspec.DecodeError when a pattern is missing."""
        moulds = [self._mould(pattern) for pattern in packed.patterns]
        try:
            parts = [moulds[number].part(addresses) for number, addresses in packed.members]
        except IndexError as exc:
            raise msgspec.DecodeError("a real server's pattern is missing") from exc
        fields = dict(zip(_FIELDS, _WHOLE(packed), strict=True))
        return VirtualServer(
            **fields | {"real_servers": Servers(parts) if parts else packed.real_servers}
        )

    def _mould(self, pattern: RealServer) -> _Mould:
        mould = self._moulds.get(pattern)
        if mould is None:
            mould = self._moulds[pattern] = _Mould(pattern)
        return mould


class _Mould:
    """A pattern whose servers are made."""

    __slots__ = ("_checks", "_pattern")

    def __init__(self, pattern: RealServer) -> None:
        self._pattern = pattern
        # Each with the connection that gets the server's address, None where there is none.
        self._checks: list[tuple[Any, Connection | None]] = []
        for check in pattern.checks:
            to: Connection | None = getattr(check, "connection", None)
            self._checks.append((check, None if to is None or to.address else to))

    def part(self, addresses: tuple[str, ...]) -> RealServer | Lot:
        if len(addresses) == 1:
            return self.cast(addresses[0])
        return Lot(self, lambda number: self.cast(addresses[number]), addresses)

    def cast(self, address: str) -> RealServer:
        checks = [
            check if to is None else replace(check, connection=replace(to, address=address))
            for check, to in self._checks
        ]
        return replace(self._pattern, address=address, checks=tuple(checks))
