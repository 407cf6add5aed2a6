"""Whole daemons and the real table: start, failure, reload, crash, stop, and what is shown."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from daemon_tools import Daemon, Servers, wait_for
from guest_tools import ip, namespace, run

from keepalived_text import block

WEB = (("127.0.0.2", 80), ("127.0.0.3", 80))

# As users have it; the address is on the balancer.
EXAMPLE = """\
virtual_server 10.0.0.1 80 {
    delay_loop 6
    lb_algo rr
    lb_kind NAT
    protocol TCP

    real_server 127.0.0.2 80 {
        weight 1
        TCP_CHECK {
            connect_timeout 3
        }
    }
    real_server 127.0.0.3 80 {
        weight 1
        TCP_CHECK {
            connect_timeout 3
        }
    }
}
"""
QUICK = EXAMPLE.replace("delay_loop 6", "delay_loop 1\n    warmup 0")
OTHER = QUICK.replace("10.0.0.1 80", "10.1.0.1 80")

SERVICE = "-A -t 10.0.0.1:80 -s rr"
FIRST = "-a -t 10.0.0.1:80 -r 127.0.0.2:80 -m -w 1"
SECOND = "-a -t 10.0.0.1:80 -r 127.0.0.3:80 -m -w 1"

ROUTER = """\
vrrp_instance V1 {
    interface eth1
    virtual_router_id 51
    version 3
    priority 150
    advert_int 0.1
    virtual_ipaddress {
        10.1.0.100/24
    }
}
"""
SYNC = "global_defs {\n    lvs_sync_daemon eth0 V1 id 7\n}\n"


@pytest.fixture
def space() -> Iterator[str]:
    with namespace() as name:
        yield name


@pytest.fixture
def servers(space: str) -> Iterator[Servers]:
    with Servers(space) as found:
        found.up(*WEB)
        yield found


@pytest.fixture
def daemon(space: str, servers: Servers, tmp_path: Path) -> Iterator[Daemon]:
    with Daemon(space, tmp_path) as found:
        yield found


# ---------------------------------------------------------------------- servers


def test_the_example_word_for_word(daemon: Daemon, servers: Servers) -> None:
    daemon.start(EXAMPLE)
    assert daemon.table() == [SERVICE, FIRST, SECOND], "at READY"
    servers.down(WEB[1])
    daemon.has(SERVICE, FIRST)
    servers.up(WEB[1])
    daemon.has(SERVICE, FIRST, SECOND)
    servers.down(*WEB)
    daemon.has(SERVICE)
    assert daemon.stop() == 0
    assert daemon.table() == []
    log = daemon.log()
    assert "Removing service [127.0.0.3]:tcp:80 from VS [10.0.0.1]:tcp:80" in log
    assert "Adding service [127.0.0.3]:tcp:80 to VS [10.0.0.1]:tcp:80" in log
    assert not [name for name in os.listdir(daemon.run_dir) if "journal" in name]  # noqa: PTH208


def test_what_somebody_else_changes_is_put_right(daemon: Daemon) -> None:
    daemon.start(QUICK)
    other = ("ip", "netns", "exec", daemon.namespace, "ipvsadm")
    run(*other, *["-A", "-t", "10.9.9.9:80", "-s", "rr"])
    run(*other, *["-e", "-t", "10.0.0.1:80", "-r", "127.0.0.2:80", "-m", "-w", "77"])
    run(*other, *["-d", "-t", "10.0.0.1:80", "-r", "127.0.0.3:80"])
    stranger = "-A -t 10.9.9.9:80 -s rr"
    wait_for(
        lambda: sorted(daemon.table()) == sorted([SERVICE, FIRST, SECOND, stranger]), "put right"
    )
    assert daemon.status()["ipvs"]["mended"] == 1
    assert daemon.stop() == 0
    assert daemon.table() == [stranger]


# ---------------------------------------------------------------------- reload


def test_reload(daemon: Daemon) -> None:
    daemon.start(QUICK)
    before = daemon.status()["ipvs"]
    assert (before["changes"], before["changes_by_reload"]) == (3, None)
    result = daemon.reload(QUICK.replace("weight 1", "weight 3", 1) + OTHER)
    assert result["ok"] is True
    assert result["changes"] == [
        "virtual server [10.0.0.1]:tcp:80: real server [127.0.0.2]:tcp:80 weight 1 -> 3",
        "virtual server [10.1.0.1]:tcp:80 added, 2 real servers",
    ]
    heavy = FIRST.replace("-w 1", "-w 3")
    assert daemon.table()[:3] == [SERVICE, heavy, SECOND]
    assert len(daemon.table()) == 6
    after = daemon.status()["ipvs"]
    assert (after["changes"], after["changes_by_reload"]) == (3 + 4, 4)  # one weight, one service
    result = daemon.reload(QUICK + "virtual_server {\n")
    assert result["ok"] is False
    assert len(daemon.table()) == 6
    assert daemon.reload(QUICK)["ok"] is True
    assert daemon.table() == [SERVICE, FIRST, SECOND]
    assert daemon.reload("global_defs {\n}\n")["ok"] is True
    assert daemon.table() == []
    wait_for(lambda: daemon.status()["daemon"]["ipvs"]["state"] == "disabled", "end")
    daemon.reload(QUICK)
    daemon.has(SERVICE, FIRST, SECOND)


# ---------------------------------------------------------------------- crashes


def test_a_crash_leaves_the_table_serving(daemon: Daemon, servers: Servers) -> None:
    servers.down(WEB[1])
    daemon.start(QUICK)
    daemon.has(SERVICE, FIRST)
    daemon.kill("ipvs")
    tables = []

    def again() -> bool:
        tables.append(daemon.table())
        record = daemon.status()["daemon"]["ipvs"]
        return bool(record["state"] == "running" and record["restarts"] == 1)

    wait_for(again, "the next process")
    tables.append(daemon.table())
    assert all(table == [SERVICE, FIRST] for table in tables), "not even the failed one came back"
    servers.up(WEB[1])
    daemon.has(SERVICE, FIRST, SECOND)


def test_the_next_daemon_takes_over(daemon: Daemon) -> None:
    """After a kill -9 of the supervisor; what is no longer configured is removed."""
    daemon.start(QUICK + OTHER)
    before = daemon.table()
    assert len(before) == 6
    daemon.kill("")
    wait_for(lambda: "the services stay" in daemon.log(), "the end of its child")
    assert daemon.table() == before
    daemon.start(QUICK)
    assert daemon.table() == [SERVICE, FIRST, SECOND]
    assert "taking over 2 services" in daemon.log()
    assert daemon.stop() == 0
    assert daemon.table() == []


def test_clean_leaves_services_alone(daemon: Daemon) -> None:
    """systemd runs it between a crash and the next start."""
    daemon.start(QUICK)
    before = daemon.table()
    daemon.kill("")
    wait_for(lambda: "the services stay" in daemon.log(), "the end of its child")
    wait_for(lambda: _clean(daemon), "clean")
    assert daemon.table() == before
    daemon.start(QUICK)


def _clean(daemon: Daemon) -> bool:
    command = [sys.executable, "-m", "fastvrrp", "clean", "--run-dir", str(daemon.run_dir)]
    return subprocess.run(command, check=False).returncode == 0


# ---------------------------------------------------------------------- with routers


def test_the_sync_daemon_follows_its_instance(daemon: Daemon) -> None:
    daemon.start(SYNC + ROUTER + QUICK)
    show = ("ip", "netns", "exec", daemon.namespace, "ipvsadm", "-l", "--daemon")
    wait_for(lambda: "master sync daemon (mcast=eth0, syncid=7" in run(*show), "master")
    daemon.reload(SYNC + ROUTER.replace("priority 150", "priority 100") + QUICK)
    ip(f"-n {daemon.namespace} link set eth1 down")  # FAULT
    wait_for(lambda: "backup sync daemon (mcast=eth0, syncid=7" in run(*show), "backup")
    ip(f"-n {daemon.namespace} link set eth1 up")
    wait_for(lambda: "master sync daemon" in run(*show), "master again")
    assert "backup" not in run(*show)
    assert daemon.stop() == 0
    assert run(*show).strip() == ""


def test_checks_wait_for_the_address(daemon: Daemon, servers: Servers) -> None:
    """ha_suspend: the backup does not check, and the new master begins to."""
    suspending = QUICK.replace("10.0.0.1 80", "10.1.0.100 80").replace(
        "delay_loop", "ha_suspend\n    delay_loop"
    )
    ip(f"-n {daemon.namespace} link set eth1 down")
    servers.down(WEB[1])
    daemon.start(ROUTER + suspending)
    service = SERVICE.replace("10.0.0.1", "10.1.0.100")
    first, second = (line.replace("10.0.0.1", "10.1.0.100") for line in (FIRST, SECOND))
    checks = daemon.status()["virtual_servers"][0]["servers"][1]["checks"]
    assert [check["state"] for check in checks] == ["suspended"]
    assert daemon.table() == [service, first, second]
    ip(f"-n {daemon.namespace} link set eth1 up")
    daemon.has(service, first)
    line = "healthchecker for service [127.0.0.3]:tcp:80 for VS [10.1.0.100]:tcp:80"
    assert f"Activating {line}" in daemon.log()
    ip(f"-n {daemon.namespace} link set eth1 down")
    wait_for(lambda: f"Suspending {line}" in daemon.log(), "the backup does not check")
    servers.up(WEB[1])
    (record,) = daemon.status()["virtual_servers"]
    assert record["suspended"] is True
    assert [one["up"] for one in record["servers"]] == [True, False], "as they were known"
    ip(f"-n {daemon.namespace} link set eth1 up")
    daemon.has(service, first, second)


def test_services_outlive_the_addresses_at_a_stop(daemon: Daemon) -> None:
    """As long as packets come for them."""
    daemon.start(ROUTER + QUICK)
    shown = ("ip", "-n", daemon.namespace, "address", "show", "dev", "eth1")
    wait_for(lambda: "10.1.0.100" in run(*shown), "master")
    daemon.process.terminate()
    wait_for(lambda: not daemon.table(), "the end of the services")
    assert "10.1.0.100" not in run(*shown)
    assert daemon.process.wait(20) == 0


def test_a_crash_of_one_is_not_the_others(daemon: Daemon) -> None:
    daemon.start(ROUTER + QUICK)
    wait_for(lambda: daemon.status()["instances"][0]["state"] == "MASTER", "master")
    before = daemon.status()["daemon"]
    daemon.kill("ipvs")
    wait_for(lambda: daemon.status()["daemon"]["ipvs"]["restarts"] == 1, "second ipvs")
    assert daemon.status()["daemon"]["vrrp"]["pid"] == before["vrrp"]["pid"]
    assert daemon.status()["instances"][0]["state"] == "MASTER"
    pid = wait_for(lambda: daemon.status()["daemon"]["ipvs"]["pid"], "its number")
    daemon.kill("vrrp")
    wait_for(lambda: daemon.status()["daemon"]["vrrp"]["restarts"] == 1, "second vrrp")
    assert daemon.status()["daemon"]["ipvs"]["pid"] == pid
    assert daemon.table() == [SERVICE, FIRST, SECOND]


# ---------------------------------------------------------------------- where, and how


def test_the_table_of_another_namespace(space: str, servers: Servers, tmp_path: Path) -> None:
    """net_namespace_ipvs: checks are done where the daemon runs."""
    with namespace() as elsewhere, Daemon(space, tmp_path) as daemon:
        daemon.start(f"net_namespace_ipvs {elsewhere}\n" + QUICK)
        assert daemon.table() == []
        assert daemon.table(elsewhere) == [SERVICE, FIRST, SECOND]
        servers.down(WEB[1])
        wait_for(lambda: daemon.table(elsewhere) == [SERVICE, FIRST], "the failure")
        result = daemon.reload(QUICK)
        assert result["ok"] is False
        assert "net_namespace_ipvs cannot change" in result["error"]
        assert daemon.stop() == 0
        assert daemon.table(elsewhere) == []


def test_scheduling(daemon: Daemon) -> None:
    tuning = "global_defs {\n    checker_priority -5\n    checker_no_swap\n}\n"
    daemon.start(tuning + QUICK)
    pid = daemon.status()["daemon"]["ipvs"]["pid"]
    assert os.getpriority(os.PRIO_PROCESS, pid) == -5
    memory = Path(f"/proc/{pid}/status").read_text()
    locked = next(line for line in memory.splitlines() if line.startswith("VmLck"))
    assert int(locked.split()[1]) > 1000


def test_timeouts_and_flush(daemon: Daemon) -> None:
    other = ("ip", "netns", "exec", daemon.namespace, "ipvsadm")
    run(*other, *["-A", "-t", "10.9.9.9:80", "-s", "rr"])
    words = ("lvs_timeouts tcp 77", "lvs_flush", "lvs_flush_on_stop")
    daemon.start(f"{block('global_defs', *words)}\n{QUICK}")
    assert daemon.table() == [SERVICE, FIRST, SECOND]
    assert "tcp tcpfin udp): 77 " in run(*other, "-l", "--timeout")
    run(*other, *["-A", "-t", "10.9.9.9:80", "-s", "rr"])
    assert daemon.stop() == 0
    assert daemon.table() == []
    assert "tcp tcpfin udp): 900 " in run(*other, "-l", "--timeout")  # as it was before


# ---------------------------------------------------------------------- what is shown


def test_what_is_shown(daemon: Daemon, servers: Servers) -> None:
    daemon.start(QUICK)
    events = following(daemon)
    wait_for(
        lambda: (
            daemon.status()["virtual_servers"][0]["servers"][1]["checks"][0].get("state") == "up"
        ),
        "first checks",
    )
    servers.down(WEB[1])
    daemon.has(SERVICE, FIRST)
    text = daemon.cli("status")
    assert "[10.0.0.1]:tcp:80" in text
    assert "1 of 2 servers up, quorum 1" in text
    assert "TCP_CHECK connection refused" in text
    detail = daemon.cli("status", "[127.0.0.2]:tcp:80")
    assert "TCP_CHECK connected, " in detail
    record = json.loads(daemon.cli("status", "--json"))["virtual_servers"][0]
    assert [server["up"] for server in record["servers"]] == [True, False]
    assert [server["serving"] for server in record["servers"]] == [True, False]
    fetch(daemon.namespace, "10.0.0.1")
    wait_for(
        lambda: (
            daemon.request("counters")["virtual_servers"]["[10.0.0.1]:tcp:80"]["connections"] == 1
        ),
        "counted by the kernel",
    )
    assert daemon.stop() == 0
    out, _ = events.communicate(timeout=20)
    kinds = [json.loads(line) for line in out.splitlines()]
    down = [one for one in kinds if one["kind"] == "server" and one["reason"] == "check"]
    assert [(one["server"], one["up"]) for one in down] == [("[127.0.0.3]:tcp:80", False)]
    failed = next(one for one in kinds if one["kind"] == "check" and not one["up"])
    assert (failed["check"], failed["detail"]) == ("TCP_CHECK", "connection refused")


def following(daemon: Daemon) -> subprocess.Popen[str]:
    """`fastvrrp events`, once it is told what happens: reloads of the same file, first of all."""
    command = ("fastvrrp", "events", "--json", "--run-dir", str(daemon.run_dir))
    process = subprocess.Popen([sys.executable, "-m", *command], stdout=subprocess.PIPE, text=True)

    def hears() -> bool:
        daemon.request("reload")
        return bool(select.select([process.stdout], [], [], 0.2)[0])

    wait_for(hears, "events")
    return process


def fetch(name: str, address: str) -> None:
    """A connection from inside a namespace."""
    program = "import socket, sys; socket.create_connection((sys.argv[1], 80), timeout=5).close()"
    run("ip", "netns", "exec", name, sys.executable, "-c", program, address)
