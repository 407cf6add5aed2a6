"""Kernel settings of interfaces and of the host, changed while we run and restored afterwards."""

from __future__ import annotations

import socket
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from fastvrrp.config.model import Configuration
from fastvrrp.net.devices import PARENT_SETTINGS, parents
from fastvrrp.net.objects import IFA_F_SECONDARY, AddressKey
from fastvrrp.net.observed import Observed

_ROOT = Path("/proc/sys/net/ipv4")
_ROOT_IPV6 = Path("/proc/sys/net/ipv6/conf")
HOST = ""  # in place of an interface: a setting of the network namespace
IGMP_REPORTS = "igmp_link_local_mcast_reports"
# The only settings a journal may restore: it must not become a way to write anywhere in /proc.
_SETTINGS = frozenset(("promote_secondaries", "rp_filter", *PARENT_SETTINGS))
_HOST_SETTINGS = frozenset((IGMP_REPORTS,))
_ALL = "all"

Wanted = dict[tuple[str, str], str]  # (interface, name) to value


class Setting(NamedTuple):
    """One net.ipv4.conf.INTERFACE.NAME, or net.ipv4.NAME of the HOST, with the value it had and
    the value we give it."""

    interface: str
    name: str
    original: str
    ours: str


def wanted_promotions(configuration: Configuration) -> set[str]:
    """Interfaces of the instances with `promote_secondaries`: where it is on, removing a primary
    address keeps the other addresses of its subnet (net.ipv4.conf.*.promote_secondaries)."""
    return {
        instance.interface
        for instance in configuration.vrrp_instances
        if instance.promote_secondaries and instance.interface
    }


def endangered(observed: Observed, virtual: Collection[bytes]) -> set[str]:
    """Interfaces where a virtual address is the primary one of a subnet and the host's own address
    a secondary: without promotion the kernel would remove it together with the virtual one."""
    found = set()
    for ifindex, table in observed.addresses.items():
        link = observed.links.get(ifindex)
        if link is None:
            continue
        addresses = [(address.key, address) for address in table.values()]
        subnets = {
            _subnet(key)
            for key, address in addresses
            if key.family == 4 and key.address in virtual and not address.flags & IFA_F_SECONDARY
        }
        if subnets and any(
            address.flags & IFA_F_SECONDARY and _subnet(key) in subnets
            for key, address in addresses
            if key.family == 4 and key.address not in virtual
        ):
            found.add(link.name)
    return found


def _subnet(key: AddressKey) -> tuple[int, int]:
    return key.prefixlen, int.from_bytes(key.address, "big") >> (32 - key.prefixlen)


def wanted_settings(
    configuration: Configuration,
    observed: Observed,
    virtual: Collection[bytes],
    current: Iterable[Setting] = (),
) -> Wanted:
    """Everything that a configuration needs of the interfaces there are; `virtual` are the packed
    virtual addresses, `current` the settings that are held already."""
    promoted = wanted_promotions(configuration) | endangered(observed, virtual)
    wanted = {(interface, "promote_secondaries"): "1" for interface in promoted}
    below = parents(configuration.devices, observed)
    for interface in below:
        wanted.update({(interface, name): value for name, value in PARENT_SETTINGS.items()})
    if below:
        wanted.update(_reverse_paths({d.name for d in configuration.devices}, current))
    return wanted


def _reverse_paths(devices: Collection[str], current: Iterable[Setting]) -> Wanted:
    """net.ipv4.conf.all.rp_filter counts for every interface, virtual MAC devices included, whose
    packets have their way back on another one: it becomes the single interfaces' own."""
    held = {setting.interface: setting for setting in current if setting.name == "rp_filter"}
    level = held[_ALL].original if _ALL in held else read(_ALL, "rp_filter")
    if level in (None, "0"):
        return {}
    assert level is not None
    wanted = {(_ALL, "rp_filter"): "0"}
    for interface in _interfaces():
        if interface == _ALL or interface in devices:
            continue
        value = held[interface].original if interface in held else read(interface, "rp_filter")
        if value is not None and int(value) < int(level):
            wanted[interface, "rp_filter"] = level
    return wanted


def _interfaces() -> list[str]:
    try:
        return sorted(path.name for path in (_ROOT / "conf").iterdir())
    except OSError:
        return []


def follow(held: Mapping[Setting, int]) -> dict[Setting, int]:
    """Settings with the ifindex of the interface that has them (0: of none), under the name that it
    has now. The kernel is asked itself: a setting is written by name, and what the kernel has told
    of may be behind. A setting of an interface that was deleted keeps its name: it may be back, or
    another in its place."""
    found = {}
    for setting, ifindex in held.items():
        name = name_of(ifindex)
        if name is None:
            found[setting] = index_of(setting.interface)
        else:
            found[setting._replace(interface=name)] = ifindex
    return found


