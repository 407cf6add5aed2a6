"""What runs: instances with their slots and records, links, and the changes from one to the next.

`prepare` compiles a configuration without touching anything, `commit` puts it into effect in one
step, and `refresh` compiles anew what an interface or an address made different. Only what really
differs reaches the engine.
"""

from __future__ import annotations

import errno
import itertools
import logging
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from fastvrrp import _core
from fastvrrp.config import model
from fastvrrp.net.observed import Observed
from fastvrrp.net.programs import STATIC, Item, Objects, static_objects
from fastvrrp.net.reconcile import Desired
from fastvrrp.vrrp import reload
from fastvrrp.vrrp.compile import (
    Compiled,
    Context,
    Record,
    compile_instance,
    virtual_addresses,
)
from fastvrrp.vrrp.differences import Wanted, readdressed, taken
from fastvrrp.vrrp.engine_client import EngineClient
from fastvrrp.vrrp.links import ABSENT, PSEUDO, LinkSpec, ifindex_of, link_keys, link_specs
from fastvrrp.vrrp.natives import Natives
from fastvrrp.vrrp.slots import CapacityError, SlotTable

log = logging.getLogger(__name__)

RETIRED = "\0retired"
"""Owner of what a change took from an instance: never active, so that a reconciliation removes
what the change program did not reach. No instance has this name."""

TRACKER_FAULTS = _core.FAULT_SCRIPT | _core.FAULT_FILE | _core.FAULT_PROCESS | _core.FAULT_AWAIT

TrackerState = Callable[[str], tuple[int, int]]
"""Adjustment and fault bits of an instance by name."""


class RefusedError(Exception):
    """A configuration cannot be run; the text says why. Nothing was changed."""


class Capacity(NamedTuple):
    """What the engine was made for."""

    instances: int
    links: int
    groups: int


@dataclass(slots=True, eq=False)
class Running:
    """An instance that is committed."""

    ident: int
    slot: int
    instance: model.VrrpInstance
    compiled: Compiled
    tracking: tuple[int, int] = (0, 0)  # adjustment and fault bits the engine knows

    @property
    def name(self) -> str:
        return self.instance.name

    @property
    def record(self) -> Record:
        return self.compiled.record


@dataclass(slots=True, eq=False)
class Draft:
    """A compiled configuration that is not in effect yet."""

    configuration: model.Configuration
    plan: reload.Plan
    static: Objects
    slots: SlotTable[int]
    links: SlotTable[str]
    groups: SlotTable[str]
    specs: dict[str, LinkSpec]
    entries: list[tuple[Running, Running | None]] = field(default_factory=list)


