"""Who waits for packets: at a high rate nobody, so that delivering one wakes and calls nobody.

What the engine waits for is what the kernel says of its epoll descriptor.
"""

from __future__ import annotations

import gc
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from engine_tools import Worker

from fastvrrp import _core
from fastvrrp.lab.network import Network, Node, wait_for

pytestmark = pytest.mark.netns
GROUP = "224.0.0.18"
SRC_PACKET, SRC_LINK, SRC_RING = 0, 1, 4  # core/engine.pxi: what epoll tells
VRIDS = 255
SOURCES = 120
FLOODED = 16  # of them
FLOOD = """
import socket, sys
sender = socket.socket(socket.AF_INET, socket.SOCK_RAW, 112)
sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 255)
sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(sys.argv[1]))
while True:
    sender.sendto(bytes.fromhex(sys.argv[2]), ("224.0.0.18", 0))
"""


@pytest.fixture
def network() -> Iterator[Network]:
    with Network(routers=2, clients=0) as made:
        yield made


@pytest.fixture(params=[False, True], ids=["raw", "packet"])
def start(request: pytest.FixtureRequest) -> Callable[[Network], Worker]:
    """A backup of VRID 51 that expects an advert every 200 ms."""

    def start(network: Network) -> Worker:
        return Worker(network["r2"], packet=request.param, priority=100, advert_int_ms=200)

    return start


class Peer:
    """Sends adverts of a VRID from a node with a plain raw socket."""

    def __init__(self, node: Node, *, vrid: int = 51, addresses: int = 1) -> None:
        source = socket.inet_aton(node.ipv4())
        self.sent = 0
        self.pdu = _core.encode_advert(
            version=3,
            vrid=vrid,
            priority=200,
            interval_cs=20,
            source=source,
            destination=socket.inet_aton(GROUP),
            addresses=[(0x0A000064 + k).to_bytes(4, "big") for k in range(addresses)],
        )
        self._socket = node.call(socket.socket, socket.AF_INET, socket.SOCK_RAW, 112)
        self._socket.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 255)
        self._socket.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, source)

    def send(self) -> None:
        self._socket.sendto(self.pdu, (GROUP, 0))
        self.sent += 1

    @contextmanager
    def storm(self) -> Iterator[None]:
        """Some thousand a second, evenly."""
        ended = threading.Event()

        def run() -> None:
            while not ended.is_set():
                self.send()
                time.sleep(0.0001)

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def close(self) -> None:
        self._socket.close()


def waited_for(process: int) -> set[int]:
    """The kinds of packet sources that the engine waits for. Its epoll descriptor is the one that
    link events come by."""
    for file in Path(f"/proc/{process}/fdinfo").iterdir():
        lines = [line for line in file.read_text().splitlines() if line.startswith("tfd:")]
        found = {int(line.split("data:")[1].split()[0], 16) >> 32 for line in lines}
        if SRC_LINK in found:
            return found & {SRC_PACKET, SRC_RING}
    raise AssertionError("no engine runs")


def test_nobody_waits_for_what_comes_by_the_thousand(
    network: Network, start: Callable[[Network], Worker]
) -> None:
    """All of it is read, whatever becomes of the link meanwhile; then every packet wakes again."""
    peer, worker = Peer(network["r1"]), start(network)
    try:
        wait_for(lambda: worker.states() == [_core.BACKUP], 10, "a backup")
        usual = waited_for(worker.process.pid)
        assert usual
        with peer.storm():
            wait_for(lambda: waited_for(worker.process.pid) < usual, 20, "nobody waits")
            begin = len(worker.states())
            network["r2"].set_link("eth0", "down")
            wait_for(lambda: worker.states()[-1] == _core.FAULT, 5, "a fault")
            network["r2"].set_link("eth0", "up")
            wait_for(lambda: worker.states()[-1] == _core.BACKUP, 5, "a backup again")
            wait_for(lambda: waited_for(worker.process.pid) < usual, 20, "nobody waits again")
            # in this order: what is sent in between is not missing
            heard, sent = worker.ask("status 0")["advert_rcvd"], peer.sent
            time.sleep(1)
        wait_for(
            lambda: worker.ask("status 0")["advert_rcvd"] - heard >= peer.sent - sent,
            2,
            "every advert is heard",
        )
        assert _core.MASTER not in worker.states()[begin:]
        wait_for(lambda: worker.states()[-1] == _core.MASTER, 5, "a takeover")
        wait_for(lambda: waited_for(worker.process.pid) == usual, 5, "packets are waited for")
        peer.send()
        wait_for(lambda: worker.states()[-1] == _core.BACKUP, 5, "the better one is heard")
    finally:
        peer.close()
        worker.close()


