"""Reactions to the kernel: restore, remove, refresh; and not too much of it."""

from __future__ import annotations

import asyncio
import errno
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest
from vrrp_tools import UP, Bench, address, configuration, instance, link, vip

from fastvrrp import _core
from fastvrrp.config import model
from fastvrrp.net.objects import IFF_RUNNING, Address, AddressKey, Link
from fastvrrp.net.observed import Observed
from fastvrrp.net.wire import PROTOCOL
from fastvrrp.vrrp import replay, upkeep
from fastvrrp.vrrp.draft import BusyError
from fastvrrp.vrrp.upkeep import SETTLE_S, Upkeep
from looping import Clockwork, Run, until

RTM_NEWADDR, RTM_DELADDR = 20, 21


class PaperMonitor:
    """A monitor whose kernel is `observed`; `play` records message types."""

    def __init__(self, observed: Observed) -> None:
        self.observed = observed
        self.played: list[int] = []
        self.answer = 0

    def drain(self) -> None:
        """Nothing waits on paper."""

    async def play(self, requests: list[tuple[bytes, int]]) -> list[int]:
        self.played += [int.from_bytes(request[4:6], "little") for request, _ in requests]
        return [self.answer] * len(requests)


class Scene:
    """A bench with an upkeep."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.monitor = PaperMonitor(bench.observed)
        self.moves = 0
        self.upkeep = Upkeep(bench.plane, self.monitor, before_refresh=self._moved)

    def _moved(self) -> None:
        self.moves += 1

    def run_as_master(self, wanted: model.Configuration) -> None:
        """Apply a configuration and let its instances become masters with their addresses."""
        self.bench.apply(wanted)
        self.bench.engine.advance(5)
        self.bench.client.poll()
        for name, running in self.bench.plane.running.items():
            for vip_ in running.instance.virtual_ipaddress:
                self.bench.add_vip(vip_.address, name)
        self.bench.forget_calls()

    def gone(self, text: str, prefixlen: int = 24, ifindex: int = 1) -> None:
        """The kernel tells that an address was deleted."""
        key = address(ifindex, text, prefixlen).key
        known = self.bench.observed.drop_address(key)
        assert known is not None
        self.upkeep.on_address(ifindex, known, False)

    def comes(self, found: Address) -> None:
        self.bench.observed.put_address(found)
        if found.protocol == PROTOCOL:
            self.upkeep.on_marked((found,))
        else:
            self.upkeep.on_address(found.key.ifindex, found, True)

    def link_is(self, new: Link) -> None:
        old = self.bench.observed.put_link(new)
        self.upkeep.on_link(old, new)

    def link_gone(self, ifindex: int) -> None:
        old = self.bench.observed.drop_link(ifindex)
        for known in self.bench.observed.addresses.pop(ifindex, {}).values():
            self.upkeep.on_address(ifindex, known, False)
        self.upkeep.on_link(old, None)


def scene(test: Callable[[Scene], Awaitable[None]]) -> Callable[[Bench], None]:
    """Runs the test in an event loop with a Scene. No time passes but what the test waits."""

    def run(bench: Bench) -> None:
        async def body() -> None:
            it = Scene(bench)
            try:
                await test(it)
            finally:
                await it.upkeep.close()

        with asyncio.Runner(loop_factory=Clockwork) as runner:
            runner.run(body())

    run.__name__ = test.__name__
    run.__doc__ = test.__doc__
    return run


@scene
async def test_what_somebody_takes_from_a_master_comes_back_at_once(it: Scene) -> None:
    it.run_as_master(configuration(instance()))
    it.gone("10.0.1.100")
    await asyncio.sleep(0)
    assert it.bench.calls("replay") == [(0,)]


@scene
async def test_what_a_backup_loses_does_not(it: Scene) -> None:
    it.bench.apply(configuration(instance()))
    it.bench.add_vip("10.0.1.100", "VI_1")
    it.gone("10.0.1.100")
    assert it.bench.calls("replay") == []


@scene
async def test_a_deletion_of_our_own_is_no_attack(it: Scene) -> None:
    """The instance has left MASTER, but its event still waits while netlink speaks already."""
    it.run_as_master(configuration(instance()))
    core, now_ns = it.bench.engine.core, it.bench.engine.now_ns
    it.bench.engine.take(core.link(0, ifindex=1, up=False, now_ns=now_ns))
    assert it.bench.plane.state("VI_1") == _core.MASTER
    it.gone("10.0.1.100")
    await asyncio.sleep(0)
    assert it.bench.calls("replay") == []


@scene
async def test_what_went_with_an_earlier_mastership_is_no_theft(it: Scene) -> None:
    """It is master again, with its address, when the kernel is heard about the time between."""
    it.run_as_master(configuration(instance()))
    it.gone("10.0.1.100")
    it.comes(address(1, "10.0.1.100", 24, ours=True))
    await asyncio.sleep(SETTLE_S + 0.1)
    assert it.bench.calls("replay") == []


@scene
async def test_what_goes_during_a_reload_is_judged_behind_it(it: Scene) -> None:
    """Most of it goes because of the reload, to return in another form."""
    many = tuple(vip(f"10.0.1.{host}/24") for host in (100, 101))
    it.run_as_master(configuration(instance(virtual_ipaddress=many)))
    it.upkeep.freeze()
    it.gone("10.0.1.100")
    it.gone("10.0.1.101")
    await asyncio.sleep(0)
    assert it.bench.calls("replay") == []
    it.comes(address(1, "10.0.1.100", 24, ours=True))
    it.upkeep.thaw()
    await asyncio.sleep(SETTLE_S + 0.1)
    assert it.bench.calls("replay") == [(0,)]


@scene
async def test_what_is_taken_before_its_master_is_known_comes_back(it: Scene) -> None:
    """It became master, and lost the address again, before the engine's events were read."""
    it.bench.apply(configuration(instance()))
    it.bench.engine.advance(5)
    it.bench.add_vip("10.0.1.100", "VI_1")
    assert it.bench.plane.state("VI_1") == _core.BACKUP
    it.gone("10.0.1.100")
    assert it.bench.calls("replay") == []
    await asyncio.sleep(SETTLE_S + 0.1)
    assert it.bench.calls("replay") == [(0,)]


