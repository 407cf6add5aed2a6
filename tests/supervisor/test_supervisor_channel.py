"""The channel between supervisor and child: order, size, descriptors, malformed packets."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
import uvloop

from fastvrrp.config import model
from fastvrrp.packets import ProtocolError, close_all
from fastvrrp.supervisor import channel, messages
from fastvrrp.supervisor.channel import Channel
from fastvrrp.supervisor.spawn import pair

loops = pytest.mark.parametrize("runner", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])

INSTANCE = model.VrrpInstance(name="V", virtual_router_id=1, family=4, version=3)


class End:
    """A channel that keeps what it hears."""

    def __init__(self, sock: socket.socket) -> None:
        self.heard: list[tuple[messages.AnyMessage, list[int]]] = []
        self.closed: list[Exception | None] = []
        self.channel = Channel(sock, self._message, self.closed.append)

    def _message(self, message: messages.AnyMessage, fds: list[int]) -> None:
        self.heard.append((message, fds))

    async def until(self, condition: Callable[[End], Any]) -> None:
        async with asyncio.timeout(5):
            while not condition(self):  # noqa: ASYNC110 (a poll is simplest here)
                await asyncio.sleep(0.001)


def ends() -> tuple[End, End]:
    ours, theirs = pair()
    return End(ours), End(theirs)


@loops
def test_order_is_kept_beyond_the_socket_buffer(runner: Callable[..., None]) -> None:
    async def main() -> None:
        a, b = ends()
        for number in range(5000):
            a.channel.send(messages.Ping(number))
        assert a.channel.backlog > 0, "the socket buffer is smaller than this test"
        await a.channel.drain()
        await b.until(lambda end: len(end.heard) == 5000)
        assert [message.number for message, _ in b.heard] == list(range(5000))  # type: ignore[union-attr]
        a.channel.close()
        await b.until(lambda end: end.closed)
        assert b.closed == [None]
        assert a.closed == [], "our own close is not reported"

    runner(main())


@loops
@pytest.mark.parametrize("size", [0, channel.INLINE_LIMIT - 100, channel.INLINE_LIMIT, 20_000_000])
def test_messages_of_any_size(runner: Callable[..., None], size: int) -> None:
    async def main() -> None:
        a, b = ends()
        a.channel.send(messages.Reply(1, result="x" * size))
        await b.until(lambda end: end.heard)
        assert b.heard == [(messages.Reply(1, result="x" * size), [])]

    runner(main())


@loops
def test_a_configuration_travels_in_a_sealed_memfd(runner: Callable[..., None]) -> None:
    configuration = model.Configuration(vrrp_instances=(INSTANCE,))

    async def main() -> None:
        a, b = ends()
        fd = channel.sealed_memfd("test", msgspec.msgpack.encode(configuration))
        a.channel.send(messages.Configure(7), [fd])
        os.close(fd)  # the channel has its own
        await b.until(lambda end: end.heard)
        message, fds = b.heard[0]
        assert message == messages.Configure(7)
        data = channel.read_memfd(fds[0])
        assert msgspec.msgpack.decode(data, type=model.Configuration) == configuration
        assert not os.get_inheritable(fds[0])
        with pytest.raises(PermissionError):
            os.ftruncate(fds[0], 0)
        close_all(fds)

    runner(main())


def test_every_message_survives_the_codec() -> None:
    everything: list[messages.AnyMessage] = [
        messages.Configure(3),
        messages.Stop(),
        messages.Dump("json", "/run/x"),
        messages.Call(1, "status", {"name": "V"}),
        messages.Subscribe(True),
        messages.Ping(5),
        messages.Configured(3, ok=False, error="no", changes=("a",)),
        messages.Ready(),
        messages.States((messages.InstanceState("V", "MASTER", "192.0.2.1"),)),
        messages.Summary("2 up"),
        messages.Stopping("why"),
        messages.HandedOver(),
        messages.Stopped(),
        messages.Reply(1, result={"a": [1, None, 2.5]}),
        messages.Event({"kind": "state"}),
    ]
    assert {type(m) for m in everything} == set(messages.AnyMessage.__args__)  # type: ignore[attr-defined]
    for message in everything:
        packet, memfd = channel.pack(message)
        assert memfd is None
        assert channel.unpack(packet, []) == (message, [])


@pytest.mark.parametrize(
    "packet",
    [
        b"\x02\x80",
        b"\x00",
        b"\x00\xc1",
        b"\x00" + msgspec.msgpack.encode({"type": "Nonsense"}),
        b"\x00" + msgspec.msgpack.encode({"type": "Ping", "number": "x"}),
        b"\x01" + struct.pack(">Q", 5),
    ],
)
def test_malformed_packets_break_the_channel(packet: bytes) -> None:
    async def main() -> None:
        ours, theirs = pair()
        end = End(theirs)
        ours.send(packet)
        await end.until(lambda end: end.closed)
        assert isinstance(end.closed[0], ProtocolError)
        assert end.heard == []

    asyncio.run(main())


def test_an_unsealed_memfd_is_refused() -> None:
    fd = os.memfd_create("test", os.MFD_ALLOW_SEALING)
    with pytest.raises(ProtocolError, match="not sealed"):
        channel.read_memfd(fd)
    os.close(fd)
    null = os.open("/dev/null", os.O_RDONLY)
    with pytest.raises(ProtocolError, match="not a memfd"):
        channel.read_memfd(null)
    os.close(null)


def test_descriptors_do_not_leak() -> None:
    def count() -> int:
        return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 (a list of numbers)

    async def main() -> None:
        a, b = ends()
        before = count()
        fd = channel.sealed_memfd("test", b"x")
        for _ in range(20):
            a.channel.send(messages.Configure(1), [fd])
            a.channel.send(messages.Reply(1, result="x" * 100_000))
        await b.until(lambda end: len(end.heard) == 40)
        for _, fds in b.heard:
            close_all(fds)
        os.close(fd)
        assert count() == before
        b.channel.close()
        for _ in range(20):
            a.channel.send(messages.Reply(1, result="x" * 100_000), [0])
        await a.until(lambda end: end.closed)
        a.channel.send(messages.Ping(), [0])  # after the end: dropped
        await a.channel.drain()
        assert count() == before - 2

    asyncio.run(main())


def test_what_was_sent_before_the_end_is_delivered() -> None:
    async def main() -> None:
        a, b = ends()
        a.channel.send(messages.Stopped())
        a.channel.close()
        b.channel.send(messages.Ping())  # fails, which must not hide what waits to be read
        await b.until(lambda end: end.closed)
        assert [message for message, _ in b.heard] == [messages.Stopped()]

    asyncio.run(main())
