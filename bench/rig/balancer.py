"""In the guest: one daemon's load balancer, its checks and its table, measured.

`python -m bench.rig.balancer DIRECTORY` does what DIRECTORY/task.json says and leaves values.json
there. Virtual servers are of 10.0.0.0/8, real servers of 11.0.0.0/8, which is all one host: a
program on the loopback that answers on every address.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from bench.servers import HTTP_GET, TCP_CHECK, address, first_server, render
from fastvrrp.ipvs.netlink_table import NetlinkTable, open_socket
from fastvrrp.ipvs.objects import Destinations, ServiceKey, pack_address
from fastvrrp.ipvs.wire_reading import bodies
from fastvrrp.ipvs.wire_settings import decode_family, family_request
from fastvrrp.lab.namespace import Namespace
from fastvrrp.net.rtnl import enlarge_receive_buffer

from .contender import KNOWN, Contender, in_directory
from .guest import RESULT
from .process import Helper, Memory, Usage, memory, process_tree, spawn, timed, usage

PORT = 80
POLL_S = 0.05  # a look costs the only processor milliseconds
SETTLE_S = 2.0
LIMIT_S = 600.0
RELOAD_LIMIT_S = 60.0  # keepalived 2.2.7 takes longer for a large table than anybody waits
CHANGED_WEIGHT = 7
ACCOUNTING = Path("/proc/sys/kernel/task_delayacct")  # without it schedstat is empty here
CHECKERS = {"tcp": TCP_CHECK, "http": HTTP_GET}
PER_SERVICE = 100  # servers of a virtual server where checks are measured

# linux/netlink.h
NETLINK_GENERIC = 16
NLM_F_REQUEST = 1
MESSAGE = struct.Struct("=IHHII")  # nlmsghdr
# linux/ip_vs.h: IPVS_CMD_{NEW,SET,DEL}_{SERVICE,DEST}
CHANGES = frozenset((1, 2, 3, 5, 6, 7))
ETH_P_ALL = 3  # linux/if_ether.h
BUFFER = 1 << 20


class Late(RuntimeError):
    """What was waited for did not come in time; the daemon lives."""


class World:
    """A network namespace with its servers, and the daemon's directory."""

    def __init__(self, stack: ExitStack, task: dict[str, Any], directory: Path) -> None:
        self.contender: Contender = KNOWN[task["contender"]]
        self.directory = directory
        self.config = directory / "bench.conf"
        self.namespace = stack.enter_context(Namespace("lvs"))
        self.namespace.run("ip", "route", "add", "local", "11.0.0.0/8", "dev", "lo")
        argv = [task["server"], task["parameters"].get("checker", "tcp"), str(PORT)]
        stack.enter_context(Helper(self.namespace, argv, nice=0))
        self._table = self.namespace.call(open_socket)
        self._stack = stack
        self._log = directory / "log"
        self._process: subprocess.Popen[bytes]

    def start(self) -> float:
        """Start the daemon; the moment."""
        argv = in_directory(self.contender.balancer, self.config, self.directory)
        with self._log.open("wb") as log:
            moment = time.monotonic()
            self._process = spawn(self.namespace, argv, output=log, cwd=str(self.directory))
        self._stack.callback(self._end)
        return moment

    def _end(self) -> None:
        """All of it at once: how it stops is not measured."""
        for pid in self.pids()[::-1]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait()

    def pids(self) -> list[int]:
        return process_tree(self._process.pid)

    def usage(self) -> Usage:
        return usage(self.pids())

    def memory(self) -> Memory:
        return memory(self.pids())

    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def wait_for(
        self,
        condition: Callable[[], object],
        what: str,
        poll_s: float = POLL_S,
        limit_s: float = LIMIT_S,
    ) -> float:
        """Until it is true; the moment. Raises Late, or RuntimeError when the daemon has ended."""
        end = time.monotonic() + limit_s
        while not condition():
            if self._process.poll() is not None:
                raise RuntimeError(f"{what} does not come\n{self.log()[-2000:]}")
            if time.monotonic() > end:
                raise Late(f"{what} does not come in {limit_s:g} s\n{self.log()[-2000:]}")
            time.sleep(poll_s)
        return time.monotonic()

    def opened(self) -> int:
        """Connections that the servers have taken so far (RFC 4022 tcpPassiveOpens)."""
        text = Path(f"{Path(self.namespace.path).parents[1]}/net/snmp").read_text()
        names, values = (line.split() for line in text.splitlines() if line.startswith("Tcp:"))
        return int(values[names.index("PassiveOpens")])

    def reload(self) -> float:
        """Ask for it; the moment."""
        moment = time.monotonic()
        os.kill(self._process.pid, signal.SIGHUP)
        return moment

    # -- the kernel's table

    def destinations(self, service: int) -> Destinations:
        """Of the service with this number; none when it is not there."""
        key = ServiceKey(4, socket.IPPROTO_TCP, pack_address(address(10, service)), PORT)

        async def ask() -> Destinations:
            table = NetlinkTable(self._table.dup())
            try:
                return (await table.destinations([key]))[key]
            except OSError:  # no such service, or no IPVS yet
                return {}
            finally:
                table.close()

        return asyncio.run(ask())

    def count(self) -> int:
        """Destinations in all."""

        async def ask() -> int:
            table = NetlinkTable(self._table.dup())
            found = await table.dump()
            table.close()
            return sum(len(entry.destinations) for entry in found.values())

        return asyncio.run(ask())


