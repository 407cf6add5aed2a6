"""The prober of TCP_CHECKs: a thread without Python. Judged by what servers see and it tells."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import itertools
import json
import os
import random
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest
from probing import free_port

from fastvrrp import _core
from fastvrrp._core import ProbeEvent, Prober
from fastvrrp.config.base import NS_PER_S
from fastvrrp.lab.namespace import Namespace

MS = 1_000_000
LOOPBACK = socket.inet_aton("127.0.0.1")
ELSEWHERE = socket.inet_aton("198.51.100.1")  # of nobody (RFC 5737)
FIRST_S = _core.CHECK_START_NS / NS_PER_S
UP, DOWN = _core.CHECK_UP, _core.CHECK_DOWN


class Watched:
    """A running prober, what it told, and servers that are closed with it."""

    def __init__(self, **more: int) -> None:
        self.prober = Prober(**more)
        self.told: list[ProbeEvent] = []
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Watched:
        self.prober.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.prober.stop()
        assert self.prober.join(5)
        self._stack.close()

    def add(self, port: int, address: bytes = LOOPBACK, **more: object) -> int:
        what: dict[str, object] = {
            "timeout_ns": 300 * MS,
            "delay_loop_ns": 50 * MS,
            "delay_before_retry_ns": 20 * MS,
            "warmup_ns": 0,
            "retry": 1,
            "random": random.getrandbits(32),
        }
        return self.prober.add(address, port, **(what | more))  # type: ignore[arg-type]

    def server(self, address: str = "127.0.0.1", backlog: int = 128) -> socket.socket:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        sock = self._stack.enter_context(socket.socket(family))
        sock.bind((address, 0))
        sock.listen(backlog)
        return sock

    def dead_end(self) -> int:
        """A port that does not answer: the queue of its listener is full."""
        sock = self.server(backlog=0)
        for _ in range(4):
            client = self._stack.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(sock.getsockname())
        return int(sock.getsockname()[1])

    def hear(self, limit_s: float = 5.0) -> list[ProbeEvent]:
        """What is told next."""
        assert select.select([self.prober], [], [], limit_s)[0], "nothing was told"
        news = self.prober.events()
        self.told += news
        return news

    def until(self, condition: Callable[[], object], limit_s: float = 10.0) -> None:
        deadline = time.monotonic() + limit_s
        while not condition():
            assert time.monotonic() < deadline, "waited too long"
            time.sleep(0.005)
            self.told += self.prober.events()

    def attempts(self, handle: int) -> int:
        return self.prober.status(handle).attempts


@pytest.fixture
def watched() -> Iterator[Watched]:
    with Watched() as one:
        yield one


def port_of(sock: socket.socket) -> int:
    return int(sock.getsockname()[1])


# ---------------------------------------------------------------------- what a check says


def test_a_listener_is_up_and_a_closed_port_down(watched: Watched) -> None:
    good = watched.add(port_of(watched.server()))
    bad = watched.add(free_port())
    watched.until(lambda: len(watched.told) == 2)
    told = {event.handle: event for event in watched.told}
    assert (told[good].change, told[good].verdict, told[good].error) == (UP, _core.VERDICT_UP, 0)
    assert (told[bad].change, told[bad].verdict) == (DOWN, _core.VERDICT_DOWN)
    assert told[bad].error == errno.ECONNREFUSED
    for event in watched.told:
        assert event.first
        assert event.up is (event.handle == good)
        assert 0 < event.latency_ns < 300 * MS
    # it goes on, and says nothing while nothing changes
    watched.until(lambda: watched.attempts(good) > 5 and watched.attempts(bad) > 5)
    assert len(watched.told) == 2
    assert watched.prober.status(good).state == UP
    assert watched.prober.status(bad).state == DOWN


def test_the_first_attempt_is_a_second_after_the_start(watched: Watched) -> None:
    began = time.monotonic_ns()
    handle = watched.add(port_of(watched.server()))
    due_ns = watched.prober.status(handle).due_ns
    (event,) = watched.hear()
    assert event.at_ns - event.latency_ns >= began + _core.CHECK_START_NS
    assert due_ns == _core.NEVER or due_ns >= began + _core.CHECK_START_NS


def test_a_server_that_dies_fails_after_its_retries_and_comes_back(watched: Watched) -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        port = port_of(sock)
        handle = watched.add(port, retry=2, tell_failures=True)
        watched.until(lambda: watched.told)
    watched.until(lambda: any(event.change == DOWN for event in watched.told))
    failed = [event for event in watched.told if event.verdict == _core.VERDICT_DOWN]
    assert [(e.change, e.up, e.failures) for e in failed] == [
        (0, True, 0),
        (0, True, 1),
        (DOWN, False, 2),
    ]
    assert not failed[0].first
    # each retry was delay_before_retry after the failure before
    for one, other in itertools.pairwise(failed):
        assert other.at_ns - one.at_ns >= 20 * MS
    watched.until(lambda: watched.attempts(handle) > failed[-1].failures + 6)
    assert sum(event.change == DOWN for event in watched.told) == 1
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("127.0.0.1", port))
        sock.listen()
        watched.until(lambda: watched.told[-1].change == UP)
    assert watched.told[-1].up


def test_results_that_change_nothing_wake_nobody(watched: Watched) -> None:
    """Neither of servers that stay up nor of those that stay down: Python sleeps meanwhile."""
    up = port_of(watched.server(backlog=1000))
    for port in (*[up] * 10, *[free_port()] * 10):
        watched.add(port, delay_loop_ns=10 * MS)
    watched.until(lambda: len(watched.told) == 20)
    attempts = watched.prober.counters()["attempts"]
    ring = select.poll()
    ring.register(watched.prober.fileno(), select.POLLIN)
    while watched.prober.counters()["attempts"] < attempts + 400:
        assert ring.poll(20) == []
    assert watched.prober.events() == []


def test_no_answer_is_a_failure_when_the_timeout_is_over(watched: Watched) -> None:
    handle = watched.add(watched.dead_end(), timeout_ns=200 * MS)
    (event,) = watched.hear()
    assert (event.handle, event.change, event.error) == (handle, DOWN, errno.ETIMEDOUT)
    assert 200 * MS <= event.latency_ns < 2000 * MS
    assert watched.prober.counters()["timeouts"] == 1


def test_ipv6(watched: Watched) -> None:
    watched.add(port_of(watched.server("::1")), socket.inet_pton(socket.AF_INET6, "::1"))
    (event,) = watched.hear()
    assert event.change == UP


@pytest.mark.parametrize(
    ("more", "error"),
    [
        ({"bind_address": ELSEWHERE}, errno.EADDRNOTAVAIL),
        ({"bind_if": b"nosuch0"}, errno.ENODEV),
    ],
)
def test_what_this_host_cannot_do_says_nothing_of_the_server(
    watched: Watched, more: dict[str, object], error: int
) -> None:
    handle = watched.add(port_of(watched.server()), **more)
    (event,) = watched.hear()
    assert (event.verdict, event.change, event.error) == (_core.VERDICT_LOCAL, 0, error)
    watched.until(lambda: watched.attempts(handle) > 3)
    assert len(watched.told) == 1, "told once, not every time"
    assert watched.prober.status(handle).state == _core.CHECK_UNKNOWN
    assert watched.prober.counters()["local"] > 3


# ---------------------------------------------------------------------- what a server sees


def test_a_server_sees_a_connection_that_is_closed_at_once(watched: Watched) -> None:
    server = watched.server()
    watched.add(port_of(server))
    server.settimeout(5)
    for _ in range(3):
        connected, _ = server.accept()
        with connected:
            connected.settimeout(5)
            assert connected.recv(100) == b"", "an end, not a reset, and not a byte before it"


def test_a_source_address_and_port(watched: Watched) -> None:
    server = watched.server()
    server.settimeout(5)
    port = free_port()
    watched.add(
        port_of(server), bind_address=socket.inet_aton("127.0.0.9"), bind_port=port, bind_if=b"lo"
    )
    for _ in range(5):  # every delay_loop: no TIME_WAIT keeps the port from the next attempt
        connected, peer = server.accept()
        connected.close()
        assert peer == ("127.0.0.9", port)
    assert watched.prober.counters()["local"] == 0


def test_a_source_port_alone(watched: Watched) -> None:
    server = watched.server("::1")
    server.settimeout(5)
    port = free_port()
    watched.add(port_of(server), socket.inet_pton(socket.AF_INET6, "::1"), bind_port=port)
    connected, peer = server.accept()
    connected.close()
    assert peer[:2] == ("::1", port)


@pytest.mark.netns
def test_it_probes_from_the_namespace_it_was_started_in() -> None:
    with Namespace("prober") as ns, contextlib.ExitStack() as stack:
        server = ns.call(socket.create_server, ("127.0.0.1", 0))
        stack.enter_context(server)
        watched = Watched()
        ns.call(watched.__enter__)
        stack.push(watched)
        plain = watched.add(port_of(server))
        ns.run("ip", "rule", "add", "fwmark", "7", "prohibit")
        ns.run("ip", "rule", "del", "pref", "0")
        ns.run("ip", "rule", "add", "pref", "40000", "table", "local")
        marked = watched.add(port_of(server), fwmark=7)
        watched.until(lambda: len(watched.told) == 2)
        told = {event.handle: event for event in watched.told}
        assert told[plain].change == UP
        assert (told[marked].verdict, told[marked].error) == (_core.VERDICT_LOCAL, errno.EACCES)


# ---------------------------------------------------------------------- handles


def test_a_removed_check_ends(watched: Watched) -> None:
    server = watched.server()
    handle = watched.add(port_of(server))
    watched.hear()
    watched.prober.remove(handle)
    with pytest.raises(KeyError):
        watched.prober.status(handle)
    with pytest.raises(KeyError):
        watched.prober.remove(handle)
    watched.until(lambda: watched.prober.counters()["open"] == 0)
    time.sleep(0.05)
    before = watched.prober.counters()["attempts"]
    time.sleep(0.2)
    assert watched.prober.counters()["attempts"] == before


def test_a_place_is_used_again_and_its_old_handle_is_not(watched: Watched) -> None:
    port = free_port()
    old = watched.add(port)
    watched.prober.remove(old)
    seen = {old}

    def place_again() -> bool:
        handle = watched.add(port)
        assert handle not in seen
        seen.add(handle)
        return handle & 0xFFFFFFFF == old & 0xFFFFFFFF

    watched.until(place_again)
    with pytest.raises(KeyError):
        watched.prober.suspend(old)


def test_removal_drops_an_attempt_under_way(watched: Watched) -> None:
    handle = watched.add(watched.dead_end(), timeout_ns=60 * NS_PER_S)
    watched.until(lambda: watched.prober.counters()["open"] == 1)
    watched.prober.remove(handle)
    watched.until(lambda: watched.prober.counters()["open"] == 0)
    assert watched.told == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"timeout_ns": -1},
        {"delay_loop_ns": 1 << 59},
        {"retry": -1},
        {"address": b"abc"},
        {"bind_address": bytes(16)},
        {"bind_if": b"a" * 16},
        {"port": 65536},
    ],
)
def test_values_out_of_range(watched: Watched, wrong: dict[str, object]) -> None:
    with pytest.raises((ValueError, OverflowError)):
        watched.add(**{"port": 1, **wrong})  # type: ignore[arg-type]
    assert watched.prober.counters()["waiting"] == 0


# ---------------------------------------------------------------------- suspension


def test_suspended_checks_do_nothing_and_keep_their_state(watched: Watched) -> None:
    server = watched.server()
    handle = watched.add(port_of(server))
    never = watched.add(port_of(server), suspended=True)
    watched.hear()
    watched.prober.suspend(handle)
    watched.until(lambda: watched.prober.status(handle).suspended)
    before = watched.attempts(handle)
    time.sleep(0.3)
    status = watched.prober.status(handle)
    assert (status.state, status.attempts, status.due_ns) == (UP, before, _core.NEVER)
    assert watched.attempts(never) == 0
    watched.prober.resume(handle, 0)
    watched.prober.resume(never, 0)
    watched.until(lambda: watched.attempts(handle) > before and len(watched.told) == 2)
    assert [event.handle for event in watched.told] == [handle, never]


def test_suspension_drops_an_attempt_under_way(watched: Watched) -> None:
    handle = watched.add(watched.dead_end(), timeout_ns=60 * NS_PER_S)
    watched.until(lambda: watched.prober.counters()["open"] == 1)
    watched.prober.suspend(handle)
    watched.until(lambda: watched.prober.counters()["open"] == 0)
    assert watched.attempts(handle) == 0


# ---------------------------------------------------------------------- bounds


def test_no_more_sockets_than_allowed_and_nobody_starves() -> None:
    with Watched(sockets=3) as watched:
        dead = [watched.add(watched.dead_end(), timeout_ns=100 * MS) for _ in range(8)]
        good = [watched.add(port_of(watched.server())) for _ in range(30)]
        most = 0

        def served() -> bool:
            nonlocal most
            counters = watched.prober.counters()
            most = max(most, counters["open"])
            assert counters["waiting"] <= len(dead) + len(good)
            return all(watched.attempts(handle) >= 2 for handle in dead + good)

        watched.until(served, 30)
        assert most == 3
        assert watched.prober.counters()["queued"] > 10
        for handle in dead + good:
            watched.prober.remove(handle)

        def idle() -> bool:  # between two attempts nothing is open, either
            counters = watched.prober.counters()
            return counters["open"] == counters["waiting"] == 0

        watched.until(idle)


EXHAUSTED = """
import json, resource, socket, sys, time
from fastvrrp._core import Prober
prober = Prober(sockets=1000)
resource.setrlimit(resource.RLIMIT_NOFILE, (20, 20))
prober.start()
handles = [
    prober.add(socket.inet_aton("127.0.0.1"), int(sys.argv[1]), timeout_ns=10**10,
               delay_loop_ns=10**8, delay_before_retry_ns=10**8, warmup_ns=0, retry=1, random=0)
    for _ in range(100)
]
deadline = time.monotonic() + 20
while time.monotonic() < deadline and not all(prober.status(h).attempts > 2 for h in handles):
    time.sleep(0.01)
