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
from collections.abc import Callable, Iterator
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
SETTLE_S = 40.0  # the guest is slow, and two others run beside it
STILL_S = 0.6  # a table that has not changed for so long has settled
AGREED_S = 2.0  # the same, of the second daemon

Table = list[str]
Story = list[tuple[str, Table]]  # what happened, and the table after it


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
        self._told: Story = []
        self._expected: Story | None = None
        self.requests: list[tuple[int, str]] = []  # the last: the client's port, who answered
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
            self._certificate()
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
        node.sysctl("net/ipv4/icmp_ratelimit", 0)  # UDP_CHECK takes silence for success
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

    def _certificate(self) -> None:
        kind = "-x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 9"
        files = ["-keyout", f"{self.directory}/key", "-out", f"{self.directory}/certificate"]
        subprocess.run(
            ["openssl", "req", *kind.split(), "-subj", "/CN=servers.example", *files],
            check=True,
            capture_output=True,
        )

    def close(self) -> None:
        """Nothing is left of it."""
        self._stack.close()

    # -- what the real servers serve

    def serve_all(self) -> None:
        """Everything that was stopped is there again, what took its place is not."""
        for name, what in list(self._running):
            if what in OTHERS:
                self.stop_serving(name, what)
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
        """Start a service of a real server: a key of PROGRAMS or OTHERS."""
        self._begin(name, what)
        self._await(name, what)

    def stop_serving(self, name: str, what: str) -> None:
        """End a service of a real server."""
        process = self._running.pop((name, what))
        process.send_signal(signal.SIGKILL)
        process.wait()

    def _begin(self, name: str, what: str) -> None:
        place = self.directory / name
        argv, _ = (PROGRAMS | OTHERS)[what](name, place)
        program = shutil.which(argv[0], path="/usr/sbin:/usr/bin")
        assert program is not None, f"{argv[0]} is not installed"
        with (place / f"{what}.log").open("ab") as output:
            process = self.servers[name].start([program, *argv[1:]], output=output)
        self._running[name, what] = process

    def _await(self, name: str, what: str) -> None:
        """Wait until it listens."""
        _, port = (PROGRAMS | OTHERS)[what](name, self.directory / name)
        tables = [Path("/proc/thread-self/net") / kind for kind in ("tcp", "udp", "tcp6", "udp6")]

        def listens() -> bool:
            return any(f":{port:04X} " in table.read_text() for table in tables)

        node = self.servers[name]
        wait_for(lambda: node.call(listens), SETTLE_S, f"{what} of {name}", poll_s=0.05)

    def fetch(self, method: str, family: int = 4, port: int = 80, count: int = 6) -> Counter[str]:
        """Which servers answered so many requests of the client, each on its own connection."""
        address = METHODS[method][family]
        self.requests = self.client.call(_fetch, address, port, count)
        return Counter(server for _, server in self.requests)

    def entries(self) -> list[str]:
        """The kernel's entries of the connections of the last requests."""
        path = Path("/proc/thread-self/net/ip_vs_conn")
        ports = {f"{port:04X}" for port, _ in self.requests}
        lines = self.balancer.call(path.read_text).splitlines()
        return [line for line in lines if line.split()[2] in ports]

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

    def after(
        self, what: str, condition: Callable[[Table], bool], still_s: float = STILL_S
    ) -> Table:
        """The table after an event, once it meets the condition and has stayed the same for a
        while. The second time a story is told the condition is the table of the first time."""
        if self._expected:
            told, expected = self._expected[len(self._told)]
            assert told == what
            still_s = min(still_s, AGREED_S)
        else:
            expected = []
        last: Table = []
        since = time.monotonic()

        def settled() -> bool:
            nonlocal last, since
            now = self.table()
            if now != last:
                last, since = now, time.monotonic()
            good = now == expected if self._expected else condition(now)
            return good and time.monotonic() - since > still_s

        try:
            wait_for(settled, SETTLE_S, what, poll_s=0.1)
        except TimeoutError:
            assert last == expected or not self._expected, f"{self.daemon.kind}: {what}"
            lines = "\n".join(last)
            raise AssertionError(f"{self.daemon.kind}: {what}:\n{lines}") from None
        self._told.append((what, last))
        return last

    def reach(self, what: str, condition: Callable[[Table], bool]) -> None:
        """Wait until the table meets the condition."""
        wait_for(lambda: condition(self.table()), SETTLE_S, what, poll_s=0.1)

    def tell(self, story: Callable[[Scene], None], expected: Story | None = None) -> Story:
        """Live a story; the table after each of its events."""
        self._expected, self._told = expected, []
        story(self)
        return self._told


def compare(scene: Scene, story: Callable[[Scene], None]) -> None:
    """Live the story with keepalived, then with fastvrrp: the same table after each event."""
    with scene.running("keepalived"):
        expected = scene.tell(story)
    with scene.running("fastvrrp"):
        assert scene.tell(story, expected) == expected


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


def _fetch(address: str, port: int, count: int) -> list[tuple[int, str]]:
    """The client's port of each request, and who answered it."""
    answers = []
    for _ in range(count):
        connection = http.client.HTTPConnection(address, port, timeout=5)
        with contextlib.closing(connection):
            connection.request("GET", "/")
            own = connection.sock.getsockname()[1]
            answers.append((own, connection.getresponse().read().decode().strip()))
    return answers


def _web(name: str, place: Path, answer: str = "200") -> tuple[list[str], int]:
    text = _NGINX.format(name=name, place=place, tls=place.parent, answer=answer)
    (place / "nginx.conf").write_text(text)
    return ["nginx", "-p", str(place), "-c", f"{place}/nginx.conf"], 80


def _broken_web(name: str, place: Path) -> tuple[list[str], int]:
    return _web(name, place, "503")


def _smtp(name: str, place: Path) -> tuple[list[str], int]:
    return [sys.executable, "-m", "aiosmtpd", "-n", "-l", "0.0.0.0:25"], 25


def _refusing_smtp(name: str, place: Path) -> tuple[list[str], int]:
    return ["socat", "TCP-LISTEN:25,fork,reuseaddr", "SYSTEM:echo 554 no"], 25


def _dns(name: str, place: Path) -> tuple[list[str], int]:
    return [*_refusing_dns(name, place)[0], "--address=/good.example/192.0.2.1"], 53


def _refusing_dns(name: str, place: Path) -> tuple[list[str], int]:
    options = "--no-resolv --no-hosts --user=root --pid-file= --log-facility=-"
    return ["dnsmasq", "-k", *options.split()], 53


Program = Callable[[str, Path], tuple[list[str], int]]

# what runs on every real server, and the port by which it is known to run
PROGRAMS: dict[str, Program] = {"web": _web, "smtp": _smtp, "dns": _dns}
# what can run in its stead
OTHERS: dict[str, Program] = {
    "broken web": _broken_web,
    "refusing smtp": _refusing_smtp,
    "refusing dns": _refusing_dns,
}

_NGINX = """
daemon off;
master_process off;
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
    keepalive_timeout 600;
    server {{
        listen 80;
        listen [::]:80;
        listen 443 ssl;
        ssl_certificate {tls}/certificate;
        ssl_certificate_key {tls}/key;
        location / {{ return {answer} "{name}\\n"; }}
    }}
}}
"""
