"""notify_fifo, lvs_notify_fifo and scripts of a whole daemon with routers and servers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from daemon_tools import Daemon, Servers, wait_for
from guest_tools import namespace

from keepalived_text import block, config, instance

FIRST, SECOND = ("127.0.0.2", 80), ("127.0.0.3", 80)
VIP = "10.0.0.1 80"
NAME = "[10.0.0.1]:tcp:80"


class Ears:
    """Programs that keep what they are told, each in a file of its name."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._script("reader", f'while read line; do echo "$line" >>{directory}/$1; done <"$2"')
        self._script("note", f'echo "$@" >>{directory}/notes')

    def _script(self, name: str, body: str) -> None:
        script = self._directory / name
        script.write_text(f"#!/bin/sh\n{body}\n")
        script.chmod(0o755)

    def fifo(self, keyword: str) -> tuple[str, str]:
        """Lines of global_defs: the FIFO, and its reader, which writes to the file of its name."""
        return (
            f"{keyword} {self._directory}/{keyword}.fifo",
            f'{keyword}_script "{self._directory}/reader {keyword}"',
        )

    def script(self, keyword: str, *words: str) -> str:
        return f'{keyword} "{self._directory}/note {" ".join(words)}"'

    def heard(self, name: str) -> list[str]:
        file = self._directory / name
        return file.read_text().splitlines() if file.exists() else []

    def fifos(self) -> list[Path]:
        return list(self._directory.glob("*.fifo"))


@pytest.fixture
def space() -> Iterator[str]:
    with namespace() as name:
        yield name


def configuration(ears: Ears) -> str:
    fifos = [ears.fifo(name) for name in ("notify_fifo", "lvs_notify_fifo", "vrrp_notify_fifo")]
    servers = (
        block(
            f"real_server {address} {port}",
            ears.script("notify_up", address, "up"),
            ears.script("notify_down", address, "down"),
            block("TCP_CHECK", "connect_timeout 3"),
        )
        for address, port in (FIRST, SECOND)
    )
    service = block(
        f"virtual_server {VIP}",
        *("delay_loop 1", "warmup 0", "retry 0", "lvs_sched rr", "lvs_method NAT", "protocol TCP"),
        *("quorum 2", "omega"),
        ears.script("quorum_up", "quorum", "up"),
        ears.script("quorum_down", "quorum", "down"),
        *servers,
    )
    router = instance(interface="eth1", vips=("10.1.0.100/24",), advert_int=0.2)
    return config(service, router, defs=tuple(line for lines in fifos for line in lines))


def test_everybody_hears_everything(space: str, tmp_path: Path) -> None:
    ears = Ears(tmp_path)
    with Servers(space) as servers, Daemon(space, tmp_path) as daemon:
        servers.up(FIRST, SECOND)
        daemon.start(configuration(ears))
        master = 'INSTANCE "VI" MASTER 100'
        wait_for(lambda: master in ears.heard("vrrp_notify_fifo"), "master")
        servers.down(SECOND)
        lost = f"VS {NAME} DOWN"
        wait_for(lambda: lost in ears.heard("lvs_notify_fifo"), "quorum lost")
        servers.up(SECOND)
        gained = f"VS {NAME} UP"
        wait_for(lambda: ears.heard("lvs_notify_fifo").count(gained) == 2, "quorum gained")

        # Whoever of the two ends, the common FIFO and its reader stay.
        for name in ("ipvs", "vrrp"):
            daemon.kill(name)
            wait_for(lambda name=name: daemon.status()["daemon"][name]["restarts"] == 1, "again")
        wait_for(lambda: ears.heard("notify_fifo").count(master) == 2, "master again")
        servers.down(FIRST)
        wait_for(lambda: ears.heard("notify_fifo").count(lost) == 2, "lost again")
        wait_for(lambda: ears.heard("notes")[-1:] == ["quorum down"], "and its script")
        servers.up(FIRST)
        wait_for(lambda: ears.heard("notes")[-1:] == ["quorum up"], "and its script")
        assert daemon.stop() == 0

    common, lvs, vrrp = (
        ears.heard(name) for name in ("notify_fifo", "lvs_notify_fifo", "vrrp_notify_fifo")
    )
    second = f"RS [127.0.0.3]:tcp:80 {NAME}"
    for heard in (common, lvs):
        news = [line for line in heard if line.startswith((f"VS {NAME}", second))]
        assert news[:5] == [gained, f"{second} DOWN", lost, f"{second} UP", gained]
        # Told at the very end, beside what the routers tell of theirs.
        of_servers = [line for line in heard if not line.startswith("INSTANCE")]
        assert of_servers[-3:] == [f"RS [127.0.0.2]:tcp:80 {NAME} DOWN", f"{second} DOWN", lost]
    assert 'INSTANCE "VI" STOP 100' in common
    assert [line for line in common if line.startswith("INSTANCE")] == vrrp
    assert not [line for line in lvs if line.startswith("INSTANCE")]
    *servers_down, quorum_down = ears.heard("notes")[-3:]
    assert sorted(servers_down) == ["127.0.0.2 down", "127.0.0.3 down"], "side by side"
    assert quorum_down == "quorum down"
    # A process that was killed removes nothing, and its successor only what it made itself.
    left = {path.stem for path in ears.fifos()}
    assert left == {"lvs_notify_fifo", "vrrp_notify_fifo"}, "that of all is removed"
