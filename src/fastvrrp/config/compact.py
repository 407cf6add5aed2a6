"""A configuration as bytes, small and quickly read: what thousands of instances have in common is
written once, and is one object when it is read.

Where something stands in a file is left out: whoever gets the bytes cannot read the file, and a
line more or less must not make equal parts differ.
"""

import functools
import operator
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Generic, TypeVar, overload

import msgspec
from msgspec.structs import replace

from fastvrrp.config.model import Configuration, Notify, Position, VirtualAddress, VrrpInstance
from fastvrrp.config.servers import Ipvs, Servers

T = TypeVar("T")

# Number of what it has in common with others, and the address.
_Address = tuple[int, str]
# The same, name, virtual router id, addresses and excluded addresses.
_Instance = tuple[int, str, int, tuple[_Address, ...], tuple[_Address, ...]]

# What instances have in common, what addresses have.
_Commons = tuple[tuple[VrrpInstance, ...], tuple[VirtualAddress, ...]]

_PER_BLOCK = 64  # instances that are made at once

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


class _Routers(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """The same where the rest is not asked for."""

    rest: msgspec.Raw
    commons: tuple[VrrpInstance, ...]
    address_commons: tuple[VirtualAddress, ...]
    instances: tuple[_Instance, ...]


def encode(configuration: Configuration) -> bytes:
    """The bytes of a configuration without its places in files. Virtual servers must have lost
    theirs: there are tens of thousands (`supervisor.held`)."""
    commons, address_commons, own = _taken_apart(configuration.vrrp_instances)
    rest = without_places(replace(configuration, vrrp_instances=(), ipvs=Ipvs()))
    rest = replace(rest, ipvs=configuration.ipvs)
    return msgspec.msgpack.encode(_Compact(rest, commons, address_commons, tuple(own)))


class _Numbers(Generic[T]):
    """Numbers of values that differ, from 0 on."""

    def __init__(self) -> None:
        self._known: dict[T, int] = {}
        self._last: tuple[T | None, int] = (None, -1)

    def number(self, value: T) -> int:
        last, number = self._last
        if value != last:  # neighbours are mostly alike, and comparing is less than hashing
            number = self._known.setdefault(value, len(self._known))
            self._last = (value, number)
        return number

    @property
    def all(self) -> tuple[T, ...]:
        return tuple(self._known)


def decode(data: bytes | memoryview) -> Configuration:
    """What `encode` was given. Raises msgspec.MsgspecError."""
    compact: _Compact = decoder(_Compact).decode(data)
    try:
        own = _renamed(compact.instances)
        instances = _put_together(compact.commons, compact.address_commons, own)
    except IndexError as exc:
        raise msgspec.DecodeError("a part of an instance is missing") from exc
    return replace(compact.rest, vrrp_instances=tuple(instances))


def _renamed(own: Sequence[_Instance]) -> Iterator[_Instance]:
    """The same with names that lie side by side: they outlive all else that is decoded, whose
    memory would be kept for the few of them that are in between."""
    names = [name.encode().decode() for _, name, _, _, _ in own]
    for name, one in zip(names, own, strict=True):
        yield (one[0], name, *one[2:])


class Packed(Sequence[VrrpInstance]):
    """Instances that take a fortieth of their memory, without their places in files: each is made
    anew whenever it is asked for."""

    def __init__(self, instances: Iterable[VrrpInstance]) -> None:
        commons, address_commons, own = _taken_apart(instances)
        # Objects made now would lie between others that are about to go, and keep their memory.
        self._shared = msgspec.msgpack.encode((commons, address_commons))
        self._commons: _Commons | None = None
        self._count = len(own)
        self._blocks = [
            msgspec.msgpack.encode(own[at : at + _PER_BLOCK])
            for at in range(0, len(own), _PER_BLOCK)
        ]
        self._last: tuple[int, list[VrrpInstance]] = (-1, [])  # neighbours are asked for in turn

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> VrrpInstance: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[VrrpInstance, ...]: ...
    def __getitem__(self, index: int | slice) -> VrrpInstance | tuple[VrrpInstance, ...]:
        if isinstance(index, slice):
            return tuple([self[n] for n in range(*index.indices(self._count))])
        number, place = divmod(range(self._count)[index], _PER_BLOCK)
        last, block = self._last
        if number != last:
            block = self._block(number)
            self._last = (number, block)
        return block[place]

    def __iter__(self) -> Iterator[VrrpInstance]:
        for number in range(len(self._blocks)):
            yield from self._block(number)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Packed | tuple):
            return NotImplemented
        return len(self) == len(other) and all(map(operator.eq, self, other))

    __hash__ = None  # type: ignore[assignment]  # as of a list: nobody needs one

    def _block(self, number: int) -> list[VrrpInstance]:
        own = decoder(list[_Instance]).decode(self._blocks[number])
        if self._commons is None:
            self._commons = decoder(_Commons).decode(self._shared)
        commons, address_commons = self._commons
        return _put_together(commons, address_commons, own)


