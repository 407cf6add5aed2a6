"""What the client gets: real HTTP through NAT, DR and TUN, in both families, with whole daemons."""

from __future__ import annotations

import http.client
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest
from lvs_scene import METHODS, SERVERS, SETTLE_S, Scene, compare

from fastvrrp.lab.daemons import process_tree
from fastvrrp.lab.network import Node, wait_for
from keepalived_text import block

CASES = [(method, family) for method in METHODS for family in (4, 6)]
# long enough for what was sent while a service was away, which TCP sends again
PATIENCE_S = 40.0


GUE_PORT = 6080
TUNNELS = {
    "gue": f"type gue port {GUE_PORT}",
    "gue with a checksum": f"type gue port {GUE_PORT} csum",
    "gre": "type gre",
    "gre with a checksum": "type gre csum",
    "ipip": "type ipip",
}


def configuration(
    scene: Scene,
    *,
    weight: int = 1,
    quorum: int = 1,
    cases: list[tuple[str, int]] = CASES,
    tunnel: str = "",
) -> str:
    """Six services with the same three servers; `weight` is that of r4."""

    def service(method: str, family: int) -> str:
        servers = [
            block(
                f"real_server {node.ipv4() if family == 4 else node.ipv6()} 80",
                f"weight {weight if name == 'r4' else 1}",
                block("TCP_CHECK"),
            )
            for name, node in scene.servers.items()
        ]
        return block(
            f"virtual_server {METHODS[method][family]} 80",
            *("delay_loop 1", "warmup 0", "connect_timeout 3", "retry 1", "delay_before_retry 1"),
            *("lvs_sched wrr", f"lvs_method {method} {tunnel}", "protocol TCP", f"quorum {quorum}"),
            *servers,
        )

    return "\n".join(service(*case) for case in cases)


def spread(scene: Scene, method: str, family: int, **shares: int) -> None:
    """The client's requests go to these servers, so many to each in a whole turn of the scheduler,
    wherever it stands. One turn may have been interrupted: the kernel begins anew when anything of
    the service is written, and a source port that was used in the last two minutes goes where it
    went. The next one is whole."""
    for _ in range(2):
        got = scene.fetch(method, family, count=sum(shares.values()))
        if got == Counter(shares):
            break
        print(f"{method} over IPv{family}: {scene.requests}", *scene.entries(), sep="\n")
    assert got == Counter(shares), f"{scene.daemon.kind}: {method} over IPv{family}"


def story(scene: Scene) -> None:
    def after(what: str, count: int, **shares: int) -> None:
        scene.after(what, lambda table: len(table) == len(CASES) * (1 + count))
        for case in CASES:
            spread(scene, *case, **shares)

    scene.daemon.start(configuration(scene))
    after("all are up", 3, r2=2, r3=2, r4=2)
    scene.stop_serving("r3", "web")
    after("r3 is gone", 2, r2=2, r4=2)
    scene.serve("r3", "web")
    after("r3 is back", 3, r2=1, r3=1, r4=1)
    scene.daemon.reload(configuration(scene, weight=3))
    scene.after("weights", lambda table: sum("-w 3" in line for line in table) == len(CASES))
    for case in CASES:
        spread(scene, *case, r2=2, r3=2, r4=6)
    scene.stop()
    assert scene.table() == []


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_requests_reach_the_servers(scene: Scene) -> None:
    compare(scene, story)


