"""The IPVS process's part of the control socket's replies (docs/control-socket.md)."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any

from fastvrrp import _core
from fastvrrp.config.base import NS_PER_S
from fastvrrp.config.servers import RealServer, SorryServer
from fastvrrp.control.protocol import NOT_FOUND, ControlError
from fastvrrp.ipvs.identity import ServerKey
from fastvrrp.ipvs.lines import check_name, server_name
from fastvrrp.ipvs.objects import (
    Counters,
    DestinationStatistics,
    ServiceKey,
    ServiceStatistics,
)
from fastvrrp.ipvs.plane import Plane
from fastvrrp.ipvs.runner import View
from fastvrrp.ipvs.running import Running, Subscriber
from fastvrrp.ipvs.services import destination_key
from fastvrrp.wallclock import utc

NS_PER_MS = 1_000_000

Statistics = Mapping[ServiceKey, ServiceStatistics]
"""What the kernel counted; empty when it could not be asked."""


def status(plane: Plane, statistics: Statistics, *, name: str | None = None) -> dict[str, Any]:
    """`virtual_servers` and `ipvs`; with `name` only what is called so: a virtual server, a group,
    or the virtual servers of a real server.

    Raises ControlError(NOT_FOUND).
    """
    chosen = [r for r in plane.running.values() if name is None or is_called(r, name)]
    if name is not None and not chosen:
        raise ControlError(NOT_FOUND, f"no virtual server or real server is called {name!r}")
    now_ns = time.monotonic_ns()
    return {
        "virtual_servers": [server_record(plane, one, statistics, now_ns) for one in chosen],
        "ipvs": table_record(plane),
    }


def counters(plane: Plane, statistics: Statistics) -> dict[str, Any]:
    """`virtual_servers` of `counters`: the kernel's, by name."""
    return {
        "virtual_servers": {
            running.virtual_server.name: counter_record(
                statistics[key].counters for key in running.entries if key in statistics
            )
            for running in plane.running.values()
        }
    }


def is_called(running: Running, name: str) -> bool:
    virtual_server = running.virtual_server
    return name in (virtual_server.name, virtual_server.group) or any(
        name == server_name(virtual_server, server) for server in virtual_server.real_servers
    )


def table_record(plane: Plane) -> dict[str, Any]:
    """`ipvs`: the table as a whole."""
    entries = [entry for running in plane.running.values() for entry in running.entries.values()]
    return {
        "services": len(entries),
        "destinations": sum(len(entry.destinations) for entry in entries),
        "checks": len(plane.checks),
        "mended": plane.upkeep.mended,
        "refused": [
            str(failure)
            for failures in plane.upkeep.refused.values()
            for failure in failures.values()
        ],
        "sync_daemons": [role.name for role in plane.upkeep.settings.roles],
    }


# ---------------------------------------------------------------------- virtual servers


def server_record(
    plane: Plane, running: Running, statistics: Statistics, now_ns: int
) -> dict[str, Any]:
    """One VIRTUAL_SERVER."""
    virtual_server, pool = running.virtual_server, running.pool
    sorry = virtual_server.sorry_server
    return {
        "name": virtual_server.name,
        "group": virtual_server.group,
        "up": pool.quorum_up,
        "since": utc(running.since_ns),
        "since_s": (now_ns - running.since_ns) / NS_PER_S,
        "services": [str(key) for key in running.entries],
        "protocol": virtual_server.protocol,
        "scheduler": virtual_server.scheduler,
        "flags": list(virtual_server.flags),
        "persistence_timeout_s": virtual_server.persistence_timeout_s,
        "quorum": virtual_server.quorum,
        "hysteresis": virtual_server.hysteresis,
        "weight": pool.live_weight,
        "suspended": running.suspended,
        "sorry_server": None if sorry is None else sorry_record(running, sorry, statistics),
        "servers": [
            real_record(plane, running, key, server, statistics, now_ns)
            for key, server in running.servers.items()
        ],
        "counters": counter_record(
            statistics[key].counters for key in running.entries if key in statistics
        ),
    }


def sorry_record(running: Running, server: SorryServer, statistics: Statistics) -> dict[str, Any]:
    return {
        "name": server_name(running.virtual_server, server),
        "active": running.pool.sorry is not None,
        "method": server.forwarding.method,
        **connection_record(running, server, statistics),
    }


def real_record(
    plane: Plane,
    running: Running,
    key: ServerKey,
    server: RealServer,
    statistics: Statistics,
    now_ns: int,
) -> dict[str, Any]:
    """One REAL_SERVER."""
    since_ns = running.server_since_ns(key, plane.started_ns)
    return {
        "name": server_name(running.virtual_server, server),
        "up": running.pool.up(key),
        "since": utc(since_ns),
        "since_s": (now_ns - since_ns) / NS_PER_S,
        "weight": running.pool.weight(key),
        "configured_weight": server.weight,
        "method": server.forwarding.method,
        **connection_record(running, server, statistics),
        "checks": [
            check_record(
                check_name(check), plane.checks.view(Subscriber(running.key, key, k)), now_ns
            )
            for k, check in enumerate(server.checks)
        ],
    }


def connection_record(
    running: Running, server: RealServer | SorryServer, statistics: Statistics
) -> dict[str, Any]:
    """What the table has of a server: of all services of its virtual server together."""
    serving = False
    found: list[DestinationStatistics] = []
    for key, entry in running.entries.items():
        name = destination_key(server, key.port)
        wanted = entry.destinations.get(name)
        serving = serving or (wanted is not None and wanted.weight > 0)
        if key in statistics and name in statistics[key].destinations:
            found.append(statistics[key].destinations[name])
    return {
        "serving": serving,
        "connections": {
            "active": sum(one.active for one in found),
            "inactive": sum(one.inactive for one in found),
            "persistent": sum(one.persistent for one in found),
        },
        "counters": counter_record(one.counters for one in found),
    }


def check_record(kind: str, view: View | None, now_ns: int) -> dict[str, Any]:
    """One CHECK."""
    outcome = None if view is None else view.outcome
    if view is None or outcome is None:
        return {"kind": kind, "state": "unknown" if view is None else view.state}
    waits = view.due_ns < _core.NEVER
    return {
        "kind": kind,
        "state": view.state,
        "verdict": outcome.verdict.name,
        "detail": outcome.detail,
        "latency_ms": outcome.latency_ns / NS_PER_MS,
        "age_s": (now_ns - view.at_ns) / NS_PER_S,
        "next_s": max(0.0, (view.due_ns - now_ns) / NS_PER_S) if waits else None,
        "failures": view.failures,
        "attempts": view.attempts,
    }


def counter_record(all_counters: Iterable[Counters]) -> dict[str, int]:
    """The sum, by name."""
    total = Counters(*(sum(column) for column in zip(Counters(), *all_counters, strict=True)))
    return total._asdict()
