"""A simulated router: the production core, a drifting clock, a fake kernel and its applier.

The packets are the core's own bytes; only sockets, netlink and threads are replaced. A node can be
paused (frozen machine), crashed, restarted, reloaded, and lose interfaces and trackers.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

from fastvrrp import _core
from fastvrrp._core import Core, Instance, build_announcement, pack_program
from fastvrrp.sim.lan import Frame, Scheduler, Segment

MULTICAST4 = bytes((224, 0, 0, 18))
MULTICAST6 = bytes.fromhex("ff020000000000000000000000000012")
ANNOUNCE_HEADER = 12  # of a build_announcement() record
SOCKET_BUFFER = 256  # packets kept while the process does not read
PPM = 1_000_000

Actions = list[Any]  # of _core.Action: told apart by their first word


@dataclass(frozen=True)
class VirtualRouter:
    """What all routers of one virtual router agree on."""

    vrid: int
    family: int
    version: int
    segment: int
    addresses: tuple[bytes, ...]
    group: int = -1


@dataclass(frozen=True)
class Member:
    """One router's configuration of one virtual router. Times in nanoseconds."""

    priority: int
    advert_int_ns: int
    nopreempt: bool = False
    preempt_delay_ns: int = 0
    want_master: bool = False
    down_timer_adverts: int = 3
    garp_delay_ns: int = 0
    refresh_ns: int = 0
    hold_ns: int = 0  # start-up delay
    flags: int = 0
    timer_expired_backup: int = 0


