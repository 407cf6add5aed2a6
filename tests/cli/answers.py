"""A control server with canned answers, and a subcommand that asks it, in one process."""

from __future__ import annotations

import argparse
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from fastvrrp.control.protocol import NOT_FOUND, ControlError

INSTANCE: dict[str, Any] = {
    "name": "VI_1",
    "state": "BACKUP",
    "since": "2025-03-01T10:00:03.610Z",
    "since_s": 1824.25,
    "reason": "lower priority",
    "transitions": 2,
    "vrid": 51,
    "family": 4,
    "version": 2,
    "interface": "eth0",
    "base_priority": 150,
    "effective_priority": 100,
    "advert_int_ms": 1000.0,
    "master_advert_int_ms": 1000.0,
    "skew_time_ms": 414.0625,
    "master_down_interval_ms": 3414.0625,
    "master": {"address": "192.0.2.2", "priority": 120},
    "source": "192.0.2.1",
    "fault": [],
    "addresses": [
        {"address": "192.0.2.100/24", "dev": "eth0", "excluded": False, "present": False}
    ],
    "trackers": [
        {
            "kind": "script",
            "name": "chk",
            "weight": -50,
            "up": False,
            "effect": -50,
            "detail": "exit status 1",
        }
    ],
    "group": "G",
    "counters": {"advert_rcvd": 7, "advert_sent": 0},
}

DAEMON: dict[str, Any] = {
    "version": "0.1.0",
    "pid": 812,
    "started": "2025-03-01T10:00:00.000Z",
    "uptime_s": 7300.0,
    "run_dir": "/run/fastvrrp",
    "configuration": {"file": "/etc/x.conf", "files": [], "loaded": None, "epoch": 3},
    "last_reload": None,
    "vrrp": {
        "state": "running",
        "pid": 813,
        "restarts": 0,
        "last_exit": None,
        "next_start_s": None,
        "detail": "",
    },
    "ipvs": {
        "state": "disabled",
        "pid": None,
        "restarts": 0,
        "last_exit": None,
        "next_start_s": None,
        "detail": "",
    },
}

STATUS: dict[str, Any] = {
    "daemon": DAEMON,
    "instances": [INSTANCE],
    "groups": [{"name": "G", "state": "BACKUP", "members": ["VI_1"], "fault": []}],
    "trackers": [
        {"kind": "script", "name": "chk", "up": False, "detail": "", "instances": ["VI_1"]}
    ],
    "engine": {},
    "lateness": {"histogram": [], "threads": [[]]},
    "virtual_servers": None,
    "ipvs": None,
}

Handlers = dict[str, Callable[[dict[str, Any]], Awaitable[Any]]]


def answering(record: Any) -> Callable[[dict[str, Any]], Awaitable[Any]]:
    async def handler(params: dict[str, Any]) -> Any:
        if params.get("name") == "absent":
            raise ControlError(NOT_FOUND, "nothing is called absent")
        return record

    return handler


def invoke(module: Any, tmp_path: Path, *words: str) -> int:
    """A subcommand with its parsed arguments, in this process."""
    parser = argparse.ArgumentParser()
    module.add_arguments(parser)
    code: int = module.run(parser.parse_args(["--run-dir", str(tmp_path), *words]))
    return code
