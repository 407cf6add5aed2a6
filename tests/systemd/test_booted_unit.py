"""The unit of packaging/ in a systemd that really runs: started, reloaded, killed, hung, stopped.

One boot serves all (booted.py); the story is told in story.py, here is what has to come of it.
"""

from __future__ import annotations

import os
from typing import Any

import pytest
from booted import Told, tell

# The boot waits for three starts of the daemon, in a kernel slower than the machine's.
pytestmark = [pytest.mark.xdist_group("booted-unit"), pytest.mark.timeout(400)]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Told:
    return tell(tmp_path_factory.mktemp("booted"))


def chapter(told: Told, name: str) -> dict[str, Any]:
    assert name in told.facts, f"the story ended before {name}:\n{told.said}"
    found: dict[str, Any] = told.facts[name]
    return found


def test_it_starts_when_the_instances_run(told: Told) -> None:
    start = chapter(told, "start")
    assert start["status"] == 0
    assert (start["ActiveState"], start["NRestarts"]) == ("active", "0")
    assert start["master"], told.said
    assert start["text"], "the state is in what `systemctl status` shows"


def test_the_sandbox_leaves_the_daemon_what_it_needs(told: Told) -> None:
    """Each of these needs a capability, a limit, a path or an address family of the unit's."""
    start = chapter(told, "start")
    assert "vrrp.5" in start["links"], "use_vmac"
    realtime = {os.SCHED_FIFO, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK}
    assert realtime & set(start["policies"]), "vrrp_rt_priority"
    assert max(start["locked_kb"]) > 10_000, "vrrp_no_swap"
    assert start["fifo"], "vrrp_notify_fifo"
    assert start["table"], "virtual_server"


def test_scripts_have_their_users_and_little_else(told: Told) -> None:
    scripts = chapter(told, "scripts")
    assert scripts["nobody"] == "nobody"
    # It tried to write below /etc, to set the clock and to load a module as well.
    assert scripts["root"] == ["run", "devices"]


def test_reload(told: Told) -> None:
    reload = chapter(told, "reload")
    assert reload == {"status": 0, "second": True, "same": True}, told.said


def test_a_reload_of_a_broken_file_changes_nothing(told: Told) -> None:
    assert chapter(told, "broken_reload") == {"told": True, "same": True, "kept": True}, told.said


def test_a_kill_leaves_no_address_and_it_is_started_again(told: Told) -> None:
    """With the configuration of now, in which the second address is no more."""
    killed = chapter(told, "killed")
    assert killed["cleaned"], "ExecStopPost"
    assert killed["restarted"], told.said
    assert (killed["master"], killed["second"], killed["table"]) == (True, False, True)


def test_a_supervisor_that_hangs_is_started_again(told: Told) -> None:
    assert chapter(told, "hung") == {"restarted": True, "why": True, "master": True}, told.said


def test_stop_leaves_nothing(told: Told) -> None:
    stop = chapter(told, "stop")
    assert (stop["status"], stop["Result"], stop["ActiveState"]) == (0, "success", "inactive")
    assert stop["seconds"] < 30, "within TimeoutStopSec"
    assert stop["links"] == ["lan0", "lan1", "lo"]
    left = ("address", "table", "processes", "run")
    assert [name for name in left if stop[name]] == []


def test_a_broken_file_is_not_started_again_and_again(told: Told) -> None:
    """RestartPreventExitStatus: exit 1 is an error in the configuration."""
    assert chapter(told, "refused") == {
        "status": 1,
        "ActiveState": "failed",
        "NRestarts": "0",
        "ExecMainStatus": "1",
    }
