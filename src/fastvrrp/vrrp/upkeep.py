"""Keeps the kernel as it should be while we run, and the records as the kernel is.

Every notification is judged against the wish: an object that somebody took from a master is put
back at once, one of ours that nobody wants any more is removed a moment later, static objects
always return. Interfaces and addresses that come, go or change lead to a refresh of exactly the
instances that use them.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Protocol

from fastvrrp import _core
from fastvrrp.config.model import NS_PER_S
from fastvrrp.net.objects import (
    IFA_F_SECONDARY,
    Address,
    AddressKey,
    Link,
    Route,
    RuleKey,
)
from fastvrrp.net.observed import Observed
from fastvrrp.net.programs import STATIC, Item
from fastvrrp.net.reconcile import (
    Operation,
    Verb,
    is_present,
    lost_groups,
    owners_to_replay,
    reconcile,
    to_play,
)
from fastvrrp.net.wire import PROTOCOL
from fastvrrp.supervisor.ratelimit import RateLimit
from fastvrrp.vrrp.differences import forgot_groups, relevant_link_change
from fastvrrp.vrrp.draft import BusyError, RefusedError
from fastvrrp.vrrp.plane import Plane
from fastvrrp.vrrp.replay import Replays

log = logging.getLogger(__name__)

SOON_S = 0.05  # after a change that may have taken objects along
SETTLE_S = 0.3  # until programs that are being played show in the notifications
RETRY_MAX_S = 30.0  # between attempts to install what the kernel refuses
REFUSED_SHOWN = 5  # names in a message
BUSY_S = 1.0  # before a refresh is tried again that came at the wrong moment


class Monitor(Protocol):
    """The part of net.monitor.Monitor used here."""

    observed: Observed

    def drain(self) -> None: ...
    def play(self, requests: list[tuple[bytes, int]]) -> Awaitable[list[int]]: ...


class Upkeep:
    """Reacts to the kernel. All methods belong to the event loop.

    `on_link`, `on_address`, `on_marked`, `on_route`, `on_rule` and `on_resync` are the monitor's
    callbacks.
    """

    def __init__(
        self,
        plane: Plane,
        monitor: Monitor,
        *,
        before_refresh: Callable[[], None] = lambda: None,
        on_static: Callable[[set[str]], None] = lambda lost: None,
        limit: RateLimit | None = None,
    ) -> None:
        """`before_refresh` is called when interfaces changed, before anything is committed;
        `on_static` with the track_groups that lack an object, after every look."""
        self._plane = plane
        self._monitor = monitor
        self._before_refresh = before_refresh
        self._on_static = on_static
        self._limit = limit or RateLimit(log)
        self._loop = asyncio.get_running_loop()
        self._replays = Replays(self._loop, self._replay, self._is_incomplete)
        self.touches = 0  # changes of interfaces and addresses that may concern a record
        self._frozen = 0
        self._dirty: set[str] = set()
        self._refusals: set[str] = set()  # instances of which it will be said what was refused
        self._excused: dict[int, object] = {}  # interface -> a fall that does not count yet
        self._moved = False  # an interface came, went or got another name or index
        self._deaf: set[str] = set()  # interfaces whose sockets may hear no multicast any more
        self._doubtful: set[Any] = set()  # keys of objects whose owners may be masters or not
        self._doubts: asyncio.TimerHandle | None = None
        self._taken: dict[tuple[str, Any], None] = {}  # masters, and keys of what they have lost
        self._restoring: asyncio.Handle | None = None
        self._refresh_handle: asyncio.Handle | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._due_s = 0.0  # of that timer, which cannot be asked: for a moment uvloop has none
        self._task: asyncio.Task[None] | None = None
        self._again = False
        self._retry_s = 0.0
        self._unusable: asyncio.TimerHandle | None = None  # the next attempt to get sockets
        self._unusable_s = 0.0
        self._closed = False

    # ---------------------------------------------------------------- the monitor says

    def on_link(self, old: Link | None, new: Link | None) -> None:
        names = {name for link in (old, new) if link is not None for name in _names(link)}
        if relevant_link_change(old, new):
            self._moved = True
            if forgot_groups(old, new):
                self._deaf |= names
            self.touch(names)
        was_up, is_up = (link is not None and link.up for link in (old, new))
        if is_up and not was_up:
            # What the kernel dropped with the link, or refused without it, can be had now.
            self.schedule(SOON_S)
        elif was_up and new is not None:
            self._fell(new)

    def on_address(self, ifindex: int, address: Address, present: bool) -> None:
        ours = address.protocol == PROTOCOL
        self._object(address.key, present, ours=ours)
        if self._plane.concerns(address.key, ours=ours):
            self._touch_link_of(address)

    def _touch_link_of(self, address: Address) -> None:
        link = self._monitor.observed.links.get(address.key.ifindex)
        if link is not None:
            # Behind a virtual address the host's own may need protection (see net.sysctl).
            self._moved = self._moved or bool(address.flags & IFA_F_SECONDARY)
            self.touch(_names(link))

    def on_marked(self, came: Sequence[Address]) -> None:
        """`on_address` for many at once that are ours and are there: what a takeover brings."""
        if self._closed:
            return
        self._doubt(*[address.key for address in came])
        for address in self._plane.concerning(came):
            self._touch_link_of(address)

    def on_route(self, route: Route, present: bool) -> None:
        self._object(route, present, ours=True)

    def on_rule(self, rule: RuleKey, present: bool) -> None:
        self._object(rule, present, ours=rule.protocol == PROTOCOL)

    def on_resync(self) -> None:
        """Everything was read again: compare everything."""
        self._moved = True
        self._deaf.update(self._monitor.observed.interfaces)
        self.touch(set(self._plane.running), instances=True)
        self.schedule(0.0)

    def _object(self, changed: Any, present: bool, *, ours: bool) -> None:
        desired = self._plane.desired
        key = changed.key if isinstance(changed, Route) else changed
        if self._closed or not desired.knows(key):
            return
        if present:
            if ours and not self._is_wanted(key):
                self._doubt(key)
            return
        owners = desired.owners_of(changed)
        if STATIC in owners:
            self.schedule(0.0)
        if not any(self._is_master(owner) for owner in owners):
            self._doubt(key)
            return
        self._taken.update({(owner, key): None for owner in owners if self._is_master(owner)})
        if self._restoring is None:
            self._restoring = self._loop.call_soon(self._restore)

    def _restore(self) -> None:
        """Put back what was taken from masters, but for what went because of our own programs: who
        lost mastership and has it again, perhaps several times, has left that behind as well."""
        self._restoring = None
        taken, self._taken = self._taken, {}
        # What the kernel has told, then what the engine has: its programs cause most of this.
        self._monitor.drain()
        if self._frozen or not self._plane.client.poll():
            self.schedule(SETTLE_S)
            return
        lacking = {owner: key for owner, key in taken if self._lacks(owner, key)}
        if lacking:
            # What the engine calls played by now is told by the kernel by now: look again.
            self._monitor.drain()
        for owner, key in lacking.items():  # one replay brings everything back
            items = [i for i in self._plane.desired.items(key) if i.owner == owner]
            if items and self._lacks(owner, key):
                self._limit.log(
                    f"restore {owner}",
                    logging.WARNING,
                    "(%s) %s was removed by somebody else: putting it back",
                    owner,
                    items[0].text,
                )
                self._replays.request(owner)

    def _lacks(self, owner: str, key: Any) -> bool:
        """Whether a master whose program has been played does not have an object of its own."""
        items = [i for i in self._plane.desired.items(key) if i.owner == owner and i.restore]
        observed = self._monitor.observed
        return (
            self._is_master(owner)
            and not all(is_present(item, observed) for item in items)
            and self._vips_up(owner)
        )

    def _is_master(self, owner: str) -> bool:
        return owner != STATIC and self._plane.state(owner) == _core.MASTER

    def _is_wanted(self, key: Any) -> bool:
        items = self._plane.desired.items(key)
        return any(item.owner == STATIC or self._is_master(item.owner) for item in items)

    def _doubt(self, *keys: Any) -> None:
        """Objects came or went of instances that are not master, as far as we know. In a takeover
        the kernel tells of the objects before the engine's events are read; so this is judged a
        little later, when both have spoken."""
        self._doubtful.update(keys)
        if self._doubts is None:
            self._doubts = self._loop.call_later(SETTLE_S, self._judge)

    def _judge(self) -> None:
        self._doubts = None
        if not self._plane.client.poll():
            self._doubts = self._loop.call_later(SOON_S, self._judge)
            return
        doubtful, self._doubtful = self._doubtful, set()
        active = self._plane.active() | {STATIC}
        if not all(self._is_right(key, active) for key in doubtful):
            self.schedule(0.0)

    def _is_right(self, key: Any, active: set[str]) -> bool:
        """Whether an object of ours is there if, and only if, one of these wants it."""
        observed, desired = self._monitor.observed, self._plane.desired
        if isinstance(key, AddressKey):
            # asked by its key alone, for a takeover brings thousands: items are made when looked at
            owners = desired.wanted_by(key)
            wanted = not active.isdisjoint(owners)
            return not owners or wanted == (observed.address(key) is not None)
        items = desired.items(key)
        present = any(is_present(item, observed) for item in items)
        return present == any(item.owner in active for item in items)

    # ---------------------------------------------------------------- replays

    def _replay(self, name: str) -> None:
        running = self._plane.running.get(name)
        if running is not None:
            self._plane.client.engine.replay(running.slot)

    def _is_incomplete(self, name: str) -> bool:
        """Whether a master lacks anything that it wants back."""
        running = self._plane.running.get(name)
        if running is None or self._plane.state(name) != _core.MASTER:
            return False
        observed = self._monitor.observed
        return any(
            i.restore and not is_present(i, observed) for i in running.compiled.objects.items
        )

    def refused(self, name: str) -> None:
        """The kernel refused objects of a master. Which ones is known when it has told of all that
        it took."""
        if name not in self._refusals:
            self._refusals.add(name)
            self._loop.call_later(SETTLE_S, self._tell_refused, name)

    def _tell_refused(self, name: str) -> None:
        self._refusals.discard(name)
        running = self._plane.running.get(name)
        if self._closed or running is None or not self._is_master(name):
            return
        observed = self._monitor.observed
        items = running.compiled.objects.items
        lacking = [item.text for item in items if not is_present(item, observed)]
        if lacking:
            shown = ", ".join(lacking[:REFUSED_SHOWN])
            more = len(lacking) - REFUSED_SHOWN
            tail = f" and {more} more" if more > 0 else ""
            text = "(%s) the kernel does not take: %s%s"
            self._limit.log(f"refused {name}", logging.ERROR, text, name, shown, tail)

    # ---------------------------------------------------------------- refresh

    def freeze(self) -> None:
        """Hold refreshes back while a reload is being put into effect."""
        self._frozen += 1

    def thaw(self) -> None:
        self._frozen -= 1
        self._replays.retain(self._plane.running)
        if not self._frozen and self._dirty:
            self._refresh_soon()

    def touch(self, names: Iterable[str], *, instances: bool = False) -> None:
        """Interfaces (or, with `instances`, instances) whose surroundings changed."""
        self.touches += 1
        # "" stands for what no instance uses, but the static objects may.
        self._dirty.update(names if instances else self._plane.users(names), ("",))
        self._refresh_soon()

    def _refresh_soon(self) -> None:
        if self._refresh_handle is None and not self._closed:
            self._refresh_handle = self._loop.call_soon(self._refresh)

    def _refresh(self) -> None:
        self._refresh_handle = None
        if self._frozen or self._closed:
            return
        if not self._plane.client.poll():
            self._refresh_soon()
            return
        dirty, self._dirty = self._dirty, set()
        deaf, self._deaf = self._deaf, set()
        if self._moved:
            self._moved = False
            self._before_refresh()
        try:
            if self._plane.refresh(dirty, renew=deaf):
                self.schedule(SETTLE_S)
        except BusyError as exc:
            self._limit.log("busy", logging.WARNING, "cannot follow interfaces yet: %s", exc)
            self._dirty |= dirty
            self._deaf |= deaf
            if self._refresh_handle is None:
                self._refresh_handle = self._loop.call_later(BUSY_S, self._refresh)
        except RefusedError as exc:
            # It ran before and cannot now: what runs is left as it is.
            log.error("cannot follow a change of interfaces: %s", exc)
        self._try_links_again()

    def _try_links_again(self) -> None:
        """What an interface was refused for want of descriptors or memory may be there later."""
        if self._unusable is not None:
            self._unusable.cancel()
            self._unusable = None
        names = self._plane.links.unusable(self._plane.observed)
        if not names:
            self._unusable_s = 0.0
            return
        self._unusable_s = min(max(2 * self._unusable_s, 1.0), RETRY_MAX_S)
        self._unusable = self._loop.call_later(self._unusable_s, self.touch, names)

    # ---------------------------------------------------------------- reconciliation

    def schedule(self, delay_s: float) -> None:
        """Compare all of the kernel's state with the wish, in `delay_s` or earlier."""
        if self._closed:
            return
        due = self._loop.time() + delay_s
        if self._timer is not None:
            if self._due_s <= due:
                return
            self._timer.cancel()
        self._due_s = due
        self._timer = self._loop.call_at(due, self._due)

    def _due(self) -> None:
        self._timer = None
        if self._task is not None:
            self._again = True
            return
        self._task = self._loop.create_task(self.run(), name="reconcile")
        self._task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._task = None
        if not task.cancelled() and (exc := task.exception()) is not None:
            self._loop.call_exception_handler(
                {"message": "reconciliation failed", "exception": exc}
            )
        if self._again:
            self._again = False
            self.schedule(0.0)

    async def run(self) -> None:
        """One pass: replays for masters, the rest played here."""
        plane = self._plane
        await plane.client.catch_up()
        operations = self._differences()
        if to_play(operations):
            # The kernel may not have told yet of what our own programs removed, nor the engine of
            # who has become master since.
            self._monitor.drain()
            plane.client.poll()
            operations = self._differences()
        lacking = [o for o in sorted(owners_to_replay(operations)) if self._vips_up(o)]
        if lacking:
            # What the engine calls played by now is told by the kernel by now: look again.
            self._monitor.drain()
        for owner in lacking:
            if self._is_incomplete(owner):
                self._replays.request(owner)
        own = to_play(operations)
        if own:
            await self._play(own)
            self._monitor.drain()  # what was played is known by now
        plane.purge_retired(lambda item: is_present(item, self._monitor.observed))
        self._look_at_groups()
        self._tell_strangers()

    def _differences(self) -> list[Operation]:
        plane = self._plane
        return reconcile(plane.desired, self._monitor.observed, plane.active())

    def _fell(self, link: Link) -> None:
        """An interface went down, which counts when it has lasted (interface_up_down_delays)."""
        delays = self._plane.configuration.interface_delays
        found = [d.down_ns for d in delays if d.interface in (link.name, *link.altnames)]
        delay_s = found[0] / NS_PER_S if found else 0.0
        fall = self._excused[link.ifindex] = object()
        self._loop.call_later(delay_s, self._lasted, link.ifindex, fall)

    def _lasted(self, ifindex: int, fall: object) -> None:
        """That fall was so long ago that it counts, if the interface is still down."""
        if self._excused.get(ifindex) is fall:
            del self._excused[ifindex]
            self._look_at_groups()

    def _look_at_groups(self) -> None:
        """Whether the static objects that a track_group follows are there."""
        if self._closed:
            return
        static = self._plane.desired.get(STATIC)
        observed = self._monitor.observed
        self._on_static(set() if static is None else lost_groups(static, observed, self._excused))

    def _tell_strangers(self) -> None:
        """Addresses of instances that are not master, put there by somebody else: they stay, and
        two routers answer for them."""
        plane, observed = self._plane, self._monitor.observed
        active = plane.active()
        for name, running in plane.running.items():
            if name in active:
                continue
            for item in running.compiled.objects.items:
                if not isinstance(item.key, AddressKey) or item.native:
                    continue
                address = observed.address(item.key)
                if address is not None and not observed.address_is_ours(address):
                    text = "(%s) this host has the %s without being master, and not from us"
                    self._limit.log(f"stranger {name}", logging.WARNING, text, name, item.text)

    def _vips_up(self, name: str) -> bool:
        """Whether the up program of a master has been played: before, nothing is missing."""
        running = self._plane.running.get(name)
        if running is None:
            return False
        try:
            return self._plane.client.engine.status(running.slot).vips_up
        except KeyError:
            return False

    async def _play(self, operations: list[Operation], *, quiet: bool = False) -> None:
        try:
            errors = await self._monitor.play([operation.request for operation in operations])
        except OSError as exc:
            self._limit.log("play", logging.ERROR, "cannot change kernel state: %s", exc)
            self._retry()
            return
        failed = False
        for operation, error in zip(operations, errors, strict=True):
            if error:
                failed = True
                text = "cannot %s: %s"
                self._limit.log(str(operation), logging.ERROR, text, operation, os.strerror(error))
            elif operation.verb is Verb.DELETE and not quiet:
                self._limit.log(
                    "removed", logging.INFO, "removed a left-over %s", operation.item.text
                )
        if failed:
            self._retry()
        else:
            self._retry_s = 0.0

    def _retry(self) -> None:
        self._retry_s = min(max(2 * self._retry_s, 1.0), RETRY_MAX_S)
        self.schedule(self._retry_s)

    # ---------------------------------------------------------------- end

    def leave(self) -> None:
        """Stop reacting: what goes from now on goes because we do."""
        self._closed = True
        self._replays.close()
        handles = (self._timer, self._refresh_handle, self._doubts, self._restoring, self._unusable)
        for handle in handles:
            if handle is not None:
                handle.cancel()

    async def close(self) -> None:
        """Stop reacting, and let what is under way end."""
        self.leave()
        if self._task is not None:
            await asyncio.wait({self._task})

    async def remove_all(self) -> None:
        """Take away the static objects, and whatever the down programs could not."""
        items = [
            item
            for owner in sorted(self._plane.desired.owners())
            for item in reversed(self._objects(owner))
            if owner == STATIC or _is_left(item, self._monitor.observed)
        ]
        if items:
            await self._play([_removal(item) for item in items], quiet=True)

    def _objects(self, owner: str) -> tuple[Item, ...]:
        objects = self._plane.desired.get(owner)
        return () if objects is None else objects.items


def _is_left(item: Item, observed: Observed) -> bool:
    """Whether an object that carries our mark is still there."""
    if isinstance(item.key, AddressKey):
        address = observed.address(item.key)
        return not item.native and address is not None and observed.address_is_ours(address)
    return is_present(item, observed)


def _removal(item: Item) -> Operation:
    return Operation(Verb.DELETE, item)


def _names(link: Link) -> set[str]:
    return {link.name, *link.altnames}
