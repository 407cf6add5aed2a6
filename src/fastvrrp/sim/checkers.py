"""What must hold at every moment (safety), and what must come true once faults stop (liveness).

Every rule has a short name that a violation carries, so that a test can plant a defect and name the
rule that must find it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from fastvrrp import _core
from fastvrrp._core import BACKUP, FAULT, INIT, MASTER, Event
from fastvrrp.sim.lan import Frame, Segment
from fastvrrp.sim.node import Actions, Node

MS = 1_000_000
ACTIONS_PER_INSTANCE = 18
DEATH = 7  # intervals of silence after which every peer has taken over
ADVERTS_PER_INTERVAL = 24  # periodic, answers, and what a change of state sends
COUNTERS_EVERY = 16  # sweeps


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
        self.digest = hashlib.blake2b(digest_size=16)
        self.rival_since: dict[tuple[int, int, int], int] = {}  # slot, node, node
        self.master_since: dict[tuple[int, int], int] = {}  # node, slot
        self.announced_since: dict[tuple[int, int], int] = {}
        self.last_announcer: dict[int, Node] = {}
        self.sent: dict[tuple[int, int], list[int]] = {}  # times of adverts of the last interval
        self.counters: dict[tuple[int, int, int], dict[str, int]] = {}
        self.master_changes = 0
        self.sweeps = 0

    @property
    def now(self) -> int:
        return self.segments[0].scheduler.now

    def fail(self, rule: str, text: str) -> None:
        raise Violation(rule, self.now, text)

    def note(self, text: str) -> None:
        """One line of the trace: time, then what happened."""
        line = f"{self.now / 1e9:14.6f}  {text}"
        self.digest.update(line.encode())
        if self.keep_trace:
            self.trace.append(line)

    # ---- after every step ----

    def stepped(self, node: Node, before: dict[int, int], actions: Actions) -> None:
        if len(actions) > ACTIONS_PER_INSTANCE * len(node.routers):
            self.fail("bounded", f"{len(actions)} actions in one step of router {node.index}")
        for entry in actions:
            if entry[0] == "tx":
                self._sent(node, entry[1], entry[2], before)
            elif entry[0] == "event":
                self._event(node, entry[1], before, actions)
            elif entry[0] == "announce":
                self._announces(node, entry[1], actions)
        if before != node.states:
            self._goodbyes(node, before, actions)
            self._uniform(node)

    def _sent(self, node: Node, slot: int, priority: int, before: dict[int, int]) -> None:
        self.note(f"r{node.index} s{slot} advert {priority}")
        if priority and MASTER not in (before[slot], node.states[slot]):
            self.fail("speaker", f"router {node.index} advertises {priority} as no master")
        if not priority and (before[slot] != MASTER or node.states[slot] in (BACKUP, MASTER)):
            self.fail("speaker", f"router {node.index} says goodbye without leaving")
        interval = node.members[slot].advert_int_ns
        times = self.sent.setdefault((node.index, slot), [])
        times.append(self.now)
        while times[0] <= self.now - interval:
            times.pop(0)
        if len(times) > ADVERTS_PER_INTERVAL:
            self.fail("bounded", f"router {node.index}: {len(times)} adverts in an interval")

    def _announces(self, node: Node, slot: int, actions: Actions) -> None:
        if node.states[slot] != MASTER:
            self.fail("silent", f"router {node.index} announces slot {slot} as no master")
        member = node.members[slot]
        group = node.routers[slot].group
        # who wins for one member of a group wins for all
        allies = {s for s, r in enumerate(node.routers) if s == slot or r.group == group >= 0}
        speaks = any(a[0] == "tx" and a[1] in allies for a in actions)
        silent = all(node.last_sent.get(s, 0) < node.awake_since for s in allies)
        if silent and not speaks and node.frozen_ns > DEATH * member.advert_int_ns:
            # peers have long taken over, and nobody would correct what the hosts now believe
            self.fail("stale", f"router {node.index} announces slot {slot} before it has listened")

    def _event(self, node: Node, event: Event, before: dict[int, int], actions: Actions) -> None:
        slot = event.slot
        self.note(f"r{node.index} s{slot} event {event.kind} {event.a} {event.b} {event.reason}")
        if event.kind == _core.EV_STATE:
            if event.b == MASTER:
                self.master_changes += 1
                self.master_since[node.index, slot] = self.now
                self.announced_since.pop((node.index, slot), None)
            elif event.a == MASTER:
                self.master_since.pop((node.index, slot), None)
        ended = event.kind == _core.EV_DUAL_MASTER and event.a == 0 and event.b == 1
        if (
            ended
            and (node.index, slot) in self.announced_since
            and not any(a[0] == "announce" and a[1] == slot for a in actions)
        ):
            self.fail("winner", f"router {node.index} won slot {slot} and does not announce")

    def _goodbyes(self, node: Node, before: dict[int, int], actions: Actions) -> None:
        for slot, old in before.items():
            new = node.states[slot]
            if old == MASTER and new in (INIT, FAULT):
                zeros = [a for a in actions if a[0] == "tx" and a[1] == slot and a[2] == 0]
                if not zeros:
                    self.fail("goodbye", f"router {node.index} left slot {slot} without a word")

    def _uniform(self, node: Node) -> None:
        states = [
            state
            for slot, state in node.states.items()
            if node.routers[slot].group >= 0 and state != INIT
        ]
        if len(set(states)) > 1 or (MASTER in states and INIT in node.states.values()):
            names = [_core.STATE_NAMES[s] for s in node.states.values()]
            self.fail("uniform", f"the group of router {node.index} is {names}")

    def ticked(self, node: Node) -> None:
        if node.core is not None and node.core.next_due_ns() <= node.local():
            self.fail("overdue", f"router {node.index} leaves a deadline in the past")

    def received(self, node: Node, segment: int, frame: Frame, code: int) -> None:
        """After a packet: priority 0 must leave a backup at most one skew from taking over."""
        core = node.core
        if code != 0 or frame.data[2] != 0 or core is None:
            return
        family = 4 if len(frame.source) == 4 else 6
        for slot, router in enumerate(node.routers):
            fits = (router.segment, router.family, router.vrid) == (segment, family, frame.data[1])
            if fits and router.group < 0 and node.states[slot] == BACKUP:
                status = core.status(slot)
                if status.next_due_ns - node.local() > status.skew_time_ns:
                    self.fail("skew", f"router {node.index} ignores priority 0 in slot {slot}")

    def announced(self, node: Node, slot: int, address: bytes) -> None:
        self.note(f"r{node.index} s{slot} announce {address.hex()}")
        if address not in node.kernel.held.get(slot, ()) and not node.kernel.busy_with(slot):
            self.fail("unheld", f"router {node.index} announces {address.hex()} without holding it")
        self.announced_since[node.index, slot] = self.now
        self.last_announcer[slot] = node

    # ---- periodically ----

    def sweep(self) -> None:
        self.sweeps += 1
        for node in self.nodes:
            if node.running and node.core is not None:
                self._sweep_node(node)
        for slot in range(len(self.nodes[0].routers)):
            self._rivals(slot)

    def _sweep_node(self, node: Node) -> None:
        core = node.core
        assert core is not None
        if core.illegal_transitions():
            self.fail("illegal", f"router {node.index} tried a transition that does not exist")
        for slot, state in node.states.items():
            self._addresses(node, slot, state)
            if state == MASTER:
                self._beat(node, slot)
            if self.sweeps % COUNTERS_EVERY == 0:
                self._status(node, slot, state)

    def _addresses(self, node: Node, slot: int, state: int) -> None:
        kernel = node.kernel
        if kernel.busy_with(slot):
            return
        held = kernel.held.get(slot, set())
        wanted: set[bytes] = set()
        if state == MASTER:
            wanted = set(node.routers[slot].addresses) - kernel.refused.get(slot, set())
            listening = self.now - node.awake_since < 2 * node.members[slot].advert_int_ns
            if wanted and not listening and (node.index, slot) not in self.announced_since:
                self.fail("announce", f"router {node.index} holds slot {slot} and told nobody")
        if held != wanted:
            name = _core.STATE_NAMES[state]
            self.fail("addresses", f"router {node.index} is {name} and holds {len(held)} of slot")

    def _beat(self, node: Node, slot: int) -> None:
        """A running master is silent at most for its interval and one listening time."""
        interval = node.members[slot].advert_int_ns
        since = max(node.last_sent.get(slot, 0), node.awake_since)
        if self.now - since > interval + interval // 2 + MS:
            self.fail("beat", f"master {node.index} of slot {slot} has been silent too long")

    def _status(self, node: Node, slot: int, state: int) -> None:
        assert node.core is not None
        status = node.core.status(slot)
        if status.state != state:
            self.fail("events", f"router {node.index}: the events tell another state than status")
        key = (node.index, node.life, slot)
        last = self.counters.get(key, {})
        for name, value in status.counters.items():
            if value < last.get(name, 0):
                self.fail("counters", f"router {node.index}: {name} went backwards")
        self.counters[key] = status.counters

    def _rivals(self, slot: int) -> None:
        router = self.nodes[0].routers[slot]
        segment = self.segments[router.segment]
        masters = [n for n in self.nodes if n.states.get(slot) == MASTER]
        seen = set()
        for a, b in pairs(masters):
            if not self._can_talk(segment, router.segment, a, b):
                continue
            key = (slot, a.index, b.index)
            seen.add(key)
            since = max(self.rival_since.setdefault(key, self.now), a.awake_since, b.awake_since)
            interval = max(n.members[slot].advert_int_ns for n in (a, b))
            if self.now - since > 2 * interval + 4 * segment.worst_delay_ns + MS:
                self.fail("rivals", f"routers {a.index} and {b.index} are both master of {slot}")
        for key in [k for k in self.rival_since if k[0] == slot and k not in seen]:
            del self.rival_since[key]

    def _can_talk(self, segment: Segment, number: int, a: Node, b: Node) -> bool:
        return (
            a.running
            and b.running
            and a.links[number]
            and b.links[number]
            and segment.connected(a.index, b.index)
            and segment.weather.is_calm(self.now)
        )

    # ---- when faults have stopped ----

    def settled(self) -> None:
        """Liveness: one master per virtual router, the right one, and hosts that know it."""
        for slot, router in enumerate(self.nodes[0].routers):
            masters = [n for n in self.nodes if n.states[slot] == MASTER]
            if len(masters) != 1:
                self.fail("one master", f"slot {slot} has masters {[n.index for n in masters]}")
            master = masters[0]
            self._right(slot, master)
            refreshing = master.members[slot].refresh_ns > 0
            if not refreshing and self.last_announcer.get(slot) is not master:
                # somebody else was master for a while and yielded before this one heard of it:
                # what higher_prio_send_advert and the refresh are for
                continue
            for number, host in enumerate(self.segments[router.segment].hosts):
                for address in router.addresses:
                    if address in host.missed and not refreshing:
                        continue  # the only announcement there will be got lost
                    if host.neighbours.get(address) != master.mac:
                        self.fail("neighbours", f"host {number} looks for slot {slot} elsewhere")

    def _right(self, slot: int, master: Node) -> None:
        """No backup that preempts has a higher priority than the master."""
        for node in self.nodes:
            member = node.members[slot]
            if node is master or (member.nopreempt and member.priority != 255):
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
