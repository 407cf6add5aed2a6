"""The monitor against the real kernel, on asyncio and on uvloop."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest
import uvloop
from net_tools import ip, ip_json, run

from fastvrrp._core import delete_address
from fastvrrp.config.model import VirtualAddress
from fastvrrp.net import wire
from fastvrrp.net.addresses import add_address, address_key
from fastvrrp.net.monitor import Monitor
from fastvrrp.net.objects import Address, AddressKey, Link, Route, RuleKey
from fastvrrp.net.observed import Observed, primary_source
from fastvrrp.net.rtnl import RtnlSocket

pytestmark = pytest.mark.netns

TIMEOUT_S = 3.0
Play = Callable[[Callable[["Recorder"], Awaitable[None]]], "Recorder"]


class Recorder:
    """A monitor that writes down what it tells."""

    def __init__(self, **more: Any) -> None:
        self.links: list[tuple[Link | None, Link | None]] = []
        self.addresses: list[tuple[int, Address, bool]] = []
        self.routes: list[tuple[Route, bool]] = []
        self.rules: list[tuple[RuleKey, bool]] = []
        self.resyncs = 0
        self.monitor = Monitor(
            on_link=lambda old, new: self.links.append((old, new)),
            on_address=lambda index, address, added: self.addresses.append((index, address, added)),
            on_route=lambda route, added: self.routes.append((route, added)),
            on_rule=lambda rule, added: self.rules.append((rule, added)),
            on_resync=self._resynced,
            **more,
        )

    def _resynced(self) -> None:
        self.resyncs += 1

    @property
    def observed(self) -> Observed:
        return self.monitor.observed

    async def until(self, condition: Callable[[], object]) -> None:
        """Let the loop run until something is true."""
        async with asyncio.timeout(TIMEOUT_S):
            while not condition():  # noqa: ASYNC110  any condition, not one event
                await asyncio.sleep(0.002)


@pytest.fixture(params=["asyncio", "uvloop"])
def play(request: pytest.FixtureRequest) -> Play:
    """Runs a scene with a started monitor on either kind of loop."""

    def runner(scene: Callable[[Recorder], Awaitable[None]], **more: Any) -> Recorder:
        recorder = Recorder(**more)

        async def main() -> None:
            try:
                await recorder.monitor.start()
                await scene(recorder)
            finally:
                recorder.monitor.close()

        factory = uvloop.new_event_loop if request.param == "uvloop" else asyncio.new_event_loop
        with asyncio.Runner(loop_factory=factory) as loop_runner:
            loop_runner.run(main())
        return recorder

    return runner


def key4(index: int, text: str, length: int) -> AddressKey:
    return AddressKey(index, 4, socket.inet_aton(text), length)


def assert_like_the_kernel(observed: Observed) -> None:
    """What the monitor knows is what a fresh reader sees."""
    with RtnlSocket() as rtnl:
        assert observed.links == rtnl.links()
    assert set(observed.interfaces) >= {link.name for link in observed.links.values()}
    shown = {
        (entry["ifindex"], info["local"], info["prefixlen"])
        for entry in ip_json("addr show")
        for info in entry["addr_info"]
    }
    known = {
        (
            key.ifindex,
            socket.inet_ntop(socket.AF_INET if key.family == 4 else socket.AF_INET6, key.address),
            key.prefixlen,
        )
        for key in (address.key for address in observed.all_addresses())
    }
    assert known == shown


def test_start_gives_a_complete_snapshot(link: Callable[..., int], play: Play) -> None:
    index = link("v0", "10.0.0.9/24", "2001:db8::9/64")
    ip("link property add dev v0 altname uplink")
    ip("route add 10.5.0.0/16 dev v0 proto 18")
    ip("route add 10.6.0.0/16 dev v0")
    ip("rule add from 10.0.0.0/8 table 7 pref 77 protocol 18")

    async def scene(recorder: Recorder) -> None:
        observed = recorder.observed
        assert_like_the_kernel(observed)
        found = observed.links[index]
        assert found.name == "v0"
        assert found.kind == "veth"
        assert found.altnames == ("uplink",)
        assert found.up
        assert len(found.mac) == 6
        assert observed.interfaces["uplink"] == index
        assert [route.key.destination for route in observed.all_routes()] == [b"\x0a\x05\0\0"]
        assert [r.table for r in observed.rules if r.protocol == 18] == [7]
        assert not recorder.links
        assert recorder.resyncs == 0

    play(scene)


def test_addresses_come_and_go(link: Callable[..., int], play: Play) -> None:
    """A deleted address is told at once, with its mark."""
    index = link("v0")

    async def scene(recorder: Recorder) -> None:
        wish = VirtualAddress(address="10.0.0.1", prefixlen=24, family=4)
        assert await recorder.monitor.play([(add_address(wish, index), 0)]) == [0]

        def told() -> list[tuple[int, Address, bool]]:
            # the kernel's own link-local addresses come when they like
            return [entry for entry in recorder.addresses if entry[1].key.family == 4]

        await recorder.until(told)
        ((changed, address, added),) = told()
        assert (changed, address.key, added) == (index, key4(index, "10.0.0.1", 24), True)
        assert address.protocol == 18
        assert recorder.observed.address_is_ours(address)
        ip("addr del 10.0.0.1/24 dev v0")
        await recorder.until(lambda: len(told()) == 2)
        assert told()[1] == (index, address, False)
        assert recorder.observed.address(address.key) is None

    play(scene)


def test_an_address_that_goes_before_the_kernel_told_of_it(
    link: Callable[..., int], play: Play
) -> None:
    """Of a new address of IPv6 the kernel tells from a work queue (addrconf_dad_work), and says
    nothing but that it went if it goes before: what a master loses so has to be put back."""
    index = link("v0")
    wishes = [
        VirtualAddress(address=f"2001:db8::{n:x}", prefixlen=64, family=6) for n in range(1, 51)
    ]

    async def scene(recorder: Recorder) -> None:
        with RtnlSocket() as rtnl:  # without the loop, which cannot read meanwhile
            for wish in wishes:
                requests = [
                    (add_address(wish, index), 0),
                    (delete_address(address_key(wish, index)), 0),
                ]
                assert rtnl.play(requests) == [0, 0]
        gone = {socket.inet_pton(socket.AF_INET6, wish.address) for wish in wishes}
        async with asyncio.timeout(TIMEOUT_S):
            while gone:
                await asyncio.sleep(0.01)
                gone -= {a.key.address for _, a, present in recorder.addresses if not present}
        assert_like_the_kernel(recorder.observed)

    play(scene)


def test_up_to_date_has_what_the_loop_has_not_read_yet(
    link: Callable[..., int], play: Play
) -> None:
    index = link("v0")
    first, second = (key4(index, f"10.7.0.{n}", 32) for n in (1, 2))

    async def scene(recorder: Recorder) -> None:
        ip("addr add 10.7.0.1/32 dev v0")
        await recorder.monitor.up_to_date()
        assert recorder.observed.address(first) is not None
        recorder.monitor.resync()  # the table that is being read has it
        ip("addr add 10.7.0.2/32 dev v0")
        await recorder.monitor.up_to_date()
        assert recorder.observed.address(second) is not None
        assert_like_the_kernel(recorder.observed)

    play(scene)


def test_many_addresses_of_ours(link: Callable[..., int], play: Play) -> None:
    """A takeover: they are taken in together, and what comes between is not overtaken."""
    index = link("v0")

    def texts(*hosts: int) -> list[str]:
        return [f"10.7.{n // 250}.{n % 250 + 1}" for n in hosts]

    def ours(*addresses: str) -> None:
        """Without the loop, which cannot read meanwhile."""
        with RtnlSocket() as rtnl:
            wishes = [
                VirtualAddress(
                    address=text,
                    prefixlen=64 if ":" in text else 32,
                    family=6 if ":" in text else 4,
                )
                for text in addresses
            ]
            assert not any(rtnl.play([(add_address(wish, index), 0) for wish in wishes]))

    def others(verb: str, *hosts: int) -> None:
        blocking_batch("".join(f"addr {verb} {text}/32 dev v0\n" for text in texts(*hosts)))

    async def scene(recorder: Recorder) -> None:
        batches: list[int] = []
        one_by_one = recorder.monitor.on_marked

        def marked(came: Sequence[Address]) -> None:
            batches.append(len(came))
            one_by_one(came)

        recorder.monitor.on_marked = marked
        ours(*texts(*range(600)))
        others("add", *range(600, 620))
        others("del", *range(10))
        ours(*texts(*range(10)))
        ours(*texts(*range(620, 1000)))
        ours(*texts(*range(500)))  # nothing new
        ours("2001:db8::1")

        def sixth() -> list[tuple[int, Address, bool]]:
            return [one for one in recorder.addresses if one[1].key.address[:2] == b"\x20\x01"]

        await recorder.until(sixth)
        assert_like_the_kernel(recorder.observed)
        told = [one for one in recorder.addresses if one[1].key.family == 4]
        assert len(told) == 1000 + 10 + 10
        order = [added for _, address, added in told if address.key == key4(index, "10.7.0.5", 32)]
        assert order == [True, False, True]
        assert {address.protocol for _, address, _ in told} == {18, None}
        assert max(batches) > 100
        assert sum(batches) == 600 + 10 + 380 + 1
        assert recorder.resyncs == 0
        others("del", 0)
        before = len(recorder.addresses)
        await recorder.until(lambda: len(recorder.addresses) > before)
        ours(*texts(0))
        recorder.monitor.drain()
        assert recorder.addresses[-1][1].key == key4(index, "10.7.0.1", 32)

    play(scene)


def test_links_change_their_state_name_and_existence(link: Callable[..., int], play: Play) -> None:
    index = link("v0", "10.0.0.9/24")

    async def scene(recorder: Recorder) -> None:
        ip("link set v0p down")  # carrier of v0
        await recorder.until(lambda: not recorder.observed.links[index].up)
        assert recorder.links[-1][0] is not None
        assert recorder.links[-1][0].up
        ip("link set v0p up")
        await recorder.until(lambda: recorder.observed.links[index].up)
        ip("link set v0 down")
        ip("link set v0 name w0")
        await recorder.until(lambda: recorder.observed.links[index].name == "w0")
        assert "v0" not in recorder.observed.interfaces
        assert recorder.observed.interfaces["w0"] == index
        recorder.links.clear()
        ip("link add v0 type bridge")
        await recorder.until(lambda: "v0" in recorder.observed.interfaces)
        old, new = recorder.links[0]
        assert old is None
        assert new is not None
        assert new.name == "v0"
        recorder.links.clear()
        recorder.addresses.clear()
        ip("link del w0")
        await recorder.until(lambda: index not in recorder.observed.links)
        assert (recorder.links[-1][0] or recorder.links[-2][0]) is not None
        assert any(new is None for _, new in recorder.links)
        assert (index, key4(index, "10.0.0.9", 24), False) in [
            (i, a.key, added) for i, a, added in recorder.addresses
        ]
        assert_like_the_kernel(recorder.observed)

    play(scene)


def test_a_bridge_port_that_leaves_is_not_a_link_that_vanishes(
    link: Callable[..., int], play: Play
) -> None:
    index = link("v0")
    ip("link add br0 type bridge")
    ip("link set v0 master br0")

    async def scene(recorder: Recorder) -> None:
        assert recorder.observed.links[index].master == recorder.observed.interfaces["br0"]
        ip("link set v0 nomaster")
        await recorder.until(lambda: recorder.observed.links[index].master == 0)
        ip("addr add 10.1.1.1/24 dev v0")
        await recorder.until(lambda: recorder.addresses)
        assert all(new is not None for _, new in recorder.links)
        assert_like_the_kernel(recorder.observed)

    play(scene)


def test_routes_that_vanish_unannounced_are_noticed(link: Callable[..., int], play: Play) -> None:
    """The kernel does not tell of IPv4 routes lost with their device or preferred source."""
    link("v0", "10.0.0.9/24")
    link("v1", "10.2.0.9/24", "10.3.0.9/24")
    ip("route add 10.5.0.0/16 dev v0 proto 18")
    ip("route add 10.6.0.0/16 dev v1 src 10.3.0.9 proto 18")

    async def scene(recorder: Recorder) -> None:
        assert len(list(recorder.observed.all_routes())) == 2
        ip("link set v0 down")
        await recorder.until(lambda: len(recorder.routes) == 1)
        assert recorder.routes[0][0].key.destination == b"\x0a\x05\0\0"
        assert recorder.routes[0][1] is False
        ip("addr del 10.3.0.9/24 dev v1")
        await recorder.until(lambda: len(recorder.routes) == 2)
        assert not list(recorder.observed.all_routes())
        assert recorder.resyncs == 0

    play(scene)


def test_routes_deleted_replaced_and_foreign(link: Callable[..., int], play: Play) -> None:
    link("v0", "10.0.0.9/24", "2001:db8::9/64")
    ip("route add 10.5.0.0/16 via 10.0.0.1 proto 18")
    ip("-6 route add 2001:db8:5::/48 via 2001:db8::1 proto 18")

    async def scene(recorder: Recorder) -> None:
        seen = recorder.monitor.messages
        for number in range(20):
            ip(f"route add 10.100.{number}.0/24 dev v0")
        ip("-6 route del 2001:db8:5::/48")
        await recorder.until(lambda: recorder.routes)
        assert recorder.routes[0][0].key.family == 6
        assert recorder.routes[0][1] is False
        # Twenty foreign routes before it never reached us.
        assert recorder.monitor.messages - seen <= 2
        recorder.routes.clear()
        ip("route replace 10.5.0.0/16 via 10.0.0.2")
        await recorder.until(lambda: recorder.routes)
        assert recorder.routes[0][1] is False
        assert not list(recorder.observed.all_routes())

    play(scene)


def test_multipath_routes_of_ipv6_shrink(link: Callable[..., int], play: Play) -> None:
    link("v0", "2001:db8::9/64")
    ip(
        "-6 route add 2001:db8:5::/48 proto 18 nexthop via 2001:db8::1 dev v0"
        " nexthop via 2001:db8::2 dev v0"
    )

    async def scene(recorder: Recorder) -> None:
        (route,) = recorder.observed.all_routes()
        assert len(route.hops) == 2
        ip("-6 route del 2001:db8:5::/48 via 2001:db8::1 dev v0")
        await recorder.until(lambda: recorder.routes)
        assert recorder.routes[0] == (route, False)
        (left,) = recorder.observed.all_routes()
        assert [hop.gateway[-1] for hop in left.hops] == [2]

    play(scene)


def test_rules_come_and_go(namespace: str, play: Play) -> None:
    async def scene(recorder: Recorder) -> None:
        ip("rule add from 10.0.0.0/8 table 7 pref 77")
        await recorder.until(lambda: recorder.rules)
        ip("rule del pref 77")
        await recorder.until(lambda: len(recorder.rules) == 2)
        (first, added), (second, again) = recorder.rules
        assert first == second
        assert (added, again) == (True, False)

    play(scene)


def test_overflow_ends_in_the_kernels_state(link: Callable[..., int], play: Play) -> None:
    """Lost notifications lead to one fresh read, and the differences are told."""
    index = link("v0")
    link("v1")

    async def scene(recorder: Recorder) -> None:
        doomed = recorder.observed.interfaces["v1"]
        lines = "".join(f"addr add 10.7.{n // 250}.{n % 250 + 1}/16 dev v0\n" for n in range(400))
        blocking_batch(lines + "link del v1\naddr del 10.7.0.7/16 dev v0\n")
        await recorder.until(lambda: recorder.resyncs)
        assert recorder.monitor.overflows >= 1
        assert_like_the_kernel(recorder.observed)
        assert len(recorder.observed.addresses[index]) == 400  # 399 and the link-local one
        assert any(old and old.ifindex == doomed and new is None for old, new in recorder.links)
        told = {address.key for _, address, added in recorder.addresses if added}
        assert key4(index, "10.7.1.1", 16) in told
        ip("addr del 10.7.0.8/16 dev v0")  # and it goes on listening
        recorder.addresses.clear()
        await recorder.until(lambda: recorder.addresses)

    play(scene, receive_buffer=4096)


def blocking_batch(lines: str) -> None:
    """Many changes while the loop cannot read."""
    import subprocess

    done = subprocess.run(["ip", "-b", "-"], input=lines.encode(), capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def test_damaged_framing_leads_to_a_fresh_read(link: Callable[..., int], play: Play) -> None:
    index = link("v0")

    async def scene(recorder: Recorder) -> None:
        monitor = recorder.monitor
        taken = monitor.datagram

        def damaged(data: memoryview) -> bool:
            monitor.datagram = taken  # type: ignore[method-assign]
            return False

        monitor.datagram = damaged  # type: ignore[method-assign]
        ip("addr add 10.0.0.1/24 dev v0")
        await recorder.until(lambda: recorder.resyncs)
        assert (index, key4(index, "10.0.0.1", 24), True) in [
            (i, a.key, added) for i, a, added in recorder.addresses
        ]
        assert_like_the_kernel(recorder.observed)

    play(scene)


def test_a_table_that_cannot_be_read_is_tried_again(
    link: Callable[..., int],
    play: Play,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A dump that the kernel breaks off half-way must not pass for a table without the rest."""
    link("v0", "10.0.0.9/24")

    async def scene(recorder: Recorder) -> None:
        failures = 3
        answer = wire.answer

        def failing(data: memoryview, frame: wire.Frame) -> int:
            nonlocal failures
            failures -= 1
            return errno.ENOBUFS if failures >= 0 else answer(data, frame)

        monkeypatch.setattr(wire, "answer", failing)
        recorder.monitor.resync()
        await recorder.until(lambda: recorder.resyncs)
        assert failures < 0
        seen = [one for one in recorder.addresses if one[1].key.family == 4]
        assert seen == recorder.links == []  # IPv6 ones become usable when they like
        ip("addr add 10.0.0.1/24 dev v0")
        await recorder.until(lambda: any(one[1].key.family == 4 for one in recorder.addresses))
        assert_like_the_kernel(recorder.observed)

    play(scene)
    assert caplog.text.count("cannot read") == 3


