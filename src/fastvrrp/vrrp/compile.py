"""From one instance of the model to what the core takes. Pure, given a `Context`.

A `Compiled` holds everything that makes a difference to the core, and no position in a file, no
tracker state; names only for people. Thousands are made at a start, before the first advert, and
kept: what many instances share is worked out once and is one object.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from fastvrrp import _core
from fastvrrp._core import AddressItem, AddressSet
from fastvrrp.config import model
from fastvrrp.net.addresses import packed
from fastvrrp.net.objects import AddressKey, Link
from fastvrrp.net.observed import Observed, primary_source
from fastvrrp.net.programs import NOTHING_MISSING, Item, Objects, instance_objects
from fastvrrp.net.wire import OK_EXIST, OK_GONE
from fastvrrp.vrrp.links import (
    ETHERNET_ADDRESS,
    IFF_LOOPBACK,
    PSEUDO,
    carrier,
    common_part,
    is_unicast,
    lacks_multicast,
    link_key,
    multicast_group,
    object_interfaces,
    sends_frames,
)

OWNER = 255  # priority of the address owner, RFC 9568 5.2.4
MULTICAST_TTL = 255  # RFC 9568 5.1.1.3, 5.1.2.3
NS = model.NS_PER_S

_IFF_NOARP = 0x80  # net/if.h


class Announcement(NamedTuple):
    """One gratuitous ARP or unsolicited NA; see _core.build_announcement."""

    family: int
    address: bytes
    ifindex: int
    mac: bytes
    request: int  # index in the up program
    router: bool
    extra: bool  # what garp_extra_if repeats on this interface


class Record(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Arguments of _core.Instance that instances usually have in common: all but slot, virtual
    router id, tracker state, addresses and what is made of them."""

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
    auth_type: int
    auth_data: bytes
    garp: model.Garp
    timer_expired_backup: int
    tracks: tuple[tuple[int, int, bool], ...]
    fault: int
    mac: bytes  # source of adverts as frames, RFC 9568 7.3; b"": the kernel makes the frames


def piece(item: Item) -> tuple[object, ...]:
    """A kernel object as the core sees it: an item without owner and text."""
    return (item.key, item.hops, item.add, item.delete, item.native)