def name_of(ifindex: int) -> str | None:
    """Of an interface, as the kernel has it now."""
    try:
        return socket.if_indextoname(ifindex)
    except OSError:
        return None


def index_of(interface: str) -> int:
    """The same the other way round, 0 when there is none."""
    try:
        return socket.if_nametoindex(interface)
    except OSError:
        return 0


def plan(wanted: Wanted, current: Iterable[Setting] = ()) -> tuple[Setting, ...]:
    """The settings to hold from now on: those of `current` still wanted, with the original value
    they were found with, and new ones for interfaces that exist and have another value.

    In the order in which they are applied: `all` comes last, so that nothing is ever weaker than
    it was. The result belongs in the journal before `apply` is called; what `current` has beyond
    it is for `restore`. Reads only.
    """
    held = {(setting.interface, setting.name): setting for setting in current}
    planned = []
    for key in sorted(wanted, key=lambda key: (key[0] == _ALL, *key)):
        interface, name = key
        if key in held:
            planned.append(held[key])
        elif (value := read(interface, name)) not in (None, wanted[key]):
            assert value is not None
            planned.append(Setting(interface, name, value, wanted[key]))
    return tuple(planned)


def plan_igmp(is_wanted: bool, current: Iterable[Setting] = ()) -> tuple[Setting, ...]:
    """The same for `disable_local_igmp`: the kernel then reports no membership of groups in
    224.0.0.0/24, to which every switch forwards anyway (RFC 4541 2.1.2)."""
    held = tuple(setting for setting in current if setting.name == IGMP_REPORTS)
    if not is_wanted or held:
        return held if is_wanted else ()
    value = read(HOST, IGMP_REPORTS)
    return () if value in (None, "0") else (Setting(HOST, IGMP_REPORTS, str(value), "0"),)


def read(interface: str, name: str) -> str | None:
    """The value, None when the interface does not exist."""
    try:
        return _path(interface, name).read_text("ascii").strip()
    except FileNotFoundError:
        return None


def apply(settings: Iterable[Setting]) -> list[str]:
    """Write our values where they are not set yet. Returns one message per failure.

    An interface that does not exist now is passed over: to be called again when it does.
    """
    problems = []
    for setting in settings:
        if read(setting.interface, setting.name) not in (None, setting.ours):
            problem = _write(setting.interface, setting.name, setting.ours)
            if problem:
                problems.append(problem)
    return problems


def restore(settings: Iterable[Setting]) -> tuple[list[str], list[str]]:
    """Write the original values back where ours is still there, the last one first: (what was
    done, problems)."""
    done: list[str] = []
    problems: list[str] = []
    for setting in reversed(tuple(settings)):
        if read(setting.interface, setting.name) == setting.ours:
            problem = _write(setting.interface, setting.name, setting.original)
            if problem:
                problems.append(problem)
            else:
                where = full_name(setting.interface, setting.name)
                done.append(f"setting {where} back to {setting.original}")
    return done, problems


def full_name(interface: str, name: str) -> str:
    """As sysctl(8) calls it."""
    return f"net.ipv4.conf.{interface}.{name}" if interface else f"net.ipv4.{name}"


def _path(interface: str, name: str) -> Path:
    """Raises ValueError for anything that is not one of our settings."""
    if interface == HOST and name in _HOST_SETTINGS:
        return _ROOT / name
    if name not in _SETTINGS or "/" in interface or interface in ("", ".", ".."):
        raise ValueError(f"setting {name!r} of interface {interface!r}")
    return _ROOT / "conf" / interface / name


def _write(interface: str, name: str, value: str) -> str:
    try:
        _path(interface, name).write_text(value, "ascii")
    except OSError as error:
        return f"cannot set {full_name(interface, name)} to {value}: {error.strerror}"
    return ""


def prepare_ipv6(device: str, *, carries_ipv6: bool) -> list[str]:
    """IPv6 settings of a virtual device that is down yet: no IPv6 on one that has no address of it
    to carry, and never an address that a router advertisement asks for (RFC 9568 7.4).
    Returns one message per failure; a kernel without IPv6 needs nothing."""
    problems = []
    values = {"accept_ra": "0", "autoconf": "0", "disable_ipv6": "0" if carries_ipv6 else "1"}
    for name, value in values.items():
        path = _ROOT_IPV6 / device / name
        try:
            if path.read_text("ascii").strip() != value:
                path.write_text(value, "ascii")
        except FileNotFoundError:
            continue
        except OSError as error:
            problems.append(f"cannot set net.ipv6.conf.{device}.{name}: {error.strerror}")
    return problems
