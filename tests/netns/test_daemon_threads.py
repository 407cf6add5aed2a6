"""vrrp_engine_threads: a daemon whose interfaces are served by several threads."""

from __future__ import annotations

import contextlib
import ctypes
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from netns_tools import BEAT_NS, World, now_ns

from fastvrrp.control.client import Client
from fastvrrp.lab.daemons import Fastvrrp, process_tree
from fastvrrp.lab.network import wait_for
from keepalived_text import VIP, block, config, instance

pytestmark = pytest.mark.netns

VIP1 = "198.51.100.100"
SECOND = {"name": "SECOND", "interface": "eth1", "vrid": 52, "vips": (f"{VIP1}/24",)}
THIRD = {"name": "THIRD", "vrid": 53, "vips": ("192.0.2.103/24",)}
GROUP = block("vrrp_sync_group G", block("group", "VI", "SECOND"))
PTRACE_SEIZE, PTRACE_INTERRUPT = 0x4206, 0x4207  # linux/ptrace.h
WALL = 0x40000000  # __WALL, linux/wait.h


def text(*blocks: str, defs: tuple[str, ...] = ()) -> str:
    """VI and SECOND, whose bursts are over at once, and more."""
    quiet = "garp_master_delay 0"
    both = (instance(quiet), instance(quiet, **SECOND))
    return config(*both, *blocks, defs=("vrrp_engine_threads 2", *defs))


def request(world: World, method: str, **params: Any) -> Any:
    assert isinstance(world.daemon, Fastvrrp)
    with Client(world.daemon.run_dir) as client:
        return client.request(method, params)


def states(world: World) -> dict[str, str]:
    return {i["name"]: i["state"] for i in request(world, "status")["instances"]}


def realtime_threads(pid: int) -> dict[int, list[int]]:
    """Threads of a process by their real-time priority."""
    found: dict[int, list[int]] = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        priority = os.sched_getparam(int(task.name)).sched_priority
        if priority:
            found.setdefault(priority, []).append(int(task.name))
    return found


def start(world: World, *, defs: tuple[str, ...] = ()) -> None:
    """Start, and wait until both instances have said all that new masters say."""
    world.start(text(defs=defs))
    world.network.wait_holder(VIP1, "r1")
    for vip in (VIP, VIP1):
        wait_for(lambda vip=vip: len(world.sniffer.announcements(vip)) == 5, 5, "the first burst")
    for vrid in (51, 52):
        world.await_adverts(3, vrid=vrid)


@pytest.mark.parametrize("backend", ["raw", "packet"])
def test_each_has_an_interface(world: World, backend: str) -> None:
    start(world, defs=(f"vrrp_socket_backend {backend}",))
    assert "instances by engine thread: 1, 1" in world.daemon.log()
    assert states(world) == {"VI": "MASTER", "SECOND": "MASTER"}
    child = process_tree(world.daemon.pid)[1]
    assert [len(threads) for _, threads in sorted(realtime_threads(child).items())] == [2, 2]
    engine = request(world, "counters")["engine"]
    sent = {n: c["advert_sent"] for n, c in request(world, "counters")["instances"].items()}
    assert min(sent.values()) > 3
    assert engine["turns"] > max(sent.values())  # of both threads
    assert (engine["events_lost"], engine["illegal_transitions"]) == (0, 0)
    begin = now_ns()
    assert world.daemon.stop() == 0
    for vrid in (51, 52):
        last = world.sniffer.adverts(vrid=vrid, since_ns=begin)[-1]
        assert last.priority == 0
    assert world.shown(VIP) is world.shown(VIP1) is None


