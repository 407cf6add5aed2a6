"""What the engine says, told on: log lines, notification, the supervisor, the event stream.

Log lines keep the shapes of keepalived's that monitoring tools match. Whatever the network can
cause often is limited by its cause, never by what a sender chooses.
"""

from __future__ import annotations

import functools
import logging
import os
import socket
import time
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from fastvrrp import _core
from fastvrrp.supervisor.messages import InstanceState
from fastvrrp.supervisor.ratelimit import RateLimit
from fastvrrp.vrrp.draft import Running
from fastvrrp.vrrp.engine_client import Transition
from fastvrrp.vrrp.flapping import Flapping
from fastvrrp.vrrp.lines import Lines
from fastvrrp.vrrp.plane import Plane
from fastvrrp.wallclock import utc

log = logging.getLogger(__name__)

NO_SLOT = 0xFFFFFFFF  # an event that belongs to no instance
NS_PER_MS = 1_000_000
NO_RESPONSE = _core.REASON_NAMES.index("no response from master")
STATES = _core.STATE_NAMES
INIT, MASTER, FAULT = _core.INIT, _core.MASTER, _core.FAULT


class Notifier(Protocol):
    """The part of notify.queue.Notifier used here."""

    def instance_state(self, name: str, state: str, priority: int) -> None: ...
    def group_state(self, name: str, state: str) -> None: ...
    def priority_change(self, name: str, state: str, priority: int) -> None: ...
    def rx_lower_pri(self, name: str, priority: int) -> None: ...


class Supervisor(Protocol):
    """The part of supervisor.link.Link used here."""

    def states(self, states: list[InstanceState]) -> None: ...
    def event(self, record: dict[str, Any]) -> None: ...


class Nobody:
    """Hears of nothing: before a notifier exists."""

    def instance_state(self, name: str, state: str, priority: int) -> None:
        return

    def group_state(self, name: str, state: str) -> None:
        return

    def priority_change(self, name: str, state: str, priority: int) -> None:
        return

    def rx_lower_pri(self, name: str, priority: int) -> None:
        return


@functools.lru_cache(maxsize=1024)
def address_text(packed: bytes) -> str | None:
    if not packed:
        return None
    return socket.inet_ntop(socket.AF_INET if len(packed) == 4 else socket.AF_INET6, packed)


def fault_names(mask: int) -> list[str]:
    """The reasons in a fault mask, in words."""
    return [text for bit, text in _core.FAULT_NAMES.items() if mask & bit]


