"""What happens to virtual servers as records of the event stream, and all of it in one line.

The kinds and fields are those of docs/control-socket.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from fastvrrp.config.servers import VirtualServer
from fastvrrp.ipvs.lines import check_name, server_name
from fastvrrp.ipvs.pool import (
    Action,
    CheckChanged,
    FirstFailed,
    QuorumChanged,
    ServerChanged,
    SorryChanged,
    WeightChanged,
    Why,
)
from fastvrrp.supervisor.messages import InstanceState
from fastvrrp.words import counted

SUMMARY_S = 1.0  # from a change to the line: a failure of many servers is one change


class Supervisor(Protocol):
    """The part of supervisor.link.Link used here."""

    def event(self, record: dict[str, Any]) -> None: ...
    def summary(self, text: str) -> None: ...
    def states(self, states: Sequence[InstanceState]) -> None: ...


class Count(Protocol):
    """How many there are of what."""

    @property
    def virtual_servers(self) -> tuple[int, int]:
        """Those with quorum, and all."""

    @property
    def real_servers(self) -> tuple[int, int]:
        """Those that are up, and all."""


class Reporter:
    """Belongs to the event loop. `count` is asked when the line is made."""

    def __init__(self, supervisor: Supervisor, count: Callable[[], Count]) -> None:
        self.subscribed = False  # somebody listens to events
        self._supervisor = supervisor
        self._count = count
        self._summary: asyncio.TimerHandle | None = None

    def tell(self, virtual_server: VirtualServer, actions: Sequence[Action]) -> None:
        """What happened to a virtual server."""
        if self.subscribed:
            for action in actions:
                self._supervisor.event(
                    {
                        "virtual_server": virtual_server.name,
                        **_record(virtual_server, action),
                    }
                )
        self.summarise_soon()

    def summarise_soon(self) -> None:
        if self._summary is None:
            loop = asyncio.get_running_loop()
            self._summary = loop.call_later(SUMMARY_S, self.summarise)

    def summarise(self) -> None:
        """Say now how everything is."""
        if self._summary is not None:
            self._summary.cancel()
            self._summary = None
        count = self._count()
        up, servers = count.virtual_servers
        real_up, real = count.real_servers
        text = f"{counted(servers, 'virtual server')}: {up} up"
        self._supervisor.summary(f"{text}, {real_up} of {counted(real, 'real server')} up")

    def close(self) -> None:
        if self._summary is not None:
            self._summary.cancel()


def _record(virtual_server: VirtualServer, action: Action) -> dict[str, Any]:
    if isinstance(action, QuorumChanged):
        return {
            "kind": "quorum",
            "up": action.up,
            "weight": action.weight,
            "threshold": action.threshold,
            "reason": action.why.value,
        }
    record = {"server": server_name(virtual_server, action.server)}
    match action:
        case CheckChanged():
            name = check_name(action.check)
            more = {"kind": "check", "check": name, "up": action.up, "detail": action.detail}
        case ServerChanged():
            more = {"kind": "server", "up": action.up, "reason": action.why.value}
        case FirstFailed():
            more = {"kind": "server", "up": False, "reason": Why.CHECK.value}
        case SorryChanged():
            more = {"kind": "sorry", "active": action.active}
        case WeightChanged():
            more = {"kind": "weight", "from": action.old, "to": action.new}
    return {**record, **more}
