"""Virtual time and virtual Ethernet: scheduler, faulty segments, hosts with neighbour tables.

Nothing here knows VRRP. Everything random comes from the one generator that is handed in, and
ties in time are broken by the order of scheduling, so a run is a function of its seed.
Times are integer nanoseconds.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field


class Scheduler:
    """One heap of (time, sequence, action). No threads, no wall clock."""

    def __init__(self) -> None:
        self.now = 0
        self._heap: list[tuple[int, int, Callable[[], None]]] = []
        self._sequence = 0
        self.steps = 0

    def at(self, when: int, action: Callable[[], None]) -> None:
        """Runs `action` at `when`, after everything already scheduled for that moment."""
        self._sequence += 1
        heapq.heappush(self._heap, (max(when, self.now), self._sequence, action))

    def run_until(self, end: int) -> None:
        while self._heap and self._heap[0][0] <= end:
            self.now, _, action = heapq.heappop(self._heap)
            self.steps += 1
            action()
        self.now = end


@dataclass(frozen=True)
class Frame:
    """What crosses a segment: a VRRP PDU with its network header's fields, or an Ethernet frame."""

    data: bytes
    source: bytes = b""  # network addresses; empty for an announcement
    destination: bytes = b""
    ttl: int = 255

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

    def is_calm(self, now: int) -> bool:
        return not self.loss and not self.corruption and now >= self.burst_until


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

    def send(self, sender: int, frame: Frame, to: int | None = None) -> None:
        """From port `sender` to all others, or to one (unicast)."""
        self.frames += 1
        for port in range(self.ports) if to is None else (to,):
            if port != sender or frame.is_announcement:
                self._send_to(sender, port, frame)

    def _send_to(self, sender: int, port: int, frame: Frame) -> None:
        weather, now = self.weather, self.scheduler.now
        lost = (sender, port) in self.blocked
        if port != sender:  # the host beside the sender is on the same switch
            lost |= now < weather.burst_until
            lost |= bool(weather.loss) and self.random.random() < weather.loss
        if lost:
            if frame.is_announcement:
                self.hosts[port].miss(frame.data, now)
            return
        copies = 1
        if weather.duplication and self.random.random() < weather.duplication:
            copies = 2
        for _ in range(copies):
            self._deliver(sender, port, frame)

    def _deliver(self, sender: int, port: int, frame: Frame) -> None:
        weather = self.weather
        arrival = self.scheduler.now + self.delay_ns
        if self.jitter_ns:
            arrival += self.random.randrange(self.jitter_ns)
        if not weather.reordering:
            arrival = max(arrival, self._last.get((sender, port), 0))
        self._last[sender, port] = arrival
        if frame.is_announcement:
            host, sent_at = self.hosts[port], self.scheduler.now
            self.scheduler.at(arrival, lambda: host.hear(frame.data, sent_at))
            return
        if weather.corruption and self.random.random() < weather.corruption:
            frame = self._corrupt(frame)
        self.scheduler.at(arrival, lambda: self.receive(port, frame))

    def _corrupt(self, frame: Frame) -> Frame:
        """One flipped bit, or a truncated packet."""
        if self.random.random() < 0.3:
            data = frame.data[: self.random.randrange(len(frame.data))]
        else:
            bit = self.random.randrange(8 * len(frame.data))
            broken = bytearray(frame.data)
            broken[bit // 8] ^= 1 << bit % 8
            data = bytes(broken)
        return Frame(data, frame.source, frame.destination, frame.ttl)
