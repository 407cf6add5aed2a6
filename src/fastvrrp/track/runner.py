"""Running programs from a process that must not fork: the `Runner` protocol and its client.

The VRRP process never forks beside the engine threads. `RunnerClient` sends each request over
a SOCK_SEQPACKET socket pair to the supervisor, whose `supervisor.runner.RunnerService` executes
it with `supervisor.runner.Executor`. The executor itself also satisfies `Runner`, so tests and
single-process tools use it directly.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
from collections.abc import Sequence
from typing import Protocol

from fastvrrp.config import model
from fastvrrp.track.runner_wire import (
    CANCEL_WAIT_S,
    MESSAGE_BYTES_MAX,
    Cancel,
    Channel,
    Ended,
    Outcome,
    Reply,
    Request,
    Result,
    Run,
    Start,
    encode,
    reply_decoder,
)

__all__ = ["Outcome", "Result", "Runner", "RunnerClient", "resolve"]

log = logging.getLogger(__name__)


class Runner(Protocol):
    """Whoever can run programs. Never raises for what a program does: the Result tells."""

    async def run(
        self,
        command: model.Command,
        *,
        timeout_ns: int,
        extra_args: Sequence[str] = (),
        wait: bool = True,
    ) -> Result:
        """Run to the end, or with `wait=False` only start it.

        After `timeout_ns` the program and its process group are killed in both cases. Cancelling
        the call kills them too, and returns when they are gone (five seconds later at most, if
        they are stuck in the kernel), so that the caller may start the same program again.
        A program that could not be started gives Outcome.FAILED with the errno as code.
        """
        ...

    async def start(self, command: model.Command, *, extra_args: Sequence[str] = ()) -> int:
        """Start a long-running program; returns a handle for `terminate`.

        Raises OSError when it cannot be started.
        """
        ...

    async def terminate(self, handle: int, *, grace_ns: int = 0) -> None:
        """End a program of `start`; returns when it is gone. Unknown handles are ignored.

        It gets `grace_ns` to end by itself before the first signal.
        """
        ...


def resolve(command: model.Command, default: model.Account | None) -> model.Command:
    """The command with its account filled in: its own, else the default script account."""
    if command.account is not None or default is None:
        return command
    return model.Command(argv=command.argv, account=default, position=command.position)


class RunnerClient:
    """`Runner` over a SOCK_SEQPACKET socket whose other end is a `RunnerService`.

    Must be created inside a running event loop; belongs to it. Owns the socket.
    """

    def __init__(self, sock: socket.socket | int) -> None:
        if isinstance(sock, int):
            sock = socket.socket(fileno=sock)
        self._channel: Channel[Reply] = Channel(
            sock, reply_decoder, self._received, self._disconnected
        )
        self._next_id = 1
        self._waiting: dict[int, asyncio.Future[Result]] = {}
        self._ending: dict[int, asyncio.Future[None]] = {}

    async def run(
        self,
        command: model.Command,
        *,
        timeout_ns: int,
        extra_args: Sequence[str] = (),
        wait: bool = True,
    ) -> Result:
        """See `Runner.run`. A lost supervisor gives Outcome.FAILED with ECONNRESET."""
        ident = self._ident()
        argv = (*command.argv, *extra_args)
        return await self._exchange(ident, Run(ident, argv, command.account, timeout_ns, wait))

    async def start(self, command: model.Command, *, extra_args: Sequence[str] = ()) -> int:
        """See `Runner.start`."""
        ident = self._ident()
        argv = (*command.argv, *extra_args)
        result = await self._exchange(ident, Start(ident, argv, command.account))
        if result.outcome is not Outcome.STARTED:
            raise OSError(result.code, result.detail, command.argv[0])
        return ident

    async def terminate(self, handle: int, *, grace_ns: int = 0) -> None:
        """See `Runner.terminate`."""
        await asyncio.shield(self._cancel(handle, grace_ns))

    def close(self) -> None:
        """Close the socket; the supervisor then kills whatever still runs for this client."""
        self._channel.close()
        self._disconnected()

    def _ident(self) -> int:
        ident = self._next_id
        self._next_id += 1
        return ident

    async def _exchange(self, ident: int, request: Request) -> Result:
        data = encode(request)
        if len(data) > MESSAGE_BYTES_MAX:
            return _failed(errno.E2BIG)
        if self._channel.closed:
            return _failed(errno.ECONNRESET)
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting[ident] = future
        self._channel.send(data)
        try:
            return await future
        except asyncio.CancelledError:
            await asyncio.wait({self._cancel(ident, 0)}, timeout=CANCEL_WAIT_S)
            raise
        finally:
            self._waiting.pop(ident, None)

    def _cancel(self, ident: int, grace_ns: int) -> asyncio.Future[None]:
        future = self._ending.get(ident)
        if future is None:
            future = asyncio.get_running_loop().create_future()
            if self._channel.closed:
                future.set_result(None)
                return future
            self._ending[ident] = future
            self._channel.send(encode(Cancel(ident, grace_ns)))
        return future

    def _received(self, reply: Reply) -> None:
        if isinstance(reply, Ended):
            ending = self._ending.pop(reply.id, None)
            if ending is not None and not ending.done():
                ending.set_result(None)
            return
        future = self._waiting.get(reply.id)
        if future is not None and not future.done():
            future.set_result(reply.result)

    def _disconnected(self) -> None:
        for future in self._waiting.values():
            if not future.done():
                future.set_result(_failed(errno.ECONNRESET))
        for ending in self._ending.values():
            if not ending.done():
                ending.set_result(None)
        self._ending.clear()


def _failed(number: int) -> Result:
    return Result(outcome=Outcome.FAILED, code=number, detail=os.strerror(number))
