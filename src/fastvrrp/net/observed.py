"""The observed state of the kernel, kept from dumps and notifications. Pure: no socket here."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable

from fastvrrp._core import AddressTable
from fastvrrp.net.objects import (
    IFA_F_DEPRECATED,
    IFA_F_SECONDARY,
    Address,
    AddressKey,
    Hop,
    Link,
    Route,
    RouteKey,
    RuleKey,
)
from fastvrrp.net.wire import PROTOCOL

# fe80::/10 as the byte prefixes that begin it
_LINK_LOCAL_PREFIXES = tuple(bytes((0xFE, second)) for second in range(0x80, 0xC0))


def kernel_marks_addresses(release: str | None = None) -> bool:
    """Whether this kernel keeps IFA_PROTO (since 5.18). `release` as in uname -r."""
    numbers = (os.uname().release if release is None else release).split("-", 1)[0].split(".")
    try:
        version = (int(numbers[0]), int(numbers[1]))
    except (IndexError, ValueError):
        return False
    return version >= (5, 18)


class Observed:
    """Links, addresses, our routes and all rules of one network namespace."""

    def __init__(self, *, marks_addresses: bool | None = None) -> None:
        self.links: dict[int, Link] = {}
        self.interfaces: dict[str, int] = {}  # name or alternative name to ifindex
        self.vrf_tables: dict[str, int] = {}  # name of a VRF device to its routing table
        self.addresses: dict[int, AddressTable] = {}  # by ifindex; none of them is empty
        self.routes: dict[tuple[object, ...], list[Route]] = {}  # by RouteKey.slot
        self.rules: set[RuleKey] = set()
        self.marks_addresses = (
            kernel_marks_addresses() if marks_addresses is None else marks_addresses
        )

    def link_by_name(self, name: str) -> Link | None:
        index = self.interfaces.get(name)
        return None if index is None else self.links.get(index)

    def put_link(self, link: Link) -> Link | None:
        """Store a link; returns what was known of it before."""
        old = self.links.get(link.ifindex)
        self.links[link.ifindex] = link
        if old is None or old.name != link.name or old.altnames != link.altnames:
            self._forget_names(old)
            # A name belongs to its newest holder: a rename may be told before the old one's.
            for name in (link.name, *link.altnames):
                self.interfaces[name] = link.ifindex
        if link.vrf_table:
            for name in (link.name, *link.altnames):
                self.vrf_tables[name] = link.vrf_table
        return old

    def drop_link(self, ifindex: int) -> Link | None:
        old = self.links.pop(ifindex, None)
        self._forget_names(old)
        return old

    def _forget_names(self, link: Link | None) -> None:
        if link is not None:
            for name in (link.name, *link.altnames):
                if self.interfaces.get(name) == link.ifindex:
                    del self.interfaces[name]
                    self.vrf_tables.pop(name, None)

    def address(self, key: AddressKey) -> Address | None:
        known = self.addresses.get(key.ifindex)
        return None if known is None else known.get(key)

    def addresses_of(self, ifindex: int) -> Iterable[Address]:
        """In the kernel's order."""
        known = self.addresses.get(ifindex)
        return () if known is None else known.values()

    def put_address(self, address: Address) -> Address | None:
        ifindex = address.key.ifindex
        known = self.addresses.get(ifindex)
        if known is None:
            known = self.addresses[ifindex] = AddressTable(ifindex)
        return known.put(address)

    def drop_address(self, key: AddressKey) -> Address | None:
        known = self.addresses.get(key.ifindex)
        if known is None:
            return None
        old = known.drop(key)
        if not known:
            del self.addresses[key.ifindex]
        return old

    def address_is_ours(self, address: Address) -> bool:
        """Carries our mark. Where the kernel keeps no mark, every match of a configured
        address counts as ours."""
        return address.protocol == PROTOCOL or not self.marks_addresses

    def find_route(self, key: RouteKey, hops: tuple[Hop, ...]) -> Route | None:
        """The route a wish asks for, if it is there."""
        for route in self.routes.get(key.slot, ()):
            if route.key == key and hops_match(hops, route.hops):
                return route
        return None

    def put_route(self, route: Route) -> bool:
        """True when it is new."""
        known = self.routes.setdefault(route.key.slot, [])
        if route in known:
            return False
        if route.key.family == 6 and any(hop.gateway for hop in route.hops):
            # One IPv6 route grows and shrinks hop by hop; the kernel always tells the whole.
            known[:] = [
                other
                for other in known
                if other.key != route.key or not any(hop.gateway for hop in other.hops)
            ]
        known.append(route)
        return True

    def drop_route(self, route: Route) -> list[Route]:
        """Forget what a deletion removed. Returns the routes that are no longer as they were."""
        known = self.routes.get(route.key.slot)
        if not known:
            return []
        removed = []
        if route in known:
            known.remove(route)
            removed.append(route)
        elif route.key.family == 6:
            # A single hop of a multipath route.
            for index, other in enumerate(known):
                if other.key == route.key and set(route.hops) <= set(other.hops):
                    rest = tuple(hop for hop in other.hops if hop not in route.hops)
                    known[index] = other._replace(hops=rest)
                    removed.append(other)
                    break
        if not known:
            del self.routes[route.key.slot]
        return removed

    def drop_slot(self, slot: tuple[object, ...]) -> list[Route]:
        """Forget every route that a replacement may have replaced."""
        return self.routes.pop(slot, [])

    def all_addresses(self) -> Iterable[Address]:
        for known in self.addresses.values():
            yield from known.values()

    def all_routes(self) -> Iterable[Route]:
        for known in self.routes.values():
            yield from known


def hops_match(wanted: tuple[Hop, ...], found: tuple[Hop, ...]) -> bool:
    """Whether each wanted hop is there; what a wish leaves open matches anything."""
    if not wanted:
        return True
    if len(wanted) != len(found):
        return False
    left = list(found)
    for hop in wanted:
        for candidate in left:
            if hop.ifindex in (0, candidate.ifindex) and hop.gateway in (b"", candidate.gateway):
                left.remove(candidate)
                break
        else:
            return False
    return True


def primary_source(
    observed: Observed, ifindex: int, family: int, exclude: Collection[bytes] = frozenset()
) -> bytes:
    """The address adverts of an interface come from; b"" when there is none.

    IPv4: the first primary address that is not a virtual one (RFC 9568 5.1.1.1), a secondary
    only when no primary is left (a virtual address may have taken that place). IPv6: the first
    usable link-local address (RFC 9568 5.1.2.1), a deprecated one last. `exclude` holds the
    packed virtual addresses of all instances, except those of an address owner (priority 255):
    these are real addresses of the router.
    """
    second_choice = b""
    for address in observed.addresses_of(ifindex):
        key = address.key
        if key.family != family or key.address in exclude:
            continue
        if family == 6:
            if not address.usable or not key.address.startswith(_LINK_LOCAL_PREFIXES):
                continue
            inferior = bool(address.flags & IFA_F_DEPRECATED)
        else:
            inferior = bool(address.flags & IFA_F_SECONDARY)
        if not inferior:
            return key.address
        second_choice = second_choice or key.address
    return second_choice
