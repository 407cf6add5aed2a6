"""A configuration as bytes, small and quickly read: what thousands of instances have in common is
written once, and is one object when it is read.

Where something stands in a file is left out: whoever gets the bytes cannot read the file, and a
line more or less must not make equal parts differ.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any, TypeVar

import msgspec
from msgspec.structs import replace

from fastvrrp.config.model import Configuration, Notify, VirtualAddress, VrrpInstance
from fastvrrp.config.servers import Ipvs

T = TypeVar("T")

# Number of what it has in common with others, and the address.
_Address = tuple[int, str]
# The same, name, virtual router id, addresses and excluded addresses.
_Instance = tuple[int, str, int, tuple[_Address, ...], tuple[_Address, ...]]

_BLANK: dict[str, Any] = {
    "name": "",
    "virtual_router_id": 0,
    "virtual_ipaddress": (),
    "virtual_ipaddress_excluded": (),
    "position": None,
}
# What else of an instance may have places in it.
_PLACED = (
    "virtual_routes",
    "virtual_rules",
    "track_interface",
    "track_script",
    "track_file",
    "track_process",
    "track_virtual_server",
    "notify",
)
_SILENT = Notify()


class _Compact(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """The bytes: `commons` and `address_commons` are what instances and addresses are made of."""

    rest: Configuration  # without instances
    commons: tuple[VrrpInstance, ...]
    address_commons: tuple[VirtualAddress, ...]
    instances: tuple[_Instance, ...]


def encode(configuration: Configuration) -> bytes:
    """The bytes of a configuration without its places in files. Virtual servers must have lost
    theirs: there are tens of thousands (`supervisor.held`)."""
    commons: dict[VrrpInstance, int] = {}
    address_commons: dict[VirtualAddress, int] = {}
    instances = configuration.vrrp_instances
    own: list[_Instance] = []
    for instance in instances:
        common = common_part(instance)
        own.append(
            (
                commons.setdefault(common, len(commons)),
                instance.name,
                instance.virtual_router_id,
                _addresses(instance.virtual_ipaddress, address_commons),
                _addresses(instance.virtual_ipaddress_excluded, address_commons),
            )
        )
    rest = without_places(replace(configuration, vrrp_instances=(), ipvs=Ipvs()))
    rest = replace(rest, ipvs=configuration.ipvs)
    return msgspec.msgpack.encode(
        _Compact(rest, tuple(commons), tuple(address_commons), tuple(own))
    )


def decode(data: bytes | memoryview) -> Configuration:
    """What `encode` was given. Raises msgspec.MsgspecError."""
    compact = _decoder().decode(data)
    commons, address_commons = compact.commons, compact.address_commons
    try:
        instances = tuple(
            [
                replace(
                    commons[common],
                    name=name,
                    virtual_router_id=vrid,
                    virtual_ipaddress=tuple(
                        [replace(address_commons[kind], address=text) for kind, text in addresses]
                    ),
                    virtual_ipaddress_excluded=tuple(
                        [replace(address_commons[kind], address=text) for kind, text in excluded]
                    ),
                )
                for common, name, vrid, addresses, excluded in compact.instances
            ]
        )
    except IndexError as exc:
        raise msgspec.DecodeError("a part of an instance is missing") from exc
    return replace(compact.rest, vrrp_instances=instances)


def warm_up() -> None:
    """Make what `decode` needs, which takes as long as to decode thousands of instances: to be
    called while there is nothing to decode yet."""
    _decoder()


@functools.cache
def _decoder() -> msgspec.msgpack.Decoder[_Compact]:
    return msgspec.msgpack.Decoder(_Compact)


def common_part(instance: VrrpInstance) -> VrrpInstance:
    """All but what makes an instance one of many: name, virtual router id, addresses, places."""
    changes = {
        name: without_places(part) for name in _PLACED if (part := getattr(instance, name)) != ()
    }
    return replace(instance, **_BLANK, **changes)


def _addresses(
    addresses: Iterable[VirtualAddress], commons: dict[VirtualAddress, int]
) -> tuple[_Address, ...]:
    return tuple(
        [
            (
                commons.setdefault(replace(address, address="", position=None), len(commons)),
                address.address,
            )
            for address in addresses
        ]
    )


_LEAVES = (str, int, bytes, type(None))


def without_places(value: T) -> T:
    """The same without any position; itself where there is none."""
    if isinstance(value, msgspec.Struct):
        if value == _SILENT:
            return value
        changes: dict[str, Any] = {}
        for name in value.__struct_fields__:
            part = getattr(value, name)
            if isinstance(part, _LEAVES):
                continue
            found = None if name == "position" else without_places(part)
            if found is not part:
                changes[name] = found
        return replace(value, **changes) if changes else value
    if isinstance(value, tuple) and value:
        parts = tuple([without_places(part) for part in value])
        if any(new is not old for new, old in zip(parts, value, strict=True)):
            return parts  # type: ignore[return-value]  # a tuple of the same types
    return value
