"""Floods: no advert is late, nothing is multiplied, the log stays readable, nobody else suffers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from chaos_frames import Forged
from chaos_scene import ALLOWANCE_NS, ATTACKER, BEAT_NS, MS, Chaos, many, now_ns

from fastvrrp.lab.network import wait_for
from fastvrrp.lab.sniffer import Advert
from keepalived_text import config, instance

# One worker has them all: floods beside one another would test the machine.
pytestmark = [pytest.mark.netns, pytest.mark.timing, pytest.mark.xdist_group("floods")]

ROUTERS = 250
RATE = 100_000
SECONDS = 1.5


def forged(vrid: int, **fields: Any) -> bytes:
    return Forged(ATTACKER, vrid=vrid, addresses=(f"10.9.0.{vrid}",), **fields).frame()


def assert_in_time(chaos: Chaos, begin: int, vrids: Iterable[int]) -> dict[str, int]:
    """No advert of these was missed, and none late by more than a CPU that stood still explains.
    What the kernel does to receive a flood is among that: no process, a witness neither, gets the
    CPU. The observer at the switch must say so, and the daemon's own counters the same."""
    adverts: dict[int, list[Advert]] = {vrid: [] for vrid in vrids}
    for advert in chaos.ears["r1"].all_adverts(begin):
        adverts.setdefault(advert.vrid, []).append(advert)
    assert min(len(adverts[vrid]) for vrid in vrids) >= SECONDS / 0.1 - 1
    gap = max(chaos.machine.gap_ns(adverts[vrid]) for vrid in vrids)
    print(f"a flood: adverts at most {max(0, gap - 100 * MS) / MS:.2f} ms late")
    assert gap < BEAT_NS
    engine = chaos.engine("r1")
    assert (engine["late"], engine["adverts_missed"]) == (0, 0)
    stall = max(chaos.machine.stalls(chaos.begin_ns, now_ns()), default=0)
    assert engine["lateness_ns_max"] < ALLOWANCE_NS + stall
    assert (engine["events_lost"], engine["actions_lost"], engine["announce_dropped"]) == (0, 0, 0)
    return engine


def test_44_flood_of_bad_adverts(lone: Chaos) -> None:
    """Bad checksums, TTLs, unknown VRIDs (RFC 9568 7.1): counted, and hardly seen in the log."""
    lone.start_many("r1", config(*many(ROUTERS)), ROUTERS)
    frames = [
        forged(1, checksum_xor=1, priority=255),
        forged(2, ttl=254, priority=255),
        forged(255, priority=255),
        forged(3, version=7),
    ]
    begin = now_ns()
    sent = lone.flood(frames, RATE, SECONDS)
    engine = assert_in_time(lone, begin, range(1, ROUTERS + 1))
    assert sent > 10_000
    assert engine["advert_rcvd"] == 0
    assert engine["release_master"] == 0
    assert sum("rejected" in line for line in lone.log("r1")) <= 15


@pytest.mark.parametrize("pace", ["", "vrrp_garp_interval 0.005"])
def test_68_flood_of_inferior_adverts(lone: Chaos, pace: str) -> None:
    """For every virtual router: at most four answers per interval and one burst of gratuitous ARP
    per second, whatever comes; paced ones do not pile up, either."""
    defs = ("vrrp_garp_master_delay 0", pace)
    lone.start_many("r1", config(*many(ROUTERS), defs=defs), ROUTERS)
    ear = lone.ears["r1"]
    begin = now_ns()
    lone.flood([forged(n, priority=50) for n in range(1, ROUTERS + 1)], RATE, SECONDS)
    assert_in_time(lone, begin, range(1, ROUTERS + 1))
    seconds = (now_ns() - begin) / 1e9 + 1
    assert max(len(ear.adverts(n, begin)) for n in (1, 100, ROUTERS)) < 55 * seconds
    assert max(ear.announcements(begin).values()) <= 5 * (seconds + 2)
    assert len(lone.log("r1")) < ROUTERS * 16


def test_master_changes_of_a_forger_do_not_drown_the_others(lone: Chaos) -> None:
    """Superior adverts from ever changing sources: one event at a time, none of others is lost."""
    lone.start_many("r1", config(*many(20)), 20)
    frames = [
        Forged(f"192.0.2.{n}", vrid=1, priority=200, addresses=("10.9.0.1",)).frame()
        for n in range(210, 250)
    ]
    begin = now_ns()
    lone.flood(frames, RATE, SECONDS)
    assert_in_time(lone, begin, range(2, 21))
    assert sum("master is" in line for line in lone.log("r1")) <= 6
    wait_for(lambda: lone.held("r1") == 20, 5, "master again")


def test_address_lists_in_the_worst_order(lone: Chaos) -> None:
    """250 right addresses, reversed: comparing them must cost no more than reading them."""
    vips = [f"10.8.0.{n}" for n in range(1, 251)]
    big = instance(name="BIG", vrid=200, vips=[f"{vip}/32" for vip in vips])
    lone.start_many("r1", config(*many(20), big), 270)
    advert = Forged(ATTACKER, vrid=200, priority=50, addresses=tuple(reversed(vips)))
    begin = now_ns()
    lone.flood([advert.frame()], 50_000, SECONDS)
    engine = assert_in_time(lone, begin, [*range(1, 21), 200])
    assert engine["advert_rcvd"] > 1000
    assert engine["addr_list_err"] == 0
