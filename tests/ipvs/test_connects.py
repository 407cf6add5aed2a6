"""TCP_CHECKs of the runner in the prober thread: commands to a fake one, and a real one."""

from __future__ import annotations

import asyncio
import errno
import random
import socket
from typing import Any

import msgspec
import pytest
from pool_making import check
from virtual_time import Loop, S

from fastvrrp import _core
from fastvrrp._core import CHECK_DOWN, CHECK_UNKNOWN, CHECK_UP, ProbeEvent, Prober, ProbeStatus
from fastvrrp.config.servers import (
    Connection,
    DnsCheck,
    HttpCheck,
    Regex,
    Schedule,
    TcpCheck,
    Url,
)
from fastvrrp.ipvs.checks.base import Outcome, Verdict
from fastvrrp.ipvs.connects import Connects, takes
from fastvrrp.ipvs.runner import Checks, Kind, Report, Subscription
from looping import Run, until

MS = 1_000_000


class FakeProber:
    """Has the surface of `_core.Prober`, does nothing, and says what it is told to say."""

    def __init__(self) -> None:
        self.added: dict[int, tuple[bytes, int, dict[str, Any]]] = {}
        self.holds = 0
        self.rung: list[int] = []  # how many checks there were each time it was woken
        self.commands: list[tuple[str, int]] = []
        self.waiting: list[ProbeEvent] = []
        self.lost = False
        self.statuses: dict[int, ProbeStatus] = {}

    def fileno(self) -> int:
        return 77

    def add(self, address: bytes, port: int, **values: Any) -> int:
        handle = 1000 + len(self.added)
        self.added[handle] = (address, port, values)
        return handle

    def hold(self) -> None:
        self.holds += 1

    def release(self) -> None:
        self.holds -= 1
        self.rung.append(len(self.added))

    def remove(self, handle: int) -> None:
        self.commands.append(("remove", handle))

    def suspend(self, handle: int) -> None:
        self.commands.append(("suspend", handle))

    def resume(self, handle: int, random: int) -> None:
        self.commands.append(("resume", handle))

    def status(self, handle: int) -> ProbeStatus:
        return self.statuses[handle]

    def events(self) -> list[ProbeEvent]:
        told, self.waiting = self.waiting, []
        return told

    def overflowed(self) -> bool:
        lost, self.lost = self.lost, False
        return lost


class ReadingLoop(Loop):
    """With the part of readers."""

    reader: Any = None

    def add_reader(self, fd: int, callback: Any) -> None:
        assert fd == 77
        self.reader = callback

    def remove_reader(self, fd: int) -> None:
        assert fd == 77
        self.reader = None


def event(handle: int, **values: Any) -> ProbeEvent:
    first = {"verdict": 1, "change": 0, "first": False, "up": True, "error": 0, "failures": 0}
    return ProbeEvent(handle=handle, **{**first, "at_ns": 5, "latency_ns": 7, **values})


def status(state: int, error: int = 0) -> ProbeStatus:
    return ProbeStatus(state, False, int(not error), error, 7, 5, 99, 0, 3)


class Scene:
    def __init__(self) -> None:
        self.loop = ReadingLoop()
        self.prober = FakeProber()
        self.news: list[tuple[str, Report]] = []
        self.checks: Checks[str] = Checks(
            loop=self.loop,  # type: ignore[arg-type]
            make_probe=self.refuse,
            listener=lambda who, report: self.news.append((who, report)),
            prober=self.prober,  # type: ignore[arg-type]
            clock=self.loop.clock,
            dice=random.Random(1),
        )

    @staticmethod
    def refuse(check: object) -> Any:
        raise AssertionError("TCP_CHECKs are the prober's")

    def add(self, **checks: TcpCheck | HttpCheck) -> None:
        self.checks.change({name: Subscription(c) for name, c in checks.items()})

    def tell(self, *events: ProbeEvent) -> list[tuple[str, Report]]:
        self.prober.waiting += events
        self.loop.reader()
        told, self.news = self.news, []
        return told


def test_everything_of_a_check_reaches_the_prober() -> None:
    scene = Scene()
    connection = Connection(
        address="2001:db8::1",
        port=443,
        bind_address="2001:db8::2",
        bind_port=99,
        bind_if="eth0",
        fwmark=5,
        timeout_ns=3 * S,
    )
    schedule = Schedule(delay_loop_ns=4 * S, retry=6, delay_before_retry_ns=7 * S, warmup_ns=8 * S)
    scene.add(a=TcpCheck(connection=connection, schedule=schedule))
    ((address, port, values),) = scene.prober.added.values()
    assert (address, port) == (socket.inet_pton(socket.AF_INET6, "2001:db8::1"), 443)
    assert 0 <= values.pop("random") < 2**32
    assert values == {
        "timeout_ns": 3 * S,
        "delay_loop_ns": 4 * S,
        "delay_before_retry_ns": 7 * S,
        "warmup_ns": 8 * S,
        "retry": 6,
        "bind_address": socket.inet_pton(socket.AF_INET6, "2001:db8::2"),
        "bind_port": 99,
        "bind_if": b"eth0",
        "fwmark": 5,
        "tell_failures": True,
        "suspended": False,
    }