class Compiled(msgspec.Struct, frozen=True, gc=False):
    """An instance as the core and as the reconciliation see it."""

    record: Record
    vrid: int
    objects: Objects
    listed: tuple[bytes, ...] | None  # in adverts; None: the addresses among the objects

    @property
    def addresses(self) -> tuple[bytes, ...]:
        """Addresses of the packet, in configured order, each once (receivers compare the lists)."""
        if self.listed is not None:
            return self.listed
        return advertised(self.objects, self.record.family)

    @property
    def announcements(self) -> list[Announcement]:
        """What makes the LAN learn the new places, on interfaces where that works."""
        return [
            Announcement(
                item.key.family,
                item.key.address,
                item.key.ifindex,
                item.mac,
                request,
                item.router,
                item.extra,
            )
            for request, item in enumerate(self.objects.items)
            if isinstance(item, AddressItem) and item.mac
        ]

    @property
    def repeats(self) -> bool:
        """Whether garp_extra_if has anything to repeat."""
        garp = self.record.garp
        return garp.extra_if_s > 0 and (
            garp.extra_if_all or any(item.extra for _, item in self.objects.addresses())
        )

    def same(self, other: Compiled) -> bool:
        """Whether there is nothing to tell the core of when this follows `other`."""
        if self.vrid != other.vrid or self.record != other.record:
            return False
        ours, theirs = self.objects.items, other.objects.items
        if ours != theirs and (
            [piece(i) for i in ours] != [piece(i) for i in theirs]
            or self.announcements != other.announcements
        ):
            return False
        return self.addresses == other.addresses

    def removed(self, previous: Compiled) -> list[Item]:
        """What `previous` installed and this one does not, or installs in another form; never
        what is the host's own."""
        ours, theirs = self.objects.items, previous.objects.items
        kept = {piece(item) for item in ours}
        native = {item.key for item in (*ours, *theirs) if item.native}
        return [i for i in theirs if piece(i) not in kept and i.key not in native]

    def instance(
        self,
        slot: int,
        *,
        previous: Compiled | None = None,
        adjust: int = 0,
        fault: int = 0,
        wanted: Callable[[Item], bool] = lambda item: False,
    ) -> _core.Instance:
        """The core's form, to be committed over `previous` if that runs in the slot.

        `adjust` and `fault` are what the trackers say now. `wanted` tells whether somebody else
        needs an object this one gives up, so that the change must not delete it. Raises
        ValueError when a value is out of range.
        """
        r, items = self.record, self.objects.items
        repeats_ns = r.garp.extra_if_s * NS if self.repeats else 0
        if previous is None and self.listed is None:
            block = _core.instance_alike(
                _pattern(r),
                slot=slot,
                vrid=self.vrid,
                items=items,
                garp_extra_if_ns=repeats_ns,
                fault=r.fault | fault,
                adjust=adjust,
            )
            if block is not None:
                return block
        change = b""
        known: set[tuple[bytes, int, bytes]] | None = None
        if previous is not None:
            own = {item.key for item in items}
            gone = reversed(self.removed(previous))
            change = _core.pack_program(
                [(i.delete, OK_GONE) for i in gone if i.key in own or not wanted(i)]
            )
            known = {(a.address, a.ifindex, a.mac) for a in previous.announcements}
        announce = [
            _core.build_announcement(
                family=a.family,
                address=a.address,
                ifindex=a.ifindex,
                mac=a.mac,
                request=a.request,
                router=a.router,
                extra=a.extra,
                new=known is not None and (a.address, a.ifindex, a.mac) not in known,
            )
            for a in self.announcements
        ]
        return _core.Instance(
            slot=slot,
            vrid=self.vrid,
            addresses=list(self.addresses),
            garp_extra_if_ns=repeats_ns,
            fault=r.fault | fault,
            adjust=adjust,
            announce=announce[0] if len(announce) == 1 else b"".join(announce),
            up=_core.pack_program([(item.add, OK_EXIST) for item in items]),
            down=_core.pack_program(
                [(item.delete, OK_GONE) for item in reversed(items) if not item.native]
            ),
            change=change,
            **_arguments(r),
        )


@functools.lru_cache(maxsize=64)
def _pattern(record: Record) -> _core.Instance:
    """What instances of a record are made of that have nothing but addresses of their own. Raises
    ValueError."""
    return _core.Instance(slot=0, vrid=1, **_arguments(record))


def forget_patterns() -> None:
    """Thousands of instances have been made of them; what comes now is single ones."""
    _pattern.cache_clear()
    _arguments.cache_clear()


@functools.lru_cache(maxsize=64)
def _arguments(record: Record) -> Mapping[str, Any]:
    """Those of _core.Instance that follow from a record alone."""
    garp = record.garp
    return {
        "family": record.family,
        "version": record.version,
        "priority": record.priority,
        "advert_int_ns": record.advert_int_ns,
        "link": record.link,
        "flags": record.flags,
        "group": record.group,
        "down_timer_adverts": record.down_timer_adverts,
        "preempt_delay_ns": record.preempt_delay_ns,
        "hold_until_ns": record.hold_until_ns,
        "source": record.source,
        "destination": record.destination,
        "peers": list(record.peers),
        "ttl": record.ttl,
        "auth_type": record.auth_type,
        "auth_data": record.auth_data,
        "garp_master_repeat": garp.master_repeat,
        "garp_master_delay_ns": garp.master_delay_s * NS,
        "garp_master_refresh_ns": garp.master_refresh_s * NS,
        "garp_master_refresh_repeat": garp.master_refresh_repeat,
        "garp_lower_prio_repeat": garp.lower_prio_repeat,
        "garp_lower_prio_delay_ns": garp.lower_prio_delay_s * NS,
        "timer_expired_backup": record.timer_expired_backup,
        "tracks": list(record.tracks),
        "mac": record.mac,
    }


class Place(NamedTuple):
    """What is known of an interface by one of its names."""

    slot: int  # of its link
    ifindex: int | None  # None: it does not exist