def _taken_apart(
    instances: Iterable[VrrpInstance],
) -> tuple[tuple[VrrpInstance, ...], tuple[VirtualAddress, ...], list[_Instance]]:
    """What they have in common, what their addresses have, and what is each one's own."""
    commons: _Numbers[VrrpInstance] = _Numbers()
    address_commons: _Numbers[VirtualAddress] = _Numbers()
    own: list[_Instance] = [
        (
            commons.number(common_part(instance)),
            instance.name,
            instance.virtual_router_id,
            _addresses(instance.virtual_ipaddress, address_commons),
            _addresses(instance.virtual_ipaddress_excluded, address_commons),
        )
        for instance in instances
    ]
    return commons.all, address_commons.all, own


def _put_together(
    commons: Sequence[VrrpInstance],
    address_commons: Sequence[VirtualAddress],
    own: Iterable[_Instance],
) -> list[VrrpInstance]:
    """Raises IndexError when something in common is missing."""
    return [
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
        for common, name, vrid, addresses, excluded in own
    ]


class Instances:
    """The instances in what `encode` made, one at a time. Raises msgspec.MsgspecError."""

    def __init__(self, data: bytes, place: Position) -> None:
        """`place` is where their addresses are said to stand."""
        compact = decoder(_Routers).decode(data)
        self._commons = compact.commons
        self._address_commons = tuple(
            [replace(common, position=place) for common in compact.address_commons]
        )
        self._instances = compact.instances

    def __len__(self) -> int:
        return len(self._instances)

    def one(self, number: int, *, place: Position | None = None, **changes: Any) -> VrrpInstance:
        """One of them, with these changes; `place` is where its addresses are said to stand."""
        own = self._instances[number : number + 1]
        (made,) = _put_together(self._commons, self._address_commons, own)
        if place is not None:
            for name in ("virtual_ipaddress", "virtual_ipaddress_excluded"):
                addresses = getattr(made, name)
                changes[name] = tuple([replace(each, position=place) for each in addresses])
        return replace(made, **changes)


def warm_up() -> None:
    """Make what `decode` needs: to be called while there is nothing to decode yet."""
    decoder(_Compact)


@functools.cache
def decoder(kind: type[T]) -> msgspec.msgpack.Decoder[T]:
    """To make one takes as long as to decode thousands of instances."""
    return msgspec.msgpack.Decoder(kind)


def common_part(instance: VrrpInstance) -> VrrpInstance:
    """All but what makes an instance one of many: name, virtual router id, addresses, places."""
    if instance.notify == _SILENT and not (
        instance.virtual_routes
        or instance.virtual_rules
        or instance.track_interface
        or instance.track_script
        or instance.track_file
        or instance.track_process
        or instance.track_virtual_server
    ):
        return replace(instance, **_BLANK)
    changes = {name: without_places(getattr(instance, name)) for name in _PLACED}
    return replace(instance, **_BLANK, **changes)


def _addresses(
    addresses: Iterable[VirtualAddress], commons: _Numbers[VirtualAddress]
) -> tuple[_Address, ...]:
    if not addresses:
        return ()
    return tuple(
        [
            (commons.number(replace(address, address="", position=None)), address.address)
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
    if isinstance(value, Servers):
        return without_places(tuple(value))  # type: ignore[return-value]  # which equals it
    if isinstance(value, tuple) and value:
        parts = tuple([without_places(part) for part in value])
        if any(new is not old for new, old in zip(parts, value, strict=True)):
            return parts  # type: ignore[return-value]  # a tuple of the same types
    return value