def test_long_adverts_are_read_in_time_after_an_interface_was_down(network: Network) -> None:
    """They do not fit a frame of the ring and come by its socket, which tells of the interface
    first: who takes that for the packet reads each one when the next has come."""
    peer = Peer(network["r1"], addresses=60)
    worker = Worker(network["r2"], packet=True, priority=100, advert_int_ms=200)
    try:
        wait_for(lambda: worker.states() == [_core.BACKUP], 10, "a backup")
        with peer.storm():
            wait_for(lambda: not waited_for(worker.process.pid), 20, "nobody waits")
            network["r2"].set_link("eth0", "down")
            wait_for(lambda: worker.states()[-1] == _core.FAULT, 5, "a fault")
            network["r2"].set_link("eth0", "up")
            wait_for(lambda: worker.states()[-1] == _core.BACKUP, 5, "a backup again")
            heard = worker.ask("status 0")["advert_rcvd"]
            wait_for(lambda: worker.ask("status 0")["advert_rcvd"] > heard, 5, "adverts again")
        assert worker.ask("counters")["ip_header_err"] == 0
    finally:
        peer.close()
        worker.close()


def test_a_burst_of_long_adverts_waits_until_it_is_read(
    network: Network, start: Callable[[Network], Worker]
) -> None:
    """Of as many virtual routers as a link can have, each with as many addresses as it can have."""
    peer, worker = Peer(network["r1"], addresses=255), start(network)
    try:
        wait_for(lambda: worker.states() == [_core.BACKUP], 10, "a backup")
        worker.process.send_signal(signal.SIGSTOP)
        for _ in range(VRIDS):
            peer.send()
        worker.process.send_signal(signal.SIGCONT)
        wait_for(lambda: worker.ask("status 0")["advert_rcvd"] == VRIDS, 5, "all of them")
        assert worker.ask("counters")["ip_header_err"] == 0
    finally:
        worker.process.send_signal(signal.SIGCONT)
        peer.close()
        worker.close()


@pytest.fixture
def engine(network: Network) -> Iterator[_core.Engine]:
    """VRID 51 behind sockets that are flooded with VRID 52, all of one interface of r2."""
    node = network["r2"]
    made = node.call(_core.Engine, instances=8, links=SOURCES, groups=1)
    made.start()
    for slot in range(SOURCES):
        vrid = 52 if slot < FLOODED else 51 if slot == FLOODED else 53
        node.call(
            made.link,
            slot,
            ifindex=node.index("eth0"),
            mcast4=[socket.inet_aton(GROUP)],
            vrids4=bytes([vrid]),
        )
    backup = _core.Instance(
        slot=0,
        vrid=51,
        family=4,
        version=3,
        priority=100,
        advert_int_ns=200_000_000,
        link=FLOODED,
        source=socket.inet_aton(node.ipv4()),
        destination=socket.inet_aton(GROUP),
        addresses=[bytes((10, 0, 0, 100))],
    )
    made.commit([backup], remove=[], epoch=1)
    yield made
    made.stop()
    made.join(5)
    gc.unfreeze()


def test_who_is_behind_a_flood_is_read_all_the_same(network: Network, engine: _core.Engine) -> None:
    """Not once in as many turns as there are sockets."""
    sender = network["r1"]
    peer, flood = Peer(sender), Peer(sender, vrid=52)
    process = sender.start([sys.executable, "-c", FLOOD, sender.ipv4(), flood.pdu.hex()])
    try:
        wait_for(lambda: SRC_PACKET not in waited_for(os.getpid()), 30, "nobody waits")
        turns = []
        for _ in range(20):
            begin, heard = engine.counters()["turns"], engine.status(0).counters["advert_rcvd"]
            peer.send()
            wait_for(lambda n=heard: engine.status(0).counters["advert_rcvd"] > n, 30, "an advert")
            turns.append(engine.counters()["turns"] - begin)
        assert max(turns) < SOURCES // 2
    finally:
        process.kill()
        process.wait()
        peer.close()
        flood.close()
