"""Scripts, interfaces and processes move the address. r1 tracks, r2 waits with a priority between
r1's full and r1's reduced one."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from interop_scene import (
    ALLOWANCE_NS,
    MS,
    NS,
    OUTAGE_NS,
    Scene,
    down_ns,
    now_ns,
    skew_ns,
)

from fastvrrp.lab.network import wait_for
from keepalived_text import VIP, block, config, instance

pytestmark = [pytest.mark.netns, pytest.mark.interop, pytest.mark.timing]

FULL, BETWEEN, REDUCED = 150, 120, 100
OTHER = instance(priority=BETWEEN)
# A lower priority is told with the next advert, priority 0 at once.
ADVERT_NS = {-50: 100 * MS, 0: 0}
# The kernel tells of a carrier that comes or goes once a second at most (linkwatch).
CARRIER_NS = 1 * NS
# fastvrrp is told of the end of a process at once, and looks four times a second for new ones.
NEW_PROCESS_NS = 250 * MS


def assert_moves_and_returns(
    scene: Scene,
    *,
    weight: int,
    fail: Callable[[], object],
    mend: Callable[[], object],
    failed_ns: tuple[int, int],
    mended_ns: tuple[int, int],
    tracking: str = "r1",
    other: str = "r2",
) -> tuple[int, int]:
    """The address follows what is tracked, there and back, and the client hardly notices.

    `fail` counts for the tracking router, and `mend` does, within the two times given
    (nanoseconds). A weight of 0 means FAULT, announced with priority 0, which the other answers
    after its skew time; a priority that is merely lower it discards, and its timer runs out a down
    interval after the last better advert (RFC 9568 6.4.2). Returns the moments of the adverts that
    told of the failure, and of its end.
    """
    port, heir = f"{tracking}-0", f"{other}-0"
    reduced = 0 if weight == 0 else FULL + weight
    probe = scene.probe()
    scene.assert_answers(probe)

    begin = now_ns()
    fail()
    failed = scene.first(port, since_ns=begin, priority=reduced)
    assert failed.time_ns - begin > failed_ns[0]
    scene.assert_soon(begin + failed_ns[1] + ADVERT_NS[weight], failed, ordinary=True)
    takeover = scene.first(heir, since_ns=begin)
    if weight == 0:
        scene.assert_due(failed.time_ns, skew_ns(BETWEEN), takeover)
    else:
        better = scene.last_before(port, failed.time_ns)
        scene.assert_due(better.time_ns, down_ns(BETWEEN), takeover)
    scene.network.wait_holder(VIP, other)
    scene.assert_answers(probe)
    scene.silent(port, 0.4)
    # The one that said goodbye does not answer any more; the other keeps the address until then.
    silence = skew_ns(BETWEEN) if weight == 0 else 0
    assert scene.outage_ns(probe, since_ns=begin) < silence + OUTAGE_NS

    back = now_ns()
    mend()
    mended = scene.first(port, since_ns=back, priority=FULL)
    assert mended.time_ns - back > mended_ns[0]
    # Its timer was armed by the other's last advert, or is armed now that there is no fault.
    election = down_ns(FULL if weight == 0 else REDUCED)
    scene.assert_soon(back + mended_ns[1] + election, mended, ordinary=True)
    scene.network.wait_holder(VIP, tracking)
    scene.assert_answers(probe)
    assert scene.outage_ns(probe, since_ns=back) < OUTAGE_NS
    assert scene.overlap_ns() < OUTAGE_NS
    scene.assert_wire(priorities={tracking: {FULL, reduced}, other: {BETWEEN}})
    return failed.time_ns, mended.time_ns


def make_check(directory: Path) -> tuple[Path, Path]:
    """A check script that fails while a file exists, and the file where it notes each result."""
    journal, fail = directory / "journal", directory / "fail"
    script = directory / "check"
    script.write_text(
        "#!/bin/sh\n"
        f"if test -e {fail}; then echo bad $(date +%s%N) >>{journal}; exit 1; fi\n"
        f"echo good $(date +%s%N) >>{journal}\n"
    )
    script.chmod(0o755)
    return script, journal


def results(journal: Path, result: str, begin_ns: int = 0, end_ns: int = 1 << 63) -> int:
    """How often the script came to a result within a span of time."""
    lines = journal.read_text().splitlines() if journal.exists() else []
    noted = [line.split() for line in lines]
    return sum(word == result and begin_ns <= int(time) <= end_ns for word, time in noted)


@pytest.mark.parametrize(("weight", "fall", "rise"), [(-50, 3, 2), (0, 2, 1)])
def test_script(make_scene, tmp_path: Path, weight: int, fall: int, rise: int) -> None:
    """vrrp_script counts as failed after `fall` failures in a row and as good after `rise`
    successes (keepalived's vrrp_script)."""
    scene: Scene = make_scene()
    script, journal = make_check(tmp_path)
    check = block(
        "vrrp_script check",
        f'script "{script}"',
        "interval 1",
        f"weight {weight}",
        f"fall {fall}",
        f"rise {rise}",
    )
    tracked = instance(block("track_script", "check"), state="MASTER", priority=FULL)
    scene.start_pair(config(check, tracked), config(OTHER))
    switch = tmp_path / "fail"
    begin = now_ns()
    # The first result comes at once or within a second, the others follow each second.
    failed, mended = assert_moves_and_returns(
        scene,
        weight=weight,
        fail=switch.touch,
        mend=switch.unlink,
        failed_ns=((fall - 1) * NS - ALLOWANCE_NS, fall * NS),
        mended_ns=((rise - 1) * NS - ALLOWANCE_NS, rise * NS),
    )
    assert results(journal, "bad", begin, failed) == fall
    bad = [line for line in journal.read_text().splitlines() if line.startswith("bad")]
    # While it waits for its election, which takes no second, one more may come.
    assert results(journal, "good", int(bad[-1].split()[1]), mended) in (rise, rise + 1)


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


@pytest.mark.parametrize("weight", [-50, 0])
def test_interface(make_scene, weight: int) -> None:
    """track_interface: the carrier of another interface counts (keepalived's track_interface)."""
    scene: Scene = make_scene(lans=2)
    line = f"eth1 weight {weight}" if weight else "eth1"
    tracked = instance(block("track_interface", line), state="MASTER", priority=FULL)
    scene.start_pair(config(tracked), config(OTHER))
    assert_moves_and_returns(
        scene,
        weight=weight,
        fail=lambda: scene.network.unplug("r1", 1),
        mend=lambda: scene.network.plug("r1", 1),
        failed_ns=(0, CARRIER_NS),
        mended_ns=(0, CARRIER_NS),
    )


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
    scene.assert_due(scene.last_before("r1-0", cut).time_ns, down_ns(BETWEEN), takeover)
    scene.network.wait_holder(VIP, "r2", timeout_s=3)
    scene.assert_answers(probe)
    back = now_ns()
    scene.network.plug("r1")
    scene.network.wait_holder(VIP, "r1", timeout_s=5)
    scene.assert_answers(probe)
    assert scene.outage_ns(probe, since_ns=back) < OUTAGE_NS
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
    tracking, other = ("r1", "r2") if scene.pair[0] == "fastvrrp" else ("r2", "r1")
    node = scene.node(tracking)
    program = tmp_path / f"trk{os.getpid()}{-weight}"  # the kernel keeps 15 characters
    shutil.copy("/bin/sleep", program)
    process = block("vrrp_track_process work", f"process {program.name}", f"weight {weight}")

    def begin() -> subprocess.Popen[bytes]:
        return node.start([str(program), "600"])

    work = begin()
    scene.start(other, config(OTHER))
    scene.network.wait_holder(VIP, other)
    scene.start(tracking, config(process, instance(block("track_process", "work"), priority=FULL)))
    scene.network.wait_holder(VIP, tracking)
    assert_moves_and_returns(
        scene,
        weight=weight,
        fail=work.kill,
        mend=begin,
        failed_ns=(0, 0),
        mended_ns=(0, NEW_PROCESS_NS),
        tracking=tracking,
        other=other,
    )
