"""Master and backup: start, stop, return, kill, preemption, timing. Both daemons on the wire."""

from __future__ import annotations

import itertools
import statistics
import time

import pytest
from interop_scene import ALLOWANCE_NS, MS, NS, OUTAGE_NS, Scene, down_ns, now_ns, skew_ns

from keepalived_text import VIP, config, instance

pytestmark = [pytest.mark.netns, pytest.mark.interop, pytest.mark.timing]

PASSWORD = "s3cr3t99"
AUTHENTICATION = f"authentication {{\n    auth_type PASS\n    auth_pass {PASSWORD}\n}}"


def test_pass_master_backup_stop_and_return(make_scene) -> None:
    """VRRPv2 with PASS (RFC 2338 5.3.10), priorities 255 and 150.

    Owner starts as master at once (RFC 3768 6.4.1); a stop is announced with priority 0
    (6.4.3) and followed by the backup after its skew time (6.4.2); the owner takes the address
    back (6.1 Preempt_Mode note). Five gratuitous ARPs at once, five after 5 s (keepalived's
    vrrp_garp_master_repeat and _delay defaults).
    """
    scene: Scene = make_scene()
    first = config(instance(AUTHENTICATION, state="MASTER", priority=255, version=2, advert_int=1))
    second = config(instance(AUTHENTICATION, priority=150, version=2, advert_int=1))

    begin = now_ns()
    scene.start("r1", first)
    master_since = scene.first("r1-0", since_ns=begin, priority=255).time_ns
    scene.network.wait_holder(VIP, "r1", timeout_s=3)
    scene.start("r2", second)
    probe = scene.probe()
    scene.assert_answers(probe)
    scene.sniffer.wait(
        lambda _: len(scene.sniffer.announcements(VIP, port="r1-0")) >= 10, 8, "ten GARPs from r1"
    )
    burst = scene.sniffer.announcements(VIP, port="r1-0")
    for frame in burst[:5]:  # once the address is there
        limit = master_since, frame.time_ns
        assert scene.machine.own_ns(*limit, ordinary=True) < ALLOWANCE_NS
    for frame in burst[5:]:
        scene.assert_due(burst[4].time_ns, 5 * NS, frame)
    scene.assert_gratuitous_arp("r1", since_ns=begin, count=10)
    assert scene.sniffer.adverts(port="r2-0") == []

    stop = now_ns()
    assert scene["r1"].stop() == 0
    farewell = scene.first("r1-0", since_ns=stop, priority=0)
    takeover = scene.first("r2-0", since_ns=stop)
    scene.assert_due(farewell.time_ns, skew_ns(150, NS, 2), takeover)
    scene.network.wait_holder(VIP, "r2", timeout_s=3)
    scene.assert_holder("r2")
    scene.assert_answers(probe)
    assert scene.neighbour("c1") == scene.node("r2").mac()
    assert scene.outage_ns(probe, since_ns=stop) < skew_ns(150, NS, 2) + OUTAGE_NS

    back = now_ns()
    scene.start("r1")
    scene.first("r1-0", since_ns=back, priority=255)
    scene.network.wait_holder(VIP, "r1", timeout_s=2)
    scene.assert_holder("r1")
    scene.silent("r2-0", 1.2)
    scene.assert_answers(probe)
    assert scene.neighbour("c1") == scene.node("r1").mac()
    assert scene.outage_ns(probe, since_ns=back) < OUTAGE_NS
    assert scene.overlap_ns() < OUTAGE_NS
    scene.assert_wire(
        version=2, interval="1", password=PASSWORD, priorities={"r1": {255, 0}, "r2": {150}}
    )


