"""The engine on real interfaces: beats, link events, programs, announcements, memory.

Judged from outside: an AF_PACKET observer in the switch, the kernel's address table.
"""

from __future__ import annotations

import itertools
import random
import struct
import time
from collections.abc import Callable, Iterator

import pytest
from engine_tools import Heard, Worker

from fastvrrp import _core
from fastvrrp.lab.network import Network, wait_for
from fastvrrp.lab.sniffer import Sniffer
from machine import ALLOWANCE_NS, MS, Machine, now_ns
from netlink_storm import NetlinkStorm

pytestmark = pytest.mark.netns
NS = 1_000_000_000
Start = Callable[..., "Worker"]


@pytest.fixture
def network() -> Iterator[Network]:
    with Network(routers=2, clients=0) as made:
        yield made


@pytest.fixture(params=[False, True], ids=["raw", "packet"])
def start(request: pytest.FixtureRequest) -> Start:
    """Starts an engine in a node, with either backend."""

    def start(network: Network, name: str = "r1", **what: object) -> Worker:
        return Worker(network[name], packet=request.param, **what)

    return start


@pytest.mark.timing
def test_adverts_keep_their_beat_while_python_burns_the_gil(
    network: Network, start: Start, machine: Machine
) -> None:
    """RFC 9568 6.4.3: an advert every Advertisement_Interval, whatever the process does besides.

    A peer that misses three adverts (30 ms) would take over: no gap may reach that.
    """
    with Sniffer(network["switch"], ports=network.ports()) as sniffer:
        worker = start(network, advert_int_ms=10, rt_priority=20)
        try:
            first = sniffer.wait_advert(vrid=51, port=network.port("r1"))
            time.sleep(0.5)
            worker.say("hog 5")
            time.sleep(5.5)
            adverts = sniffer.adverts(vrid=51, since_ns=first.time_ns)
        finally:
            worker.close()
    begin, end = adverts[0].time_ns, adverts[-1].time_ns
    assert end - begin > 5 * NS
    gap = machine.gap_ns(adverts)
    print(f"a busy interpreter: adverts at most {max(0, gap - 10 * MS) / MS:.2f} ms late")
    assert gap < 30 * MS
    # the phase is kept: as many adverts as intervals, not one fewer per late turn
    assert len(adverts) >= machine.own_ns(begin, end) // (10 * MS) - 2


@pytest.mark.timing
def test_adverts_keep_their_beat_while_ten_million_objects_are_collected(
    network: Network, start: Start, machine: Machine
) -> None:
    """The collector holds the GIL for seconds, and gives a gigabyte back."""
    with Sniffer(network["switch"], ports=network.ports()) as sniffer:
        worker = start(network, advert_int_ms=10, rt_priority=20)
        try:
            first = sniffer.wait_advert(vrid=51, port=network.port("r1"))
            assert worker.ask("collect 10000000", timeout_s=60) >= 10_000_000
            time.sleep(0.5)
            adverts = sniffer.adverts(vrid=51, since_ns=first.time_ns)
        finally:
            worker.close()
    gap = machine.gap_ns(adverts)
    print(f"a collection of 10,000,000: adverts at most {max(0, gap - 10 * MS) / MS:.2f} ms late")
    assert gap < 30 * MS  # a peer that misses three would take over
    own = machine.own_ns(adverts[0].time_ns, adverts[-1].time_ns)
    assert len(adverts) >= own // (10 * MS) - 2


