"""The same life of a virtual server told by keepalived and by our pool.

FILE_CHECKs make the events: one file of each real server says whether it is up, another what is
added to its weight, and keepalived looks at them at once. After each event the kernel's table must
be what our pool wants of it; what keepalived logs and writes into its FIFO, in its order, must be
what we say of the same life.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from guest_tools import keepalived, namespace, run

from fastvrrp.config import model
from fastvrrp.config.load import load
from fastvrrp.config.servers import RealServer
from fastvrrp.ipvs.identity import key_of
from fastvrrp.ipvs.notify import ServerNotifier
from fastvrrp.ipvs.pool import Action, Pool, Source
from keepalived_text import block, config
from looping import FakeRunner

EVENTS = 15
LIMIT_S = 10.0
WEIGHTS = (0, 0, 1, 2, -1, -4, -1000, 500)
OURS = re.compile(
    r"(Adding|Removing|Enabling|Disabling) (service|sorry server|alive servers)"
    r"|(Gained|Lost) quorum|Starting with quorum|Changing weight"
)


def real_server(address: str, files: Path, *lines: str) -> str:
    """With a state and a weight file of its own."""
    name = address.split()[0]
    return block(
        f"real_server {address}",
        *lines,
        block("FILE_CHECK", f"track_file state{name}", "weight 0"),
        block("FILE_CHECK", f"track_file weight{name}", "weight 1"),
    )


def life(files: Path, head: str, servers: dict[str, tuple[str, ...]], *lines: str) -> str:
    """A configuration file of one virtual server, and its tracked files."""
    tracks = []
    for address in servers:
        for kind in ("state", "weight"):
            name = kind + address.split()[0]
            (files / name).write_text("0\n")
            tracks.append(block(f"track_file {name}", f'file "{files / name}"'))
    virtual_server = block(
        f"virtual_server {head}",
        "lvs_sched rr",
        "lvs_method NAT",
        *lines,
        *(real_server(address, files, *more) for address, more in servers.items()),
    )
    fifo = f"lvs_notify_fifo {files / 'theirs'}"
    return config(*tracks, virtual_server, defs=(fifo,))


THREE = {
    "192.0.2.1 80": ("weight 5",),
    "192.0.2.2 80": ("weight 3",),
    "192.0.2.3 80": ("weight 2",),
}
INHIBITED = {address: (*lines, "inhibit_on_failure") for address, lines in THREE.items()}
SIX = {address.replace("192.0.2.", "2001:db8::"): lines for address, lines in THREE.items()}
MARKED = {address.replace(" 80", ""): lines for address, lines in THREE.items()}
HYSTERESIS = ("quorum 5", "hysteresis 2")
SORRY = ("sorry_server 192.0.2.9 80",)
TCP = ("protocol TCP",)

OMEGA = ("omega",)
ENDS_DOWN = frozenset(("sorry, down at the end", "inhibited", "down at the end"))

LIVES: dict[str, tuple[str, dict[str, tuple[str, ...]], tuple[str, ...]]] = {
    "plain": ("10.0.0.1 80", THREE, TCP),
    "quorum": ("10.0.0.1 80", THREE, (*TCP, *HYSTERESIS)),
    "sorry": ("10.0.0.1 80", THREE, (*TCP, *HYSTERESIS, *SORRY, *OMEGA)),
    "sorry, down at the end": ("10.0.0.1 80", THREE, (*TCP, *SORRY, *OMEGA)),
    "down at the end": ("10.0.0.1 80", THREE, (*TCP, *OMEGA)),
    "inhibited": (
        "10.0.0.1 80",
        INHIBITED,
        (*TCP, *HYSTERESIS, *SORRY, "sorry_server_inhibit", *OMEGA),
    ),
    "udp of ipv6": ("2001:db8::80 53", SIX, ("protocol UDP", "quorum 4", *OMEGA)),
    "mark": ("fwmark 7", MARKED, ("quorum 6", "hysteresis 1")),
}


class Nothing(FakeRunner):
    """Runs no programs: there are none."""


class Side:
    """Lines from a file or FIFO, as they come."""

    def __init__(self, read: Callable[[], list[str]]) -> None:
        self._read = read
        self.lines: list[str] = []

    def look(self) -> list[str]:
        self.lines += self._read()
        return self.lines


def fifo_reader(path: Path) -> Callable[[], list[str]]:
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)

    def read() -> list[str]:
        try:
            return os.read(fd, 65536).decode().splitlines()
        except BlockingIOError:
            return []

    return read


def log_reader(path: Path) -> Callable[[], list[str]]:
    seen = 0

    def read() -> list[str]:
        nonlocal seen
        text = path.read_text()
        complete = text[: text.rindex("\n") + 1] if "\n" in text else ""
        new, seen = complete[seen:], len(complete)
        lines = [line.partition(": ")[2] for line in new.splitlines()]
        return [line for line in lines if OURS.match(line)]

    return read


def table(name: str) -> dict[str, int]:
    """Destinations of the only service, by `address port`."""
    found = {}
    for line in run("ip", "netns", "exec", name, "ipvsadm", "-Sn").splitlines():
        words = line.split()
        if words[0] == "-a":
            found[words[words.index("-r") + 1]] = int(words[words.index("-w") + 1])
    return found


def wanted(pool: Pool) -> dict[str, int]:
    found = {}
    for server, weight in pool.desired():
        address = f"[{server.address}]" if ":" in server.address else server.address
        found[f"{address}:{server.port}"] = weight
    return found


class Told:
    """Our pool, and what we say of it."""

    def __init__(self, configuration: model.Configuration) -> None:
        (self.virtual_server,) = configuration.ipvs.virtual_servers
        self.pool = Pool(self.virtual_server)
        self.notifier = ServerNotifier(configuration, Nothing(), fifos=())
        self.fifo: list[str] = []

    def tell(self, actions: list[Action]) -> None:
        self.note(actions)
        self.notifier.tell(self.virtual_server, actions)

    def note(self, actions: list[Action]) -> None:
        """The FIFO's lines alone."""
        for action in actions:
            told = self.notifier._told(self.virtual_server, action)
            if told is not None:
                self.fifo.append(told.line)


