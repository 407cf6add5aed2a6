"""Which interfaces the engine has to know, and how: sockets, multicast groups, pacing. Pure.

Every interface that carries adverts, holds an address, a route or a rule, or is tracked has a
link slot, also while it does not exist. Keys are interface names; unicast instances without an
interface share a pseudo link per VRF, whose key starts with a slash (no interface name does).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec

from fastvrrp.config import model
from fastvrrp.net.addresses import packed
from fastvrrp.net.devices import MACVLAN
from fastvrrp.net.observed import Observed

PSEUDO = "/"
PSEUDO_IFINDEX = -1
ABSENT = 0

MULTICAST_V6 = "ff02::12"  # RFC 9568 5.1.2.2
IPV4, IPV6 = 1, 2
RX_BUFFER_MAX = 2**30 - 1  # the kernel doubles it, socket(7)
PACKET = "packet"  # value of vrrp_socket_backend

_ARPHRD_ETHER = 1  # net/if_arp.h
IFF_LOOPBACK, IFF_MULTICAST = 0x8, 0x1000  # net/if.h
ETHERNET_ADDRESS = 6


class LinkSpec(NamedTuple):
    """Arguments of Engine.link."""

    ifindex: int
    families: int = 0
    garp_interval_ns: int = 0
    gna_interval_ns: int = 0
    pace_group: int = -1
    mcast4: tuple[bytes, ...] = ()
    mcast6: tuple[bytes, ...] = ()
    rx_buffer: int = 0
    vrf_ifindex: int = 0
    vrids4: bytes | None = b""
    vrids6: bytes | None = b""
    any_ttl: int = 0
    packet: int = 0  # families that a receive ring hears
    down_delay_ns: int = 0  # how long it has to be down before anybody is told
    up_delay_ns: int = 0
    is_virtual: bool = False  # a virtual MAC device: the groups are joined on its parent
    parent: int = 0  # ifindex of that parent
    unreported: bool = False  # nobody is told of memberships in 224.0.0.0/24

    def accepting(self, other: LinkSpec) -> LinkSpec:
        """These sockets with the other's filters."""
        return self._replace(vrids4=other.vrids4, vrids6=other.vrids6, any_ttl=other.any_ttl)

    def joined(self, other: LinkSpec) -> LinkSpec:
        """What serves the users of both, on this one's interface."""
        return self._replace(
            families=self.families | other.families,
            mcast4=tuple(sorted({*self.mcast4, *other.mcast4})),
            mcast6=tuple(sorted({*self.mcast6, *other.mcast6})),
            rx_buffer=max(self.rx_buffer, other.rx_buffer),
            vrids4=_union(self.vrids4, other.vrids4),
            vrids6=_union(self.vrids6, other.vrids6),
            any_ttl=self.any_ttl | other.any_ttl,
            packet=self.packet | other.packet,
            is_virtual=other.is_virtual,
            parent=other.parent,
            unreported=other.unreported,
        )


def _union(a: bytes | None, b: bytes | None) -> bytes | None:
    """Of sets of VRIDs, one a byte; None is all of them."""
    return None if a is None or b is None else bytes(sorted({*a, *b}))


def common_part(instance: model.VrrpInstance) -> model.VrrpInstance:
    """What links and records are made of: an instance without what only its own objects depend on.

    Thousands have it in common. Addresses that name an interface bring a link along: they stay.
    """
    for address in (*instance.virtual_ipaddress, *instance.virtual_ipaddress_excluded):
        if address.dev is not None:
            return msgspec.structs.replace(instance, name="", virtual_router_id=0)
    return msgspec.structs.replace(
        instance,
        name="",
        virtual_router_id=0,
        virtual_ipaddress=(),
        virtual_ipaddress_excluded=(),
    )


class Kin:
    """The instances of a configuration by what they have in common, worked out once for all who
    want it: `kinds` has, for each instance in its order, an index of `commons`."""

    def __init__(self, instances: Sequence[model.VrrpInstance]) -> None:
        self.kinds: list[int] = []
        self.commons: list[model.VrrpInstance] = []
        numbers: dict[model.VrrpInstance, int] = {}
        last, number = None, -1
        for instance in instances:
            common = common_part(instance)
            if common != last:  # neighbours are mostly alike, and comparing is less than hashing
                last = common
                number = numbers.setdefault(common, len(numbers))
                if number == len(self.commons):
                    self.commons.append(common)
            self.kinds.append(number)


