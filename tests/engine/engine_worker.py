"""A router made of nothing but the engine, for the engine's tests: run inside a namespace.

`python engine_worker.py '{"interface": "eth0", ...}'`; prints one JSON line per event, and obeys
one-word commands on standard input. Whatever Python does here (hog, events ignored) must not be
seen on the wire.
"""

from __future__ import annotations

import gc
import itertools
import json
import os
import select
import socket
import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path

from fastvrrp import _core

NOWHERE = socket.inet_aton("192.0.2.99")
GROUP = socket.inet_aton("224.0.0.18")
RTM_NEWADDR, RTM_DELADDR = 20, 21  # linux/rtnetlink.h
REQUEST_ACK, CREATE_REPLACE = 0x5, 0x500  # linux/netlink.h


def address_request(kind: int, flags: int, address: bytes, ifindex: int) -> bytes:
    """An IPv4 /32 address request."""
    body = struct.pack("=BBBBi", socket.AF_INET, 32, 0, 0, ifindex)
    for attribute in (1, 2):  # IFA_ADDRESS, IFA_LOCAL
        body += struct.pack("=HH", 8, attribute) + address
    return struct.pack("=IHHII", 16 + len(body), kind, REQUEST_ACK | flags, 0, 0) + body


def instance(
    slot: int, what: dict, ifindex: int, mac: bytes, *, more: str = "", new: bool = False
) -> _core.Instance:
    """`more`: another address; `new`: it is one against the configuration before."""
    vip = socket.inet_aton(what["vip"])
    vip = (int.from_bytes(vip, "big") + slot).to_bytes(4, "big")
    vips = [vip, socket.inet_aton(more)] if more else [vip]
    target = what.get("vip_ifindex", ifindex)
    adding = [
        (address_request(RTM_NEWADDR, CREATE_REPLACE, v, target), _core.OK_EXIST) for v in vips
    ]
    # requests that change nothing and take time; slot 1 has them and waits for its moment
    noise = [(address_request(RTM_DELADDR, 0, NOWHERE, ifindex), _core.OK_GONE)]
    noise *= what.get("busy", 0) if slot == 1 else 0
    framed = _core.F_PACKET if what.get("packet") else 0
    return _core.Instance(
        slot=slot,
        vrid=what["vrid"] + slot,
        family=4,
        version=3,
        priority=what["priority"],
        advert_int_ns=what["advert_int_ms"] * 1_000_000,
        flags=what.get("flags", 0) | framed,
        link=what.get("link", 0),
        group=what.get("group", -1),
        source=socket.inet_aton(what["source"]),
        destination=GROUP,
        addresses=vips,
        garp_master_repeat=what.get("repeat", 5),
        garp_master_delay_ns=what.get("garp_delay_ns", 0),
        up=_core.pack_program([*noise, *adding]),
        down=_core.pack_program(
            [(address_request(RTM_DELADDR, 0, v, ifindex), _core.OK_GONE) for v in vips]
        ),
        fault=_core.FAULT_SCRIPT if noise else 0,
        announce=b"".join(
            _core.build_announcement(
                family=4, address=v, ifindex=ifindex, mac=mac, request=k, new=new and k > 0
            )
            for k, v in enumerate(vips)
        ),
        mac=mac if framed else b"",
    )


