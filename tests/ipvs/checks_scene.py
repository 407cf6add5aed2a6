"""The runner of checks in virtual time, with probes that do as they are told."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from pool_making import check
from virtual_time import FakeProbe, Loop, S

from fastvrrp.config.servers import Check, TcpCheck
from fastvrrp.ipvs.runner import Checks, Report, Subscription

NO_WARMUP = {"warmup_ns": 0, "delay_loop_ns": 6 * S, "delay_before_retry_ns": 2 * S}


class Scene:
    """The runner with fakes around it."""

    def __init__(self, kind: type[FakeProbe] = FakeProbe, **values: Any) -> None:
        self.loop = Loop()
        self.probes: list[FakeProbe] = []
        self.news: list[tuple[str, Report]] = []
        self.kind = kind
        self.prepare: Callable[[FakeProbe], None] = lambda probe: None
        self.checks: Checks[str] = Checks(
            loop=self.loop,  # type: ignore[arg-type]
            make_probe=self.make,
            listener=lambda who, report: self.news.append((who, report)),
            clock=self.loop.clock,
            **{"dice": random.Random(1), **values},
        )
        self.begin_ns = self.loop.now_ns

    def make(self, check: Check) -> FakeProbe:
        probe = self.kind(self.loop, check)
        self.prepare(probe)
        self.probes.append(probe)
        return probe

    def add(self, **subscriptions: Check) -> None:
        self.checks.change({name: Subscription(c) for name, c in subscriptions.items()})

    def begun(self, number: int = 0) -> list[float]:
        """When attempts of a probe began, in seconds of the test."""
        return [(when - self.begin_ns) / S for when, _ in self.probes[number].begun]

    def heard(self) -> list[tuple[str, str, bool]]:
        heard = [(who, report.kind.value, report.up) for who, report in self.news]
        self.news.clear()
        return heard


def plain(number: int = 1, **schedule: Any) -> TcpCheck:
    return check(number, **{**NO_WARMUP, **schedule})