def test_nopreempt(make_scene) -> None:
    """Two BACKUPs with nopreempt: the address stays where it is when the better one returns.

    RFC 9568 6.1 Preempt_Mode false, 6.4.2: a backup re-arms on adverts of lower priority.
    """
    scene: Scene = make_scene()
    better = config(instance("nopreempt", priority=150))
    worse = config(instance("nopreempt", priority=100))
    scene.start_pair(better, worse)
    scene.assert_holder("r1")
    probe = scene.probe()
    scene.assert_answers(probe)

    stop = now_ns()
    assert scene["r1"].stop() == 0
    takeover = scene.first("r2-0", since_ns=stop)
    farewell = scene.first("r1-0", since_ns=stop, priority=0)
    scene.assert_due(farewell.time_ns, skew_ns(100), takeover)
    scene.network.wait_holder(VIP, "r2")

    scene.start("r1")
    scene.silent("r1-0", 1.0)
    scene.assert_holder("r2")

    stop = now_ns()
    assert scene["r2"].stop() == 0
    farewell = scene.first("r2-0", since_ns=stop, priority=0)
    takeover = scene.first("r1-0", since_ns=stop, priority=150)
    scene.assert_due(farewell.time_ns, skew_ns(150), takeover)
    scene.network.wait_holder(VIP, "r1")
    scene.assert_answers(probe)
    assert scene.outage_ns(probe, since_ns=stop) < skew_ns(150) + OUTAGE_NS
    assert scene.overlap_ns() < OUTAGE_NS
    scene.assert_wire(priorities={"r1": {150, 0}, "r2": {100, 0}})


def test_preempt_by_priority(make_scene) -> None:
    """A better router that arrives later takes over after its down interval.

    RFC 9568 6.4.2: adverts of lower priority are discarded, the timer runs out; 6.4.3: the
    master that hears a higher priority becomes backup.
    """
    scene: Scene = make_scene()
    scene.start("r2", config(instance(priority=100)))
    scene.network.wait_holder(VIP, "r2")
    probe = scene.probe()
    scene.assert_answers(probe)
    begin = now_ns()
    scene.start("r1", config(instance(priority=150)))
    listening = now_ns()
    takeover = scene.first("r1-0", since_ns=begin)
    assert takeover.time_ns - begin > down_ns(150)
    scene.assert_soon(listening + down_ns(150), takeover)
    scene.network.wait_holder(VIP, "r1")
    scene.silent("r2-0", 0.5)
    scene.assert_answers(probe)
    assert scene.outage_ns(probe, since_ns=begin) < OUTAGE_NS
    assert scene.overlap_ns() < OUTAGE_NS
    scene.assert_wire(priorities={"r1": {150}, "r2": {100}})


@pytest.mark.parametrize(("version", "advert_int"), [(3, 0.1), (2, 1.0)], ids=["v3-100ms", "v2-1s"])
def test_kill(make_scene, version: int, advert_int: float) -> None:
    """kill -9: no farewell; takeover within three intervals and the skew time.

    RFC 9568 6.1 Active_Down_Interval, RFC 3768 6.1 Master_Down_Interval.
    """
    scene: Scene = make_scene()
    timing = {"version": version, "advert_int": advert_int}
    scene.start_pair(
        config(instance(state="MASTER", priority=150, **timing)),
        config(instance(priority=100, **timing)),
    )
    probe = scene.probe()
    scene.assert_answers(probe)
    killed = scene["r1"].kill()
    takeover = scene.first("r2-0", since_ns=killed)
    last = scene.sniffer.adverts(port="r1-0")[-1]
    assert last.priority == 150
    down = down_ns(100, round(advert_int * NS), version)
    scene.assert_due(last.time_ns, down, takeover)
    scene.network.wait_holder(VIP, "r1", "r2", timeout_s=3)  # the dead one could not clean up
    scene.assert_answers(probe)
    assert scene.neighbour("c1") == scene.node("r2").mac()
    scene.assert_gratuitous_arp("r2", since_ns=killed, count=5)

    if version == 3:
        # The killed one starts again, removes what it had left behind and takes over.
        scene.start("r1")
        scene.network.wait_holder(VIP, "r1")
        scene.assert_answers(probe)
    interval_field = "10" if version == 3 else "1"
    scene.assert_wire(
        version=version, interval=interval_field, priorities={"r1": {150}, "r2": {100}}
    )


