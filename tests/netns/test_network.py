"""The laboratory itself: what the scenarios rely on has to be true."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from netns_tools import MS, gratuitous_arp, now_ns

from fastvrrp.lab.daemons import process_tree
from fastvrrp.lab.namespace import LabError
from fastvrrp.lab.network import Network, wait_for
from fastvrrp.lab.probe import Prober
from fastvrrp.lab.sniffer import Sniffer
from fastvrrp.lab.watch import AddressWatch
from machine import Machine

pytestmark = pytest.mark.netns


def test_everybody_reaches_everybody() -> None:
    with Network(routers=2, clients=1, lans=2) as net:
        r1, r2 = net["r1"], net["r2"]
        for target in (r2.ipv4(), r2.ipv4(1), r2.ipv6(), r2.ipv6(1), f"{r2.link_local()}%eth0"):
            r1.run("ping", "-c", "1", "-W", "2", target)
        net["c1"].run("ping", "-c", "1", "-W", "2", r1.ipv4())
        assert r2.link_local(1) in r2.addresses("eth1")


def test_nothing_remains() -> None:
    before = set(Path("/proc/self/task").iterdir())
    with Network() as net:
        child = net["r1"].start(["sleep", "600"])
        path = net["r1"].path
        assert Path(path).exists()
    assert child.returncode == -signal.SIGKILL
    wait_for(lambda: not Path(path).exists(), 2, "the namespace is gone")
    wait_for(lambda: set(Path("/proc/self/task").iterdir()) <= before, 2, "threads end")


def test_killed_laboratory_takes_its_programs_along() -> None:
    """Even after kill -9 nothing of the laboratory lives on."""
    code = (
        "import time; from fastvrrp.lab.network import Network\n"
        "net = Network(); child = net['r1'].start(['sleep', '600']); print(child.pid, flush=True)\n"
        "time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as lab:
        assert lab.stdout is not None
        pid = int(lab.stdout.readline())
        # Before setpriv has become the program itself it is not yet bound to the laboratory.
        name = Path(f"/proc/{pid}/comm")
        wait_for(lambda: name.read_text() == "sleep\n", 5, "the program runs")
        lab.kill()

    def gone() -> bool:
        status = Path(f"/proc/{pid}/stat")
        # A zombie without a reaper is as dead as can be.
        return not status.exists() or status.read_text().rpartition(")")[2].split()[0] == "Z"

    wait_for(gone, 2, "the program dies with its laboratory")


def test_without_privileges() -> None:
    """To an ordinary user a user namespace gives everything that is needed."""
    code = (
        "import ctypes, os\n"
        "from fastvrrp.lab.namespace import enter_user_namespace, privileged\n"
        "from fastvrrp.lab.network import Network\n"
        "from fastvrrp.lab.sniffer import Sniffer\n"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "ctypes.CDLL(None).prctl(4, 1)\n"  # PR_SET_DUMPABLE, which setuid took away
        "assert not privileged(); enter_user_namespace(); assert privileged()\n"
        "with Network() as net, Sniffer(net['switch']):\n"
        "    net['r1'].run('ping', '-c', '1', '-W', '2', net['r2'].ipv4())\n"
        "    print('reached')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "reached\n", done.stderr


def test_root_of_a_container_gets_advice() -> None:
    code = "from fastvrrp.lab.namespace import enter_user_namespace; enter_user_namespace()"
    drop = ["setpriv", "--bounding-set", "-all", "--inh-caps", "-all"]
    done = subprocess.run([*drop, sys.executable, "-c", code], capture_output=True, text=True)
    assert "lacks CAP_SYS_ADMIN; start its container with --privileged" in done.stderr


def test_errors_have_words() -> None:
    with Network(clients=0) as net:
        with pytest.raises(LabError, match="r1: no interface eth7"):
            net["r1"].set_link("eth7", "up")
        with pytest.raises(LabError, match=r"r1: ip link show eth7: Device .eth7. does not exist"):
            net["r1"].run("ip", "link", "show", "eth7")
        with pytest.raises(TimeoutError, match=r"should be on \['r2'\].*is on \['r1'\]"):
            net.wait_holder(net["r1"].ipv4(), "r2", timeout_s=0.1)


def test_partition_keeps_the_carrier() -> None:
    with Network(clients=2) as net:
        ping = ("ping", "-c", "1", "-W", "1")
        net.partition(["r2", "c2"])
        assert "LOWER_UP" in net["r2"].run("ip", "link", "show", "eth0")
        net["c2"].run(*ping, net["r2"].ipv4())
        net["c1"].run(*ping, net["r1"].ipv4())
        with pytest.raises(LabError):
            net["c1"].run("ping", "-c", "1", "-W", "0.3", net["r2"].ipv4())
        net.heal()
        net["c1"].run(*ping, net["r2"].ipv4())
        net.partition(["c1"])
        net["c2"].run(*ping, net["r1"].ipv4())
        with pytest.raises(LabError):
            net["c1"].run("ping", "-c", "1", "-W", "0.3", net["r1"].ipv4())


def test_unplugged_cable_costs_the_carrier() -> None:
    with Network(clients=0) as net:
        net.unplug("r1")
        assert "NO-CARRIER" in net["r1"].run("ip", "link", "show", "eth0")
        net.plug("r1")
        assert "LOWER_UP" in net["r1"].run("ip", "link", "show", "eth0")


def test_interfaces_come_and_go() -> None:
    with Network(clients=0) as net:
        r1 = net["r1"]
        r1.rename_link("eth0", "wan0")
        assert net.holders(r1.ipv4()) == ["r1"]
        r1.delete_link("wan0")
        assert net.holders(r1.ipv4()) == []
        net.attach("r1", 0)
        r1.run("ping", "-c", "1", "-W", "2", net["r2"].ipv4())
        net.connect("r1", "r2")
        assert "LOWER_UP" in net["r2"].run("ip", "link", "show", "direct")


def test_sniffer_sees_announcements_once_per_port() -> None:
    with Network() as net, Sniffer(net["switch"], ports=net.ports()) as sniffer:
        begin = now_ns()
        gratuitous_arp(net["r2"], net["r2"].ipv4())
        wait_for(lambda: sniffer.frames(), 2, "the announcement")
        found = sniffer.announcements(net["r2"].ipv4())
        assert [(f.port, f.mac, f.family) for f in found] == [("r2-0", net["r2"].mac(), 4)]
        assert begin < found[0].time_ns < now_ns()


@pytest.mark.timing
def test_probe_measures_an_outage() -> None:
    """At least as long as the cable was out, at most until it was over."""
    with Network() as net, Prober(net["c1"], net["r1"].ipv4(), interval_s=0.01) as probe:
        wait_for(lambda: len(probe.answers()) > 10, 5, "answers")
        begin = now_ns()
        net.unplug("r1")
        pulled = now_ns()
        time.sleep(0.3)
        back = now_ns()
        net.plug("r1")
        wait_for(lambda: probe.answers(since_ns=back), 5, "answers again")
        last = max(t for t in probe.answers() if t <= pulled)
        first = min(t for t in probe.answers() if t > back)
        assert (last, first) in probe.silences()
        assert probe.outage_ns(since_ns=begin) == first - last > 300 * MS
        assert 250 * MS < max(b - a for a, b in probe.losses(since_ns=begin)) < first - begin


def test_probe_over_ipv6() -> None:
    with Network() as net, Prober(net["c1"], net["r1"].ipv6(), interval_s=0.01) as probe:
        wait_for(lambda: len(probe.answers()) > 10, 5, "answers")
        answered = [e for e in probe.echoes() if e.answered_ns]
        assert all(e.answered_ns > e.sent_ns for e in answered)


@pytest.mark.timing
def test_watch_measures_an_overlap(machine: Machine) -> None:
    with Network() as net, AddressWatch(net.routers) as watch:
        address = "192.0.2.77"
        before = now_ns()
        for name in ("r1", "r2"):
            node = net[name]
            node.addr("add", index=node.index("eth0"), address=address, prefixlen=24)
        held_twice = now_ns()
        assert net.holders(address) == ["r1", "r2"]
        time.sleep(0.1)
        given_up = now_ns()
        net["r1"].delete_address(address, 24)
        net.wait_holder(address, "r2")
        wait_for(lambda: len(watch.events(address)) == 3, 2, "three events")
        seen = [(e.node, e.added) for e in watch.events(address)]
        assert seen == [("r1", True), ("r2", True), ("r1", False)]
        ((begin, end),) = watch.overlaps(address)
        assert watch.overlap_ns(address) == end - begin
        # It reads of an address after it came, and of its end after it went.
        assert before < begin < held_twice + machine.lost_ns(before, end, ordinary=True) + 20 * MS
        assert given_up < end < now_ns()


def test_process_tree_finds_grandchildren() -> None:
    with subprocess.Popen(["sh", "-c", "sleep 600 & wait"], start_new_session=True) as shell:
        wait_for(lambda: len(process_tree(shell.pid)) == 2, 2, "the grandchild")
        os.killpg(shell.pid, signal.SIGKILL)
