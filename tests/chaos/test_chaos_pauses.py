"""Routers that stand still, are cut off, or have to take over everything at once."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from chaos_scene import ALLOWANCE_NS, MS, OUTAGE_NS, Chaos, now_ns

from fastvrrp.lab.network import wait_for
from fastvrrp.lab.sniffer import Sniffer
from keepalived_text import VIP, config, instance
from machine import Machine

pytestmark = [pytest.mark.netns, pytest.mark.timing]

DOWN_S = 0.3 + 0.1 * 156 / 256  # of a backup with priority 100 at an interval of 100 ms


def neighbour(chaos: Chaos) -> str:
    """The hardware address that the attacker, an innocent host for once, has for the VIP."""
    words = chaos.attacker.run("ip", "neigh", "show", VIP).split()
    return words[words.index("lladdr") + 1] if "lladdr" in words else ""


def knows_of_its_pause(status: dict[str, Any], at_least_ns: int) -> None:
    """What `status --json` says of one that lasted so long, at least: on a busy machine it begins
    when the process gets to its signal."""
    engine, histogram = status["engine"], status["lateness"]["histogram"]
    assert engine["own_pauses"] == 1
    assert engine["lateness_ns_max"] >= at_least_ns
    assert sum(count for least, count in histogram if 2 * least > at_least_ns) >= 1


@pytest.mark.parametrize("pause", [0.5, 2.0, 10.0])
@pytest.mark.parametrize(("first", "second"), [(150, 100), (100, 100), (100, 99)])
def test_96_the_master_stands_still(pair: Chaos, pause: float, first: int, second: int) -> None:
    """For some down intervals (SIGSTOP): one master in the end, the right one, and hosts know. A
    pause that the other did not notice changes nothing. At equal priorities the higher address,
    which is r2's, keeps what it has taken over."""
    pair.start("r1", config(instance(priority=first)), holds=VIP)
    pair.start("r2", config(instance("nopreempt", priority=second)))
    pair.attacker.run("ping", "-c1", "-W1", VIP)
    wait_for(lambda: pair.state("r2") == "BACKUP", 5, "a backup")
    pid = pair.vrrp_pid("r1")
    os.kill(pid, signal.SIGSTOP)
    time.sleep(pause * DOWN_S)
    woken = now_ns()
    os.kill(pid, signal.SIGCONT)
    pair.await_adverts("r1" if first > second or pause < 1 else "r2", 4)
    winner = "r2" if pause > 1 and first == second else "r1"
    pair.network.wait_holder(VIP, winner, timeout_s=3)
    wait_for(lambda: neighbour(pair) == pair[winner].mac(), 1, "the host knows")
    # The next advert of the right one ends it.
    overlap = pair.overlap_ns(woken)
    print(f"{pause} down intervals: both hold the address for {overlap / MS:.2f} ms")
    assert overlap < 100 * MS + OUTAGE_NS
    if pause < 1:
        assert pair.counters("r2")["become_master"] == 0
    else:
        assert pair.ears[winner].announcements(woken)[VIP] >= 5
        knows_of_its_pause(pair.status("r1"), round(pause * DOWN_S / 2 * 1e9))


def test_96_a_backup_stands_still(pair: Chaos) -> None:
    """What waits in its socket counts first: it does not take over."""
    pair.start("r1", config(instance(priority=150)), holds=VIP)
    pair.start("r2", config(instance(priority=100)))
    wait_for(lambda: pair.state("r2") == "BACKUP", 5, "a backup")
    for pause in (0.2, 1.0, 2.0):
        os.kill(pair.vrrp_pid("r2"), signal.SIGSTOP)
        time.sleep(pause * DOWN_S)
        os.kill(pair.vrrp_pid("r2"), signal.SIGCONT)
        pair.await_adverts("r1", 2)
    assert pair.ears["r2"].adverts() == []
    assert pair.state("r2") == "BACKUP"


