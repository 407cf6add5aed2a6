"""Virtual time and virtual Ethernet: scheduler, faulty segments, hosts with neighbour tables.

Nothing here knows VRRP. Everything random comes from the one generator that is handed in, and
ties in time are broken by the order of scheduling, so a run is a function of its seed.
Times are integer nanoseconds. This is the hot path of a simulation: most of a life is deliveries.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any, NamedTuple

NOBODY = -1  # the port of a sender that is no router


class Scheduler:
    """One heap of (time, sequence, action, arguments). No threads, no wall clock."""

    def __init__(self) -> None:
        self.now = 0
        self._heap: list[tuple[int, int, Callable[..., None], tuple[Any, ...]]] = []
        self._sequence = 0
        self.steps = 0

    def at(self, when: int, action: Callable[..., None], *arguments: Any) -> None:
        """Runs `action` at `when`, after everything already scheduled for that moment."""
        self._sequence += 1
        when = max(when, self.now)
        heapq.heappush(self._heap, (when, self._sequence, action, arguments))

    def run_until(self, end: int) -> None:
        heap = self._heap
        while heap and heap[0][0] <= end:
            self.now, _, action, arguments = heapq.heappop(heap)
            self.steps += 1
            action(*arguments)
        self.now = end


class Frame(NamedTuple):
    """What crosses a segment: a VRRP PDU with its network header's fields, or an Ethernet frame."""

    data: bytes
    source: bytes = b""  # network addresses; empty for an announcement
    destination: bytes = b""
    ttl: int = 255
    damaged: bool = False  # in one place, or made without sense: nobody may believe it

    @property
    def is_announcement(self) -> bool:
        return not self.source


class Host:
    """A machine beside router `port`: believes every announcement, like any ARP or ND cache."""

    def __init__(self) -> None:
        self.neighbours: dict[bytes, bytes] = {}  # address -> link-layer address
        # addresses whose latest announcement got lost, or was overtaken, on the way
        self.missed: set[bytes] = set()
        self._latest: dict[bytes, int] = {}  # address -> when the latest for this host was sent

    def hear(self, frame: bytes, sent_at: int) -> None:
        address, mac = announced(frame)
        self.neighbours[address] = mac
        if sent_at < self._latest.get(address, 0):
            self.missed.add(address)
            return
        self._latest[address] = sent_at
        self.missed.discard(address)

    def miss(self, frame: bytes, sent_at: int) -> None:
        """It got lost; another copy of the same moment may still arrive."""
        address = announced(frame)[0]
        if sent_at > self._latest.get(address, -1):
            self._latest[address] = sent_at
            self.missed.add(address)


def announced(frame: bytes) -> tuple[bytes, bytes]:
    """(address, link-layer address) of a gratuitous ARP or unsolicited NA frame."""
    if frame[12:14] == b"\x08\x06":
        return frame[28:32], frame[22:28]
    return frame[62:78], frame[80:86]


@dataclass
class Weather:
    """What goes wrong on a segment just now. Rates are probabilities per delivery."""

    loss: float = 0.0
    duplication: float = 0.0
    corruption: float = 0.0
    reordering: bool = False  # a frame may overtake another of the same sender
    burst_until: int = 0  # everything is lost before
    forgers: int = 0  # somebody sends packets in others' names

    def is_calm(self, now: int) -> bool:
        return not (self.loss or self.corruption or self.forgers) and now >= self.burst_until


@dataclass
class Segment:
    """An Ethernet segment: port n belongs to router n, with host n beside it."""

    scheduler: Scheduler
    random: random.Random
    ports: int
    delay_ns: int
    jitter_ns: int
    receive: Callable[[int, Frame], None]  # (port, frame): a router's interface
    weather: Weather = field(default_factory=Weather)
    blocked: set[tuple[int, int]] = field(default_factory=set)  # one way: (from, to)
    frames: int = 0

    def __post_init__(self) -> None:
        self.hosts = [Host() for _ in range(self.ports)]
        self._last: dict[tuple[int, int], int] = {}

    @property
    def worst_delay_ns(self) -> int:
        return self.delay_ns + self.jitter_ns

    def connected(self, a: int, b: int) -> bool:
        """Both ways, at this moment."""
        return (a, b) not in self.blocked and (b, a) not in self.blocked

    def send(self, sender: int, frame: Frame, to: Collection[int] | None = None) -> set[int]:
        """From port `sender` to all others, or to some. Returns the ports that will not get it."""
        self.frames += 1
        lost = set()
        for port in range(self.ports) if to is None else to:
            own = port == sender
            if own and frame.source:
                continue
            if self._is_lost(sender, port, own):
                lost.add(port)
                if not frame.source:
                    self.hosts[port].miss(frame.data, self.scheduler.now)
            else:
                self._deliver(sender, port, frame)
        return lost

    def _is_lost(self, sender: int, port: int, own: bool) -> bool:
        if self.blocked and (sender, port) in self.blocked:
            return True
        weather = self.weather
        if own:  # the host beside the sender is on the same switch
            return False
        if self.scheduler.now < weather.burst_until:
            return True
        return weather.loss > 0 and self.random.random() < weather.loss

    def _deliver(self, sender: int, port: int, frame: Frame) -> None:
        weather, scheduler = self.weather, self.scheduler
        copies = 1
        if weather.duplication and self.random.random() < weather.duplication:
            copies = 2
        for _ in range(copies):
            arrival = scheduler.now + self.delay_ns
            if self.jitter_ns:
                arrival += int(self.random.random() * self.jitter_ns)
                if not weather.reordering:
                    arrival = max(arrival, self._last.get((sender, port), 0))
                self._last[sender, port] = arrival
            if not frame.source:
                scheduler.at(arrival, self.hosts[port].hear, frame.data, scheduler.now)
                continue
            sent = frame
            if weather.corruption and frame.data and self.random.random() < weather.corruption:
                sent = self._corrupt(frame)
            scheduler.at(arrival, self.receive, port, sent)

    def _corrupt(self, frame: Frame) -> Frame:
        """One flipped bit, or a truncated packet."""
        if self.random.random() < 0.3:
            data = frame.data[: self.random.randrange(len(frame.data))]
        else:
            bit = self.random.randrange(8 * len(frame.data))
            broken = bytearray(frame.data)
            broken[bit // 8] ^= 1 << bit % 8
            data = bytes(broken)
        # who is damaged twice may have the right checksum again
        return frame._replace(data=data, damaged=not frame.damaged)
