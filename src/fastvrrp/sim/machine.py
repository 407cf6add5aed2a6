"""What a simulated router is configured with and runs on: a clock, and a kernel with addresses."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import NamedTuple

from fastvrrp._core import P_CHANGE, P_DOWN

PPM = 1_000_000


@dataclass(frozen=True)
class VirtualRouter:
    """What all routers of one virtual router agree on, unless a reload changes its addresses."""

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


class Work(NamedTuple):
    """A program on its way to the kernel, with what it adds or removes."""

    slot: int
    program: int
    generation: int
    addresses: tuple[bytes, ...]


class Kernel:
    """Addresses of a machine, and the queue of the applier that changes them."""

    def __init__(self) -> None:
        self.held: dict[int, set[bytes]] = {}  # slot -> addresses
        self.stolen: dict[int, set[bytes]] = {}  # deleted by somebody else, not yet put back
        self.refused: dict[int, set[bytes]] = {}  # what the latest up program could not add
        self.pending: deque[Work] = deque()
        self.wanted: dict[int, int] = {}  # slot -> newest generation; older programs are skipped
        self.kept: dict[int, int] = {}  # slot -> down programs up to here belong to older blocks
        self.failure_rate = 0.0

    def superseded(self, work: Work) -> bool:
        """As in the applier: only the newest is played, but a down program of another block is."""
        if work.program == P_CHANGE or work.generation == self.wanted[work.slot]:
            return False
        return work.program != P_DOWN or work.generation > self.kept.get(work.slot, -1)

    def clear(self) -> None:
        """The machine is as after a boot."""
        self.held.clear()
        self.stolen.clear()
        self.refused.clear()
        self.pending.clear()
        self.wanted.clear()
        self.kept.clear()

    def busy_with(self, slot: int) -> bool:
        return any(work.slot == slot for work in self.pending)