class Plane:
    """The running instances of one engine. All methods belong to the event loop."""

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
        self.running: dict[str, Running] = {}
        self.desired = Desired()
        self.virtual: frozenset[bytes] = frozenset()
        self.natives = Natives(observed, lambda key: bool(self.desired.items(key)))
        self._observed = observed
        self._tracker_state = tracker_state
        self._hold_until_ns = hold_until_ns
        self._forwarding = forwarding
        self._idents = itertools.count(1)
        self._by_slot: dict[int, Running] = {}
        self._leaving: dict[int, tuple[int, Running]] = {}  # by slot, with the epoch
        self._slots: SlotTable[int] = SlotTable("instances", capacity.instances)
        self._links: SlotTable[str] = SlotTable("interfaces", capacity.links)
        self._groups: SlotTable[str] = SlotTable("sync groups", capacity.groups)
        self._defined: dict[int, LinkSpec] = {}  # by link slot
        self._unusable: dict[str, int | None] = {}  # errno that was logged for a link
        self._unused_links: dict[int, int] = {}  # link slot to the epoch that freed it
        self._narrower: dict[
            int, tuple[int, LinkSpec]
        ] = {}  # by link slot: filters from an epoch on
        self._users: dict[str, set[str]] = {}  # interface name to instances

    # ---------------------------------------------------------------- look-ups

    @property
    def observed(self) -> Observed:
        return self._observed()

    def by_slot(self, slot: int) -> Running | None:
        """The instance in a slot, also one whose removal is not confirmed yet."""
        running = self._by_slot.get(slot)
        if running is None and slot in self._leaving:
            return self._leaving[slot][1]
        return running

    def is_leaving(self, running: Running) -> bool:
        return self._by_slot.get(running.slot) is not running

    def group_name(self, slot: int) -> str | None:
        return next((name for name, s in self._groups.slots.items() if s == slot), None)

    def group_slot(self, name: str) -> int | None:
        return self._groups.get(name)

    def link_name(self, slot: int) -> str | None:
        return next((key for key, s in self._links.slots.items() if s == slot), None)

    def link_slot(self, key: str) -> int | None:
        return self._links.get(key)

    def state(self, name: str) -> int:
        """Of an instance; INIT when it is unknown."""
        running = self.running.get(name)
        return _core.INIT if running is None else self.client.state(running.slot)

    def active(self) -> set[str]:
        """Names of the instances in MASTER."""
        return {
            running.name
            for slot in self.client.masters()
            if (running := self._by_slot.get(slot)) is not None
        }

    # ---------------------------------------------------------------- a new configuration

    def prepare(self, configuration: model.Configuration) -> Draft:
        """Compile everything. Raises RefusedError; changes nothing."""
        try:
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
            static_objects(configuration, observed.interfaces),
            self._slots.copy(),
            self._links.copy(),
            self._groups.copy(),
            {},
        )
        keys: set[str] = set()
        for instance in configuration.vrrp_instances:
            keys |= link_keys(instance, groups.get(instance.sync_group or ""), observed)
        for key in sorted(keys):
            draft.links.take(key)
        for name in groups:
            draft.groups.take(name)
        draft.specs = link_specs(configuration, keys, observed)
        context = self._context(configuration, draft.links, draft.groups)
        for pair in plan.pairs:
            old = None if pair.old is None else self.running[pair.old.name]
            ident = next(self._idents) if old is None else old.ident
            slot = draft.slots.take(ident)
            compiled = self._compile(pair.new, context)
            draft.entries.append((Running(ident, slot, pair.new, compiled), old))
        return draft

    def _context(
        self,
        configuration: model.Configuration,
        links: SlotTable[str],
        groups: SlotTable[str],
    ) -> Context:
        return Context(
            observed=self.observed,
            links=links.slots,
            group_slots=groups.slots,
            groups={group.name: group for group in configuration.sync_groups},
            virtual=virtual_addresses(configuration),
            hold_until_ns=self._hold_until_ns,
            forwarding=self._forwarding,
            is_native=self.natives,
        )

    def _compile(self, instance: model.VrrpInstance, context: Context) -> Compiled:
        try:
            compiled = compile_instance(instance, context)
            compiled.record.instance(0)  # the core's own checks, now and not at the commit
        except (ValueError, OSError) as exc:
            raise RefusedError(f"instance {instance.name}: {exc}") from exc
        return compiled

    def commit(self, draft: Draft) -> int:
        """Put a draft into effect; returns the epoch of the commit.

        Raises RefusedError when sockets cannot be made: nothing was changed then. PermissionError
        passes.
        """
        wanted = Wanted(
            entry.compiled.objects
            for entry, old in draft.entries
            if old is not None and self.state(old.name) == _core.MASTER
        )
        wanted.add(draft.static)
        instances = []
        for entry, old in draft.entries:
            if old is None or old.record != entry.record:
                instances.append(self._build(entry, old, entry.record, wanted))
        self._define_before(draft)
        removed = [self.running[instance.name] for instance in draft.plan.removed]
        epoch = self.client.commit(instances, remove=[r.slot for r in removed])
        for running in removed:
            draft.slots.release(running.ident, epoch)
            self._leaving[running.slot] = (epoch, running)
        draft.groups.retain((g.name for g in draft.configuration.sync_groups), epoch)
        self._unused_links.update(
            dict.fromkeys(draft.links.retain(draft.specs.keys(), epoch), epoch)
        )
        self._adopt(draft, removed)
        self._narrower = {self._links[key]: (epoch, spec) for key, spec in draft.specs.items()}
        for key, spec in draft.specs.items():
            # present sockets hear those that leave until the engine has committed their removal
            if self._defined[self._links[key]].accepting(spec) != spec:
                self._define(key, spec)
        for entry, old in draft.entries:
            if old is not None and old.record == entry.record:
                entry.tracking = old.tracking
                self.set_tracking(entry.name, *self._tracker_state(entry.name))
        return epoch

    def _build(
        self, running: Running, old: Running | None, record: Record, wanted: Wanted
    ) -> _core.Instance:
        running.tracking = self._tracker_state(running.name)
        adjust, fault = running.tracking
        return record.instance(
            running.slot,
            previous=None if old is None else old.record,
            adjust=adjust,
            fault=fault,
            wanted=wanted.by_others(running.name),
        )

    def _define_before(self, draft: Draft) -> None:
        """Links that the commit needs: new ones, and more families or groups on known ones."""
        fresh: list[int] = []
        for key, spec in draft.specs.items():
            slot = draft.links[key]
            known = self._defined.get(slot)
            wanted = spec if known is None else known.joined(spec)
            if wanted == known:
                continue
            try:
                self._tell_link(slot, wanted)
            except OSError as exc:
                if exc.errno in (errno.EPERM, errno.EACCES):
                    raise PermissionError(exc.errno, str(exc)) from exc
                if wanted.ifindex == ABSENT or exc.errno == errno.ENODEV:
                    # It vanished this moment; the monitor will say so, and when it is back.
                    self._tell_link(slot, wanted._replace(ifindex=ABSENT))
                    continue
                for other in fresh:
                    self._tell_link(other, LinkSpec(ABSENT))
                    del self._defined[other]
                raise RefusedError(f"interface {key}: {exc.strerror}") from exc
            if known is None:
                fresh.append(slot)

    def _adopt(self, draft: Draft, removed: Iterable[Running]) -> None:
        gone: list[Item] = []
        for running in removed:
            gone += running.compiled.objects.items
        for owner in [name for name in self.running if self.desired.get(name) is not None]:
            self.desired.remove(owner)
        old_static = self.desired.get(STATIC)
        if old_static is not None:
            gone += taken(old_static, draft.static)
        for entry, old in draft.entries:
            if old is not None:
                gone += taken(old.compiled.objects, entry.compiled.objects)
            self.desired.put(entry.compiled.objects)
        self.desired.put(draft.static)
        self._retire(gone)
        self.running = {entry.name: entry for entry, _ in draft.entries}
        self._by_slot = {entry.slot: entry for entry, _ in draft.entries}
        self._slots, self._links, self._groups = draft.slots, draft.links, draft.groups
        self.configuration = draft.configuration
        self.virtual = virtual_addresses(draft.configuration)
        self._index_users()

    def _index_users(self) -> None:
        groups = {group.name: group for group in self.configuration.sync_groups}
        self._users = {}
        observed = self.observed
        for name, running in self.running.items():
            group = groups.get(running.instance.sync_group or "")
            names = link_keys(running.instance, group, observed)
            if running.instance.interface is not None:
                names.add(running.instance.interface)
            for interface in names:
                self._users.setdefault(interface.removeprefix(PSEUDO), set()).add(name)

    def confirmed(self, epoch: int) -> list[Running]:
        """The engine has committed `epoch`: slots are free again. Returns who is gone."""
        gone = [running for at, running in self._leaving.values() if at <= epoch]
        for running in gone:
            del self._leaving[running.slot]
            self.client.forget(running.slot)
        for slot in [s for s, at in self._unused_links.items() if at <= epoch]:
            del self._unused_links[slot]
            self._tell_link(slot, LinkSpec(ABSENT))
            del self._defined[slot]
        for slot in [s for s, (at, _) in self._narrower.items() if at <= epoch]:
            known, spec = self._defined[slot], self._narrower.pop(slot)[1]
            self._tell_link(slot, known.accepting(spec))
        for table in (self._slots, self._links, self._groups):
            table.committed(epoch)
        return gone

    # ---------------------------------------------------------------- what changes by itself

    def users(self, interfaces: Iterable[str]) -> set[str]:
        """Instances that use any of these interfaces."""
        found: set[str] = set()
        for interface in interfaces:
            found |= self._users.get(interface, set())
        return found

    def refresh(self, names: Collection[str], *, renew: Collection[str] = ()) -> bool:
        """Compile instances anew against the kernel's present state; commit what differs.

        Also follows interfaces that came, went or were replaced, and rebuilds the static objects
        when `names` is given at all. The interfaces `renew` get new sockets in any case. Returns
        whether anything changed.
        """
        moved = self._moved_links()
        for key, spec in moved.items():
            self._define(key, spec._replace(ifindex=ABSENT))
        context = self._context(self.configuration, self._links, self._groups)
        changed: list[tuple[Running, Compiled]] = []
        for name in sorted(names & self.running.keys()):
            running = self.running[name]
            compiled = self._compile(running.instance, context)
            if compiled.record != running.record:
                changed.append((running, compiled))
            elif compiled.objects != running.compiled.objects:
                running.compiled = compiled
                self.desired.put(compiled.objects)
        if changed:
            self._recommit(changed)
        for key, spec in moved.items():
            self._define(key, spec)
        for key in renew:
            slot = self._links.get(key)
            if slot is not None and key not in moved and self._defined[slot].ifindex != ABSENT:
                self._define(key, self._defined[slot], anew=True)
        static = static_objects(self.configuration, self.observed.interfaces)
        if static != self.desired.get(STATIC):
            self.desired.put(static)
            return True
        return bool(changed or moved)

    def _moved_links(self) -> dict[str, LinkSpec]:
        moved = {}
        for key, slot in self._links.slots.items():
            known = self._defined[slot]
            vrf = key.removeprefix(PSEUDO) if key.startswith(PSEUDO) else ""
            spec = known._replace(
                ifindex=ifindex_of(key, self.observed),
                vrf_ifindex=self.observed.interfaces.get(vrf, 0) if vrf else 0,
            )
            if spec != known:
                moved[key] = spec
        return moved

    def _recommit(self, changed: list[tuple[Running, Compiled]]) -> None:
        new = {running.name: compiled for running, compiled in changed}
        wanted = Wanted(
            new.get(name, self.running[name].compiled).objects for name in self.active()
        )
        static = self.desired.get(STATIC)
        if static is not None:
            wanted.add(static)
        instances = [
            self._build(running, running, compiled.record, wanted) for running, compiled in changed
        ]
        self.client.commit(instances)
        gone: list[Item] = []
        for running, compiled in changed:
            gone += taken(running.compiled.objects, compiled.objects)
            is_readdressed = readdressed(running.record, compiled.record)
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
            engine.adjust(running.slot, adjust)
            engine.fault(running.slot, set=fault, clear=TRACKER_FAULTS & ~fault)

    def forwarding_changed(self, running: Running) -> bool:
        """Whether the router flag of an instance's announcements is out of date."""
        links = self.observed.links
        return any(
            a.family == 6
            and (link := links.get(a.ifindex)) is not None
            and a.router != self._forwarding(link.name)
            for a in running.record.announcements
        )

    # ---------------------------------------------------------------- links

    def _define(self, key: str, spec: LinkSpec, *, anew: bool = False) -> None:
        """Bring a link of the running configuration to `spec`, with `anew` also if it is so
        already; a refusal leaves it absent, to be tried again at the next change of its
        interface."""
        slot = self._links[key]
        known = self._defined.get(slot)
        if known == spec and not anew:
            return
        try:
            rejoin = anew or (known is not None and known.ifindex == ABSENT)
            self._tell_link(slot, spec, rejoin=rejoin)
        except OSError as exc:
            if self._unusable.get(key) != exc.errno:
                log.error("interface %s cannot be used: %s", key, exc.strerror)
            self._unusable[key] = exc.errno
            self._tell_link(slot, spec._replace(ifindex=ABSENT))
        else:
            self._unusable.pop(key, None)

    def _tell_link(self, slot: int, spec: LinkSpec, *, rejoin: bool = False) -> None:
        known = self._defined.get(slot)
        if known is not None and known.accepting(spec) == spec and not rejoin:
            self._defined[slot] = spec
            if known != spec:
                self.client.engine.accept(
                    slot, vrids4=spec.vrids4, vrids6=spec.vrids6, any_ttl=spec.any_ttl
                )
            return
        self.client.engine.link(
            slot,
            ifindex=spec.ifindex,
            families=spec.families,
            garp_interval_ns=spec.garp_interval_ns,
            gna_interval_ns=spec.gna_interval_ns,
            pace_group=spec.pace_group,
            mcast4=list(spec.mcast4),
            mcast6=list(spec.mcast6),
            rx_buffer=spec.rx_buffer,
            vrf_ifindex=spec.vrf_ifindex,
            rejoin=rejoin,
            vrids4=spec.vrids4,
            vrids6=spec.vrids6,
            any_ttl=spec.any_ttl,
        )
        self._defined[slot] = spec

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