class Changes:
    """Requests of anybody in the namespace to change its IPVS table, counted by a netlink monitor
    (nlmon). Use as a context manager."""

    def __init__(self, namespace: Namespace) -> None:
        self._family = namespace.call(self._number)
        namespace.run("ip", "link", "add", "nlmon0", "type", "nlmon")
        namespace.run("ip", "link", "set", "nlmon0", "up")
        self._socket = namespace.call(self._open)

    @staticmethod
    def _number() -> int:
        """The kernel's number of the family IPVS."""
        with open_socket() as sock:
            sock.send(family_request(1))
            return decode_family(next(iter(bodies(sock.recv(BUFFER), 1))))

    @staticmethod
    def _open() -> socket.socket:
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM)
        enlarge_receive_buffer(sock, 64 << 20)
        sock.bind(("nlmon0", ETH_P_ALL))
        sock.setblocking(False)
        return sock

    def __enter__(self) -> Changes:
        return self

    def __exit__(self, *exc: object) -> None:
        self._socket.close()

    def count(self) -> int:
        """Of services and destinations, since the last call."""
        found = 0
        with contextlib.suppress(BlockingIOError):
            while True:
                data, place = self._socket.recvfrom(BUFFER)
                if place[1] == NETLINK_GENERIC:
                    found += sum(self._changes(data))
        return found

    def _changes(self, data: bytes) -> Iterator[bool]:
        at = 0
        while at + MESSAGE.size < len(data):
            size, kind, flags, _, _ = MESSAGE.unpack_from(data, at)
            if size < MESSAGE.size:
                return
            ours = kind == self._family and flags & NLM_F_REQUEST
            yield bool(ours and data[at + MESSAGE.size] in CHANGES)
            at += size + 3 & ~3