print(json.dumps(prober.counters()))
prober.stop()
prober.join()
"""


def test_descriptors_that_run_out_make_checks_wait_not_fail() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=1000) as server:
        done = subprocess.run(
            [sys.executable, "-c", EXHAUSTED, str(port_of(server))],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
    counters = json.loads(done.stdout)
    assert counters["attempts"] >= 300
    assert counters["answers"] == counters["attempts"]
    assert counters["local"] == 0


def test_lost_events_are_announced_and_the_state_is_there() -> None:
    """More news than the ring holds, and nobody listens."""
    with Watched() as watched:
        port = free_port()
        handles = [watched.add(port, delay_loop_ns=3600 * NS_PER_S) for _ in range(66_000)]
        deadline = time.monotonic() + 60
        while watched.prober.counters()["attempts"] < len(handles):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert watched.prober.overflowed()
        assert not watched.prober.overflowed()
        assert watched.prober.counters()["events_lost"] == 66_000 - 65_536
        assert all(watched.prober.status(handle).state == DOWN for handle in handles)


# ---------------------------------------------------------------------- the thread


def test_it_works_while_python_stands_still(watched: Watched) -> None:
    handle = watched.add(port_of(watched.server()), delay_loop_ns=10 * MS)
    watched.hear()
    before = watched.attempts(handle)
    ctypes.PyDLL(None).usleep(500_000)  # keeps the GIL
    assert watched.attempts(handle) - before > 10


def test_it_ends_with_attempts_under_way() -> None:
    def one_life() -> None:
        with Watched() as watched:
            watched.add(watched.dead_end(), timeout_ns=60 * NS_PER_S)
            watched.until(lambda: watched.prober.counters()["open"] == 1)

    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - the plain names
    one_life()
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


def test_it_cannot_be_started_twice(watched: Watched) -> None:
    with pytest.raises(RuntimeError):
        watched.prober.start()


PAUSED = """
import socket, sys, time
from fastvrrp._core import Prober
prober = Prober()
prober.start()
handle = prober.add(socket.inet_aton("10.99.0.2"), 80, timeout_ns=10**9, delay_loop_ns=10**10,
                    delay_before_retry_ns=10**8, warmup_ns=0, retry=0, random=0)