def test_link_down_and_up_without_python(network: Network, start: Start) -> None:
    """Carrier lost: the address goes; carrier back: BACKUP, then MASTER."""
    worker = start(network)
    node = network["r1"]
    try:
        wait_for(lambda: "10.0.0.100" in node.addresses(), 5, "address")
        worker.say("hog 4")  # nobody reads events meanwhile
        network.unplug("r1")
        # The kernel tells of a carrier once a second at most.
        wait_for(lambda: "10.0.0.100" not in node.addresses(), 3, "address gone")
        assert len(worker.states()) == 2  # Python knows nothing of it
        network.plug("r1")
        wait_for(lambda: "10.0.0.100" in node.addresses(), 5, "address back")
        wait_for(lambda: len(worker.states()) == 5, 5, "events")
        assert worker.states() == [
            _core.BACKUP,
            _core.MASTER,
            _core.FAULT,
            _core.BACKUP,
            _core.MASTER,
        ]
    finally:
        worker.close()


def test_link_events_that_the_kernel_threw_away(network: Network, start: Start) -> None:
    """ENOBUFS: the engine asks the links themselves, and nobody else tells it."""
    worker = start(network)
    node = network["r1"]
    storm = NetlinkStorm(node)
    try:
        wait_for(lambda: "10.0.0.100" in node.addresses(), 5, "address")
        storm.hide("link set eth0 down\n", worker.process.pid, sockets=1)
        wait_for(lambda: worker.states()[-1] == _core.FAULT, 5, "it is missed")
        storm.hide("link set eth0 up\n", worker.process.pid, sockets=1)
        wait_for(lambda: worker.states()[-1] == _core.MASTER, 5, "and found again")
    finally:
        worker.close()


def test_link_events_from_before_others_that_were_thrown_away(
    network: Network, start: Start
) -> None:
    """A link went down, which the kernel tells, and came back, which it cannot: it is up."""
    worker = start(network)
    node = network["r1"]
    storm = NetlinkStorm(node)
    try:
        wait_for(lambda: "10.0.0.100" in node.addresses(), 5, "address")
        storm.hide(
            "link set eth0 up\n",
            worker.process.pid,
            sockets=1,
            shown="link set eth0 down\n",
            until=lambda: "LOWER_UP" in node.run("ip", "link", "show", "eth0"),
        )
        time.sleep(1)  # the kernel tells of a carrier once a second at most
        wait_for(lambda: worker.states()[-1] == _core.MASTER, 5, "master, or again")
    finally:
        worker.close()


def test_stop_says_priority_zero_and_takes_the_address_away(network: Network, start: Start) -> None:
    """RFC 9568 6.4.3 Shutdown."""
    with Sniffer(network["switch"], ports=network.ports()) as sniffer:
        worker = start(network)
        wait_for(lambda: "10.0.0.100" in network["r1"].addresses(), 5, "address")
        worker.close()
        sniffer.wait_advert(vrid=51, port=network.port("r1"), priority=0)
        zeros = [a for a in sniffer.adverts(vrid=51) if a.priority == 0]
        assert len(zeros) == 1
        assert sniffer.adverts(vrid=51)[-1].priority == 0
    assert "10.0.0.100" not in network["r1"].addresses()


def test_announces_after_the_kernel_has_the_address(network: Network, start: Start) -> None:
    """RFC 9568 6.4.2: advert first, then the gratuitous ARPs, `repeat` of them."""
    with Sniffer(network["switch"], ports=network.ports()) as sniffer:
        worker = start(network, repeat=3)
        try:
            wait_for(lambda: len(sniffer.announcements("10.0.0.100")) == 3, 5, "GARPs")
            first = sniffer.adverts(vrid=51)[0]
            assert all(g.time_ns > first.time_ns for g in sniffer.announcements("10.0.0.100"))
            assert sniffer.announcements("10.0.0.100")[0].mac == network["r1"].mac()
            network["r1"].delete_address("10.0.0.100", 32)
            worker.say("replay 0")
            wait_for(lambda: "10.0.0.100" in network["r1"].addresses(), 5, "replayed")
            wait_for(lambda: len(sniffer.announcements("10.0.0.100")) == 6, 5, "GARPs again")
        finally:
            worker.close()


