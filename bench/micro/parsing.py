"""Reading a configuration file into the model."""

from __future__ import annotations

import tempfile
from pathlib import Path

from bench.configuration import link_count, places, render
from bench.servers import address
from bench.servers import render as render_servers
from fastvrrp.config.host import SystemHost
from fastvrrp.config.load import load
from fastvrrp.config.model import Loaded
from fastvrrp.config.servers import TcpCheck

from .workload import Maker, Workload

SERVERS_EACH = 16


class Host(SystemHost):
    """This machine, with interfaces for everybody."""

    def __init__(self, interfaces: list[str]) -> None:
        super().__init__()
        self._interfaces = frozenset(interfaces)

    def interfaces(self) -> frozenset[str]:
        return self._interfaces

    def mtu(self, interface: str) -> int:
        return 1500


def parsing(count: int) -> Workload:
    interfaces = [f"a{n}" for n in range(link_count(count))]
    where = places(count)

    def prepare() -> tempfile.TemporaryDirectory[str]:
        directory = tempfile.TemporaryDirectory(prefix="bench")
        text = render(where, interfaces, state="MASTER", priority=200, interval_s=0.1)
        (Path(directory.name) / "bench.conf").write_text(text)
        return directory

    def run(directory: tempfile.TemporaryDirectory[str]) -> Loaded:
        # A host of its own each time: what it remembers belongs to one load.
        return load(Path(directory.name) / "bench.conf", host=Host(interfaces))

    def check(loaded: Loaded) -> None:
        assert loaded.messages == ()
        assert loaded.configuration is not None
        read = [
            (i.interface, i.virtual_router_id, i.virtual_ipaddress[0].address)
            for i in loaded.configuration.vrrp_instances
        ]
        assert read == [(interfaces[p.link], p.vrid, p.vip) for p in where]

    return Workload(f"read {count} instances", "configuration", count, prepare, run, check)


def servers(count: int) -> Workload:
    """Virtual servers with 16 real servers each, as the largest deployments have them."""
    services = max(1, count // SERVERS_EACH)

    def prepare() -> tempfile.TemporaryDirectory[str]:
        directory = tempfile.TemporaryDirectory(prefix="bench")
        (Path(directory.name) / "bench.conf").write_text(render_servers(services, count))
        return directory

    def run(directory: tempfile.TemporaryDirectory[str]) -> Loaded:
        return load(Path(directory.name) / "bench.conf", host=Host([]))

    def check(loaded: Loaded) -> None:
        assert loaded.messages == ()
        assert loaded.configuration is not None
        found = loaded.configuration.ipvs.virtual_servers
        assert len(found) == services
        real = [server for service in found for server in service.real_servers]
        assert [server.address for server in real] == [address(11, n) for n in range(count)]
        assert all(
            isinstance(check, TcpCheck) and check.connection.address == server.address
            for server in real
            for check in server.checks
        )

    return Workload(f"read {count} real servers", "configuration", count, prepare, run, check)


MAKERS = [Maker(parsing, 3, (1, 255, 4096)), Maker(servers, 40, (16, 4096, 37205))]
