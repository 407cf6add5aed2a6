"""The rehearsal of docs/migration.md: a live keepalived pair moves to fastvrrp, node by node."""

from __future__ import annotations

from pathlib import Path

import pytest
from interop_scene import ALLOWANCE_NS, OUTAGE_NS, Scene, down_ns, now_ns, skew_ns

from fastvrrp.cli.main import main
from fastvrrp.lab.daemons import KINDS
from keepalived_text import VIP, config, instance
from machine import Machine

pytestmark = [pytest.mark.netns, pytest.mark.interop, pytest.mark.timing]


def swap(scene: Scene, name: str, text: str) -> None:
    """The other daemon, with the same file, in the place of one that has ended."""
    assert not scene[name].alive
    scene.daemons[name].close()
    scene.daemons[name] = KINDS["fastvrrp"](scene.node(name), scene.directory / f"{name}-new")
    scene.start(name, text)


def test_a_live_pair_moves_one_node_at_a_time(
    tmp_path: Path, machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    """A client pings all the time. The backup is swapped unnoticed; stopping the old master costs a
    skew time (RFC 9568 6.4.2, priority 0); its return costs nothing that a handover does not."""
    scene = Scene(("keepalived", "keepalived"), tmp_path, machine)
    files = {
        name: config(instance(state=state, priority=priority))
        for name, state, priority in (("r1", "MASTER", 200), ("r2", "BACKUP", 100))
    }
    try:
        # 1. check, before anything is touched
        paths = [tmp_path / f"{name}.conf" for name in files]
        for path, text in zip(paths, files.values(), strict=True):
            path.write_text(text)
        assert main(["check", *map(str, paths)]) == 0
        shown = capsys.readouterr().out
        assert f"without {paths[0]}: {paths[1]}" in shown
        assert "2 routers: they fit together" in shown
        scene.start_pair(files["r1"], files["r2"])
        probe = scene.probe()
        scene.assert_answers(probe)

        # 2. the backup
        begin = now_ns()
        assert scene["r2"].stop() == 0
        swap(scene, "r2", files["r2"])
        scene.settle()
        scene.assert_holder("r1")
        assert scene.sniffer.adverts(port="r2-0", since_ns=begin) == []
        scene.assert_answers(probe)
        assert scene.outage_ns(probe, since_ns=begin) < ALLOWANCE_NS

        # 3. over to the new one
        stop = now_ns()
        assert scene["r1"].stop() == 0
        farewell = scene.first("r1-0", since_ns=stop, priority=0)
        takeover = scene.first("r2-0", since_ns=stop, priority=100)
        scene.assert_due(farewell.time_ns, skew_ns(100), takeover)
        scene.network.wait_holder(VIP, "r2", timeout_s=3)
        scene.assert_answers(probe)
        assert scene.neighbour("c1") == scene.node("r2").mac()
        assert scene.outage_ns(probe, since_ns=stop) < skew_ns(100) + OUTAGE_NS

        # 4. the other node, which takes the address back
        back = now_ns()
        swap(scene, "r1", files["r1"])
        scene.first("r1-0", since_ns=back, priority=200)
        scene.network.wait_holder(VIP, "r1", timeout_s=3)
        scene.assert_answers(probe)
        scene.assert_holder("r1")
        assert scene.outage_ns(probe, since_ns=back) < OUTAGE_NS

        # 5. a failure is still one; a killed daemon cannot take its address away
        death = scene["r1"].kill()
        scene.first("r2-0", since_ns=death, priority=100)
        scene.assert_answers(probe)
        assert scene.outage_ns(probe, since_ns=death) < down_ns(100) + OUTAGE_NS
    finally:
        scene.close()
