"""Configuration files as they are found in the field: what `check` says, and that they run.

The files below files/ are written after what tutorials, appliances and tools produce: pairs for
haproxy and the Kubernetes API, LVS directors, dual stack routers, containers, VyOS, OpenStack.
Where a file is wrong, it is wrong in a way people get it wrong.
"""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

import pytest
from operator_tools import FILES, Router

from fastvrrp.cli.status import EXIT_NOT_RUNNING
from fastvrrp.config.host import OtherHost
from fastvrrp.config.load import load
from fastvrrp.config.model import Loaded
from fastvrrp.lab.network import wait_for

KERNEL_HAS_IPVS = Path("/proc/net/ip_vs").exists()

SECURITY = "without enable_script_security"
OWN = "own interface is tracked anyway"

# file -> what is said: line (and file, when included), severity, words of the message
EXPECTED: dict[str, list[str]] = {
    "bgp-notify": ["25 warning first 8 bytes", f"35 warning {OWN}"],
    "haproxy-pair": [],
    "includes": ["3 warning no file matches"],
    "k8s-apiserver": [f"6 warning {SECURITY}"],
    "lvs-director": [
        "6 warning vrrp_garp_interval is not a time",
        "7 warning vrrp_gna_interval is not a time",
        "18 warning old spelling",
        "18 warning the daemon is configured already",
        f"77 warning {SECURITY}",
        "78 warning misc_timeout 5 is longer than delay_loop 3",
    ],
    "neutron": [f"18 warning {OWN}", "26 warning scope is for IPv4"],
    "old-style": [
        "3 warning no mail is sent without smtp_server",
        "22 warning auth_type AH has no effect yet",
        "27 warning debug has no effect",
        "32 error unknown keyword 'lvs_sync_interface'; did you mean lvs_sync_daemon_interface",
    ],
    "osixia-docker": [f"10 warning {OWN}", f"34 warning {SECURITY}"],
    "process-and-file": [
        "3 warning process_monitor_rcv_bufs has no effect",
        "21 warning vrrp_track_file is an old spelling",
    ],
    "router-v4-v6-group": [
        "8 warning nftables is always used",
        f"19 warning {SECURITY}",
        "23 warning global_tracking is an old spelling",
        "38 warning cannot be tracked without an interface",
        "42 warning no preference",
    ],
    "slow-wan": [
        "5 warning vrrp_check_unicast_src has no effect",
        f"23 warning {SECURITY}",
        "31 warning native_ipv6 is an old keyword",
    ],
    "strict-owner": [],
    "template": [],
    "unrendered": [
        "2 error router_id has no block",
        "2 error unexpected '{'",
        f"11 warning {OWN}",
        "20 warning strict mode knows no unicast",
        "28 warning strict mode has no authentication",
        f"33 warning {SECURITY}",
    ],
    "vmac": [
        "25 warning vrrp251: an IPv4 ipvlan without an address has no source",
    ],
    "vyos": [
        f"13 warning {SECURITY}",
        "14 warning vrrp_garp_interval is not a time",
    ],
}
VALID = [name for name in EXPECTED if not any(" error " in line for line in EXPECTED[name])]


def read(name: str, config_id: str = "lb1") -> Loaded:
    return load(FILES / f"{name}.conf", config_id=config_id, environ={}, host=OtherHost())


def test_every_file_is_expected() -> None:
    assert sorted(path.stem for path in FILES.glob("*.conf")) == sorted(EXPECTED)


@pytest.mark.parametrize("name", EXPECTED)
def test_messages(name: str) -> None:
    """Each once, in the order of the file, and nothing else."""
    loaded = read(name)
    said = [f"{m.position.line} {m.severity.value} {m.text}; {m.hint}" for m in loaded.messages]
    assert len(said) == len(EXPECTED[name]), said
    for found, wanted in zip(said, EXPECTED[name], strict=True):
        line, severity, words = wanted.split(" ", 2)
        assert found.startswith(f"{line} {severity} ")
        assert words in found
    assert (loaded.configuration is not None) == (name in VALID)


def test_one_file_per_node() -> None:
    """@ lines and the name of the node."""
    priorities = {}
    for node in ("lb1", "lb2"):
        found = read("includes", node).configuration
        assert found is not None
        assert found.global_defs.router_id == node
        priorities[node] = {i.name: (i.priority, i.nopreempt) for i in found.vrrp_instances}
    assert priorities["lb1"] == {"web": (150, False), "mail": (100, False)}
    assert priorities["lb2"] == {"web": (100, True), "mail": (150, False)}


def test_template_makes_instances() -> None:
    found = read("template").configuration
    assert found is not None
    assert [
        (i.name, i.virtual_router_id, i.priority, i.virtual_ipaddress[0].address)
        for i in found.vrrp_instances
    ] == [(f"VI_{n}", n, 150, f"192.0.2.{n}") for n in (101, 102, 103, 104, 7, 9)]


@pytest.mark.netns
@pytest.mark.parametrize("name", VALID)
def test_it_runs(router: Router, name: str) -> None:
    """Every valid file starts, reports its instances, stops with status 0, leaves nothing."""
    before = router.held()
    router.daemon.config = FILES / f"{name}.conf"
    router.daemon.start()
    router.wait_log("Ready: ")
    found = read(name).configuration
    assert found is not None
    # A kernel without IPVS: the virtual routers live all the same, and status tells what does not.
    wanted = {"running"} if KERNEL_HAS_IPVS else {"down", "starting"}  # it is tried again
    if not found.ipvs.virtual_servers:
        wanted = {"disabled"}
    status = router.status(0 if wanted & {"running", "disabled"} else EXIT_NOT_RUNNING)
    assert status["daemon"]["ipvs"]["state"] in wanted
    states = {one["name"]: one["state"] for one in status["instances"]}
    # Files with conditions are read as this host: the names are the same for all.
    assert states.keys() == {i.name for i in found.vrrp_instances}
    assert set(states.values()) <= {"BACKUP", "MASTER", "FAULT", "INIT"}
    assert router.daemon.stop() == 0
    assert not re.search(r"Traceback|internal error", router.daemon.log())
    with contextlib.suppress(TimeoutError):
        wait_for(lambda: router.held() == before, 3, "nothing is left")
    assert router.held() == before
