"""What the cases share: names, expected times, and a pair of routers in steady state."""

from __future__ import annotations

import dataclasses
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from bench.configuration import link_count
from bench.rig.contender import BACKUP, MASTER, Contender, Daemon, wait_for
from bench.rig.figures import lateness, merged, thinned
from bench.rig.network import Network
from bench.rig.observe import Addresses, Intervals
from bench.rig.process import before_all, now_ns

Values = dict[str, Any]
# The second burst of announcements comes sooner than by default, to be over before measuring.
GARP_REPETITION_S = 1.0
SOONER = f"vrrp_garp_master_delay {GARP_REPETITION_S:g}"


@dataclass(frozen=True, kw_only=True)
class Case(ABC):
    """One measurement with its parameters. `run` makes everything anew and leaves nothing.

    `rounds` is how often a full run repeats it: three times, or less where one round takes long
    and shows as much.
    """

    kind: ClassVar[str]
    contenders: tuple[str, ...] = ("fastvrrp", "keepalived")
    rounds: int = 3

    @property
    @abstractmethod
    def name(self) -> str:
        """Kind and parameters in a word, e.g. steady-255@0.1."""

    @property
    @abstractmethod
    def expected_s(self) -> float:
        """About how long one round with one contender takes."""

    @abstractmethod
    def run(self, contender: Contender, scratch: Path) -> Values:
        """Measure once. Raises RuntimeError when the daemon does not get where it should."""

    def parameters(self) -> dict[str, Any]:
        values = dataclasses.asdict(self)
        del values["contenders"], values["rounds"]
        return values


@dataclass(frozen=True, kw_only=True)
class LoadCase(Case):
    """A case with so many instances that advertise at the same interval."""

    instances: int
    interval_s: float

    @property
    def load(self) -> str:
        return f"{self.instances}@{self.interval_s:g}"

    @property
    def name(self) -> str:
        return f"{self.kind}-{self.load}"

    @property
    def network_s(self) -> float:
        """To make the network and to take it away."""
        return 0.7 + 0.05 * link_count(self.instances)

    @property
    def duel_s(self) -> float:
        """The network as well, two daemons that settle, and their end."""
        return self.network_s + 4.5 + 3.6 * self.interval_s + 0.0012 * self.instances


@dataclass
class Duel:
    """A master on router a, a backup on router b, and who watches their addresses."""

    network: Network
    interval_s: float
    a: Daemon
    b: Daemon
    addresses_a: Addresses
    addresses_b: Addresses
    load_s: float  # from exec of a to its last address
    since_ns: int  # start of b: from here on it should never take an address
    observed_ns: int = 0  # when the last observer was there, whose coming can itself delay daemons

    def false_takeovers(self, since_ns: int | None = None, until_ns: int | None = None) -> int:
        """How often the backup took an address although the master lives."""
        return self.addresses_b.appeared(since_ns or self.since_ns, until_ns)

    def settled(self) -> bool:
        return self.addresses_a.held() == len(self.network.places) and not self.addresses_b.held()

    def require_alive(self) -> None:
        self.a.require_alive()
        self.b.require_alive()

    def observe(self, seconds: float) -> Values:
        """Adverts as they arrive at b for so long: how many, and how punctual.

        Raises RuntimeError when the observer lost frames: their gaps would look like lateness.
        """
        with Intervals(self.network.b, self.interval_s) as receiver, before_all():
            self.observed_ns = now_ns()
            time.sleep(seconds)
            report = receiver.stop()
        if report["dropped"]:
            raise RuntimeError(f"the observer lost {report['dropped']} frames")
        heard = report["received"]
        if not heard["intervals"]:
            raise RuntimeError(f"no adverts\n{self.a.log()[-1000:]}\n{self.b.log()[-1000:]}")
        mean_s = self.interval_s + heard["mean_error_ns"] / 1e9
        living = heard["routers"] - heard["silent"]
        return lateness(heard) | {
            "observed_s": (report["last_ns"] - report["first_ns"]) / 1e9,
            "observed_rate": living / mean_s,
            "rate_share": self.interval_s / mean_s * living / len(self.network.places),
            "histogram": thinned(merged(heard["early"], heard["late"])),
        }


@contextmanager
def duel(
    network: Network,
    contender: Contender,
    interval_s: float,
    scratch: Path,
    *,
    default_announcements: bool = False,
) -> Iterator[Duel]:
    """Start both and wait for steady state, until the second burst of announcements has ended.

    With `default_announcements` it comes when the daemons want, seconds later: after the
    measurement. Raises RuntimeError when the master does not take all addresses in time.
    """
    if not default_announcements:
        contender = replace(contender, global_lines=(*contender.global_lines, SOONER))
    count = len(network.places)
    patience_s = 60 + 0.005 * count
    with ExitStack() as stack:
        watch_a = stack.enter_context(Addresses(network.a, scratch / "addresses-a"))
        watch_b = stack.enter_context(Addresses(network.b, scratch / "addresses-b"))
        a = stack.enter_context(
            Daemon(contender, network.a, network.places, MASTER, interval_s, scratch / "a")
        )
        wait_for(lambda: watch_a.held() >= count, a, patience_s, f"{count} addresses on a")
        load_s = (now_ns() - a.started_ns) / 1e9
        mastery = time.monotonic()
        since_ns = now_ns()
        b = stack.enter_context(
            Daemon(contender, network.b, network.places, BACKUP, interval_s, scratch / "b")
        )
        wait_for(network.b.listening, b, patience_s, "b listens")
        time.sleep(max(1.5, 2 * interval_s) + count * 0.0005)
        if not default_announcements:
            time.sleep(max(0.0, mastery + GARP_REPETITION_S + 1.5 - time.monotonic()))
        a.pids(again=True)
        b.pids(again=True)
        yield Duel(network, interval_s, a, b, watch_a, watch_b, load_s, since_ns)
