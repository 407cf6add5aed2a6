"""What went wrong within us: no check is stuck for it, and it is no secret."""

from __future__ import annotations

import asyncio
import logging
import random
import time

import pytest
from checks_scene import NO_WARMUP, Scene, plain
from probing import UP as IS_UP
from probing import connection, free_port, surroundings, tcp_server
from virtual_time import DOWN, MS, UP, FakeProbe, FollowingFake, S

from fastvrrp._core import Prober
from fastvrrp.config.servers import FileCheck, HttpCheck, Regex, Schedule, TcpCheck, Url
from fastvrrp.ipvs import scheduler
from fastvrrp.ipvs.checks.answer import Answer
from fastvrrp.ipvs.checks.base import Done, make_probe
from fastvrrp.ipvs.runner import Checks, Kind, Report, Subscription
from fastvrrp.ipvs.scheduler import LOOK_S, SPARE_NS
from looping import Run, until

DOES_NOT_END = "internal error: the attempt does not end"
PATIENCE_NS = 12 * 5 * S + SPARE_NS  # with the default connect_timeout
TWO_LOOKS_NS = round(2 * LOOK_S * S)


class Refusing(FakeProbe):
    """Does not even begin while `broken`."""

    broken = True

    def start(self, step: int, done: Done) -> None:
        if self.broken:
            self.begun.append((self.loop.now_ns, step))
            raise ZeroDivisionError("of the test")
        super().start(step, done)


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [one.getMessage() for one in caplog.records if one.levelno >= logging.ERROR]


def test_an_attempt_that_cannot_begin_has_failed(caplog: pytest.LogCaptureFixture) -> None:
    scene = Scene(Refusing)
    scene.add(a=plain(retry=1), b=plain(2, retry=1))
    scene.loop.run(2 * S)
    reason = "internal error: ZeroDivisionError('of the test')"
    assert [(who, report.kind, report.up) for who, report in scene.news] == [
        ("a", Kind.STATE, False),
        ("b", Kind.STATE, False),
    ]
    assert {report.outcome.detail for _, report in scene.news} == {reason}
    scene.heard()
    scene.loop.run(20 * S)
    assert errors(caplog) == [f"TCP_CHECK of [192.0.2.1]:{n}: {reason}" for n in (1, 2)]
    assert caplog.records[0].exc_info is not None
    for probe in scene.probes:
        probe.broken = False  # type: ignore[attr-defined]
    scene.loop.run(7 * S)
    assert scene.heard() == [("a", "state", True), ("b", "state", True)]


def stuck(scene: Scene) -> None:
    """The next attempt of the check gets no answer."""
    scene.probes[-1].answers = None
    scene.loop.run(6 * S)
    assert scene.probes[-1].under_way


def test_an_answer_that_never_comes_is_a_failure(caplog: pytest.LogCaptureFixture) -> None:
    scene = Scene()
    scene.add(a=plain(retry=1, log_all_failures=True))
    scene.loop.run(2 * S)
    scene.heard()
    first = scene.probes[0]
    stuck(scene)
    began = first.begun[-1][0]
    scene.loop.run(began + PATIENCE_NS - scene.loop.now_ns)
    assert scene.news == []  # until then it may still come
    scene.prepare = lambda probe: setattr(probe, "answers", None)
    scene.loop.run(TWO_LOOKS_NS)
    assert scene.heard() == [("a", "failure", True)]
    assert first.cancelled == 1
    assert not first.under_way
    # another probe makes the next one, which ends no better: then the server is down, and so on
    scene.loop.run(2 * (PATIENCE_NS + TWO_LOOKS_NS) + 20 * S)
    assert [report.outcome.detail for _, report in scene.news] == [DOES_NOT_END]
    assert scene.heard() == [("a", "state", False)]
    assert errors(caplog) == [f"TCP_CHECK of [192.0.2.1]:1: {DOES_NOT_END}"]
    scene.prepare = lambda probe: None
    scene.loop.run(PATIENCE_NS + TWO_LOOKS_NS + 20 * S)
    assert scene.heard() == [("a", "state", True)]


def test_what_was_given_up_has_no_say_any_more() -> None:
    scene = Scene()
    scene.add(a=plain())
    scene.loop.run(2 * S)
    stuck(scene)
    late = scene.probes[0]._handle
    assert late is not None
    scene.heard()
    scene.loop.run(PATIENCE_NS + TWO_LOOKS_NS)
    assert scene.heard() == []  # one of two failures that it takes, then all is well
    assert len(scene.probes) == 2
    late.callback(DOWN)
    late.callback(DOWN)
    view = scene.checks.view("a")
    assert view is not None
    assert (view.state, view.failures, view.outcome) == ("up", 0, UP)


def test_a_pause_of_this_host_is_nobodys_failure() -> None:
    """After it the answer is here, and read before the second look."""
    scene = Scene()
    scene.add(a=plain(retry=1, log_all_failures=True))
    scene.loop.run(2 * S)
    scene.heard()
    scene.probes[0].takes_ns = 1 * S
    scene.loop.run(5500 * MS)
    assert scene.probes[0].under_way
    scene.loop.now_ns += 3600 * S
    scene.checks._scheduler._look()  # whatever is due, the look comes first
    assert scene.probes[0].under_way
    scene.loop.run(20 * S)
    assert scene.heard() == []
    assert len(scene.probes) == 1