@scene
async def test_the_addresses_of_a_takeover_do_not_ask_for_its_events(it: Scene) -> None:
    many = tuple(vip(f"10.0.1.{host}/24") for host in range(100, 150))
    it.bench.apply(configuration(instance(virtual_ipaddress=many)))
    it.bench.engine.advance(5)
    waiting = len(it.bench.engine.queue)
    for host in range(100, 150):
        it.comes(address(1, f"10.0.1.{host}", 24, ours=True))
    assert len(it.bench.engine.queue) == waiting > 0
    it.bench.forget_calls()
    await asyncio.sleep(SETTLE_S + 0.1)
    assert it.bench.engine.calls == []
    assert it.monitor.played == []


@scene
async def test_what_is_gone_already_is_not_removed_again(it: Scene) -> None:
    """The down programs of many are told of in lots, so a look may come in between."""
    it.run_as_master(configuration(instance()))
    core, now_ns = it.bench.engine.core, it.bench.engine.now_ns
    it.bench.engine.take(core.link(0, ifindex=1, up=False, now_ns=now_ns))
    waiting = ["10.0.1.100"]

    def drain() -> None:
        while waiting:
            it.gone(waiting.pop())

    it.monitor.drain = drain  # type: ignore[method-assign]
    await it.upkeep.run()
    assert waiting == []
    assert it.monitor.played == []


@scene
async def test_what_has_become_a_masters_meanwhile_is_not_removed(it: Scene) -> None:
    it.bench.apply(configuration(instance()))
    it.bench.add_vip("10.0.1.100", "VI_1")
    it.monitor.drain = lambda: it.bench.engine.advance(5)  # type: ignore[method-assign]
    await it.upkeep.run()
    assert it.bench.plane.state("VI_1") == _core.MASTER
    assert it.monitor.played == []


@scene
async def test_what_goes_with_us_is_not_brought_back(it: Scene) -> None:
    it.run_as_master(configuration(instance()))
    it.upkeep.leave()
    it.gone("10.0.1.100")
    await asyncio.sleep(0)
    assert it.bench.engine.calls == []