def until_same(what: str, theirs: Callable[[], object], ours: object) -> None:
    deadline = time.monotonic() + LIMIT_S
    while theirs() != ours:
        if time.monotonic() > deadline:
            assert theirs() == ours, what
        time.sleep(0.02)


@pytest.mark.timeout(180)
@pytest.mark.parametrize("name", LIVES)
def test_the_same_life(name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "fastvrrp.ipvs.notify")
    head, servers, lines = LIVES[name]
    file = tmp_path / "keepalived.conf"
    file.write_text(life(tmp_path, head, servers, *lines))
    loaded = load(file)
    assert loaded.configuration is not None, [str(message) for message in loaded.messages]
    told = Told(loaded.configuration)
    os.mkfifo(tmp_path / "theirs")
    fifo = Side(fifo_reader(tmp_path / "theirs"))
    dice = random.Random(name)

    def our_log() -> list[str]:
        return [record.getMessage() for record in caplog.records]

    with namespace() as network, keepalived(network, tmp_path, file):
        log = Side(log_reader(tmp_path / "log"))

        def compare(what: str) -> None:
            until_same(what, lambda: table(network), wanted(told.pool))
            until_same(what, log.look, our_log())
            until_same(what, fifo.look, told.fifo)

        told.tell(told.pool.start())
        compare("start")
        happened: list[str] = []
        for _ in range(EVENTS):
            happened.append(random_event(dice, tmp_path, told))
            compare(f"after {happened}")
        assert len(our_log()) > EVENTS / 3, "hardly anything happened"
        if name in ENDS_DOWN:
            for server in told.virtual_server.real_servers:
                set_state(tmp_path, told, server, False)
                compare(f"{server.address} at the end, after {happened}")
        else:
            set_state(tmp_path, told, told.virtual_server.real_servers[0], True)
            compare("at the end")
    told.note(told.pool.stop())
    until_same("stop", fifo.look, told.fifo)
    asyncio.run(told.notifier.stop())


def random_event(dice: random.Random, files: Path, told: Told) -> str:
    """Change a file, and tell the pool what that means."""
    server = dice.choice(told.virtual_server.real_servers)
    if dice.random() < 0.65:
        up = not told.pool.up(key_of(server))
        set_state(files, told, server, up)
        return f"{server.address} {'up' if up else 'down'}"
    added = dice.choice(WEIGHTS)
    write(files, "weight", server, added)
    told.tell(told.pool.weigh(key_of(server), 1, Source(added)))
    return f"{server.address} {added:+}"


def set_state(files: Path, told: Told, server: RealServer, up: bool) -> None:
    write(files, "state", server, int(not up))
    told.tell(told.pool.result(key_of(server), 0, up))


def write(files: Path, kind: str, server: RealServer, value: int) -> None:
    (files / f"{kind}{server.address}").write_text(f"{value}\n")
