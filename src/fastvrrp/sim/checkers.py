"""What must hold at every moment (safety), and what must come true once faults stop (liveness).

Every rule has a short name that a violation carries, so that a test can plant a defect and name the
rule that must find it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import cached_property

from fastvrrp import _core
from fastvrrp._core import BACKUP, FAULT, INIT, MASTER, Event
from fastvrrp.sim.bounds import Bounds
from fastvrrp.sim.elections import Elections, advertised, longer
from fastvrrp.sim.lan import Frame, Segment
from fastvrrp.sim.node import Actions, Node

MS = 1_000_000
DEATH = 7  # intervals of silence after which every peer has taken over
COUNTERS_EVERY = 16  # sweeps
OWNER = 255
LINES_KEPT = 1000  # of the trace, before they go into its digest


class Violation(AssertionError):
    """A rule was broken. `rule` is its short name, `now_ns` simulation time."""

    def __init__(self, rule: str, now_ns: int, text: str) -> None:
        super().__init__(f"{rule} at {now_ns / 1e9:.6f} s: {text}")
        self.rule = rule
        self.now_ns = now_ns


class Judge:
    """Watches every step of every node. Also keeps the trace and its digest."""

    def __init__(self, segments: list[Segment], *, keep_trace: bool = False) -> None:
        self.segments = segments
        self.nodes: list[Node] = []
        self.trace: list[str] = []
        self.keep_trace = keep_trace
        self._digest = hashlib.blake2b(digest_size=16)
        self._lines: list[str] = []
        self.masters: dict[int, set[int]] = {}  # slot -> nodes
        self.rival_since: dict[tuple[int, int, int], int] = {}  # slot, node, node
        self.told: dict[tuple[int, int], set[bytes]] = {}  # node, slot -> announced as this master
        # address -> per port: who announced last there (a host that missed it knows that itself)
        self.last_announcer: dict[bytes, dict[int, tuple[Node, int]]] = {}  # and when
        # master, another master, slot -> when this one surely heard an advert of that one last
        self.heard: dict[tuple[int, int, int], int] = {}
        # slots in which one of two masters gave up, and the other one never heard of it
        self.unheard: set[int] = set()
        self.farewell: dict[int, bytes] = {}  # slot -> what they should have heard
        # node, slot that gave up in this very step -> whether the slot was among those before
        self.leaving: dict[tuple[int, int], bool] = {}
        self.reconfigured: dict[tuple[int, int], int] = {}  # node, slot -> when
        self.elections = Elections()
        self.bounds = Bounds()
        self.contended: set[tuple[int, int]] = set()  # node, slot: told of another master
        self.joining: set[tuple[int, int]] = set()  # node, group: has members that are new to it
        self.counters: dict[tuple[int, int, int], dict[str, int]] = {}
        self.master_changes = 0
        self.sweeps = 0

    @cached_property
    def _places(self) -> dict[tuple[int, int, int], int]:
        """Segment, family and VRID -> slot."""
        routers = enumerate(self.nodes[0].routers)
        return {(r.segment, r.family, r.vrid): slot for slot, r in routers}

    @property
    def now(self) -> int:
        return self.segments[0].scheduler.now

    def fail(self, rule: str, text: str) -> None:
        raise Violation(rule, self.now, text)

    def hold(self, rule: str, wrong: str) -> None:
        if wrong:
            self.fail(rule, wrong)

    def note(self, text: str) -> None:
        """One line of the trace: time in nanoseconds, then what happened."""
        line = f"{self.now} {text}\n"
        self._lines.append(line)
        if self.keep_trace:
            self.trace.append(f"{self.now / 1e9:14.6f}  {text}")
        if len(self._lines) >= LINES_KEPT:
            self._flush()

    def _flush(self) -> None:
        self._digest.update("".join(self._lines).encode())
        self._lines.clear()

    def fingerprint(self) -> str:
        """Of everything that happened, every byte sent included."""
        self._flush()
        return self._digest.hexdigest()

    # ---- after every step ----

    def stepped(self, node: Node, before: dict[int, int], actions: Actions) -> None:
        self.hold("bounded", self.bounds.step(node, len(actions)))
        changed = node.states is not before
        self.leaving.clear()
        for entry in actions:
            if entry[0] == "tx":
                self._sent(node, entry[1], entry[2], before)
            elif entry[0] == "event":
                self._event(node, entry[1], actions)
            elif entry[0] == "announce":
                self._announces(node, entry[1], actions)
            elif node.ticking and before[entry[1]] == node.states[entry[1]]:
                self.hold("bounded", self.bounds.retry(node, entry[1], self.now))
        if changed:
            self._changed(node, before, actions)

    def _sent(self, node: Node, slot: int, priority: int, before: dict[int, int]) -> None:
        if priority and MASTER not in (before[slot], node.states[slot]):
            self.fail("speaker", f"router {node.index} advertises {priority} as no master")
        if not priority and (before[slot] != MASTER or node.states[slot] in (BACKUP, MASTER)):
            self.fail("speaker", f"router {node.index} says goodbye without leaving")
        own = self.elections.priority[node.index, slot]
        if priority not in (0, own):
            self.fail("wire", f"router {node.index} of priority {own} advertises {priority}")
        if before[slot] != node.states[slot]:
            return
        self.hold("bounded", self.bounds.advert(node, slot, self.now))
        if node.hearing:
            self.hold("bounded", self.bounds.answer(node, slot, self.now))
        else:
            since = self.reconfigured[node.index, slot]
            self.hold("pace", self.bounds.beat(node, slot, since, self.now))

    def _announces(self, node: Node, slot: int, actions: Actions) -> None:
        if node.states[slot] != MASTER:
            self.fail("silent", f"router {node.index} announces slot {slot} as no master")
        if node.hearing:
            self.hold("bounded", self.bounds.announcement(node, slot, self.now))
        if node.frozen_ns <= DEATH * node.members[slot].advert_int_ns:
            return
        # who wins for one member of a group wins for all
        allies = node.allies[slot]
        speaks = any(a[0] == "tx" and a[1] in allies for a in actions)
        if not speaks and all(node.last_sent.get(s, 0) < node.awake_since for s in allies):
            # peers have long taken over, and nobody would correct what the hosts now believe
            self.fail("stale", f"router {node.index} announces slot {slot} before it has listened")

    def _event(self, node: Node, event: Event, actions: Actions) -> None:
        slot = event.slot
        self.note(f"r{node.index} s{slot} event {event.kind} {event.a} {event.b} {event.reason}")
        self.hold("bounded", self.bounds.event(node, event, self.now))
        if event.kind == _core.EV_STATE:
            if event.b == MASTER:
                self.master_changes += 1
                self.told[node.index, slot] = set()
                self.bounds.became_master(node, slot, self.now)
            self.bounds.changed_state(node, slot)
            self.hold("hasty", self.elections.changed(node, slot, event.a, event.b, self.now))
        elif event.kind == _core.EV_PRIORITY:
            self.elections.priority[node.index, slot] = event.b
        elif event.kind == _core.EV_DUAL_MASTER:
            self._contention(node, slot, began=event.a == 1)
        if event.kind == _core.EV_DUAL_MASTER and event.a == 0 and event.b == 1:
            announces = any(a[0] == "announce" and a[1] == slot for a in actions)
            waits = node.kernel.busy_with(slot)  # and then announces everything
            if self.told.get((node.index, slot)) and not announces and not waits:
                self.fail("winner", f"router {node.index} won slot {slot} and does not announce")

    def _contention(self, node: Node, slot: int, *, began: bool) -> None:
        if began == ((node.index, slot) in self.contended):
            self.fail("events", f"a contention in slot {slot} of router {node.index} has two ends")
        self.contended ^= {(node.index, slot)}

    def _changed(self, node: Node, before: dict[int, int], actions: Actions) -> None:
        groups = set()
        for slot, new in node.states.items():
            old = before.get(slot, INIT)
            if old == new:
                continue
            groups.add(node.routers[slot].group)
            if new == MASTER:
                self.masters.setdefault(slot, set()).add(node.index)
            elif old == MASTER:
                self.masters[slot].discard(node.index)
                if self.masters[slot]:
                    self.leaving[node.index, slot] = slot in self.unheard
                    self.unheard.add(slot)
                if new in (INIT, FAULT) and node.core is not None:
                    self._goodbye(node, slot, actions)
        for group in sorted(groups - {-1}):
            self._uniform(node, group)

    def _goodbye(self, node: Node, slot: int, actions: Actions) -> None:
        if not any(a[0] == "tx" and a[1] == slot and a[2] == 0 for a in actions):
            self.fail("goodbye", f"router {node.index} left slot {slot} without a word")

    def _uniform(self, node: Node, group: int) -> None:
        slots = [s for s, router in enumerate(node.routers) if router.group == group]
        states = [node.states[slot] for slot in slots if slot not in node.absent]
        running = {state for state in states if state != INIT}
        split = len(running) > 1 or (MASTER in running and INIT in states)
        key = (node.index, group)
        if not split:
            self.joining.discard(key)
        elif key not in self.joining:
            names = [_core.STATE_NAMES[state] for state in states]
            self.fail("uniform", f"group {group} of router {node.index} is {names}")

    def committed(self, node: Node, slots: list[int]) -> None:
        """A configuration is about to be put into effect."""
        for slot in slots:
            self.reconfigured[node.index, slot] = self.now
            self.elections.configured(node, slot, self.now)
            fresh = node.states.get(slot, INIT) == INIT
            self.bounds.reconfigured(node, slot, fresh=fresh)
            if fresh:
                self.contended.discard((node.index, slot))
            if node.states.get(slot, INIT) == INIT:
                # a new member of a running group has a detection time to listen first
                self.joining.add((node.index, node.routers[slot].group))

    def removed(self, node: Node, slots: list[int]) -> None:
        """Instances are about to go; should they come back, they count from nothing."""
        for slot in slots:
            self.counters.pop((node.index, node.life, slot), None)

    def ticked(self, node: Node) -> None:
        if node.core is not None and node.core.next_due_ns() <= node.local():
            self.fail("overdue", f"router {node.index} leaves a deadline in the past")

    def received(
        self,
        node: Node,
        segment: int,
        frame: Frame,
        code: int,
        before: dict[int, int],
        actions: Actions,
    ) -> None:
        """After a packet, whatever became of it."""
        if code:
            if any(entry[0] != "event" or entry[1].kind != _core.EV_RX_ERROR for entry in actions):
                self.fail("deaf", f"router {node.index} acts on a packet it rejects: {actions}")
            # its configuration changed while the packet was on its way
            self.unheard.update(s for s, data in self.farewell.items() if data == frame.data)
            return
        family = 4 if len(frame.source) == 4 else 6
        slot = self._places[segment, family, frame.data[1]]
        self._credible(node, segment, slot, frame)
        self.hold("election", self.elections.heard(node, slot, frame, before[slot], self.now))
        core = node.core
        if not frame.data[2] and node.routers[slot].group < 0 and core is not None:
            # priority 0 must leave a backup at most one skew from taking over
            status = core.status(slot)
            late = status.next_due_ns - node.local() > status.skew_time_ns
            if node.states[slot] == BACKUP and late:
                self.fail("skew", f"router {node.index} ignores priority 0 in slot {slot}")

    def _credible(self, node: Node, segment: int, slot: int, frame: Frame) -> None:
        """What was accepted is a whole advert of another router (RFC 9568 7.1, RFC 3768 7.1)."""
        router, version = node.routers[slot], frame.data[0] >> 4
        own = node.sources[segment][router.family]
        fits = version == router.version
        if version == 2:
            fits = fits and frame.data[5] * 1000 * MS == node.members[slot].advert_int_ns
        elif fits:
            fits = advertised(frame) > 0
        if not fits or frame.damaged or frame.ttl != 255 or frame.source == own:
            self.fail("gullible", f"router {node.index} believes {frame} in slot {slot}")

    def transmitted(self, node: Node, slot: int, frame: Frame, lost: set[int]) -> None:
        self.note(f"r{node.index} s{slot} advert {frame.data.hex()}")
        if slot not in node.absent:
            self._says(node, slot, frame.data)
        others = self.masters.get(slot, set()) - {node.index}
        number = node.routers[slot].segment
        if others and self.segments[number].weather.is_calm(self.now):
            hearing = {n for n in others if self._hears(self.nodes[n], node, slot, lost)}
            for n in hearing:
                self.heard[n, node.index, slot] = self.now
            if hearing == others and self.leaving.get((node.index, slot)) is False:
                self.unheard.discard(slot)
                self.farewell[slot] = frame.data

    def _says(self, node: Node, slot: int, data: bytes) -> None:
        """The router's own interval and addresses."""
        interval, addresses = node.members[slot].advert_int_ns, b"".join(node.addresses[slot])
        if data[0] >> 4 == 2:
            right = data[5] * 1000 * MS == interval
        else:
            right = int.from_bytes(data[4:6], "big") * 10 * MS == interval
        if not right or data[8 : 8 + len(addresses)] != addresses:
            self.fail("wire", f"router {node.index} of slot {slot} advertises {data.hex()}")

    def _hears(self, node: Node, speaker: Node, slot: int, lost: set[int]) -> bool:
        return (
            node.running
            and node.links[node.routers[slot].segment]
            and node.index not in lost
            and self._understands(node, speaker, slot)
        )

    def announced(self, node: Node, slot: int, address: bytes, lost: set[int]) -> None:
        self.note(f"r{node.index} s{slot} announce {address.hex()}")
        kernel = node.kernel
        if address not in kernel.held.get(slot, ()) and address not in kernel.stolen.get(slot, ()):
            self.fail("unheld", f"router {node.index} announces {address.hex()} without holding it")
        self.told.setdefault((node.index, slot), set()).add(address)
        ports = self.last_announcer.setdefault(address, {})
        for port in range(len(self.nodes)):
            if port not in lost:
                ports[port] = node, self.now

    # ---- periodically ----

    def sweep(self) -> None:
        self.sweeps += 1
        for node in self.nodes:
            if node.running and node.core is not None:
                self._sweep_node(node)
        for slot, masters in self.masters.items():
            if len(masters) > 1 or self.rival_since:
                self._rivals(slot)

    def _sweep_node(self, node: Node) -> None:
        core = node.core
        assert core is not None
        if core.illegal_transitions():
            self.fail("illegal", f"router {node.index} tried a transition that does not exist")
        held = node.kernel.held
        for slot, state in node.states.items():
            if state in (BACKUP, MASTER) and not node.links[node.routers[slot].segment]:
                name = _core.STATE_NAMES[state]
                self.fail("cut off", f"router {node.index} is {name} of slot {slot} without a link")
            if state == MASTER:
                self._beat(node, slot)
                self._addresses(node, slot, state)
            elif held.get(slot):
                self._addresses(node, slot, state)
            if state == BACKUP and node.routers[slot].group < 0:
                self.hold("asleep", self.elections.overdue(node, slot, self.now))
        if self.sweeps % COUNTERS_EVERY == 0:
            for slot in node.present:
                self._status(node, slot, node.states[slot])

    def _addresses(self, node: Node, slot: int, state: int) -> None:
        kernel = node.kernel
        if kernel.busy_with(slot):
            return
        held = kernel.held.get(slot, set())
        wanted: set[bytes] = set()
        if state == MASTER:
            wanted = set(node.addresses[slot]) - kernel.refused.get(slot, set())
            listening = self.now - node.awake_since < 2 * node.members[slot].advert_int_ns
            if not listening and not wanted <= self.told.get((node.index, slot), set()):
                self.fail("announce", f"router {node.index} holds slot {slot} and told nobody")
        if held != wanted:
            name = _core.STATE_NAMES[state]
            text = f"router {node.index} is {name} in slot {slot}, holds {len(held)}"
            self.fail("addresses", f"{text}, should hold {len(wanted)}")

    def _beat(self, node: Node, slot: int) -> None:
        """A running master is silent at most for its interval."""
        interval = node.members[slot].advert_int_ns
        since = max(
            node.last_sent.get(slot, 0), node.awake_since, self.reconfigured[node.index, slot]
        )
        if self.now - since > longer(interval):
            self.fail("beat", f"master {node.index} of slot {slot} has been silent too long")

    def _status(self, node: Node, slot: int, state: int) -> None:
        assert node.core is not None
        status = node.core.status(slot)
        if status.state != state:
            self.fail("events", f"router {node.index}: the events tell another state than status")
        key = (node.index, node.life, slot)
        last = self.counters.get(key, {})
        if status.counters != last:
            for name, value in status.counters.items():
                if value < last.get(name, 0):
                    self.fail("counters", f"router {node.index}: {name} went backwards")
            self.counters[key] = status.counters

    def _rivals(self, slot: int) -> None:
        router = self.nodes[0].routers[slot]
        segment = self.segments[router.segment]
        masters = [self.nodes[n] for n in sorted(self.masters[slot])]
        seen = set()
        for a, b in pairs(masters):
            if not self._can_talk(segment, slot, a, b):
                continue
            key = (slot, a.index, b.index)
            seen.add(key)
            since = max(self.rival_since.setdefault(key, self.now), a.awake_since, b.awake_since)
            since = max(since, *(self.reconfigured[n.index, slot] for n in (a, b)))
            interval = max(n.members[slot].advert_int_ns for n in (a, b))
            if self.now - since > 2 * interval + 4 * segment.worst_delay_ns + MS:
                self.fail("rivals", f"routers {a.index} and {b.index} are both master of {slot}")
        for key in [k for k in self.rival_since if k[0] == slot and k not in seen]:
            del self.rival_since[key]

    def _can_talk(self, segment: Segment, slot: int, a: Node, b: Node) -> bool:
        number = a.routers[slot].segment
        return (
            a.running
            and b.running
            and a.links[number]
            and b.links[number]
            and segment.connected(a.index, b.index)
            and segment.weather.is_calm(self.now)
            and self._understands(a, b, slot)
        )

    def _understands(self, a: Node, b: Node, slot: int) -> bool:
        """Version 2 rejects other intervals."""
        same = a.members[slot].advert_int_ns == b.members[slot].advert_int_ns
        return same or a.routers[slot].version == 3

    # ---- when faults have stopped ----

    def settled(self, components: tuple[int, ...] = ()) -> None:
        """Liveness: in every component one master per virtual router, the right one, and hosts
        that know it."""
        place = components or (0,) * len(self.nodes)
        for component in sorted(set(place)):
            ports = [port for port, where in enumerate(place) if where == component]
            alive = [self.nodes[port] for port in ports if self.nodes[port].core is not None]
            for slot in range(len(self.nodes[0].routers) if alive else 0):
                self._settled_slot(slot, alive, ports)
        for node in self.nodes:
            for group in sorted({router.group for router in node.routers} - {-1}):
                self.joining.discard((node.index, group))
                self._uniform(node, group)

    def stable(self, made: int) -> None:
        """Later on: who is right stays."""
        if self.master_changes != made:
            self.fail("stable", f"{self.master_changes - made} masters made with nothing wrong")
        endless = sorted(key for key in self.contended if self.nodes[key[0]].core is not None)
        if endless:
            self.fail("events", f"contentions without an end: {endless}")

    def _settled_slot(self, slot: int, alive: list[Node], ports: list[int]) -> None:
        masters = [n for n in alive if n.states[slot] == MASTER]
        if len(masters) != 1:
            self.fail("one master", f"slot {slot} has masters {[n.index for n in masters]}")
        master = masters[0]
        self._right(slot, master, alive)
        if master.kernel.held.get(slot) != set(master.addresses[slot]):
            self.fail("addresses", f"master {master.index} of slot {slot} lacks some of them")
        segment = self.segments[master.routers[slot].segment]
        for port in ports:
            self._neighbours(slot, master, port, segment)

    def _neighbours(self, slot: int, master: Node, port: int, segment: Segment) -> None:
        """What host `port` believes. Nobody can help a host that an announcement never reached, nor
        one that another master misled of whom the right one never heard; what a refresh is for."""
        host = segment.hosts[port]
        refreshing = master.members[slot].refresh_ns > 0
        for address in master.addresses[slot]:
            misled = self._misled(slot, master, address, port)
            if not refreshing and (address in host.missed or misled):
                continue
            if host.neighbours.get(address) != master.mac:
                self.fail("neighbours", f"host {port} looks for slot {slot} elsewhere")

    def _misled(self, slot: int, master: Node, address: bytes, port: int) -> bool:
        """Another one told host `port` last, and gave up, or is in another part of the network
        now, before the master heard of it."""
        other, when = self.last_announcer.get(address, {}).get(port, (None, 0))
        if other is master:
            return False
        if slot in self.unheard or other is None:
            return slot in self.unheard
        return (
            other.index in self.masters[slot]
            and self.heard.get((master.index, other.index, slot), -1) < when
        )

    def _right(self, slot: int, master: Node, alive: list[Node]) -> None:
        """No backup that preempts has a higher priority than the master."""
        for node in alive:
            member = node.members[slot]
            if node is master or (member.nopreempt and member.priority != OWNER):
                continue
            if node.states[slot] != BACKUP:
                name = _core.STATE_NAMES[node.states[slot]]
                self.fail("right master", f"router {node.index} is {name} with nothing wrong")
            if member.priority > master.members[slot].priority:
                text = f"{master.index} is master of slot {slot} before better {node.index}"
                self.fail("right master", text)


def pairs(nodes: list[Node]) -> Iterator[tuple[Node, Node]]:
    for n, a in enumerate(nodes):
        for b in nodes[n + 1 :]:
            yield a, b
