"""The kernel's IPVS table over generic netlink, for an event loop.

Requests go out hundreds at a time, and the kernel has carried them out when the send returns. That
can take long: another program may hold the table, a scheduler's module may have to be loaded, the
change of a scheduler waits for all processors. So sends and receives happen in a thread of their
own; what is sent is made, and what was received is taken apart, on the loop, in small portions.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import struct
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

from fastvrrp.config.servers import Timeouts
from fastvrrp.ipvs import wire, wire_reading, wire_settings
from fastvrrp.ipvs.objects import (
    Daemon,
    Destinations,
    Entries,
    Entry,
    Role,
    Service,
    ServiceKey,
    ServiceStatistics,
)
from fastvrrp.ipvs.table import Failure, Operation
from fastvrrp.net import namespace as net_namespace
from fastvrrp.net.rtnl import enlarge_receive_buffer
from fastvrrp.net.wire import AF_NETLINK, SOL_NETLINK, MalformedMessage

# Operations per send at most. A request has less than 200 bytes, and the send buffer takes so many
# as it comes; the kernel may refuse every one, and has to find room for all that it says.
_BATCH = 1024
_REFUSAL = 1024  # bytes of the receive buffer, at most
_DUMPS_PER_TURN = 64  # services whose destinations are read before the loop has its turn
_BUFFER = 1 << 16  # the kernel sends at most 32 KiB at once
_RECEIVE_BUFFER = 4 << 20
_ANSWER_TIMEOUT_S = 10
_NETLINK_CAP_ACK = 10  # refusals come without the request in them


def open_socket(namespace: str | None = None) -> socket.socket:
    """A socket to IPVS of the named network namespace, or of the caller's own.

    Raises OSError, and NamespaceError when the namespace cannot be entered.
    """
    if namespace is None:
        return _open()

    def there() -> socket.socket:
        net_namespace.enter(namespace)
        return _open()

    # Only a thread that ends afterwards may enter: the caller's other sockets stay where they are.
    with ThreadPoolExecutor(1) as elsewhere:
        return elsewhere.submit(there).result()


def _open() -> socket.socket:
    kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC
    sock = socket.socket(AF_NETLINK, kind, wire.NETLINK_GENERIC)
    try:
        sock.setsockopt(SOL_NETLINK, _NETLINK_CAP_ACK, 1)
        timeout = struct.pack("@ll", _ANSWER_TIMEOUT_S, 0)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, timeout)
        enlarge_receive_buffer(sock, _RECEIVE_BUFFER)
        sock.connect((0, 0))  # nobody but the kernel can send to it from now on
    except OSError:
        sock.close()
        raise
    return sock


class NetlinkTable:
    """A `Table`. The socket is blocking, with a limit, and is owned.

    Several calls may run at the same time; their requests take turns. Raises OSError: ENOENT when
    the kernel has no IPVS, EPERM without CAP_NET_ADMIN, ETIMEDOUT when it does not answer within
    10 s, EBADMSG when its answer cannot be understood.
    """

    def __init__(self, sock: socket.socket) -> None:
        self.changes = 0
        self._socket = sock
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ipvs-table")
        self._buffer = memoryview(bytearray(_BUFFER))
        # Operations per send.
        self.batch = min(_BATCH, sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // _REFUSAL)
        self._sequence = 0
        self._family = 0

    def close(self) -> None:
        # Where it is used, so that its number cannot be another's in between.
        self._thread.submit(self._socket.close)
        self._thread.shutdown(wait=False)

    # -- what is there

    async def services(self) -> dict[ServiceKey, Service]:
        found = {}
        async for body in self._dumped(wire.services_request):
            service, _ = wire_reading.decode_service(body)
            found[service.key] = service
        return found

    async def destinations(self, keys: Iterable[ServiceKey]) -> dict[ServiceKey, Destinations]:
        decode = wire_reading.decode_destination
        found: dict[ServiceKey, Destinations] = {}
        async for key, number, datagrams in self._destination_dumps(keys):
            destinations = found[key] = {}
            for data in datagrams:
                for body in wire_reading.bodies(data, number):
                    destination = decode(body, key.family)
                    destinations[destination.key] = destination
                await asyncio.sleep(0)
        return found

    async def dump(self) -> Entries:
        services = await self.services()
        destinations = await self.destinations(services)
        return {key: Entry(service, destinations[key]) for key, service in services.items()}

    async def statistics(self) -> dict[ServiceKey, ServiceStatistics]:
        decode = wire_reading.decode_statistics
        found = {}
        async for body in self._dumped(wire.services_request):
            service, counters = wire_reading.decode_service(body)
            found[service.key] = ServiceStatistics(counters, {})
        async for key, number, datagrams in self._destination_dumps(found):
            for data in datagrams:
                for body in wire_reading.bodies(data, number):
                    destination, statistics = decode(body, key.family)
                    found[key].destinations[destination.key] = statistics
                await asyncio.sleep(0)
        return found

    async def daemons(self) -> dict[Role, Daemon]:
        found = {}
        async for body in self._dumped(wire_settings.daemons_request):
            daemon = wire_settings.decode_daemon(body)
            found[daemon.role] = daemon
        return found

    async def timeouts(self) -> Timeouts:
        for body in await self._ask(wire_settings.timeouts_request):
            return wire_settings.decode_timeouts(body)
        raise MalformedMessage("no answer to a question for the timeouts")

    # -- changes

    async def apply(self, operations: Iterable[Operation]) -> list[Failure]:
        failures = []
        left = iter(operations)
        while batch := list(islice(left, self.batch)):
            family = await self._family_id()
            first = self._numbers(len(batch) + 1)
            end = first + len(batch)
            request = wire.encode(batch, family, first) + wire.end_request(end)
            self.changes += len(batch)
            [datagrams] = await self._exchange([(request, end)])
            for data in datagrams:
                for sequence, code in wire_reading.refusals(data):
                    if first <= sequence < end:
                        failures.append(Failure(batch[sequence - first], code))
        return failures

    async def flush(self) -> None:
        await self._ask(wire_settings.flush_request)

    async def set_timeouts(self, timeouts: Timeouts) -> None:
        await self._ask(lambda *to: wire_settings.set_timeouts_request(timeouts, *to))

    async def start_daemon(self, daemon: Daemon) -> None:
        await self._ask(lambda *to: wire_settings.start_daemon_request(daemon, *to))

    async def stop_daemon(self, role: Role) -> None:
        await self._ask(lambda *to: wire_settings.stop_daemon_request(role, *to))

    # -- questions

    def _numbers(self, count: int) -> int:
        """The first of so many sequence numbers that are not in use."""
        first = self._sequence + 1
        if first + count > 0x7FFFFFFF:
            first = 1
        self._sequence = first + count - 1
        return first

    async def _family_id(self) -> int:
        if not self._family:
            number = self._numbers(2)
            request = wire_settings.family_request(number) + wire.end_request(number + 1)
            [datagrams] = await self._exchange([(request, number + 1)])
            for body in _joined(datagrams, number):
                self._family = wire_settings.decode_family(body)
        return self._family

    async def _ask(self, make: Callable[[int, int], bytes]) -> list[bytes]:
        """One request; what came back beside acknowledgements. Raises what the kernel said."""
        family, number = await self._family_id(), self._numbers(2)
        request = make(family, number) + wire.end_request(number + 1)
        [datagrams] = await self._exchange([(request, number + 1)])
        return _joined(datagrams, number)

    async def _dumped(self, make: Callable[[int, int], bytes]) -> AsyncIterator[bytes]:
        family, number = await self._family_id(), self._numbers(1)
        [datagrams] = await self._exchange([(make(family, number), number)])
        try:
            for data in datagrams:
                for body in wire_reading.bodies(data, number):
                    yield body
                await asyncio.sleep(0)
        except FileNotFoundError:
            self._family = 0  # the module was taken away; it may come back under another number
            raise

    async def _destination_dumps(
        self, keys: Iterable[ServiceKey]
    ) -> AsyncIterator[tuple[ServiceKey, int, list[bytes]]]:
        """Of each of these services its number and the datagrams that answer for it."""
        family = await self._family_id()
        left = iter(keys)
        while portion := list(islice(left, _DUMPS_PER_TURN)):
            first = self._numbers(len(portion))
            requests = [
                (wire.destinations_request(key, family, number), number)
                for number, key in enumerate(portion, first)
            ]
            found = await self._exchange(requests)
            for number, (key, datagrams) in enumerate(zip(portion, found, strict=True), first):
                yield key, number, datagrams

    # -- the thread

    async def _exchange(self, requests: list[tuple[bytes, int]]) -> list[list[bytes]]:
        """Send each request once the one before is answered; the datagrams that answer it.

        With each the sequence number of its end: of a dump, or of an acknowledgement. Raises
        OSError.
        """
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, self._talk, requests)

    def _talk(self, requests: list[tuple[bytes, int]]) -> list[list[bytes]]:
        return [list(self._answers(request, last)) for request, last in requests]

    def _answers(self, request: bytes, last: int) -> Iterator[bytes]:
        self._socket.send(request)
        while True:
            try:
                size, _, flags, _ = self._socket.recvmsg_into([self._buffer])
            except BlockingIOError:
                raise TimeoutError(errno.ETIMEDOUT, "the kernel does not answer") from None
            if flags & socket.MSG_TRUNC:
                raise OSError(errno.EMSGSIZE, "netlink message larger than the buffer")
            data = bytes(self._buffer[:size])
            yield data
            if wire_reading.ends(data, last):
                return


def _joined(datagrams: list[bytes], number: int) -> list[bytes]:
    return [body for data in datagrams for body in wire_reading.bodies(data, number)]
