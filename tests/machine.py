"""What the machine itself did meanwhile, so that tests of milliseconds judge the daemons alone.

Some things delay every process of a machine and are no process's fault. A CPU stands still: the
hypervisor gives it to somebody else, or the kernel is in a section that it does not leave. An
ordinary process also waits for its turn, and one that changes an address for the kernel's one RTNL
lock, which is held for long while any namespace is torn down. Two witnesses notice: one of the
highest real-time priority naps on every CPU, an ordinary one naps and takes the lock. They note
whenever they came late. What they have not noted is the daemons' own.

This file is both: the program of the witnesses, and the class for tests.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
import struct
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastvrrp.lab.sniffer import Frame

MS = 1_000_000

# How late a daemon may be beyond what the protocol says and what the machine took. In some 60
# takeovers of fastvrrp and keepalived, beside other tests at a load of 3 to 15, it was 0.3 ms as a
# rule and 8 ms at most.
ALLOWANCE_NS = 25 * MS
# Of two routers at work, seen by an ordinary process: a client that pings every 20 ms at least.
OUTAGE_NS = 20 * MS + 2 * ALLOWANCE_NS
BEAT_NS = 100 * MS + ALLOWANCE_NS  # the longest gap at the interval that most tests have

NAP_NS = 2 * MS
NOTICE_NS = MS  # less is not worth a note
PRIORITY = 99  # above any daemon's

RTM_SETLINK, IFLA_TXQLEN = 19, 13  # linux/rtnetlink.h, linux/if_link.h
NLM_F_REQUEST_ACK = 0x5  # linux/netlink.h
LO = 1

Span = tuple[int, int]  # from when to when, CLOCK_REALTIME


def now_ns() -> int:
    """CLOCK_REALTIME, which all observers' stamps are in."""
    return time.clock_gettime_ns(time.CLOCK_REALTIME)


