"""Memory of a burst of events: apart from its beginning until half a second after its end."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from vrrp_tools import configuration

from fastvrrp.supervisor.link import Arguments, ConfigurationRefused
from fastvrrp.supervisor.pulse import Ends
from fastvrrp.supervisor.settling import LATEST_S
from fastvrrp.vrrp import apart, daemon
from fastvrrp.vrrp.daemon import MEMORY_S
from fastvrrp.vrrp.surroundings import SurroundingsError
from looping import Clockwork

MANY = 1000

pytestmark = pytest.mark.skipif(
    not apart.is_possible(), reason="this interpreter's allocator is another one"
)


class Scene:
    """A daemon without any parts, whose client of the engine is the test."""

    def __init__(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._run_dir = tmp_path
        self._given: dict[str, Any] = {}
        monkeypatch.setattr(daemon, "Link", lambda *given, **fields: None)
        monkeypatch.setattr(daemon, "start_monitor", self._no_monitor)
        monkeypatch.setattr(daemon, "settle_memory", lambda: None)
        monkeypatch.setattr(daemon, "give_back_memory", lambda: None)
        monkeypatch.setattr(daemon.Parts, "make", self._make)

    async def _no_monitor(self) -> None:
        return

    async def _make(self, *given: Any, **fields: Any) -> Any:
        self._given = fields
        raise SurroundingsError("not possible here")

    def burst(self) -> None:
        self._given["on_burst"]()

    def calm(self) -> None:
        self._given["on_calm"]()

    async def change(self) -> None:
        """One of the configuration, which comes to nothing, and is settled a moment later."""
        with pytest.raises(ConfigurationRefused):
            await self._daemon.configure(configuration(), 1)

    def is_apart(self) -> bool:
        """Whether objects that are made now have memory apart."""
        before = sys.getallocatedblocks()
        kept = [float(n) for n in range(MANY)]
        return sys.getallocatedblocks() - before < len(kept) / 2

    def run(self, test: Callable[[], Awaitable[None]]) -> None:
        """In time of its own, when the start is settled."""

        async def body() -> None:
            channel, scripts = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with channel, scripts:
                self._daemon = daemon.Daemon(
                    Arguments(channel, scripts, Ends(-1, -1), self._run_dir)
                )
                try:
                    await self.change()
                    await asyncio.sleep(2 * MEMORY_S)
                    assert not self.is_apart()
                    await test()
                finally:
                    apart.release()

        with asyncio.Runner(loop_factory=Clockwork) as runner:
            runner.run(body())


@pytest.fixture
def it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    return Scene(tmp_path, monkeypatch)


def test_until_half_a_second_after_its_end(it: Scene) -> None:
    async def test() -> None:
        it.burst()
        await asyncio.sleep(3 * MEMORY_S)
        assert it.is_apart()
        it.calm()
        await asyncio.sleep(0.9 * MEMORY_S)
        assert it.is_apart()
        await asyncio.sleep(0.2 * MEMORY_S)
        assert not it.is_apart()

    it.run(test)


def test_another_burst_is_not_ended_with_the_last_one(it: Scene) -> None:
    async def test() -> None:
        it.burst()
        it.calm()
        await asyncio.sleep(0.9 * MEMORY_S)
        it.burst()
        await asyncio.sleep(3 * MEMORY_S)
        assert it.is_apart()
        it.calm()
        await asyncio.sleep(1.1 * MEMORY_S)
        assert not it.is_apart()

    it.run(test)


def test_bursts_without_a_pause_are_settled_between_them(it: Scene) -> None:
    async def test() -> None:
        loop = asyncio.get_running_loop()
        began, settled = loop.time(), False
        while loop.time() - began < 2 * LATEST_S:
            it.burst()
            await asyncio.sleep(0.5 * MEMORY_S)
            assert it.is_apart()
            it.calm()
            await asyncio.sleep(0.1 * MEMORY_S)
            settled = settled or not it.is_apart()
        assert settled

    it.run(test)


def test_a_change_that_is_settled_ends_no_burst(it: Scene) -> None:
    async def test() -> None:
        it.burst()
        await it.change()
        await asyncio.sleep(3 * MEMORY_S)
        assert it.is_apart()
        it.calm()
        await asyncio.sleep(1.1 * MEMORY_S)
        assert not it.is_apart()

    it.run(test)
