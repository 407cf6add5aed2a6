"""What the cases share: their names, and a pair of routers in steady state."""

from __future__ import annotations

import dataclasses
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from bench.rig.contender import BACKUP, MASTER, Contender, Daemon, wait_for
from bench.rig.network import Network
from bench.rig.observe import Addresses
from bench.rig.process import now_ns

Values = dict[str, Any]
GARP_REPETITION_S = 5.0  # default garp_master_delay: the second burst of announcements


@dataclass(frozen=True, kw_only=True)
class Case(ABC):
    """One measurement with its parameters. `run` makes everything anew and leaves nothing."""

    kind: ClassVar[str]
    contenders: tuple[str, ...] = ("fastvrrp", "keepalived")

    @property
    @abstractmethod
    def name(self) -> str:
        """Kind and parameters in a word, e.g. steady-255@0.1."""

    @abstractmethod
    def run(self, contender: Contender, scratch: Path) -> Values:
        """Measure once. Raises RuntimeError when the daemon does not get where it should."""

    def parameters(self) -> dict[str, Any]:
        values = dataclasses.asdict(self)
        del values["contenders"]
        return values


@dataclass
class Duel:
    """A master on router a, a backup on router b, and who watches their addresses."""

    network: Network
    a: Daemon
    b: Daemon
    addresses_a: Addresses
    addresses_b: Addresses
    since_ns: int  # from here on everything should be quiet

    def false_takeovers(self) -> int:
        """How often the backup took an address although the master lives."""
        return self.addresses_b.appeared(self.since_ns)

    def settled(self) -> bool:
        return self.addresses_a.held() == len(self.network.places) and not self.addresses_b.held()


@contextmanager
def duel(
    network: Network,
    contender: Contender,
    interval_s: float,
    scratch: Path,
    *,
    quiet: bool = True,
    patience_s: float = 60,
) -> Iterator[Duel]:
    """Start both and wait for steady state; `quiet`: also until announcements have ended.

    Raises RuntimeError when the master does not take all addresses in time.
    """
    count = len(network.places)
    with ExitStack() as stack:
        watch_a = stack.enter_context(Addresses(network.a, scratch / "addresses-a"))
        watch_b = stack.enter_context(Addresses(network.b, scratch / "addresses-b"))
        a = stack.enter_context(
            Daemon(contender, network.a, network.places, MASTER, interval_s, scratch / "a")
        )
        wait_for(lambda: watch_a.held() >= count, a, patience_s, f"{count} addresses on a")
        mastery = time.monotonic()
        b = stack.enter_context(
            Daemon(contender, network.b, network.places, BACKUP, interval_s, scratch / "b")
        )
        wait_for(network.b.listening, b, patience_s, "b listens")
        time.sleep(max(1.5, 2 * interval_s) + count * 0.0005)
        if quiet:
            time.sleep(max(0.0, mastery + GARP_REPETITION_S + 1.5 - time.monotonic()))
        a.pids(again=True)
        b.pids(again=True)
        yield Duel(network, a, b, watch_a, watch_b, now_ns())


def interval_word(interval_s: float) -> str:
    return f"{interval_s:g}"