class Context:
    """What instances are compiled against, at one moment: `observed` must not change while it is
    used. Answers that many instances share are remembered."""

    def __init__(
        self,
        *,
        observed: Observed,
        links: Mapping[str, int],
        group_slots: Mapping[str, int],
        groups: Mapping[str, model.SyncGroup],
        virtual: Collection[bytes],
        defs: model.GlobalDefs,
        hold_until_ns: int = 0,
        forwarding: Callable[[str], bool] = lambda interface: False,
        is_native: Callable[[AddressKey], bool] = lambda key: False,
        records: Mapping[Record, Record] | None = None,
        virtual_macs: Collection[str] = (),
    ) -> None:
        """`links` are link slots by key, `virtual` the packed addresses that are never a source,
        `records` those that are in use already, `virtual_macs` names of devices."""
        self.virtual_macs = virtual_macs
        self.observed = observed
        self.groups = groups
        self.group_slots = group_slots
        self.defs = defs
        self.hold_until_ns = hold_until_ns
        self.is_native = is_native
        self._links = links
        self._virtual = virtual
        self._forwarding = forwarding
        self._places: dict[str, Place] = {}
        self.sources: dict[tuple[int, int], bytes] = {}  # that were asked for, by their place
        self._records = dict(records or {})
        self.made: dict[model.VrrpInstance, Record] = {}  # by what instances have in common
        self.made_of: dict[int, Record] = {}  # the same by the kinds of a Kin
        self._multicast: dict[tuple[str, int], bytes] = {}
        self._learning: dict[tuple[int, int], tuple[Link, bool] | None] = {}

    def place(self, name: str) -> Place:
        found = self._places.get(name)
        if found is None:
            slot = self._links[link_key(name, self.observed)]
            found = self._places[name] = Place(slot, self.observed.interfaces.get(name))
        return found

    def own_link(self, instance: model.VrrpInstance) -> int:
        """Slot of the link that carries the adverts."""
        name = carrier(instance)
        if name is None:
            return self._links[PSEUDO + (instance.vrf or "")]
        return self.place(name).slot

    def primary_source(self, ifindex: int, family: int) -> bytes:
        found = self.sources.get((ifindex, family))
        if found is None:
            found = primary_source(self.observed, ifindex, family, self._virtual)
            self.sources[ifindex, family] = found
        return found

    def shared(self, record: Record) -> Record:
        """One object for all that are alike."""
        return self._records.setdefault(record, record)

    def multicast(self, instance: model.VrrpInstance) -> bytes:
        key = (instance.mcast_dst_ip, instance.family)
        found = self._multicast.get(key)
        if found is None:
            found = self._multicast[key] = multicast_group(instance)
        return found

    def frame_source(self, instance: model.VrrpInstance) -> bytes:
        """MAC address that adverts leave with as frames; b"" for the raw socket."""
        if not sends_frames(instance, self.defs, self.observed):
            return b""
        link = self.observed.link_by_name(carrier(instance) or "")
        return b"" if link is None else link.mac

    def learning(self, ifindex: int, family: int) -> tuple[Link, bool] | None:
        """The link, and whether we are a router on it, where hosts learn from announcements."""
        key = (ifindex, family)
        if key not in self._learning:
            link = self.observed.links.get(ifindex)
            self._learning[key] = (
                None
                if link is None or not _announces(link)
                else (link, family == 6 and self._forwarding(link.name))
            )
        return self._learning[key]


def virtual_addresses(configuration: model.Configuration) -> AddressSet:
    """Packed virtual addresses that are not the router's own: those of an owner are."""
    return AddressSet(
        packed(address.address, address.family)
        for instance in configuration.vrrp_instances
        if instance.priority != OWNER
        for address in (*instance.virtual_ipaddress, *instance.virtual_ipaddress_excluded)
    )


def compile_instance(
    instance: model.VrrpInstance, context: Context, kind: int | None = None
) -> Compiled:
    """`kind` is the instance's number in the Kin of a configuration: those of one kind have the
    same record. Raises ValueError or OSError when the model holds what cannot be run."""
    record = None if kind is None else context.made_of.get(kind)
    if record is None:
        common = common_part(instance)
        record = context.made.get(common)
        if record is None:
            record = context.made[common] = context.shared(_record(instance, context))
        if kind is not None:
            context.made_of[kind] = record
    plain = _plain_objects(instance, context)
    if plain is not None:
        return Compiled(record, instance.virtual_router_id, plain, None)
    objects = _objects(instance, context)
    family = instance.family
    listed = _distinct(
        [packed(a.address, family) for a in instance.virtual_ipaddress if a.family == family]
    )
    return Compiled(
        record,
        instance.virtual_router_id,
        objects,
        None if listed == advertised(objects, family) else listed,
    )