@scene
async def test_an_owners_addresses_cause_no_refresh(it: Scene) -> None:
    """They are no source of adverts as long as another one is there."""
    it.run_as_master(configuration(instance(priority=255)))
    it.bench.observed.drop_address(address(1, "10.0.1.100", 24).key)
    touches = it.upkeep.touches
    it.comes(address(1, "10.0.1.100", 24, ours=True))
    assert it.upkeep.touches == touches
    it.bench.observed.drop_address(address(1, "10.0.1.1", 24).key)
    it.gone("10.0.1.100")
    assert it.upkeep.touches == touches + 1
    it.comes(address(1, "10.0.1.100", 24))
    assert it.upkeep.touches == touches + 2


@scene
async def test_ours_that_are_told_together_count_as_one_by_one(it: Scene) -> None:
    """A tracked source, an owner's address that becomes the source, one that nobody asked for:
    each makes a difference; a virtual address does not."""
    it.bench.apply(
        configuration(
            instance(),
            instance("B", virtual_router_id=52, source="10.0.1.200", track_src_ip=True),
            instance(
                "C",
                virtual_router_id=53,
                interface="eth1",
                priority=255,
                virtual_ipaddress=(vip("10.0.2.100/24"),),
            ),
        )
    )
    it.bench.observed.drop_address(address(2, "10.0.2.1", 24).key)
    for ifindex, text, counts in (
        (1, "10.0.1.100", False),
        (1, "10.0.1.200", True),
        (2, "10.0.2.100", True),
        (1, "10.0.9.9", True),
        (7, "10.0.1.200", False),  # of an interface that is gone already
    ):
        found = address(ifindex, text, 24, ours=True)
        it.bench.observed.put_address(found)
        for tell in (
            lambda found=found: it.upkeep.on_marked([found]),
            lambda found=found: it.upkeep.on_address(found.key.ifindex, found, True),
        ):
            touches = it.upkeep.touches
            tell()
            assert (it.upkeep.touches > touches) == counts, text


@scene
async def test_ours_that_come_to_nobody_are_removed(it: Scene) -> None:
    """Two backups' addresses appear with our mark, among those of a master."""
    it.run_as_master(configuration(instance(virtual_ipaddress=(vip("10.0.1.100/24"),))))
    await it.upkeep.run()
    it.bench.apply(
        configuration(
            instance(virtual_ipaddress=(vip("10.0.1.100/24"),)),
            instance("B", virtual_router_id=52, virtual_ipaddress=(vip("10.0.1.101/24"),)),
        )
    )
    for host in (100, 101):
        it.comes(address(1, f"10.0.1.{host}", 24, ours=True))
    await asyncio.sleep(SETTLE_S + 0.1)
    assert it.monitor.played == [RTM_DELADDR]


@scene
async def test_a_tracked_source_counts_even_if_it_is_virtual(it: Scene) -> None:
    wanted = configuration(
        instance(source="10.0.1.200", track_src_ip=True),
        instance("B", virtual_router_id=52, virtual_ipaddress=(vip("10.0.1.200/24"),)),
    )
    it.bench.apply(wanted)
    assert it.bench.state("VI_1") == _core.FAULT
    it.comes(address(1, "10.0.1.200", 24, ours=True))
    await asyncio.sleep(0)
    assert it.bench.state("VI_1") == _core.BACKUP


@scene
async def test_no_track_is_left_to_its_fate(it: Scene) -> None:
    it.run_as_master(
        configuration(instance(virtual_ipaddress=(vip("10.0.1.100/24", no_track=True),)))
    )
    it.gone("10.0.1.100")
    assert it.bench.calls("replay") == []


@scene
async def test_many_deletions_cause_few_replays(it: Scene) -> None:
    many = tuple(vip(f"10.0.1.{host}/24") for host in range(100, 150))
    it.run_as_master(configuration(instance(virtual_ipaddress=many)))
    for host in range(100, 125):
        it.gone(f"10.0.1.{host}")
    await asyncio.sleep(0)
    assert len(it.bench.calls("replay")) == 1
    for host in range(125, 150):
        it.gone(f"10.0.1.{host}")
    await asyncio.sleep(0)
    assert len(it.bench.calls("replay")) == 1
    await asyncio.sleep(2 * replay.GATHER_S)
    assert len(it.bench.calls("replay")) == 2