def test_raw_ipv4_adverts_carry_identifications_of_their_own(network: Network) -> None:
    """RFC 791 3.1, RFC 6864 4.2: never the same twice in a row; and the header's sum is right."""
    with Sniffer(network["switch"], ports=network.ports()) as sniffer:
        worker = Worker(network["r1"], count=3, advert_int_ms=20)
        try:
            wait_for(lambda: len(sniffer.adverts()) > 60, 10, "adverts")
            headers = [advert.data[14:34] for advert in sniffer.adverts()]
        finally:
            worker.close()
    found = [int.from_bytes(header[4:6], "big") for header in headers]
    assert 0 not in found
    assert all(a != b for a, b in itertools.pairwise(found))
    assert len(set(found)) == len(found)
    for header in headers:
        words = sum(struct.unpack("!10H", header))
        assert (words & 0xFFFF) + (words >> 16) == 0xFFFF  # RFC 1071


@pytest.mark.timing
def test_announcements_are_paced(network: Network, start: Start, machine: Machine) -> None:
    """vrrp_garp_interval: the gap between gratuitous ARPs of one interface, over all instances."""
    with Sniffer(network["switch"], ports=network.ports()) as sniffer:
        worker = start(network, repeat=3, count=4, garp_interval_ns=20_000_000, rt_priority=20)
        try:

            def seen() -> list[int]:
                vips = [f"10.0.0.{100 + k}" for k in range(4)]
                return sorted(g.time_ns for v in vips for g in sniffer.announcements(v))

            wait_for(lambda: len(seen()) == 12, 5, "12 paced GARPs")
            times = seen()
            # never closer than the interval, unless the earlier one was late
            for a, b in itertools.pairwise(times):
                assert b - a > 18 * MS - machine.lost_ns(a - 100 * MS, a)
        finally:
            worker.close()


def test_a_first_announcement_does_not_wait_for_repeats(network: Network, start: Start) -> None:
    """Who becomes master while others are at their repeats is announced next."""
    interval_ns = 200 * MS
    with Sniffer(network["switch"], ports=network.ports()) as sniffer:
        worker = start(network, repeat=20, count=8, busy=1, garp_interval_ns=interval_ns)
        try:

            def seen(*slots: int) -> list[int]:
                vips = [f"10.0.0.{100 + k}" for k in slots]
                return sorted(g.time_ns for v in vips for g in sniffer.announcements(v))

            others = range(2, 8)
            wait_for(lambda: all(seen(k) for k in others), 10, "the first round")
            assert not seen(1), "it has a fault"
            worker.say("swap 10.0.0.50")  # and has none any more
            wait_for(lambda: seen(1), 10, "its announcement")
            begin = sniffer.adverts(vrid=52)[0].time_ns
            between = [t for t in seen(*others) if begin < t < seen(1)[0]]
            # Each of the others would have had its turn before it, and perhaps slot 0.
            assert len(between) <= 2
        finally:
            worker.close()


def test_a_paced_burst_outlives_a_change_of_the_addresses(network: Network, start: Start) -> None:
    """What was due before a commit is due after it, for the old address and for the new one."""
    with Sniffer(network["switch"], ports=network.ports()) as sniffer:
        worker = start(network, repeat=6, garp_interval_ns=100_000_000)
        try:

            def seen(address: str) -> int:
                return len(sniffer.announcements(address))

            wait_for(lambda: seen("10.0.0.100") == 2, 5, "the beginning of a burst")
            worker.say("add 10.0.0.200")  # the up program changes
            wait_for(lambda: seen("10.0.0.200") == 2, 5, "the beginning of another")
            worker.say("keep 10.0.0.200")  # nothing is marked as new any more
            wait_for(lambda: seen("10.0.0.200") >= 6, 5, "all of the new address")
            wait_for(lambda: seen("10.0.0.100") >= 6, 5, "all of the old address")
            time.sleep(0.5)
            # A round that a commit cuts short begins again; nothing else is said twice.
            assert seen("10.0.0.100") <= 12
            assert seen("10.0.0.200") <= 12
        finally:
            worker.close()


