"""Doubles for tests of the control plane: an engine around the real core, a kernel on paper."""

from __future__ import annotations

import contextlib
import os
from collections import deque
from typing import Any

from fastvrrp import _core
from fastvrrp.config import model
from fastvrrp.net.addresses import address_key, packed
from fastvrrp.net.objects import IFF_RUNNING, IFF_UP, Address, AddressKey, Link
from fastvrrp.net.observed import Observed
from fastvrrp.net.wire import PROTOCOL
from fastvrrp.vrrp.engine_client import EngineClient, Transition
from fastvrrp.vrrp.links import IFF_MULTICAST
from fastvrrp.vrrp.plane import Capacity, Plane
from fastvrrp.vrrp.shards import Shards

UP = IFF_UP | IFF_RUNNING | IFF_MULTICAST
ETHERNET = 1  # ARPHRD_ETHER
SECOND = model.NS_PER_S


def link(ifindex: int, name: str, *, flags: int = UP, mac: bytes | None = None) -> Link:
    """An Ethernet interface."""
    mac = bytes((2, 0, 0, 0, 0, ifindex)) if mac is None else mac
    return Link(ifindex, name, flags, mac, 1500, "veth", 0, 0, (), ETHERNET)


def address(ifindex: int, text: str, prefixlen: int, *, ours: bool = False) -> Address:
    """An address as the kernel would tell it."""
    family = 6 if ":" in text else 4
    key = AddressKey(ifindex, family, packed(text, family), prefixlen)
    return Address(key, 0, 0, PROTOCOL if ours else None, "")


def kernel(*names: str) -> Observed:
    """A kernel with these interfaces, numbered from 1, each with 10.0.N.1/24 and fe80::N."""
    observed = Observed(marks_addresses=True)
    for ifindex, name in enumerate(names, 1):
        observed.put_link(link(ifindex, name))
        observed.put_address(address(ifindex, f"10.0.{ifindex}.1", 24))
        observed.put_address(address(ifindex, f"fe80::{ifindex}", 64))
    return observed


def vip(text: str, **fields: Any) -> model.VirtualAddress:
    """A virtual address from ADDR/LEN."""
    plain, _, length = text.partition("/")
    family = 6 if ":" in plain else 4
    return model.VirtualAddress(
        address=plain,
        prefixlen=int(length or (128 if family == 6 else 32)),
        family=family,
        **fields,
    )


def instance(name: str = "VI_1", **fields: Any) -> model.VrrpInstance:
    """An IPv4 instance on eth0, unless told otherwise."""
    given: dict[str, Any] = {
        "virtual_router_id": 51,
        "family": 4,
        "version": 2,
        "interface": "eth0",
        "virtual_ipaddress": (vip("10.0.1.100/24"),),
    }
    return model.VrrpInstance(name=name, **(given | fields))


def configuration(*instances: model.VrrpInstance, **fields: Any) -> model.Configuration:
    return model.Configuration(vrrp_instances=instances, **fields)