class FakeLoop:
    """call_later and time, by hand."""

    def __init__(self) -> None:
        self.now = 100.0
        self.later: list[tuple[float, Callable[..., None], tuple[Any, ...]]] = []

    def time(self) -> float:
        return self.now

    def call_later(self, delay: float, callback: Callable[..., None], *args: Any) -> Any:
        self.later.append((self.now + delay, callback, args))
        return self.later[-1]

    def run_due(self) -> float:
        """Jump to the next timer; returns how long that took."""
        due, callback, args = self.later.pop(0)
        waited, self.now = due - self.now, due
        callback(*args)
        return waited


def test_a_fight_over_an_address_slows_down(caplog: pytest.LogCaptureFixture) -> None:
    loop, done = FakeLoop(), []
    replays = replay.Replays(loop, done.append, lambda name: True)  # type: ignore[arg-type]
    for _ in range(replay.BURST):
        replays.request("VI_1")
        loop.now += 0.05
    assert len(done) == replay.BURST
    waits = []
    for _ in range(7):
        replays.request("VI_1")
        replays.request("VI_1")
        assert len(loop.later) == 1
        waits.append(round(loop.run_due(), 3))
        loop.now += 0.05
    assert waits == [1.0, 2.0, 4.0, 5.0, 5.0, 5.0, 5.0]
    assert caplog.text.count("next attempt in 5 s") == 1
    assert "(VI_1) what it needs keeps being removed: next attempt in 1 s" in caplog.text
    loop.now += replay.QUIET_S + 1
    before = len(done)
    replays.request("VI_1")
    assert len(done) == before + 1


def test_replays_of_who_is_gone_are_forgotten() -> None:
    loop, done = FakeLoop(), []
    replays = replay.Replays(loop, done.append, lambda name: True)  # type: ignore[arg-type]
    for name in ("VI_1", "VI_2"):
        replays.request(name)
        replays.request(name)
    cancelled = []
    for history in replays._histories.values():
        history.timer = type("Timer", (), {"cancel": lambda self: cancelled.append(self)})()
    replays.retain({"VI_2"})
    assert len(cancelled) == 1
    assert list(replays._histories) == ["VI_2"]


def test_a_delayed_replay_is_not_played_when_nothing_is_missing_any_more() -> None:
    loop, done = FakeLoop(), []
    replays = replay.Replays(loop, done.append, lambda name: False)  # type: ignore[arg-type]
    replays.request("VI_1")
    replays.request("VI_1")
    loop.run_due()
    assert done == ["VI_1"]


@scene
async def test_ours_without_a_master_is_removed(it: Scene) -> None:
    it.bench.apply(configuration(instance()))
    it.bench.add_vip("10.0.1.100", "VI_1")
    await it.upkeep.run()
    assert it.monitor.played == [RTM_DELADDR]


def test_comparisons_that_are_asked_for_together_are_one(bench: Bench, run: Run) -> None:
    """At once and a little later, on either event loop: uvloop has no timer for what is due now."""

    async def body() -> None:
        it = Scene(bench)
        it.bench.apply(configuration(instance()))
        it.bench.add_vip("10.0.1.100", "VI_1")
        for delay_s in (SETTLE_S, 0.0, SETTLE_S, 0.0):
            it.upkeep.schedule(delay_s)
        await until(lambda: it.monitor.played)
        await it.upkeep.close()
        assert it.monitor.played == [RTM_DELADDR]

    run(body())


@scene
async def test_what_carries_no_mark_of_ours_stays(it: Scene) -> None:
    it.bench.apply(configuration(instance()))
    it.comes(address(1, "10.0.1.100", 24))
    await it.upkeep.run()
    assert it.monitor.played == []