def test_reconfiguration_returns_its_memory(network: Network, start: Start) -> None:
    """Displaced configuration is freed once nobody plays it: 2000 commits of 100 instances."""
    worker = start(network, count=100)
    try:
        wait_for(lambda: len(worker.states(99)) == 2, 10, "masters")
        worker.say("recommit 1000")  # the rings have been round once
        before = worker.ask("memory")
        worker.say("recommit 1000")
        after = worker.ask("memory")
        assert after - before < 1000
        counters = worker.ask("counters")
        assert counters["illegal_transitions"] == counters["actions_lost"] == 0
        assert worker.states(50) == [_core.BACKUP, _core.MASTER]
    finally:
        worker.close()


def test_addresses_of_an_older_configuration_go_although_a_newer_one_is_up(
    network: Network,
    start: Start,
) -> None:
    """Programs that a newer one makes needless are skipped; the removal of addresses that the newer
    configuration does not know is not needless."""
    node = network["r1"]
    worker = start(
        network, count=2, busy=60_000, priority=255, flags=_core.F_WANT_MASTER, vip="10.0.0.100"
    )
    try:
        wait_for(lambda: "10.0.0.100" in node.addresses(), 5, "address")
        worker.say("swap 10.0.0.200")
        wait_for(lambda: len(worker.states()) == 5, 5, "MASTER again")
        wait_for(lambda: "10.0.0.200" in node.addresses(), 20, "the new address")
        assert "10.0.0.100" not in node.addresses()
    finally:
        worker.close()


def test_a_refused_address_is_never_announced_and_tried_again(
    network: Network, start: Start
) -> None:
    """Never announce an address not held (RFC 9568 8.1.2): no GARP, EV_PLAYED, retry."""
    node = network["r1"]
    with Sniffer(network["switch"], ports=network.ports()) as sniffer:
        worker = start(network, vip_ifindex=9999)  # no such interface
        try:
            sniffer.wait_advert(vrid=51, port=network.port("r1"))
            wait_for(
                lambda: len([e for e in worker.lines if e.get("kind") == _core.EV_PLAYED]) >= 3,
                5,
                "refusals",
            )
            assert sniffer.announcements("10.0.0.100") == []
            assert "10.0.0.100" not in node.addresses()
        finally:
            worker.close()


@pytest.mark.timing
def test_two_engines_elect_and_fail_over(network: Network, start: Start, machine: Machine) -> None:
    """RFC 9568 6.4: higher priority is master; when it is killed the other
    takes over after three intervals and its skew."""
    with Sniffer(network["switch"], ports=network.ports()) as sniffer:
        better = start(network, "r1", priority=200, rt_priority=20)
        other = start(network, "r2", priority=100, rt_priority=20)
        try:
            network.wait_holder("10.0.0.100", "r1")
            wait_for(lambda: other.ask("status 0")["advert_rcvd"], 10, "the master is heard")
            better.process.kill()
            better.process.wait()
            dead = now_ns()
            first = sniffer.wait_advert(vrid=51, port=network.port("r2"), since_ns=dead)
            last = sniffer.adverts(vrid=51, port=network.port("r1"))[-1]
            due = last.time_ns + 3 * 100 * MS + (256 - 100) * 100 * MS // 256
            assert first.time_ns > due - 2 * MS
            assert machine.longest_ns([(due, first.time_ns)]) < ALLOWANCE_NS
            wait_for(lambda: "10.0.0.100" in network["r2"].addresses(), 2, "takeover")
        finally:
            better.process.stdin.close()
            other.close()


def hears_in_lots(worker: Worker) -> bool:
    before = worker.ask("counters")
    time.sleep(0.2)
    after = worker.ask("counters")
    heard, turns = (after[k] - before[k] for k in ("packets", "turns"))
    return heard > 60 * turns


