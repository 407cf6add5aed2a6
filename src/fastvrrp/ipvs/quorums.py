"""Tells the supervisor which virtual servers have quorum: routers may follow them.

Several of one name, a group balanced for TCP and for UDP, are up when all of them are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from fastvrrp.ipvs.running import Running
from fastvrrp.supervisor.messages import InstanceState

Tell = Callable[[Sequence[InstanceState]], None]


class Quorums:
    """What was told last, and what is to be told of the present."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._told: dict[str, bool] = {}

    def update(self, running: Iterable[Running]) -> None:
        """Tell what is different by now."""
        now: dict[str, bool] = {}
        for one in running:
            name = one.virtual_server.name
            now[name] = one.pool.quorum_up and now.get(name, True)
        states = [
            InstanceState(name, "UP" if up else "DOWN")
            for name, up in now.items()
            if self._told.get(name) != up
        ]
        states += [InstanceState(name, "DELETED") for name in self._told if name not in now]
        self._told = now
        if states:
            self._tell(states)