def test_what_the_kernel_refuses_is_named(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """Once for the failures of a moment, and only of a master."""

    @scene
    async def test(it: Scene) -> None:
        routes = tuple(
            model.VirtualRoute(family=4, destination=f"10.{n}.0.0/16", dev="eth0") for n in range(7)
        )
        it.run_as_master(configuration(instance(virtual_routes=routes)))
        for name in ("VI_1", "VI_1", "nobody"):
            it.upkeep.refused(name)
        await until(lambda: "does not take" in caplog.text)

    test(bench)
    shown = ", ".join(f"route 10.{n}.0.0/16 dev eth0" for n in range(5))
    told = [r.getMessage() for r in caplog.records if "does not take" in r.getMessage()]
    assert told == [f"(VI_1) the kernel does not take: {shown} and 2 more"]


@scene
async def test_static_objects_are_installed_and_restored(it: Scene) -> None:
    static = configuration(
        static_addresses=(vip("10.0.2.50/24"),),
        global_defs=model.GlobalDefs(default_interface="eth1"),
    )
    it.bench.apply(static)
    await it.upkeep.run()
    assert it.monitor.played == [RTM_NEWADDR]
    key = AddressKey(2, 4, bytes((10, 0, 2, 50)), 24)
    it.bench.observed.put_address(Address(key, 0, 0, PROTOCOL, ""))
    await it.upkeep.run()
    assert it.monitor.played == [RTM_NEWADDR]
    it.gone("10.0.2.50", ifindex=2)
    await asyncio.sleep(0.05)
    assert it.monitor.played == [RTM_NEWADDR, RTM_NEWADDR]


@scene
async def test_a_static_object_the_kernel_refuses_is_tried_again(it: Scene) -> None:
    it.bench.apply(
        configuration(
            static_addresses=(vip("10.0.2.50/24"),),
            global_defs=model.GlobalDefs(default_interface="eth1"),
        )
    )
    it.monitor.answer = errno.ENETDOWN
    await it.upkeep.run()
    assert it.upkeep._timer is not None
    assert 0 < it.upkeep._timer.when() - asyncio.get_running_loop().time() <= 1.0


@scene
async def test_an_interface_born_later_is_used(it: Scene) -> None:
    it.bench.apply(configuration(instance(interface="eth5")))
    slot = it.bench.plane.links.slots.get("eth5")
    assert it.bench.state("VI_1") == _core.FAULT
    it.bench.forget_calls()
    it.link_is(link(5, "eth5"))
    it.comes(address(5, "10.0.5.1", 24))
    await asyncio.sleep(0)
    assert it.moves == 1
    assert it.bench.engine.calls == [("commit", [0], []), ("link", slot, 5)]
    assert it.bench.state("VI_1") == _core.BACKUP


@scene
async def test_an_interface_that_vanishes_and_returns_under_another_number(it: Scene) -> None:
    it.run_as_master(configuration(instance()))
    it.link_gone(1)
    await asyncio.sleep(0)
    assert it.bench.state("VI_1") == _core.FAULT
    assert it.bench.engine.links[0]["ifindex"] == 0
    it.bench.forget_calls()
    it.link_is(link(9, "eth0"))
    it.comes(address(9, "10.0.1.1", 24))
    await asyncio.sleep(0)
    assert it.bench.engine.links[0]["ifindex"] == 9
    items = it.bench.plane.running["VI_1"].compiled.objects.items
    assert {item.key.ifindex for item in items} == {9}  # type: ignore[union-attr]
    assert it.bench.state("VI_1") == _core.BACKUP


@scene
async def test_a_renamed_interface_is_another_one(it: Scene) -> None:
    it.run_as_master(configuration(instance()))
    it.link_is(link(1, "wan0"))
    await asyncio.sleep(0)
    assert it.bench.state("VI_1") == _core.FAULT
    it.link_is(link(1, "eth0"))
    await asyncio.sleep(0)
    assert it.bench.state("VI_1") == _core.BACKUP


@scene
async def test_an_alternative_name_is_followed_to_whoever_has_it(it: Scene) -> None:
    """Configured by an alternative name: born later, then renamed."""
    it.bench.apply(configuration(instance(interface="enp5s0")))
    assert it.bench.state("VI_1") == _core.FAULT
    it.link_is(link(5, "eth5")._replace(altnames=("enp5s0",)))
    it.comes(address(5, "10.0.5.1", 24))
    await asyncio.sleep(0)
    assert it.bench.state("VI_1") == _core.BACKUP
    it.bench.engine.advance(5)
    assert it.bench.state("VI_1") == _core.MASTER
    it.link_is(link(5, "wan0")._replace(altnames=("enp5s0",)))
    await asyncio.sleep(0)
    assert it.bench.plane.links.slots.get("eth5") is None
    assert it.bench.state("VI_1") == _core.MASTER


@scene
async def test_a_refresh_that_is_refused_leaves_what_runs(it: Scene) -> None:
    it.run_as_master(configuration(instance()))
    running = it.bench.plane.running["VI_1"]
    broken = msgspec.structs.replace(running.instance, advert_int_ns=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(running), "instance", broken)
        it.link_is(link(9, "eth0"))
        await asyncio.sleep(0)
    assert it.bench.engine.calls == []
    assert it.bench.state("VI_1") == _core.MASTER


@scene
async def test_a_refresh_at_the_wrong_moment_is_made_later(it: Scene) -> None:
    it.run_as_master(configuration(instance()))
    plane = it.bench.plane
    refresh, busy = plane.refresh, iter((True, True, False))

    def refuse(*names: Any, **renew: Any) -> bool:
        if next(busy):
            raise BusyError("an applier is at work")
        return refresh(*names, **renew)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plane, "refresh", refuse)
        patch.setattr(upkeep, "BUSY_S", 0.01)
        it.link_is(link(9, "eth0"))
        await asyncio.sleep(0)
        assert plane.running["VI_1"].compiled.announcements[0].ifindex == 1
        await asyncio.sleep(0.1)
    assert next(busy, None) is None
    assert plane.running["VI_1"].compiled.announcements[0].ifindex == 9