def listen_gre(node: Node, *, checksum: bool) -> None:
    """The other end of GRE tunnels, which takes packets with a checksum or without, not both."""
    for family, kind, own in ((4, "gre", node.ipv4()), (6, "ip6gre", node.ipv6())):
        node.run("ip", "link", "delete", f"g{family}", check=False)
        words = ("local", own, *(["icsum"] if checksum else []))
        node.run("ip", "link", "add", f"g{family}", "type", kind, *words)
        node.run("ip", "link", "set", f"g{family}", "up")
    node.sysctl("net/ipv4/conf/g4/rp_filter", 0)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_every_tunnel(scene: Scene) -> None:
    """Another kind with every reload; the servers take apart what reaches them."""
    modprobe = Path("/proc/sys/kernel/modprobe").read_text().strip()
    subprocess.run([modprobe, "-a", "fou", "fou6"], check=True)  # nobody asks for them by name
    for node in scene.servers.values():
        for family in (4, 6):
            node.run("ip", f"-{family}", "fou", "add", "port", str(GUE_PORT), "gue")

    cases = [("TUN", family) for family in (4, 6)]

    def story(scene: Scene) -> None:
        for number, (kind, words) in enumerate(TUNNELS.items(), 1):
            for node in scene.servers.values() if kind.startswith("gre") else ():
                listen_gre(node, checksum="csum" in words)
            # a weight of its own tells this table from the one before
            text = configuration(scene, cases=cases, tunnel=words, weight=number)
            if number == 1:
                scene.daemon.start(text)
            else:
                scene.daemon.reload(text)
            scene.after(
                kind,
                lambda table, n=number: (
                    len(table) == 8 and sum(f"-w {n}" in line for line in table) >= 2
                ),
            )
            for case in cases:
                spread(scene, *case, r2=2, r3=2, r4=2 * number)
        scene.stop()

    compare(scene, story)


class Conversation:
    """One HTTP connection of the client that is kept, and the server it is with."""

    def __init__(self, scene: Scene, method: str, family: int) -> None:
        self._scene = scene
        self.name = f"{method} over IPv{family}"
        self._connection = http.client.HTTPConnection(
            METHODS[method][family], 80, timeout=PATIENCE_S
        )
        self.server = self.ask()
        self._socket = self._connection.sock

    def ask(self) -> str:
        """The name of the server that answers one more request."""

        def request() -> str:
            self._connection.request("GET", "/")
            return self._connection.getresponse().read().decode().strip()

        return self._scene.client.call(request)

    def goes_on(self) -> None:
        assert self.ask() == self.server, self.name
        assert self._connection.sock is self._socket, f"{self.name}: another connection"

    def close(self) -> None:
        self._connection.close()


@contextmanager
def conversations(scene: Scene) -> Iterator[list[Conversation]]:
    """Three connections through each service, one with each server."""
    with ExitStack() as stack:
        made = [
            stack.enter_context(closing(Conversation(scene, *case)))
            for case in CASES
            for _ in SERVERS
        ]
        assert Counter(one.server for one in made) == dict.fromkeys(SERVERS, len(CASES))
        yield made


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_connections_survive(scene: Scene) -> None:
    """A reload, a crash of the process, the kill of the whole daemon, an orderly restart."""
    up = len(CASES) * (1 + len(SERVERS))
    with scene.running("fastvrrp"):
        scene.daemon.start(configuration(scene))
        scene.reach("all are up", lambda table: len(table) == up)
        with conversations(scene) as going:
            everything = [one.goes_on for one in going]

            scene.daemon.reload(configuration(scene, weight=3))
            scene.reach("weights", lambda table: sum("-w 3" in line for line in table) == 6)
            for goes_on in everything:
                goes_on()

            pid = ipvs_process(scene)
            scene.balancer.run("kill", "-KILL", str(pid))
            for goes_on in everything:
                goes_on()
            wait_for(lambda: ipvs_process(scene) not in (0, pid), SETTLE_S, "the next process")
            scene.reach("taken over", lambda table: len(table) == up)
            for goes_on in everything:
                goes_on()

            scene.daemon.kill()
            assert len(scene.table()) == up
            for goes_on in everything:
                goes_on()
            scene.daemon.start(configuration(scene))
            scene.reach("weights again", lambda table: not any("-w 3" in line for line in table))
            for goes_on in everything:
                goes_on()

            scene.stop()
            assert scene.table() == []
            scene.daemon.start()
            scene.reach("started again", lambda table: len(table) == up)
            for goes_on in everything:
                goes_on()


def ipvs_process(scene: Scene) -> int:
    """The number of the daemon's process for IPVS; 0 when there is none."""
    pids = [
        pid
        for pid in process_tree(scene.daemon.pid)
        if b"fastvrrp.ipvs" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]
    return pids[0] if pids else 0
