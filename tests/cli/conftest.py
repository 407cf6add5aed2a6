"""A control server for subcommands to talk to."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from answers import Handlers

from fastvrrp.control.server import ControlServer


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Callable[[Handlers], ControlServer]]:
    """Starts a control server with the given handlers in a thread."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    servers: list[ControlServer] = []

    def start(handlers: Handlers) -> ControlServer:
        server = ControlServer(tmp_path / "control.sock", handlers)
        asyncio.run_coroutine_threadsafe(server.start(), loop).result(5)
        servers.append(server)
        return server

    yield start
    for server in servers:
        asyncio.run_coroutine_threadsafe(server.stop(), loop).result(5)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()