def test_nothing_is_looked_for_where_nothing_is_under_way() -> None:
    scene = Scene()
    scene.add(a=plain(delay_loop_ns=3600 * S))
    scene.loop.run(2 * S)
    calls = scene.loop.calls
    scene.loop.run(3000 * S)
    assert scene.loop.calls - calls <= 1


def test_a_suspended_check_is_not_looked_at() -> None:
    scene = Scene()
    scene.add(a=plain())
    scene.loop.run(2 * S)
    stuck(scene)
    scene.heard()
    scene.checks.suspend(["a"], True)
    scene.loop.run(2 * PATIENCE_NS)
    assert (scene.heard(), len(scene.probes)) == ([], 1)


def test_a_probe_that_follows_something_goes_on_doing_so() -> None:
    scene = Scene(FollowingFake)
    scene.add(a=FileCheck(track_file="load", schedule=Schedule(**NO_WARMUP)))
    scene.loop.run(1 * S)
    first = scene.probes[0]
    assert isinstance(first, FollowingFake)
    first.answers = None
    assert first.changed is not None
    first.changed()
    scene.loop.run(SPARE_NS + 2 * TWO_LOOKS_NS)
    assert first.changed is None
    second = scene.probes[1]
    assert isinstance(second, FollowingFake)
    begun = len(second.begun)
    assert second.changed is not None
    second.changed()
    scene.loop.run(1 * MS)
    assert len(second.begun) == begun + 1


def test_who_fails_at_news_keeps_it_from_nobody(caplog: pytest.LogCaptureFixture) -> None:
    scene = Scene()
    told: list[str] = []

    def listener(who: str, report: Report) -> None:
        told.append(who)
        if who == "a":
            raise ZeroDivisionError("of the test")

    scene.checks._listener = listener
    scene.add(a=plain(), b=plain(), c=plain(2))
    scene.loop.run(2 * S)
    assert sorted(told) == ["a", "b", "c"]
    assert len(errors(caplog)) == 1
    scene.probes[0].answers = lambda step: DOWN
    scene.loop.run(20 * S)
    assert sorted(told) == ["a", "a", "b", "b", "c"]


# ---------------------------------------------------------------------- real probes


PAGE = b"HTTP/1.0 200 OK\r\n\r\nhello"


async def page(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(PAGE)


QUICK = Schedule(delay_loop_ns=50 * MS, delay_before_retry_ns=50 * MS, warmup_ns=0, retry=0)


def test_an_exception_in_a_callback_of_a_probe(
    run: Run, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What judges the page fails, when the connection is over and no timer runs any more."""
    monkeypatch.setattr(scheduler, "LOOK_S", 0.05)
    monkeypatch.setattr(scheduler, "SPARE_NS", 200 * MS)
    judge = Answer.judge
    broken = True

    def judge_or_not(one: Answer, url: Url) -> object:
        if broken:
            raise ZeroDivisionError("of the test")
        return judge(one, url)

    monkeypatch.setattr(Answer, "judge", judge_or_not)
    news: list[Report] = []

    async def scene() -> None:
        nonlocal broken
        loop = asyncio.get_running_loop()
        said: list[str] = []
        loop.set_exception_handler(lambda _, context: said.append(repr(context["exception"])))
        around = surroundings()
        checks: Checks[str] = Checks(
            loop=loop,
            make_probe=lambda check: make_probe(check, around),
            listener=lambda who, report: news.append(report),
        )
        async with tcp_server(page) as port:
            where = connection(port, timeout_ns=20 * MS)
            urls = (Url(path="/", regex=Regex(pattern="hello")),)
            checks.change(
                {"a": Subscription(HttpCheck(connection=where, urls=urls, schedule=QUICK))}
            )
            await until(lambda: news)
            assert news[0].outcome.detail == DOES_NOT_END
            assert said[0] == "ZeroDivisionError('of the test')"
            broken = False
            await until(lambda: len(news) == 2)
            assert news[1].outcome[:2] == (IS_UP, "status 200")
            checks.stop()

    run(scene())
    assert len([text for text in errors(caplog) if DOES_NOT_END in text]) == 1


def test_news_of_the_prober_that_somebody_fails_at(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    """Its other events, read together, are told all the same."""
    told: list[str] = []

    def listener(who: str, report: Report) -> None:
        told.append(who)
        if who == "0":
            raise ZeroDivisionError("of the test")

    async def scene() -> None:
        prober = Prober()
        prober.start()
        checks: Checks[str] = Checks(
            loop=asyncio.get_running_loop(),
            make_probe=lambda check: make_probe(check, surroundings()),
            listener=listener,
            prober=prober,
            dice=random.Random(1),
        )
        port = free_port()
        where = [connection(port, f"127.0.0.{1 + n}") for n in range(20)]
        wanted = [Subscription(TcpCheck(connection=one, schedule=QUICK)) for one in where]
        checks.change({str(n): subscription for n, subscription in enumerate(wanted)})
        time.sleep(1.5)  # noqa: ASYNC251 - all of them wait in the ring by then
        await until(lambda: len(told) == 20)
        checks.stop()
        prober.stop()
        assert await asyncio.to_thread(prober.join, 5)

    run(scene())
    assert sorted(map(int, told)) == list(range(20))
    assert len(errors(caplog)) == 1
