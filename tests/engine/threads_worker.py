"""A router made of several engine threads, for their tests: run inside a namespace.

`python threads_worker.py '{"interfaces": ["eth0", "eth1"], ...}'`: link N is the Nth interface and
begins in engine N. Events and commands as in engine_worker.py.
"""

from __future__ import annotations

import ipaddress
import json
import os
import select
import socket
import sys
import time
from pathlib import Path

from engine_worker import GROUP, hog, instance

from fastvrrp import _core

ENGINES = 2


class Router:
    """Engines, and which of them has which link."""

    def __init__(self, what: dict) -> None:
        self.what = what
        self.count = what.get("count", 1)  # instances of a link
        priority = what.get("rt_priority", 0)
        self.engines = [
            _core.Engine(instances=512, links=8, groups=8, rt_priority=priority)
            for _ in range(ENGINES)
        ]
        self.owner = [link % ENGINES for link in range(len(what["interfaces"]))]
        if "group" in what:
            self.owner = [0 for _ in self.owner]
        for engine in self.engines:
            engine.start()
        packet = bool(what.get("packet"))
        for link, name in enumerate(what["interfaces"]):
            ifindex = socket.if_nametoindex(name)
            engine = self.engines[self.owner[link]]
            engine.link(
                link,
                ifindex=ifindex,
                mcast4=[GROUP],
                garp_interval_ns=what.get("garp_interval_ns", 0),
                families=0 if packet else 1,
                packet=1 if packet else 0,
            )
            mac = bytes.fromhex(what["macs"][link].replace(":", ""))
            # instance() counts addresses by slot
            vip = ipaddress.IPv4Address(what["vips"][link]) - self.slots(link)[0]
            here = {"link": link, "vip": str(vip), "source": what["sources"][link]}
            made = [instance(slot, what | here, ifindex, mac) for slot in self.slots(link)]
            engine.commit(made, epoch=1)

    def slots(self, link: int) -> list[int]:
        return list(range(link * self.count, (link + 1) * self.count))

    def move(self, links: list[int], receiver: int, limit_ms: int = 3000) -> bool:
        giver = self.owner[links[0]]
        done = self.engines[giver].hand_over(
            self.engines[receiver],
            links=links,
            instances=[slot for link in links for slot in self.slots(link)],
            limit_ms=limit_ms,
        )
        if done:
            for link in links:
                self.owner[link] = receiver
        return done

    def of(self, slot: int) -> _core.Engine:
        return self.engines[self.owner[slot // self.count]]

    def obey(self, command: str, argument: str) -> object:
        """The answer; None: there is none."""
        if command == "hog":
            hog(float(argument))
            return None
        if command == "move":  # LINK,LINK ENGINE [MS]
            links, receiver, *limit = argument.split()
            return self.move(
                [int(link) for link in links.split(",")], int(receiver), *map(int, limit)
            )
        if command == "dance":  # how often link 0 goes to and fro, with a pause of ms
            times, pause = map(int, argument.split())
            begin, waited = time.monotonic(), 0.0
            for _ in range(times):
                if not self.move([0], (self.owner[0] + 1) % ENGINES):
                    return "refused"
                time.sleep(pause / 1000)
                waited += pause / 1000
            return time.monotonic() - begin - waited
        if command == "status":
            status = self.of(int(argument)).status(int(argument))
            return status.counters | {"state": status.state}
        if command == "held":  # engines in which a slot is
            found = []
            for number, engine in enumerate(self.engines):
                try:
                    engine.status(int(argument))
                except KeyError:
                    continue
                found.append(number)
            return found
        if command == "fault":
            self.of(int(argument)).fault(int(argument), set=_core.FAULT_SCRIPT)
            return None
        if command == "clear":
            self.of(int(argument)).fault(int(argument), clear=_core.FAULT_SCRIPT)
            return None
        if command == "memory":
            status = Path("/proc/self/status").read_text()
            resident = next(x for x in status.splitlines() if x.startswith("VmRSS"))
            return int(resident.split()[1])
        if command == "counters":
            return [engine.counters() for engine in self.engines]
        raise SystemExit(f"unknown command {command}")

    def stop(self) -> None:
        for engine in self.engines:
            engine.stop_instances()
        waiting = set(self.engines)
        deadline = time.monotonic() + 5
        while waiting and time.monotonic() < deadline:
            select.select([engine.fileno() for engine in waiting], [], [], 0.1)
            for engine in list(waiting):
                if any(e.kind == _core.EV_STOPPED for e in engine.events()):
                    waiting.discard(engine)
        for engine in self.engines:
            engine.stop()
        if waiting or not all(engine.join(5) for engine in self.engines):
            raise SystemExit("the engine threads do not end")


def main() -> None:
    router = Router(json.loads(sys.argv[1]))
    poll = select.poll()
    poll.register(sys.stdin, select.POLLIN)
    by_fd = {engine.fileno(): engine for engine in router.engines}
    for fd in by_fd:
        poll.register(fd, select.POLLIN)
    pending = ""
    while True:
        for fd, _ in poll.poll():
            if fd in by_fd:
                for event in by_fd[fd].events():
                    line = event._asdict() | {"address": event.address.hex()}
                    print(json.dumps(line), flush=True)
                continue
            pending += os.read(sys.stdin.fileno(), 4096).decode() or "stop\n"
            *lines, pending = pending.split("\n")
            for line in lines:
                command, _, argument = line.partition(" ")
                if command == "stop":
                    router.stop()
                    return
                answer = router.obey(command, argument)
                if answer is not None:
                    print(json.dumps({command: answer}), flush=True)


if __name__ == "__main__":
    main()
