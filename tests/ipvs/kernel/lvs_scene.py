"""A balancer, three real servers and a client on one LAN; the balancer runs keepalived or fastvrrp.

    c1 (client)   r1 (balancer)   r2 r3 r4 (real servers)
     |             |               |  |  |
     +-------------+------- lan0 --+--+--+

Each virtual address is reached in one way: NAT (answers go back through the balancer), DR (the
servers have the address on their loopback) and TUN (and the other end of an IP-in-IP tunnel).
"""

from __future__ import annotations

import contextlib
import http.client
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from fastvrrp.lab.daemons import Daemon, Fastvrrp, Keepalived
from fastvrrp.lab.network import Network, Node, wait_for

METHODS = {
    "NAT": {4: "192.0.2.100", 6: "2001:db8::100"},
    "DR": {4: "192.0.2.110", 6: "2001:db8::110"},
    "TUN": {4: "192.0.2.120", 6: "2001:db8::120"},
}
SERVERS = ("r2", "r3", "r4")
SETTLE_S = 20.0  # the guest is slow, and others run beside it
STILL_S = 0.6  # a table that has not changed for so long has settled

Table = list[str]


class Balancers(Keepalived):
    """keepalived with its checkers; with VRRP, too, when the configuration has some."""

    def argv(self) -> list[str]:
        argv = [word for word in super().argv() if word not in ("-G", "-P")]
        return argv if "vrrp_instance" in self.config.read_text() else [*argv, "-C"]


DAEMONS: dict[str, type[Daemon]] = {"keepalived": Balancers, "fastvrrp": Fastvrrp}


