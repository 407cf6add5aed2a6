"""The IPVS process's part of the control socket's replies (docs/control-socket.md)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
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
    Entry,
    ServiceKey,
    ServiceStatistics,
)
from fastvrrp.ipvs.plane import Plane
from fastvrrp.ipvs.runner import View
from fastvrrp.ipvs.running import Running, Subscriber
from fastvrrp.ipvs.services import destination_key
from fastvrrp.wallclock import utc

NS_PER_MS = 1_000_000
TURN_S = 0.005  # then the event loop has its turn: answers to checks must not wait for a status

Statistics = Mapping[ServiceKey, ServiceStatistics]
"""What the kernel counted; empty when it could not be asked."""


async def status(
    plane: Plane, statistics: Statistics, *, name: str | None = None
) -> dict[str, Any]:
    """`virtual_servers` and `ipvs`; with `name` only what is called so: a virtual server, a group,
    or the virtual servers of a real server.

    Of many virtual servers the last may be seen some milliseconds after the first. Raises
    ControlError(NOT_FOUND).
    """
    chosen = [r for r in plane.running.values() if name is None or is_called(r, name)]
    if name is not None and not chosen:
        raise ControlError(NOT_FOUND, f"no virtual server or real server is called {name!r}")
    view = Snapshot(plane, statistics)
    records = []
    turn = asyncio.get_running_loop().time()
    for running in chosen:
        records.append(view.virtual_server(running))
        now = asyncio.get_running_loop().time()
        if now - turn > TURN_S:
            await asyncio.sleep(0)
            turn = asyncio.get_running_loop().time()
    return {"virtual_servers": records, "ipvs": table_record(plane)}


def counters(plane: Plane, statistics: Statistics) -> dict[str, Any]:
    """`virtual_servers` of `counters`: the kernel's, by name."""
    return {
        "virtual_servers": {
            running.virtual_server.name: counter_record(
                [statistics[key].counters for key in running.entries if key in statistics]
            )
            for running in plane.running.values()
        }
    }


def is_called(running: Running, name: str) -> bool:
    virtual_server = running.virtual_server
    return name in (virtual_server.name, virtual_server.group) or any(
        name == server_name(virtual_server, server) for server in running.servers.values()
    )


def table_record(plane: Plane) -> dict[str, Any]:
    """`ipvs`: the table as a whole."""
    entries = [entry for running in plane.running.values() for entry in running.entries.values()]
    return {
        "services": len(entries),
        "destinations": sum(len(entry.destinations) for entry in entries),
        "checks": len(plane.checks),
        "changes": plane.upkeep.changes,
        "changes_by_reload": plane.reload_changes,
        "mended": plane.upkeep.mended,
        "refused": [
            str(failure)
            for failures in plane.upkeep.refused.values()
            for failure in failures.values()
        ],
        "sync_daemons": [role.name for role in plane.upkeep.settings.roles],
    }


class Snapshot:
    """Records of one moment, or of a few moments that follow each other."""

    def __init__(self, plane: Plane, statistics: Statistics) -> None:
        self._plane = plane
        self._statistics = statistics
        self._now_ns = time.monotonic_ns()
        self._texts: dict[int, str] = {}  # of times: most servers have the same

    def virtual_server(self, running: Running) -> dict[str, Any]:
        """One VIRTUAL_SERVER."""
        virtual_server, pool = running.virtual_server, running.pool
        sorry = virtual_server.sorry_server
        known = [(key, entry, self._statistics.get(key)) for key, entry in running.entries.items()]
        return {
            "name": virtual_server.name,
            "group": virtual_server.group,
            "up": pool.quorum_up,
            **self._since(running.since_ns),
            "services": [str(key) for key in running.entries],
            "protocol": virtual_server.protocol,
            "scheduler": virtual_server.scheduler,
            "flags": list(virtual_server.flags),
            "persistence_timeout_s": virtual_server.persistence_timeout_s,
            "quorum": virtual_server.quorum,
            "hysteresis": virtual_server.hysteresis,
            "weight": pool.live_weight,
            "suspended": running.suspended,
            "sorry_server": None if sorry is None else self._sorry(running, sorry, known),
            "servers": [
                self._real(running, key, server, known) for key, server in running.servers.items()
            ],
            "counters": counter_record([one.counters for _, _, one in known if one is not None]),
        }

    def _sorry(self, running: Running, server: SorryServer, known: Known) -> dict[str, Any]:
        return {
            "name": server_name(running.virtual_server, server),
            "active": running.pool.sorry is not None,
            "method": server.forwarding.method,
            **connection_record(server, known),
        }

    def _real(
        self, running: Running, key: ServerKey, server: RealServer, known: Known
    ) -> dict[str, Any]:
        """One REAL_SERVER."""
        views = (
            self._plane.checks.view(Subscriber(running.key, key, position))
            for position in range(len(server.checks))
        )
        return {
            "name": server_name(running.virtual_server, server),
            "up": running.pool.up(key),
            **self._since(running.server_since_ns(key, self._plane.started_ns)),
            "weight": running.pool.weight(key),
            "configured_weight": server.weight,
            "method": server.forwarding.method,
            **connection_record(server, known),
            "checks": [
                check_record(check_name(check), view, self._now_ns)
                for check, view in zip(server.checks, views, strict=True)
            ],
        }

    def _since(self, since_ns: int) -> dict[str, Any]:
        text = self._texts.get(since_ns)
        if text is None:
            text = self._texts[since_ns] = utc(since_ns)
        return {"since": text, "since_s": (self._now_ns - since_ns) / NS_PER_S}


Known = list[tuple[ServiceKey, Entry, ServiceStatistics | None]]
"""The services of a virtual server: what is wanted of each, and what the kernel counted."""


def connection_record(server: RealServer | SorryServer, known: Known) -> dict[str, Any]:
    """What the table has of a server: of all services of its virtual server together."""
    serving = False
    found: list[DestinationStatistics] = []
    for key, entry, statistics in known:
        name = destination_key(server, key.port)
        wanted = entry.destinations.get(name)
        serving = serving or (wanted is not None and wanted.weight > 0)
        one = None if statistics is None else statistics.destinations.get(name)
        if one is not None:
            found.append(one)
    return {
        "serving": serving,
        "connections": {
            "active": sum([one.active for one in found]),
            "inactive": sum([one.inactive for one in found]),
            "persistent": sum([one.persistent for one in found]),
        },
        "counters": counter_record([one.counters for one in found]),
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


def counter_record(several: list[Counters]) -> dict[str, int]:
    """The sum, by name."""
    if len(several) == 1:
        return several[0]._asdict()
    return Counters(*map(sum, zip(*several, strict=True)))._asdict()
