"""Whole daemons in a namespace: what a running one does about the kernel and about reloads.

One router on a LAN of its own; the switch's port shows what it really sends.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from fastvrrp.control.client import Client
from fastvrrp.lab.daemons import Fastvrrp, process_tree
from fastvrrp.lab.network import Network, wait_for
from fastvrrp.lab.sniffer import Sniffer
from fastvrrp.lab.watch import AddressWatch
from keepalived_text import VIP, block, config, instance
from machine import BEAT_NS, Machine, now_ns

pytestmark = pytest.mark.netns

OTHER = "192.0.2.101"


class Router:
    """r1 with a daemon, seen from outside."""

    def __init__(self, network: Network, directory: Path, machine: Machine) -> None:
        self.network = network
        self.machine = machine
        self.node = network["r1"]
        self.daemon = Fastvrrp(self.node, directory)
        self.sniffer = Sniffer(network["switch"], ports=network.ports(0))
        self.watch = AddressWatch(network.routers)

    def start(self, text: str, *, vip: str | None = VIP) -> None:
        self.daemon.start(text)
        self.daemon.wait_listening()
        if vip is not None:
            self.network.wait_holder(vip, "r1")
            wait_for(lambda: self.watch.events(vip), 5, "the watch has seen it as well")

    def request(self, method: str, **params: Any) -> Any:
        with Client(self.daemon.run_dir) as client:
            return client.request(method, params)

    def reload(self, text: str) -> dict[str, Any]:
        """Replace the file, reload, return the result."""
        self.daemon.config.write_text(text)
        result: dict[str, Any] = self.request("reload")
        return result

    def state(self, name: str) -> str:
        (record,) = self.request("status", name=name)["instances"]
        return str(record["state"])

    def wait_state(self, name: str, state: str, timeout_s: float = 5) -> None:
        wait_for(lambda: self.state(name) == state, timeout_s, f"{name} is {state}")

    def ip(self, *words: str) -> Any:
        return json.loads(self.node.run("ip", "-j", *words))

    def largest_gap_ns(self, vrid: int, since_ns: int) -> int:
        """The longest time between two adverts that the machine did not take."""
        adverts = self.sniffer.adverts(vrid=vrid, since_ns=since_ns)
        assert len(adverts) > 3
        return self.machine.gap_ns(adverts)

    def close(self) -> None:
        self.daemon.close()
        self.sniffer.close()
        self.watch.close()
        print(self.daemon.log())


@pytest.fixture
def router(tmp_path: Path, machine: Machine) -> Iterator[Router]:
    with Network(routers=1, clients=1, lans=2) as network:
        it = Router(network, tmp_path / "r1", machine)
        try:
            yield it
        finally:
            it.close()


@pytest.mark.timing
def test_a_rename_keeps_the_master_its_address_and_its_beat(router: Router) -> None:
    router.start(config(instance()))
    begin = now_ns()
    time.sleep(0.3)
    result = router.reload(config(instance(name="RENAMED")))
    assert (result["ok"], result["changes"]) == (True, ["instance VI renamed to RENAMED"])
    assert router.state("RENAMED") == "MASTER"
    time.sleep(0.5)
    assert router.largest_gap_ns(51, begin) < BEAT_NS
    assert [e for e in router.watch.events(VIP) if e.time_ns >= begin] == []


def test_an_address_moves_from_one_running_master_to_another(router: Router) -> None:
    second = {"name": "VI2", "vrid": 52}
    router.start(
        config(
            instance(vips=(f"{VIP}/24", f"{OTHER}/24")),
            instance(**second, vips=("192.0.2.102/24",)),
        )
    )
    router.wait_state("VI2", "MASTER")
    result = router.reload(
        config(instance(), instance(**second, vips=("192.0.2.102/24", f"{OTHER}/24")))
    )
    assert result["changes"] == ["instance VI changed", "instance VI2 changed"]
    time.sleep(0.5)
    assert {VIP, OTHER, "192.0.2.102"} <= router.node.addresses("eth0")
    assert (router.state("VI"), router.state("VI2")) == ("MASTER", "MASTER")
    # Both directions at once cannot be ordered, and end well all the same.
    router.reload(config(instance(vips=(f"{OTHER}/24",)), instance(**second, vips=(f"{VIP}/24",))))
    wait_for(
        lambda: (
            {VIP, OTHER} <= router.node.addresses("eth0")
            and "192.0.2.102" not in router.node.addresses("eth0")
        ),
        3,
        "the addresses have changed places",
    )


def test_an_address_that_nobody_wants_any_more_goes(router: Router) -> None:
    router.start(config(instance(vips=(f"{VIP}/24", f"{OTHER}/24"))))
    router.reload(config(instance(), instance(name="VI2", vrid=52, vips=(f"{OTHER}/24",))))
    router.wait_state("VI2", "MASTER")
    router.network.wait_holder(OTHER, "r1")
    router.reload(config(instance()))
    wait_for(lambda: OTHER not in router.node.addresses("eth0"), 3, f"{OTHER} is gone")
    assert VIP in router.node.addresses("eth0")


STATIC = (
    block("static_ipaddress", "192.0.2.50/24 dev eth0", "2001:db8::50/64 dev eth0"),
    block("static_routes", "203.0.113.0/24 via 192.0.2.7 dev eth0"),
    block("static_rules", "from 192.0.2.50 table 77 preference 5000"),
)


def static_state(router: Router) -> tuple[bool, bool, bool, bool]:
    held = router.node.addresses("eth0")
    routes = {route["dst"] for route in router.ip("route")}
    rules = {rule["priority"] for rule in router.ip("rule")}
    return "192.0.2.50" in held, "2001:db8::50" in held, "203.0.113.0/24" in routes, 5000 in rules


def test_static_objects_are_always_there_until_the_end(router: Router) -> None:
    router.start(config(*STATIC, instance()))
    all_there = (True, True, True, True)
    assert static_state(router) == all_there
    for command in (
        ("ip", "route", "del", "203.0.113.0/24"),
        ("ip", "rule", "del", "preference", "5000"),
        ("ip", "address", "del", "192.0.2.50/24", "dev", "eth0"),
        ("ip", "address", "del", "2001:db8::50/64", "dev", "eth0"),
    ):
        router.node.run(*command)
        wait_for(lambda: static_state(router) == all_there, 3, f"{command} is undone")
    router.node.set_link("eth0", "down")
    router.node.set_link("eth0", "up")
    wait_for(lambda: static_state(router) == all_there, 5, "static objects after a flap")
    router.reload(config(STATIC[0], instance()))
    wait_for(
        lambda: static_state(router) == (True, True, False, False), 3, "two of them are removed"
    )
    assert router.daemon.stop() == 0
    assert static_state(router) == (False, False, False, False)


def test_what_a_static_object_and_a_delay_do_to_instances(router: Router) -> None:
    """interface_up_down_delays: only a change that lasts counts, for tracked interfaces and for
    those of static objects. track_group: what cannot be put back is a fault of its instances."""
    delays = block("interface_up_down_delays", "eth1 0.4 0.2")
    group = block("track_group WAN", block("group", "VI"))
    static = block("static_ipaddress", "198.51.100.50/24 dev eth1 track_group WAN")
    more = block("track_interface", "eth1")
    text = config(
        delays,
        group,
        static,
        instance(advert_int=0.25),
        instance(more, name="OTHER", vrid=52, vips=("192.0.2.101/24",), advert_int=0.25),
    )
    router.start(text)
    router.network.wait_holder("192.0.2.101", "r1")

    def states() -> tuple[str, str]:
        return router.state("VI"), router.state("OTHER")

    def faults() -> int:
        return router.daemon.log().count("Entering FAULT STATE")

    router.node.set_link("eth1", "down")
    router.node.set_link("eth1", "up")
    down = time.monotonic()
    router.node.set_link("eth1", "down")
    wait_for(lambda: states() == ("FAULT", "FAULT"), 5, "eth1 has been down for too long")
    assert time.monotonic() - down >= 0.4
    assert faults() == 2  # the short time before was none
    router.node.set_link("eth1", "up")
    wait_for(lambda: states() == ("MASTER", "MASTER"), 5, "eth1 is back")

    router.node.run("ip", "address", "del", "198.51.100.50/24", "dev", "eth1")
    wait_for(lambda: "198.51.100.50" in router.node.addresses("eth1"), 3, "it is put back")
    assert states() == ("MASTER", "MASTER")
    assert faults() == 2
    router.node.rename_link("eth1", "away")
    wait_for(lambda: states() == ("FAULT", "FAULT"), 5, "eth1 is gone")
    trackers = {t["name"]: t["up"] for t in router.request("status")["trackers"]}
    assert trackers == {"WAN": False, "eth1": False}
    router.node.rename_link("away", "eth1")
    wait_for(lambda: states() == ("MASTER", "MASTER"), 5, "eth1 is there again")


def test_two_that_fight_over_an_address_slow_down(router: Router) -> None:
    router.start(config(instance()))
    begin, deleted = time.monotonic(), 0
    while "what it needs keeps being removed" not in router.daemon.log():
        assert time.monotonic() - begin < 20
        if VIP in router.node.addresses("eth0"):
            router.node.delete_address(VIP, 24)
            deleted += 1
    assert deleted >= 10
    begin, deleted = time.monotonic(), 0
    while time.monotonic() - begin < 3:
        if VIP in router.node.addresses("eth0"):
            router.node.delete_address(VIP, 24)
            deleted += 1
    assert deleted <= 3
    router.network.wait_holder(VIP, "r1", timeout_s=5)
    assert router.state("VI") == "MASTER"


def test_promote_secondaries_is_set_and_restored(router: Router) -> None:
    setting = "/proc/sys/net/ipv4/conf/eth0/promote_secondaries"

    def value() -> str:
        return router.node.run("cat", setting).strip()

    assert value() == "0"
    router.start(config(instance("promote_secondaries")))
    assert value() == "1"
    router.reload(config(instance()))
    assert value() == "0"
    router.reload(config(instance("promote_secondaries")))
    assert value() == "1"
    router.daemon.stop()
    assert value() == "0"


def test_the_firewall_comes_and_goes_with_no_accept(router: Router) -> None:
    def tables() -> str:
        return router.node.run("nft", "list", "tables")

    router.start(config(instance("no_accept")))
    assert "fastvrrp" in tables()
    router.reload(config(instance()))
    assert "fastvrrp" not in tables()
    router.reload(config(instance("no_accept")))
    assert VIP in router.node.run("nft", "list", "table", "inet", "fastvrrp")
    assert router.daemon.stop() == 0
    assert tables() == ""


@pytest.mark.timing
def test_a_configuration_the_core_refuses_changes_nothing(router: Router) -> None:
    router.start(config(instance()))
    begin = now_ns()
    groups = [block(f"vrrp_sync_group G{n}", block("group", f"V{n}")) for n in range(1100)]
    many = [
        instance(
            name=f"V{n}", vrid=1 + n % 250, interface=f"dummy{n // 250}", vips=("10.0.0.1/32",)
        )
        for n in range(1100)
    ]
    result = router.reload(config(*groups, *many))
    assert not result["ok"]
    assert "more than 1024 sync groups" in result["error"]
    assert router.state("VI") == "MASTER"
    time.sleep(0.5)
    assert router.largest_gap_ns(51, begin) < BEAT_NS
    assert router.reload(config(instance()))["changes"] == []


@pytest.mark.timing
def test_a_big_reload_disturbs_nobody(router: Router) -> None:
    def file(changed: int) -> str:
        others = (
            instance(
                name=f"V{n}",
                vrid=52 + n % 190,
                priority=50 + (n < changed),
                interface=f"eth{n // 190}",
                advert_int=10,
                vips=(f"10.{n // 190}.1.{1 + n % 190}/32",),
            )
            for n in range(300)
        )
        return config(instance(), *others)

    router.start(file(0))
    begin = now_ns()
    for changed in (0, 150, 300):
        assert router.reload(file(changed))["ok"]
    time.sleep(0.5)
    assert router.largest_gap_ns(51, begin) < BEAT_NS
    assert [e for e in router.watch.events(VIP) if e.time_ns >= begin] == []


def test_a_startup_delay_holds_back(router: Router) -> None:
    """Master down time is 0.36 s here; the delay of 2 s counts from the process's start."""
    router.start(config(instance(), defs=("vrrp_startup_delay 2",)))
    wait_for(lambda: "Entering MASTER" in router.daemon.log(), 2, "it is logged, too")
    moments = [
        datetime.strptime(line[:23], "%Y-%m-%d %H:%M:%S.%f")
        for line in router.daemon.log().splitlines()
        if "(VI) Entering" in line
    ]
    waited = (moments[1] - moments[0]).total_seconds()
    assert 1.5 < waited < 3.0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_process_alone_is_told_to_stop(router: Router, number: signal.Signals) -> None:
    """It undoes everything, and the supervisor starts another one."""
    router.start(config(instance()))
    child = process_tree(router.daemon.pid)[1]
    begin = now_ns()
    os.kill(child, number)
    wait_for(
        lambda: (
            [e.added for e in router.watch.events(VIP) if e.time_ns > begin][:2] == [False, True]
        ),
        30,
        "the address goes and returns",
    )
    stops = [a for a in router.sniffer.adverts(vrid=51, since_ns=begin) if a.priority == 0]
    assert len(stops) == 1


