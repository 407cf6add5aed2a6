"""The demonstration: two routers share an address, one fails, the other takes over, it returns.

The scene only observes from outside: adverts at the switch, address events of the kernel, a
client that pings. What it knows is in public attributes, which a view may read at any time from
another thread.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from .daemons import KINDS, Daemon, Fastvrrp
from .namespace import in_user_namespace
from .network import LabError, Network, wait_for
from .probe import Prober
from .sniffer import Advert, Announcement, Frame, Sniffer
from .watch import AddressEvent, AddressWatch

NS = 1_000_000_000
MS = 1_000_000

VIP = "192.0.2.100"
VRID = 51
PRIORITY = {"r1": 150, "r2": 100}
SLOT_NS = 200 * MS  # the grain of the time line
SLOTS_KEPT = 1000  # more than any time line shows
PROBE_S = 0.01
FAILURES = {
    "kill": ("r1 has lost power", "r1 loses power: kill -9 for every process, its cable is dead"),
    "stop": ("r1 is stopped", "r1 is stopped in good order (SIGTERM)"),
    "link": ("r1's cable is pulled", "r1's cable is pulled; its daemon keeps running"),
}


@dataclass(frozen=True)
class Line:
    """One line of the log: nanoseconds since the scene began, who it is about, what happened."""

    time_ns: int
    about: str
    text: str


@dataclass
class Router:
    """What is known about a router, from outside."""

    name: str
    kind: str
    priority: int
    address: str
    running: bool = False
    linked: bool = True
    holds: bool = False
    adverts: int = 0
    advert_ns: int = 0  # CLOCK_REALTIME of its last advert with a priority above 0
    beats: Counter[int] = field(default_factory=Counter)  # slot -> adverts


@dataclass
class Handover:
    """One move of the address, measured from outside. Nanoseconds; 0 when not observed."""

    to: str
    silence_ns: int = 0  # between the last advert of the old master and the first of the new
    announced_ns: int = 0  # from that first advert to the first gratuitous ARP
    outage_ns: int = 0  # longest time the client had no answer
    moved: bool = False  # address on the new router, client's neighbour table too, answers again


@dataclass
class Result:
    """What came out. `complete` when the address moved there and back."""

    failover: Handover
    comeback: Handover

    @property
    def complete(self) -> bool:
        return self.failover.moved and self.comeback.moved


def configuration(router: str, interval_s: float) -> str:
    """The keepalived.conf of a router of the scene."""
    state = "MASTER" if router == "r1" else "BACKUP"
    return f"""\
