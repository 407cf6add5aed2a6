"""A simulated router: the production core, a drifting clock, a fake kernel and its applier.

The packets are the core's own bytes; only sockets, netlink and threads are replaced. A node can be
paused (frozen machine), crashed, restarted, reloaded, and lose interfaces and trackers.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Protocol

from fastvrrp import _core
from fastvrrp._core import Core, Instance, build_announcement, pack_program
from fastvrrp.sim.lan import Frame, Scheduler, Segment
from fastvrrp.sim.machine import Clock, Kernel, Member, VirtualRouter, Work

MULTICAST4 = bytes((224, 0, 0, 18))
MULTICAST6 = bytes.fromhex("ff020000000000000000000000000012")
ANNOUNCE_HEADER = 12  # of a build_announcement() record
SOCKET_BUFFER = 256  # packets kept while the process does not read

Actions = list[Any]  # of _core.Action: told apart by their first word
Command = Callable[[Core, int], Actions]


class Observer(Protocol):
    """Who judges: called after every step of a node in which something happened."""

    def stepped(self, node: Node, before: dict[int, int], actions: Actions) -> None: ...
    def ticked(self, node: Node) -> None: ...
    def received(
        self,
        node: Node,
        segment: int,
        frame: Frame,
        code: int,
        before: dict[int, int],
        actions: Actions,
    ) -> None: ...
    def transmitted(self, node: Node, slot: int, frame: Frame, lost: set[int]) -> None: ...
    def announced(self, node: Node, slot: int, address: bytes, lost: set[int]) -> None: ...
    def committed(self, node: Node, slots: list[int]) -> None: ...
    def removed(self, node: Node, slots: list[int]) -> None: ...


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
        coalesce: bool = False,
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
        self.coalesce = coalesce
        self.make_core = make_core
        self.addresses = [router.addresses for router in routers]
        self.absent: set[int] = set()  # slots that the configuration does not have just now
        self._fresh: dict[int, set[bytes]] = {}  # slot -> addresses that its latest block added
        self._dropped: dict[int, tuple[bytes, ...]] = {}  # and those that it has no more
        self._last_words: dict[int, bytes] = {}  # of instances that are being removed
        self.allies = [self._allies(slot) for slot in range(len(routers))]
        self.kernel = Kernel()
        self.core: Core | None = None
        self.states: dict[int, int] = {}
        self.links = [True] * len(segments)
        self.paused_until = 0
        self.inbox: deque[tuple[int, Frame]] = deque()
        self.life = 0  # incarnation: what belongs to an earlier one is dead
        self.last_sent: dict[int, int] = {}  # slot -> simulation time
        self.awake_since = 0
        self.held_until: dict[int, int] = {}  # slot -> end of its start-up delay
        self.hearing = False  # this step is what a packet causes
        self.ticking = False  # or time
        self._wake = 0
        self._deaf = False
        self._frozen_at = 0
        self.frozen_ns = 0  # length of the latest freeze
        self._deferred: list[Callable[[], None]] = []

    def _allies(self, slot: int) -> list[int]:
        """The members of the slot's group, itself included."""
        group = self.routers[slot].group
        if group < 0:
            return [slot]
        return [k for k, router in enumerate(self.routers) if router.group == group]

    # ---- life ----

    @property
    def running(self) -> bool:
        return self.core is not None and self.scheduler.now >= self.paused_until

    @property
    def present(self) -> list[int]:
        """The slots that are configured."""
        return [slot for slot in range(len(self.routers)) if slot not in self.absent]

    def start(self) -> None:
        """A fresh process on a clean machine."""
        self.life += 1
        self.kernel.clear()
        self.inbox.clear()
        self._deferred.clear()
        self.states = dict.fromkeys(range(len(self.routers)), _core.INIT)
        self.awake_since = self.scheduler.now
        self.held_until = {s: self.scheduler.now + self.members[s].hold_ns for s in self.present}
        self.frozen_ns = 0
        self._wake = 0
        self.core = self.make_core(
            instances=len(self.routers),
            links=len(self.segments),
            groups=1 + max(0, *(router.group for router in self.routers)),
            now_ns=self.local(),
            coalesce=self.coalesce,
        )
        for link, up in enumerate(self.links):
            self.core.link(link, ifindex=link + 2, up=up, now_ns=self.local())
        self.observer.committed(self, self.present)
        made = [self.instance(slot, starting=True) for slot in self.present]
        self.step(lambda core, now: core.commit(made, now_ns=now))

    def instance(
        self, slot: int, *, starting: bool = False, before: tuple[bytes, ...] | None = None
    ) -> Instance:
        """The block to commit. `before`: the addresses of the block it replaces."""
        router, member, addresses = self.routers[slot], self.members[slot], self.addresses[slot]
        old = addresses if before is None else before
        self._fresh[slot] = set(addresses) - set(old)
        self._dropped[slot] = tuple(a for a in old if a not in addresses)
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
            addresses=list(addresses),
            garp_master_delay_ns=member.garp_delay_ns,
            garp_master_refresh_ns=member.refresh_ns,
            garp_lower_prio_delay_ns=member.garp_delay_ns,
            timer_expired_backup=member.timer_expired_backup,
            announce=b"".join(
                self.announcement(slot, k, new=address not in old)
                for k, address in enumerate(addresses)
            ),
            up=pack_program([(netlink_request(address), 0) for address in addresses]),
            change=pack_program([(netlink_request(a), 0) for a in self._dropped[slot]]),
        )

    def announcement(self, slot: int, index: int, *, new: bool = False) -> bytes:
        router = self.routers[slot]
        return build_announcement(
            family=router.family,
            address=self.addresses[slot][index],
            ifindex=router.segment + 2,
            mac=self.mac,
            request=index,
            new=new,
        )

    def crash(self) -> None:
        """Power off: no goodbye, nothing kept."""
        self.life += 1
        self.core = None
        self.kernel.clear()
        self.inbox.clear()
        self._deferred.clear()
        self.paused_until = 0
        before, self.states = self.states, dict.fromkeys(self.states, _core.INIT)
        self.observer.stepped(self, before, [])

    def stop(self) -> None:
        """Orderly, in one turn: priority 0 for every master; the addresses go with the process."""

        def stop_all(core: Core, now: int) -> Actions:
            return [action for slot in self.present for action in core.stop(slot, now_ns=now)]

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
        self.scheduler.at(self.paused_until, self._resume, self.life)

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
        if self.scheduler.now < self.paused_until:
            if not self._deaf and len(self.inbox) < SOCKET_BUFFER:
                self.inbox.append((segment, frame))
            return
        self._packet(segment, frame)
        if self.core.next_due_ns() <= self.local():
            self.tick()

    def _packet(self, segment: int, frame: Frame) -> None:
        core, before = self.core, self.states
        assert core is not None
        code, actions = core.packet(
            frame.data,
            link=segment,
            source=frame.source,
            destination=frame.destination,
            ttl=frame.ttl,
            now_ns=self.local(),
        )
        if actions:
            self.hearing = True
            self._carry_out(core, actions)
            self.hearing = False
        else:
            self._schedule(core)
        self.observer.received(self, segment, frame, code, before, actions)

    def control(self, command: Command) -> None:
        """A command of the control plane; waits while the machine is frozen."""
        if self.core is None:
            return
        if self.running:
            self.step(command)
        else:
            self._deferred.append(lambda: self.step(command))

    def set_link(self, segment: int, up: bool) -> None:
        self.links[segment] = up
        self.control(
            lambda core, now: core.link(
                segment, ifindex=segment + 2, up=self.links[segment], now_ns=now
            )
        )

    def reload(self, slots: list[int], **change: Any) -> None:
        """New values for some instances (of Member, or `addresses`), committed at once. What the
        configuration does not have comes with it."""

        def commit(core: Core, now: int) -> Actions:
            return core.commit(self._reconfigured(slots, change), now_ns=now)

        self.control(commit)

    def _reconfigured(self, slots: list[int], change: dict[str, Any]) -> list[Instance]:
        values = dict(change)
        addresses = values.pop("addresses", None)
        made = []
        for slot in slots:
            self.members[slot] = replace(self.members[slot], **values)
            before = None if slot in self.absent else self.addresses[slot]
            if addresses is not None:
                if addresses != self.addresses[slot]:
                    self.kernel.kept[slot] = self.kernel.wanted.get(slot, -1)
                self.addresses[slot] = addresses
            self.absent.discard(slot)
            self.held_until.pop(slot, None)
            made.append(self.instance(slot, before=before))
        self.observer.committed(self, slots)
        return made

    def remove(self, slots: list[int]) -> None:
        """A configuration without these instances."""

        def commit(core: Core, now: int) -> Actions:
            gone = [slot for slot in slots if slot not in self.absent]
            self._last_words = {slot: core.advert_bytes(slot, 0) for slot in gone}
            self.absent.update(gone)
            self.observer.removed(self, gone)
            return core.commit([], remove=gone, now_ns=now)

        self.control(commit)

    def lose_address(self, slot: int) -> None:
        """Somebody deletes an address; the monitor sees it and asks for it again."""
        held = self.kernel.held.get(slot)
        if held:  # the core may announce it until it is asked for again
            gone = min(held)
            held.discard(gone)
            self.kernel.stolen.setdefault(slot, set()).add(gone)
            self.control(lambda core, now: core.replay(slot, now_ns=now))

    # ---- one step and its outputs ----

    def step(self, command: Command) -> None:
        """One call of the core."""
        core = self.core
        if core is not None:
            self._carry_out(core, command(core, self.local()))

    def _carry_out(self, core: Core, actions: Actions) -> None:
        """Everything the core decided, in the order of the engine: adverts first."""
        before = self.states
        if actions:
            for entry in actions:
                if entry[0] == "event" and entry[1].kind == _core.EV_STATE:
                    if before is self.states:
                        self.states = dict(before)
                    self.states[entry[1].slot] = entry[1].b
            self.observer.stepped(self, before, actions)
            for entry in actions:
                if entry[0] == "tx":
                    self._transmit(core, entry[1], entry[2])
            for entry in actions:
                if entry[0] == "announce":
                    self._announce(entry[1], entry[2], only_new=entry[3])
                elif entry[0] == "play":
                    self._play(entry[1], entry[2], entry[3])
        self._schedule(core)

    def tick(self) -> None:
        """Fires what is due."""
        self.ticking = True
        self.step(lambda core, now: core.tick(now))
        self.ticking = False
        self.observer.ticked(self)

    def _schedule(self, core: Core) -> None:
        due = core.next_due_ns()
        if due == _core.NEVER:
            return
        now = self.scheduler.now
        if self._wake > now and self.clock.local(self._wake) <= due:
            return  # an earlier wake-up is on its way and will look again
        when = max(self.clock.when(due), now)
        self._wake = when
        self.scheduler.at(when, self._woken, self.life, when)

    def _woken(self, life: int, when: int) -> None:
        if self._wake == when:
            self._wake = 0
        if life == self.life and self.running:
            self.tick()

    def _transmit(self, core: Core, slot: int, priority: int) -> None:
        router = self.routers[slot]
        self.last_sent[slot] = self.scheduler.now
        if not self.links[router.segment]:
            return  # ENETDOWN
        frame = Frame(
            self._last_words[slot] if slot in self.absent else core.advert_bytes(slot, priority),
            self.sources[router.segment][router.family],
            MULTICAST4 if router.family == 4 else MULTICAST6,
        )
        lost = self.segments[router.segment].send(self.index, frame)
        self.observer.transmitted(self, slot, frame, lost)

    def _announce(self, slot: int, repeat: int, *, only_new: bool) -> None:
        router = self.routers[slot]
        segment = self.segments[router.segment]
        refused = self.kernel.refused.get(slot, ())
        for index, address in enumerate(self.addresses[slot]):
            if address in refused:
                continue  # the engine skips records whose request failed
            if only_new and address not in self._fresh[slot]:
                continue
            lost = set(range(segment.ports))
            if self.links[router.segment]:
                frame = Frame(self.announcement(slot, index)[ANNOUNCE_HEADER:])
                for _ in range(repeat):
                    lost &= segment.send(self.index, frame)
            self.observer.announced(self, slot, address, lost)

    # ---- applier ----

    def _play(self, slot: int, program: int, generation: int) -> None:
        if program == _core.P_CHANGE:
            addresses = self._dropped[slot]
        else:
            addresses = self.addresses[slot]
            self.kernel.wanted[slot] = generation
        self.kernel.pending.append(Work(slot, program, generation, addresses))
        if len(self.kernel.pending) == 1:
            self._apply_later()

    def _apply_later(self) -> None:
        delay = self.random.randint(*self.applier_ns)
        self.scheduler.at(self.scheduler.now + delay, self._apply, self.life)

    def _apply(self, life: int) -> None:
        if life != self.life:
            return
        if not self.running:  # the applier is a thread of the frozen machine
            self._deferred.append(lambda: self._apply(life))
            return
        kernel = self.kernel
        work = kernel.pending.popleft()
        while kernel.superseded(work):  # not played, no result, and it takes no time
            if not kernel.pending:
                return
            work = kernel.pending.popleft()
        slot, program, generation, addresses = work
        if kernel.pending:
            self._apply_later()
        failed = self._touch(slot, program, addresses)
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

    def _touch(self, slot: int, program: int, addresses: tuple[bytes, ...]) -> int:
        """Adds or removes; returns how many requests the kernel refused."""
        kernel = self.kernel
        held = kernel.held.setdefault(slot, set())
        kernel.stolen.pop(slot, None)
        if program != _core.P_UP:
            held.difference_update(addresses)
            if program == _core.P_DOWN:
                kernel.refused.pop(slot, None)
            return 0
        refused = kernel.refused[slot] = set()
        for address in addresses:
            if address not in held and self.random.random() < kernel.failure_rate:
                refused.add(address)
            else:
                held.add(address)
        return len(refused)


def netlink_request(address: bytes) -> bytes:
    """A well-formed netlink message that no kernel will see; other addresses, other bytes."""
    return (16 + len(address)).to_bytes(4, "little") + bytes(12) + address