class Scene:
    """The network, its servers, and one daemon at a time."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._running: dict[tuple[str, str], subprocess.Popen[bytes]] = {}
        self._lives = 0
        self.daemon: Daemon = None  # type: ignore[assignment] # there is one within `running`
        with ExitStack() as stack:
            self.network = stack.enter_context(Network(routers=4, clients=1))
            self.balancer = self.network["r1"]
            self.client = self.network["c1"]
            self.servers = {name: self.network[name] for name in SERVERS}
            self._prepare_balancer()
            for name, node in self.servers.items():
                self._prepare_server(node)
                (directory / name).mkdir()
            self.serve_all()
            self._stack = stack.pop_all()

    def _prepare_balancer(self) -> None:
        node = self.balancer
        node.sysctl("net/ipv4/ip_forward", 1)
        node.sysctl("net/ipv6/conf/all/forwarding", 1)
        for interface in ("all", "eth0"):
            node.sysctl(f"net/ipv4/conf/{interface}/send_redirects", 0)
        for addresses in METHODS.values():
            for family, address in addresses.items():
                # deprecated: it must not be the source of what the balancer itself sends
                late = () if family == 4 else ("preferred_lft", "0")
                node.run("ip", f"-{family}", "address", "add", address, "dev", "eth0", *late)

    def _prepare_server(self, node: Node) -> None:
        for interface in ("all", "eth0"):
            node.sysctl(f"net/ipv4/conf/{interface}/arp_ignore", 1)
            node.sysctl(f"net/ipv4/conf/{interface}/arp_announce", 2)
        node.sysctl("net/ipv6/conf/eth0/accept_redirects", 0)
        for family, own in ((4, node.ipv4()), (6, node.ipv6())):
            ip = ("ip", f"-{family}")
            for method in ("DR", "TUN"):
                node.run(*ip, "address", "add", METHODS[method][family], "dev", "lo")
            # answers of NAT services go back the way the requests came
            gateway = self.balancer.ipv4() if family == 4 else self.balancer.ipv6()
            node.run(*ip, "rule", "add", "from", own, "table", "100")
            node.run(*ip, "route", "add", "default", "via", gateway, "dev", "eth0", "table", "100")
            kind = ("ipip",) if family == 4 else ("ip6tnl", "mode", "ip6ip6")
            node.run("ip", "link", "add", f"tun{family}", "type", *kind, "local", own)
            node.run("ip", "link", "set", f"tun{family}", "up")
        for interface in ("all", "tun4"):
            node.sysctl(f"net/ipv4/conf/{interface}/rp_filter", 0)

    def close(self) -> None:
        """Nothing is left of it."""
        self._stack.close()

    # -- what the real servers serve

    def serve_all(self) -> None:
        """Everything that was stopped is there again."""
        missing = [
            (name, what)
            for name in SERVERS
            for what in PROGRAMS
            if (name, what) not in self._running
        ]
        for name, what in missing:
            self._begin(name, what)
        for name, what in missing:
            self._await(name, what)

    def serve(self, name: str, what: str) -> None:
        """Start a service of a real server: a key of PROGRAMS."""
        self._begin(name, what)
        self._await(name, what)

    def stop_serving(self, name: str, what: str) -> None:
        """End a service of a real server."""
        process = self._running.pop((name, what))
        process.send_signal(signal.SIGKILL)
        process.wait()

    def _begin(self, name: str, what: str) -> None:
        place = self.directory / name
        argv, _ = PROGRAMS[what](name, place)
        program = shutil.which(argv[0], path="/usr/sbin:/usr/bin")
        assert program is not None, f"{argv[0]} is not installed"
        with (place / f"{what}.log").open("ab") as output:
            process = self.servers[name].start([program, *argv[1:]], output=output)
        self._running[name, what] = process

    def _await(self, name: str, what: str) -> None:
        """Wait until it listens."""
        _, port = PROGRAMS[what](name, self.directory / name)
        tables = ["/proc/net/tcp", "/proc/net/udp", "/proc/net/tcp6", "/proc/net/udp6"]
        node = self.servers[name]
        wait_for(lambda: f":{port:04X} " in node.run("cat", *tables), SETTLE_S, f"{what} of {name}")

    def fetch(self, method: str, family: int = 4, port: int = 80, count: int = 6) -> Counter[str]:
        """Which servers answered so many requests of the client, each on its own connection."""
        address = METHODS[method][family]
        return Counter(self.client.call(_fetch, address, port, count))

    # -- the daemon

    @contextmanager
    def running(self, kind: str) -> Iterator[None]:
        """A daemon is there; at the end of the block it is gone and with it what it made."""
        self._lives += 1
        self.daemon = DAEMONS[kind](self.balancer, self.directory / f"{kind}-{self._lives}")
        try:
            yield
        finally:
            self.daemon.close()
            print(f"--- {kind}\n{self.daemon.log()}")
            self.balancer.run("ipvsadm", "-C")
            self.serve_all()

    def stop(self) -> None:
        """An orderly end."""
        assert self.daemon.stop(SETTLE_S) == 0

    # -- the table

    def table(self) -> Table:
        """What `ipvsadm -Sn` says, sorted."""
        return sorted(self.balancer.run("ipvsadm", "-Sn").splitlines())

    def reach(self, what: str, condition: Callable[[Table], bool]) -> Table:
        """The table as soon as it meets the condition, and has stayed the same for a moment."""
        last: Table = []
        since = time.monotonic()

        def settled() -> bool:
            nonlocal last, since
            now = self.table()
            if now != last:
                last, since = now, time.monotonic()
            return condition(now) and time.monotonic() - since > STILL_S

        try:
            wait_for(settled, SETTLE_S, what, poll_s=0.1)
        except TimeoutError:
            lines = "\n".join(self.table())
            raise AssertionError(f"{self.daemon.kind}: {what}:\n{lines}") from None
        return last


def compare(scene: Scene, story: Callable[[Scene], Sequence[tuple[str, Table]]]) -> None:
    """Live the story with keepalived and with fastvrrp: the same table after each event."""
    with scene.running("keepalived"):
        expected = story(scene)
    with scene.running("fastvrrp"):
        got = story(scene)
    for (what, theirs), (_, ours) in zip(expected, got, strict=True):
        assert (what, ours) == (what, theirs)


def destinations(table: Table, service: str) -> dict[str, int]:
    """The real servers of a service (`-t 192.0.2.100:80`) and their weights."""
    found = {}
    for line in table:
        match = re.match(rf"-a {re.escape(service)} -r (\S+) .*-w (\d+)", line)
        if match is not None:
            found[match[1]] = int(match[2])
    return found


def services(table: Table) -> list[str]:
    return [" ".join(line.split()[1:3]) for line in table if line.startswith("-A ")]


def _fetch(address: str, port: int, count: int) -> Iterator[str]:
    answers = []
    for _ in range(count):
        connection = http.client.HTTPConnection(address, port, timeout=5)
        with contextlib.closing(connection):
            connection.request("GET", "/")
            answers.append(connection.getresponse().read().decode().strip())
    return iter(answers)


def _web(name: str, place: Path) -> tuple[list[str], int]:
    (place / "nginx.conf").write_text(_NGINX.format(name=name, place=place))
    return ["nginx", "-p", str(place), "-c", f"{place}/nginx.conf"], 80


def _smtp(name: str, place: Path) -> tuple[list[str], int]:
    return [sys.executable, "-m", "aiosmtpd", "-n", "-l", "0.0.0.0:25"], 25


def _dns(name: str, place: Path) -> tuple[list[str], int]:
    options = "--no-resolv --no-hosts --user=root --pid-file= --log-facility=-"
    return ["dnsmasq", "-k", *options.split(), "--address=/good.example/192.0.2.1"], 53


def _udp(name: str, place: Path) -> tuple[list[str], int]:
    return ["socat", "UDP6-RECVFROM:7,ipv6only=0,fork", "PIPE"], 7


# what runs on a real server, and the port by which it is known to run
PROGRAMS: dict[str, Callable[[str, Path], tuple[list[str], int]]] = {
    "web": _web,
    "smtp": _smtp,
    "dns": _dns,
    "udp": _udp,
}

_NGINX = """
daemon off;
worker_processes 1;
pid {place}/pid;
error_log {place}/error.log;
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_body_temp_path {place}/1;
    proxy_temp_path {place}/2;
    fastcgi_temp_path {place}/3;
    uwsgi_temp_path {place}/4;
    scgi_temp_path {place}/5;
    server {{
        listen 80;
        listen [::]:80;
        location / {{ return 200 "{name}\\n"; }}
    }}
}}
"""
