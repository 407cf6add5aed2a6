"""Two kinds of children under one supervisor: each on its own, and the two things between them."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
from supervised import CONFIGURATION, SECOND, SERVER, Daemon, wait_for

from fastvrrp.config import model, servers
from fastvrrp.control.protocol import ControlError
from fastvrrp.ipvs.decoding import Decoder
from fastvrrp.supervisor.held import Held

PLAIN = CONFIGURATION.format(extra="")
BOTH = PLAIN + SERVER
ALONE = "child_wait_time 1\n" + SERVER
NAME = "[192.0.2.200]:tcp:80"
SYNC = "lvs_sync_daemon lo V1"


def both(tmp_path: Path, *plan: str, text: str = BOTH, **options: Any) -> Daemon:
    daemon = Daemon(tmp_path, *plan, **options)
    daemon.configure(text)
    return daemon


def state(daemon: Daemon, child: str) -> Any:
    return daemon.request("status")["daemon"][child]["state"]


# ---------------------------------------------------------------------- start


def test_both_run_and_each_has_its_own_part(tmp_path: Path) -> None:
    with both(tmp_path) as daemon:
        first = daemon.notified_with("READY")
        assert first["STATUS"] == "1 instance: 1 MASTER; 1 virtual servers"
        assert daemon.child_said("configure 1 V1\n")
        assert daemon.child_said(f"configure 1 {NAME}\n", "ipvs")
        assert daemon.logged("Starting VRRP child process, pid=")
        assert daemon.logged("Starting Healthcheck child process, pid=")
        assert daemon.stop() == 0
        assert daemon.child_said("end", "ipvs")


def test_ready_waits_for_both(tmp_path: Path) -> None:
    """Its first life ends before it is ready, but no router waits for that one here."""
    with both(tmp_path, text=ALONE, servers=("crash", "run")) as daemon:
        daemon.ready()
        assert len(daemon.lives("ipvs")) == 2
        assert not daemon.lives()
        assert state(daemon, "vrrp") == "disabled"


def test_without_virtual_servers_there_is_one_process(tmp_path: Path) -> None:
    with Daemon(tmp_path) as daemon:
        daemon.ready()
        assert state(daemon, "ipvs") == "disabled"
        assert daemon.request("status")["virtual_servers"] is None
        assert not daemon.lives("ipvs")
        children = Path(f"/proc/{daemon.process.pid}/task/{daemon.process.pid}/children")
        assert len(children.read_text().split()) == 1


@pytest.mark.parametrize(("only", "other"), [("vrrp", "ipvs"), ("ipvs", "vrrp")])
def test_only_one_part(tmp_path: Path, only: str, other: str) -> None:
    with both(tmp_path, only=only) as daemon:
        daemon.ready()
        assert len(daemon.lives(only)) == 1
        assert state(daemon, other) == "disabled"
        daemon.configure(BOTH + SECOND)
        assert daemon.request("reload")["ok"] is True
        assert not daemon.lives(other)
        assert daemon.stop() == 0


# ---------------------------------------------------------------------- each on its own


@pytest.mark.parametrize(("dies", "lives"), [("ipvs", "vrrp"), ("vrrp", "ipvs")])
def test_a_crash_is_not_the_others(tmp_path: Path, dies: str, lives: str) -> None:
    with both(tmp_path) as daemon:
        daemon.ready()
        other = daemon.did(lives)
        os.kill(daemon.lives(dies)[0][1], signal.SIGKILL)
        wait_for(lambda: len(daemon.lives(dies)) == 2, "second child")
        wait_for(lambda: state(daemon, dies) == "running", "running")
        assert daemon.did(lives) == other
        record = daemon.request("status")["daemon"]
        assert (record[dies]["restarts"], record[lives]["restarts"]) == (1, 0)
        assert daemon.logged("sent priority 0 for") == (dies == "vrrp")


def test_a_hung_one_is_killed_alone(tmp_path: Path) -> None:
    with both(tmp_path, servers=("hang", "run")) as daemon:
        daemon.ready()
        wait_for(lambda: len(daemon.lives("ipvs")) == 2, "second child")
        assert daemon.logged("killing the IPVS process")
        assert len(daemon.lives()) == 1


def test_one_whose_prober_stands_still_is_killed_alone(tmp_path: Path) -> None:
    with both(tmp_path, servers=("stuck-engine", "run")) as daemon:
        daemon.ready()
        wait_for(lambda: len(daemon.lives("ipvs")) == 2, "second child")
        assert daemon.logged("its prober has stood still for")
        assert len(daemon.lives()) == 1


@pytest.mark.parametrize("plan", ["permission", "refuse", "crash"])
def test_routers_do_not_end_with_an_ipvs_process_that_cannot_run(tmp_path: Path, plan: str) -> None:
    """A kernel without IPVS must cost no address."""
    with both(tmp_path, servers=(plan,)) as daemon:
        daemon.ready()
        wait_for(lambda: len(daemon.lives("ipvs")) >= 3, "it is tried again")
        assert len(daemon.lives()) == 1
        status = daemon.request("status")
        assert status["daemon"]["vrrp"]["state"] == "running"
        assert status["virtual_servers"] is None
        assert daemon.stop() == 0


@pytest.mark.parametrize(("plan", "code"), [("permission", 4), ("refuse", 2)])
def test_alone_it_ends_the_daemon(tmp_path: Path, plan: str, code: int) -> None:
    with both(tmp_path, text=ALONE, servers=(plan,)) as daemon:
        assert daemon.process.wait(timeout=30) == code
        assert len(daemon.lives("ipvs")) == 1


# ---------------------------------------------------------------------- reload


def test_a_reload_reaches_both(tmp_path: Path) -> None:
    with both(tmp_path) as daemon:
        daemon.ready()
        daemon.configure(BOTH + SECOND)
        result = daemon.request("reload")
        assert result["changes"] == ["instances: V1 V2", f"servers: {NAME}"]
        assert daemon.child_said(f"configure 2 {NAME}\n", "ipvs")


@pytest.mark.parametrize(("refuses", "takes"), [("ipvs", "vrrp"), ("vrrp", "ipvs")])
def test_who_refuses_a_reload_keeps_what_it_had(tmp_path: Path, refuses: str, takes: str) -> None:
    plans = {"vrrp": "run", "ipvs": "run", refuses: "refuse-reload"}
    with both(tmp_path, plans["vrrp"], servers=(plans["ipvs"],)) as daemon:
        daemon.ready()
        daemon.configure(BOTH + SECOND)
        result = daemon.request("reload")
        assert (result["ok"], result["epoch"]) == (False, 2)
        assert result["error"] == (
            "it does not please me; the other process has changed to the new configuration"
        )
        assert daemon.child_said("configure 2", takes)
        os.kill(daemon.lives(refuses)[0][1], signal.SIGKILL)
        wait_for(lambda: daemon.did(refuses).count("configure 1") == 2, "old one again")
        assert len(daemon.lives(takes)) == 1


def test_a_reload_that_kills_one(tmp_path: Path) -> None:
    with both(tmp_path, servers=("crash-on-reload", "run")) as daemon:
        daemon.ready()
        result = daemon.request("reload")
        assert result["ok"] is False
        assert (
            "the IPVS process ended; it is restarted with the old configuration" in result["error"]
        )
        wait_for(lambda: len(daemon.lives("ipvs")) == 2, "second child")
        assert len(daemon.lives()) == 1


def test_who_was_not_there_to_refuse_a_reload_has_what_it_had(tmp_path: Path) -> None:
    settings = {"backoff_s": (600.0,)}  # until somebody reloads
    with both(tmp_path, "run", "refuse", "run", settings=settings) as daemon:
        daemon.ready()
        os.kill(daemon.lives()[0][1], signal.SIGKILL)
        wait_for(lambda: state(daemon, "vrrp") == "down", "down")
        daemon.configure(BOTH + SECOND)
        assert daemon.request("reload")["ok"] is True
        wait_for(lambda: daemon.child_said("configure 2 V1 V2"), "it refuses it")
        wait_for(lambda: daemon.did().count("configure 1 V1\n") == 2, "what it had, at once")
        wait_for(lambda: state(daemon, "vrrp") == "running", "running")
        assert daemon.logged("the VRRP process goes back to the configuration that it had")
        assert len(daemon.lives("ipvs")) == 1
        daemon.configure(BOTH)
        assert daemon.request("reload")["ok"] is True
        assert daemon.child_said("configure 3 V1\n")


@pytest.mark.parametrize(("comes", "runs"), [("ipvs", "vrrp"), ("vrrp", "ipvs")])
def test_who_comes_with_a_reload_and_cannot_run_ends_nobody(
    tmp_path: Path, comes: str, runs: str
) -> None:
    plans = {runs: ("run",), comes: ("refuse", "run")}
    text = {"vrrp": PLAIN, "ipvs": ALONE}[runs]
    with both(tmp_path, *plans["vrrp"], servers=plans["ipvs"], text=text) as daemon:
        daemon.ready()
        daemon.configure(BOTH)
        assert daemon.request("reload")["ok"] is True
        wait_for(lambda: state(daemon, comes) == "running", "tried again")
        assert len(daemon.lives(comes)) == 2
        assert len(daemon.lives(runs)) == 1


def test_it_comes_and_goes_with_its_work(tmp_path: Path) -> None:
    with Daemon(tmp_path) as daemon:
        daemon.ready()
        daemon.configure(BOTH)
        result = daemon.request("reload")
        assert (
            "the IPVS process is not running; it starts with this configuration"
            in (result["changes"])
        )
        wait_for(lambda: state(daemon, "ipvs") == "running", "running")
        daemon.configure(PLAIN)
        assert daemon.request("reload")["ok"] is True
        assert daemon.child_said("configure 3\n", "ipvs"), "it removes what it had"
        wait_for(lambda: state(daemon, "ipvs") == "disabled", "disabled")
        assert daemon.child_said("end", "ipvs")
        assert not daemon.logged("without being told to")
        daemon.configure(BOTH)
        daemon.request("reload")
        wait_for(lambda: state(daemon, "ipvs") == "running", "running again")
        assert daemon.request("status")["daemon"]["ipvs"]["restarts"] == 0
        assert len(daemon.lives()) == 1


def test_work_comes_back_while_it_stops(tmp_path: Path) -> None:
    with both(tmp_path, servers=("slow-goodbye", "run")) as daemon:
        daemon.ready()
        daemon.configure(PLAIN)
        daemon.request("reload")
        daemon.configure(BOTH)
        assert daemon.request("reload")["ok"] is True
        wait_for(lambda: len(daemon.lives("ipvs")) == 2, "second child")
        wait_for(lambda: state(daemon, "ipvs") == "running", "running")
        assert daemon.request("status")["daemon"]["ipvs"]["restarts"] == 0
        text = daemon.did("ipvs")
        assert text.index(" end\n") < text.rindex(" born\n")


# ---------------------------------------------------------------------- what binds them


def test_at_a_stop_services_go_after_the_addresses(tmp_path: Path) -> None:
    with both(tmp_path, "slow-goodbye") as daemon:
        daemon.ready()
        assert daemon.stop() == 0
        assert daemon.when("handed over") <= daemon.when("stop", "ipvs") < daemon.when("end")


def test_a_router_that_will_not_stop_keeps_nobody(tmp_path: Path) -> None:
    with both(tmp_path, "slow-stop") as daemon:
        daemon.ready()
        assert daemon.stop() == 0
        assert daemon.child_said("end", "ipvs")
        assert daemon.logged("killing the VRRP process")


def test_states_are_told_to_who_follows_them(tmp_path: Path) -> None:
    text = BOTH.replace("script_user root", f"script_user root\n    {SYNC}") + SECOND
    with both(tmp_path, text=text) as daemon:
        daemon.ready()
        wait_for(lambda: daemon.child_said("follows V1 MASTER", "ipvs"), "state")
        os.kill(daemon.lives()[0][1], signal.SIGKILL)
        wait_for(lambda: daemon.child_said("follows V1 STOPPED", "ipvs"), "crash")
        wait_for(lambda: daemon.did("ipvs").count("follows V1 MASTER") == 2, "state again")
        os.kill(daemon.lives("ipvs")[0][1], signal.SIGKILL)
        wait_for(lambda: daemon.did("ipvs").count("follows V1 MASTER") == 3, "told to the next one")
        assert not daemon.child_said("V2", "ipvs")


# ---------------------------------------------------------------------- requests


def test_status_is_of_both(tmp_path: Path) -> None:
    with both(tmp_path) as daemon:
        daemon.ready()
        status = daemon.request("status")
        assert [one["name"] for one in status["instances"]] == ["V1"]
        assert [one["name"] for one in status["virtual_servers"]] == [NAME]
        one = daemon.request("status", name=NAME)
        assert (one["instances"], [vs["name"] for vs in one["virtual_servers"]]) == ([], [NAME])
        one = daemon.request("status", name="V1")
        assert ([vi["name"] for vi in one["instances"]], one["virtual_servers"]) == (["V1"], [])
        with pytest.raises(ControlError, match="no V9") as caught:
            daemon.request("status", name="V9")
        assert caught.value.code == "not-found"


def test_counters_are_of_both(tmp_path: Path) -> None:
    with both(tmp_path) as daemon:
        daemon.ready()
        counters = daemon.request("counters")
        assert counters["script"] == "exited with status 0"
        assert [one["name"] for one in counters["virtual_servers"]] == [NAME]


def test_both_write_dumps(tmp_path: Path) -> None:
    with both(tmp_path) as daemon:
        daemon.ready()
        daemon.signal(signal.SIGUSR1)
        wait_for(lambda: daemon.child_said("dump data", "ipvs"), "dump")
        wait_for((daemon.run_dir / "keepalived_check.data").exists, "file")
        wait_for((daemon.run_dir / "keepalived.data").exists, "file of the routers")


# ---------------------------------------------------------------------- parts


def command(name: str) -> model.Command:
    return model.Command(argv=(name,))


def test_a_part_has_its_own_commands() -> None:
    check = servers.MiscCheck(command=command("/check"), timeout_ns=1)
    real = servers.RealServer(
        address="192.0.2.1", port=80, family=4, notify_up=command("/up"), checks=(check,)
    )
    server = servers.VirtualServer(
        name="x",
        services=(servers.ServiceAddress(family=4, address="192.0.2.2", port=80),),
        real_servers=(real, real),
        quorum_down=command("/quorum"),
    )
    fifo = model.Fifo(path="/common", script=command("/common"))
    lvs = model.Fifo(path="/lvs", script=command("/lvs"))
    instance = model.VrrpInstance(name="V", virtual_router_id=1, family=4, version=3)
    configuration = model.Configuration(
        global_defs=model.GlobalDefs(notify_fifo=fifo, lvs_notify_fifo=lvs),
        vrrp_instances=(instance,),
        ipvs=servers.Ipvs(virtual_servers=(server,)),
    )

    def commands(only: str | None = None) -> dict[str, set[str]]:
        parts = Held.of(configuration, only=only).parts
        return {name: {c.argv[0] for c in part.commands} for name, part in parts.items()}

    own = {"/check", "/up", "/quorum", "/lvs"}
    assert commands() == {"vrrp": set(), "ipvs": own}, "the common one is the supervisor's"
    assert commands("ipvs") == {"vrrp": set(), "ipvs": own}
    assert commands("vrrp") == {"vrrp": set(), "ipvs": set()}
    held = Held.of(configuration)
    balancer = Decoder().decode(held.parts["ipvs"].data.get())
    routers = held.parts["vrrp"].decode()
    for one in (balancer, routers):
        assert one.global_defs.notify_fifo == model.Fifo(path="/common")
    assert balancer.vrrp_instances == ()
    assert balancer.ipvs == configuration.ipvs
    assert routers.ipvs == servers.Ipvs()
