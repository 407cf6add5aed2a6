"""A router whose machine is busy with something else: it forks without end, it is reloaded in a
loop, the kernel throws its messages away.

Each ends in the right state, and an observer at the switch says how late adverts were meanwhile:
with the kernel's stamps, less what the machine took from everybody (shown by `pytest -rP`).
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from chaos_scene import BEAT_NS, MS, Chaos, many, now_ns

from fastvrrp.lab.network import wait_for
from keepalived_text import VIP, block, config, instance
from netlink_storm import NetlinkStorm

pytestmark = [pytest.mark.netns, pytest.mark.timing]

RELOADS = 30
FORKERS = 4
SCRIPTS = 20
FEWEST_FORKS = 2000  # less would be no storm
ROUTERS = 100


def in_time(chaos: Chaos, what: str, begin: int, vrid: int = 51) -> None:
    """No advert was late, and nobody took over."""
    gap = chaos.gap_ns("r1", begin, vrid)
    print(f"{what}: adverts at most {max(0, gap - 100 * MS) / MS:.2f} ms late")
    assert gap < BEAT_NS
    assert chaos.counters("r2")["become_master"] == 0


@contextmanager
def forking(chaos: Chaos, name: str) -> Iterator[None]:
    """Shells beside the daemon that start one program after the other."""
    # fmt: off
    shells = [
        chaos[name].call(subprocess.Popen, ["sh", "-c", "while :; do /bin/true; done"])
        for _ in range(FORKERS)
    ]
    # fmt: on
    try:
        yield
    finally:
        for shell in shells:
            shell.kill()
            shell.wait()


def forks() -> int:
    """How many processes this machine has ever started."""
    lines = Path("/proc/stat").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("processes "))


def test_a_storm_of_forks(pair: Chaos) -> None:
    """The machine's, and the daemon's own for scripts that are due ten times a second."""
    scripts = [
        block(f"vrrp_script S{n}", 'script "/bin/true"', "interval 0.1", "weight 1")
        for n in range(SCRIPTS)
    ]
    tracked = block("track_script", *(f"S{n}" for n in range(SCRIPTS)))
    pair.start("r1", config(*scripts, instance(tracked, priority=150)), holds=VIP)
    pair.start("r2", config(instance()))
    wait_for(lambda: pair.state("r2") == "BACKUP", 5, "a backup")
    wait_for(
        lambda: pair.instances("r1")["VI"]["effective_priority"] == 150 + SCRIPTS, 5, "all scripts"
    )
    before, begin = forks(), now_ns()
    with forking(pair, "r1"):
        wait_for(lambda: forks() - before > FEWEST_FORKS, 30, "a storm")
        time.sleep(1)
    in_time(pair, f"{forks() - before} forks", begin)
    wait_for(  # some may have taken longer than they have
        lambda: pair.instances("r1")["VI"]["effective_priority"] == 150 + SCRIPTS, 5, "all again"
    )
    pair.network.wait_holder(VIP, "r1", timeout_s=1)


def test_reloads_in_a_loop(pair: Chaos) -> None:
    """A hundred others come, change and go, again and again."""

    def file(number: int) -> str:
        others = many(ROUTERS if number % 3 else 0, priority=50 + number, advert_int=1)
        return config(instance(priority=150), *(one for one in others if "V51 " not in one))

    pair.start("r1", file(0), holds=VIP)
    pair.start("r2", config(instance()))
    wait_for(lambda: pair.state("r2") == "BACKUP", 5, "a backup")
    begin = now_ns()
    for number in range(1, RELOADS + 1):
        pair.daemons["r1"].config.write_text(file(number))
        words = pair.daemons["r1"].command("reload")
        pair["r1"].run(*words)
    in_time(pair, f"{RELOADS} reloads", begin)
    assert len(pair.instances("r1")) == 1
    wait_for(lambda: pair.held("r1") == 0, 5, "those that are gone left nothing")
    pair.network.wait_holder(VIP, "r1", timeout_s=1)


def test_98_messages_that_the_kernel_threw_away(lone: Chaos) -> None:
    """ENOBUFS for the engine and for Python: an address that went and a carrier that went, or came,
    meanwhile are noticed all the same."""
    other = instance(name="OTHER", interface="eth1", vrid=52, vips=("10.9.9.9/24",))
    lone.start("r1", config(instance(), other), holds=VIP)
    wait_for(lambda: lone.state("r1", "OTHER") == "MASTER", 5, "both are masters")
    node, pid = lone["r1"], lone.vrrp_pid("r1")
    storm = NetlinkStorm(node)
    both = 2  # the engine's and Python's
    storm.hide(f"addr del {VIP}/24 dev eth0\nlink set eth1 down\n", pid, sockets=both)
    wait_for(lambda: lone.state("r1", "OTHER") == "FAULT", 5, "the carrier is missed")
    lone.network.wait_holder(VIP, "r1", timeout_s=5)
    assert "10.9.9.9" not in node.addresses("eth1")
    storm.hide("link set eth1 up\n", pid, sockets=both)
    wait_for(lambda: lone.state("r1", "OTHER") == "MASTER", 8, "the carrier is back")
    wait_for(lambda: "10.9.9.9" in node.addresses("eth1"), 3, "and the address")
    begin = now_ns()
    lone.await_adverts("r1", 3)
    assert lone.gap_ns("r1", begin) < BEAT_NS
    assert lone.state("r1") == "MASTER"