class FakeEngine:
    """The surface of _core.Engine over a _core.Core in virtual time; it records every call."""

    def __init__(self, *, instances: int = 64, links: int = 32, groups: int = 16) -> None:
        self.core = _core.Core(instances=instances, links=links, groups=groups)
        self.now_ns = SECOND
        self.links: dict[int, dict[str, Any]] = {}
        self.up: dict[int, bool] = {}  # links
        self.busy = False  # nothing can be handed over
        self.calls: list[tuple[Any, ...]] = []
        self.queue: deque[_core.Event] = deque()
        self.lost = False
        self.refuse: dict[int, OSError] = {}  # ifindex to what Engine.link raises
        self._fd = os.eventfd(0, os.EFD_NONBLOCK)

    def close(self) -> None:
        os.close(self._fd)

    def fileno(self) -> int:
        return self._fd

    def take(self, actions: list[Any]) -> None:
        """Queue the events among a core's actions; programs are confirmed at once."""
        for action in actions:
            if action[0] == "event":
                self.queue.append(action[1])
                os.eventfd_write(self._fd, 1)
            elif action[0] == "play":
                _, slot, program, generation = action
                self.calls.append(("play", slot, program))
                self.take(self.core.played(slot, generation, program=program, now_ns=self.now_ns))

    def events(self, limit: int = 512) -> list[_core.Event]:
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._fd)
        events = [self.queue.popleft() for _ in range(min(limit, len(self.queue)))]
        if self.queue:
            os.eventfd_write(self._fd, 1)
        return events

    def overflowed(self) -> bool:
        lost, self.lost = self.lost, False
        return lost

    def link(self, slot: int, *, ifindex: int, **spec: Any) -> None:
        self.calls.append(("link", slot, ifindex))
        if ifindex in self.refuse:
            raise self.refuse[ifindex]
        spec.pop("rejoin", None)  # how it came about, not what it is
        self.links[slot] = {"ifindex": ifindex, **spec}
        self.set_up(slot, ifindex != 0)

    def set_up(self, slot: int, up: bool) -> None:
        """A link goes up or down."""
        if self.up.get(slot, False) != up:
            self.up[slot] = up
            ifindex = self.links[slot]["ifindex"]
            self.take(self.core.link(slot, ifindex=ifindex, up=up, now_ns=self.now_ns))
            self.tell(_core.EV_LINK, slot=slot, a=ifindex, b=up)

    def hand_over(
        self, receiver: FakeEngine, *, links: list[int], instances: list[int], limit_ms: int = 0
    ) -> bool:
        if self.busy:
            return False
        self.calls.append(("hand over", sorted(links), sorted(instances)))
        for slot in links:
            receiver.links[slot] = self.links[slot]
            self.links[slot] = {"ifindex": self.links[slot]["ifindex"], "families": 0}
            if receiver.up.get(slot) != self.up.get(slot):
                receiver.up[slot] = up = self.up[slot]
                receiver.core.link(slot, ifindex=1, up=up, now_ns=self.now_ns)
        receiver.take(self.core.hand_over(receiver.core, instances, now_ns=self.now_ns))
        return True

    def accept(self, slot: int, **filters: Any) -> None:
        self.calls.append(("accept", slot))
        self.links[slot].update(filters)

    def commit(
        self, instances: list[_core.Instance], *, remove: list[int] | None = None, epoch: int
    ) -> None:
        self.calls.append(("commit", [i.slot for i in instances], list(remove or [])))
        self.take(self.core.commit(instances, remove=remove, now_ns=self.now_ns))
        self.tell(_core.EV_COMMITTED, a=epoch)

    def tell(self, kind: int, *, slot: int = 0xFFFFFFFF, a: int = 0, b: int = 0) -> None:
        self.queue.append(_core.Event(kind, slot, 0, self.now_ns, a, b, 0, 0, 0, b""))
        os.eventfd_write(self._fd, 1)

    def fault(self, slot: int, *, set: int = 0, clear: int = 0) -> None:
        self.calls.append(("fault", slot, set, clear))
        self.take(self.core.fault(slot, set=set, clear=clear, now_ns=self.now_ns))

    def adjust(self, slot: int, total: int) -> None:
        self.calls.append(("adjust", slot, total))
        self.take(self.core.adjust(slot, total, now_ns=self.now_ns))

    def replay(self, slot: int) -> None:
        self.calls.append(("replay", slot))

    def stop_instances(self) -> None:
        self.calls.append(("stop",))
        self.tell(_core.EV_STOPPED)

    def status(self, slot: int) -> _core.Status:
        return self.core.status(slot)

    def sequence(self, slot: int) -> int:
        return self.core.sequence(slot)

    def group_state(self, slot: int) -> int:
        return self.core.group_state(slot)

    def counters(self) -> dict[str, int]:
        return {"turns": len(self.calls)}

    def lateness(self) -> list[int]:
        return [0, 0, 7, 0, 1]

    def advance(self, seconds: float) -> None:
        """Let virtual time pass, serving every deadline when it is due."""
        end_ns = self.now_ns + int(seconds * SECOND)
        while (due_ns := self.core.next_due_ns()) <= end_ns:
            self.now_ns = max(due_ns, self.now_ns)
            self.take(self.core.tick(self.now_ns))
        self.now_ns = end_ns


class Listener:
    """Remembers what an EngineClient tells."""

    def __init__(self) -> None:
        self.transitions: list[Transition] = []
        self.events: list[_core.Event] = []
        self.epochs: list[int] = []
        self.resyncs = 0
        self.batches = 0
        self.plane: Plane | None = None

    def transition(self, change: Transition) -> None:
        self.transitions.append(change)

    def event(self, event: _core.Event) -> None:
        self.events.append(event)

    def committed(self, epoch: int) -> None:
        self.epochs.append(epoch)
        if self.plane is not None:
            self.plane.confirmed(epoch)

    def resynced(self) -> None:
        self.resyncs += 1

    def drained(self) -> None:
        self.batches += 1

    def path(self, slot: int) -> list[int]:
        """The states of an instance as told."""
        return [change.new for change in self.transitions if change.slot == slot]


class Bench:
    """A plane on a fake engine and a paper kernel."""

    def __init__(self, *interfaces: str, threads: int = 1, packs: bool = True) -> None:
        """`packs`: a change is given the time until the plane keeps it in little memory."""
        self.observed = kernel(*interfaces)
        self.engines = [FakeEngine() for _ in range(threads)]
        self.engine = self.engines[0]
        self.client = EngineClient(self.engine if threads == 1 else Shards(self.engines))
        self.listener = Listener()
        self.tracking: dict[str, tuple[int, int]] = {}
        self.forwarding: set[str] = set()
        self.packs = packs
        self.plane = Plane(
            self.client,
            lambda: self.observed,
            Capacity(instances=64, links=32, groups=16),
            tracker_state=lambda name: self.tracking.get(name, (0, 0)),
            forwarding=lambda name: name in self.forwarding,
        )
        self.listener.plane = self.plane
        self.client.listen(self.listener)

    def close(self) -> None:
        for engine in self.engines:
            engine.close()

    def apply(self, wanted: model.Configuration) -> tuple[str, ...]:
        """Change to a configuration, as the daemon does; returns the changes told."""
        draft = self.plane.prepare(wanted)
        self.plane.commit(draft)
        self.client.poll()
        if self.packs:
            self.plane.pack()
        return draft.plan.changes

    def state(self, name: str) -> int:
        self.client.poll()
        return self.plane.state(name)

    def calls(self, kind: str) -> list[tuple[Any, ...]]:
        return [call[1:] for call in self.engine.calls if call[0] == kind]

    def forget_calls(self) -> None:
        self.engine.calls.clear()

    def add_vip(self, name: str, owner: str) -> None:
        """The kernel now has a virtual address of an instance, with our mark."""
        running = self.plane.running[owner]
        wish = next(a for a in running.instance.virtual_ipaddress if a.address == name)
        device = wish.dev or running.instance.interface or ""
        key = address_key(wish, self.observed.interfaces[device])
        self.observed.put_address(Address(key, 0, 0, PROTOCOL, ""))
