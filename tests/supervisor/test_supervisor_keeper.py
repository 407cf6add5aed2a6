"""One child over its lives, and in one: what becomes of it when something fails on our side."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from supervised import SOURCE

from fastvrrp.config import compact, model
from fastvrrp.control.protocol import UNAVAILABLE, ControlError
from fastvrrp.supervisor.child import Child, ChildGone
from fastvrrp.supervisor.held import Part, Stowed
from fastvrrp.supervisor.keeper import Hooks, Keeper, Refused, State
from fastvrrp.supervisor.messages import InstanceState
from fastvrrp.supervisor.roles import VRRP
from fastvrrp.supervisor.spawn import Settings, spawn
from looping import until

FAKE = Path(__file__).with_name("fake_child.py")
INSTANCE = model.VrrpInstance(name="V", virtual_router_id=1, family=4, version=3)


class Short(Stowed):
    """For which there is no memory so many times."""

    times: int = 0

    def get(self) -> bytes:
        if self.times > 0:
            self.times -= 1
            raise MemoryError
        return super().get()


def part(*, short: int = 0) -> Part:
    data = compact.encode(model.Configuration(vrrp_instances=(INSTANCE,)))
    return Part(needed=True, count=1, data=Short(data, times=short))


def settings(directory: Path, *argv: str) -> Settings:
    fake = (sys.executable, "-P", str(FAKE), "vrrp")
    return Settings(directory, VRRP._replace(argv=argv or fake))


class Scripts:
    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    async def close(self) -> None:
        self._sock.close()


def keeper(
    directory: Path,
    configuration: Part,
    monkeypatch: pytest.MonkeyPatch,
    *,
    plan: Sequence[str] = ("run",),
    backoff_s: Sequence[float] = (0.0, 0.1),
    **hooks: Any,
) -> Keeper:
    """Of a fake child."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((str(SOURCE), *sys.path)))
    monkeypatch.setenv("FAKE_LOG", str(directory))
    monkeypatch.setenv("FAKE_PLAN", json.dumps({"vrrp": plan}))

    async def clean(part: Part, states: Sequence[InstanceState]) -> None:
        return

    usual: dict[str, Any] = {
        "serve_scripts": Scripts,
        "clean": clean,
        "on_event": lambda record: None,
        "on_change": lambda: None,
        "on_running": lambda: None,
        "on_fatal": lambda code, reason: pytest.fail(reason),
    }
    ours = settings(directory)._replace(backoff_s=backoff_s)
    return Keeper(ours, Hooks(**usual | hooks), configuration, 1)


def test_a_configuration_for_which_memory_was_short_is_handed_over_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The child that waited for it is not left waiting."""

    async def main() -> None:
        kept = keeper(tmp_path, part(short=2), monkeypatch)
        kept.start()
        await until(lambda: kept.state is State.RUNNING, 20)
        assert kept.restarts == 2
        assert kept.last_exit == "its configuration cannot be handed over: no memory"
        await kept.stop(10)

    asyncio.run(main())


def test_a_reload_for_which_memory_is_short_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the child goes on."""

    async def main() -> None:
        kept = keeper(tmp_path, part(), monkeypatch)
        kept.start()
        await until(lambda: kept.state is State.RUNNING, 20)
        with pytest.raises(Refused, match="cannot be handed over: no memory"):
            await kept.configure(part(short=1), 2)
        assert await kept.configure(part(), 2) == ("instances: V",)
        assert kept.restarts == 0
        await kept.stop(10)

    asyncio.run(main())


def test_nobody_goes_back_to_what_was_taken_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three reloads while nobody runs: one crashes, one needs nobody, one is refused."""

    async def main() -> None:
        kept = keeper(
            tmp_path, part(), monkeypatch, plan=("run", "crash", "refuse"), backoff_s=(600.0,)
        )
        kept.start()
        await until(lambda: kept.state is State.RUNNING, 20)
        assert kept.pid is not None
        os.kill(kept.pid, 9)
        await until(lambda: kept.state is State.DOWN, 20)
        await kept.configure(part(), 2)
        await until(lambda: kept.restarts == 2, 20)
        await kept.configure(Part(), 3)
        await until(lambda: kept.state is State.DISABLED, 20)
        await kept.configure(part(), 4)
        await until(lambda: kept.restarts == 3, 20)
        assert kept.last_exit == "it refuses its configuration: it does not please me"
        await until(lambda: kept.state is State.DOWN, 20)
        assert (tmp_path / "vrrp.log").read_text().count("configure 1") == 1
        await kept.stop(10)

    asyncio.run(main())


def test_a_cleaning_that_fails_does_not_keep_the_next_child_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def clean(part: Part, states: Sequence[InstanceState]) -> None:
        raise RuntimeError("can't start new thread")

    async def main() -> None:
        running = 0

        def on_running() -> None:
            nonlocal running
            running += 1

        kept = keeper(tmp_path, part(), monkeypatch, clean=clean, on_running=on_running)
        kept.start()
        await until(lambda: running == 1, 20)
        assert kept.pid is not None
        os.kill(kept.pid, 9)
        await until(lambda: running == 2, 20)
        await kept.stop(10)

    asyncio.run(main())
    assert "cleaning up after the VRRP process failed" in caplog.text


def test_a_child_that_was_collected_answers_at_once(tmp_path: Path) -> None:
    """Who keeps it hears of its end a moment later, and may ask in between."""

    async def main() -> None:
        ours = settings(tmp_path, sys.executable, "-c", "")
        spawned = spawn(ours)
        spawned.scripts.close()
        child = Child(spawned, ours, lambda message: None)
        assert await child.exited == 0
        async with asyncio.timeout(10):
            with pytest.raises(ChildGone, match="the VRRP process ended"):
                await child.configure(part(), 1)
            with pytest.raises(ControlError) as caught:
                await child.call("status", {})
        assert caught.value.code == UNAVAILABLE

    asyncio.run(main())
