"""A configuration that is refused: its model does not stay in memory either."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from vrrp_tools import configuration, instance

from fastvrrp.supervisor.link import Arguments, ConfigurationRefused
from fastvrrp.supervisor.pulse import Ends
from fastvrrp.vrrp import daemon
from fastvrrp.vrrp.surroundings import SurroundingsError


def refuse(*given: Any, **fields: Any) -> Any:
    raise SurroundingsError("not possible here")


def too_short() -> str:
    raise MemoryError


@pytest.mark.parametrize(
    ("is_running", "pack"),
    [
        (False, too_short),
        (True, lambda: "the names of what runs are packed"),
        (True, too_short),
    ],
)
def test_memory_goes_back_after_a_refusal(
    is_running: bool, pack: Callable[[], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if there is not enough to pack what runs."""
    done: list[str] = []

    async def no_monitor() -> None:
        return

    def nothing() -> None:
        return

    parts: Any = SimpleNamespace(
        plane=SimpleNamespace(configuration=configuration(), pack=pack),
        notifier=SimpleNamespace(share=done.append),
        upkeep=SimpleNamespace(freeze=nothing, thaw=nothing, touches=0),
        surroundings=SimpleNamespace(resolve=refuse),
        reporter=SimpleNamespace(settle=nothing),
    )
    monkeypatch.setattr(daemon, "MEMORY_S", 0)
    monkeypatch.setattr(daemon, "Link", lambda *given, **fields: None)
    monkeypatch.setattr(daemon, "start_monitor", no_monitor)
    monkeypatch.setattr(daemon.Parts, "make", refuse)

    async def main() -> None:
        settled = asyncio.Event()
        monkeypatch.setattr(daemon, "settle_memory", settled.set)
        channel, scripts = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with channel, scripts:
            one = daemon.Daemon(Arguments(channel, scripts, Ends(-1, -1), tmp_path))
            one._running = parts if is_running else None
            with pytest.raises(ConfigurationRefused):
                await one.configure(configuration(instance()), 1)
            async with asyncio.timeout(10):
                await settled.wait()

    asyncio.run(main())
    assert done == ([] if pack is too_short else ["the names of what runs are packed"])
