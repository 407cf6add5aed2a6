"""A VRRP process that gets no more descriptors for a while: what runs goes on, and what was refused
meanwhile is there afterwards."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from netns_tools import World

from fastvrrp.lab.daemons import process_tree
from fastvrrp.lab.network import wait_for
from keepalived_text import VIP, config, instance

pytestmark = pytest.mark.netns


@contextmanager
def few_descriptors(pid: int, free: int = 0) -> Iterator[None]:
    """The process has those it has, and gets no others but `free`."""
    used = {int(entry.name) for entry in Path(f"/proc/{pid}/fd").iterdir()}
    limit = [number for number in range(len(used) + free + 1) if number not in used][free]
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (limit, before[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)


def test_a_reload_is_refused(world: World) -> None:
    world.start(config(instance("use_vmac")))
    tree = process_tree(world.daemon.pid)
    with few_descriptors(tree[1], free=1):  # in which the configuration comes
        world.daemon.reload(config(instance("use_vmac", vips=(f"{VIP}/24", "192.0.2.101/24"))))
        wait_for(lambda: "reload refused" in world.daemon.log(), 10, "a refusal")
        assert "Too many open files" in world.daemon.log()
        world.await_adverts(3)
    assert process_tree(world.daemon.pid) == tree
    assert world.shown(VIP)
    world.daemon.reload()
    world.network.wait_holder("192.0.2.101", "r1")
    assert process_tree(world.daemon.pid) == tree


def test_an_interface_that_returned_meanwhile_is_used(world: World) -> None:
    world.start(config(instance()))
    tree = process_tree(world.daemon.pid)
    with few_descriptors(tree[1]):
        world.router.delete_link("eth0")
        world.network.attach("r1", 0)
        wait_for(lambda: "interface eth0 cannot be used" in world.daemon.log(), 10, "a refusal")
        world.silent(1)  # and the last the kernel has to tell of the interface is told
    world.network.wait_holder(VIP, "r1")
    world.await_adverts(3)
    assert process_tree(world.daemon.pid) == tree
