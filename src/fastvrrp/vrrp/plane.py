"""What runs: instances with their slots and records, and the changes from one to the next.

`prepare` compiles a configuration without touching anything, `commit` puts it into effect in one
step, and `refresh` compiles anew what an interface or an address made different. Only what really
differs reaches the engine.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from msgspec.structs import replace

from fastvrrp import _core
from fastvrrp.config import model
from fastvrrp.config.compact import Packed
from fastvrrp.namelist import NameList
from fastvrrp.net.addresses import packed
from fastvrrp.net.devices import virtual_macs
from fastvrrp.net.objects import Address, AddressKey
from fastvrrp.net.observed import Observed, primary_source
from fastvrrp.net.programs import STATIC, Item, Objects, static_objects
from fastvrrp.net.reconcile import Desired
from fastvrrp.vrrp import reload
from fastvrrp.vrrp.apart import memory_apart
from fastvrrp.vrrp.compile import (
    Announcement,
    Compiled,
    Context,
    Record,
    compile_instance,
    forget_patterns,
    virtual_addresses,
)
from fastvrrp.vrrp.differences import Wanted, readdressed, taken
from fastvrrp.vrrp.draft import Draft, Entry, Fresh, RefusedError, Running
from fastvrrp.vrrp.engine_client import EngineClient
from fastvrrp.vrrp.links import ABSENT, PSEUDO, Kin, link_keys, link_specs
from fastvrrp.vrrp.linktable import LinkTable
from fastvrrp.vrrp.natives import Natives
from fastvrrp.vrrp.placing import Placer
from fastvrrp.vrrp.roster import Roster
from fastvrrp.vrrp.shards import Shards
from fastvrrp.vrrp.slots import CapacityError, Slots, SlotTable

RETIRED = "\0retired"
"""Owner of what a change took from an instance: never active, so that a reconciliation removes
what the change program did not reach. No instance has this name."""

TRACKER_FAULTS = (
    _core.FAULT_SCRIPT
    | _core.FAULT_FILE
    | _core.FAULT_PROCESS
    | _core.FAULT_SERVER
    | _core.FAULT_STATIC
    | _core.FAULT_AWAIT
)

TrackerState = Callable[[str], tuple[int, int]]
"""Adjustment and fault bits of an instance by name."""


class Capacity(NamedTuple):
    """What the engine was made for."""

    instances: int
    links: int
    groups: int


class Plane:
    """The running instances. All methods belong to the event loop."""

    def __init__(
        self,
        client: EngineClient,
        observed: Callable[[], Observed],
        capacity: Capacity,
        *,
        tracker_state: TrackerState,
        hold_until_ns: int = 0,
        forwarding: Callable[[str], bool] = lambda interface: False,
    ) -> None:
        """`observed` gives the kernel's state at the time it is called; `hold_until_ns` is the
        monotonic time until which no instance speaks or listens (vrrp_startup_delay)."""
        self.client = client
        self.configuration = model.Configuration()
        self.running: Mapping[str, Running] = {}
        self.desired = Desired()
        self.virtual = _core.AddressSet()
        self.natives = Natives(observed, self.desired.knows)
        self.links = LinkTable(client, capacity.links)
        self._observed = observed
        self._tracker_state = tracker_state
        self._hold_until_ns = hold_until_ns
        self._forwarding = forwarding
        self._by_slot: Sequence[Running | None] = []
        self._names: Sequence[str] = []  # of those that run, in the order of the configuration
        self._leaving: dict[int, tuple[int, Running]] = {}  # by slot, with the epoch
        self._slots = Slots("instances", capacity.instances)
        self._groups: SlotTable[str] = SlotTable("sync groups", capacity.groups)
        self._records: dict[Record, Record] = {}  # each that is in use, as one object
        self._users: dict[str, array[int]] = {}  # interface name to numbers of `_names`
        self._sources: dict[tuple[int, int], bytes] = {}  # of adverts, by ifindex and family
        self._tracked_sources: set[bytes] = set()  # configured ones that have to be there

    # ---------------------------------------------------------------- look-ups

    @property
    def observed(self) -> Observed:
        return self._observed()

    def by_slot(self, slot: int) -> Running | None:
        """The instance in a slot, also one whose removal is not confirmed yet."""
        try:
            running = self._by_slot[slot]
        except IndexError:
            running = None
        if running is None and slot in self._leaving:
            return self._leaving[slot][1]
        return running

    def is_leaving(self, slot: int) -> bool:
        return slot in self._leaving

    def group_name(self, slot: int) -> str | None:
        return next((name for name, s in self._groups.slots.items() if s == slot), None)

    def group_slot(self, name: str) -> int | None:
        return self._groups.get(name)

    def state(self, name: str) -> int:
        """Of an instance; INIT when it is unknown."""
        running = self.running.get(name)
        return _core.INIT if running is None else self.client.state(running.slot)

    def active(self) -> set[str]:
        """Names of the instances in MASTER."""
        by_slot = self._by_slot
        masters = [slot for slot in self.client.masters() if slot < len(by_slot)]  # not who leaves
        found = (by_slot[slot] for slot in masters)
        return {running.name for running in found if running is not None}

    # ---------------------------------------------------------------- a new configuration

    def prepare(self, configuration: model.Configuration) -> Draft:
        """Compile everything. Raises RefusedError; changes nothing."""
        try:
            with memory_apart():
                return self._prepare(configuration)
        except CapacityError as exc:
            raise RefusedError(str(exc)) from exc
        except (ValueError, OSError) as exc:
            raise RefusedError(f"the configuration cannot be run: {exc}") from exc

    def _prepare(self, configuration: model.Configuration) -> Draft:
        observed = self.observed
        plan = reload.plan(self.configuration, configuration)
        groups = {group.name: group for group in configuration.sync_groups}
        draft = Draft(
            configuration,
            plan,
            static_objects(configuration, observed.interfaces, observed.vrf_tables),
            virtual_addresses(configuration),
            self._slots.copy(),
            self.links.slots.copy(),
            self._groups.copy(),
        )
        keys: set[str] = set()
        kin = Kin(configuration.vrrp_instances)
        users: list[list[array[int]]] = []  # of the links of alike instances
        for common in kin.commons:
            names = link_keys(common, groups.get(common.sync_group or ""), observed)
            keys |= names
            if common.interface is not None:
                names.add(common.interface)
            names = {name.removeprefix(PSEUDO) for name in names}
            users.append([draft.users.setdefault(name, array("I")) for name in names])
        for position, kind in enumerate(kin.kinds):
            for using in users[kind]:
                using.append(position)
        self.links.rename(draft.links, keys, observed)
        for key in sorted(keys):
            draft.links.take(key)
        for name in groups:
            draft.groups.take(name)
        draft.specs = link_specs(configuration, keys, observed, kin)
        context = self._context(configuration, draft.virtual, draft.links, draft.groups)
        placer = self._placer()
        seating = plan.pairs if placer is None else placer.assign(draft, observed)
        slots = {pair.new.name: self._slot(draft, pair) for pair in seating}
        for kind, pair in zip(kin.kinds, plan.pairs, strict=True):
            draft.entries.append(self._entry(draft, pair, slots[pair.new.name], context, kind))
        if placer is not None:
            draft.placement = placer.placement(draft)
        draft.sources = context.sources
        return draft

    def _placer(self) -> Placer | None:
        engine = self.client.engine
        if not isinstance(engine, Shards):
            return None
        return Placer(engine, self.running, self.configuration)

    def _slot(self, draft: Draft, pair: reload.Pair) -> int:
        return draft.slots.take() if pair.old is None else self.running[pair.old.name].slot

    def _entry(
        self, draft: Draft, pair: reload.Pair, slot: int, context: Context, kind: int
    ) -> Entry:
        old = None if pair.old is None else self.running[pair.old.name].fresh()
        compiled = self._compile(pair.new, context, kind)
        if old is not None and compiled == old.compiled:
            compiled = old.compiled  # what is there already needs no memory of its own
        entry = Entry(Fresh(slot, pair.new, compiled), old)
        if old is None or not compiled.same(old.compiled):
            # With the core's own checks: now and not at the commit.
            entry.block = self._build(entry.running, compiled, old)
        return entry

    def _context(
        self,
        configuration: model.Configuration,
        virtual: _core.AddressSet,
        links: SlotTable[str],
        groups: SlotTable[str],
    ) -> Context:
        return Context(
            observed=self.observed,
            links=links.slots,
            group_slots=groups.slots,
            groups={group.name: group for group in configuration.sync_groups},
            virtual=virtual,
            defs=configuration.global_defs,
            hold_until_ns=self._hold_until_ns,
            forwarding=self._forwarding,
            is_native=self.natives,
            records=self._records,
            virtual_macs=frozenset(virtual_macs(configuration)),
        )

    def _compile(
        self, instance: model.VrrpInstance, context: Context, kind: int | None = None
    ) -> Compiled:
        try:
            return compile_instance(instance, context, kind)
        except (ValueError, OSError) as exc:
            raise RefusedError(f"instance {instance.name}: {exc}") from exc

    def _build(
        self,
        running: Running,
        compiled: Compiled,
        old: Running | None,
        wanted: Wanted | None = None,
    ) -> _core.Instance:
        """What to commit, and `running` remembers the trackers' state that goes along."""
        running.tracking = self._tracker_state(running.name)
        adjust, fault = running.tracking
        try:
            return compiled.instance(
                running.slot,
                previous=None if old is None else old.compiled,
                adjust=adjust,
                fault=fault,
                wanted=(lambda item: False) if wanted is None else wanted.by_others(running.name),
            )
        except ValueError as exc:
            raise RefusedError(f"instance {running.name}: {exc}") from exc

    def commit(self, draft: Draft) -> int:
        """Put a draft into effect; returns the epoch of the commit.

        Raises RefusedError when sockets cannot be made: nothing was changed then. PermissionError
        passes.
        """
        instances = list(self._blocks(draft))
        engine = self.client.engine
        if isinstance(engine, Shards) and draft.placement is not None:
            engine.place(draft.placement)
        try:
            self.links.define_before(draft.links, draft.specs)
        except PermissionError:
            raise
        except OSError as exc:
            raise RefusedError(f"interface {exc.filename}: {exc.strerror}") from exc
        removed = [self.running[instance.name].fresh() for instance in draft.plan.removed]
        epoch = self.client.commit(instances, remove=[r.slot for r in removed])
        for entry in draft.entries:
            old = entry.old
            if entry.block is None or old is None:
                continue
            if readdressed(old.compiled, entry.running.compiled):
                self.client.engine.replay(entry.running.slot)
        for running in removed:
            draft.slots.release(running.slot, epoch)
            self._leaving[running.slot] = (epoch, running)
        draft.groups.retain((g.name for g in draft.configuration.sync_groups), epoch)
        kept = [entry for entry in draft.entries if entry.block is None]
        for entry in kept:
            if entry.old is not None:
                # Trackers may have spoken since the draft was made, and `old` may be a copy.
                entry.running.tracking = self.running[entry.old.name].tracking
        self._adopt(draft, removed)
        self.links.adopt(draft.links, draft.specs, epoch)
        for entry in kept:
            self.set_tracking(entry.running.name, *self._tracker_state(entry.running.name))
        return epoch

    def pack(self) -> NameList:
        """Keep the configuration in little memory, now that it is in effect; returns the names of
        those that run."""
        packed_ones = Packed(self.configuration.vrrp_instances)
        self.configuration = replace(self.configuration, vrrp_instances=packed_ones)
        self._names = names = NameList(self.running)  # in the same order (`_adopt`)
        self.desired.pack(names)
        roster = Roster(names, list(self.running.values()), packed_ones, self.desired)
        self.running, self._by_slot = roster, roster.by_slot()
        forget_patterns()
        return names

    def _blocks(self, draft: Draft) -> Iterator[_core.Instance]:
        """What was built when the draft was made, unless the trackers have spoken since; what
        takes something away is built now that it is known who is master."""
        wanted = Wanted(lambda: self._wanted(draft))
        for entry in draft.entries:
            if entry.block is None:
                continue
            running, old = entry.running, entry.old
            if old is not None or running.tracking != self._tracker_state(running.name):
                entry.block = self._build(running, running.compiled, old, wanted)
            yield entry.block

    def _wanted(self, draft: Draft) -> Iterator[Objects]:
        yield draft.static
        for entry in draft.entries:
            if entry.old is not None and self.client.state(entry.old.slot) == _core.MASTER:
                yield entry.running.compiled.objects

    def _adopt(self, draft: Draft, removed: Iterable[Running]) -> None:
        gone: list[Item] = []
        for running in removed:
            gone += running.compiled.objects.items
        names = {instance.name for instance in draft.configuration.vrrp_instances}
        for owner in self.running.keys() - names:
            self.desired.remove(owner)
        old_static = self.desired.get(STATIC)
        if old_static is not None:
            gone += taken(old_static, draft.static)
        for entry in draft.entries:
            compiled, old = entry.running.compiled, entry.old
            if old is not None:
                gone += taken(old.compiled.objects, compiled.objects)
            if old is None or old.compiled.objects is not compiled.objects:
                self.desired.put(compiled.objects)
        self.desired.put(draft.static)
        self._retire(gone)
        self.natives.forget_others()
        self.running = {entry.running.name: entry.running for entry in draft.entries}
        self._names = list(self.running)
        highest = max((entry.running.slot for entry in draft.entries), default=-1)
        by_slot: list[Running | None] = [None] * (highest + 1)
        for entry in draft.entries:
            by_slot[entry.running.slot] = entry.running
        self._by_slot = by_slot
        different = {id(r.record): r.record for r in self.running.values()}
        self._records = {record: record for record in different.values()}
        self._slots, self._groups = draft.slots, draft.groups
        self.configuration = draft.configuration
        self.virtual = draft.virtual
        self._users = draft.users
        self._sources = draft.sources
        self._tracked_sources = {
            packed(instance.source, instance.family)
            for instance in draft.configuration.vrrp_instances
            if instance.track_src_ip and instance.source is not None
        }

    def confirmed(self, epoch: int) -> list[Running]:
        """The engine has committed `epoch`: slots are free again. Returns who is gone."""
        gone = [running for at, running in self._leaving.values() if at <= epoch]
        for running in gone:
            del self._leaving[running.slot]
            self.client.forget(running.slot)
        self.links.committed(epoch)
        self._slots.committed(epoch)
        self._groups.committed(epoch)
        return gone

    # ---------------------------------------------------------------- what changes by itself

    def users(self, interfaces: Iterable[str]) -> set[str]:
        """Instances that use any of these interfaces."""
        found: set[str] = set()
        for interface in interfaces:
            found.update([self._names[number] for number in self._users.get(interface, ())])
        return found

    def concerns(self, key: AddressKey, *, ours: bool) -> bool:
        """Whether an address that came or went can make a difference to an instance. `ours`: it
        carries our mark."""
        if key.address in self._tracked_sources:
            return True
        if key.address in self.virtual:
            return False
        if not ours or not self.desired.knows(key):
            return True
        # An owner's own one: it counts only if adverts come from another address for it.
        return self._has_new_source(key.ifindex, key.family)

    def concerning(self, came: Iterable[Address]) -> list[Address]:
        """Those of many new addresses with our mark that `concerns` is true of."""
        moved: dict[tuple[int, int], bool] = {}  # by ifindex and family
        found = []
        for address in came:
            key = address.key
            packed = key.address
            if packed in self.virtual and packed not in self._tracked_sources:
                continue
            place = (key.ifindex, key.family)
            if place not in moved:
                moved[place] = self._has_new_source(*place)
            if moved[place] or packed in self._tracked_sources or not self.desired.knows(key):
                found.append(address)
        return found

    def _has_new_source(self, ifindex: int, family: int) -> bool:
        """Whether adverts would leave an interface from another address than they do."""
        known = self._sources.get((ifindex, family))
        return known is not None and known != primary_source(
            self.observed, ifindex, family, self.virtual
        )

    def refresh(self, names: Collection[str], *, renew: Collection[str] = ()) -> bool:
        """Compile instances anew against the kernel's present state; commit what differs.

        Also follows interfaces that came, went or were replaced, and rebuilds the static objects
        when `names` is given at all. The interfaces `renew` get new sockets in any case. Returns
        whether anything changed. Raises RefusedError, and has changed nothing then.
        """
        touched = [self.running[name] for name in sorted(names & self.running.keys())]
        if self._is_misnamed(touched):
            self.commit(self.prepare(self.configuration))
            return True
        context = self._context(self.configuration, self.virtual, self.links.slots, self._groups)
        changed: list[tuple[Running, Compiled]] = []
        for running in touched:
            compiled = self._compile(running.instance, context)
            if not compiled.same(running.compiled):
                changed.append((running, compiled))
            elif compiled.objects != running.compiled.objects:
                running.compiled = compiled
                self.desired.put(compiled.objects)
        blocks = self._rebuild(changed)
        self._sources |= context.sources
        moved = self.links.moved(self.observed)
        for key, spec in moved.items():
            # Nobody may be master on an interface that its program was not made for.
            self.links.define(key, spec._replace(ifindex=ABSENT))
        if changed:
            self._recommit(changed, blocks)
        for key, spec in moved.items():
            self.links.define(key, spec)
        self.links.renew([key for key in renew if key not in moved])
        observed = self.observed
        static = static_objects(self.configuration, observed.interfaces, observed.vrf_tables)
        old = self.desired.get(STATIC)
        if static != old:
            if old is not None:
                self._retire(taken(old, static))  # a VRF device went, its routes did not
            self.desired.put(static)
            return True
        return bool(changed or moved)

    def _is_misnamed(self, touched: Iterable[Running]) -> bool:
        """Whether a name in the configuration means an interface that has no link by now: one
        that is configured by an alternative name has appeared, or its first name has changed."""
        groups = {group.name: group for group in self.configuration.sync_groups}
        observed, slots = self.observed, self.links.slots
        return any(
            key not in slots
            for running in touched
            for key in link_keys(
                running.instance, groups.get(running.instance.sync_group or ""), observed
            )
        )

    def _rebuild(self, changed: list[tuple[Running, Compiled]]) -> list[_core.Instance]:
        new = {running.name: compiled for running, compiled in changed}

        def active() -> Iterator[Objects]:
            for name in self.active():
                yield new.get(name, self.running[name].compiled).objects
            static = self.desired.get(STATIC)
            if static is not None:
                yield static

        wanted = Wanted(active)
        return [self._build(running, compiled, running, wanted) for running, compiled in changed]

    def _recommit(
        self, changed: list[tuple[Running, Compiled]], blocks: list[_core.Instance]
    ) -> None:
        self.client.commit(blocks)
        gone: list[Item] = []
        for running, compiled in changed:
            gone += taken(running.compiled.objects, compiled.objects)
            is_readdressed = readdressed(running.compiled, compiled)
            running.compiled = compiled
            self.desired.put(compiled.objects)
            if is_readdressed:
                self.client.engine.replay(running.slot)
        self._retire(gone)

    def set_tracking(self, name: str, adjust: int, fault: int) -> None:
        """Trackers changed; a name that does not run (yet) is ignored: its commit will ask."""
        running = self.running.get(name)
        if running is not None and running.tracking != (adjust, fault):
            running.tracking = (adjust, fault)
            engine = self.client.engine
            # A fault begins before the priority changes and ends after it: in between there would
            # be a state with a priority that it never had.
            engine.fault(running.slot, set=fault)
            engine.adjust(running.slot, adjust)
            engine.fault(running.slot, clear=TRACKER_FAULTS & ~fault)

    def forwarding_changed(self, instances: Iterable[Running]) -> list[str]:
        """Names of those whose announcements have a router flag that is out of date."""
        links = self.observed.links
        forwarding: dict[int, bool] = {}

        def is_outdated(a: Announcement) -> bool:
            link = links.get(a.ifindex)
            if a.family != 6 or link is None:
                return False
            if a.ifindex not in forwarding:
                forwarding[a.ifindex] = self._forwarding(link.name)
            return a.router != forwarding[a.ifindex]

        return [one.name for one in instances if any(map(is_outdated, one.compiled.announcements))]

    # ---------------------------------------------------------------- what was given up

    def _retire(self, items: Iterable[Item]) -> None:
        old = self.desired.get(RETIRED)
        kept = {(item.key, item.hops): item for item in (old.items if old else ())}
        kept.update({(i.key, i.hops): i._replace(owner=RETIRED) for i in items if not i.native})
        self._put_retired(kept.values())

    def purge_retired(self, is_needed: Callable[[Item], bool]) -> None:
        """Forget what no reconciliation has to look for any more."""
        old = self.desired.get(RETIRED)
        if old is not None:
            self._put_retired(item for item in old.items if is_needed(item))

    def _put_retired(self, items: Iterable[Item]) -> None:
        objects = Objects(RETIRED, tuple(items), frozenset())
        if objects.items:
            self.desired.put(objects)
        else:
            self.desired.remove(RETIRED)
