"""ha_suspend: which of the wanted addresses this host has, told by a real kernel."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
from collections.abc import Awaitable, Callable, Iterable, Iterator

import pytest
import uvloop

from fastvrrp.ipvs.presence import Presence
from fastvrrp.net import namespace as net_namespace
from fastvrrp.net.objects import Address
from looping import until

pytestmark = pytest.mark.netns

FOUR = socket.inet_aton("192.0.2.80")
SIX = socket.inet_pton(socket.AF_INET6, "2001:db8::80")
OTHER = socket.inet_aton("192.0.2.81")


def ip(line: str) -> None:
    subprocess.run(["ip", *line.split()], check=True)


@pytest.fixture
def home() -> Iterator[None]:
    """A namespace of its own that this thread is in, with v0 and v1."""
    name = f"presence-{os.getpid()}"
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    ip(f"netns add {name}")
    try:
        net_namespace.enter(name)
        ip("link add v0 type veth peer name v1")
        for link in ("v0", "v1"):
            ip(f"link set {link} up")
        yield
    finally:
        net_namespace._setns(before)
        os.close(before)
        ip(f"netns del {name}")


class Scene:
    def __init__(self) -> None:
        self.changes: list[tuple[bytes, bool]] = []
        self.presence = Presence(self._changed)

    def _changed(self, address: bytes) -> None:
        self.changes.append((address, self.presence.is_here(address)))


def play(story: Callable[[Scene], Awaitable[None]]) -> None:
    async def main() -> None:
        scene = Scene()
        try:
            await story(scene)
        finally:
            scene.presence.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())


def test_addresses_come_and_go(home: None) -> None:
    async def story(it: Scene) -> None:
        ip("address add 192.0.2.80/24 dev v0")
        await it.presence.want((FOUR, SIX))
        assert it.presence.is_here(FOUR), "known on return"
        assert not it.presence.is_here(SIX)
        assert it.changes == [], "and not told"
        ip("address add 2001:db8::80/64 dev v1 nodad")
        await until(lambda: it.changes == [(SIX, True)])
        ip("address add 192.0.2.81/24 dev v0")  # of which nobody wants to know
        ip("address del 192.0.2.80/24 dev v0")
        # with it goes 192.0.2.81, the secondary address
        await until(lambda: it.changes == [(SIX, True), (FOUR, False)])
        ip("link set v1 down")  # an IPv6 address goes with it
        await until(lambda: it.changes[2:] == [(SIX, False)])

    play(story)


def test_an_address_on_two_interfaces(home: None) -> None:
    async def story(it: Scene) -> None:
        await it.presence.want((FOUR,))
        ip("address add 192.0.2.80/32 dev v0")
        ip("address add 192.0.2.80/32 dev v1")
        ip("address del 192.0.2.80/32 dev v0")
        ip("address add 192.0.2.80/25 dev v0")
        ip("address del 192.0.2.80/25 dev v0")
        ip("address del 192.0.2.80/32 dev v1")
        await until(lambda: len(it.changes) == 2)
        assert it.changes == [(FOUR, True), (FOUR, False)]

    play(story)


def test_each_of_many_is_looked_at_alone(home: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A takeover brings thousands: not all addresses are gone through for each of them."""

    async def story(it: Scene) -> None:
        many = [socket.inet_aton(f"192.0.2.{n}") for n in range(1, 51)]
        await it.presence.want(many)
        assert it.presence._monitor is not None
        passes: list[None] = []
        everything = it.presence._monitor.observed.all_addresses

        def counted() -> Iterable[Address]:
            passes.append(None)
            return everything()

        monkeypatch.setattr(it.presence._monitor.observed, "all_addresses", counted)
        for n in range(1, 51):
            ip(f"address add 192.0.2.{n}/32 dev v0")
        await until(lambda: it.changes == [(address, True) for address in many])
        ip("address flush dev v0")
        await until(lambda: len(it.changes) == 100)
        assert not any(map(it.presence.is_here, many))
        assert not passes

    play(story)


def test_other_wishes(home: None) -> None:
    """A reload: new ones are known at once, and without any nothing is followed."""

    async def story(it: Scene) -> None:
        ip("address add 192.0.2.81/24 dev v0")
        await it.presence.want(())
        assert it.presence._monitor is None
        await it.presence.want((FOUR,))
        monitor = it.presence._monitor
        await it.presence.want((OTHER,))
        assert it.presence._monitor is monitor
        assert it.presence.is_here(OTHER)
        ip("address add 192.0.2.80/24 dev v0")
        ip("address del 192.0.2.81/24 dev v0")
        await until(lambda: it.changes == [(OTHER, False)])
        await it.presence.want(())
        assert it.presence._monitor is None
        assert not it.presence.is_here(OTHER)

    play(story)