def is_unicast(instance: model.VrrpInstance) -> bool:
    """Whether adverts go to peers. With `unicast_fault_no_peer` an empty list stays unicast."""
    return bool(instance.unicast_peers) or (
        instance.unicast_fault_no_peer or instance.interface is None
    )


def multicast_text(instance: model.VrrpInstance) -> str:
    """Destination of multicast adverts."""
    text = instance.mcast_dst_ip
    return MULTICAST_V6 if instance.family == 6 and ":" not in text else text


def multicast_group(instance: model.VrrpInstance) -> bytes:
    """The same, packed. Raises OSError when it is no address."""
    return packed(multicast_text(instance), instance.family)


def link_key(name: str, observed: Observed) -> str:
    """The key of an interface: an alternative name leads to the interface's own, because one
    interface must not have two slots."""
    link = observed.link_by_name(name)
    return name if link is None else link.name


def carrier(instance: model.VrrpInstance) -> str | None:
    """Name of the interface that adverts leave by. With a virtual MAC device and vmac_xmit_base,
    or with unicast, this is the parent, as in keepalived."""
    if instance.vmac is not None and (instance.vmac.xmit_base or is_unicast(instance)):
        return instance.interface
    return instance.device or instance.interface


def uses_virtual_mac(instance: model.VrrpInstance) -> bool:
    """Whether adverts leave by a virtual MAC device."""
    return instance.vmac is not None and carrier(instance) == instance.device


def own_link(instance: model.VrrpInstance, observed: Observed) -> str:
    """Key of the link that carries the adverts."""
    name = carrier(instance)
    if name is None:
        return PSEUDO + (instance.vrf or "")
    return link_key(name, observed)


def object_interfaces(instance: model.VrrpInstance, *, tracked_only: bool) -> set[str]:
    """Names of interfaces that addresses, routes and rules of an instance refer to.

    `tracked_only` leaves out those that only `no_track` objects use.
    """
    names: set[str | None] = set()
    for addresses in (instance.virtual_ipaddress, instance.virtual_ipaddress_excluded):
        for address in addresses:
            if address.dev is not None and not (tracked_only and address.no_track):
                names.add(address.dev)
    for route in instance.virtual_routes:
        if not (tracked_only and route.no_track):
            names.add(route.dev)
            names.update(hop.dev for hop in route.nexthops)
        if not tracked_only:
            names.add(route.vrf)  # gives its table only, up or down
    for rule in instance.virtual_rules:
        if not (tracked_only and rule.no_track):
            names.update((rule.iif, rule.oif))
    return {name for name in names if name is not None}


def link_keys(
    instance: model.VrrpInstance, group: model.SyncGroup | None, observed: Observed
) -> set[str]:
    """Keys of every link slot an instance needs."""
    keys = {own_link(instance, observed)}
    if instance.device is not None and instance.interface is not None:
        keys |= {link_key(instance.interface, observed), link_key(instance.device, observed)}
    for name in object_interfaces(instance, tracked_only=False):
        keys.add(link_key(name, observed))
    for tracked in instance.track_interface:
        keys.add(link_key(tracked.name, observed))
    for tracked in group.track_interface if group is not None else ():
        keys.add(link_key(tracked.name, observed))
    return keys


def ifindex_of(key: str, observed: Observed) -> int:
    """For Engine.link: 0 while the interface (or VRF) does not exist, -1 for a pseudo link."""
    if key.startswith(PSEUDO):
        vrf = key.removeprefix(PSEUDO)
        return PSEUDO_IFINDEX if not vrf or vrf in observed.interfaces else ABSENT
    return observed.interfaces.get(key, ABSENT)


def is_ethernet(key: str, observed: Observed) -> bool:
    """Whether frames can be sent there; believed of an interface that does not exist yet."""
    link = observed.link_by_name(key)
    return link is None or (
        link.hardware == _ARPHRD_ETHER
        and not link.flags & IFF_LOOPBACK
        and len(link.mac) == ETHERNET_ADDRESS
    )


def lacks_multicast(instance: model.VrrpInstance, observed: Observed) -> bool:
    """Whether adverts are multicast and the interface that is configured takes none. Sockets could
    send them there all the same, and hear nobody: two routers would be master. A virtual MAC device
    has what its parent has, as in keepalived."""
    if is_unicast(instance) or instance.interface is None:
        return False
    link = observed.link_by_name(instance.interface)
    return link is not None and not link.flags & IFF_MULTICAST


