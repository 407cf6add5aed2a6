"""From one instance of the model to the record the core takes. Pure, given a `Context`.

A `Record` holds everything that makes a difference to the core and nothing else: no position in
a file, no name, no tracker state. Two equal records therefore mean that there is nothing to
commit.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from fastvrrp import _core
from fastvrrp.config import model
from fastvrrp.net import wire
from fastvrrp.net.addresses import packed
from fastvrrp.net.objects import AddressKey, Hop, Link, RouteKey, RuleKey
from fastvrrp.net.observed import Observed, primary_source
from fastvrrp.net.programs import Item, Kind, Objects, instance_objects
from fastvrrp.net.wire import OK_EXIST, OK_GONE
from fastvrrp.vrrp.links import (
    is_unicast,
    link_key,
    multicast_group,
    object_interfaces,
    own_link,
)

OWNER = 255  # priority of the address owner, RFC 9568 5.2.4
MULTICAST_TTL = 255  # RFC 9568 5.1.1.3, 5.1.2.3
NS = model.NS_PER_S

_IFF_LOOPBACK = 0x8  # net/if.h
_IFF_NOARP = 0x80
_ETHERNET_ADDRESS = 6


class Announcement(NamedTuple):
    """One gratuitous ARP or unsolicited NA; see _core.build_announcement."""

    family: int
    address: bytes
    ifindex: int
    mac: bytes
    request: int  # index in the up program
    router: bool
    extra: bool  # what garp_extra_if repeats on this interface


class Piece(NamedTuple):
    """One kernel object of a record: an Item without owner and text."""

    kind: Kind
    key: AddressKey | RouteKey | RuleKey
    hops: tuple[Hop, ...]
    add: bytes
    delete: bytes
    native: bool

    @classmethod
    def of(cls, item: Item) -> Piece:
        return cls(item.kind, item.key, item.hops, item.add, item.delete, item.native)


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """Arguments of _core.Instance but for slot, tracker state and the change program."""

    vrid: int
    family: int
    version: int
    priority: int
    advert_int_ns: int
    link: int
    flags: int
    group: int
    down_timer_adverts: int
    preempt_delay_ns: int
    hold_until_ns: int
    source: bytes
    destination: bytes
    peers: tuple[tuple[bytes, int, int], ...]
    ttl: int
    addresses: tuple[bytes, ...]
    auth_type: int
    auth_data: bytes
    garp: model.Garp
    timer_expired_backup: int
    tracks: tuple[tuple[int, int, bool], ...]
    fault: int
    announcements: tuple[Announcement, ...]
    pieces: tuple[Piece, ...]

    def removed_pieces(self, previous: Record) -> list[Piece]:
        """What `previous` installed and this one does not, or installs in another form; never
        what is the host's own."""
        kept = set(self.pieces)
        native = {piece.key for piece in (*self.pieces, *previous.pieces) if piece.native}
        return [p for p in previous.pieces if p not in kept and p.key not in native]

    def instance(
        self,
        slot: int,
        *,
        previous: Record | None = None,
        adjust: int = 0,
        fault: int = 0,
        wanted: Callable[[Piece], bool] = lambda piece: False,
    ) -> _core.Instance:
        """The core's form, to be committed over `previous` if that runs in the slot.

        `adjust` and `fault` are what the trackers say now. `wanted` tells whether somebody else
        needs an object this one gives up, so that the change must not delete it. Raises
        ValueError when a value is out of range.
        """
        change: list[tuple[bytes, int]] = []
        known: set[bytes] = set()
        if previous is not None:
            own = {piece.key for piece in self.pieces}
            change = [
                (piece.delete, OK_GONE)
                for piece in reversed(self.removed_pieces(previous))
                if piece.key in own or not wanted(piece)
            ]
            known = {a.address for a in previous.announcements}
        announce = b"".join(
            _core.build_announcement(
                family=a.family,
                address=a.address,
                ifindex=a.ifindex,
                mac=a.mac,
                request=a.request,
                router=a.router,
                extra=a.extra,
                new=previous is not None and a.address not in known,
            )
            for a in self.announcements
        )
        return _core.Instance(
            slot=slot,
            vrid=self.vrid,
            family=self.family,
            version=self.version,
            priority=self.priority,
            advert_int_ns=self.advert_int_ns,
            link=self.link,
            flags=self.flags,
            group=self.group,
            down_timer_adverts=self.down_timer_adverts,
            preempt_delay_ns=self.preempt_delay_ns,
            hold_until_ns=self.hold_until_ns,
            source=self.source,
            destination=self.destination,
            peers=list(self.peers),
            ttl=self.ttl,
            addresses=list(self.addresses),
            auth_type=self.auth_type,
            auth_data=self.auth_data,
            garp_master_repeat=self.garp.master_repeat,
            garp_master_delay_ns=self.garp.master_delay_s * NS,
            garp_master_refresh_ns=self.garp.master_refresh_s * NS,
            garp_master_refresh_repeat=self.garp.master_refresh_repeat,
            garp_lower_prio_repeat=self.garp.lower_prio_repeat,
            garp_lower_prio_delay_ns=self.garp.lower_prio_delay_s * NS,
            garp_extra_if_ns=self.garp.extra_if_s * NS if self.garp.extra_if_all else 0,
            timer_expired_backup=self.timer_expired_backup,
            tracks=list(self.tracks),
            fault=self.fault | fault,
            adjust=adjust,
            announce=announce,
            up=_core.pack_program([(piece.add, OK_EXIST) for piece in self.pieces]),
            down=_core.pack_program(
                [(piece.delete, OK_GONE) for piece in reversed(self.pieces) if not piece.native]
            ),
            change=_core.pack_program(change),
        )