def _record(instance: model.VrrpInstance, context: Context) -> Record:
    """Must not depend on what `common_part` leaves out."""
    group = None if instance.sync_group is None else context.groups.get(instance.sync_group)
    unicast = is_unicast(instance)
    mac = context.frame_source(instance)
    return Record(
        family=instance.family,
        version=instance.version,
        priority=instance.priority,
        advert_int_ns=instance.advert_int_ns,
        link=context.own_link(instance),
        flags=_flags(instance, unicast) | (_core.F_PACKET if mac else 0),
        group=-1 if group is None else context.group_slots[group.name],
        down_timer_adverts=instance.down_timer_adverts,
        preempt_delay_ns=instance.preempt_delay_ns,
        hold_until_ns=context.hold_until_ns,
        source=_source(instance, context),
        destination=b"" if unicast else context.multicast(instance),
        peers=tuple(
            [
                (packed(peer.address, instance.family), peer.min_ttl, peer.max_ttl)
                for peer in instance.unicast_peers
            ]
        ),
        ttl=instance.unicast_ttl if unicast else MULTICAST_TTL,
        auth_type=instance.auth_type,
        auth_data=instance.auth_pass,
        garp=instance.garp,
        timer_expired_backup=instance.timer_expired_backup,
        tracks=_tracks(instance, group, context),
        fault=_fault(instance, context, unicast),
        mac=mac,
    )


def _fault(instance: model.VrrpInstance, context: Context, unicast: bool) -> int:
    """Reasons for FAULT that come of the configuration and of the interface's kind."""
    fault = _core.FAULT_CONFIG if _cannot_run(instance, unicast) else 0
    if lacks_multicast(instance, context.observed):
        fault |= _core.FAULT_MULTICAST
    return fault


def _cannot_run(instance: model.VrrpInstance, unicast: bool) -> bool:
    """Whether it is in FAULT until it is configured otherwise: unicast to nobody, IPv4 adverts
    from an ipvlan without an address."""
    on_ipvlan = instance.ipvlan is not None and instance.vmac is None
    return (unicast and not instance.unicast_peers) or (
        on_ipvlan and instance.family == 4 and instance.source is None
    )


def advertised(objects: Objects, family: int) -> tuple[bytes, ...]:
    """Those of an instance's addresses that its adverts list."""
    return _distinct(
        [
            item.key.address
            for item in objects.items
            if isinstance(item, AddressItem) and item.advertised and item.key.family == family
        ]
    )


def _distinct(addresses: Sequence[bytes]) -> tuple[bytes, ...]:
    """Each once, in their order."""
    return tuple(addresses) if len(addresses) < 2 else tuple(dict.fromkeys(addresses))


def _plain_objects(instance: model.VrrpInstance, context: Context) -> Objects | None:
    """The same as `_objects` of an instance that has only addresses without options, on its own
    interface: nearly all have. None for any other."""
    device = instance.interface
    if device is None or instance.device is not None:
        return None
    if instance.virtual_routes or instance.virtual_rules:
        return None
    ifindex = context.observed.interfaces.get(device)
    if ifindex is None:
        return None
    found = context.learning(ifindex, instance.family)
    items = _core.plain_items(
        instance.virtual_ipaddress,
        instance.virtual_ipaddress_excluded,
        owner=instance.name,
        family=instance.family,
        ifindex=ifindex,
        device=device,
        mac=b"" if found is None else found[0].mac,
        router=found is not None and found[1],
    )
    if items is None:
        return None
    if instance.priority == OWNER:
        native = [item.key for item in items if context.is_native(item.key)]
        if native:
            items = tuple([item._replace(native=item.key in native) for item in items])
    return Objects(instance.name, items, NOTHING_MISSING)


