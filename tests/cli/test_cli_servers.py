"""`fastvrrp status` and `events` of virtual servers, in words."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from answers import DAEMON, STATUS, answering, invoke

from fastvrrp.cli import events, servers, status

NO_COUNTERS = {"connections": 3, "bytes_in": 100, "bytes_out": 200}


def real_server(name: str, **fields: Any) -> dict[str, Any]:
    check = {
        "kind": "TCP_CHECK",
        "state": "up",
        "verdict": "UP",
        "detail": "connected",
        "latency_ms": 1.25,
        "age_s": 2.0,
        "next_s": 4.0,
        "failures": 0,
        "attempts": 9,
    }
    record = {
        "name": name,
        "up": True,
        "since": "2025-03-01T10:00:03.610Z",
        "since_s": 60.0,
        "weight": 1,
        "configured_weight": 1,
        "method": "NAT",
        "serving": True,
        "connections": {"active": 2, "inactive": 1, "persistent": 0},
        "counters": NO_COUNTERS,
        "checks": [check | fields.pop("check", {})],
    }
    return record | fields


def virtual_server(*servers: dict[str, Any], **fields: Any) -> dict[str, Any]:
    record = {
        "name": "[192.0.2.200]:tcp:80",
        "group": None,
        "up": True,
        "since": "2025-03-01T10:00:03.610Z",
        "since_s": 120.0,
        "services": ["[192.0.2.200]:tcp:80"],
        "protocol": "TCP",
        "scheduler": "rr",
        "flags": [],
        "persistence_timeout_s": 0,
        "quorum": 1,
        "hysteresis": 0,
        "weight": 1,
        "suspended": False,
        "sorry_server": None,
        "servers": list(servers),
        "counters": NO_COUNTERS,
    }
    return record | fields


A, B = "[10.0.0.1]:tcp:80", "[10.0.0.2]:tcp:80"
REFUSED = {
    "state": "down",
    "verdict": "DOWN",
    "detail": "connection refused",
    "latency_ms": 0.1,
    "failures": 0,
}
FAILED = real_server(B, up=False, serving=False, check=REFUSED)
IPVS_RUNS = {**DAEMON, "ipvs": {**DAEMON["vrrp"], "pid": 814}}
TABLE = {"services": 1, "destinations": 1, "mended": 0, "refused": [], "sync_daemons": []}
BALANCER: dict[str, Any] = {
    **dict.fromkeys(("instances", "groups", "trackers", "engine", "lateness")),
    "daemon": {**IPVS_RUNS, "vrrp": DAEMON["ipvs"]},
    "virtual_servers": [virtual_server(real_server(A), FAILED)],
    "ipvs": TABLE,
}


def test_status_of_servers(daemon: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    daemon({"status": answering(BALANCER)})
    assert invoke(status, tmp_path) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "vrrp_instance" not in lines[1]
    assert lines[2].split() == list(servers.COLUMNS)
    assert [re.split(r" {2,}", line.strip()) for line in lines[3:]] == [
        [
            *("[192.0.2.200]:tcp:80", "UP", "2m00s", "rr", "1", "4", "2"),
            "1 of 2 servers up, quorum 1",
        ],
        [A, "UP", "1m00s", "NAT", "1", "2", "1", "TCP_CHECK connected, 1.25 ms"],
        [B, "DOWN", "1m00s", "NAT", "1", "2", "1", "TCP_CHECK connection refused"],
    ]


def test_status_of_one_virtual_server(
    daemon: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sorry = {
        "name": "[127.0.0.1]:tcp:8080",
        "active": True,
        "method": "NAT",
        "connections": {"active": 0, "inactive": 0, "persistent": 0},
        "counters": NO_COUNTERS,
    }
    one = virtual_server(
        real_server(A, configured_weight=5, check={"failures": 2}),
        FAILED,
        up=False,
        hysteresis=2,
        flags=["flag-1"],
        persistence_timeout_s=50,
        suspended=True,
        sorry_server=sorry,
    )
    daemon({"status": answering({**BALANCER, "virtual_servers": [one]})})
    assert invoke(status, tmp_path, one["name"]) == 0
    out = capsys.readouterr().out
    for expected in (
        "[192.0.2.200]:tcp:80: DOWN for 2m00s, since 2025-03-01T10:00:03.610Z",
        "scheduler:   rr, flag-1",
        "persistence: 50 s",
        "quorum:      1, weight now 1, hysteresis 2",
        "checks:      suspended: the address is not here",
        "counters:    3 connections in all, 100 bytes in, 200 out",
        f"{A}: UP for 1m00s, NAT, weight 5/1",
        "connections: 2 active, 1 inactive; 3 connections in all",
        "TCP_CHECK connected, 1.25 ms, 2.00s ago, next in 4.00s, 2 failures in a row",
        f"{B}: DOWN for 1m00s, NAT, weight 1, gets no new connections",
        "[127.0.0.1]:tcp:8080: NAT, serves in place of the others",
    ):
        assert expected in out


def test_of_many_servers_those_that_fail_are_shown(
    daemon: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    many = [real_server(f"[10.0.1.{n}]:tcp:80") for n in range(servers.SHOWN)]
    record = {**BALANCER, "virtual_servers": [virtual_server(*many, FAILED)]}
    daemon({"status": answering(record)})
    assert invoke(status, tmp_path) == 0
    out = capsys.readouterr().out
    assert B in out
    assert many[0]["name"] not in out
    assert f"{servers.SHOWN} servers more, all up" in out


def test_what_is_wrong_with_the_table_is_said(
    daemon: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = {**TABLE, "refused": ["add service X: Invalid argument"], "mended": 2}
    daemon({"status": answering({**BALANCER, "ipvs": table})})
    assert invoke(status, tmp_path) == 0
    out = capsys.readouterr().out
    assert "the kernel refused: add service X: Invalid argument" in out
    assert "another program changed our services 2 times" in out


def test_status_while_the_ipvs_process_is_down(
    daemon: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    down = {**DAEMON["vrrp"], "state": "down", "pid": None, "last_exit": "exit status 70"}
    daemon({"status": answering({**STATUS, "daemon": {**DAEMON, "ipvs": down}})})
    assert invoke(status, tmp_path) == 3
    out = capsys.readouterr().out
    assert "IPVS process: down, last end: exit status 70" in out
    assert "VI_1" in out


@pytest.mark.parametrize(
    ("check", "text"),
    [
        ({"kind": "SMTP_CHECK", "state": "unknown"}, "SMTP_CHECK no result yet"),
        ({"kind": "DNS_CHECK", "state": "suspended"}, "DNS_CHECK suspended"),
        (REFUSED | {"kind": "X", "detail": "", "state": "suspended"}, "X DOWN (suspended)"),
    ],
)
def test_words_for_a_check(check: dict[str, Any], text: str) -> None:
    assert servers.check_text(check) == text


SERVER = {"virtual_server": "V", "server": A}


@pytest.mark.parametrize(
    ("event", "text"),
    [
        ({"kind": "server", "up": False, "reason": "check", **SERVER}, f"server {A} of V is down"),
        (
            {"kind": "server", "up": True, "reason": "start", **SERVER},
            f"server {A} of V is up (start)",
        ),
        (
            {"kind": "check", "check": "TCP_CHECK", "up": False, "detail": "x", **SERVER},
            f"TCP_CHECK of {A} fails: x",
        ),
        (
            {"kind": "quorum", "up": True, "weight": 2, "threshold": 1, "virtual_server": "V"},
            "virtual server V gained quorum (weight 2, threshold 1)",
        ),
        ({"kind": "sorry", "active": True, **SERVER}, f"sorry server {A} of V takes over"),
        ({"kind": "weight", "from": 1, "to": 3, **SERVER}, f"weight of {A} of V 1 -> 3"),
    ],
)
def test_events_in_words(event: dict[str, Any], text: str) -> None:
    assert events.describe({"time": "T", **event}) == f"T  {text}"
