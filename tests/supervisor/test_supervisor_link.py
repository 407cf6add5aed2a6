"""A child's end of the channel when the supervisor does not read: memory, and the last word."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from fastvrrp.config import model
from fastvrrp.supervisor import link, messages, pulse
from fastvrrp.supervisor.channel import Channel
from fastvrrp.supervisor.link import Arguments, Link
from fastvrrp.supervisor.messages import InstanceState
from fastvrrp.supervisor.spawn import pair


class Nothing:
    """Handlers that do nothing."""

    async def configure(self, configuration: model.Configuration, epoch: int) -> Sequence[str]:
        return ()

    async def stop(self) -> None:
        return

    async def dump(self, kind: str, path: Path) -> None:
        return

    async def call(self, method: str, params: dict[str, Any]) -> Any:
        return None

    def subscribe(self, on: bool) -> None:
        return


@pytest.fixture
def ends() -> Iterator[pulse.Ends]:
    made = pulse.Ends(pulse.create(), pulse.create_alarm())
    yield made
    for fd in made:
        os.close(fd)


async def until(condition: Any) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 (a poll is simplest here)
            await asyncio.sleep(0.001)


def test_a_supervisor_that_does_not_read(
    ends: pulse.Ends, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(link, "BACKLOG", 50)
    heard: list[messages.AnyMessage] = []

    async def main() -> None:
        ours, theirs = pair()
        scripts, unused = pair()
        child = Link(Arguments(theirs, scripts, ends, Path("/nonexistent")), Nothing())
        for number in range(5000):
            state = "MASTER" if number % 2 else "BACKUP"
            child.states([InstanceState(f"V{number % 7}", state)])
            child.event({"kind": "state", "n": number})
        assert child._channel.backlog <= 51
        channel = Channel(ours, lambda message, fds: heard.append(message), lambda exc: None)
        last = InstanceState("last", "MASTER")
        await until(lambda: child._channel.backlog == 0)
        child.states([last])
        child.event({"kind": "state", "n": 5000})
        await until(lambda: heard and heard[-1] == messages.Event({"kind": "state", "n": 5000}))
        told: dict[str, InstanceState] = {}
        for message in heard:
            if isinstance(message, messages.States):
                told |= {state.name: state for state in message.states}
        expected = {f"V{n % 7}": "MASTER" if n % 2 else "BACKUP" for n in range(4993, 5000)}
        assert {name: state.state for name, state in told.items()} == {**expected, "last": "MASTER"}
        channel.close()
        for sock in (scripts, unused):
            sock.close()

    with caplog.at_level(logging.WARNING):
        asyncio.run(main())
    assert len(heard) < 2000
    assert caplog.text.count("events are lost") == 1


def test_states_that_could_not_be_sent_are_sent_with_the_next(
    ends: pulse.Ends, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So many need a descriptor, and there may be none left."""
    told: dict[str, str] = {}

    def heard(message: messages.AnyMessage, fds: list[int]) -> None:
        if isinstance(message, messages.States):
            told.update((state.name, state.state) for state in message.states)

    def no_memfd(name: str, data: bytes) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    async def main() -> None:
        ours, theirs = pair()
        scripts, unused = pair()
        child = Link(Arguments(theirs, scripts, ends, Path("/nonexistent")), Nothing())
        channel = Channel(ours, heard, lambda exc: None)
        many = {f"V{number}": "MASTER" for number in range(4000)}
        states = [InstanceState(name, state) for name, state in many.items()]
        with monkeypatch.context() as patch:
            patch.setattr("fastvrrp.supervisor.channel.sealed_memfd", no_memfd)
            with pytest.raises(OSError, match="open files"):
                child.states(states)
        child.states([InstanceState("V7", "BACKUP")])
        await until(lambda: told == {**many, "V7": "BACKUP"})
        channel.close()
        for sock in (scripts, unused):
            sock.close()

    asyncio.run(main())


def test_a_ping_is_answered_in_the_page(ends: pulse.Ends) -> None:
    signs = pulse.Page(ends.page)

    async def main() -> None:
        ours, theirs = pair()
        scripts, unused = pair()
        child = Link(Arguments(theirs, scripts, ends, Path("/nonexistent")), Nothing())
        channel = Channel(ours, lambda message, fds: None, lambda exc: None)
        channel.send(messages.Ping(7))
        await until(lambda: signs.read().answered == 7)
        os.kill(os.getpid(), signal.SIGTERM)
        await child.closed()
        channel.close()
        for sock in (scripts, unused):
            sock.close()

    asyncio.run(main())
    signs.close()
