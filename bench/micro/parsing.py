"""Reading a configuration file into the model."""

from __future__ import annotations

import tempfile
from pathlib import Path

from bench.configuration import link_count, places, render
from fastvrrp.config.host import SystemHost
from fastvrrp.config.load import load
from fastvrrp.config.model import Loaded

from .workload import Maker, Workload


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


MAKERS = [Maker(parsing, 3, (1, 255, 4096))]