@pytest.mark.timing
@pytest.mark.parametrize("backend", ["raw", "packet"])
def test_a_new_group_is_not_noticed(world: World, backend: str) -> None:
    """It ties together what two threads have: one goes to the other without missing an advert,
    and from then on they are one. Its end is not noticed either."""
    defs = (f"vrrp_socket_backend {backend}",)
    start(world, defs=defs)

    def reload(*blocks: str) -> None:
        world.daemon.config.write_text(text(*blocks, defs=defs))
        result = request(world, "reload")
        assert result["ok"], result

    def assert_undisturbed(begin: int) -> None:
        for vrid, vip in ((51, VIP), (52, VIP1)):
            world.await_adverts(4, vrid=vrid)
            assert world.gap_ns(vrid=vrid, since_ns=begin) < BEAT_NS
            assert {a.priority for a in world.sniffer.adverts(vrid=vrid, since_ns=begin)} == {100}
            assert [e for e in world.addresses.events(vip) if e.time_ns >= begin] == []
            assert world.sniffer.announcements(vip, since_ns=begin) == []

    begin = now_ns()
    reload(GROUP)
    assert "instances by engine thread: 2, 0" in world.daemon.log()
    assert_undisturbed(begin)
    begin = now_ns()
    reload(GROUP, instance(**THIRD))  # on an interface that is with the other one's by now
    world.network.wait_holder("192.0.2.103", "r1")
    assert_undisturbed(begin)
    world.network.unplug("r1")
    wait_for(lambda: set(states(world).values()) == {"FAULT"}, 5, "the group and THIRD are FAULT")
    world.network.plug("r1")
    wait_for(lambda: set(states(world).values()) == {"MASTER"}, 5, "all are master again")
    for vrid in (51, 52):
        world.await_adverts(3, vrid=vrid)
    for vip in (VIP, VIP1):
        wait_for(lambda vip=vip: len(world.sniffer.announcements(vip)) == 10, 5, "their bursts")
    begin = now_ns()
    reload()
    assert_undisturbed(begin)
    assert states(world) == {"VI": "MASTER", "SECOND": "MASTER"}


def test_a_number_that_changes_waits_for_a_new_start(world: World) -> None:
    start(world)
    world.daemon.config.write_text(text().replace("vrrp_engine_threads 2", "vrrp_engine_threads 3"))
    assert request(world, "reload")["ok"]
    words = "a change of vrrp_engine_threads takes effect when the daemon is started again"
    assert words in world.daemon.log()
    assert states(world) == {"VI": "MASTER", "SECOND": "MASTER"}


def test_more_threads_than_cpus_are_warned_of(world: World) -> None:
    many = len(os.sched_getaffinity(0)) + 1
    world.start(text().replace("vrrp_engine_threads 2", f"vrrp_engine_threads {many}"))
    assert f"vrrp_engine_threads {many}: the VRRP process has fewer CPUs" in world.daemon.log()
    world.network.wait_holder(VIP1, "r1")


@contextlib.contextmanager
def stopped(thread_id: int) -> Iterator[None]:
    """One thread of another process stands still, until it is killed."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    held, over, errors = threading.Event(), threading.Event(), []

    def hold() -> None:  # tracing belongs to a thread
        for what in (PTRACE_SEIZE, PTRACE_INTERRUPT):
            if libc.ptrace(what, thread_id, None, None) < 0:
                errors.append(os.strerror(ctypes.get_errno()))
        held.set()
        while not errors and not over.is_set():
            with contextlib.suppress(ChildProcessError):
                if not os.WIFSTOPPED(os.waitpid(thread_id, WALL)[1]):
                    return

    holder = threading.Thread(target=hold, daemon=True)
    holder.start()
    held.wait()
    assert not errors, errors
    try:
        yield
    finally:
        over.set()


@pytest.mark.parametrize("which", [0, 1])
def test_one_thread_that_hangs_is_noticed(world: World, which: int) -> None:
    """The other one goes on; the process is replaced, and everything works again."""
    start(world)
    child = process_tree(world.daemon.pid)[1]
    engines = sorted(realtime_threads(child)[max(realtime_threads(child))])
    assert len(engines) == 2
    with stopped(engines[which]):
        begin = now_ns()
        other = 52 - which
        found = f"its engine thread {which + 1} has stood still for 1"  # 10 s at least
        wait_for(lambda: found in world.daemon.log(), 25, "it is noticed")
        heard = world.sniffer.adverts(vrid=other, since_ns=begin)
        assert len(heard) > 50
        again = now_ns()
        wait_for(lambda: not Path(f"/proc/{child}").exists(), 5, "the end of the process")
    for vrid, vip in ((51, VIP), (52, VIP1)):
        world.await_adverts(3, vrid=vrid, since_ns=again)
        world.network.wait_holder(vip, "r1")
    assert process_tree(world.daemon.pid)[1] != child