class Compiled(NamedTuple):
    """An instance as the core and as the reconciliation see it."""

    record: Record
    objects: Objects


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What an instance is compiled against."""

    observed: Observed
    links: Mapping[str, int]  # link slots by key
    group_slots: Mapping[str, int]
    groups: Mapping[str, model.SyncGroup]
    virtual: Collection[bytes]  # packed addresses that are never a source
    hold_until_ns: int = 0
    forwarding: Callable[[str], bool] = lambda interface: False
    is_native: Callable[[AddressKey], bool] = lambda key: False

    def link_slot(self, name: str) -> int:
        return self.links[link_key(name, self.observed)]


def virtual_addresses(configuration: model.Configuration) -> frozenset[bytes]:
    """Packed virtual addresses that are not the router's own: those of an owner are."""
    return frozenset(
        packed(address.address, address.family)
        for instance in configuration.vrrp_instances
        if instance.priority != OWNER
        for address in (*instance.virtual_ipaddress, *instance.virtual_ipaddress_excluded)
    )


def compile_instance(instance: model.VrrpInstance, context: Context) -> Compiled:
    """Raises ValueError or OSError when the model holds what cannot be run."""
    group = None if instance.sync_group is None else context.groups.get(instance.sync_group)
    objects = _objects(instance, context)
    unicast = is_unicast(instance)
    record = Record(
        vrid=instance.virtual_router_id,
        family=instance.family,
        version=instance.version,
        priority=instance.priority,
        advert_int_ns=instance.advert_int_ns,
        link=context.links[own_link(instance, context.observed)],
        flags=_flags(instance, unicast),
        group=-1 if group is None else context.group_slots[group.name],
        down_timer_adverts=instance.down_timer_adverts,
        preempt_delay_ns=instance.preempt_delay_ns,
        hold_until_ns=context.hold_until_ns,
        source=_source(instance, context),
        destination=b"" if unicast else multicast_group(instance),
        peers=tuple(
            (packed(peer.address, instance.family), peer.min_ttl, peer.max_ttl)
            for peer in instance.unicast_peers
        ),
        ttl=instance.unicast_ttl if unicast else MULTICAST_TTL,
        addresses=_advertised(instance),
        auth_type=instance.auth_type,
        auth_data=instance.auth_pass,
        garp=instance.garp,
        timer_expired_backup=instance.timer_expired_backup,
        tracks=_tracks(instance, group, context),
        fault=0 if not unicast or instance.unicast_peers else _core.FAULT_CONFIG,
        announcements=tuple(_announcements(instance, objects, context)),
        pieces=tuple(Piece.of(item) for item in objects.items),
    )
    return Compiled(record, objects)


def _objects(instance: model.VrrpInstance, context: Context) -> Objects:
    objects = instance_objects(instance, context.observed.interfaces)
    if instance.priority != OWNER:
        return objects
    # Created if it is gone by then, but never replaced: mark, flags and lifetimes are the host's.
    how = wire.NLM_F_REQUEST | wire.NLM_F_ACK | wire.NLM_F_CREATE | wire.NLM_F_EXCL
    marked = (
        item._replace(native=True, add=wire.retyped(item.add, wire.RTM_NEWADDR, how))
        if isinstance(item.key, AddressKey) and context.is_native(item.key)
        else item
        for item in objects.items
    )
    return objects._replace(items=tuple(marked))