def test_everything_of_a_web_check_reaches_the_prober() -> None:
    scene = Scene()
    urls = (
        Url(path="/a", digest=bytes(16), status_codes=((200, 200), (300, 399))),
        Url(path="/b", virtualhost="b.example"),
    )
    where = Connection(address="192.0.2.1", port=80)
    scene.add(a=HttpCheck(connection=where, urls=urls, fast_recovery=True))
    ((_, port, values),) = scene.prober.added.values()
    assert port == 80
    assert values["fast_recovery"] is True
    first, second = values["urls"]
    assert first[0].startswith(b"GET /a HTTP/1.0\r\n")
    assert first[1:] == (bytes(16), ((200, 200), (300, 399)))
    assert b"Host: b.example\r\n" in second[0]
    assert second[1:] == (None, ((200, 299),))


def test_many_checks_wake_the_prober_once() -> None:
    scene = Scene()
    hosts = {f"s{n}": Connection(address=f"192.0.2.{n}", port=80) for n in range(1, 9)}
    scene.add(**{name: TcpCheck(connection=where) for name, where in hosts.items()})
    assert (scene.prober.rung, scene.prober.holds) == ([8], 0)


PLAIN = HttpCheck(connection=Connection(address="192.0.2.1", port=80), urls=(Url(path="/"),))


@pytest.mark.parametrize(
    ("one", "taken"),
    [
        (PLAIN, True),
        (msgspec.structs.replace(PLAIN, tls=True), False),
        (
            msgspec.structs.replace(
                PLAIN, urls=(Url(path="/"), Url(path="/", regex=Regex(pattern="a")))
            ),
            False,
        ),
    ],
)
def test_what_the_prober_takes(one: HttpCheck, taken: bool) -> None:
    assert takes(one) is taken


@pytest.mark.parametrize(
    ("values", "detail"),
    [
        ({"why": _core.WHY_STATUS, "error": 503}, "status 503"),
        ({"why": _core.WHY_DIGEST, "digest": bytes(range(16))}, f"digest {bytes(range(16)).hex()}"),
        ({"why": _core.WHY_NO_ANSWER}, "no answer"),
        ({"why": _core.WHY_LONG_ANSWER}, "answer longer than 64 MiB"),
        ({"why": _core.WHY_TIMEOUT, "phase": _core.PHASE_SENDING}, "sending timed out"),
        (
            {"why": _core.WHY_DRIPPED, "phase": _core.PHASE_ANSWER},
            "answer not complete after 60 s",
        ),
        ({"error": errno.ECONNREFUSED}, "connection refused"),
        (
            {"error": errno.ECONNRESET, "phase": _core.PHASE_ANSWER},
            "answer: connection reset by peer",
        ),
    ],
)
def test_words_for_a_web_check(values: dict[str, Any], detail: str) -> None:
    scene = Scene()
    scene.add(a=PLAIN)
    ((_, report),) = scene.tell(event(1000, change=CHECK_DOWN, verdict=0, up=False, **values))
    assert report.outcome == Outcome(Verdict.DOWN, detail, 7)


def test_equal_checks_are_one_to_the_prober() -> None:
    scene = Scene()
    scene.add(a=check(1), b=check(1, alpha=True), c=check(2))
    assert len(scene.prober.added) == 2
    assert scene.prober.added[1000][2]["bind_address"] is None


def test_what_a_reload_adds_gets_a_short_warmup() -> None:
    scene = Scene()
    scene.add(a=check(1))
    scene.add(b=check(2), c=check(3, warmup_ns=5))
    warmups = [values["warmup_ns"] for _, _, values in scene.prober.added.values()]
    assert warmups == [60 * S, S, 5]


def test_events_become_reports() -> None:
    scene = Scene()
    scene.add(a=check(1), b=check(1, log_all_failures=True))
    up = Outcome(Verdict.UP, "connected", 7)
    told = scene.tell(event(1000, change=CHECK_UP, first=True))
    assert told == [(who, Report(Kind.STATE, True, True, 0, up)) for who in "ab"]
    refused = Outcome(Verdict.DOWN, "connection refused", 7)
    failed = {"verdict": 0, "error": errno.ECONNREFUSED}
    told = scene.tell(event(1000, **failed), event(1000, **failed, failures=1))
    assert told == [("b", Report(Kind.FAILURE, True, False, n, refused)) for n in (0, 1)]
    told = scene.tell(event(1000, **failed, change=CHECK_DOWN, up=False, failures=2))
    assert told == [(who, Report(Kind.STATE, False, False, 2, refused)) for who in "ab"]
    told = scene.tell(event(1000, verdict=2, error=errno.EADDRNOTAVAIL, up=False))
    assert [report.kind for _, report in told] == [Kind.LOCAL, Kind.LOCAL]
    assert told[0][1].outcome.detail == "cannot assign requested address"