class Reporter:
    """The listener of an EngineClient."""

    def __init__(
        self,
        plane: Plane,
        supervisor: Supervisor,
        *,
        on_committed: Callable[[int], Iterable[Running]] = lambda epoch: (),
        on_unsettled: Callable[[], None] = lambda: None,
        on_refused: Callable[[str], None] = lambda name: None,
        on_outdated: Callable[[str], None] = lambda name: None,
        on_left_out: Callable[[], None] = lambda: None,
    ) -> None:
        """`on_committed` returns the instances that are gone with an epoch. `on_unsettled` is
        called when a program that removes something failed, or may have while events were lost,
        `on_refused` with the instance when one that adds did, `on_outdated` when the announcements
        of an instance should be compiled anew, `on_left_out` when a change was not logged, so that
        `settle` has to be called later."""
        self.notifier: Notifier = Nobody()
        self.subscribed = False
        self.stopping = False
        self._plane = plane
        self._supervisor = supervisor
        self._on_committed = on_committed
        self._on_unsettled = on_unsettled
        self._on_refused = on_refused
        self._on_outdated = on_outdated
        self._on_left_out = on_left_out
        self._lines = Lines(log)
        self._limit = RateLimit(self._lines)
        self._flapping = Flapping()
        self._states: dict[str, InstanceState] = {}
        self._groups: dict[int, int] = {}  # last told state by group slot
        self._routers: list[Running] = []  # whose router flag is to be looked at
        self._unknown = 0  # adverts of unknown VRIDs that were logged

    # ---------------------------------------------------------------- of the client

    def committed(self, epoch: int) -> None:
        for gone in self._on_committed(epoch):
            self._flapping.forget(gone.slot)

    def drained(self) -> None:
        self._lines.flush()
        if self._routers:
            routers, self._routers = self._routers, []
            for name in self._plane.forwarding_changed(routers):
                self._on_outdated(name)
        if self._states:
            states, self._states = self._states, {}
            self._supervisor.states(list(states.values()))

    def resynced(self) -> None:
        for group in self._plane.configuration.sync_groups:
            slot = self._plane.group_slot(group.name)
            if slot is not None:
                old = self._groups.get(slot, INIT)
                new = self._plane.client.engine.group_state(slot)
                self._group(slot, old, new, time.monotonic_ns())
        self._on_unsettled()
        self.drained()

    def transition(self, change: Transition) -> None:
        # As short as it can be: a takeover brings thousands, beside what still has to be done.
        running = self._plane.by_slot(change.slot)
        if running is None:
            return
        name, record, new = running.name, running.record, change.new
        leaving = self._plane.is_leaving(change.slot)
        state = STATES[new]
        self._log_transition(name, change, state)
        self._tell(name, record.source, new, leaving)
        if new != INIT and not leaving:
            self.notifier.instance_state(name, state, change.priority)
            if record.family == 6:
                self._routers.append(running)
        if self.subscribed:
            self._event(
                change.now_ns,
                "state",
                instance=name,
                **{"from": STATES[change.old]},
                to=state,
                reason=_core.REASON_NAMES[change.reason],
                priority=change.priority,
            )

    def _tell(self, name: str, source: bytes, number: int, leaving: bool = False) -> None:
        """Queue the state of an instance for the supervisor."""
        state = STATES[number]
        if leaving:
            state = "DELETED"
        elif number == INIT and self.stopping:
            state = "STOPPED"
        self._states[name] = InstanceState(name, state, address_text(source) or "")

    def renamed(self, old: str, running: Running) -> None:
        """An instance goes on under another name."""
        self._states[old] = InstanceState(old, "DELETED")
        state = self._plane.client.state(running.slot)
        self._tell(running.name, running.record.source, state)

    def _log_transition(self, name: str, change: Transition, state: str) -> None:
        new = change.new
        if new == INIT:
            self._lines.info("(%s) Stopped", name)
            return
        told, left_out = self._flapping.changed(change.slot)
        if left_out:
            self._lines.info("(%s) %d changes of its state were not logged", name, left_out)
        if not told:
            self._on_left_out()
            return
        if new == MASTER and change.reason == NO_RESPONSE:
            self._lines.info("(%s) Receive advertisement timeout", name)
        elif new == FAULT:
            reasons = ", ".join(fault_names(change.fault)) or "over already"
            self._lines.warning("(%s) Fault: %s", name, reasons)
        suffix = " (init)" if change.first else ""
        self._lines.info("(%s) Entering %s STATE%s", name, state, suffix)

    def settle(self) -> bool:
        """Tell the states that were reached by changes too fast for the log; whether there are
        some that have not settled yet."""
        for slot, left_out in self._flapping.settled():
            running = self._plane.by_slot(slot)
            if running is not None and not self._plane.is_leaving(slot):
                name = running.name
                state = STATES[self._plane.client.state(running.slot)]
                text = "(%s) Entering %s STATE (after %d changes that were not logged)"
                self._lines.info(text, name, state, left_out)
        self._lines.flush()
        return self._flapping.unsettled

    # ---------------------------------------------------------------- other events

    def event(self, event: _core.Event) -> None:
        handler = _HANDLERS.get(event.kind)
        if handler is not None:
            handler(self, event)

    def _name(self, slot: int) -> str | None:
        running = None if slot == NO_SLOT else self._plane.by_slot(slot)
        return None if running is None else running.name

    def _priority(self, event: _core.Event) -> None:
        name = self._name(event.slot)
        if name is None:
            return
        self._lines.info("(%s) Changing effective priority from %d to %d", name, event.a, event.b)
        state = STATES[self._plane.client.state(event.slot)]
        self.notifier.priority_change(name, state, event.b)
        self._event(event.now_ns, "priority", instance=name, **{"from": event.a}, to=event.b)

    def _inferior(self, event: _core.Event) -> None:
        running = self._plane.by_slot(event.slot)
        if running is None:
            return
        name, sender = running.name, address_text(event.address)
        is_silent = running.record.flags & _core.F_LOWER_PRIO_NO_ADVERT
        election = "" if is_silent else ", forcing new election"
        self._limit.log(
            f"inferior {name}",
            logging.INFO,
            "(%s) Received advert from %s with lower priority %d, ours %d%s",
            name,
            sender,
            event.a,
            event.priority,
            election,
        )
        self.notifier.rx_lower_pri(name, event.priority)
        self._event(event.now_ns, "inferior", instance=name, address=sender, priority=event.a)

    def _contention(self, event: _core.Event) -> None:
        name, other = self._name(event.slot), address_text(event.address)
        if event.a:
            text = "(%s) another master, %s, is active: %s"
            verdict = "it has to yield" if event.b else "we yield"
            self._limit.log(f"contention {name}", logging.WARNING, text, name, other, verdict)
        else:
            self._limit.log(
                f"contention over {name}", logging.INFO, "(%s) the only master again", name
            )
        self._event(
            event.now_ns,
            "contention",
            instance=name,
            address=other,
            active=bool(event.a),
            won=bool(event.b),
        )

    def _late(self, event: _core.Event) -> None:
        name, late_ms = self._name(event.slot), event.a / NS_PER_MS
        who = name or "engine"
        text = "(%s) this machine stood still: %.0f ms late"
        self._limit.log(f"late {who}", logging.WARNING, text, who, late_ms)
        self._event(event.now_ns, "late", instance=name, late_ms=late_ms)

    def _played(self, event: _core.Event) -> None:
        if not event.a and not self.subscribed:
            return  # nobody is told that it went well, of each of thousands
        name = self._name(event.slot)
        up = event.c == _core.P_UP
        if event.a:
            what = "added" if up else "removed"
            text = "(%s) %d addresses, routes or rules could not be %s: %s"
            reason = os.strerror(event.a)
            cause = f"program {event.c} {name}"
            self._limit.log(cause, logging.ERROR, text, name, event.b, what, reason)
            if not up:
                self._on_unsettled()
            elif name is not None:
                self._on_refused(name)
        self._event(
            event.now_ns,
            "applied",
            instance=name,
            up=up,
            failed=event.b,
            error=os.strerror(event.a) if event.a else "",
        )

    def _rejected(self, event: _core.Event) -> None:
        name, cause = self._name(event.slot), _core.RX_NAMES[event.a]
        link = self._plane.links.name(event.c) if name is None else None
        who = f"({name})" if name is not None else f"interface {link}"
        sender = address_text(event.address)
        origin = f" from {sender}" if sender else ""
        text = "%s rejected an advert%s: %s (%d so far)"
        self._limit.log(f"{cause} {who}", logging.WARNING, text, who, origin, cause, event.b)
        self._event(event.now_ns, "rejected", instance=name, cause=cause, count=event.b)

    def _interval(self, event: _core.Event) -> None:
        name = self._name(event.slot)
        theirs, ours = event.a / NS_PER_MS, event.b / NS_PER_MS
        text = "(%s) the master advertises every %g ms, we are configured for %g ms"
        self._limit.log(f"interval {name}", logging.WARNING, text, name, theirs, ours)
        self._event(event.now_ns, "interval", instance=name, theirs_ms=theirs, ours_ms=ours)

    def _addresses(self, event: _core.Event) -> None:
        name, sender = self._name(event.slot), address_text(event.address)
        text = "(%s) %s advertises other addresses than ours (%d, ours %d)"
        self._limit.log(f"list {name}", logging.WARNING, text, name, sender, event.a, event.b)
        self._event(event.now_ns, "addresses", instance=name, address=sender)

    def _link(self, event: _core.Event) -> None:
        name = self._plane.links.name(event.slot)
        if name is None or event.a <= 0:
            return
        up = bool(event.b)
        self._limit.log(f"link {name}", logging.INFO, "%s is %s", name, "up" if up else "down")
        self._event(event.now_ns, "tracker", tracker="interface", name=name, up=up, detail="")

    def _link_resync(self, event: _core.Event) -> None:
        text = "link events were lost: the engine asked every interface anew"
        self._limit.log("link resync", logging.WARNING, text)

    def _send_error(self, event: _core.Event) -> None:
        name, error = self._name(event.slot), os.strerror(event.a)
        who = f"({name}) " if name is not None else ""
        text = "%sadverts could not be sent (%d so far): %s"
        self._limit.log(f"send {name} {event.a}", logging.ERROR, text, who, event.b, error)
        self._event(event.now_ns, "send-error", instance=name, error=error, count=event.b)

    def _master(self, event: _core.Event) -> None:
        name, address = self._name(event.slot), address_text(event.address)
        self._limit.log(
            f"master {name}", logging.INFO, "(%s) master is %s, priority %d", name, address, event.a
        )
        self._event(event.now_ns, "master", instance=name, address=address, priority=event.a)

    def _group_event(self, event: _core.Event) -> None:
        self._group(event.slot, event.a, event.b, event.now_ns)

    def _group(self, slot: int, old: int, new: int, now_ns: int) -> None:
        name = self._plane.group_name(slot)
        self._groups[slot] = new
        if name is None or new == old:
            return
        state = STATES[new]
        if new != INIT:
            self._lines.info("VRRP_Group(%s) Syncing instances to %s state", name, state)
            self.notifier.group_state(name, state)
        before = STATES[old]
        self._event(now_ns, "group", group=name, **{"from": before}, to=state)

    def unknown_vrids(self, count: int) -> None:
        """Log adverts of virtual routers nobody configured (log_unknown_vrids); `count` is how
        many there were since the start."""
        if count > self._unknown:
            self._limit.log(
                "unknown VRID",
                logging.INFO,
                "%d adverts of unknown virtual routers (%d so far); fastvrrp capture shows them",
                count - self._unknown,
                count,
            )
            self._unknown = count
            self._lines.flush()

    def tracker(self, kind: str, name: str, up: bool | None, detail: str) -> None:
        """A script, process or file tracker changed."""
        now_ns = time.monotonic_ns()
        self._event(now_ns, "tracker", tracker=kind, name=name, up=up, detail=detail)

    def _event(self, now_ns: int, kind: str, **fields: Any) -> None:
        if self.subscribed:
            self._supervisor.event({"time": utc(now_ns), "kind": kind, **fields})


_HANDLERS: dict[int, Callable[[Reporter, _core.Event], None]] = {
    _core.EV_PRIORITY: Reporter._priority,
    _core.EV_RX_LOWER_PRI: Reporter._inferior,
    _core.EV_DUAL_MASTER: Reporter._contention,
    _core.EV_LATE: Reporter._late,
    _core.EV_PLAYED: Reporter._played,
    _core.EV_RX_ERROR: Reporter._rejected,
    _core.EV_INTERVAL_MISMATCH: Reporter._interval,
    _core.EV_ADDR_MISMATCH: Reporter._addresses,
    _core.EV_LINK: Reporter._link,
    _core.EV_LINK_RESYNC: Reporter._link_resync,
    _core.EV_SEND_ERROR: Reporter._send_error,
    _core.EV_MASTER_CHANGED: Reporter._master,
    _core.EV_GROUP: Reporter._group_event,
}