@pytest.mark.parametrize("advert_int", [0.1, 0.01], ids=["100ms", "10ms"])
def test_beat(make_scene, advert_int: float) -> None:
    """VRRPv3 keeps its interval (RFC 9568 5.2.7, centiseconds) and the backup stays quiet.

    At 10 ms both daemons get a real-time priority, as anybody would who asks for 10 ms: without
    it a busy machine may leave any process waiting for longer than the down interval.
    """
    scene: Scene = make_scene()
    interval = round(advert_int * NS)
    defs = ("vrrp_rt_priority 50",) if advert_int < 0.1 else ()
    scene.start_pair(
        config(instance(state="MASTER", priority=150, advert_int=advert_int), defs=defs),
        config(instance(priority=100, advert_int=advert_int), defs=defs),
    )
    begin = now_ns()
    time.sleep(3)
    adverts = scene.sniffer.adverts(port="r1-0", since_ns=begin)
    times = [a.time_ns for a in adverts]
    gaps = [b - a for a, b in itertools.pairwise(times)]
    # Not one advert is left out.
    ordinary = scene.is_ordinary("r1-0")
    assert scene.machine.gap_ns(adverts, ordinary=ordinary) < 2 * interval
    # The beat as such: most gaps have no lateness of the machine in them.
    assert abs(statistics.median(gaps) - interval) < 0.03 * interval
    # A daemon may count from when it was late, and so lose what the machine took.
    span = times[-1] - times[0]
    lost = scene.machine.lost_ns(times[0], times[-1], ordinary=ordinary)
    assert 0.97 * (span - lost) / interval - 1 < len(gaps) < 1.01 * span / interval + 1
    # The backup speaks only where the machine kept its master from it for a down interval.
    if scene.sniffer.adverts(port="r2-0", since_ns=begin):
        assert max(gaps) > down_ns(100, interval)

    stop = now_ns()
    assert scene["r1"].stop() == 0
    farewell = scene.first("r1-0", since_ns=stop, priority=0)
    takeover = scene.first("r2-0", since_ns=stop)
    scene.assert_due(farewell.time_ns, skew_ns(100, interval), takeover)
    scene.network.wait_holder(VIP, "r2")
    scene.assert_wire(
        interval=str(round(advert_int * 100)), priorities={"r1": {150, 0}, "r2": {100}}
    )


def test_learned_interval(make_scene) -> None:
    """A v3 backup adopts the master's interval (RFC 9568 6.4.2), whatever its own is."""
    scene: Scene = make_scene()
    scene.start_pair(
        config(instance(state="MASTER", priority=150, advert_int=0.1)),
        config(instance(priority=100, advert_int=1)),
    )
    killed = scene["r1"].kill()
    takeover = scene.first("r2-0", since_ns=killed)
    last = scene.sniffer.adverts(port="r1-0")[-1]
    scene.assert_due(last.time_ns, down_ns(100), takeover)
    # As master it goes back to its own.
    assert takeover.interval_ns == NS


def test_equal_priority_elects_higher_address(make_scene) -> None:
    """RFC 9568 6.4.3: of two masters with equal priority the higher address wins."""
    scene: Scene = make_scene()
    scene.network.partition(["r2"])
    scene.start("r1", config(instance(priority=100)))
    scene.start("r2", config(instance(priority=100)))
    scene.network.wait_holder(VIP, "r1", "r2")
    scene.network.heal()
    healed = now_ns()
    scene.network.wait_holder(VIP, "r2", timeout_s=2)
    # The next advert of r2 tells r1.
    assert 0 < scene.overlap_ns(since_ns=healed) < 100 * MS + ALLOWANCE_NS
    scene.silent("r1-0", 0.3)
    scene.assert_holder("r2")
    scene.assert_wire(priorities={"r1": {100}, "r2": {100}})