while not prober.counters()["open"]:
    pass
print("under way", flush=True)
while not prober.status(handle).attempts:
    time.sleep(0.001)
print(prober.status(handle).state, flush=True)
"""


@pytest.mark.netns
def test_a_pause_of_this_host_fails_no_server() -> None:
    """Stopped with an attempt under way, for longer than its timeout: the answer came meanwhile."""
    with Namespace("here") as here, Namespace("there") as there:
        here.run("ip", "link", "add", "h0", "type", "veth", "peer", "name", "t0")
        here.run("ip", "link", "set", "t0", "netns", str(there.thread_id))
        here.run("ip", "addr", "add", "10.99.0.1/24", "dev", "h0")
        here.run("ip", "link", "set", "h0", "up")
        there.run("ip", "link", "set", "t0", "up")
        # nobody has the address yet: the first packet waits for its neighbour
        process = here.call(
            subprocess.Popen, [sys.executable, "-c", PAUSED], stdout=subprocess.PIPE, text=True
        )
        with process, there.call(socket.socket) as server:
            assert process.stdout is not None
            assert process.stdout.readline() == "under way\n"
            process.send_signal(signal.SIGSTOP)
            there.run("ip", "addr", "add", "10.99.0.2/24", "dev", "t0")
            server.bind(("10.99.0.2", 80))
            server.listen()
            accepted, _ = server.accept()
            time.sleep(1.5)
            process.send_signal(signal.SIGCONT)
            assert process.stdout.readline() == f"{UP}\n"
            accepted.close()