def test_a_burst_is_heard_in_one_turn(network: Network, start: Start) -> None:
    """205 adverts that leave together, 20 times a second, are neither read one by one nor waited
    for every two milliseconds; and when they cease everybody takes over."""
    many = {"vrid": 1, "count": 205, "advert_int_ms": 50, "repeat": 1}
    sender = start(network, "r1", priority=200, rt_priority=20, **many)
    hearer = None
    try:
        wait_for(lambda: all(len(sender.states(k)) == 2 for k in range(205)), 20, "masters")
        hearer = start(network, "r2", priority=100, rt_priority=20, **many)
        wait_for(
            lambda: len(hearer.events(_core.EV_MASTER_CHANGED)) == 1, 10, "the master is heard"
        )
        wait_for(lambda: hears_in_lots(hearer), 30, "sixty adverts a turn")
        assert all(hearer.states(k) == [_core.BACKUP] for k in range(205))
        sender.process.kill()
        sender.process.wait()
        wait_for(lambda: all(len(hearer.states(k)) == 2 for k in range(205)), 10, "takeovers")
    finally:
        sender.close()
        if hearer is not None:
            hearer.close()


@pytest.mark.timing
def test_timers_run_from_when_an_advert_came(network: Network, start: Start) -> None:
    """RFC 9568 6.4.2: so they do, not from when a batch of adverts was read, up to 20 ms later; of
    two backups, the one that happened to read first would else be the first to take over."""
    many = {"vrid": 1, "count": 205, "repeat": 1, "rt_priority": 20}
    sender = start(network, "r1", priority=200, advert_int_ms=50, **many)
    hearer = None
    try:
        wait_for(lambda: all(len(sender.states(k)) == 2 for k in range(205)), 20, "masters")
        hearer = start(network, "r2", priority=100, advert_int_ms=1000, **many)
        with Sniffer(network["switch"], ports=network.ports()) as sniffer:
            wait_for(lambda: hears_in_lots(hearer), 30, "sixty adverts a turn")
            right = []
            for _ in range(8):  # a CPU that stood still just then may part us from the sniffer
                armed = hearer.ask("armed 205")
                sniffer.wait_advert(vrid=205, port=network.port("r1"), since_ns=now_ns())
                sent: dict[int, list[int]] = {k: [0] for k in range(205)}
                for advert in sniffer.adverts(since_ns=now_ns() - NS):
                    sent[advert.vrid - 1].append(advert.time_ns)
                wrong = [min(abs(ns - t) for t in sent[k]) for k, ns in enumerate(armed)]
                right.append(sum(ns < 20 * MS / 16 for ns in wrong))
                time.sleep(random.uniform(0, 0.07))
            assert sum(count > 180 for count in right) >= 4, right
    finally:
        sender.close()
        if hearer is not None:
            hearer.close()


def test_filters_are_replaced_without_losing_an_advert(network: Network, start: Start) -> None:
    """New filters all the time while 100 adverts a second arrive; then one that keeps ours out."""
    sender = start(network, "r1", priority=200, advert_int_ms=10, rt_priority=20)
    hearer = start(network, "r2", priority=100, advert_int_ms=10, rt_priority=20)
    try:
        wait_for(lambda: sender.states() == [_core.BACKUP, _core.MASTER], 5, "master")
        wait_for(lambda: hearer.ask("status 0")["advert_rcvd"] > 10, 5, "adverts")
        heard = Heard(sender, hearer)

        def replaced() -> bool:
            hearer.ask("refilter 100")
            return heard.since()[1] > 50

        wait_for(replaced, 20, "fifty adverts")
        came_in, least, most = heard.since()
        assert least <= came_in <= most
        assert hearer.states()[-1] == _core.BACKUP
        hearer.ask("accept 34")
        wait_for(lambda: hearer.states()[-1] == _core.MASTER, 5, "deaf, so master")
    finally:
        sender.close()
        hearer.close()