def sends_frames(instance: model.VrrpInstance, defs: model.GlobalDefs, observed: Observed) -> bool:
    """Whether adverts are Ethernet frames of ours: with vrrp_socket_backend packet, and on virtual
    MAC devices, which need neither an address nor a membership of their own so. Unicast ones are
    not: the kernel knows the way to a peer."""
    return (
        (defs.vrrp_socket_backend == PACKET or uses_virtual_mac(instance))
        and not is_unicast(instance)
        and is_ethernet(own_link(instance, observed), observed)
    )


def parent_of(key: str, observed: Observed) -> int:
    """ifindex of what a virtual device lies on, 0 while there is none."""
    link = observed.link_by_name(key)
    return 0 if link is None else link.parent


def link_specs(
    configuration: model.Configuration,
    keys: Iterable[str],
    observed: Observed,
    kin: Kin | None = None,
) -> dict[str, LinkSpec]:
    """How each of the links `keys` has to be defined now; `kin` is that of the instances, if it is
    known already."""
    families: dict[str, int] = {}
    groups: dict[tuple[str, int], set[str]] = {}  # text of multicast groups by key and family
    vrids: dict[tuple[str, int], set[int]] = {}
    far: dict[str, int] = {}
    framed: dict[str, int] = {}
    defs = configuration.global_defs
    buffers: dict[str, int] = {}
    virtual = {device.name for device in configuration.devices if device.kind == MACVLAN}
    kin = kin or Kin(configuration.vrrp_instances)
    known: list[set[int] | None] = [None] * len(kin.commons)  # VRIDs of the users of one link
    for kind, instance in zip(kin.kinds, configuration.vrrp_instances, strict=True):
        users = known[kind]
        if users is not None:
            users.add(instance.virtual_router_id)
            if not instance.kernel_rx_buf_size:
                continue
        key = own_link(instance, observed)
        if instance.kernel_rx_buf_size:
            wanted = buffers.get(key, 0) + instance.kernel_rx_buf_size
            buffers[key] = min(wanted, RX_BUFFER_MAX)
        family = IPV4 if instance.family == 4 else IPV6
        if sends_frames(instance, defs, observed):
            framed[key] = framed.get(key, 0) | family
        else:
            families[key] = families.get(key, 0) | family
        known[kind] = users = vrids.setdefault((key, instance.family), set())
        users.add(instance.virtual_router_id)
        if is_unicast(instance):
            far[key] = far.get(key, 0) | family
        else:
            groups.setdefault((key, instance.family), set()).add(multicast_text(instance))
    pace: dict[str, tuple[int, model.GarpGroup]] = {}
    for index, garp_group in enumerate(configuration.garp_groups):
        for name in garp_group.interfaces:
            pace.setdefault(link_key(name, observed), (index, garp_group))

    delays = {link_key(d.interface, observed): d for d in configuration.interface_delays}
    for device in configuration.devices:  # goes up and down with its parent
        parent = link_key(device.parent, observed)
        if parent in delays:
            delays.setdefault(device.name, delays[parent])

    def accepted(key: str, family: int) -> bytes | None:
        return None if defs.log_unknown_vrids else bytes(sorted(vrids.get((key, family), ())))

    specs = {}
    for key in keys:
        index, paced = pace.get(key, (-1, model.GarpGroup(interfaces=())))
        vrf = key.removeprefix(PSEUDO) if key.startswith(PSEUDO) else ""
        specs[key] = LinkSpec(
            ifindex=ifindex_of(key, observed),
            families=families.get(key, 0),
            garp_interval_ns=paced.garp_interval_ns or defs.garp_interval_ns,
            gna_interval_ns=paced.gna_interval_ns or defs.gna_interval_ns,
            pace_group=index,
            mcast4=_packed_all(groups.get((key, 4), ()), 4),
            mcast6=_packed_all(groups.get((key, 6), ()), 6),
            rx_buffer=buffers.get(key, 0),
            vrf_ifindex=observed.interfaces.get(vrf, 0) if vrf else 0,
            vrids4=accepted(key, 4),
            vrids6=accepted(key, 6),
            any_ttl=far.get(key, 0),
            packet=framed.get(key, 0),
            down_delay_ns=delays[key].down_ns if key in delays else 0,
            up_delay_ns=delays[key].up_ns if key in delays else 0,
            is_virtual=key in virtual,
            parent=parent_of(key, observed) if key in virtual else 0,
            unreported=defs.disable_local_igmp,
        )
    return specs


def _packed_all(texts: Iterable[str], family: int) -> tuple[bytes, ...]:
    return tuple(sorted({packed(text, family) for text in texts}))