def test_without_its_capabilities_it_says_so_and_ends(router: Router) -> None:
    router.daemon.config.write_text(config(instance()))
    with router.daemon.log_file.open("wb") as log:
        process = router.node.start(
            ["setpriv", "--bounding-set", "-net_raw", "--", *router.daemon.argv()], output=log
        )
    assert process.wait(20) == 4
    assert "a permission is missing (NET_ADMIN, NET_RAW)" in router.daemon.log()
    assert not (router.daemon.run_dir / "journal").exists()


def test_the_journal_lists_what_may_be_left(router: Router) -> None:
    journal = router.daemon.run_dir / "journal"
    router.start(config(instance()))
    assert len(json.loads(journal.read_bytes())["addresses"]) == 1
    router.reload(config(instance(vips=(f"{VIP}/24", f"{OTHER}/24"))))
    assert len(json.loads(journal.read_bytes())["addresses"]) == 2
    router.reload(config(instance()))
    assert len(json.loads(journal.read_bytes())["addresses"]) == 1
    router.daemon.stop()
    assert not journal.exists()


DUMPS: dict[int, tuple[str, Callable[[str], object]]] = {
    signal.SIGUSR1: ("keepalived.data", lambda text: "VRRP Instance = VI" in text),
    signal.SIGUSR2: ("keepalived.stats", lambda text: "Became master: 1" in text),
    signal.SIGRTMIN + 2: ("keepalived.json", lambda text: json.loads(text)[0]["data"]["vipset"]),
}


