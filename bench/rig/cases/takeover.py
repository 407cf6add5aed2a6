"""Takeover: the master dies or stops, and the backup takes every address.

An instance is due when its master down interval (after its last advert) or, after priority 0,
its skew time ends (RFC 9568 6.4.2). What counts is how long after that things happen.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, TypeVar

from bench.rig.contender import BACKUP, Contender, wait_for
from bench.rig.figures import curve, quantile
from bench.rig.network import Wires
from bench.rig.observe import ADVERT, ARP, Frames, is_vip, packed
from bench.rig.process import Usage

from .base import Duel, LoadCase, Values, duel

Key = tuple[int, int]  # (ifindex at b, VRID)
K = TypeVar("K")


@dataclass
class Seen:
    """Moments, CLOCK_REALTIME ns."""

    last_advert: dict[Key, int]  # of the old master, not priority 0
    priority_zero: dict[Key, int]
    first_advert: dict[Key, int]  # of the new one
    announced: dict[int, int]  # by address
    added: dict[int, int]
    early: int  # adverts of the backup before the end of the master


def _late_ms(values: Mapping[K, int], due: Mapping[K, int]) -> list[float]:
    return [(values[key] - due[key]) / 1e6 for key in due if key in values]


@dataclass(frozen=True, kw_only=True)
class Takeover(LoadCase):
    kind: ClassVar[str] = "takeover"
    how: Literal["kill", "stop"]

    @property
    def name(self) -> str:
        return f"{self.kind}-{self.how}-{self.load}"

    @property
    def expected_s(self) -> float:
        return self.duel_s + 2.5 + 5 * self.interval_s

    @property
    def wait_ns(self) -> int:
        """From the last word of the master to taking over."""
        skew_s = (256 - BACKUP.priority) / 256 * self.interval_s
        silence_s = 3 * self.interval_s if self.how == "kill" else 0
        return round((silence_s + skew_s) * 1e9)

    def run(self, contender: Contender, scratch: Path) -> Values:
        with (
            Wires(self.instances) as network,
            duel(network, contender, self.interval_s, scratch, default_announcements=True) as pair,
            Frames(network.b, scratch / "frames") as frames,
        ):
            time.sleep(max(1.2 * self.interval_s, 0.3))
            before = pair.b.usage(again=True)
            moment = pair.a.kill() if self.how == "kill" else pair.a.signal(signal.SIGTERM)
            count = self.instances
            # Only counted, not read, so that the rig leaves the processors alone meanwhile.
            wait_for(
                lambda: pair.addresses_b.recorded() >= count and pair.addresses_b.held() >= count,
                pair.b,
                30 + 4 * self.interval_s,
                f"{count} addresses on b",
            )
            done = pair.b.usage()
            time.sleep(0.5 + self.interval_s)
            later = pair.b.usage()
            time.sleep(0.5 + self.interval_s)
            steady = pair.b.usage() - later
            frames.stop()
            pair.addresses_b.stop()
            values = self._times(self._seen(pair, frames, moment), pair, moment)
            return values | self._cost(before, done, later, steady)

    def _cost(self, before: Usage, done: Usage, later: Usage, steady: Usage) -> Values:
        """Until the last address, and all of it: beyond the adverts that follow."""
        extra = (later - before).cpu_ns - steady.cpu_ns
        return {
            "cpu_us_each": (done - before).cpu_ns / 1e3 / self.instances,
            "cpu_us_each_beyond_adverts": extra / 1e3 / self.instances,
        }

    def _seen(self, pair: Duel, frames: Frames, moment: int) -> Seen:
        seen = Seen({}, {}, {}, {}, {}, 0)
        for frame in frames.read():
            key = (frame.ifindex, frame.vrid)
            if frame.kind == ADVERT and not frame.outgoing:
                if frame.priority == 0:
                    seen.priority_zero.setdefault(key, frame.time_ns)
                else:
                    seen.last_advert[key] = frame.time_ns
            elif frame.kind == ADVERT and frame.time_ns < moment:
                seen.early += 1
            elif frame.kind == ADVERT:
                seen.first_advert.setdefault(key, frame.time_ns)
            elif (
                frame.kind == ARP
                and frame.outgoing
                and frame.time_ns >= moment
                and is_vip(frame.address)
            ):
                seen.announced.setdefault(frame.address, frame.time_ns)
        for event in pair.addresses_b.events():
            if event.added and event.time_ns >= moment:
                seen.added.setdefault(event.address, event.time_ns)
        return seen

    def _times(self, seen: Seen, pair: Duel, moment: int) -> Values:
        words = seen.last_advert if self.how == "kill" else seen.priority_zero
        link_of = pair.network.b.ifindexes()
        ifindex_of = {link: ifindex for ifindex, link in link_of.items()}
        due: dict[Key, int] = {}
        due_address: dict[int, int] = {}
        for place in pair.network.places:
            key = (ifindex_of[place.link], place.vrid)
            if key not in words:
                raise RuntimeError(f"{place} was never heard of")
            due[key] = words[key] + self.wait_ns
            due_address[packed(place.vip)] = due[key]
        advert_ms = _late_ms(seen.first_advert, due)
        added_ms = _late_ms(seen.added, due_address)
        announced_ms = _late_ms(seen.announced, due_address)
        for what, got in (
            ("adverts", advert_ms),
            ("addresses", added_ms),
            ("announcements", announced_ms),
        ):
            if len(got) != self.instances:
                raise RuntimeError(f"{len(got)} {what} for {self.instances} instances")
        last_due = max(due.values())
        last_done = max(max(seen.added.values()), max(seen.announced.values()))
        return {
            # the figures of the whole: from the last instance's being due
            "tail_ms": (last_done - last_due) / 1e6,
            "tail_advert_ms": (max(seen.first_advert.values()) - last_due) / 1e6,
            "address_p50_ms": quantile(added_ms, 0.5),
            "address_p99_ms": quantile(added_ms, 0.99),
            "address_max_ms": max(added_ms),
            "announced_p50_ms": quantile(announced_ms, 0.5),
            "announced_p99_ms": quantile(announced_ms, 0.99),
            "announced_max_ms": max(announced_ms),
            "advert_p50_ms": quantile(advert_ms, 0.5),
            "advert_p99_ms": quantile(advert_ms, 0.99),
            "advert_max_ms": max(advert_ms),
            "earliest_ms": min(advert_ms),
            "outage_ms": (last_done - moment) / 1e6,
            "early_adverts": seen.early,
            "timeline_ms": {
                name: curve((t - moment) / 1e6 for t in times.values())
                for name, times in (
                    ("due", due_address),
                    ("advert", seen.first_advert),
                    ("address", seen.added),
                    ("announced", seen.announced),
                )
            },
        }
