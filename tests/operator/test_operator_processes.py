"""vrrp_track_process while processes start, multiply and die; and the JSON dump of version 2, which
tells of them. Its fields are those of keepalived 2.2.8, which first has that version."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
from operator_tools import Router

from fastvrrp.lab.network import wait_for
from keepalived_text import block, config, instance
from machine import now_ns

pytestmark = pytest.mark.netns

JSON = signal.SIGRTMIN + 2
FIELDS = (
    *("process", "param_match", "min_processes", "max_processes", "current_processes"),
    *("have_quorum", "weight", "terminate_delay", "fork_delay", "fork_delay_timer_running"),
    *("terminate_delay_timer_running", "full_command"),
)
PRIORITY = {0: 100, 1: 110, 2: 130, 3: 110}  # by the number of processes


def text(program: str, json_version: int) -> str:
    one = block("vrrp_track_process one", f"process {program}", "weight 10")
    several = ("quorum 2", "quorum_max 2", "weight 20", "full_command")
    two = block("vrrp_track_process two", f"process {program}", *several)
    return config(
        *(one, two, instance(block("track_process", "one", "two"))),
        defs=(f"json_version {json_version}",),
    )


def dump(router: Router) -> Any:
    path = router.daemon.run_dir / "keepalived.json"
    path.unlink(missing_ok=True)
    os.kill(router.daemon.pid, JSON)
    wait_for(path.exists, 10, "the dump is written")
    return json.loads(path.read_text())


def test_they_start_multiply_and_die(router: Router, tmp_path: Path) -> None:
    """The quorum counts them: too few and too many are told in the priority of adverts, and in the
    dump, in which the routers are what they are in version 1."""
    program = tmp_path / f"work{os.getpid()}"
    shutil.copy("/bin/sleep", program)
    router.start(text(str(program), 2))
    router.wait_log("Entering MASTER STATE")
    running: list[subprocess.Popen[bytes]] = []
    try:
        for count in (0, 1, 2, 3, 2, 1, 0):
            while len(running) < count:
                running.append(router.node.start([str(program), "600"]))
            while len(running) > count:
                ended = running.pop()
                ended.kill()
                ended.wait()
            since = now_ns()
            router.sniffer.wait_advert(
                vrid=51, port="r1-0", since_ns=since, priority=PRIORITY[count]
            )
            one, two = dump(router)["track_process"]
            assert one["current_processes"] == two["current_processes"] == count
            assert (one["have_quorum"], two["have_quorum"]) == (count > 0, count == 2)
    finally:
        for process in running:
            process.kill()
            process.wait()
    assert tuple(two) == FIELDS
    assert tuple(one) == tuple(name for name in FIELDS if name != "max_processes")
    assert {name: two[name] for name in ("process", "param_match", "min_processes", "weight")} == {
        "process": str(program),
        "param_match": "none",
        "min_processes": 2,
        "weight": 20,
    }
    assert (one["full_command"], two["full_command"], two["max_processes"]) == (False, True, 2)
    content = dump(router)
    assert list(content) == ["vrrp", "track_process"]
    router.daemon.config.write_text(text(str(program), 1))
    assert router.command("reload").returncode == 0
    (record,) = dump(router)
    assert list(record) == ["data", "stats"]
    assert {**record["data"], "last_transition": 0} == {
        **content["vrrp"][0]["data"],
        "last_transition": 0,
    }
    assert list(record["stats"]) == list(content["vrrp"][0]["stats"])
