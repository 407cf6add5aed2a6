"""Reload: unchanged instances notice nothing, the others follow; errors change nothing."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from netns_tools import ALLOWANCE_NS, BEAT_NS, MS, World, now_ns

from fastvrrp.lab.daemons import Fastvrrp
from fastvrrp.lab.network import wait_for
from fastvrrp.lab.watch import AddressEvent
from keepalived_text import VIP, block, config, instance

pytestmark = [pytest.mark.netns, pytest.mark.timing]

SECOND = {"name": "SECOND", "interface": "eth1", "vrid": 52}
VIP1 = "198.51.100.100"
FIRST_BURST = 5  # vrrp_garp_master_repeat of keepalived


def removals(world: World, address: str, since_ns: int) -> list[AddressEvent]:
    """Every time an address was taken away, were it for a millisecond."""
    return [e for e in world.addresses.events(address) if not e.added and e.time_ns >= since_ns]


def assert_undisturbed(world: World, since_ns: int) -> None:
    """VRID 51 neither missed an advert nor lost its address nor announced it again."""
    world.await_adverts(4)
    assert world.gap_ns(vrid=51, since_ns=since_ns) < BEAT_NS
    assert removals(world, VIP, since_ns) == []
    assert world.sniffer.announcements(VIP, since_ns=since_ns) == []


def quiet(**more: object) -> str:
    """The undisturbed instance; its second GARP burst is switched off."""
    return instance("garp_master_delay 0", **more)


def start_quiet(world: World, **more: object) -> int:
    """Start with the undisturbed instance alone, and wait until it has said all that a new master
    says; returns the moment."""
    world.start(config(quiet(**more)))
    wait_for(
        lambda: len(world.sniffer.announcements(VIP)) == FIRST_BURST, 5, "the burst of a new master"
    )
    world.await_adverts(3)
    return now_ns()


def test_other_instances_come_change_and_go(world: World) -> None:
    begin = start_quiet(world)

    world.daemon.reload(config(quiet(), instance(**SECOND, vips=(f"{VIP1}/24",))))
    world.network.wait_holder(VIP1, "r1", timeout_s=5)

    world.daemon.reload(
        config(quiet(), instance(**SECOND, vips=("198.51.100.101/24",), priority=180))
    )
    world.network.wait_holder("198.51.100.101", "r1", timeout_s=5)
    wait_for(lambda: world.shown(VIP1) is None, 5, "the old address goes")
    world.sniffer.wait_advert(vrid=52, port="r1-1", priority=180)

    removed = now_ns()
    world.daemon.reload(config(quiet()))
    world.sniffer.wait_advert(vrid=52, port="r1-1", priority=0, since_ns=removed)
    wait_for(lambda: world.shown("198.51.100.101") is None, 5, "the address goes")
    world.silent(0.5, vrid=52)
    assert_undisturbed(world, begin)


def test_unchanged_file(world: World) -> None:
    begin = start_quiet(world)
    for _ in range(3):
        world.daemon.reload()
        world.await_adverts(3)
    assert_undisturbed(world, begin)


def test_address_is_added_and_removed(world: World) -> None:
    """Only what changed is touched and announced; the instance stays master."""
    begin = start_quiet(world)
    world.daemon.reload(config(quiet(vips=(f"{VIP}/24", "192.0.2.101/24"))))
    world.network.wait_holder("192.0.2.101", "r1", timeout_s=5)
    wait_for(lambda: world.sniffer.announcements("192.0.2.101"), 2, "the new one is announced")
    wait_for(
        lambda: world.sniffer.adverts(vrid=51)[-1].addresses == (VIP, "192.0.2.101"),
        2,
        "both are advertised",
    )
    world.daemon.reload(config(quiet()))
    wait_for(lambda: world.shown("192.0.2.101") is None, 5, "the address goes")
    assert removals(world, VIP, begin) == []
    assert world.sniffer.announcements(VIP, since_ns=begin) == []
    assert all(a.priority for a in world.sniffer.adverts(vrid=51, since_ns=begin))


def test_priority_and_interval_follow(world: World) -> None:
    begin = start_quiet(world, priority=100)
    world.daemon.reload(config(quiet(priority=200, advert_int=0.2)))
    changed = world.sniffer.wait_advert(vrid=51, port="r1-0", priority=200, since_ns=begin)
    assert changed.interval_ns == 200 * MS
    world.await_adverts(4, since_ns=changed.time_ns)
    times = [a.time_ns for a in world.sniffer.adverts(vrid=51, since_ns=changed.time_ns)]
    # The beat is the new one, whatever a single advert's lateness does to its two gaps.
    beats = (times[-1] - times[1]) / (len(times) - 2)
    assert abs(beats - 200 * MS) < 2 * MS + world.machine.lost_ns(times[1], times[-1])
    assert world.gap_ns(vrid=51, since_ns=changed.time_ns) < 200 * MS + ALLOWANCE_NS
    assert removals(world, VIP, begin) == []


def test_file_with_errors_changes_nothing(world: World) -> None:
    """It is reported with its position, and the daemon goes on."""
    begin = start_quiet(world)
    world.daemon.reload(config(quiet(priority=200)).replace("virtual_router_id", "virtual_router"))
    wait_for(lambda: "virtual_router" in world.daemon.log(), 5, "a message about the error")
    assert_undisturbed(world, begin)
    assert {a.priority for a in world.sniffer.adverts(vrid=51, since_ns=begin)} == {100}
    world.daemon.reload(config(quiet(priority=200)))
    world.sniffer.wait_advert(vrid=51, port="r1-0", priority=200, since_ns=begin)


def test_reload_command(world: World) -> None:
    """`fastvrrp reload` waits for the outcome and returns it."""
    daemon = world.daemon
    if not isinstance(daemon, Fastvrrp):
        pytest.skip("a command of fastvrrp")
    world.start(config(quiet()))

    def command() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            daemon.command("reload"), env=daemon.environment(), capture_output=True, text=True
        )

    daemon.config.write_text(config(quiet(priority=200)))
    done = command()
    assert done.returncode == 0, done.stderr
    begin = now_ns()
    assert world.sniffer.wait_advert(vrid=51, port="r1-0", since_ns=begin).priority == 200
    daemon.config.write_text("vrrp_instance VI {\n    nonsense\n}\n")
    done = command()
    assert done.returncode == 1
    assert f"{daemon.config}:2:5: error:" in done.stdout + done.stderr
    assert world.sniffer.wait_advert(vrid=51, port="r1-0", since_ns=now_ns()).priority == 200


def test_file_with_errors_does_not_start(world: World) -> None:
    world.daemon.start("vrrp_instance VI {\n    virtual_router_id 300\n}\n")
    assert world.daemon.process is not None
    assert world.daemon.process.wait(10) not in (0, -11)
    assert f"{world.daemon.config}:2:" in world.daemon.log()


def test_notifications_through_a_life(world: World, tmp_path: Path) -> None:
    """notify and vrrp_notify_fifo in keepalived's formats, in order, the last state included."""
    journal, lines = tmp_path / "journal", tmp_path / "lines"
    script = tmp_path / "notify"
    script.write_text(f'#!/bin/sh\necho "$@" >>{journal}\n')
    script.chmod(0o755)
    reader = tmp_path / "reader"
    reader.write_text(f'#!/bin/sh\nexec cat "$1" >>{lines}\n')
    reader.chmod(0o755)
    fifo = tmp_path / "fifo"
    head = block(
        "global_defs",
        "enable_script_security",
        "script_user root",
        f"vrrp_notify_fifo {fifo}",
        f"vrrp_notify_fifo_script {reader}",
    )
    specific = f'notify_master "{script} own master"'
    text = f"{head}\n{instance(f'notify {script}', specific)}\n"
    world.start(text)

    def notes() -> list[str]:
        return journal.read_text().splitlines() if journal.exists() else []

    wait_for(lambda: len(notes()) >= 3, 5, "three notifications")
    world.router.set_link("eth0", "down")
    wait_for(lambda: len(notes()) >= 4, 5, "FAULT")
    world.router.set_link("eth0", "up")
    wait_for(lambda: len(notes()) >= 7, 5, "MASTER again")
    assert world.daemon.stop() == 0
    wait_for(lambda: len(notes()) >= 8, 5, "STOP")
    generic = [line for line in notes() if line.startswith("INSTANCE")]
    states = ["BACKUP", "MASTER", "FAULT", "BACKUP", "MASTER", "STOP"]
    assert generic == [f"INSTANCE VI {state} 100" for state in states]
    assert notes().count("own master") == 2
    wait_for(lambda: len(lines.read_text().splitlines()) == len(states), 5, "the last line")
    assert lines.read_text().splitlines() == [f'INSTANCE "VI" {state} 100' for state in states]