class _Witness:
    """A witness's process and what it has noted so far."""

    def __init__(self, kind: str) -> None:
        # A namespace of its own: the lock is the same, the links are nobody's.
        argv = ["unshare", "--net", sys.executable, "-I", __file__, kind]
        self._process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._spans: list[Span] = []
        self._known_until_ns = 0

    def spans(self, begin_ns: int, end_ns: int) -> list[Span]:
        """The notes that concern a span of time."""
        if end_ns > self._known_until_ns:
            self._ask()
        return [s for s in self._spans if s[1] > begin_ns and s[0] < end_ns]

    def _ask(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        asked_ns = now_ns()
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        for line in self._process.stdout:
            if line == "\n":
                self._known_until_ns = asked_ns
                return
            begin, end = map(int, line.split())
            self._spans.append((begin, end))
        raise RuntimeError("the witness has ended")

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


class Machine:
    """The witnesses beside the tests. Use as a context manager.

    `ordinary` says whom a question is about: an ordinary process that changes addresses
    (keepalived, the observers, anything after an address was asked for), or else a real-time thread
    that never waits for the lock (fastvrrp's engine).
    """

    def __init__(self, *, watched: bool = True) -> None:
        """Without witnesses (`watched`) every question raises RuntimeError."""
        self._witnesses = {kind: _Witness(kind) for kind in KINDS} if watched else {}

    def _spans(self, kind: str, begin_ns: int, end_ns: int) -> list[Span]:
        if not self._witnesses:
            raise RuntimeError("nobody watches the machine: mark the test `timing`")
        return self._witnesses[kind].spans(begin_ns, end_ns)

    def lost_ns(self, begin_ns: int, end_ns: int, *, ordinary: bool = False) -> int:
        """How much of a span of time the machine took. What happens at once is not counted
        twice."""
        noted = self._spans("cpus", begin_ns, end_ns)
        if ordinary:
            noted += self._spans("ordinary", begin_ns, end_ns)
        lost, reached = 0, begin_ns
        for begin, end in sorted(noted):
            begin, end = max(begin, reached), min(end, end_ns)
            if begin < end:
                lost += end - begin
                reached = end
        return lost

    def own_ns(self, begin_ns: int, end_ns: int, *, ordinary: bool = False) -> int:
        """The rest of it: how long those that were watched took."""
        return end_ns - begin_ns - self.lost_ns(begin_ns, end_ns, ordinary=ordinary)

    def longest_ns(self, spans: Iterable[Span], *, ordinary: bool = False) -> int:
        """The own time of the span with the most of it; 0 if there are none."""
        longest = 0
        for begin, end in sorted(spans, key=lambda span: span[0] - span[1]):
            if end - begin <= longest:
                break
            longest = max(longest, self.own_ns(begin, end, ordinary=ordinary))
        return longest

    def gap_ns(self, adverts: Iterable[Frame], *, ordinary: bool = False) -> int:
        """The longest own time between a frame and the next. Two at least have to be there."""
        times = [frame.time_ns for frame in adverts]
        assert len(times) > 1, "too few frames for a gap"
        return self.longest_ns(itertools.pairwise(times), ordinary=ordinary)

    def stalls(self, begin_ns: int, end_ns: int) -> list[int]:
        """How long a CPU stood still, each time."""
        return [end - begin for begin, end in self._spans("cpus", begin_ns, end_ns)]

    def close(self) -> None:
        for witness in self._witnesses.values():
            witness.close()

    def __enter__(self) -> Machine:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class _Notes:
    """Of the program: threads that nap and act again and again, and when they were late."""

    def __init__(self) -> None:
        self._late: deque[Span] = deque()
        self._turn_ns: dict[str, int] = {}  # thread -> when its last finished turn began
        self._threads: list[threading.Thread] = []

    def watch(self, prepare: Callable[[], object], act: Callable[[], object]) -> None:
        """Add a thread that naps and acts."""

        def work() -> None:
            prepare()
            while True:
                begin = now_ns()
                time.sleep(NAP_NS / 1e9)
                act()
                end = now_ns()
                if end - begin - NAP_NS > NOTICE_NS:
                    self._late.append((begin + NAP_NS, end))
                self._turn_ns[threading.current_thread().name] = begin

        self._threads.append(threading.Thread(target=work, daemon=True))
        self._threads[-1].start()

    def answer(self) -> None:
        """Answer each line on standard input with the notes up to that moment and an empty line."""
        while sys.stdin.readline():
            asked = now_ns()
            while len(self._turn_ns) < len(self._threads) or min(self._turn_ns.values()) < asked:
                assert all(thread.is_alive() for thread in self._threads)
                time.sleep(NAP_NS / 1e9)
            while self._late:
                print(*self._late.popleft())
            print(flush=True)


def watch_cpus(notes: _Notes) -> None:
    for cpu in sorted(os.sched_getaffinity(0)):

        def prepare(cpu: int = cpu) -> None:
            os.sched_setaffinity(0, {cpu})
            # Without the permission the notes are those of an ordinary process: longer, not wrong.
            with contextlib.suppress(PermissionError):
                os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(PRIORITY))

        notes.watch(prepare, lambda: None)


def watch_lock(notes: _Notes) -> None:
    """Sets what is set already: the lock is taken, nothing changes, nobody is told."""
    link = struct.pack("=BxHiII", socket.AF_UNSPEC, 0, LO, 0, 0)
    body = link + struct.pack("=HHI", 8, IFLA_TXQLEN, 1000)
    request = struct.pack("=IHHII", 16 + len(body), RTM_SETLINK, NLM_F_REQUEST_ACK, 0, 0) + body
    route = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)

    def take() -> None:
        route.send(request)
        code = struct.unpack_from("=i", route.recv(4096), 16)[0]
        assert code == 0, os.strerror(-code)

    notes.watch(lambda: None, take)


KINDS = {"cpus": watch_cpus, "ordinary": watch_lock}

if __name__ == "__main__":
    notes = _Notes()
    KINDS[sys.argv[1]](notes)
    notes.answer()
