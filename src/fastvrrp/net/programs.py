"""What an instance puts into the kernel, and the netlink programs that do it.

A program is a list of complete requests, each with the errors that count as success; the applier
plays it without any Python. Order matters: addresses first (routes may name them as source),
routes, rules; on the way down the other way round, so that secondary addresses go before the
primary that would take them along.
"""

from __future__ import annotations

import enum
import socket
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import msgspec

from fastvrrp._core import AddressItem
from fastvrrp.config.model import (
    Configuration,
    VirtualAddress,
    VirtualRoute,
    VirtualRule,
    VrrpInstance,
)
from fastvrrp.net.addresses import address_item
from fastvrrp.net.objects import AddressKey, Hop, RouteKey, RuleKey
from fastvrrp.net.routes import (
    MissingInterface,
    add_route,
    delete_route,
    ifindex_of,
    in_vrf,
    route_hops,
    route_key,
)
from fastvrrp.net.rules import add_rule, delete_rule, rule_key
from fastvrrp.net.wire import OK_EXIST, OK_GONE, Request

__all__ = [
    "NOTHING_MISSING",
    "OK_EXIST",
    "OK_GONE",
    "STATIC",
    "Item",
    "Kind",
    "Objects",
    "Request",
    "assign_preferences",
    "down_program",
    "instance_objects",
    "static_objects",
    "up_program",
]

STATIC = ""  # owner of static_ipaddress, static_routes and static_rules; no instance has this name
_FIRST_AUTOMATIC_PREFERENCE = 16384
NOTHING_MISSING: frozenset[str] = frozenset()  # one for all: each empty set would have 216 bytes


class Kind(enum.StrEnum):
    ADDRESS = "address"
    ROUTE = "route"
    RULE = "rule"


class PathItem(NamedTuple):
    """One route or rule, ready to be added, deleted and recognised."""

    kind: Kind
    owner: str  # instance name, or STATIC
    key: RouteKey | RuleKey
    add: bytes
    delete: bytes
    text: str  # for messages
    restore: bool  # put back when somebody deletes it (not `no_track`)
    hops: tuple[Hop, ...] = ()
    native: bool = False  # of addresses only


Item = AddressItem | PathItem


class Tracked(NamedTuple):
    """An object that instances of a track_group cannot do without."""

    group: str
    key: AddressKey | RouteKey | RuleKey | None  # None: its interface does not exist
    hops: tuple[Hop, ...] = ()
    interfaces: tuple[int, ...] = ()  # indices of those that it names, which have to work


class Objects(msgspec.Struct, frozen=True, gc=False):
    """Everything one owner may have in the kernel, in the order of the up program.

    The index of an item is the index of its request in `up_program`. `missing` names interfaces
    that do not exist: their objects are left out, and the owner must be built anew when they do.
    """

    owner: str
    items: tuple[Item, ...]
    missing: frozenset[str]
    tracked: tuple[Tracked, ...] = ()  # static objects that a track_group follows

    def addresses(self) -> Iterator[tuple[int, AddressItem]]:
        """Each address with the index of its request, for announcements."""
        for index, item in enumerate(self.items):
            if isinstance(item, AddressItem):
                yield index, item


def up_program(objects: Objects) -> list[tuple[bytes, int]]:
    """Requests that install everything; playing it again changes nothing."""
    return [Request(item.add, OK_EXIST) for item in objects.items]


def down_program(objects: Objects) -> list[tuple[bytes, int]]:
    """Requests that remove everything; what is gone already is fine."""
    return [Request(i.delete, OK_GONE) for i in reversed(objects.items) if not i.native]


def instance_objects(
    instance: VrrpInstance,
    interfaces: Mapping[str, int],
    *,
    vrf_tables: Mapping[str, int] = MappingProxyType({}),
) -> Objects:
    """Compile an instance against the interfaces that exist now (name to ifindex, and of VRF
    devices to their table).

    Raises ValueError or OSError when the model holds no valid address.
    """
    builder = _Builder(instance.name, interfaces, vrf_tables)
    device = instance.interface
    for address in instance.virtual_ipaddress:
        builder.address(address, device, advertised=True)
    for address in instance.virtual_ipaddress_excluded:
        builder.address(address, device, advertised=False)
    builder.routes(instance.virtual_routes)
    builder.rules(instance.virtual_rules)
    return builder.objects()


def static_objects(
    configuration: Configuration,
    interfaces: Mapping[str, int],
    vrf_tables: Mapping[str, int] = MappingProxyType({}),
) -> Objects:
    """Compile the static_* blocks; their default device is `default_interface`."""
    builder = _Builder(STATIC, interfaces, vrf_tables)
    for address in configuration.static_addresses:
        builder.address(address, configuration.global_defs.default_interface, advertised=False)
    builder.routes(configuration.static_routes)
    builder.rules(configuration.static_rules)
    return builder.objects()