def test_dumps_are_written_into_the_run_directory(router: Router) -> None:
    secret = block("authentication", "auth_type PASS", "auth_pass s3cret")
    router.start(config(instance(secret, version=2, advert_int=1)))
    for number, (name, is_right) in DUMPS.items():
        path = router.daemon.run_dir / name
        os.kill(router.daemon.pid, number)
        wait_for(path.exists, 3, f"{name} is written")
        text = path.read_text()
        assert is_right(text), text
        assert "s3cret" not in text
    assert "s3cret" not in router.daemon.log()


def test_idle_costs_nothing(router: Router) -> None:
    """A backup of 100 instances that hears nothing for a second wakes up for its beat only."""
    quiet = [
        instance(name=f"V{n}", vrid=n, advert_int=40, vips=(f"10.0.1.{n}/32",))
        for n in range(1, 101)
    ]
    router.start(config(*quiet), vip=None)
    wait_for(lambda: router.request("status")["daemon"]["vrrp"]["state"] == "running", 10, "runs")
    child = router.request("status")["daemon"]["vrrp"]["pid"]

    def switches() -> int:
        status = Path(f"/proc/{child}/status").read_text()
        return int(status.split("voluntary_ctxt_switches:")[1].split()[0])

    time.sleep(1)
    before = switches()
    time.sleep(4)
    assert switches() - before <= 3 * 4
