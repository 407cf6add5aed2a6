"""Notification: what happened to instances and groups, told to scripts, FIFOs, mail and events.

`Notifier` takes transitions in the order they happened. FIFO lines, mail and the event stream get
them at once; scripts run one after the other per instance and group (see `notify.scripts`). A
transition to the state that was already told is not told again, so a member that follows its
group there is reported once.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from fastvrrp.config import model
from fastvrrp.namelist import NameList
from fastvrrp.notify.fifo import FifoWriter
from fastvrrp.notify.mail import Mailer
from fastvrrp.notify.quiet import TOLD, Quiet
from fastvrrp.notify.scripts import Call, ScriptQueue
from fastvrrp.track.runner import Runner, resolve

log = logging.getLogger(__name__)

INSTANCE = "INSTANCE"
GROUP = "GROUP"
_SPECIFIC = {  # the script of a state alone
    "MASTER": "notify_master",
    "BACKUP": "notify_backup",
    "FAULT": "notify_fault",
    "STOP": "notify_stop",
    "DELETED": "notify_deleted",
}

Events = Callable[[dict[str, Any]], None]
_NOTHING = model.Notify()


def _fifos_of(config: model.Configuration) -> list[model.Fifo]:
    defs = config.global_defs
    return [f for f in (defs.notify_fifo, defs.vrrp_notify_fifo) if f is not None]


class _Entity(msgspec.Struct, eq=False):
    kind: str
    name: str
    notify: model.Notify
    queue: ScriptQueue | None = None  # made for its first script: most never have one
    state: str = ""  # the last one told
    priority: int = 0
    sequence: int = 0  # counts what was told

    @property
    def key(self) -> str:
        return f"{self.kind} {self.name}"

    @property
    def idle(self) -> bool:
        return self.queue is None or self.queue.idle


class Notifier:
    """Consumers of the transitions of one configuration.

    Methods other than `start`, `reload` and `stop_all` only queue and never block; all belong to
    the running event loop. Unknown names are ignored with a log line.
    """

    def __init__(
        self,
        config: model.Configuration,
        runner: Runner,
        *,
        events: Events | None = None,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        """`events` gets each notification as a dict: event (state, priority, rx_lower_pri), kind
        (INSTANCE, GROUP), name, state, priority, sequence (per name, counts notifications)."""
        self._runner = runner
        self._events = events
        self._clock = clock
        # Not the configuration: there may be thousands of instances in it.
        self._account = config.global_defs.script_account
        self._entities: dict[tuple[str, str], _Entity] = {}
        self._quiet = {INSTANCE: Quiet(), GROUP: Quiet()}  # what nobody is told of, by kind
        self._retired: dict[tuple[str, str], _Entity] = {}
        self._started = False
        self._stopped = False
        self._fifos = self._new_fifos(config)
        self._mailer = Mailer(config.global_defs.mail, config.global_defs.router_id)
        self._define(config)

    async def start(self) -> None:
        """Open the FIFOs and start their readers."""
        self._started = True
        await asyncio.gather(*(fifo.open() for fifo in self._fifos))

    def instance_state(self, name: str, state: str, priority: int) -> None:
        """An instance is now in `state` with this effective priority.

        MASTER, BACKUP and FAULT are told, INIT is not.
        """
        if self._quiet[INSTANCE].note(name, state, priority):
            return
        entity = self._find(INSTANCE, name)
        if entity is not None:
            self._transition(entity, state, priority)

    def group_state(self, name: str, state: str) -> None:
        """A sync group is now in `state`. Call it after its members' transitions."""
        if self._quiet[GROUP].note(name, state, 0):
            return
        entity = self._find(GROUP, name)
        if entity is not None:
            self._transition(entity, state, 0)

    def priority_change(self, name: str, state: str, priority: int) -> None:
        """The effective priority of an instance changed while in `state`.

        FIFO lines are written where `notify_priority_changes` asks for them, for MASTER and
        BACKUP.
        """
        if self._quiet[INSTANCE].note(name, "", priority):
            return
        entity = self._find(INSTANCE, name)
        if entity is None:
            return
        entity.priority = priority
        self._emit("priority", entity, state)
        if entity.notify.notify_priority_changes and state in ("MASTER", "BACKUP"):
            self._line(entity, f"{state}_PRIORITY", final=False)

    def rx_lower_pri(self, name: str, priority: int) -> None:
        """An instance heard an inferior advert as master; `priority` is its own effective one."""
        if self._quiet[INSTANCE].note(name, "", priority):
            return
        entity = self._find(INSTANCE, name)
        if entity is None:
            return
        entity.priority = priority
        self._emit("rx_lower_pri", entity, "MASTER_RX_LOWER_PRI")
        self._line(entity, "MASTER_RX_LOWER_PRI", final=False)
        script = entity.notify.notify_master_rx_lower_pri
        if script is not None:
            self._put(entity, "", (Call(self._resolve(script)),))

    def instance_deleted(self, name: str, priority: int = 0) -> None:
        """A reload removed an instance: DELETED where `notify_deleted` asks for it, else FAULT.

        May be called before or after `reload` with the configuration that lacks it.
        """
        if name in self._quiet[INSTANCE]:
            return
        entity = self._find(INSTANCE, name)
        if entity is None:
            return
        notify = entity.notify
        told = notify.report_deleted or notify.notify_deleted is not None
        self._transition(entity, "DELETED" if told else "FAULT", priority)

    async def reload(self, config: model.Configuration) -> None:
        """Use another configuration. What is queued still runs the scripts it was queued with.

        Names that stay keep their state, so it is not told again, except on the FIFOs with
        `fifo_write_vrrp_states_on_reload`.
        """
        self._account = config.global_defs.script_account
        self._define(config)
        defs = config.global_defs
        self._mailer.configure(defs.mail, defs.router_id)
        await self._reload_fifos(config)
        if defs.fifo_write_vrrp_states_on_reload:
            for entity in self._entities.values():
                if entity.state:
                    self._line(entity, entity.state, final=True)

    def share(self, names: NameList) -> None:
        """The names of all instances in the order of the configuration, which somebody keeps."""
        self._quiet[INSTANCE].share(names)

    async def stop_all(self, priorities: Mapping[str, int] | None = None) -> None:
        """Tell STOP for every instance, then every group; then close FIFOs and mail.

        `priorities` are effective priorities by instance name (default: the last ones told).
        Scripts get a second each, all instances at the same time, then all groups.
        """
        if self._stopped:
            return
        self._stopped = True
        for kind in (INSTANCE, GROUP):
            stops = []
            for entity in [e for e in self._entities.values() if e.kind == kind]:
                if kind == INSTANCE and priorities is not None:
                    entity.priority = priorities.get(entity.name, entity.priority)
                calls = self._tell(entity, "STOP", entity.priority)
                if calls or entity.queue is not None:
                    stops.append(self._queue(entity).stop(calls))
            await asyncio.gather(*stops)
        queues = [entity.queue for entity in self._retired.values()]
        await asyncio.gather(*(queue.stop(()) for queue in queues if queue is not None))
        await asyncio.gather(self._mailer.close(), *(fifo.close() for fifo in self._fifos))

    def status(self) -> dict[str, Any]:
        """For the control socket."""
        return {
            "fifos": [
                {"path": f.fifo.path, "open": f.is_open, "dropped": f.dropped} for f in self._fifos
            ],
            "queues": [
                {
                    "kind": entity.kind,
                    "name": entity.name,
                    "state": entity.state,
                    "sequence": entity.sequence,
                    "idle": entity.idle,
                    "skipped": 0 if entity.queue is None else entity.queue.skipped,
                }
                for entity in self._entities.values()
            ],
        }

    # ------------------------------------------------------------------ telling

    def _transition(self, entity: _Entity, state: str, priority: int) -> None:
        if self._stopped or state == entity.state or state not in TOLD:
            return
        self._put(entity, state, self._tell(entity, state, priority))

    def _put(self, entity: _Entity, state: str, calls: tuple[Call, ...]) -> None:
        if calls and not self._stopped:
            self._queue(entity).put(state, calls)

    def _queue(self, entity: _Entity) -> ScriptQueue:
        if entity.queue is None:
            label = f"{entity.kind.lower()} {entity.name}"
            entity.queue = ScriptQueue(label, self._runner, clock=self._clock)
        return entity.queue

    def _tell(self, entity: _Entity, state: str, priority: int) -> tuple[Call, ...]:
        """Everything but the scripts; returns these."""
        entity.state = state
        entity.priority = priority
        self._emit("state", entity, state)
        self._line(entity, state, final=True)
        if entity.notify.smtp_alert:
            kind = "Instance" if entity.kind == INSTANCE else "Group"
            self._mailer.send(kind, entity.name, state, priority)
        return self._calls(entity, state)

    def _calls(self, entity: _Entity, state: str) -> tuple[Call, ...]:
        notify = entity.notify
        specific: model.Command | None = getattr(notify, _SPECIFIC[state])
        if specific is None and notify.notify is None:
            return ()
        calls = []
        if specific is not None:
            calls.append(Call(self._resolve(specific)))
        if notify.notify is not None:
            arguments = (entity.kind, entity.name, state, str(entity.priority))
            calls.append(Call(self._resolve(notify.notify), arguments))
        return tuple(calls)

    def _emit(self, event: str, entity: _Entity, state: str) -> None:
        entity.sequence += 1
        if self._events is not None:
            self._events(
                {
                    "event": event,
                    "kind": entity.kind,
                    "name": entity.name,
                    "state": state,
                    "priority": entity.priority,
                    "sequence": entity.sequence,
                }
            )

    def _line(self, entity: _Entity, state: str, *, final: bool) -> None:
        if not self._fifos:
            return
        name = "".join(c if c.isprintable() else "?" for c in entity.name)
        line = f'{entity.kind} "{name}" {state} {entity.priority}'
        for fifo in self._fifos:
            fifo.write(entity.key, line, final=final)

    # ------------------------------------------------------------------ configuration

    def _resolve(self, command: model.Command) -> model.Command:
        return resolve(command, self._account)

    def _find(self, kind: str, name: str) -> _Entity | None:
        # Between `reload` and the moment the configuration takes effect old names still speak.
        entity = self._entities.get((kind, name)) or self._retired.get((kind, name))
        if entity is None:
            log.warning("notification about unknown %s %s", kind.lower(), name)
        return entity

    def _define(self, config: model.Configuration) -> None:
        wanted: dict[tuple[str, str], model.Notify] = {
            (INSTANCE, instance.name): instance.notify for instance in config.vrrp_instances
        }
        wanted.update({(GROUP, group.name): group.notify for group in config.sync_groups})
        # Without FIFOs and listeners only what one asks for itself is told.
        silent = not _fifos_of(config) and self._events is None
        old, quiet = self._entities, self._quiet
        self._entities = {}
        unheard: dict[str, dict[str, tuple[str, int]]] = {INSTANCE: {}, GROUP: {}}
        for key, notify in wanted.items():
            # A retired one comes back when a reload is undone.
            entity = old.pop(key, None) or self._retired.pop(key, None)
            kind, name = key
            state, priority = quiet[kind].get(name)
            if entity is not None:
                state, priority = entity.state, entity.priority
            if silent and notify == _NOTHING and (entity is None or entity.idle):
                unheard[kind][name] = (state, priority)
                continue
            if entity is None:
                entity = _Entity(kind, name, notify, None, state, priority)
            entity.notify = _NOTHING if notify == _NOTHING else notify
            self._entities[key] = entity
        self._quiet = {kind: Quiet(known) for kind, known in unheard.items()}
        for kind, before in quiet.items():
            for name in before:
                if (kind, name) not in wanted:
                    old[kind, name] = _Entity(kind, name, _NOTHING, None, *before.get(name))
        # Kept for one more reload: their deletion may be told later, their scripts may still run.
        busy = {key: entity for key, entity in self._retired.items() if not entity.idle}
        self._retired = {**busy, **old}

    def _new_fifos(self, config: model.Configuration) -> list[FifoWriter]:
        account = config.global_defs.script_account
        return [FifoWriter(f, self._runner, script_account=account) for f in _fifos_of(config)]

    async def _reload_fifos(self, config: model.Configuration) -> None:
        fresh = self._new_fifos(config)
        kept: list[FifoWriter] = []
        opening: list[FifoWriter] = []
        unused = list(self._fifos)
        for fifo in fresh:
            same = next((o for o in unused if o.is_open and o.same_as(fifo)), None)
            if same is not None:
                unused.remove(same)
            else:
                opening.append(fifo)
            kept.append(same or fifo)
        self._fifos = kept
        await asyncio.gather(*(fifo.close() for fifo in unused))
        if self._started:
            await asyncio.gather(*(fifo.open() for fifo in opening))