def _objects(instance: model.VrrpInstance, context: Context) -> Objects:
    """What it puts into the kernel, with what is to be announced of it.

    The first address of each other interface, per family, is the one that garp_extra_if repeats.
    """
    observed = context.observed
    objects = instance_objects(instance, observed.interfaces, vrf_tables=observed.vrf_tables)
    own = observed.interfaces.get(carrier(instance) or "")
    repeated: set[tuple[int, int]] = set()
    items = list(objects.items)
    for request, item in objects.addresses():
        key = item.key
        native = instance.priority == OWNER and context.is_native(key)
        place = (key.ifindex, key.family)
        found = context.learning(*place)
        if found is None:
            items[request] = item._replace(native=native)
            continue
        link, router = found
        extra = (
            key.ifindex != own
            and place not in repeated
            and (instance.garp.extra_if_all or link.name in context.virtual_macs)
        )
        repeated.add(place)
        items[request] = item._replace(native=native, mac=link.mac, router=router, extra=extra)
    return msgspec.structs.replace(objects, items=tuple(items))


def _flags(instance: model.VrrpInstance, unicast: bool) -> int:
    flags = _core.F_UNICAST if unicast else 0
    if instance.nopreempt:
        flags |= _core.F_NOPREEMPT
    if instance.state == "MASTER":
        flags |= _core.F_WANT_MASTER
    if instance.lower_prio_no_advert:
        flags |= _core.F_LOWER_PRIO_NO_ADVERT
    if instance.higher_prio_send_advert:
        flags |= _core.F_HIGHER_PRIO_SEND_ADVERT
    if instance.owner_ignore_adverts:
        flags |= _core.F_OWNER_IGNORE_ADVERTS
    if instance.skip_check_adv_addr:
        flags |= _core.F_SKIP_CHECK_ADV_ADDR
    if instance.v3_checksum_as_v2:
        flags |= _core.F_CHECKSUM_AS_V2
    if instance.old_unicast_checksum == "always":
        flags |= _core.F_OLD_CHECKSUM
    elif instance.old_unicast_checksum == "never":
        flags |= _core.F_NO_OLD_CHECKSUM
    if instance.dont_track_primary:
        flags |= _core.F_DONT_TRACK_PRIMARY
    return flags


def _source(instance: model.VrrpInstance, context: Context) -> bytes:
    """Our address in adverts; b"" (a fault) while there is none."""
    ifindex = None
    interface = source_interface(instance)
    if interface is not None:
        ifindex = context.place(interface).ifindex
    if instance.source is not None:
        source = packed(instance.source, instance.family)
        if instance.track_src_ip and not _held(source, ifindex, context.observed):
            return b""
        return source
    if ifindex is None:
        return b""
    return context.primary_source(ifindex, instance.family)


def source_interface(instance: model.VrrpInstance) -> str | None:
    """Whose address adverts come from. A virtual MAC device has none of its own: its parent's."""
    if instance.ipvlan is not None and instance.vmac is None:
        return instance.device or instance.interface
    return instance.interface


def _held(address: bytes, ifindex: int | None, observed: Observed) -> bool:
    """Whether the host has the address, on that interface if one is named."""
    there = observed.all_addresses() if ifindex is None else observed.addresses_of(ifindex)
    return any(found.key.address == address and found.usable for found in there)


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
    depends = object_interfaces(instance, tracked_only=True)
    if instance.device is not None and instance.interface is not None:
        if instance.dont_track_primary:
            depends -= {instance.device}
        else:
            depends.add(instance.interface)
    for name in sorted(depends - {carrier(instance)}):
        assert name is not None
        own.setdefault(name, (0, False))
    return own


def _tracks(
    instance: model.VrrpInstance, group: model.SyncGroup | None, context: Context
) -> tuple[tuple[int, int, bool], ...]:
    return tuple(
        [
            (context.place(name).slot, weight, reverse)
            for name, (weight, reverse) in interface_weights(instance, group).items()
        ]
    )


def _announces(link: Link) -> bool:
    silent = link.flags & (IFF_LOOPBACK | _IFF_NOARP)
    return not silent and len(link.mac) == ETHERNET_ADDRESS
