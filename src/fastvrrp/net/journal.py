"""A file that lists what this daemon may have in the kernel (see janitor.py, which reads it).

Written before anything is installed, so that after a crash at any instant the next start, the
supervisor or `fastvrrp clean` can take away exactly our own leftovers: an object is removed only
if the journal names it *and* it carries our mark (IFA_PROTO, route or rule protocol 18, name
and kind of a device). Where the kernel keeps no mark for addresses (before 5.18), address,
prefix length and interface name together must match.

Synchronous and quick to import: the supervisor uses it between a crash and a restart.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeVar

import msgspec

from fastvrrp.config.model import Configuration, VirtualAddress
from fastvrrp.net import sysctl
from fastvrrp.net.addresses import address_key
from fastvrrp.net.objects import AddressKey, RouteKey, RuleKey
from fastvrrp.net.routes import in_vrf, route_key
from fastvrrp.net.rules import rule_key
from fastvrrp.net.statefile import StateFile, StateFileError

if TYPE_CHECKING:
    from fastvrrp.net.rtnl import RtnlSocket

_OWNER_PRIORITY = 255  # RFC 9568 5.2.4
_VERSION = 1


class JournalError(Exception):
    """The journal cannot be trusted or read; nothing was removed because of it."""


class Entry(msgspec.Struct, frozen=True, array_like=True):
    """An address that may be ours. ifindex 0: the interface did not exist when it was written."""

    interface: str
    ifindex: int
    family: int
    address: bytes
    prefixlen: int


class VirtualDevice(msgspec.Struct, frozen=True, array_like=True):
    """A virtual device that may be ours."""

    name: str
    mac: bytes  # b"": that of its parent
    kind: str = "macvlan"


class Contents(msgspec.Struct, frozen=True, kw_only=True):
    """Everything this daemon may put into the kernel."""

    version: int = _VERSION
    addresses: tuple[Entry, ...] = ()
    routes: tuple[RouteKey, ...] = ()
    rules: tuple[RuleKey, ...] = ()
    devices: tuple[VirtualDevice, ...] = ()
    settings: tuple[sysctl.Setting, ...] = ()
    nft_tables: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        """Whether it lists anything."""
        return self != Contents()

    def __or__(self, other: Contents) -> Contents:
        """Both together: what may be there while a reload replaces one by the other."""
        return Contents(
            addresses=_union(self.addresses, other.addresses),
            routes=_union(self.routes, other.routes),
            rules=_union(self.rules, other.rules),
            devices=_union(self.devices, other.devices),
            settings=_union(self.settings, other.settings),
            nft_tables=_union(self.nft_tables, other.nft_tables),
        )


_T = TypeVar("_T")


def _union(first: tuple[_T, ...], second: tuple[_T, ...]) -> tuple[_T, ...]:
    return tuple(dict.fromkeys(first + second))


def contents_of(
    configuration: Configuration,
    interfaces: Mapping[str, int],
    *,
    vrf_tables: Mapping[str, int] = MappingProxyType({}),
    foreign: Collection[str] = (),
    settings: Iterable[sysctl.Setting] = (),
    nft_tables: Iterable[str] = (),
    is_native: Callable[[AddressKey], bool] = lambda key: False,
) -> Contents:
    """The journal of a configuration, whether its interfaces exist already or not.

    Left out are addresses of an owner (priority 255) that are `is_native`, devices called as one
    of `foreign`, which are not ours, and routes of a VRF device that is not among `vrf_tables`,
    which cannot be there. Raises ValueError for a rule without preference (see
    programs.assign_preferences).
    """
    entries: dict[Entry, None] = {}

    def add(address: VirtualAddress, default: str | None, priority: int = 0) -> None:
        device = address.dev or default or ""
        key = address_key(address, interfaces.get(device, 0))
        if priority == _OWNER_PRIORITY and is_native(key):
            return
        entry = Entry(device, key.ifindex, key.family, key.address, key.prefixlen)
        entries[entry] = None

    routes = list(configuration.static_routes)
    rules = list(configuration.static_rules)
    for address in configuration.static_addresses:
        add(address, configuration.global_defs.default_interface)
    for instance in configuration.vrrp_instances:
        for address in (*instance.virtual_ipaddress, *instance.virtual_ipaddress_excluded):
            add(address, instance.interface, instance.priority)
        routes += instance.virtual_routes
        rules += instance.virtual_rules
    return Contents(
        addresses=tuple(entries),
        routes=tuple(
            dict.fromkeys(
                route_key(in_vrf(route, vrf_tables))
                for route in routes
                if route.vrf is None or route.vrf in vrf_tables
            )
        ),
        rules=tuple(dict.fromkeys(rule_key(rule) for rule in rules)),
        devices=tuple(
            VirtualDevice(device.name, device.mac, device.kind)
            for device in configuration.devices
            if device.name not in foreign
        ),
        settings=tuple(settings),
        nft_tables=tuple(nft_tables),
    )


def _brief(data: bytes) -> tuple[int, int]:
    return len(data), hash(data)  # 64 bits, keyed anew by every process


class Journal:
    """The journal file at a path; its directory must exist."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._file = StateFile(path)
        self.path = self._file.path
        self._written: tuple[int, int] | None = None

    def write(self, contents: Contents) -> None:
        """Replace the file in one step, unless it would say what was written last: that is known by
        its hash, thousands of addresses need not be kept. Raises OSError."""
        data = msgspec.json.encode(contents)
        if _brief(data) != self._written:
            self._file.write(data)
            self._written = _brief(data)

    def read(self) -> Contents | None:
        """The contents, None when there is no journal. Raises JournalError when it is not a
        plain file of ours that nobody else can write, or does not hold a journal."""
        try:
            data = self._file.read()
        except StateFileError as error:
            raise JournalError(str(error)) from error
        if data is None:
            return None
        try:
            contents = msgspec.json.decode(data, type=Contents)
        except msgspec.DecodeError as error:
            raise JournalError(f"{self.path}: not a journal: {error}") from error
        if contents.version != _VERSION:
            raise JournalError(f"{self.path}: version {contents.version} is not known")
        return contents

    def remove(self) -> None:
        """Delete the file, once nothing of ours is left. A missing one is fine. Raises OSError."""
        self._file.remove()
        self._written = None


def clean(path: str | os.PathLike[str], netlink: RtnlSocket | None = None) -> list[str]:
    """Remove what the journal lists and our mark shows; one line for each thing removed.

    Problems are lines that begin with "problem: "; `janitor.clean_up` returns them apart.
    """
    # Here, because the daemon itself writes journals and never needs the rest.
    from fastvrrp.net.janitor import clean_up

    result = clean_up(path, netlink)
    return [*result.removed, *(f"problem: {problem}" for problem in result.problems)]
