"""Which virtual devices a configuration needs, and how they are called. Pure.

use_vmac, use_ipvlan, use_vmac_addr and `use_vmac` of single addresses become `Device`s, and the
instances are told of them: `VrrpInstance.device` is the one of the instance, and every address
that lies on a device names it as its `dev`. An ipvlan carries adverts alone, unless an address
names it.

Names are keepalived's: PREFIX.VRID, where that is taken PREFIX6.VRID (IPv6), then PREFIX1.VRID,
PREFIX2.VRID, and so on.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import msgspec

from fastvrrp.config import model
from fastvrrp.config.model import Device
from fastvrrp.net.devices import IPVLAN, MACVLAN, fits, virtual_mac
from fastvrrp.net.observed import Observed


class Identity(NamedTuple):
    """What makes two devices of two configurations the same, whatever they are called."""

    kind: str
    parent: str
    mac: bytes
    owner: str  # of an ipvlan, which has no MAC address of its own: the VRID and family


def identity(device: Device, owner: str = "") -> Identity:
    return Identity(device.kind, device.parent, device.mac, owner)


def candidates(prefix: str, vrid: int, family: int) -> Iterator[str]:
    """Names for the device of a virtual router, in the order in which they are tried."""
    yield f"{prefix}.{vrid}"
    if family == 6:
        yield f"{prefix}6.{vrid}"
    for number in itertools.count(1):
        if number != 6 or family != 6:
            yield f"{prefix}{number}.{vrid}"


def own_mac(instance: model.VrrpInstance) -> bytes:
    """MAC address of an instance's device: its own one, or that of RFC 9568 7.3."""
    written = None if instance.vmac is None else instance.vmac.address
    if written is None:
        return virtual_mac(instance.family, instance.virtual_router_id)
    mac = bytes(int(octet, 16) for octet in written.split(":"))
    return mac if len(mac) == 6 else mac + bytes((instance.virtual_router_id,))