def test_events_of_removed_checks_are_nobodys() -> None:
    scene = Scene()
    scene.add(a=check(1))
    scene.checks.change({}, remove=["a"])
    assert scene.prober.commands == [("remove", 1000)]
    assert scene.tell(event(1000, change=CHECK_UP)) == []


def test_suspension_reaches_the_prober_when_all_want_it() -> None:
    scene = Scene()
    scene.checks.change({"a": Subscription(check(1), suspended=True)})
    assert scene.prober.added[1000][2]["suspended"]
    scene.add(b=check(1))
    scene.checks.suspend(["b"], True)
    scene.checks.suspend(["a"], False)
    assert scene.prober.commands == [("resume", 1000), ("suspend", 1000), ("resume", 1000)]


def test_after_lost_events_the_states_are_looked_up() -> None:
    scene = Scene()
    scene.add(a=check(1), b=check(2), c=check(3, retry=4), d=check(4))
    scene.tell(event(1002, change=CHECK_UP, first=True), event(1003, change=CHECK_UP, first=True))
    scene.prober.statuses = {
        1000: status(CHECK_UNKNOWN),
        1001: status(CHECK_DOWN, errno.ETIMEDOUT),
        1002: status(CHECK_DOWN, errno.ECONNREFUSED),
        1003: status(CHECK_UP),
    }
    scene.prober.lost = True
    told = scene.tell()
    timeout = Outcome(Verdict.DOWN, "connection timed out", 7)
    refused = Outcome(Verdict.DOWN, "connection refused", 7)
    assert told == [
        ("b", Report(Kind.STATE, False, True, 0, timeout)),
        ("c", Report(Kind.STATE, False, False, 4, refused)),
    ]
    # the event itself may still come
    assert scene.tell(event(1002, change=CHECK_DOWN, verdict=0, up=False)) == []
    assert scene.tell(event(1002, change=CHECK_UP)) != []


def test_the_view_of_a_check() -> None:
    scene = Scene()
    scene.add(a=check(1))
    scene.prober.statuses[1000] = ProbeStatus(CHECK_UNKNOWN, False, 0, 0, 0, 0, 99, 0, 0)
    view = scene.checks.view("a")
    assert view is not None
    assert (view.state, view.outcome, view.at_ns, view.due_ns) == ("unknown", None, 0, 99)
    scene.prober.statuses[1000] = ProbeStatus(CHECK_UP, True, 0, errno.EPIPE, 7, 5, 99, 2, 3)
    view = scene.checks.view("a")
    assert view is not None
    assert view.state == "suspended"
    assert view.outcome == Outcome(Verdict.DOWN, "broken pipe", 7)
    assert (view.failures, view.attempts) == (2, 3)


def test_stop_leaves_the_loop() -> None:
    scene = Scene()
    scene.add(a=check(1))
    scene.checks.stop()
    assert scene.prober.commands == [("remove", 1000)]
    assert scene.loop.reader is None


def test_the_prober_takes_no_other_checks() -> None:
    loop, prober = ReadingLoop(), FakeProber()
    connects = Connects(loop, prober, dice=random.Random(1))  # type: ignore[arg-type]
    dns = DnsCheck(connection=Connection(address="192.0.2.1", port=53))
    with pytest.raises(TypeError, match="DnsCheck"):
        connects.begin(dns, 0, False, lambda report: None)


def test_real_servers_come_and_go(run: Run) -> None:
    async def scene() -> None:
        news: list[tuple[str, str, bool, str]] = []
        prober = Prober()
        prober.start()
        checks: Checks[str] = Checks(
            loop=asyncio.get_running_loop(),
            make_probe=Scene.refuse,
            listener=lambda who, r: news.append((who, r.kind.value, r.up, r.outcome.detail)),
            prober=prober,
        )
        server = socket.create_server(("127.0.0.1", 0))
        schedule = Schedule(
            warmup_ns=0, delay_loop_ns=50 * MS, retry=1, delay_before_retry_ns=20 * MS
        )
        target = Connection(address="127.0.0.1", port=server.getsockname()[1], timeout_ns=S)
        checks.change({"a": Subscription(TcpCheck(connection=target, schedule=schedule))})
        await until(lambda: news, 5)
        assert news == [("a", "state", True, "connected")]
        server.close()
        await until(lambda: len(news) == 2, 5)
        assert news[1] == ("a", "state", False, "connection refused")
        view = checks.view("a")
        assert view is not None
        assert view.state == "down"
        checks.stop()
        prober.stop()
        assert prober.join(5)

    run(scene())


def test_what_the_prober_says_is_in_the_numbers_of_verdicts() -> None:
    assert [Verdict(n) for n in (_core.VERDICT_DOWN, _core.VERDICT_UP, _core.VERDICT_LOCAL)] == [
        Verdict.DOWN,
        Verdict.UP,
        Verdict.LOCAL,
    ]
