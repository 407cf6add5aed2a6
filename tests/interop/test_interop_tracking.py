"""Scripts, interfaces and processes move the address. r1 tracks, r2 waits with a priority between
r1's full and r1's reduced one."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from interop_scene import MS, NS, RTNL_NS, Scene, now_ns

from fastvrrp.lab.network import wait_for
from keepalived_text import VIP, block, config, instance

pytestmark = [pytest.mark.netns, pytest.mark.interop]

FULL, BETWEEN, REDUCED = 150, 120, 100
OTHER = instance(priority=BETWEEN)


def make_check(directory: Path) -> tuple[Path, Path]:
    """A check script that fails while a file exists, and the file where it notes each result."""
    journal, fail = directory / "journal", directory / "fail"
    script = directory / "check"
    script.write_text(
        f"#!/bin/sh\nif test -e {fail}; then echo bad >>{journal}; exit 1; fi\n"
        f"echo good >>{journal}\n"
    )
    script.chmod(0o755)
    return script, journal


def results(journal: Path, result: str) -> int:
    return journal.read_text().split().count(result) if journal.exists() else 0


def test_script_weight(make_scene, tmp_path: Path) -> None:
    """vrrp_script with weight -50, fall 3, rise 2: the priority falls after three failures in a
    row and is back after two successes (keepalived's vrrp_script)."""
    scene: Scene = make_scene()
    script, journal = make_check(tmp_path)
    check = block(
        "vrrp_script check", f'script "{script}"', "interval 1", "weight -50", "fall 3", "rise 2"
    )
    tracked = instance(block("track_script", "check"), state="MASTER", priority=FULL)
    scene.start_pair(config(check, tracked), config(OTHER))
    probe = scene.probe()
    scene.assert_answers(probe)

    begin = now_ns()
    (tmp_path / "fail").touch()
    reduced = scene.first("r1-0", since_ns=begin, priority=REDUCED)
    assert 3 <= results(journal, "bad") <= 4
    assert 1.9 * NS < reduced.time_ns - begin < 3.6 * NS
    takeover = scene.first("r2-0", since_ns=begin)
    # RFC 9568 6.4.2: the backup's timer, last armed by a better advert, runs out.
    assert takeover.time_ns - reduced.time_ns < 500 * MS
    scene.network.wait_holder(VIP, "r2")
    scene.assert_answers(probe)
    scene.silent("r1-0", 0.3)

    good = results(journal, "good")
    back = now_ns()
    (tmp_path / "fail").unlink()
    again = scene.first("r1-0", since_ns=back, priority=FULL)
    assert 2 <= results(journal, "good") - good <= 3
    assert 0.9 * NS < again.time_ns - back < 3.2 * NS
    scene.network.wait_holder(VIP, "r1")
    scene.assert_answers(probe)
    assert probe.outage_ns(since_ns=begin) < 300 * MS + RTNL_NS
    assert scene.addresses.overlap_ns(VIP) < 100 * MS + RTNL_NS
    scene.assert_wire(priorities={"r1": {FULL, REDUCED}, "r2": {BETWEEN}})


def test_script_fault(make_scene, tmp_path: Path) -> None:
    """vrrp_script with weight 0: a failure means FAULT, announced with priority 0, and the
    return to health means BACKUP, then MASTER again (keepalived's vrrp_script)."""
    scene: Scene = make_scene()
    script, journal = make_check(tmp_path)
    check = block("vrrp_script check", f'script "{script}"', "interval 1", "fall 2", "rise 1")
    tracked = instance(block("track_script", "check"), state="MASTER", priority=FULL)
    scene.start_pair(config(check, tracked), config(OTHER))
    probe = scene.probe()
    scene.assert_answers(probe)

    begin = now_ns()
    (tmp_path / "fail").touch()
    farewell = scene.first("r1-0", since_ns=begin, priority=0)
    assert 2 <= results(journal, "bad") <= 3
    takeover = scene.first("r2-0", since_ns=begin)
    assert takeover.time_ns - farewell.time_ns < (53 + 300) * MS
    scene.network.wait_holder(VIP, "r2")
    scene.assert_answers(probe)
    scene.silent("r1-0", 0.6)

    (tmp_path / "fail").unlink()
    back = now_ns()
    scene.first("r1-0", since_ns=back, priority=FULL)
    scene.network.wait_holder(VIP, "r1")
    scene.assert_answers(probe)
    assert probe.outage_ns(since_ns=begin) < 400 * MS + RTNL_NS
    assert scene.addresses.overlap_ns(VIP) < 100 * MS + RTNL_NS
    scene.assert_wire(priorities={"r1": {FULL, 0}, "r2": {BETWEEN}})


def test_script_fails_from_the_start(make_scene, tmp_path: Path) -> None:
    """A weight 0 script that fails at its first run keeps the instance out; nothing is sent
    (keepalived: no state before the first result, one failure decides)."""
    scene: Scene = make_scene()
    script, journal = make_check(tmp_path)
    (tmp_path / "fail").touch()
    check = block("vrrp_script check", f'script "{script}"', "interval 1", "fall 3", "rise 2")
    tracked = instance(block("track_script", "check"), state="MASTER", priority=FULL)
    scene["r1"].start(config(check, tracked))
    scene.start("r2", config(OTHER))
    scene.network.wait_holder(VIP, "r2")
    wait_for(lambda: results(journal, "bad"), 5, "the first result")
    scene.silent("r1-0", 1.0)
    (tmp_path / "fail").unlink()
    scene.network.wait_holder(VIP, "r1", timeout_s=5)
    assert results(journal, "good") >= 2
    scene.assert_wire(priorities={"r1": {FULL}, "r2": {BETWEEN}})


def test_interface_weight(make_scene) -> None:
    """track_interface with weight -50: a lost carrier costs 50 (keepalived's track_interface)."""
    scene: Scene = make_scene(lans=2)
    tracked = instance(block("track_interface", "eth1 weight -50"), state="MASTER", priority=FULL)
    scene.start_pair(config(tracked), config(OTHER))
    probe = scene.probe()
    scene.assert_answers(probe)

    cut = now_ns()
    scene.network.unplug("r1", 1)
    reduced = scene.first("r1-0", since_ns=cut, priority=REDUCED)
    assert reduced.time_ns - cut < 1200 * MS  # the kernel reports a carrier once a second
    scene.first("r2-0", since_ns=cut)
    scene.network.wait_holder(VIP, "r2")
    scene.assert_answers(probe)

    back = now_ns()
    scene.network.plug("r1", 1)
    scene.first("r1-0", since_ns=back, priority=FULL)
    scene.network.wait_holder(VIP, "r1")
    scene.assert_answers(probe)
    assert probe.outage_ns(since_ns=cut) < 300 * MS + RTNL_NS
    assert scene.addresses.overlap_ns(VIP) < 100 * MS + RTNL_NS
    scene.assert_wire(priorities={"r1": {FULL, REDUCED}, "r2": {BETWEEN}})


def test_interface_fault(make_scene) -> None:
    """track_interface without weight: FAULT, priority 0, and back (keepalived)."""
    scene: Scene = make_scene(lans=2)
    tracked = instance(block("track_interface", "eth1"), state="MASTER", priority=FULL)
    scene.start_pair(config(tracked), config(OTHER))
    probe = scene.probe()
    scene.assert_answers(probe)

    cut = now_ns()
    scene.network.unplug("r1", 1)
    farewell = scene.first("r1-0", since_ns=cut, priority=0)
    takeover = scene.first("r2-0", since_ns=cut)
    assert takeover.time_ns - farewell.time_ns < (53 + 300) * MS
    scene.network.wait_holder(VIP, "r2")
    scene.assert_answers(probe)
    scene.silent("r1-0", 0.4)

    back = now_ns()
    scene.network.plug("r1", 1)
    scene.first("r1-0", since_ns=back, priority=FULL)
    scene.network.wait_holder(VIP, "r1")
    scene.assert_answers(probe)
    assert probe.outage_ns(since_ns=cut) < 400 * MS + RTNL_NS
    scene.assert_wire(priorities={"r1": {FULL, 0}, "r2": {BETWEEN}})


def test_own_interface_fault(make_scene) -> None:
    """The instance's own interface loses its carrier: the other takes over after its down
    interval, and the address comes back with the carrier (RFC 9568 6.1, keepalived)."""
    scene: Scene = make_scene()
    scene.start_pair(
        config(instance(state="MASTER", priority=FULL)), config(instance(priority=BETWEEN))
    )
    probe = scene.probe()
    scene.assert_answers(probe)
    cut = now_ns()
    scene.network.unplug("r1")
    takeover = scene.first("r2-0", since_ns=cut)
    assert takeover.time_ns - scene.last_before("r1-0", cut).time_ns < (353 + 300) * MS
    scene.network.wait_holder(VIP, "r2", timeout_s=3)
    scene.assert_answers(probe)
    back = now_ns()
    scene.network.plug("r1")
    scene.network.wait_holder(VIP, "r1", timeout_s=5)
    scene.assert_answers(probe)
    assert probe.outage_ns(since_ns=back) < 300 * MS + RTNL_NS
    scene.silent("r2-0", 0.3)
    scene.assert_wire(priorities={"r1": {FULL}, "r2": {BETWEEN}})


@pytest.mark.parametrize("weight", [-50, 0])
def test_process(make_scene, tmp_path: Path, weight: int) -> None:
    """vrrp_track_process: the address follows a process by its name.

    keepalived learns of processes from the kernel's connector, which refuses to speak inside a
    network namespace, so the router that runs fastvrrp does the tracking.
    """
    scene: Scene = make_scene()
    if "fastvrrp" not in scene.pair:
        pytest.skip("keepalived cannot track processes inside a network namespace")
    tracking = "r1" if scene.pair[0] == "fastvrrp" else "r2"
    other = "r2" if tracking == "r1" else "r1"
    program = tmp_path / f"trk{os.getpid()}{-weight}"  # the kernel keeps 15 characters
    shutil.copy("/bin/sleep", program)
    process = block("vrrp_track_process work", f"process {program.name}", f"weight {weight}")

    work = scene.node(tracking).start([str(program), "600"])
    scene.start(other, config(OTHER))
    scene.network.wait_holder(VIP, other)
    scene.start(tracking, config(process, instance(block("track_process", "work"), priority=FULL)))
    scene.network.wait_holder(VIP, tracking)
    probe = scene.probe()
    scene.assert_answers(probe)

    begin = now_ns()
    work.kill()
    work.wait()
    last_sign = 0 if weight == 0 else REDUCED
    left = scene.first(f"{tracking}-0", since_ns=begin, priority=last_sign)
    assert left.time_ns - begin < 2 * NS
    scene.first(f"{other}-0", since_ns=begin)
    scene.network.wait_holder(VIP, other)
    scene.assert_answers(probe)
    scene.silent(f"{tracking}-0", 0.6)

    back = now_ns()
    scene.node(tracking).start([str(program), "600"])
    scene.first(f"{tracking}-0", since_ns=back, priority=FULL)
    scene.network.wait_holder(VIP, tracking)
    assert now_ns() - back < 3 * NS
    scene.assert_answers(probe)
    assert probe.outage_ns(since_ns=begin) < 500 * MS + RTNL_NS
    assert scene.addresses.overlap_ns(VIP) < 100 * MS + RTNL_NS
    scene.assert_wire(priorities={tracking: {FULL, last_sign}, other: {BETWEEN}})