class Resolver:
    """Makes the devices of one configuration."""

    def __init__(
        self, configuration: model.Configuration, observed: Observed, held: Mapping[Identity, str]
    ) -> None:
        """`held` are names of devices that exist already; they keep them if they may."""
        self._configuration = configuration
        self._observed = observed
        self._held = held
        self._devices: dict[Identity, Device] = {}
        self._keys: dict[str, Identity] = {}  # of the devices, by name
        self._taken: set[str] = set()  # names that are written for something
        self._needed: set[Identity] = set()  # devices of the instances themselves

    def resolve(self) -> tuple[model.Configuration, dict[Identity, str]]:
        """The configuration with its devices, and their names to be `held` next time."""
        if not any(map(_needs_device, self._configuration.vrrp_instances)):
            return self._configuration, {}
        self._taken = {
            name
            for instance in self._configuration.vrrp_instances
            for name in (_written_name(instance), instance.interface)
            if name is not None
        }
        self._needed = {
            _own_identity(instance, device)
            for instance in self._configuration.vrrp_instances
            if (device := _own_device(instance)) is not None
        }
        # Those of instances first: names that are written, or that one sees every day.
        with_own = [self._with_own(instance) for instance in self._configuration.vrrp_instances]
        instances = tuple(self._with_addresses(instance) for instance in with_own)
        resolved = msgspec.structs.replace(
            self._configuration, vrrp_instances=instances, devices=tuple(self._devices.values())
        )
        return resolved, {key: device.name for key, device in self._devices.items()}

    def _with_own(self, instance: model.VrrpInstance) -> model.VrrpInstance:
        device = _own_device(instance)
        if device is None:
            return instance
        key = _own_identity(instance, device)
        prefix = self._configuration.global_defs.vmac_prefix
        device = self._put(key, device, prefix, instance.virtual_router_id, instance.family)
        source = instance.source
        if instance.vmac is None and source is None:
            source = device.address
        return msgspec.structs.replace(instance, device=device.name, source=source)

    def _with_addresses(self, instance: model.VrrpInstance) -> model.VrrpInstance:
        if not _needs_device(instance):
            return instance
        return msgspec.structs.replace(
            instance,
            virtual_ipaddress=tuple(self._placed(a, instance) for a in instance.virtual_ipaddress),
            virtual_ipaddress_excluded=tuple(
                self._placed(a, instance) for a in instance.virtual_ipaddress_excluded
            ),
        )

    def _placed(
        self, address: model.VirtualAddress, instance: model.VrrpInstance
    ) -> model.VirtualAddress:
        """The address with the device it lies on as `dev`."""
        dev = address.dev or instance.interface
        if dev in self._keys:
            self._carry(dev, address.family)
            return address
        is_home = dev == instance.interface and address.family == instance.family
        if is_home and instance.device is not None and instance.vmac is not None:
            self._carry(instance.device, address.family)
            return msgspec.structs.replace(address, dev=instance.device)
        if dev is None or not (address.use_vmac or (instance.use_vmac_addr and not is_home)):
            return address
        mac = virtual_mac(address.family, instance.virtual_router_id)
        device = Device(name="", kind=MACVLAN, parent=dev, mac=mac)
        prefix = self._configuration.global_defs.vmac_addr_prefix
        vrid = instance.virtual_router_id
        device = self._put(identity(device), device, prefix, vrid, address.family)
        self._carry(device.name, address.family)
        return msgspec.structs.replace(address, dev=device.name)

    def _put(self, key: Identity, device: Device, prefix: str, vrid: int, family: int) -> Device:
        """The device, with a name; the one that another instance needs already, if it is that."""
        known = self._devices.get(key)
        if known is not None:
            return known
        name = device.name or self._free_name(key, device, prefix, vrid, family)
        self._taken.add(name)
        self._keys[name] = key
        found = self._devices[key] = msgspec.structs.replace(device, name=name)
        return found

    def _free_name(self, key: Identity, device: Device, prefix: str, vrid: int, family: int) -> str:
        held = self._held.get(key)
        if held is not None and held not in self._taken and _has_prefix(held, prefix):
            return held
        return next(
            name
            for name in candidates(prefix, vrid, family)
            if name not in self._taken and self._is_free(name, device)
        )

    def _is_free(self, name: str, device: Device) -> bool:
        """Whether no link has the name, unless it is the very device, or one of ours that is not
        needed as it is: it gets another MAC address."""
        link = self._observed.link_by_name(name)
        if link is None:
            return True
        parent = self._observed.link_by_name(device.parent)
        if parent is None:
            return False
        return fits(link, device, parent) or any(
            held == name and (key.kind, key.parent) == (device.kind, device.parent)
            for key, held in self._held.items()
            if key not in self._needed
        )

    def _carry(self, name: str, family: int) -> None:
        key = self._keys[name]
        device = self._devices[key]
        if not (device.carries_ipv4 if family == 4 else device.carries_ipv6):
            field = {f"carries_ipv{family}": True}
            self._devices[key] = msgspec.structs.replace(device, **field)


def _own_device(instance: model.VrrpInstance) -> Device | None:
    """The device that an instance asks for itself, with the name that is written."""
    vmac, ipvlan, parent = instance.vmac, instance.ipvlan, instance.interface
    if parent is None:
        return None
    if vmac is not None:
        return Device(
            name=vmac.name or "",
            kind=MACVLAN,
            parent=parent,
            mac=own_mac(instance),
            group=vmac.group,
        )
    if ipvlan is None:
        return None
    return Device(
        name=ipvlan.name or "",
        kind=IPVLAN,
        parent=parent,
        mode=ipvlan.mode,
        group=ipvlan.group,
        address=ipvlan.address,
        prefixlen=ipvlan.prefixlen,
        carries_ipv4=instance.family == 4,
        carries_ipv6=instance.family == 6,
    )


def _own_identity(instance: model.VrrpInstance, device: Device) -> Identity:
    if device.kind == MACVLAN:
        return identity(device)
    return identity(device, f"{instance.virtual_router_id} {instance.family}")


def _written_name(instance: model.VrrpInstance) -> str | None:
    written = instance.vmac or instance.ipvlan
    return None if written is None else written.name


def _has_prefix(name: str, prefix: str) -> bool:
    return name.rpartition(".")[0].rstrip("0123456789") == prefix.rstrip("0123456789")


def _needs_device(instance: model.VrrpInstance) -> bool:
    if instance.vmac is not None or instance.ipvlan is not None or instance.use_vmac_addr:
        return True
    for address in (*instance.virtual_ipaddress, *instance.virtual_ipaddress_excluded):
        if address.use_vmac:  # a loop: any() costs more than the rest, and thousands are asked
            return True
    return False