def test_96_a_backup_of_many_links_stands_still(pair: Chaos) -> None:
    """More sockets than one look at them returns: all of them are read before any timer."""
    links = range(80)
    for n in links:
        pair.network.connect("r1", "r2", f"x{n}")
        for name, host in (("r1", 1), ("r2", 2)):
            node = pair[name]
            node.addr("add", index=node.index(f"x{n}"), address=f"172.16.{n}.{host}", prefixlen=24)

    def text(priority: int) -> str:
        return config(
            *(
                instance(
                    name=f"V{n}",
                    interface=f"x{n}",
                    vrid=n + 1,
                    priority=priority,
                    vips=(f"10.9.{n}.9/32",),
                )
                for n in links
            )
        )

    pair.start_many("r1", text(150), len(links))
    pair.daemons["r2"].start(text(100))
    wait_for(lambda: "80 BACKUP" in pair.daemons["r2"].log(), 10, "r2 is backup of all")
    with Sniffer(pair["r2"], ports=["x0"]) as sniffer:
        for late_ms in (*range(-2, 8), 20):  # how late the first deadline is when it goes on
            time.sleep(0.2)
            os.kill(pair.vrrp_pid("r2"), signal.SIGSTOP)
            time.sleep(0.01)
            heard = sniffer.adverts(vrid=1)[-1].time_ns
            time.sleep(max(0, heard + DOWN_S * 1e9 + late_ms * MS - now_ns()) / 1e9)
            os.kill(pair.vrrp_pid("r2"), signal.SIGCONT)
    time.sleep(0.2)
    assert pair.engine("r2")["become_master"] == 0


def test_partition_of_equals(pair: Chaos) -> None:
    """Two masters for as long as the LAN is cut, one right after, and hosts follow it."""
    for name in ("r1", "r2"):
        pair.start(name, config(instance()))
    wait_for(lambda: len(pair.network.holders(VIP)) == 1, 5, "one master")
    time.sleep(0.2)
    pair.network.partition(["r2"])
    wait_for(lambda: pair.network.holders(VIP) == ["r1", "r2"], 3, "two masters")
    pair.attacker.run("ping", "-c1", "-W1", VIP)
    assert neighbour(pair) == pair["r1"].mac()
    healed = now_ns()
    pair.network.heal()
    pair.network.wait_holder(VIP, "r2", timeout_s=3)
    wait_for(lambda: neighbour(pair) == pair["r2"].mac(), 1, "the host knows")
    assert pair.overlap_ns(healed) < 100 * MS + OUTAGE_NS


def test_93_takeover_of_300(tmp_path: Path, machine: Machine) -> None:
    """All at once: the first adverts within the spread of their deadlines, then all announced."""
    with Chaos(tmp_path, machine, 2, lans=2) as chaos:

        def text(priority: int) -> str:
            return config(
                *(
                    instance(
                        name=f"V{lan}x{vrid}",
                        interface=f"eth{lan}",
                        vrid=vrid,
                        priority=priority,
                        vips=(f"10.{9 + lan}.0.{vrid}/32",),
                    )
                    for lan in (0, 1)
                    for vrid in range(1, 151)
                )
            )

        chaos.start_many("r1", text(150), 300)
        chaos.daemons["r2"].start(text(100))
        wait_for(
            lambda: "300 BACKUP" in chaos.daemons["r2"].log(), 10, "r2 has all of them as backup"
        )
        chaos.await_adverts("r1", 3, vrid=150)
        dead = chaos.daemons["r1"].kill()
        wait_for(lambda: chaos.held("r2") == 300, 5, "all addresses")
        ear = chaos.ears["r2"]
        wait_for(lambda: len(ear.announcements(dead)) == 150, 3, "all announced")
        due = dead + round(DOWN_S * 1e9)
        firsts = [ear.adverts(vrid, dead)[0].time_ns for vrid in range(1, 151)]
        assert machine.longest_ns((due, first) for first in firsts) < ALLOWANCE_NS
        stalls = len(machine.stalls(chaos.begin_ns, now_ns()))
        assert chaos.engine("r2")["turns_late_1ms"] <= 20 + stalls


def test_91_10_ms_beside_busy_loops(pair: Chaos) -> None:
    """Installed as it is: four busy loops make no advert so late that the other takes over, nor
    does the other believe so."""
    pair.start("r1", config(instance(priority=150, advert_int=0.01)), holds=VIP)
    pair.start("r2", config(instance(priority=100, advert_int=0.01)))
    wait_for(lambda: pair.state("r2") == "BACKUP", 5, "a backup")
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(4)]
    try:
        before = pair.counters("r2")["become_master"]
        begin = now_ns()
        time.sleep(2)
        end = now_ns()
        taken = pair.counters("r2")["become_master"] - before
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()
    adverts = [a for a in pair.ears["r1"].adverts(since_ns=begin) if a.time_ns <= end]
    down_ns = DOWN_S / 10 * 1e9
    assert pair.machine.gap_ns(adverts) < down_ns
    # Only a master that the machine silenced is replaced.
    silent = max(b.time_ns - a.time_ns for a, b in itertools.pairwise(adverts)) > down_ns
    assert taken == 0 or silent
