"""When the IPVS process gives back what a reload took."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fastvrrp.config import model
from fastvrrp.ipvs import daemon
from fastvrrp.supervisor.link import Arguments, ConfigurationRefused
from fastvrrp.supervisor.pulse import Ends
from fastvrrp.supervisor.settling import LATEST_S
from looping import Clockwork

DONE_S = 0.3  # that a reload takes
PERIOD_S = 0.4  # from the beginning of one to the next
RELOADS = int(LATEST_S / PERIOD_S) + 2  # the last one of these is under way when it is time


class Balancer:
    """The daemon without kernel and supervisor."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.settled: list[float] = []
        self.refuses = False
        self._now = asyncio.get_running_loop().time
        monkeypatch.setattr(daemon, "settle_memory", self._settle)
        monkeypatch.setattr(daemon, "Link", lambda *given, **fields: SimpleNamespace(orphaned=True))
        self._sockets = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.daemon = daemon.Daemon(Arguments(*self._sockets, Ends(-1, -1), directory))
        parts: Any = SimpleNamespace(reload=self._reload, stop=self._stop)
        self.daemon._parts = parts

    def close(self) -> None:
        for end in self._sockets:
            end.close()

    def _settle(self) -> None:
        self.settled.append(round(self._now(), 3))

    async def _reload(self, configuration: model.Configuration) -> list[str]:
        await asyncio.sleep(DONE_S)
        if self.refuses:
            raise ConfigurationRefused("not possible here")
        return []

    async def _stop(self, *, keep_table: bool) -> None:
        await asyncio.sleep(60)

    async def reload(self) -> None:
        await self.daemon.configure(model.Configuration(), 1)


def play(story: Any, directory: Path, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    async def main() -> list[float]:
        balancer = Balancer(directory, monkeypatch)
        try:
            await story(balancer)
        finally:
            balancer.close()
        return balancer.settled

    with asyncio.Runner(loop_factory=Clockwork) as runner:
        return runner.run(main())


def test_after_a_refusal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(balancer: Balancer) -> None:
        balancer.refuses = True
        with pytest.raises(ConfigurationRefused):
            await balancer.reload()
        await asyncio.sleep(60)

    assert play(story, tmp_path, monkeypatch) == [DONE_S + daemon.SETTLE_S]


def test_not_during_another_reload(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long there has been no pause."""

    async def story(balancer: Balancer) -> None:
        for _ in range(RELOADS):
            await balancer.reload()
            await asyncio.sleep(PERIOD_S - DONE_S)
        await balancer.daemon.stop()

    (settled,) = play(story, tmp_path, monkeypatch)
    assert settled == round((RELOADS - 1) * PERIOD_S + DONE_S, 3), "when the last one has ended"


def test_not_during_the_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(balancer: Balancer) -> None:
        await balancer.reload()
        await balancer.daemon.stop()

    assert play(story, tmp_path, monkeypatch) == []
