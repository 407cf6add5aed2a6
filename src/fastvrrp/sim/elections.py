"""Who must yield, who may become master and who has to: RFC 9568 6.4 once more, on its own.

Told of nothing but accepted adverts, state changes and configurations, it knows for every backup
the earliest moment at which it may become master and the latest at which it has to. Clocks that are
off and the skew time are allowed for, so nothing here depends on the nanosecond.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fastvrrp._core import BACKUP, FAULT, INIT, MASTER
from fastvrrp.sim.lan import Frame

if TYPE_CHECKING:
    from fastvrrp.sim.node import Node

MS = 1_000_000
SECOND = 1_000 * MS
OWNER = 255
UNSURE = 1000  # a clock's part that it may be off, at most, against another's: 500 ppm each
CENTISECOND = 10 * MS


def shorter(span: int) -> int:
    """By as much as a fast clock takes off."""
    return span - span // UNSURE


def longer(span: int) -> int:
    return span + span // UNSURE + MS


def advertised(frame: Frame) -> int:
    """Max_Advertise_Interval of an advert of version 3 (RFC 9568 5.2.7)."""
    return (int.from_bytes(frame.data[4:6], "big") & 0xFFF) * CENTISECOND


@dataclass
class Waiting:
    """A backup's timer as seen from outside: not before `earliest`, not after `latest`."""

    earliest: int
    latest: int
    skew: int  # at most
    interval: int  # of the master
    preempt_from: int | None = None  # preempt_delay runs until then


class Elections:
    """One for all nodes. Whatever it returns is what is wrong, in words; "" when nothing is."""

    def __init__(self) -> None:
        self.priority: dict[tuple[int, int], int] = {}  # node, slot -> effective
        self._waiting: dict[tuple[int, int], Waiting] = {}

    # ---- what happens ----

    def configured(self, node: Node, slot: int, now: int) -> None:
        """A configuration is about to be put into effect."""
        key = node.index, slot
        if node.states.get(slot, INIT) == INIT:
            self.priority[key] = node.members[slot].priority
            self._waiting.pop(key, None)
        waiting = self._waiting.get(key)
        if waiting is not None:  # what a change of timers makes of a running one is not judged
            interval = max(waiting.interval, node.members[slot].advert_int_ns)
            self._waiting[key] = made = self._timer(node, slot, now, interval)
            made.earliest = now
            made.latest = max(made.latest, waiting.latest)
            made.preempt_from = waiting.preempt_from

    def changed(self, node: Node, slot: int, old: int, new: int, now: int) -> str:
        """A state event."""
        key = node.index, slot
        waiting = self._waiting.pop(key, None)
        if new == BACKUP:
            self._waiting[key] = self._entered(node, slot, old, now)
        if new == MASTER and waiting is not None and now < waiting.earliest:
            early = (waiting.earliest - now) / 1e9
            return f"router {node.index} becomes master of slot {slot} {early:.6f} s too early"
        return ""

    def _entered(self, node: Node, slot: int, old: int, now: int) -> Waiting:
        member = node.members[slot]
        begin = max(now, node.held_until.get(slot, 0))
        made = self._timer(node, slot, begin, member.advert_int_ns)
        starts = old == INIT or (old == FAULT and member.priority == OWNER)
        if (
            member.want_master and starts
        ):  # an owner at once, others in an interval or a weight less
            made.earliest = now + shorter(begin - now)
        return made

    def _timer(self, node: Node, slot: int, now: int, interval: int) -> Waiting:
        """Started anew."""
        down = node.members[slot].down_timer_adverts * interval
        skew = SECOND if node.routers[slot].version == 2 else interval
        return Waiting(now + shorter(down), now + longer(down + skew), skew, interval)

    def heard(self, node: Node, slot: int, frame: Frame, before: int, now: int) -> str:
        """An advert was accepted by a router that was in state `before`."""
        if before == BACKUP:
            self._backup_hears(node, slot, frame, now)
        elif before == MASTER:
            return self._master_hears(node, slot, frame, now)
        return ""

    def _master_hears(self, node: Node, slot: int, frame: Frame, now: int) -> str:
        priority, own = frame.data[2], self.priority[node.index, slot]
        router = node.routers[slot]
        source = node.sources[router.segment][router.family]
        yields = priority > own or (priority == own and frame.source > source)
        if yields != (node.states[slot] != MASTER):
            verb = "yields" if not yields else "does not yield"
            return f"router {node.index}, {own}, {verb} in slot {slot} to {priority}"
        if yields and router.version == 3:
            self._waiting[node.index, slot] = self._timer(node, slot, now, advertised(frame))
        return ""

    def _backup_hears(self, node: Node, slot: int, frame: Frame, now: int) -> None:
        member, waiting = node.members[slot], self._waiting[node.index, slot]
        priority = frame.data[2]
        if priority == 0:
            waiting.earliest = now
            waiting.latest = now + longer(waiting.skew)
            waiting.preempt_from = None
            return
        begins = preempts = None
        stays = member.nopreempt and member.priority != OWNER
        if priority < self.priority[node.index, slot] and not stays:
            preempts, begins = self._preempts(member.preempt_delay_ns, waiting, now)
        if preempts:
            return
        interval = advertised(frame) if node.routers[slot].version == 3 else member.advert_int_ns
        self._waiting[node.index, slot] = made = self._timer(node, slot, now, interval)
        made.preempt_from = begins
        if preempts is None and begins is not None:  # too close to the end of the delay to say
            made.earliest = min(made.earliest, waiting.earliest)

    def _preempts(self, delay: int, waiting: Waiting, now: int) -> tuple[bool | None, int | None]:
        """Whether an inferior advert is ignored (None: one cannot say), and the delay's end."""
        if not delay:
            return True, None
        end = waiting.preempt_from
        if end is None:
            return False, now + delay
        unsure = delay // UNSURE + MS
        if abs(now - end) <= unsure:
            return None, end
        return now > end, end

    # ---- what has to happen ----

    def overdue(self, node: Node, slot: int, now: int) -> str:
        """Of a running backup that is in no group: these wait for one another."""
        waiting = self._waiting.get((node.index, slot))
        if waiting is None:
            return ""
        # what it missed in a pause it first waits for
        latest = max(waiting.latest, node.awake_since + longer(waiting.skew))
        if now <= latest:
            return ""
        return f"router {node.index} hears no master of slot {slot} and does not become it"
