"""Virtual devices (macvlan with a virtual MAC, ipvlan) as rtnetlink requests. Pure.

Requests name a device by its name, so that all of them can be encoded before it exists. Numbers
are those of linux/if_link.h and linux/ip.h.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence

from fastvrrp.config.model import Configuration, Device
from fastvrrp.net import wire
from fastvrrp.net.objects import (
    IFF_UP,
    IFLA_ADDRESS,
    IFLA_GROUP,
    IFLA_IFNAME,
    IFLA_INFO_KIND,
    IFLA_LINK,
    IFLA_LINKINFO,
    IFLA_MASTER,
    IFLA_MTU,
    Link,
)
from fastvrrp.net.observed import Observed

MACVLAN, IPVLAN, VRF = "macvlan", "ipvlan", "vrf"
RTM_SETLINK = 19
IFLA_AF_SPEC = 26
_IFLA_INFO_DATA = 2
_IFLA_MACVLAN_MODE = 1
_MACVLAN_MODE_PRIVATE = 1
_IFLA_IPVLAN_MODE, _IFLA_IPVLAN_FLAGS = 1, 2
_IPVLAN_MODE_L2 = 0
_IPVLAN_FLAGS = {"bridge": 0, "private": 1, "vepa": 2}
_IFLA_INET_CONF = 1
_IFLA_INET6_ADDR_GEN_MODE = 8
_IN6_ADDR_GEN_MODE_NONE = 1
# net.ipv4.conf of a virtual MAC device (linux/ip.h: RP_FILTER, ARP_IGNORE, PROMOTE_SECONDARIES,
# ACCEPT_LOCAL). It answers for its own addresses alone, takes packets whose way back leads by the
# parent, hears other virtual routers of this host, and loses no address with another one.
IPV4_SETTINGS: Mapping[int, int] = {8: 0, 19: 1, 20: 1, 23: 1}
# Of one without IPv4: it hears questions for the addresses of the others, too.
SILENT_SETTINGS: Mapping[int, int] = {19: 1}
# What its parent must not do: answer for the addresses of its devices, or for its own on them, or
# ask for a neighbour in the name of such an address, which would tell it the wrong MAC address.
PARENT_SETTINGS = {"arp_ignore": "1", "arp_filter": "1", "arp_announce": "2"}
_VIRTUAL = (b"\0\0\x5e\0\1", b"\0\0\x5e\0\2")  # RFC 9568 7.3
_ACKNOWLEDGED = wire.NLM_F_REQUEST | wire.NLM_F_ACK
_ANY = wire.IFINFOMSG.pack(0, 0, 0, 0, 0)  # the link is found by its name


def is_virtual(mac: bytes) -> bool:
    """Whether it is the MAC address of a virtual router (RFC 9568 7.3)."""
    return mac[:5] in _VIRTUAL


def virtual_mac(family: int, vrid: int) -> bytes:
    """RFC 9568 7.3."""
    return _VIRTUAL[family == 6] + bytes((vrid,))


def lower(link: Link) -> int:
    """ifindex of what a device on this one really lies on: the kernel puts no macvlan on another,
    and no ipvlan either."""
    return link.parent if link.kind in (MACVLAN, IPVLAN) and link.parent else link.ifindex


def vrf(link: Link, observed: Observed) -> int:
    """ifindex of the VRF that an interface belongs to, 0 for none."""
    master = observed.links.get(link.master)
    return link.master if master is not None and master.kind == VRF else 0


def fits(link: Link, device: Device, parent: Link) -> bool:
    """Whether an existing link is the device."""
    return (
        link.kind == device.kind
        and link.parent == lower(parent)
        and (not device.mac or link.mac == device.mac)
    )


def create(device: Device, parent: Link) -> bytes:
    """RTM_NEWLINK of a device that is down yet."""
    body = wire.u32(IFLA_LINK, lower(parent)) + wire.string(IFLA_IFNAME, device.name)
    if device.mac:
        body += wire.attribute(IFLA_ADDRESS, device.mac)
    flags = _ACKNOWLEDGED | wire.NLM_F_CREATE | wire.NLM_F_EXCL
    return wire.message(wire.RTM_NEWLINK, flags, _ANY + body + _mode(device))


def adopt(device: Device) -> bytes:
    """RTM_NEWLINK that gives a device that is there the mode it should have."""
    body = wire.string(IFLA_IFNAME, device.name) + _mode(device)
    return wire.message(wire.RTM_NEWLINK, _ACKNOWLEDGED, _ANY + body)


def _mode(device: Device) -> bytes:
    if device.kind == MACVLAN:
        data = wire.u32(_IFLA_MACVLAN_MODE, _MACVLAN_MODE_PRIVATE)
    else:
        data = wire.attribute(_IFLA_IPVLAN_MODE, _IPVLAN_MODE_L2.to_bytes(2, "little"))
        flags = _IPVLAN_FLAGS[device.mode]
        data += wire.attribute(_IFLA_IPVLAN_FLAGS, flags.to_bytes(2, "little"))
    info = wire.string(IFLA_INFO_KIND, device.kind) + wire.attribute(_IFLA_INFO_DATA, data)
    return wire.attribute(IFLA_LINKINFO, info)


def configure(device: Device, parent: Link, observed: Observed) -> list[bytes]:
    """What a device needs before it goes up: group, VRF, IPv4 settings."""
    group = parent.group if device.group is None else device.group
    requests = [
        _set(device.name, wire.u32(IFLA_GROUP, group)),
        join_vrf(device, parent, observed),
    ]
    if device.kind == MACVLAN:
        settings = IPV4_SETTINGS if device.carries_ipv4 else SILENT_SETTINGS
        conf = b"".join(wire.u32(number, value) for number, value in settings.items())
        inet = wire.attribute(wire.AF_INET, wire.attribute(_IFLA_INET_CONF, conf))
        requests.append(_set(device.name, wire.attribute(IFLA_AF_SPEC, inet)))
    return requests


def join_vrf(device: Device, parent: Link, observed: Observed) -> bytes:
    """Into the VRF of its parent, or out of any."""
    return _set(device.name, wire.u32(IFLA_MASTER, vrf(parent, observed)))


def no_derived_address(device: Device) -> bytes:
    """RFC 9568 7.4: no IPv6 address may be made of the virtual MAC address. A kernel without
    IPv6 refuses it (net.rtnl.NO_SUCH_FAMILY)."""
    mode = wire.u8(_IFLA_INET6_ADDR_GEN_MODE, _IN6_ADDR_GEN_MODE_NONE)
    return _set(device.name, wire.attribute(IFLA_AF_SPEC, wire.attribute(wire.AF_INET6, mode)))


def go_up(device: Device) -> bytes:
    return _set(device.name, b"", up=True)


def set_mac(device: Device) -> bytes:
    """The device gets its MAC address, up or down; the kernel refuses one that is in use there."""
    return _set(device.name, wire.attribute(IFLA_ADDRESS, device.mac))


def mtu(parent: Link, observed: Observed) -> int:
    """Of a virtual MAC device on this parent: the kernel gives it none larger than that of what it
    really lies on."""
    below = observed.links.get(lower(parent), parent)
    return min(parent.mtu, below.mtu)


def set_mtu(device: Device, mtu: int) -> bytes:
    return _set(device.name, wire.u32(IFLA_MTU, mtu))


def rename(ifindex: int, name: str) -> bytes:
    """By index. A kernel before 6.2 refuses it (EBUSY) while the device is up."""
    body = wire.IFINFOMSG.pack(0, 0, ifindex, 0, 0) + wire.string(IFLA_IFNAME, name)
    return wire.message(RTM_SETLINK, _ACKNOWLEDGED, body)


def rename_down(ifindex: int, name: str) -> list[bytes]:
    """The same for such a kernel: the device goes down for it, and is left so."""
    down = wire.IFINFOMSG.pack(0, 0, ifindex, 0, IFF_UP)
    return [wire.message(RTM_SETLINK, _ACKNOWLEDGED, down), rename(ifindex, name)]


def delete(ifindex: int) -> bytes:
    """By index: a name may mean another link by now."""
    body = wire.IFINFOMSG.pack(0, 0, ifindex, 0, 0)
    return wire.message(wire.RTM_DELLINK, _ACKNOWLEDGED, body)


def deletions(links: Sequence[Link], all_links: Iterable[Link]) -> list[tuple[bytes, int]]:
    """Requests, each with the errors it may have (net.wire), that delete some links; `failures`
    reads the answers. Several are put into a group that is nobody else's and deleted as this: the
    kernel then waits once until nobody uses them, not for each of them."""
    if len(links) < 2:
        return [(delete(link.ifindex), wire.OK_GONE) for link in links]
    used = {link.group for link in all_links}
    group = next(g for g in iter(_some_group, 0) if g not in used)
    attribute = wire.u32(IFLA_GROUP, group)
    moves = [
        wire.message(RTM_SETLINK, _ACKNOWLEDGED, wire.IFINFOMSG.pack(0, 0, i, 0, 0) + attribute)
        for i in (link.ifindex for link in links)
    ]
    last = wire.message(wire.RTM_DELLINK, _ACKNOWLEDGED, _ANY + attribute)
    return [(request, wire.OK_GONE) for request in (*moves, last)]


def _some_group() -> int:
    """By chance, and without a module that would have to be loaded while stopping."""
    return 1 + (int.from_bytes(os.urandom(4)) >> 2)


def failures(links: Sequence[Link], answers: Sequence[int]) -> list[int]:
    """The error of each link (0: it is gone), of the answers to its `deletions`."""
    if len(links) < 2:
        return list(answers)
    return [answer or answers[-1] for answer in answers[:-1]]


def _set(name: str, body: bytes, *, up: bool = False) -> bytes:
    flag = IFF_UP if up else 0
    header = wire.IFINFOMSG.pack(0, 0, 0, flag, flag)
    return wire.message(RTM_SETLINK, _ACKNOWLEDGED, header + wire.string(IFLA_IFNAME, name) + body)


def parents(devices: Iterable[Device], observed: Observed) -> set[str]:
    """Interfaces below virtual MAC devices that carry IPv4: those they are configured on, and
    where these are macvlans themselves, those on which both really lie. All of them hear questions
    for the addresses."""
    found = {d.parent for d in devices if d.kind == MACVLAN and d.carries_ipv4}
    links = [link for name in found if (link := observed.link_by_name(name)) is not None]
    below = [observed.links.get(lower(link)) for link in links]
    return found | {link.name for link in below if link is not None}


def virtual_macs(configuration: Configuration) -> list[str]:
    """Names of the virtual MAC devices of a resolved configuration."""
    return [device.name for device in configuration.devices if device.kind == MACVLAN]