global_defs {{
    router_id {router}
    vrrp_version 3
}}
vrrp_instance LAB {{
    state {state}
    interface eth0
    virtual_router_id {VRID}
    priority {PRIORITY[router]}
    advert_int {interval_s:g}
    virtual_ipaddress {{
        {VIP}/24 dev eth0
    }}
}}
"""


class Scene:
    """Set up with `with`, then `play()`. Raises LabError when something cannot be set up."""

    def __init__(
        self,
        *,
        failure: str = "kill",
        kinds: tuple[str, str] = ("fastvrrp", "fastvrrp"),
        interval_s: float = 0.1,
        pause_s: float = 4.0,
    ) -> None:
        """`pause_s` is how long a calm phase lasts."""
        self.failure = failure
        self.interval_ns = round(interval_s * NS)
        self.pause_s = pause_s
        self.title = "setting up"
        self.lines: list[Line] = []
        self.result: Result | None = None
        self.begin_ns = time.clock_gettime_ns(time.CLOCK_REALTIME)
        self.routers = {
            name: Router(name, kind, PRIORITY[name], f"192.0.2.{number}")
            for number, (name, kind) in enumerate(zip(("r1", "r2"), kinds, strict=True), 1)
        }
        self.on_line: Callable[[Line], None] | None = None  # called with every line of the log
        self._stack = ExitStack()
        self.speakers: list[tuple[int, str]] = []  # since when (CLOCK_REALTIME) which router speaks

    def __enter__(self) -> Scene:
        with ExitStack() as stack:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fastvrrp-")))
            self.network = stack.enter_context(Network(routers=2, clients=1))
            self.sniffer = stack.enter_context(
                Sniffer(self.network["switch"], ports=self.network.ports(), on_frame=self._on_frame)
            )
            self.watch = stack.enter_context(
                AddressWatch(self.network.routers, on_event=self._on_address)
            )
            self.daemons: dict[str, Daemon] = {}
            for name, router in self.routers.items():
                daemon = KINDS[router.kind](self.network[name], directory / name)
                daemon.argv()  # not installed: say so before anything moves
                self.daemons[name] = daemon
                stack.callback(daemon.close)
            self.prober = stack.enter_context(Prober(self.network["c1"], VIP, interval_s=PROBE_S))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    # What the view asks

    def now_ns(self) -> int:
        """Nanoseconds since the scene began."""
        return time.clock_gettime_ns(time.CLOCK_REALTIME) - self.begin_ns

    def speaking(self, router: Router) -> bool:
        """Whether a router was heard within the last three intervals."""
        now = time.clock_gettime_ns(time.CLOCK_REALTIME)
        return now - router.advert_ns <= 3 * self.interval_ns + 100 * MS

    def speaker(self, at_ns: int | None = None) -> str:
        """The router that was last heard to become master before a moment; empty if none was."""
        for since_ns, name in reversed(self.speakers):
            if at_ns is None or since_ns <= at_ns:
                return name
        return ""

    def promise_ns(self) -> int:
        """How long r2 may wait after r1's last advert (RFC 9568 6.1)."""
        skew = (256 - PRIORITY["r2"]) * self.interval_ns // 256
        return skew if self.failure == "stop" else 3 * self.interval_ns + skew

    # Observations; called in the observers' threads

    def say(self, about: str, text: str, time_ns: int | None = None) -> None:
        line = Line((time_ns or self.now_ns() + self.begin_ns) - self.begin_ns, about, text)
        self.lines.append(line)
        if self.on_line is not None:
            self.on_line(line)

    def _on_frame(self, frame: Frame) -> None:
        router = self.routers.get(frame.port.partition("-")[0])
        if router is None:
            return
        if isinstance(frame, Advert) and frame.vrid == VRID:
            router.adverts += 1
            router.beats[(frame.time_ns - self.begin_ns) // SLOT_NS] += 1
            if frame.priority == 0:
                router.advert_ns = 0
                self.say(router.name, "says goodbye: an advert with priority 0", frame.time_ns)
                return
            if self.speaker() != router.name:
                self.speakers.append((frame.time_ns, router.name))
                self.say(router.name, f"sends adverts, priority {frame.priority}", frame.time_ns)
            router.advert_ns = frame.time_ns
        elif (
            isinstance(frame, Announcement)
            and frame.address == VIP
            and self.speaker() == router.name
            and len(self.sniffer.announcements(VIP, port=frame.port)) % 5 == 1
        ):
            self.say(router.name, f"announces {VIP} (gratuitous ARP)", frame.time_ns)

    def _on_address(self, event: AddressEvent) -> None:
        if event.address == VIP:
            router = self.routers[event.node]
            router.holds = event.added
            if not router.running and not event.added:
                return  # swept away with the memory of a dead router, nobody gave it up
            verb = "has" if event.added else "gave up"
            self.say(event.node, f"{verb} {VIP}", event.time_ns)

    # The play

    def play(self) -> Result:
        """Run the scene to its end, about four pauses and what the daemons need.

        Raises LabError when a daemon does not come up, TimeoutError when nothing moves.
        """
        self.title = "starting"
        for name in ("r1", "r2"):
            self._start(name)
        self._await_holder("r1", 20)
        self._await_answers(time.clock_gettime_ns(time.CLOCK_REALTIME))
        self.say("client", f"gets answers from {VIP}")
        self.title = f"r1 holds {VIP}"
        time.sleep(self.pause_s)

        self.title = FAILURES[self.failure][0]
        failover = self._measure("r2", self._fail)
        self.title = f"r2 has taken over {VIP}"
        time.sleep(self.pause_s)

        self.title = "r1 comes back"
        comeback = self._measure("r1", self._repair)
        self.title = f"r1 holds {VIP} again"
        time.sleep(self.pause_s / 2)
        self.title = "done"
        self.result = Result(failover, comeback)
        return self.result

    def _start(self, name: str) -> None:
        daemon = self.daemons[name]
        interval_s = self.interval_ns / NS
        daemon.start(configuration(name, interval_s))
        daemon.wait_listening()
        self.routers[name].running = True
        self.say(name, f"{daemon.kind} runs, priority {PRIORITY[name]}")

    def _fail(self) -> int:
        self.say("failure", FAILURES[self.failure][1])
        router, daemon = self.routers["r1"], self.daemons["r1"]
        moment = time.clock_gettime_ns(time.CLOCK_REALTIME)
        if self.failure == "stop":
            daemon.stop()
            router.running = False
            return moment
        if self.failure == "kill":
            moment = daemon.kill()
            router.running = False
        self.network.unplug("r1")
        router.linked = False
        return moment

    def _repair(self) -> int:
        self.say("failure", "ends: r1 comes back")
        router = self.routers["r1"]
        if self.failure == "kill" and router.holds:
            # Power loss: what a kernel had in memory is not there after the boot.
            self.network["r1"].delete_address(VIP, 24)
        moment = time.clock_gettime_ns(time.CLOCK_REALTIME)
        if not router.linked:
            self.network.plug("r1")
            router.linked = True
        if not router.running:
            self._start("r1")
        return moment

    def _measure(self, to: str, act: Callable[[], int]) -> Handover:
        """Do something that moves the address, and measure the move."""
        handover = Handover(to)
        moment = act()
        port = self.network.port(to)
        patience_s = 15 + 5 * self.interval_ns / NS
        first = self.sniffer.wait_advert(
            vrid=VRID, port=port, since_ns=moment, timeout_s=patience_s
        )
        old = self.network.port("r1" if to == "r2" else "r2")
        before = [a for a in self.sniffer.adverts(port=old) if a.time_ns < first.time_ns]
        handover.silence_ns = first.time_ns - before[-1].time_ns
        self._await_holder(to, patience_s)
        self._await_answers(first.time_ns)
        wait_for(
            lambda: self.sniffer.announcements(VIP, port=port, since_ns=first.time_ns),
            5,
            f"gratuitous ARP of {to}",
        )
        announced = self.sniffer.announcements(VIP, port=port, since_ns=first.time_ns)
        handover.announced_ns = announced[0].time_ns - first.time_ns
        end = time.clock_gettime_ns(time.CLOCK_REALTIME)
        handover.outage_ns = self.prober.outage_ns(since_ns=moment, until_ns=end)
        neighbours = self.network["c1"].call(self._neighbours)
        handover.moved = neighbours.get(VIP) == self.network[to].mac()
        self.say(
            "client",
            f"gets answers from {to}; it was without for {handover.outage_ns / MS:.0f} ms",
        )
        return handover

    def _neighbours(self) -> dict[str, str]:
        """The client's neighbour table; runs in its namespace."""
        entries = self.network["c1"].route.get_neighbours(family=2)
        return {str(e.get_attr("NDA_DST")): str(e.get_attr("NDA_LLADDR")) for e in entries}

    def _await_holder(self, name: str, timeout_s: float) -> None:
        """Wait until a router has the address and the other, if it lives, has not."""

        def settled() -> bool:
            for router, daemon in self.daemons.items():
                if self.routers[router].running and not daemon.alive:
                    raise LabError(f"{daemon.kind} on {router} ended: {daemon.log()[-1500:]}")
            holders = [r.name for r in self.routers.values() if r.holds and r.running]
            return holders == [name]

        wait_for(settled, timeout_s, f"{VIP} moves to {name}")

    def _await_answers(self, since_ns: int) -> None:
        wait_for(
            lambda: len(self.prober.answers(since_ns=since_ns)) >= 5, 10, "answers to the client"
        )

    def hold(self, interrupted: Callable[[float], bool]) -> None:
        """Keep everything as it is until `interrupted`, which waits so many seconds, says so."""
        self.title = "holding; Ctrl-C ends it"
        while not interrupted(60):
            self.sniffer.forget()
            oldest = self.now_ns() // SLOT_NS - SLOTS_KEPT
            for router in self.routers.values():
                for slot in list(router.beats):  # at once: another thread counts on
                    if slot < oldest:
                        del router.beats[slot]

    def look_around(self) -> list[str]:
        """Commands that show more, to be typed in another terminal."""
        commands = []
        enter = "nsenter"
        if in_user_namespace():
            enter += f" --user=/proc/{os.getpid()}/ns/user --preserve-credentials"
        for name in ("r1", "r2", "c1"):
            commands.append(f"{enter} --net={self.network[name].path}   # a shell in {name}")
        for daemon in self.daemons.values():
            if isinstance(daemon, Fastvrrp):
                run_dir = daemon.run_dir
                commands.append(f"fastvrrp status --run-dir {run_dir}   # {daemon.node.name}")
        return [*commands, "fastvrrp capture -i eth0   # in a router: every advert it sees"]
