"""How much a router may send and tell: what it sends by itself, and what others can make it do."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from fastvrrp import _core
from fastvrrp._core import Event
from fastvrrp.sim.elections import MS, SECOND, shorter

if TYPE_CHECKING:
    from fastvrrp.sim.node import Node

ACTIONS_PER_INSTANCE = 18
ADVERTS_PER_INTERVAL = 12  # periodic ones and answers, of a master that goes on
ANNOUNCED_NS = SECOND  # between announcements that others cause, or an interval
# told once in an interval, but not more than four times a second
TOLD = frozenset((_core.EV_MASTER_CHANGED, _core.EV_RX_LOWER_PRI))
TOLD_NS = 250 * MS
# of each cause once in a state and minute; a new minute may begin just then
LOGGED = frozenset((_core.EV_RX_ERROR, _core.EV_INTERVAL_MISMATCH, _core.EV_ADDR_MISMATCH))
LOGGED_NS = 60 * SECOND
LOGGED_TIMES = 2
ANSWERS_PER_INTERVAL = 4  # to inferior adverts, and as many to goodbyes
RETRY_NS = 100 * MS  # at least, between two attempts to have the kernel take something
ANNOUNCEMENT, ANSWER, RETRY = -1, -2, -3  # beside kinds of events
NAMES = {ANNOUNCEMENT: "announcements", ANSWER: "answers", RETRY: "attempts"}

Cause = tuple[int, int]  # kind of event or one of NAMES, cause of a rejection


class Bounds:
    """One for all nodes. Whatever it returns is what is wrong, in words; "" when nothing is."""

    def __init__(self) -> None:
        self._sent: dict[tuple[int, int], deque[int]] = {}  # node, slot -> times of adverts
        self._beats: dict[tuple[int, int], tuple[int, int]] = {}  # since when, adverts of the timer
        self._done: dict[tuple[int, int], dict[Cause, deque[int]]] = {}  # node, slot -> when

    def became_master(self, node: Node, slot: int, now: int) -> None:
        self._beats[node.index, slot] = now, 0

    def changed_state(self, node: Node, slot: int) -> None:
        """What is wrong in a new state is told again."""
        done = self._done.get((node.index, slot), {})
        for key in [key for key in done if key[0] in LOGGED]:
            del done[key]

    def reconfigured(self, node: Node, slot: int, *, fresh: bool) -> None:
        """`fresh`: it counts from nothing."""
        self._sent.pop((node.index, slot), None)
        if fresh:
            self._done.pop((node.index, slot), None)

    def step(self, node: Node, actions: int) -> str:
        if actions <= ACTIONS_PER_INSTANCE * len(node.routers):
            return ""
        return f"{actions} actions in one step of router {node.index}"

    def advert(self, node: Node, slot: int, now: int) -> str:
        """Of a master that goes on. For a change of state there may be one or two besides: the
        network cannot ask for these."""
        times = self._sent.setdefault((node.index, slot), deque())
        times.append(now)
        if len(times) <= ADVERTS_PER_INTERVAL:
            return ""
        if times.popleft() <= now - node.members[slot].advert_int_ns:
            return ""
        return f"router {node.index}: {ADVERTS_PER_INTERVAL + 1} adverts in an interval"

    def beat(self, node: Node, slot: int, since: int, now: int) -> str:
        """An advert of the timer: since it is master, configured and awake there is one in an
        interval, and one after a pause."""
        begin, count = self._beats.get((node.index, slot), (0, 0))
        since = max(begin, since, node.awake_since)
        count = count + 1 if since == begin else 1
        self._beats[node.index, slot] = since, count
        if (count - 2) * shorter(node.members[slot].advert_int_ns) <= now - since:
            return ""
        return f"router {node.index}: {count} adverts of slot {slot} in {(now - since) / 1e9:.6f} s"

    def answer(self, node: Node, slot: int, now: int) -> str:
        """An advert that a packet caused."""
        length = node.members[slot].advert_int_ns // ANSWERS_PER_INTERVAL
        return self._again(node, slot, (ANSWER, 0), now, length, 2)

    def retry(self, node: Node, slot: int, now: int) -> str:
        """A program that is played again because time has passed."""
        return self._again(node, slot, (RETRY, 0), now, RETRY_NS)

    def announcement(self, node: Node, slot: int, now: int) -> str:
        """One that a packet caused."""
        interval = node.members[slot].advert_int_ns
        return self._again(node, slot, (ANNOUNCEMENT, 0), now, max(interval, ANNOUNCED_NS))

    def event(self, node: Node, event: Event, now: int) -> str:
        if event.kind in TOLD:
            length = max(node.members[event.slot].advert_int_ns, TOLD_NS)
            return self._again(node, event.slot, (event.kind, 0), now, length)
        if event.kind in LOGGED:
            cause = event.kind, event.a if event.kind == _core.EV_RX_ERROR else 0
            return self._again(node, event.slot, cause, now, LOGGED_NS, LOGGED_TIMES)
        return ""

    def _again(
        self, node: Node, slot: int, what: Cause, now: int, length: int, most: int = 1
    ) -> str:
        """Not more often than `most` times in `length`."""
        done = self._done.setdefault((node.index, slot), {})
        # until when: the interval may change
        until = done.setdefault(what, deque())
        while until and until[0] <= now:
            until.popleft()
        until.append(now + shorter(length))
        if len(until) <= most:
            return ""
        name = NAMES.get(what[0], f"events {what}")
        return f"router {node.index} in slot {slot}: {len(until)} {name} in {length / 1e9:g} s"