class _Builder:
    """Collects items, each kernel identity once."""

    def __init__(
        self, owner: str, interfaces: Mapping[str, int], vrf_tables: Mapping[str, int]
    ) -> None:
        self.owner = owner
        self.interfaces = interfaces
        self.vrf_tables = vrf_tables
        self.items: dict[object, Item] = {}
        self.missing: set[str] = set()
        self.tracked: list[Tracked] = []

    def objects(self) -> Objects:
        missing = frozenset(self.missing) if self.missing else NOTHING_MISSING
        return Objects(self.owner, tuple(self.items.values()), missing, tuple(self.tracked))

    def misses(self, name: str, group: str | None) -> None:
        """An object is left out because of an interface."""
        self.missing.add(name)
        if group is not None:
            self.tracked.append(Tracked(group, None))

    def address(
        self, address: VirtualAddress, default_dev: str | None, *, advertised: bool
    ) -> None:
        device = address.dev or default_dev or ""
        try:
            ifindex = ifindex_of(device, self.interfaces)
        except MissingInterface as missing:
            self.misses(missing.name, address.track_group)
            return
        item = address_item(address, ifindex, self.owner, device, advertised=advertised)
        self.items.setdefault(item.key, item)
        if address.track_group is not None:
            self.tracked.append(Tracked(address.track_group, item.key, (), (ifindex,)))

    def routes(self, routes: Iterable[VirtualRoute]) -> None:
        for route in routes:
            try:
                route = in_vrf(route, self.vrf_tables)
                key = route_key(route)
                hops = route_hops(route, self.interfaces)
                item = PathItem(
                    kind=Kind.ROUTE,
                    owner=self.owner,
                    key=key,
                    add=add_route(route, self.interfaces),
                    delete=delete_route(route, self.interfaces),
                    text=route_text(route),
                    restore=not route.no_track,
                    hops=hops,
                )
            except MissingInterface as missing:
                self.misses(missing.name, route.track_group)
                continue
            self.items.setdefault((key, hops), item)
            if route.track_group is not None:
                indices = tuple(hop.ifindex for hop in hops if hop.ifindex)
                self.tracked.append(Tracked(route.track_group, key, hops, indices))

    def rules(self, rules: Iterable[VirtualRule]) -> None:
        for rule in rules:
            key = rule_key(rule)
            item = PathItem(
                kind=Kind.RULE,
                owner=self.owner,
                key=key,
                add=add_rule(key),
                delete=delete_rule(key),
                text=rule_text(key),
                restore=not rule.no_track,
            )
            self.items.setdefault(key, item)
            if rule.track_group is not None:
                self.rule_tracked(rule, rule.track_group, key)

    def rule_tracked(self, rule: VirtualRule, group: str, key: RuleKey) -> None:
        """A rule may name interfaces that do not exist, and is then of no use."""
        names = [name for name in (rule.iif, rule.oif) if name is not None]
        indices = [self.interfaces.get(name, 0) for name in names]
        self.tracked.append(Tracked(group, key if all(indices) else None, (), tuple(indices)))


def route_text(route: VirtualRoute) -> str:
    """Short form for messages."""
    words = ["route"]
    if route.type != "unicast":
        words.append(route.type)
    words.append(route.destination)
    for name, value in (("via", route.via), ("dev", route.dev), ("table", route.table)):
        if value is not None:
            words += [name, str(value)]
    for hop in route.nexthops:
        words += ["nexthop", hop.via or "", hop.dev or ""]
    return " ".join(word for word in words if word)


def prefix_text(address: bytes, length: int) -> str:
    family = socket.AF_INET if len(address) == 4 else socket.AF_INET6
    return f"{socket.inet_ntop(family, address)}/{length}"


def rule_text(key: RuleKey) -> str:
    """Short form for messages."""
    words = [f"rule preference {key.preference}"]
    if key.source_len:
        words.append(f"from {prefix_text(key.source, key.source_len)}")
    if key.destination_len:
        words.append(f"to {prefix_text(key.destination, key.destination_len)}")
    if key.table:
        words.append(f"table {key.table}")
    return " ".join(words)


def assign_preferences(configuration: Configuration) -> Configuration:
    """Give every rule without a preference its own, counting down from 16384 per family.

    Static rules come first, then the instances in their order: the same file gives the same
    numbers on every start. Numbers that are written in the file are not given again.
    """
    every = list(configuration.static_rules)
    for instance in configuration.vrrp_instances:
        every += instance.virtual_rules
    if all(rule.preference is not None for rule in every):
        return configuration
    taken = {(rule.family, rule.preference) for rule in every}
    following = {4: _FIRST_AUTOMATIC_PREFERENCE, 6: _FIRST_AUTOMATIC_PREFERENCE}

    def complete(rules: Sequence[VirtualRule]) -> tuple[VirtualRule, ...]:
        done = []
        for rule in rules:
            if rule.preference is None:
                while (rule.family, following[rule.family]) in taken:
                    following[rule.family] -= 1
                rule = msgspec.structs.replace(rule, preference=following[rule.family])
                following[rule.family] -= 1
            done.append(rule)
        return tuple(done)

    static = complete(configuration.static_rules)
    instances = tuple(
        msgspec.structs.replace(instance, virtual_rules=complete(instance.virtual_rules))
        for instance in configuration.vrrp_instances
    )
    return msgspec.structs.replace(configuration, static_rules=static, vrrp_instances=instances)