def checks(world: World, parameters: dict[str, Any]) -> dict[str, Any]:
    """CPU per check, once every server has been checked and all go on."""
    servers, delay_s = parameters["servers"], parameters["delay_loop_s"]
    services = -(-servers // PER_SERVICE)
    check = CHECKERS[parameters["checker"]]
    world.config.write_text(render(services, servers, delay_loop_s=delay_s, check=check))
    world.start()
    world.wait_for(lambda: world.opened() >= servers, "a check of every server", 0.2)
    time.sleep(SETTLE_S)
    opened, before, begin = world.opened(), world.usage(), time.monotonic()
    time.sleep(parameters["window_s"])
    after, opened, end = world.usage(), world.opened() - opened, time.monotonic()
    serving = world.count()
    if serving != servers:
        raise RuntimeError(f"{serving} of {servers} servers serve\n{world.log()[-2000:]}")
    cpu_us = (after - before).cpu_ns / 1e3
    seconds = end - begin
    return {
        "cpu_us_each": cpu_us / max(opened, 1),
        "cpu_us_per_s": cpu_us / seconds,
        "rate": opened / seconds,
        "rate_share": opened / seconds * delay_s / servers,
        "wakeups_per_s": (after - before).voluntary / seconds,
        **sizes(world),
    }


def sizes(world: World) -> dict[str, int]:
    size = world.memory()
    return {"pss_kb": size.pss, "private_kb": size.private}


def table(world: World, parameters: dict[str, Any]) -> dict[str, Any]:
    """Start, a reload with one weight changed, and quiet."""
    services, servers = parameters["services"], parameters["servers"]

    def write(weights: dict[int, int]) -> None:
        delay_s = parameters["delay_loop_s"]
        world.config.write_text(render(services, servers, delay_loop_s=delay_s, weights=weights))

    write({})
    argv = in_directory(world.contender.check, world.config, world.directory)
    check_s, _ = timed(argv, world.directory / "check.log", world.namespace)
    last = servers - first_server(services - 1, services, servers)
    begin = world.start()
    full = world.wait_for(lambda: len(world.destinations(services - 1)) >= last, "the last server")
    used = world.usage()
    world.wait_for(lambda: world.count() == servers, "every server")
    time.sleep(SETTLE_S)
    values = {
        "check_s": check_s,
        "start_s": full - begin,
        "start_after_reading_s": full - begin - check_s,
        "start_cpu_s": used.ticks_s,
        **sizes(world),
    }
    try:
        values |= changed(world, services, servers, write, check_s)
    except Late:  # its figures are missing; it has no idle moment either
        return values
    return values | idle(world, parameters["idle_s"])


def changed(
    world: World,
    services: int,
    servers: int,
    write: Callable[[dict[int, int]], None],
    check_s: float,
) -> dict[str, Any]:
    """A reload with one weight changed, in a service in the middle."""
    service = services // 2
    write({first_server(service, services, servers): CHANGED_WEIGHT})

    def there() -> bool:
        weights = [one.weight for one in world.destinations(service).values()]
        return CHANGED_WEIGHT in weights

    with Changes(world.namespace) as changes:
        before = world.usage()
        begin = world.reload()
        seen = world.wait_for(there, "the new weight", limit_s=RELOAD_LIMIT_S)
        said = world.wait_for(lambda: world.contender.reloaded in world.log(), "the end of it")
        time.sleep(SETTLE_S)
        spent = world.usage() - before
        operations = changes.count()
    took = re.search(world.contender.applied, world.log()) if world.contender.applied else None
    return {
        "reload_s": seen - begin,
        **({"reload_apply_s": float(took[1])} if took is not None else {}),
        "reload_after_reading_s": seen - begin - check_s,
        "reload_said_s": said - begin,
        "reload_cpu_s": spent.ticks_s,
        "operations": operations,
    }


def idle(world: World, seconds: float) -> dict[str, Any]:
    """With checks as rare as they are."""
    opened, before = world.opened(), world.usage()
    time.sleep(seconds)
    spent, opened = world.usage() - before, world.opened() - opened
    return {
        "idle_us_per_s": spent.cpu_ns / 1e3 / seconds,
        "idle_wakeups_per_s": spent.voluntary / seconds,
        "idle_checks_per_s": opened / seconds,
    }


KINDS = {"ipvs-checks": checks, "ipvs-table": table}


def main() -> int:
    directory = Path(sys.argv[1])
    task = json.loads((directory / "task.json").read_text())
    if ACCOUNTING.exists():
        ACCOUNTING.write_text("1")
    with ExitStack() as stack:
        values = KINDS[task["kind"]](World(stack, task, directory), task["parameters"])
    (directory / RESULT).write_text(json.dumps(values))
    return 0


if __name__ == "__main__":
    sys.exit(main())