def _flags(instance: model.VrrpInstance, unicast: bool) -> int:
    chosen = (
        (instance.nopreempt, _core.F_NOPREEMPT),
        (instance.state == "MASTER", _core.F_WANT_MASTER),
        (instance.lower_prio_no_advert, _core.F_LOWER_PRIO_NO_ADVERT),
        (instance.higher_prio_send_advert, _core.F_HIGHER_PRIO_SEND_ADVERT),
        (instance.owner_ignore_adverts, _core.F_OWNER_IGNORE_ADVERTS),
        (instance.skip_check_adv_addr, _core.F_SKIP_CHECK_ADV_ADDR),
        (instance.v3_checksum_as_v2, _core.F_CHECKSUM_AS_V2),
        (instance.dont_track_primary, _core.F_DONT_TRACK_PRIMARY),
        (unicast, _core.F_UNICAST),
    )
    return sum(flag for is_set, flag in chosen if is_set)


def _source(instance: model.VrrpInstance, context: Context) -> bytes:
    """Our address in adverts; b"" (a fault) while there is none."""
    observed = context.observed
    ifindex = None
    if instance.interface is not None:
        ifindex = observed.interfaces.get(instance.interface)
    if instance.source is not None:
        source = packed(instance.source, instance.family)
        if instance.track_src_ip and not _held(source, ifindex, observed):
            return b""
        return source
    if ifindex is None:
        return b""
    return primary_source(observed, ifindex, instance.family, context.virtual)


def _held(address: bytes, ifindex: int | None, observed: Observed) -> bool:
    """Whether the host has the address, on that interface if one is named."""
    tables = (
        observed.addresses.values() if ifindex is None else (observed.addresses.get(ifindex, {}),)
    )
    return any(
        found.key.address == address and found.usable
        for table in tables
        for found in table.values()
    )


def _advertised(instance: model.VrrpInstance) -> tuple[bytes, ...]:
    """Addresses of the packet, in configured order, each once (receivers compare the lists)."""
    listed = (
        packed(address.address, address.family)
        for address in instance.virtual_ipaddress
        if address.family == instance.family
    )
    return tuple(dict.fromkeys(listed))


def interface_weights(
    instance: model.VrrpInstance, group: model.SyncGroup | None
) -> dict[str, tuple[int, bool]]:
    """Tracked interfaces of an instance, its sync group's included: name to (weight, reverse).

    A member of a group without `sync_group_tracking_weight` must not leave the common priority
    by itself, so the weights of its own interfaces count as 0. What both name has the group's
    weight, unless the instance says weight 0. An owner's priority never changes: only weight 0
    stays. Interfaces of addresses, routes and rules are tracked with weight 0.
    """
    common = group is not None and not group.sync_group_tracking_weight
    own = {
        tracked.name: (0 if common else tracked.weight, tracked.reverse)
        for tracked in instance.track_interface
    }
    insisted = {tracked.name for tracked in instance.track_interface if tracked.weight == 0}
    for tracked in group.track_interface if group is not None else ():
        if tracked.name not in insisted:
            own[tracked.name] = (tracked.weight, tracked.reverse)
    if instance.priority == OWNER:
        own = {name: track for name, track in own.items() if track[0] == 0}
    for name in sorted(object_interfaces(instance, tracked_only=True)):
        if name != instance.interface:
            own.setdefault(name, (0, False))
    return own


def _tracks(
    instance: model.VrrpInstance, group: model.SyncGroup | None, context: Context
) -> tuple[tuple[int, int, bool], ...]:
    return tuple(
        (context.link_slot(name), weight, reverse)
        for name, (weight, reverse) in interface_weights(instance, group).items()
    )


def _announcements(
    instance: model.VrrpInstance, objects: Objects, context: Context
) -> Iterable[Announcement]:
    """What makes the LAN learn the new place of each address, on interfaces where that works.

    The first address of each other interface, per family, is the one that garp_extra_if repeats.
    """
    own = context.observed.interfaces.get(instance.interface or "")
    repeated: set[tuple[int, int]] = set()
    for request, key in objects.addresses():
        link = context.observed.links.get(key.ifindex)
        if link is None or not _announces(link):
            continue
        router = key.family == 6 and context.forwarding(link.name)
        place = (key.ifindex, key.family)
        extra = key.ifindex != own and place not in repeated
        repeated.add(place)
        yield Announcement(key.family, key.address, key.ifindex, link.mac, request, router, extra)


def _announces(link: Link) -> bool:
    silent = link.flags & (_IFF_LOOPBACK | _IFF_NOARP)
    return not silent and len(link.mac) == _ETHERNET_ADDRESS
