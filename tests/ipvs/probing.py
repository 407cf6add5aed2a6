"""Attempts of probes under test, with the contract of `Probe` watched, and servers beside them."""

from __future__ import annotations

import asyncio
import os
import random
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from fastvrrp._core import Prober
from fastvrrp.config.base import NS_PER_S
from fastvrrp.config.servers import Check, Connection
from fastvrrp.ipvs.checks.base import DETAIL_CHARACTERS, Outcome, Probe, Surroundings, Verdict
from fastvrrp.ipvs.connects import Connects
from fastvrrp.ipvs.reports import Report

DOWN, UP, LOCAL = Verdict.DOWN, Verdict.UP, Verdict.LOCAL
MS = 1_000_000

Session = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
Answers = Callable[[bytes], Sequence[bytes]]


def surroundings(**more: Any) -> Surroundings:
    """Of the running loop."""
    return Surroundings(loop=asyncio.get_running_loop(), **more)


def connection(port: int, address: str = "127.0.0.1", **more: Any) -> Connection:
    more.setdefault("timeout_ns", NS_PER_S)
    return Connection(address=address, port=port, **more)


async def attempt(probe: Probe, limit_s: float = 5.0, *, cancel: bool = True) -> Outcome:
    """One attempt; fails when `done` is called too early, twice, or not within the limit.

    `cancel`: cancelled afterwards, which does nothing to an attempt that is over.
    """
    outcomes: list[Outcome] = []
    over = asyncio.Event()
    started = False

    def done(outcome: Outcome) -> None:
        assert started, "done before start returned"
        outcomes.append(outcome)
        over.set()

    began_ns = time.monotonic_ns()
    probe.start(0, done)
    started = True
    await asyncio.wait_for(over.wait(), limit_s)
    took_ns = time.monotonic_ns() - began_ns
    await asyncio.sleep(0.01)
    if cancel:
        probe.cancel()
    await asyncio.sleep(0)
    assert len(outcomes) == 1
    outcome = outcomes[0]
    assert 0 <= outcome.latency_ns <= took_ns
    assert outcome.detail
    assert outcome.detail.isprintable()
    assert len(outcome.detail) <= DETAIL_CHARACTERS
    return outcome


async def attempt_by_prober(check: Check, limit_s: float = 5.0) -> Outcome:
    """One attempt of the prober."""
    loop = asyncio.get_running_loop()
    prober = Prober()
    prober.start()
    connects = Connects(loop, prober, dice=random.Random(1))
    ended: asyncio.Future[Report] = loop.create_future()
    began_ns = time.monotonic_ns()
    running = connects.begin(check, 0, True, ended.set_result)
    running.resume()  # at once, unlike a first attempt
    try:
        report = await asyncio.wait_for(ended, limit_s)
        outcome = running.progress().outcome
    finally:
        connects.stop()
        prober.stop()
        assert await asyncio.to_thread(prober.join, 5)
    took_ns = time.monotonic_ns() - began_ns
    assert prober.counters()["attempts"] == 1
    assert prober.counters()["open"] == 0
    assert report.outcome == outcome
    assert 0 <= report.outcome.latency_ns <= took_ns
    return report.outcome


async def abandoned(probe: Probe, after_s: float) -> None:
    """An attempt that is cancelled after a while, or (0) at once: `done` is not called, and
    nothing stays open."""
    before = descriptors()
    outcomes: list[Outcome] = []
    probe.start(0, outcomes.append)
    if after_s:
        await asyncio.sleep(after_s)
    assert not outcomes, "over before it could be cancelled"
    probe.cancel()
    assert descriptors() == before
    probe.cancel()
    await asyncio.sleep(0.02)
    assert not outcomes


def descriptors() -> set[str]:
    """Sockets this process has open, by inode; the event loop's own are among them."""
    found = set()
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - the plain names
        try:
            target = os.readlink(f"/proc/self/fd/{name}")  # noqa: PTH115
        except FileNotFoundError:
            continue  # the one of the directory itself
        if target.startswith("socket:"):
            found.add(target)
    return found


@asynccontextmanager
async def tcp_server(session: Session, sock: socket.socket | None = None) -> AsyncIterator[int]:
    """The port of a server on 127.0.0.1, or of this bound socket, that does this with every
    connection."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await session(reader, writer)
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    if sock is None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
    else:
        server = await asyncio.start_server(serve, sock=sock)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


@asynccontextmanager
async def udp_server(answers: Answers, sock: socket.socket | None = None) -> AsyncIterator[int]:
    """The port of a server on 127.0.0.1, or of this bound socket, that sends these datagrams for
    every one it gets."""
    loop = asyncio.get_running_loop()
    if sock is None:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind(("127.0.0.1", 0))
    sock.setblocking(False)

    def readable() -> None:
        data, peer = sock.recvfrom(65535)
        for answer in answers(data):
            sock.sendto(answer, peer)

    with sock:
        loop.add_reader(sock.fileno(), readable)
        try:
            yield sock.getsockname()[1]
        finally:
            loop.remove_reader(sock.fileno())


def free_port(kind: int = socket.SOCK_STREAM) -> int:
    """A port of 127.0.0.1 that nobody listens on."""
    with socket.socket(socket.AF_INET, kind) as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])