@dataclass(frozen=True)
class Clock:
    """A router's CLOCK_MONOTONIC: offset and rate error against the simulation's time."""

    offset_ns: int = 0
    ppm: int = 0

    def local(self, when: int) -> int:
        return self.offset_ns + when + when * self.ppm // PPM

    def when(self, local: int) -> int:
        """The earliest simulation time at which the clock shows `local` or more."""
        guess = max(0, (local - self.offset_ns) * PPM // (PPM + self.ppm) - 2)
        while self.local(guess) < local:
            guess += 1
        return guess


class Kernel:
    """Addresses of a machine, and the applier that changes them after a delay, in order."""

    def __init__(self) -> None:
        self.held: dict[int, set[bytes]] = {}  # slot -> addresses
        self.refused: dict[int, set[bytes]] = {}  # what the latest up program could not add
        self.pending: deque[tuple[int, int, int]] = deque()  # slot, program, generation
        self.failure_rate = 0.0

    def busy_with(self, slot: int) -> bool:
        return any(entry[0] == slot for entry in self.pending)


class Observer(Protocol):
    """Who judges: called after every step of a node."""

    def stepped(self, node: Node, before: dict[int, int], actions: Actions) -> None: ...
    def ticked(self, node: Node) -> None: ...
    def received(self, node: Node, segment: int, frame: Frame, code: int) -> None: ...
    def announced(self, node: Node, slot: int, address: bytes) -> None: ...


class Node:
    """One router. `index` is its port on every segment."""

    def __init__(
        self,
        index: int,
        *,
        scheduler: Scheduler,
        random: random.Random,
        segments: list[Segment],
        routers: list[VirtualRouter],
        members: list[Member],
        sources: list[dict[int, bytes]],  # per segment, family -> own address
        mac: bytes,
        clock: Clock,
        observer: Observer,
        applier_ns: tuple[int, int],
        make_core: type[Core] = Core,
    ) -> None:
        self.index = index
        self.scheduler = scheduler
        self.random = random
        self.segments = segments
        self.routers = routers
        self.members = members
        self.sources = sources
        self.mac = mac
        self.clock = clock
        self.observer = observer
        self.applier_ns = applier_ns
        self.make_core = make_core
        self.kernel = Kernel()
        self.core: Core | None = None
        self.states: dict[int, int] = {}
        self.links = [True] * len(segments)
        self.paused_until = 0
        self.inbox: deque[tuple[int, Frame]] = deque()
        self.life = 0  # incarnation: what belongs to an earlier one is dead
        self.last_sent: dict[int, int] = {}  # slot -> simulation time
        self.awake_since = 0
        self._wake = 0
        self._deaf = False
        self._frozen_at = 0
        self.frozen_ns = 0  # length of the latest freeze
        self._deferred: list[Callable[[], None]] = []

    # ---- life ----

    @property
    def running(self) -> bool:
        return self.core is not None and self.scheduler.now >= self.paused_until

    def start(self) -> None:
        """A fresh process on a clean machine."""
        self.life += 1
        self.kernel.held.clear()
        self.kernel.pending.clear()
        self.kernel.refused.clear()
        self.inbox.clear()
        self._deferred.clear()
        self.states = dict.fromkeys(range(len(self.routers)), _core.INIT)
        self.awake_since = self.scheduler.now
        self.frozen_ns = 0
        self._wake = 0
        self.core = self.make_core(
            instances=len(self.routers),
            links=len(self.segments),
            groups=1,
            now_ns=self.local(),
        )
        for link, up in enumerate(self.links):
            self.core.link(link, ifindex=link + 2, up=up, now_ns=self.local())
        made = [self.instance(slot, starting=True) for slot in range(len(self.routers))]
        self.step(lambda core, now: core.commit(made, now_ns=now))

    def instance(self, slot: int, *, starting: bool = False) -> Instance:
        router, member = self.routers[slot], self.members[slot]
        flags = member.flags
        flags |= _core.F_NOPREEMPT if member.nopreempt else 0
        flags |= _core.F_WANT_MASTER if member.want_master else 0
        return Instance(
            slot=slot,
            vrid=router.vrid,
            family=router.family,
            version=router.version,
            priority=member.priority,
            advert_int_ns=member.advert_int_ns,
            link=router.segment,
            flags=flags,
            group=router.group,
            down_timer_adverts=member.down_timer_adverts,
            preempt_delay_ns=member.preempt_delay_ns,
            hold_until_ns=self.local() + member.hold_ns if starting else 0,
            source=self.sources[router.segment][router.family],
            destination=MULTICAST4 if router.family == 4 else MULTICAST6,
            addresses=list(router.addresses),
            garp_master_delay_ns=member.garp_delay_ns,
            garp_master_refresh_ns=member.refresh_ns,
            garp_lower_prio_delay_ns=member.garp_delay_ns,
            timer_expired_backup=member.timer_expired_backup,
            announce=b"".join(self.announcement(router, k) for k in range(len(router.addresses))),
            up=pack_program([(netlink_request(k), 0) for k in range(len(router.addresses))]),
        )

    def announcement(self, router: VirtualRouter, index: int) -> bytes:
        return build_announcement(
            family=router.family,
            address=router.addresses[index],
            ifindex=router.segment + 2,
            mac=self.mac,
            request=index,
        )

    def crash(self) -> None:
        """Power off: no goodbye, nothing kept."""
        self.life += 1
        self.core = None
        self.kernel.held.clear()
        self.kernel.pending.clear()
        self.inbox.clear()
        self._deferred.clear()
        self.paused_until = 0
        self.states = dict.fromkeys(self.states, _core.INIT)

    def stop(self) -> None:
        """Orderly, in one turn: priority 0 for every master; the addresses go with the process."""

        def stop_all(core: Core, now: int) -> Actions:
            slots = range(len(self.routers))
            return [action for slot in slots for action in core.stop(slot, now_ns=now)]

        self.step(stop_all)
        self.crash()

    def pause(self, until: int, *, deaf: bool) -> None:
        """The machine freezes; `deaf`: what arrives meanwhile is lost instead of queued."""
        if self.core is None:
            return
        if self.running:
            self._frozen_at = self.scheduler.now
        self.paused_until = max(self.paused_until, until)
        self._deaf = deaf
        life = self.life
        self.scheduler.at(self.paused_until, lambda: self._resume(life))

    def _resume(self, life: int) -> None:
        if life != self.life or self.core is None or not self.running:
            return
        self.frozen_ns = self.scheduler.now - self._frozen_at
        self.awake_since = self.scheduler.now
        while self.inbox:  # packets before timers, as the engine does
            self._packet(*self.inbox.popleft())
        self.tick()
        deferred, self._deferred = self._deferred, []
        for action in deferred:
            action()

    # ---- inputs ----

    def local(self) -> int:
        return self.clock.local(self.scheduler.now)

    def receive(self, segment: int, frame: Frame) -> None:
        if self.core is None or not self.links[segment]:
            return
        if not self.running:
            if not self._deaf and len(self.inbox) < SOCKET_BUFFER:
                self.inbox.append((segment, frame))
            return
        self._packet(segment, frame)
        self.tick()

    def _packet(self, segment: int, frame: Frame) -> None:
        codes = []

        def feed(core: Core, now: int) -> Actions:
            code, actions = core.packet(
                frame.data,
                link=segment,
                source=frame.source,
                destination=frame.destination,
                ttl=frame.ttl,
                now_ns=now,
            )
            codes.append(code)
            return actions

        self.step(feed)
        self.observer.received(self, segment, frame, codes[0])

    def control(self, action: Callable[[Core, int], Actions]) -> None:
        """A command of the control plane; waits while the machine is frozen."""
        if self.core is None:
            return
        if self.running:
            self.step(action)
        else:
            self._deferred.append(lambda: self.step(action))

    def set_link(self, segment: int, up: bool) -> None:
        self.links[segment] = up
        self.control(
            lambda core, now: core.link(
                segment, ifindex=segment + 2, up=self.links[segment], now_ns=now
            )
        )

    def reload(self, slots: list[int], **change: Any) -> None:
        """New values for some instances, committed at once."""
        for slot in slots:
            self.members[slot] = replace(self.members[slot], **change)
        self.control(
            lambda core, now: core.commit([self.instance(slot) for slot in slots], now_ns=now)
        )

    def lose_address(self, slot: int) -> None:
        """Somebody deletes an address; the monitor sees it and asks for it again."""
        held = self.kernel.held.get(slot)
        if held:
            held.discard(min(held))
            self.control(lambda core, now: core.replay(slot, now_ns=now))

    # ---- one step and its outputs ----

    def step(self, action: Callable[[Core, int], Actions]) -> None:
        """One call of the core; its actions are carried out in the order of the engine."""
        core = self.core
        if core is None:
            return
        before = dict(self.states)
        actions = action(core, self.local())
        for entry in actions:
            if entry[0] == "event" and entry[1].kind == _core.EV_STATE:
                self.states[entry[1].slot] = entry[1].b
        self.observer.stepped(self, before, actions)
        for entry in actions:
            if entry[0] == "tx":
                self._transmit(core, entry[1], entry[2])
        for entry in actions:
            if entry[0] == "announce":
                self._announce(entry[1], entry[2])
            elif entry[0] == "play":
                self._play(entry[1], entry[2], entry[3])
        self._schedule(core)

    def tick(self) -> None:
        """Fires what is due."""
        self.step(lambda core, now: core.tick(now))
        self.observer.ticked(self)

    def _schedule(self, core: Core) -> None:
        due = core.next_due_ns()
        if due == _core.NEVER:
            return
        when = max(self.clock.when(due), self.scheduler.now)
        if self._wake and self.scheduler.now < self._wake <= when:
            return  # an earlier wake-up is on its way and will look again
        self._wake = when
        life = self.life

        def wake() -> None:
            if self._wake == when:
                self._wake = 0
            if life == self.life and self.running:
                self.tick()

        self.scheduler.at(when, wake)

    def _transmit(self, core: Core, slot: int, priority: int) -> None:
        router = self.routers[slot]
        self.last_sent[slot] = self.scheduler.now
        if not self.links[router.segment]:
            return  # ENETDOWN
        frame = Frame(
            core.advert_bytes(slot, priority),
            self.sources[router.segment][router.family],
            MULTICAST4 if router.family == 4 else MULTICAST6,
        )
        self.segments[router.segment].send(self.index, frame)

    def _announce(self, slot: int, repeat: int) -> None:
        router = self.routers[slot]
        refused = self.kernel.refused.get(slot, set())
        for index, address in enumerate(router.addresses):
            if address in refused:
                continue  # the engine skips records whose request failed
            self.observer.announced(self, slot, address)
            if self.links[router.segment]:
                data = self.announcement(router, index)[ANNOUNCE_HEADER:]
                for _ in range(repeat):
                    self.segments[router.segment].send(self.index, Frame(data))

    # ---- applier ----

    def _play(self, slot: int, program: int, generation: int) -> None:
        self.kernel.pending.append((slot, program, generation))
        if len(self.kernel.pending) == 1:
            self._apply_later()

    def _apply_later(self) -> None:
        life = self.life
        delay = self.random.randint(*self.applier_ns)

        def apply() -> None:
            if life != self.life:
                return
            if not self.running:  # the applier is a thread of the frozen machine
                self._deferred.append(apply)
                return
            self._apply()

        self.scheduler.at(self.scheduler.now + delay, apply)

    def _apply(self) -> None:
        kernel = self.kernel
        slot, program, generation = kernel.pending.popleft()
        failed = 0
        if program == _core.P_DOWN:
            kernel.held.pop(slot, None)
            kernel.refused.pop(slot, None)
        elif program == _core.P_UP:
            held = kernel.held.setdefault(slot, set())
            refused = kernel.refused[slot] = set()
            for address in self.routers[slot].addresses:
                if address not in held and self.random.random() < kernel.failure_rate:
                    refused.add(address)
                else:
                    held.add(address)
            failed = len(refused)
        if kernel.pending:
            self._apply_later()
        self.step(
            lambda core, now: core.played(
                slot,
                generation,
                program=program,
                error=1 if failed else 0,
                failed=failed,
                now_ns=now,
            )
        )


def netlink_request(number: int) -> bytes:
    """A well-formed netlink message that no kernel will see."""
    return (20).to_bytes(4, "little") + bytes(12) + number.to_bytes(4, "little")