@scene
async def test_another_mac_is_announced(it: Scene) -> None:
    it.run_as_master(configuration(instance()))
    it.link_is(link(1, "eth0", mac=b"\x02\0\0\0\0\x77"))
    await asyncio.sleep(0)
    assert it.bench.engine.calls == [("commit", [0], []), ("replay", 0)]
    assert it.bench.plane.running["VI_1"].compiled.announcements[0].mac[-1] == 0x77


@scene
async def test_up_and_down_are_the_engines_business(it: Scene) -> None:
    it.run_as_master(configuration(instance()))
    it.link_is(link(1, "eth0", flags=UP & ~IFF_RUNNING))
    await asyncio.sleep(0)
    assert it.bench.engine.calls == []


@scene
async def test_a_new_source_address_is_used(it: Scene) -> None:
    it.run_as_master(
        configuration(instance(), instance("OTHER", virtual_router_id=9, interface="eth1"))
    )
    it.bench.observed.drop_address(address(1, "10.0.1.1", 24).key)
    it.comes(address(1, "10.0.1.8", 24))
    await asyncio.sleep(0)
    assert it.bench.calls("commit") == [([0], [])]
    assert it.bench.plane.running["VI_1"].record.source == bytes((10, 0, 1, 8))


@scene
async def test_virtual_addresses_that_come_and_go_cause_no_refresh(it: Scene) -> None:
    it.run_as_master(configuration(instance()))
    it.comes(address(1, "10.0.1.100", 24, ours=True))
    await asyncio.sleep(0)
    assert it.bench.engine.calls == []


@scene
async def test_a_refresh_waits_for_a_reload_to_end(it: Scene) -> None:
    it.run_as_master(configuration(instance()))
    it.upkeep.freeze()
    it.bench.observed.drop_address(address(1, "10.0.1.1", 24).key)
    it.comes(address(1, "10.0.1.8", 24))
    await asyncio.sleep(0)
    assert it.bench.calls("commit") == []
    it.upkeep.thaw()
    await asyncio.sleep(0)
    assert it.bench.calls("commit") == [([0], [])]


@scene
async def test_after_lost_notifications_everything_is_compared(it: Scene) -> None:
    it.run_as_master(configuration(instance()))
    it.bench.observed.drop_address(address(1, "10.0.1.100", 24).key)
    it.upkeep.on_resync()
    await asyncio.sleep(0.02)
    assert it.bench.calls("replay") == [(0,)]


@scene
async def test_everything_left_is_removed_at_the_end(it: Scene) -> None:
    it.run_as_master(
        configuration(
            instance(),
            static_addresses=(vip("10.0.2.50/24"),),
            global_defs=model.GlobalDefs(default_interface="eth1"),
        )
    )
    await it.upkeep.remove_all()
    assert it.monitor.played == [RTM_DELADDR, RTM_DELADDR]


def test_restoring_is_logged_with_its_object(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    async def body() -> None:
        it = Scene(bench)
        it.run_as_master(configuration(instance()))
        it.gone("10.0.1.100")
        await asyncio.sleep(0)
        await it.upkeep.close()

    with caplog.at_level(logging.WARNING):
        asyncio.run(body())
    assert (
        "(VI_1) address 10.0.1.100/24 dev eth0 was removed by somebody else: putting it back"
        in caplog.text
    )
