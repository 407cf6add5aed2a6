"""2,277 services with 37,000 destinations: in the table as soon as with keepalived, or sooner.

Both begin with the configuration read and end with the table full, in the same kernel.
"""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import uvloop
from guest_tools import namespace

from fastvrrp.config.load import load
from fastvrrp.config.servers import VirtualServer
from fastvrrp.ipvs import services
from fastvrrp.ipvs.journal import Journal
from fastvrrp.ipvs.netlink_table import NetlinkTable, open_socket
from fastvrrp.ipvs.objects import Entries
from fastvrrp.ipvs.table import Failure, Operation, Verb
from fastvrrp.ipvs.upkeep import Upkeep
from keepalived_text import block

pytestmark = [pytest.mark.slow, pytest.mark.timing, pytest.mark.timeout(600)]

SERVICES, DESTINATIONS = 2277, 37000


def configuration() -> str:
    parts = []
    made = 0
    for number in range(SERVICES):
        until = DESTINATIONS * (number + 1) // SERVICES
        servers = [
            block(f"real_server 172.16.{n // 250}.{n % 250 + 1} 80", "weight 1")
            for n in range(made, until)
        ]
        made = until
        head = f"virtual_server 10.{number // 250}.{number % 250}.1 80"
        parts.append(block(head, "lvs_sched wlc", "lvs_method NAT", "protocol TCP", *servers))
    return "\n".join(parts)


class Configured(NamedTuple):
    file: Path
    virtual_servers: tuple[VirtualServer, ...]


@pytest.fixture(scope="module")
def configured(tmp_path_factory: pytest.TempPathFactory) -> Configured:
    file = tmp_path_factory.mktemp("scale") / "keepalived.conf"
    file.write_text(configuration())
    loaded = load(file)
    assert loaded.configuration is not None
    return Configured(file, loaded.configuration.ipvs.virtual_servers)


def wishes(virtual_servers: tuple[VirtualServer, ...]) -> dict[str, Entries]:
    return {
        server.name: services.entries(server, [(rs, rs.weight) for rs in server.real_servers])
        for server in virtual_servers
    }


async def size(name: str) -> tuple[int, int]:
    table = NetlinkTable(open_socket(name))
    found = await table.dump()
    table.close()
    return len(found), sum(len(entry.destinations) for entry in found.values())


def keepaliveds_seconds(configured: Configured) -> float:
    """From "Initializing ipvs" to "Startup complete" in its log."""
    directory = configured.file.parent
    with namespace() as name:
        # fmt: off
        command = [
            "ip", "netns", "exec", name, "keepalived", "-n", "-l", "-G", "-C",
            "-f", str(configured.file), "-p", str(directory / "pid"),
            "-r", str(directory / "vrrp.pid"), "-c", str(directory / "checkers.pid"),
        ]
        # fmt: on
        begin = end = 0.0
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        assert process.stdout is not None
        try:
            for line in process.stdout:
                if b"Initializing ipvs" in line:
                    begin = time.monotonic()
                elif b"Startup complete" in line:
                    end = time.monotonic()
                    break
            assert asyncio.run(size(name)) == (SERVICES, DESTINATIONS)
        finally:
            process.terminate()
            process.stdout.read()
            process.wait(60)
    assert 0 < begin < end
    return end - begin


class Watched(NetlinkTable):
    """Keeps what was asked of it."""

    def __init__(self, name: str) -> None:
        super().__init__(open_socket(name))
        self.operations: list[Operation] = []

    async def apply(self, operations: Iterable[Operation]) -> list[Failure]:
        made = list(operations)
        self.operations += made
        return await super().apply(made)


@pytest.fixture(scope="module")
def their_seconds(configured: Configured) -> float:
    return keepaliveds_seconds(configured)


@pytest.fixture(scope="module")
def here() -> Iterator[str]:
    with namespace() as name:
        yield name


def test_a_large_table(
    configured: Configured, their_seconds: float, here: str, tmp_path: Path
) -> None:
    async def scene() -> None:
        table = Watched(here)
        upkeep = Upkeep(table, Journal(tmp_path / "journal"))
        await upkeep.start()

        begin = time.monotonic()
        wanted = wishes(configured.virtual_servers)
        upkeep.want_all(wanted)
        await upkeep.settled()
        seconds = time.monotonic() - begin
        print(f"adding: {seconds:.2f} s, keepalived {their_seconds:.2f} s")
        assert len(table.operations) == SERVICES + DESTINATIONS
        assert await size(here) == (SERVICES, DESTINATIONS)
        assert seconds <= their_seconds

        # One weight is one operation, also when all is said anew.
        table.operations.clear()
        again = wishes(configured.virtual_servers)
        owner, entries = list(again.items())[1000]
        [(key, entry)] = entries.items()
        old = list(entry.destinations.values())[3]
        changed = old._replace(weight=7)
        again[owner] = {key: entry._replace(destinations={**entry.destinations, old.key: changed})}
        begin = time.monotonic()
        upkeep.want_all(again)
        await upkeep.settled()
        print(f"one weight: {time.monotonic() - begin:.3f} s")
        assert table.operations == [Operation(Verb.EDIT_DESTINATION, key, None, changed)]

        # A look at everything finds nothing to do.
        table.operations.clear()
        for _ in range(2):
            print(f"look at everything: {await upkeep.look():.2f} s")
        assert upkeep.mended == 0
        begin = time.monotonic()
        await table.statistics()
        print(f"all statistics: {time.monotonic() - begin:.2f} s")
        assert table.operations == []

        begin = time.monotonic()
        await upkeep.clear()
        print(f"removing: {time.monotonic() - begin:.2f} s")
        assert await size(here) == (0, 0)
        await upkeep.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(scene())
