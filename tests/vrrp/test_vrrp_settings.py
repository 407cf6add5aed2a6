"""Kernel settings of interfaces that get another name, in a copy of /proc/sys that is a moment
behind, as the kernel's own is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from vrrp_tools import configuration, instance, kernel

from fastvrrp.config import model
from fastvrrp.net import sysctl
from fastvrrp.net.journal import Journal
from fastvrrp.vrrp import surroundings
from fastvrrp.vrrp.surroundings import Surroundings

WANTED = configuration(instance(promote_secondaries=True))  # of eth0


class Host:
    """Interfaces by ifindex, and the directories of their settings."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._conf = directory / "sys" / "conf"
        self.names = {1: "eth0"}
        self.observed = kernel("eth0")
        monkeypatch.setattr(sysctl, "_ROOT", directory / "sys")
        monkeypatch.setattr(sysctl, "name_of", self.names.get)
        monkeypatch.setattr(
            sysctl,
            "index_of",
            lambda name: next((i for i, n in self.names.items() if n == name), 0),
        )
        monkeypatch.setattr(surroundings, "LOOK_S", 0.005)
        self.put("eth0", "0")

    def put(self, interface: str, value: str) -> None:
        (self._conf / interface).mkdir(parents=True)
        (self._conf / interface / "promote_secondaries").write_text(value)

    def value(self, interface: str) -> str:
        return (self._conf / interface / "promote_secondaries").read_text()

    def move_settings(self, old: str, new: str) -> None:
        (self._conf / old).rename(self._conf / new)

    def rename(self, new: str) -> None:
        """Which the kernel tells of; the settings are still where they were."""
        self.names[1] = new
        self.observed = kernel(new)


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    return Host(tmp_path, monkeypatch)


@pytest.fixture
def it(host: Host, tmp_path: Path) -> Surroundings:
    return Surroundings(Journal(tmp_path / "journal"), lambda: host.observed)


async def begin(it: Surroundings, wanted: model.Configuration = WANTED) -> None:
    await it.prepare(model.Configuration(), wanted)
    await it.settle(wanted)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(3):
        while not condition():  # noqa: ASYNC110  a file, not an event
            await asyncio.sleep(0.002)


def test_what_is_restored_late_is_restored(host: Host, it: Surroundings) -> None:
    async def body() -> None:
        await begin(it)
        assert host.value("eth0") == "1"
        host.rename("other")
        it.interfaces_changed(WANTED)
        host.move_settings("eth0", "other")
        await until(lambda: host.value("other") == "0")
        await it.undo(complete=True)

    asyncio.run(body())


def test_what_is_wanted_is_written_when_it_can_be(host: Host, it: Surroundings) -> None:
    """And restored at the end, although it was there already when the name came back."""

    async def body() -> None:
        await begin(it)
        host.rename("other")
        it.interfaces_changed(WANTED)
        host.rename("eth0")
        it.interfaces_changed(WANTED)
        assert host.value("eth0") == "1"
        await it.undo(complete=True)
        assert host.value("eth0") == "0"

    asyncio.run(body())


def test_an_interface_whose_settings_come_behind_it(host: Host, it: Surroundings) -> None:
    async def body() -> None:
        host.rename("other")
        host.move_settings("eth0", "other")
        await begin(it)
        host.rename("eth0")
        it.interfaces_changed(WANTED)
        host.move_settings("other", "eth0")
        await until(lambda: host.value("eth0") == "1")
        await it.undo(complete=True)
        assert host.value("eth0") == "0"

    asyncio.run(body())


def test_what_the_kernel_does_not_have_is_not_looked_for_for_ever(
    host: Host, it: Surroundings, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[float] = []
    host.move_settings("eth0", "nowhere")

    async def body() -> None:
        await begin(it)
        loop = asyncio.get_running_loop()
        call_later = loop.call_later

        def counting(delay: float, *rest: object) -> asyncio.TimerHandle:
            looks.append(delay)
            return call_later(delay, *rest)  # type: ignore[arg-type]

        monkeypatch.setattr(loop, "call_later", counting)
        it.interfaces_changed(WANTED)
        await until(lambda: looks.count(surroundings.LOOK_S) == surroundings.LOOKS_MAX)
        await asyncio.sleep(10 * surroundings.LOOK_S)
        assert looks.count(surroundings.LOOK_S) == surroundings.LOOKS_MAX
        await it.undo(complete=True)

    asyncio.run(body())