def hog(seconds: float) -> None:
    """Keep the GIL: each call is one C loop of tens of milliseconds without a bytecode boundary."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        sum(itertools.repeat(1, 20_000_000))


def collect(objects: int) -> None:
    """So many objects that only the collector can free: it holds the GIL for seconds."""
    gc.disable()
    kept: list[list[object]] = [[None] for _ in range(objects)]
    for one in kept:
        one[0] = one
    del one, kept
    print(json.dumps({"collected": gc.collect()}), flush=True)
    gc.enable()


def main() -> None:
    what = json.loads(sys.argv[1])
    ifindex = socket.if_nametoindex(what["interface"])
    mac = bytes.fromhex(what["mac"].replace(":", ""))
    engine = _core.Engine(instances=512, links=8, groups=8, rt_priority=what.get("rt_priority", 0))
    engine.start()
    engine.link(
        0,
        ifindex=ifindex,
        mcast4=[GROUP],
        garp_interval_ns=what.get("garp_interval_ns", 0),
        families=0 if what.get("packet") else 1,
        packet=1 if what.get("packet") else 0,
    )
    count = what.get("count", 1)

    def make(vip: str = what["vip"]) -> list[_core.Instance]:
        return [instance(k, what | {"vip": vip}, ifindex, mac) for k in range(count)]

    engine.commit(make(), epoch=1)
    poll = select.poll()
    poll.register(engine.fileno(), select.POLLIN)
    poll.register(sys.stdin, select.POLLIN)
    pending = ""
    while True:
        for fd, _ in poll.poll():
            if fd == engine.fileno():
                for event in engine.events():
                    line = event._asdict() | {"address": event.address.hex()}
                    print(json.dumps(line), flush=True)
                continue
            pending += os.read(sys.stdin.fileno(), 4096).decode() or "stop\n"
            *lines, pending = pending.split("\n")
            for line in lines:
                command, _, argument = line.partition(" ")
                if command == "stop":
                    stop(engine)
                    return
                if command in ("add", "keep"):  # an address, or what was added before
                    new = command == "add"
                    changed = instance(0, what, ifindex, mac, more=argument, new=new)
                    engine.commit([changed], epoch=2)
                    continue
                obey(engine, command, argument, make)


def obey(
    engine: _core.Engine, command: str, argument: str, make: Callable[..., list[_core.Instance]]
) -> None:
    if command == "hog":
        hog(float(argument))
    elif command == "collect":
        collect(int(argument))
    elif command == "swap":
        # out of MASTER and back with another address, while the applier is busy with slot 1
        changed = make(argument)[:1]
        engine.fault(1, clear=_core.FAULT_SCRIPT)
        engine.fault(0, set=_core.FAULT_SCRIPT)
        engine.commit(changed, epoch=2)
        engine.fault(0, clear=_core.FAULT_SCRIPT)
    elif command == "replay":
        engine.replay(int(argument))
    elif command == "recommit":
        # the same configuration again and again: blocks must come back and be freed
        for epoch in range(int(argument)):
            engine.commit(make(), epoch=2 + epoch)
            while not any(e.kind == _core.EV_COMMITTED for e in engine.events()):
                select.select([engine.fileno()], [], [], 1)
    elif command == "refilter":
        # a VRID comes and goes while adverts arrive
        for extra in range(int(argument)):
            vrids = bytes((51, 52 + extra % 2))
            engine.accept(0, vrids4=vrids, any_ttl=0)
        print(json.dumps({"refiltered": int(argument)}), flush=True)
    elif command == "accept":
        engine.accept(0, vrids4=bytes.fromhex(argument), any_ttl=0)
        print(json.dumps({"accepted": argument}), flush=True)
    elif command == "status":
        print(json.dumps({"status": engine.status(int(argument)).counters}), flush=True)
    elif command == "armed":
        # since when the timers of so many backups run, CLOCK_REALTIME
        ahead = time.clock_gettime_ns(time.CLOCK_REALTIME) - time.monotonic_ns()
        taken = [engine.status(slot) for slot in range(int(argument))]
        armed = [s.next_due_ns - s.master_down_interval_ns + ahead for s in taken]
        print(json.dumps({"armed": armed}), flush=True)
    elif command == "memory":
        status = Path("/proc/self/status").read_text()
        resident = next(x for x in status.splitlines() if x.startswith("VmRSS"))
        print(json.dumps({"memory_kb": int(resident.split()[1])}), flush=True)
    elif command == "counters":
        print(json.dumps({"counters": engine.counters()}), flush=True)


def stop(engine: _core.Engine) -> None:
    engine.stop_instances()
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        select.select([engine.fileno()], [], [], 0.1)
        if any(e.kind == _core.EV_STOPPED for e in engine.events()):
            break
    engine.stop()
    if not engine.join(5):
        raise SystemExit("the engine threads do not end")


if __name__ == "__main__":
    main()
