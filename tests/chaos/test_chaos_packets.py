"""Packets that must not matter: spoofed, malformed, truncated, fragmented, of other groups."""

from __future__ import annotations

import itertools
import time
from dataclasses import replace
from typing import Any

import pytest
from chaos_frames import Forged, fragments
from chaos_scene import ATTACKER, ATTACKER_V6, BEAT_NS, VIPS_V6, Chaos, now_ns

from fastvrrp.lab.network import wait_for
from keepalived_text import VIP, config, instance

pytestmark = pytest.mark.netns

V6 = instance(name="V6", vips=("fe80::100/64", "2001:db8::100/64"))


def lines(chaos: Chaos, text: str) -> int:
    return sum(text in line for line in chaos.log("r1"))


@pytest.mark.timing
def test_22_spoof_matrix(lone: Chaos) -> None:
    """Every combination but the one that is a proper advert: the master does not even blink."""
    lone.start("r1", config(instance()), holds=VIP)
    begin = now_ns()
    frames = []
    own, mac = lone["r1"].ipv4(), bytes.fromhex(lone["r1"].mac().replace(":", ""))
    for version, ttl, priority, vrid, target, source in itertools.product(
        (0, 2, 3, 4, 15), (0, 1, 254, 255), (0, 1, 254, 255), (51, 52, 0),
        ("", own, "224.0.0.1"), (own, ATTACKER),
    ):  # fmt: skip
        advert = Forged(source, target, version=version, ttl=ttl, priority=priority, vrid=vrid)
        if (version, ttl, vrid, target, source) != (3, 255, 51, "", ATTACKER):
            frames.append(advert.frame(to=mac if target == own else None))
    lone.send(*frames)
    lone.await_adverts("r1", 3)
    assert lone.gap_ns("r1", begin) < BEAT_NS
    counters = lone.counters("r1")
    assert (counters["advert_rcvd"], counters["release_master"]) == (0, 0)
    assert min(counters[name] for name in ("version_err", "ttl_err", "cast_kind_err")) > 0
    assert lines(lone, "rejected") <= 15


@pytest.mark.timing
def test_22_spoof_matrix_ipv6(lone: Chaos) -> None:
    lone.start("r1", config(V6), family=6)
    wait_for(lambda: "2001:db8::100" in lone["r1"].addresses(), 10, "master")
    begin, frames = now_ns(), []
    for version, ttl, priority, target in itertools.product(
        (2, 3, 4), (1, 254, 255), (0, 1, 254, 255), ("", "ff02::1", lone["r1"].link_local())
    ):
        advert = Forged(
            ATTACKER_V6, target, version=version, ttl=ttl, priority=priority, addresses=VIPS_V6
        )
        if (version, ttl, target) != (3, 255, ""):
            to = None if target != "ff02::1" else bytes.fromhex("333300000001")
            frames.append(advert.frame(to=to))
    lone.send(*frames)
    lone.await_adverts("r1", 3)
    assert lone.gap_ns("r1", begin) < BEAT_NS
    counters = lone.counters("r1", "V6")
    assert (counters["advert_rcvd"], counters["release_master"]) == (0, 0)


def test_25_truncated_and_overlong(lone: Chaos) -> None:
    """Every prefix is dropped (RFC 9568 7.1); IP options and a tail are not the VRRP message's."""
    lone.start("r1", config(instance()), holds=VIP)
    for version in (2, 3):
        whole = len(Forged(ATTACKER, version=version).pdu())
        wrong = Forged(ATTACKER, version=version, priority=255)
        lone.forge(*(replace(wrong, cut=cut) for cut in range(whole)))
    lone.forge(Forged(ATTACKER, priority=255, count=2), Forged(ATTACKER, priority=255, count=255))
    lone.await_adverts("r1", 2)
    assert lone.counters("r1")["release_master"] == 0
    assert lone.counters("r1")["advert_rcvd"] == 0
    for options in (b"\1" * 4, b"\x94\4\0\0", b"\x07\x27\x04" + bytes(37), b"\1" * 40):
        lone.forge(Forged(ATTACKER, priority=1, options=options))
    lone.forge(Forged(ATTACKER, priority=1, tail=b"x" * 700))
    wait_for(lambda: lone.counters("r1")["advert_rcvd"] == 5, 3, "the proper ones are taken")


def test_fragments_are_one_advert_or_none(lone: Chaos) -> None:
    lone.start("r1", config(instance()), holds=VIP)
    big = Forged(ATTACKER, priority=1, addresses=tuple(f"10.0.0.{n}" for n in range(255)))
    head = big.frame()[:14]
    parts = [head + part for part in fragments(big.packet(), 256)]
    lone.send(*parts[:-1])
    time.sleep(0.1)
    assert lone.counters("r1")["advert_rcvd"] == 0
    lone.send(parts[-1])
    wait_for(lambda: lone.counters("r1")["advert_rcvd"] == 1, 3, "the whole is taken")


def test_42_another_multicast_group_is_another_lan(lone: Chaos) -> None:
    """Two clusters on a LAN share a VRID and differ in mcast_dst_ip; we are in both groups."""
    other = instance("mcast_dst_ip 224.0.0.20", name="OTHER", vips=("192.0.2.101/24",))
    lone.start("r1", config(instance(vrid=52), other), holds=VIP)
    wait_for(lambda: lone.state("r1", "OTHER") == "MASTER", 5, "master of the other group")
    lone.forge(*[Forged(ATTACKER, priority=255)] * 5)
    lone.await_adverts("r1", 2)
    assert lone.counters("r1", "OTHER")["cast_kind_err"] == 5
    assert lone.state("r1", "OTHER") == "MASTER"


@pytest.mark.timing
def test_a_stream_of_invalid_adverts_does_not_move_a_backup(pair: Chaos) -> None:
    """Valid ones are still heard in between; nothing of the invalid ones counts."""
    pair.start("r1", config(instance(priority=150)), holds=VIP)
    pair.start("r2", config(instance(priority=100)))
    wrongs: tuple[dict[str, Any], ...] = (
        {"checksum_xor": 1}, {"ttl": 254}, {"version": 2}, {"version": 4}, {"type": 2},
        {"interval": 0}, {"cut": 11}, {"count": 0},
    )  # fmt: skip
    bad = [
        Forged(ATTACKER, priority=priority, **wrong).frame()
        for priority in (0, 255)
        for wrong in wrongs
    ]
    begin = now_ns()
    pair.flood(bad, 500, 1.5)
    assert pair.ears["r2"].adverts(since_ns=begin) == []
    assert pair.gap_ns("r1", begin) < BEAT_NS
    for name in ("r1", "r2"):
        assert sum("rejected" in line for line in pair.log(name)) <= 5 * 7
        assert pair.counters(name)["release_master"] == 0
    assert pair.counters("r2")["become_master"] == 0
