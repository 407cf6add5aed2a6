"""Two engine threads in a process: links that go from one to the other while they are in use.

Judged from outside: nobody on the network may notice.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator

import pytest
from engine_tools import Heard, Worker

from fastvrrp import _core
from fastvrrp.lab.network import Network, wait_for
from fastvrrp.lab.sniffer import Sniffer
from fastvrrp.lab.watch import AddressWatch
from machine import MS, Machine, now_ns

pytestmark = pytest.mark.netns
BACKUP, MASTER, FAULT = _core.BACKUP, _core.MASTER, _core.FAULT
VIPS = ("10.0.0.100", "10.0.1.100")
Start = Callable[..., Worker]


@pytest.fixture
def network() -> Iterator[Network]:
    with Network(routers=2, clients=0, lans=2) as made:
        yield made


@pytest.fixture(params=[False, True], ids=["raw", "packet"])
def start(request: pytest.FixtureRequest) -> Start:
    """Starts two engines in a node, with either backend: VRID 51 on eth0, 52 on eth1."""

    def start(network: Network, name: str = "r1", **what: object) -> Worker:
        node = network[name]
        given = {
            "interfaces": ["eth0", "eth1"],
            "sources": [node.ipv4(0), node.ipv4(1)],
            "macs": [node.mac(0), node.mac(1)],
            "vips": VIPS,
            "packet": request.param,
        }
        return Worker(node, "threads_worker.py", **given | what)

    return start


def ports(network: Network) -> list[str]:
    return [*network.ports(0), *network.ports(1)]


def wait_masters(network: Network) -> None:
    for vip in VIPS:
        wait_for(lambda vip=vip: vip in network["r1"].addresses(), 15, vip)


@pytest.mark.timing
def test_a_master_that_moves_is_not_noticed(
    network: Network, start: Start, machine: Machine
) -> None:
    """300 moves at an interval of 10 ms: no advert is missed, none says goodbye, the address stays
    and is not announced again, and the instance is counted and told of as one."""
    with (
        Sniffer(network["switch"], ports=ports(network)) as sniffer,
        AddressWatch(network.routers) as watch,
    ):
        worker = start(network, advert_int_ms=10, rt_priority=20)
        try:
            wait_for(lambda: len(sniffer.announcements(VIPS[0])) == 5, 15, "the first burst")
            # its event bears the time when it is read
            wait_for(lambda: watch.events(VIPS[0]), 5, "the address")
            begin = now_ns()
            took = worker.ask("dance 300 7", timeout_s=20)
            assert took != "refused"
            end = now_ns()
            seen = len(sniffer.adverts(vrid=51))
            counters = worker.ask("status 0")
            wait_for(lambda: len(sniffer.adverts(vrid=51)) >= counters["advert_sent"], 1, "all")
            held = worker.ask("held 0")
            adverts = sniffer.adverts(vrid=51, since_ns=begin)
        finally:
            worker.close()
    assert held == [0]  # and nothing is left in the other one
    assert worker.states(0) == worker.states(1) == [BACKUP, MASTER]
    assert machine.gap_ns(adverts) < 30 * MS
    assert {a.priority for a in adverts} == {200}
    assert len(adverts) >= machine.own_ns(begin, end) // (10 * MS) - 3
    assert counters["advert_sent"] >= seen
    assert counters["adverts_missed"] * 10 * MS <= machine.lost_ns(begin, end)
    # after a pause of the whole machine a master announces again
    assert len(sniffer.announcements(VIPS[0], since_ns=begin)) <= 5 * counters["late"]
    assert [e for e in watch.events(VIPS[0]) if begin <= e.time_ns <= end] == []
    assert took / 300 < 0.02 + machine.lost_ns(begin, end) / 1e9


@pytest.mark.timing
def test_a_move_takes_a_moment(network: Network, start: Start, machine: Machine) -> None:
    """Python waits for two turns of two threads, and for nothing else."""
    worker = start(network, rt_priority=20)
    try:
        wait_masters(network)
        begin = now_ns()
        took = worker.ask("dance 50 5")
        assert took / 50 < 0.005 + machine.lost_ns(begin, now_ns(), ordinary=True) / 50e9
    finally:
        worker.close()


def test_a_backup_that_moves_goes_on_hearing(network: Network, start: Start) -> None:
    """Its sockets move: every advert is heard by one of the two, and by one only."""
    master = start(network, "r1", priority=200, advert_int_ms=10, rt_priority=20)
    backup = start(network, "r2", priority=100, advert_int_ms=10, rt_priority=20)
    try:
        wait_masters(network)
        wait_for(lambda: backup.ask("status 0")["advert_rcvd"] > 10, 15, "adverts")
        unknown = [counters["vrid_err"] for counters in backup.ask("counters")]
        heard = Heard(master, backup)
        assert backup.ask("dance 200 5", timeout_s=20) != "refused"
        came_in, least, most = heard.since()
        assert least > 50
        assert least <= came_in <= most
        assert backup.ask("status 0")["state"] == BACKUP
        assert backup.states(0)[-1] == BACKUP
        # the one that it left hears nothing of it, not even as of an unknown router
        assert [counters["vrid_err"] for counters in backup.ask("counters")] == unknown
    finally:
        master.close()
        backup.close()


def test_who_has_moved_lives_on(network: Network, start: Start) -> None:
    """Everything that may happen to it happens where it is now: it yields, takes over, loses its
    carrier, is stopped."""
    node = network["r1"]
    with Sniffer(network["switch"], ports=ports(network)) as sniffer:
        worker = start(network)
        try:
            wait_masters(network)
            assert worker.ask("move 0 1") is True
            network.unplug("r1")
            wait_for(lambda: worker.states(0)[-1] == FAULT, 3, "FAULT")
            wait_for(lambda: VIPS[0] not in node.addresses(), 3, "the address goes")
            assert worker.ask("move 0 0") is True
            network.plug("r1")
            wait_for(lambda: VIPS[0] in node.addresses(), 5, "the address is back")
            wait_for(lambda: len(sniffer.announcements(VIPS[0])) >= 10, 5, "a second burst")
            assert worker.ask("move 0 1") is True
            worker.say("fault 0")
            wait_for(lambda: VIPS[0] not in node.addresses(), 3, "the address goes")
            worker.say("clear 0")
            wait_for(lambda: VIPS[0] in node.addresses(), 5, "the address is back")
            wait_for(lambda: worker.states(0)[-1] == MASTER, 5, "the event tells it")
            assert worker.states(0) == [
                BACKUP,
                MASTER,
                FAULT,
                BACKUP,
                MASTER,
                FAULT,
                BACKUP,
                MASTER,
            ]
            assert worker.states(1) == [BACKUP, MASTER]
            begin = now_ns()
        finally:
            worker.close()
        zeros = [a for a in sniffer.adverts(vrid=51, since_ns=begin) if a.priority == 0]
        assert len(zeros) == 1
    assert VIPS[0] not in node.addresses()
    sequences = sorted(e["sequence"] for e in worker.events(_core.EV_STATE))
    assert sequences == list(range(1, len(sequences) + 1))


def test_a_takeover_goes_on_where_it_has_moved(network: Network, start: Start) -> None:
    """The timer of a backup moves, too."""
    master = start(network, "r1", priority=200)
    backup = start(network, "r2", priority=100)
    try:
        wait_masters(network)
        wait_for(lambda: backup.ask("status 0")["advert_rcvd"] > 2, 15, "adverts")
        before = backup.states(0)
        assert before[-1] == BACKUP
        master.process.kill()
        master.process.wait()
        for k in range(4):
            assert backup.ask(f"move 0 {1 - k % 2}") is True
        wait_for(lambda: VIPS[0] in network["r2"].addresses(), 3, "takeover")
        # the news of it may come after the address
        wait_for(lambda: backup.states(0) != before, 3, "the state")
        assert backup.states(0) == [*before, MASTER]
    finally:
        master.process.stdin.close()
        backup.close()


def test_a_paced_burst_goes_on_where_it_has_moved(network: Network, start: Start) -> None:
    with Sniffer(network["switch"], ports=ports(network)) as sniffer:
        worker = start(network, repeat=6, garp_interval_ns=100_000_000)
        try:

            def seen(vip: str = VIPS[0]) -> list[int]:
                return [a.time_ns for a in sniffer.announcements(vip)]

            wait_for(lambda: len(seen()) == 2, 15, "the beginning of a burst")
            assert worker.ask("move 0 1") is True
            wait_for(lambda: len(seen()) == 6, 5, "all of it")
            wait_for(lambda: len(seen(VIPS[1])) == 6, 5, "all of the other one")
            time.sleep(0.3)
            assert len(seen()) == len(seen(VIPS[1])) == 6
            assert all(b - a > 80 * MS for a, b in itertools.pairwise(seen()))
        finally:
            worker.close()


def test_a_refused_address_is_not_announced_from_elsewhere(network: Network, start: Start) -> None:
    """Which addresses the kernel refused goes along, for the burst that is due between two
    attempts (RFC 9568 8.1.2)."""
    with Sniffer(network["switch"], ports=ports(network)) as sniffer:
        worker = start(network, vip_ifindex=9999, garp_delay_ns=1_000_000_000)
        try:
            # at 0, 0.1, 0.3, 0.7, 1.5 and 3.1 s; the next one comes at 6.3 s
            wait_for(lambda: len(worker.events(_core.EV_PLAYED)) == 6, 10, "refusals")
            assert worker.ask("move 0 1") is True
            time.sleep(1.5)
            assert len(worker.events(_core.EV_PLAYED)) == 6
            assert worker.ask("status 0")["announcements"] > 6  # wanted, but not sent
            assert sniffer.announcements(VIPS[0]) == []
        finally:
            worker.close()


def test_a_group_moves_as_a_whole(network: Network, start: Start) -> None:
    worker = start(network, group=0)
    try:
        wait_masters(network)
        assert worker.ask("held 0") == worker.ask("held 1") == [0]
        assert worker.ask("move 0,1 1") is True
        assert worker.ask("held 0") == worker.ask("held 1") == [1]
        network.unplug("r1")
        wait_for(lambda: worker.states(1)[-1:] == [FAULT], 3, "the other one follows")
        network.plug("r1")
        wait_for(lambda: worker.states(1)[-1:] == [MASTER], 5, "and returns with it")
        told = [(e["a"], e["b"]) for e in worker.events(_core.EV_GROUP)]
        assert told[:2] == [(_core.INIT, BACKUP), (BACKUP, MASTER)]
        assert told[2:] == [(MASTER, FAULT), (FAULT, BACKUP), (BACKUP, MASTER)]
    finally:
        worker.close()


def test_nothing_moves_while_addresses_are_being_changed(network: Network, start: Start) -> None:
    """Who is asked while the kernel owes an answer says so; everything goes on, and later it
    moves."""
    with Sniffer(network["switch"], ports=ports(network)) as sniffer:
        worker = start(network, count=2, busy=60_000)
        try:
            wait_masters(network)
            worker.say("clear 1")  # instance 1 has the requests that take their time
            wait_for(lambda: worker.states(1)[-1:] == [MASTER], 5, "a long program begins")
            assert worker.ask("move 0 1 20") is False
            assert worker.ask("held 0") == [0]
            sniffer.wait_advert(vrid=51, port=network.port("r1"), since_ns=now_ns())
            assert worker.ask("move 0 1 20000", timeout_s=25) is True
            assert worker.ask("held 0") == worker.ask("held 1") == [1]
            sniffer.wait_advert(vrid=51, port=network.port("r1"), since_ns=now_ns())
        finally:
            worker.close()


def test_a_flapping_carrier_and_moves(network: Network, start: Start) -> None:
    """Whoever has the link when the carrier comes or goes: the last state is the right one."""
    worker = start(network, count=20)
    try:
        wait_masters(network)
        worker.say("dance 1000 3")
        for _ in range(3):
            network.unplug("r1")
            time.sleep(0.4)
            network.plug("r1")
            time.sleep(0.4)
        wait_for(lambda: any("dance" in line for line in worker.lines), 30, "the last move")
        wait_for(
            lambda: all(worker.states(slot)[-1:] == [MASTER] for slot in range(20)), 10, "masters"
        )
        for slot in range(20):
            counters = worker.ask(f"status {slot}")
            assert counters["state"] == MASTER
            sequences = sorted(e["sequence"] for e in worker.events(_core.EV_STATE, slot))
            assert sequences == list(range(1, len(sequences) + 1))
        for counters in worker.ask("counters"):
            assert counters["illegal_transitions"] == counters["actions_lost"] == 0
            assert counters["events_lost"] == 0
    finally:
        worker.close()


def test_moves_leave_nothing_behind(network: Network, start: Start) -> None:
    worker = start(network, count=100)
    try:
        wait_masters(network)
        assert worker.ask("dance 500 0", timeout_s=60) != "refused"
        before = worker.ask("memory")
        assert worker.ask("dance 500 0", timeout_s=60) != "refused"
        assert worker.ask("memory") - before < 500
        assert worker.states(50) == [BACKUP, MASTER]
    finally:
        worker.close()


@pytest.mark.timing
def test_both_threads_keep_their_beat_while_python_burns_the_gil(
    network: Network, start: Start, machine: Machine
) -> None:
    with Sniffer(network["switch"], ports=ports(network)) as sniffer:
        worker = start(network, advert_int_ms=10, rt_priority=20)
        try:
            wait_masters(network)
            begin = now_ns()
            worker.say("hog 4")
            time.sleep(4.2)
            end = now_ns()
            seen = [sniffer.adverts(vrid=51 + lan, since_ns=begin) for lan in range(2)]
        finally:
            worker.close()
    for adverts in seen:
        assert machine.gap_ns(adverts) < 30 * MS
        assert len(adverts) >= machine.own_ns(begin, end) // (10 * MS) - 3


class TestRefusals:
    """What is no way to hand something over."""

    def make(self, **size: int) -> _core.Engine:
        return _core.Engine(**{"instances": 8, "links": 2, "groups": 2} | size)

    def test_to_itself_or_to_one_of_another_size(self) -> None:
        engine = self.make()
        for receiver in (engine, self.make(instances=9), self.make(links=3), self.make(groups=3)):
            with pytest.raises(ValueError, match="another engine of the same size"):
                engine.hand_over(receiver, links=[0], instances=[0])

    def test_while_one_does_not_run(self) -> None:
        running, idle = self.make(), self.make()
        running.start()
        try:
            for giver, receiver in ((running, idle), (idle, running)):
                with pytest.raises(RuntimeError, match="both engines"):
                    giver.hand_over(receiver, links=[0], instances=[0])
        finally:
            running.stop()
            assert running.join(5)

    @pytest.mark.parametrize(("links", "instances"), [([2], [0]), ([0], [8])])
    def test_of_what_there_cannot_be(self, links: list[int], instances: list[int]) -> None:
        engines = [self.make(), self.make()]
        for engine in engines:
            engine.start()
        try:
            with pytest.raises(ValueError, match=r"is not in 0\.\."):
                engines[0].hand_over(engines[1], links=links, instances=instances)
            # an empty slot and an unknown link are nothing
            assert engines[0].hand_over(engines[1], links=[1], instances=[7])
        finally:
            for engine in engines:
                engine.stop()
            assert all(engine.join(5) for engine in engines)

    def test_there_are_64_places_in_the_page(self) -> None:
        with pytest.raises(ValueError, match="thread 64"):
            self.make(thread=64)
