"""Drives one production Core in virtual time: what the unit and property tests talk to.

The driver owns the clock, plays the applier (acknowledges up programs unless told not to), and
keeps every action with the moment it happened.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from fastvrrp import _core
from fastvrrp._core import Core, Event, Instance, Status, build_announcement, encode_advert

SECOND = 1_000_000_000
MS = 1_000_000
MULTICAST4 = bytes((224, 0, 0, 18))
MULTICAST6 = bytes.fromhex("ff020000000000000000000000000012")
VIP4 = bytes((192, 0, 2, 1))
VIP6 = bytes.fromhex("fe800000000000000000000000000100")


def own(n: int, family: int = 4) -> bytes:
    """The interface address of router n."""
    if family == 4:
        return bytes((10, 0, 0, n))
    return bytes.fromhex("fe80") + bytes(13) + bytes((n,))


def request(number: int) -> bytes:
    """A well-formed netlink message that nobody will ever send; `number` tells it from others."""
    return (20).to_bytes(4, "little") + bytes(12) + number.to_bytes(4, "little")


def program(*numbers: int) -> bytes:
    return _core.pack_program([(request(n), 0) for n in numbers])


def announcement(address: bytes, index: int = 0, new: bool = False) -> bytes:
    return build_announcement(
        family=4 if len(address) == 4 else 6,
        address=address,
        ifindex=2,
        mac=bytes((2, 0, 0, 0, 0, 1)),
        request=index,
        new=new,
    )


def instance(slot: int = 0, **change: Any) -> Instance:
    """An Instance with sensible values; every one can be changed."""
    family = change.pop("family", 4)
    addresses = change.pop("addresses", [VIP4 if family == 4 else VIP6])
    values: dict[str, Any] = {
        "slot": slot,
        "vrid": 10,
        "family": family,
        "version": 3,
        "priority": 100,
        "advert_int_ns": SECOND,
        "link": 0,
        "source": own(2, family),
        "destination": MULTICAST4 if family == 4 else MULTICAST6,
        "addresses": addresses,
        "announce": b"".join(announcement(a, k) for k, a in enumerate(addresses)),
        "up": program(*range(1, len(addresses) + 1)),
        "down": program(100),
    }
    if change.get("flags", 0) & _core.F_UNICAST:
        values["destination"] = b""
    values.update(change)
    return Instance(**values)


class Action(NamedTuple):
    """One action with the moment at which the core asked for it."""

    at: int
    name: str  # tx, announce, play, event
    slot: int
    detail: tuple[Any, ...]


class Driver:
    """A Core, its clock and its applier."""

    def __init__(
        self,
        *,
        links_up: tuple[int, ...] = (0,),
        now: int = 0,
        auto_play: bool = True,
        instances: int = 16,
        links: int = 8,
        groups: int = 8,
    ) -> None:
        self.core = Core(instances=instances, links=links, groups=groups, now_ns=now)
        self.now = now
        self.auto_play = auto_play
        self.log: list[Action] = []
        self.source = own(1)
        for link in links_up:
            self.link(link, up=True)

    def take(self, actions: list[Any]) -> list[Action]:
        """Records actions, acknowledging up programs on the way."""
        taken = []
        for action in actions:
            if action[0] == "event":
                event: Event = action[1]
                made = Action(self.now, "event", event.slot, (event,))
            else:
                made = Action(self.now, action[0], action[1], tuple(action[2:]))
            self.log.append(made)
            taken.append(made)
            if self.auto_play and action[0] == "play" and action[2] == _core.P_UP:
                taken += self.played(action[1], action[3])
        return taken

    # ---- inputs ----

    def add(self, *instances: Instance, remove: list[int] | None = None) -> list[Action]:
        return self.take(self.core.commit(list(instances), remove=remove, now_ns=self.now))

    def link(self, slot: int = 0, *, up: bool) -> list[Action]:
        return self.take(self.core.link(slot, ifindex=slot + 2, up=up, now_ns=self.now))

    def fault(self, slot: int = 0, *, set: int = 0, clear: int = 0) -> list[Action]:
        return self.take(self.core.fault(slot, set=set, clear=clear, now_ns=self.now))

    def adjust(self, total: int, slot: int = 0) -> list[Action]:
        return self.take(self.core.adjust(slot, total, now_ns=self.now))

    def stop(self, slot: int = 0) -> list[Action]:
        return self.take(self.core.stop(slot, now_ns=self.now))

    def replay(self, slot: int = 0) -> list[Action]:
        return self.take(self.core.replay(slot, now_ns=self.now))

    def played(self, slot: int, generation: int, **result: int) -> list[Action]:
        return self.take(self.core.played(slot, generation, now_ns=self.now, **result))

    def feed(
        self,
        pdu: bytes,
        *,
        source: bytes | None = None,
        destination: bytes | None = None,
        ttl: int = 255,
        link: int = 0,
    ) -> tuple[int, list[Action]]:
        """A received PDU: (rx code, actions)."""
        source = self.source if source is None else source
        if destination is None:
            destination = MULTICAST4 if len(source) == 4 else MULTICAST6
        code, actions = self.core.packet(
            pdu, link=link, source=source, destination=destination, ttl=ttl, now_ns=self.now
        )
        return code, self.take(actions)

    def hear(
        self,
        priority: int,
        *,
        slot: int = 0,
        source: bytes | None = None,
        interval_ns: int | None = None,
        **change: Any,
    ) -> list[Action]:
        """An advert that fits the instance in `slot`; it must be accepted."""
        code, actions = self.hear_code(
            priority, slot=slot, source=source, interval_ns=interval_ns, **change
        )
        assert code == 0, _core.RX_NAMES[code]
        return actions

    def hear_code(
        self,
        priority: int,
        *,
        slot: int = 0,
        source: bytes | None = None,
        interval_ns: int | None = None,
        version: int = 3,
        vrid: int = 10,
        family: int = 4,
        link: int = 0,
        ttl: int = 255,
        addresses: list[bytes] | None = None,
        destination: bytes | None = None,
        **codec: Any,
    ) -> tuple[int, list[Action]]:
        source = (self.source if family == 4 else own(1, 6)) if source is None else source
        if destination is None:
            destination = MULTICAST4 if family == 4 else MULTICAST6
        if interval_ns is None:
            interval_ns = self.status(slot).advert_int_ns
        pdu = encode_advert(
            version=version,
            vrid=vrid,
            priority=priority,
            interval_cs=interval_ns // (10 * MS),
            addresses=[VIP4 if family == 4 else VIP6] if addresses is None else addresses,
            source=source,
            destination=destination,
            **codec,
        )
        return self.feed(pdu, source=source, destination=destination, ttl=ttl, link=link)

    # ---- time ----

    def advance_to(self, when: int) -> list[Action]:
        """To `when`, firing every deadline exactly when it is due."""
        done = []
        while (due := self.core.next_due_ns()) <= when:
            self.now = max(self.now, due)
            done += self.take(self.core.tick(self.now))
        self.now = when
        return done + self.take(self.core.tick(when))

    def advance(self, ns: int) -> list[Action]:
        return self.advance_to(self.now + ns)

    def sleep(self, ns: int) -> None:
        """The clock moves and nobody serves the core: a frozen machine."""
        self.now += ns

    def tick(self) -> list[Action]:
        return self.take(self.core.tick(self.now))

    # ---- looking ----

    def status(self, slot: int = 0) -> Status:
        return self.core.status(slot)

    def state(self, slot: int = 0) -> str:
        return _core.STATE_NAMES[self.core.status(slot).state]

    def reason(self, slot: int = 0) -> str:
        return _core.REASON_NAMES[self.core.status(slot).reason]

    def count(self, name: str, slot: int = 0) -> int:
        return self.core.status(slot).counters[name]

    def remaining(self, slot: int = 0) -> int:
        """Nanoseconds to the next deadline of the instance."""
        return self.core.status(slot).next_due_ns - self.now

    def become_master(self, slot: int = 0) -> list[Action]:
        """Silence until MASTER."""
        done: list[Action] = []
        for _ in range(100):
            if self.state(slot) == "MASTER":
                return done
            done += self.advance_to(self.core.next_due_ns())
        raise AssertionError(f"slot {slot} never became master: {self.status(slot)}")


def sent(actions: list[Action], slot: int | None = None) -> list[int]:
    """Priorities of the adverts among `actions`."""
    return [a.detail[0] for a in actions if a.name == "tx" and slot in (None, a.slot)]


def announced(actions: list[Action], slot: int | None = None) -> list[int]:
    """Repeat counts of the announcements among `actions`."""
    return [a.detail[0] for a in actions if a.name == "announce" and slot in (None, a.slot)]


def played(actions: list[Action], slot: int | None = None) -> list[int]:
    """Programs among `actions` (P_UP, P_DOWN, P_CHANGE)."""
    return [a.detail[0] for a in actions if a.name == "play" and slot in (None, a.slot)]


def events(actions: list[Action], kind: int | None = None) -> list[Event]:
    """Events among `actions`, of one kind when given."""
    found = [a.detail[0] for a in actions if a.name == "event"]
    return [e for e in found if kind in (None, e.kind)]
