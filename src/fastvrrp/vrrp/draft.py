"""A configuration on its way to the engine: what runs, and what is about to."""

from __future__ import annotations

from array import array
from typing import Protocol

import msgspec

from fastvrrp import _core
from fastvrrp.config import model
from fastvrrp.config.compact import Packed
from fastvrrp.net.programs import Objects
from fastvrrp.vrrp import reload
from fastvrrp.vrrp.compile import Compiled, Record
from fastvrrp.vrrp.links import LinkSpec
from fastvrrp.vrrp.sharding import Placement
from fastvrrp.vrrp.slots import Slots, SlotTable


class RefusedError(Exception):
    """A configuration cannot be run; the text says why. Nothing was changed."""


class BusyError(RefusedError):
    """It can be run, but not at this moment."""


class Running(Protocol):
    """An instance that is committed. Two objects may stand for the same one: slots are compared."""

    compiled: Compiled
    tracking: tuple[int, int]
    """Adjustment and fault bits the engine knows."""

    @property
    def slot(self) -> int: ...
    @property
    def name(self) -> str: ...
    @property
    def record(self) -> Record: ...
    @property
    def instance(self) -> model.VrrpInstance:
        """As it is configured. It may be made anew each time: ask for what is needed once."""

    def fresh(self) -> Fresh:
        """It as an object of its own, that goes on when the roster is another one."""


class Fresh(msgspec.Struct, eq=False, gc=False):
    """One with everything about it (`Running`)."""

    slot: int
    origin: model.VrrpInstance | Packed
    compiled: Compiled
    tracking: tuple[int, int] = (0, 0)
    index: int = 0  # in `origin`, where that is many

    @property
    def name(self) -> str:
        return self.compiled.objects.owner

    @property
    def instance(self) -> model.VrrpInstance:
        origin = self.origin
        return origin[self.index] if isinstance(origin, Packed) else origin

    @property
    def record(self) -> Record:
        return self.compiled.record

    def fresh(self) -> Fresh:
        return self


class Entry(msgspec.Struct, eq=False):
    """An instance of a draft: what it continues, and what has to be committed (None: nothing)."""

    running: Fresh
    old: Fresh | None
    block: _core.Instance | None = None


class Draft(msgspec.Struct, eq=False):
    """A compiled configuration that is not in effect yet."""

    configuration: model.Configuration
    plan: reload.Plan
    static: Objects
    virtual: _core.AddressSet
    slots: Slots
    links: SlotTable[str]
    groups: SlotTable[str]
    specs: dict[str, LinkSpec] = {}
    sources: dict[tuple[int, int], bytes] = {}  # of adverts, by ifindex and family
    users: dict[str, array[int]] = {}  # positions of instances, by interface
    entries: list[Entry] = []
    placement: Placement | None = None  # None: there is one engine thread
