"""Upkeep of a real table, with ipvsadm as the other program; connections through it live on."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from fastvrrp.config.servers import Timeouts
from fastvrrp.ipvs.journal import Journal
from fastvrrp.ipvs.netlink_table import NetlinkTable, open_socket
from fastvrrp.ipvs.objects import (
    PERSISTENT,
    Daemon,
    Destination,
    DestinationKey,
    Entries,
    Entry,
    Method,
    Role,
    Service,
    ServiceKey,
    ServiceStatistics,
    pack_address,
)
from fastvrrp.ipvs.upkeep import ROUND_MAX_S, Upkeep
from fastvrrp.lab.namespace import Namespace
from fastvrrp.lab.network import Network
from looping import Run

VIP, PORT = "192.0.2.100", 8000
KEY = ServiceKey(4, socket.IPPROTO_TCP, pack_address(VIP), PORT)
OTHER = KEY._replace(port=81)


def server(address: str, port: int = PORT, **more: int) -> Destination:
    return Destination(DestinationKey(4, pack_address(address), port), **more)


def entry(*servers: Destination, key: ServiceKey = KEY, **more: object) -> Entries:
    service = Service(key, **{"scheduler": "rr", **more})  # type: ignore[arg-type]
    return {key: Entry(service, {made.key: made for made in servers})}


A, B = server("198.51.100.1"), server("198.51.100.2")


class World:
    def __init__(self, place: Namespace, directory: Path) -> None:
        self._place = place
        self._file = directory / "journal"
        self.upkeep = self._made()

    def _made(self) -> Upkeep:
        self.table = NetlinkTable(self._place.call(open_socket))
        # Nobody looks but who is told to, however long a slow machine takes for a scene.
        return Upkeep(self.table, Journal(self._file), round_s=ROUND_MAX_S)

    async def start(self, wanted: Entries) -> None:
        await self.upkeep.start()
        self.upkeep.want_all({"V": wanted})
        await self.upkeep.settled()

    async def want(self, wanted: Entries) -> None:
        self.upkeep.want("V", wanted)
        await self.upkeep.settled()

    async def look(self) -> None:
        await self.upkeep.look()
        await self.upkeep.settled()

    async def crash(self) -> None:
        await self.upkeep.close()
        self.upkeep = self._made()

    def ipvsadm(self, line: str) -> str:
        return self._place.run("ipvsadm", *line.split())

    def shown(self) -> list[str]:
        return self.ipvsadm("-Sn").splitlines()


Scene = Callable[[World], Awaitable[None]]
Play = Callable[[Namespace, Scene], None]


@pytest.fixture
def play(run: Run, tmp_path: Path) -> Play:
    def runner(place: Namespace, scene: Scene) -> None:
        async def main() -> None:
            world = World(place, tmp_path)
            try:
                await scene(world)
            finally:
                await world.upkeep.close()

        run(main())

    return runner


FOREIGN = [
    f"-e -t {VIP}:{PORT} -r 198.51.100.1:{PORT} -m -w 77",
    f"-e -t {VIP}:{PORT} -r 198.51.100.1:{PORT} -g -w 1",
    f"-d -t {VIP}:{PORT} -r 198.51.100.1:{PORT}",
    f"-a -t {VIP}:{PORT} -r 198.51.100.9:{PORT} -m",
    f"-E -t {VIP}:{PORT} -s sh",
    f"-E -t {VIP}:{PORT} -s rr -p 60",
    f"-D -t {VIP}:{PORT}",
    "-C",
]


@pytest.mark.parametrize("line", FOREIGN)
def test_what_ipvsadm_changes_is_put_right(play: Play, line: str) -> None:
    async def scene(world: World) -> None:
        await world.start(entry(A, B))
        before = world.shown()
        assert len(before) == 3
        world.ipvsadm(line)
        assert world.shown() != before
        await world.look()
        assert world.shown() == before
        assert world.upkeep.mended >= 1

    with Namespace("balancer") as place:
        play(place, scene)


def test_looks_find_nothing_where_nothing_changed(play: Play) -> None:
    """What the kernel shows of every kind of service and destination is what was asked for."""
    kinds = [
        server("198.51.100.1", uthreshold=10, lthreshold=5),
        server("198.51.100.2", weight=0, method=Method.DIRECT),
        server("198.51.100.3", method=Method.TUNNEL, tunnel=1, tunnel_port=9, tunnel_flags=2),
        server("198.51.100.4", method=Method.TUNNEL, tunnel=2, tunnel_flags=1),
    ]
    wanted = {
        **entry(*kinds, scheduler="mh", flags=0x18 | PERSISTENT, timeout_s=60),
        **entry(A, key=ServiceKey(4, 0, b"", 0, 9), netmask=0xFFFF0000),
        **entry(key=ServiceKey(6, 17, pack_address("2001:db8::1"), 80), netmask=64, engine="sip"),
    }

    async def scene(world: World) -> None:
        await world.start(wanted)
        for _ in range(2):
            await world.look()
        assert world.upkeep.mended == 0
        assert world.upkeep.refused == {}

    with Namespace("balancer") as place:
        play(place, scene)


def test_what_others_made_stays(play: Play) -> None:
    async def scene(world: World) -> None:
        world.ipvsadm(f"-A -t {VIP}:82 -s lc")
        await world.start(entry(A))
        await world.want(entry(A, B))
        await world.look()
        await world.upkeep.clear()
        assert world.shown() == [f"-A -t {VIP}:82 -s lc"]

    with Namespace("balancer") as place:
        play(place, scene)


def test_a_service_that_ipvsadm_made_first_becomes_ours(play: Play) -> None:
    async def scene(world: World) -> None:
        await world.start({})
        world.ipvsadm(f"-A -t {VIP}:{PORT} -s lc")
        world.ipvsadm(f"-a -t {VIP}:{PORT} -r 198.51.100.7:1 -m")
        await world.want(entry(A))
        assert await world.table.dump() == entry(A)

    with Namespace("balancer") as place:
        play(place, scene)


def test_sync_daemons_and_timeouts(play: Play) -> None:
    async def scene(world: World) -> None:
        await world.start({})
        wanted = {role: Daemon(role, f"eth{role - 1}", 40 + role) for role in Role}
        await world.upkeep.want_settings(Timeouts(tcp_s=1000, udp_s=77), wanted)
        shown = world.ipvsadm("-l --daemon")
        assert "master sync daemon (mcast=eth0, syncid=41" in shown
        assert "backup sync daemon (mcast=eth1, syncid=42" in shown
        assert "1000 120 77" in world.ipvsadm("-l --timeout")
        world.ipvsadm("--stop-daemon master")
        world.ipvsadm("--set 5 6 7")
        await world.look()
        assert "master sync daemon (mcast=eth0, syncid=41" in world.ipvsadm("-l --daemon")
        assert "1000 6 77" in world.ipvsadm("-l --timeout")
        await world.crash()
        await world.start({})
        await world.upkeep.want_settings(Timeouts(), {Role.BACKUP: wanted[Role.BACKUP]})
        shown = world.ipvsadm("-l --daemon")
        assert "master" not in shown
        assert "backup" in shown
        await world.upkeep.clear()
        assert world.ipvsadm("-l --daemon").strip() == ""

    with Namespace("balancer") as place:
        for interface, address in (("eth0", "10.0.0.1/24"), ("eth1", "10.1.0.1/24")):
            place.run("ip", "link", "add", interface, "type", "dummy")
            place.run("ip", "address", "add", address, "dev", interface)
            place.run("ip", "link", "set", interface, "up")
        play(place, scene)


# -- connections


class Echo:
    """c1 talks to a server on r2 through the table of r1 (NAT)."""

    def __init__(self, network: Network) -> None:
        self.balancer, far, self._client = network["r1"], network["r2"], network["c1"]
        self.balancer.sysctl("net/ipv4/ip_forward", 1)
        for interface in ("all", "eth0"):
            self.balancer.sysctl(f"net/ipv4/conf/{interface}/send_redirects", 0)
        self.balancer.run("ip", "address", "add", VIP, "dev", "eth0")
        # Answers go back through the balancer, though the client is on the same LAN.
        far.run("ip", "rule", "add", "from", far.ipv4(), "table", "100")
        via = ("default", "via", self.balancer.ipv4(), "dev", "eth0", "table", "100")
        far.run("ip", "route", "add", *via)
        self.server = server(far.ipv4())
        self._listener = far.call(socket.create_server, (far.ipv4(), PORT))
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._echo, args=(connection,), daemon=True).start()

    @staticmethod
    def _echo(connection: socket.socket) -> None:
        with connection:
            while data := connection.recv(1000):
                connection.sendall(data)

    def connect(self) -> socket.socket:
        made: socket.socket = self._client.call(socket.create_connection, (VIP, PORT), 10)
        return made

    def close(self) -> None:
        self._listener.close()


@pytest.fixture
def echo() -> Iterator[Echo]:
    with Network(routers=2, clients=1) as network:
        made = Echo(network)
        yield made
        made.close()


async def talks(connection: socket.socket, text: bytes = b"hello", limit_s: float = 8.0) -> bool:
    """Whether what is sent comes back."""
    loop = asyncio.get_running_loop()
    connection.settimeout(limit_s)

    def exchange() -> bool:
        connection.sendall(text)
        try:
            return connection.recv(1000) == text
        except (TimeoutError, ConnectionResetError):
            return False

    return await loop.run_in_executor(None, exchange)


async def counted(table: NetlinkTable, packets: int) -> ServiceStatistics:
    """The service's statistics, once so many packets have been counted: the kernel sums its
    counters every 2 s, also between two packets."""
    async with asyncio.timeout(10):
        while True:
            found = (await table.statistics())[KEY]
            if found.counters.packets_in >= packets:
                return found
            await asyncio.sleep(0.2)


def test_connections_survive_edits_crashes_and_repairs(play: Play, echo: Echo) -> None:
    """And a service that is deleted ends them, so this would be seen."""
    far = echo.server

    async def scene(world: World) -> None:
        loop = asyncio.get_running_loop()
        await world.start(entry(far))
        with await loop.run_in_executor(None, echo.connect) as connection:
            assert await talks(connection)
            statistics = await counted(world.table, 3)  # SYN, ACK, what was said
            assert statistics.counters.connections == 1
            assert statistics.counters.bytes_in > statistics.counters.packets_in
            assert statistics.destinations[far.key].active == 1

            for wanted in (
                entry(far._replace(weight=0)),
                entry(far._replace(weight=0), B),
                entry(far, B, scheduler="sh"),
                entry(far, scheduler="wlc", flags=PERSISTENT, timeout_s=60),
                entry(far._replace(uthreshold=1, lthreshold=1)),
                entry(far),
            ):
                await world.want(wanted)
                assert await talks(connection)
            await world.crash()
            await world.start(entry(far))
            assert await talks(connection)

            world.ipvsadm(f"-d -t {VIP}:{PORT} -r {address_of(far)}:{PORT}")
            assert not await talks(connection, b"lost?", 1.0)
            await world.look()
            # What was sent meanwhile is sent again, and arrives
            connection.settimeout(8)
            assert await loop.run_in_executor(None, connection.recv, 1000) == b"lost?"
            assert await talks(connection)
            assert (await world.table.statistics())[KEY].destinations[far.key].active == 1

            await world.want({})
            assert not await talks(connection, b"gone", 1.0)

    play(echo.balancer, scene)


def address_of(made: Destination) -> str:
    return socket.inet_ntop(socket.AF_INET, made.key.address)
