"""A configuration that was just decoded, made as small as it can be kept.

Where something is written in a file is of no use to who cannot read the file, and makes equal
parts differ. What many instances have in common is decoded once for each of them; afterwards it
is one object. Thousands of instances are kept for as long as the process lives.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec.structs import force_setattr

from fastvrrp.config import model

_SHARED = ("interface", "source", "vrf", "mcast_dst_ip", "advert_int_ns", "garp", "sync_group")
_SHARED_OF_ADDRESS = ("dev", "broadcast", "label")
_PARTS = (
    "virtual_routes",
    "virtual_rules",
    "track_interface",
    "track_script",
    "track_file",
    "track_process",
    "track_virtual_server",
)
_SILENT = model.Notify()


def make_lean(configuration: model.Configuration) -> None:
    """Change `configuration` in place: only for who owns it."""
    shared: dict[object, object] = {}
    for instance in configuration.vrrp_instances:
        force_setattr(instance, "position", None)
        for addresses in (instance.virtual_ipaddress, instance.virtual_ipaddress_excluded):
            for address in addresses:
                force_setattr(address, "position", None)
                _share(address, _SHARED_OF_ADDRESS, shared)
        for name in _PARTS:
            _forget_positions(getattr(instance, name))
        if instance.notify == _SILENT:
            force_setattr(instance, "notify", _SILENT)
        else:
            _forget_positions(instance.notify)
            _share(instance, ("notify",), shared)
        _share(instance, _SHARED, shared)
    for name in configuration.__struct_fields__:
        if name != "vrrp_instances":
            _forget_positions(getattr(configuration, name))


def _share(part: msgspec.Struct, names: tuple[str, ...], shared: dict[object, object]) -> None:
    for name in names:
        value = getattr(part, name)
        if value is not None:
            known = shared.setdefault(value, value)
            if known is not value:
                force_setattr(part, name, known)


def _forget_positions(value: Any) -> None:
    if isinstance(value, tuple):
        for item in value:
            _forget_positions(item)
    elif isinstance(value, msgspec.Struct):
        for name in value.__struct_fields__:
            if name == "position":
                force_setattr(value, name, None)
            else:
                _forget_positions(getattr(value, name))
