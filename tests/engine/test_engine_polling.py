"""Who waits for packets: at a high rate nobody, so that delivering one wakes and calls nobody.

What the engine waits for is what the kernel says of its epoll descriptor.
"""

from __future__ import annotations

import socket
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
    """Sends adverts of VRID 51 from a node with a plain raw socket."""

    def __init__(self, node: Node) -> None:
        source = socket.inet_aton(node.ipv4())
        self.sent = 0
        self._pdu = _core.encode_advert(
            version=3,
            vrid=51,
            priority=200,
            interval_cs=20,
            source=source,
            destination=socket.inet_aton(GROUP),
            addresses=[socket.inet_aton("10.0.0.100")],
        )
        self._socket = node.call(socket.socket, socket.AF_INET, socket.SOCK_RAW, 112)
        self._socket.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 255)
        self._socket.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, source)

    def send(self) -> None:
        self._socket.sendto(self._pdu, (GROUP, 0))
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


def waited_for(worker: Worker) -> set[int]:
    """The kinds of packet sources that the engine waits for. Its epoll descriptor is the one that
    link events come by."""
    for file in Path(f"/proc/{worker.process.pid}/fdinfo").iterdir():
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
        usual = waited_for(worker)
        assert usual
        with peer.storm():
            wait_for(lambda: waited_for(worker) < usual, 20, "nobody waits")
            begin = len(worker.states())
            network["r2"].set_link("eth0", "down")
            wait_for(lambda: worker.states()[-1] == _core.FAULT, 5, "a fault")
            network["r2"].set_link("eth0", "up")
            wait_for(lambda: worker.states()[-1] == _core.BACKUP, 5, "a backup again")
            wait_for(lambda: waited_for(worker) < usual, 20, "nobody waits again")
            sent, heard = peer.sent, worker.ask("status 0")["advert_rcvd"]
            time.sleep(1)
        # what was under way at the beginning counts for those that were not yet read then
        wait_for(
            lambda: worker.ask("status 0")["advert_rcvd"] - heard >= peer.sent - sent,
            2,
            "every advert is heard",
        )
        assert _core.MASTER not in worker.states()[begin:]
        wait_for(lambda: worker.states()[-1] == _core.MASTER, 5, "a takeover")
        wait_for(lambda: waited_for(worker) == usual, 5, "packets are waited for")
        peer.send()
        wait_for(lambda: worker.states()[-1] == _core.BACKUP, 5, "the better one is heard")
    finally:
        peer.close()
        worker.close()
