"""What thousands of owners install, in little memory: addresses without options on one interface,
which nearly all have and nothing else, as a few bytes each. Objects are made when they are asked
for.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from fastvrrp import _core
from fastvrrp._core import AddressItem
from fastvrrp.namelist import NameList, narrow, placed
from fastvrrp.net.objects import AddressKey
from fastvrrp.net.programs import NOTHING_MISSING, Objects

_HEAD = 3  # bytes of a packed item in front of its address; the first is the prefix length
_NOTHING = 0  # kind of who is not here


class _Kind(NamedTuple):
    """What the items of an owner have in common, and with those of many others."""

    ifindex: int
    family: int
    device: str
    mac: bytes


class Shelf:
    """Made once; afterwards owners can only be taken away."""

    def __init__(self, names: NameList, everything: Iterable[Objects | None]) -> None:
        """`everything` belongs to `names`, one by one; what is not plain is left out."""
        self.names = names
        self._kinds: list[_Kind | None] = [None]
        kind_of, ends = array("I"), array("I")
        numbers: dict[_Kind, int] = {}
        parts: list[bytes] = []
        hashes: list[int] = []  # of the items, one by one
        owners, begins = array("I"), array("I")  # whose each is, and where
        end = 0
        for position, objects in enumerate(everything):
            packed = None if objects is None else _packed(objects)
            kind = _NOTHING
            if objects is not None and packed is not None:
                first = objects.items[0]
                assert isinstance(first, AddressItem)
                key = first.key
                common = _Kind(key.ifindex, key.family, first.device, first.mac)
                kind = numbers.setdefault(common, len(numbers) + 1)
                if kind == len(self._kinds):
                    self._kinds.append(common)
                parts.append(packed)
                size = len(packed) // len(objects.items)
                for item in objects.items:
                    hashes.append(hash(item.key))
                    owners.append(position)
                    begins.append(end)
                    end += size
            kind_of.append(kind)
            ends.append(end)
        self._kind_of, self._ends = narrow(kind_of), narrow(ends)
        self._data = b"".join(parts)
        self._places = placed(hashes, len(hashes))
        each = array("I", range(len(names)))
        # None: each owner has one address, which is where its own begin.
        self._items_of = None if owners == each else (narrow(owners), narrow(begins))

    def __contains__(self, owner: str) -> bool:
        return self.has(self.names.find(owner))

    def has(self, position: int) -> bool:
        return position >= 0 and self._kind_of[position] != _NOTHING

    def take_away(self, owner: str) -> None:
        position = self.names.find(owner)
        if position >= 0:
            self._kind_of[position] = _NOTHING

    def owners(self) -> Iterator[str]:
        for name, kind in zip(self.names, self._kind_of, strict=True):
            if kind != _NOTHING:
                yield name

    def get(self, owner: str) -> Objects | None:
        """Made anew each time."""
        position = self.names.find(owner)
        kind = self._kinds[self._kind_of[position]] if position >= 0 else None
        if kind is None:
            return None
        return Objects(owner, self._items(position, kind, owner), NOTHING_MISSING)

    def find(self, key: AddressKey) -> list[AddressItem]:
        """Every item with this identity."""
        return [
            item
            for position, kind, begin in self._found(key)
            for item in self._unpacked(begin, begin + _size(key), kind, self.names[position])
        ]

    def owners_of(self, key: AddressKey) -> list[str]:
        """Of every item with this identity."""
        return [self.names[position] for position, _, _ in self._found(key)]

    def knows(self, key: AddressKey) -> bool:
        return any(True for _ in self._found(key))

    def _items(self, position: int, kind: _Kind, owner: str) -> tuple[AddressItem, ...]:
        return self._unpacked(self._begin(position), self._ends[position], kind, owner)

    def _begin(self, position: int) -> int:
        return self._ends[position - 1] if position else 0

    def _unpacked(self, begin: int, end: int, kind: _Kind, owner: str) -> tuple[AddressItem, ...]:
        return _core.unpack_items(
            self._data,
            begin,
            end,
            owner=owner,
            ifindex=kind.ifindex,
            family=kind.family,
            device=kind.device,
            mac=kind.mac,
        )

    def _found(self, key: AddressKey) -> Iterator[tuple[int, _Kind, int]]:
        """Who installs it, and where it begins: each item is found by itself, however many others
        its owner has."""
        if key.peer:
            return
        places, items_of, data = self._places, self._items_of, self._data
        mask = len(places) - 1
        at = hash(key) & mask
        prefixlen, address = key.prefixlen, key.address
        size = _HEAD + len(address)
        while number := places[at]:
            position = number - 1 if items_of is None else items_of[0][number - 1]
            kind = self._kinds[self._kind_of[position]]
            if kind is not None and kind.ifindex == key.ifindex and kind.family == key.family:
                begin = self._begin(position) if items_of is None else items_of[1][number - 1]
                if data[begin] == prefixlen and data[begin + _HEAD : begin + size] == address:
                    yield position, kind, begin
            at = (at + 1) & mask


def _size(key: AddressKey) -> int:
    return _HEAD + len(key.address)


def _packed(objects: Objects) -> bytes | None:
    if objects.missing or objects.tracked:
        return None
    packed = _core.pack_items(objects.items)
    if packed is None or objects.items[0].owner != objects.owner:
        return None
    return packed
