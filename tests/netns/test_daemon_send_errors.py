"""A firewall that swallows what the router sends: counted and told, and no busy loop."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from netns_tools import World, now_ns

from fastvrrp.lab.daemons import Fastvrrp, process_tree
from fastvrrp.lab.network import wait_for
from keepalived_text import VIP, config, instance

pytestmark = pytest.mark.netns

RULES = "add table inet t; add chain inet t out { type filter hook output priority 0; }; "
DROP = "add rule inet t out meta l4proto 112 drop"


def cpu_s(world: World) -> float:
    """CPU time of all processes of the daemon."""
    ticks = 0
    for pid in process_tree(world.daemon.pid):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def test_100_adverts_that_cannot_be_sent(world: World) -> None:
    """The host's own firewall refuses them (EPERM): counted, one log line, tried with the next
    advert, and on the wire again once it is let through; the address stays all the time."""
    daemon = world.daemon
    if not isinstance(daemon, Fastvrrp):
        pytest.skip("reads fastvrrp's counters")
    world.start(config(instance()))

    def failures() -> int:
        status = json.loads(world.router.run(*daemon.command("status", "--json")))
        return int(status["instances"][0]["counters"]["send_err"])

    assert failures() == 0
    before = cpu_s(world)
    begin = now_ns()
    world.router.run("nft", RULES + DROP)
    wait_for(lambda: failures() >= 5, 5, "five adverts that could not be sent")
    assert failures() <= (now_ns() - begin) // 100_000_000 + 2  # one per interval, no loop
    assert cpu_s(world) - before < 0.5 * (now_ns() - begin) / 1e9
    assert world.shown(VIP) is not None
    assert daemon.log().count("adverts could not be sent") == 1

    world.router.run("nft", "flush ruleset")
    world.await_adverts(3)
