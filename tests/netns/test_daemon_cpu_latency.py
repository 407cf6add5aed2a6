"""vrrp_cpu_dma_latency: a daemon that keeps the processors from sleeping deeply while it runs."""

from __future__ import annotations

import contextlib
import struct
from pathlib import Path

import pytest
from netns_tools import World

from fastvrrp.lab.daemons import process_tree
from fastvrrp.lab.network import wait_for
from fastvrrp.vrrp.cpu_latency import DEVICE
from keepalived_text import VIP, config, instance

pytestmark = pytest.mark.netns


def holders(pid: int) -> list[int]:
    """Processes of the daemon that have the device open."""
    found = []
    for process in process_tree(pid):
        for fd in Path(f"/proc/{process}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):  # closed meanwhile
                if fd.readlink() == DEVICE:
                    found.append(process)
    return found


def effective_us() -> int:
    """What the kernel keeps to: the least of all wishes."""
    return int(struct.unpack("=i", DEVICE.read_bytes()[:4])[0])


def test_the_wish_is_the_vrrp_process_s_and_a_reload_takes_it_back(world: World) -> None:
    daemon = world.daemon
    world.start(config(instance(), defs=("vrrp_cpu_dma_latency 40",)))
    world.network.wait_holder(VIP, "r1")
    if not DEVICE.exists():
        assert f"cannot set vrrp_cpu_dma_latency 40: {DEVICE}: No such file" in daemon.log()
        return
    child = process_tree(daemon.pid)[1]
    assert holders(daemon.pid) == [child]
    assert effective_us() <= 40
    daemon.config.write_text(config(instance()))
    daemon.reload()
    wait_for(lambda: holders(daemon.pid) == [], 5, "nobody holds it")
    assert process_tree(daemon.pid)[1] == child