def test_only_the_kernel_is_believed(link: Callable[..., int], play: Play) -> None:
    """A forged deletion sent by another process changes nothing."""
    index = link("v0", "10.0.0.9/24")

    async def scene(recorder: Recorder) -> None:
        forged = wire.message(
            wire.RTM_DELLINK, 0, wire.IFINFOMSG.pack(0, 1, index, 0, 0) + wire.string(3, "v0")
        )
        port = recorder.monitor._events.getsockname()[0]
        with socket.socket(wire.AF_NETLINK, socket.SOCK_RAW, wire.NETLINK_ROUTE) as stranger:
            stranger.sendto(forged, (port, 0))
        await recorder.until(lambda: recorder.monitor.rejected)
        assert recorder.observed.links[index].name == "v0"
        assert not recorder.links

    play(scene)


def test_a_failing_consumer_loses_no_events(link: Callable[..., int], play: Play) -> None:
    link("v0")

    async def scene(recorder: Recorder) -> None:
        reported: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(
            lambda _, context: reported.append(context)
        )

        def broken(*_: object) -> None:
            raise RuntimeError("consumer")

        recorder.monitor.on_link = broken
        ip("link set v0 down")
        ip("addr add 10.0.0.1/24 dev v0")
        await recorder.until(lambda: any(a.key.family == 4 for _, a, _ in recorder.addresses))
        assert isinstance(reported[0]["exception"], RuntimeError)

    play(scene)


def test_primary_source_from_a_live_interface(link: Callable[..., int], play: Play) -> None:
    """A VIP that came first makes the real address a secondary one; it is the source still."""
    index = link("v0", "10.0.0.100/24", "10.0.0.9/24", "10.0.0.10/24")

    async def scene(recorder: Recorder) -> None:
        vips = {socket.inet_aton("10.0.0.100")}
        observed = recorder.observed
        assert primary_source(observed, index, 4) == socket.inet_aton("10.0.0.100")
        assert primary_source(observed, index, 4, vips) == socket.inet_aton("10.0.0.9")
        source6 = primary_source(observed, index, 6)
        assert source6[:2] == b"\xfe\x80"
        assert primary_source(observed, index, 6, {source6}) == b""
        run("sysctl", "-qw", "net.ipv4.conf.v0.promote_secondaries=1")
        ip("addr del 10.0.0.100/24 dev v0")
        ip("addr add 10.9.0.1/24 dev v0")
        await recorder.until(lambda: observed.address(key4(index, "10.9.0.1", 24)))
        assert primary_source(observed, index, 4) == socket.inet_aton("10.0.0.9")

    play(scene)
