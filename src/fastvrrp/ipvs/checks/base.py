"""What every checker's attempt looks like from outside: Probe, Outcome, and who makes which.

A probe does one attempt at a time and knows nothing of delays, retries or what came before; that
is the machine's (core/check.pxi). It costs bounded time and memory whatever the server does.
"""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

from fastvrrp.config.base import Account
from fastvrrp.config.servers import (
    Check,
    DnsCheck,
    FileCheck,
    HttpCheck,
    MiscCheck,
    PingCheck,
    SmtpCheck,
    TcpCheck,
    TlsContext,
    UdpCheck,
)
from fastvrrp.ipvs.files import TrackedFiles
from fastvrrp.track.runner import Runner

if TYPE_CHECKING:
    import ssl

DETAIL_CHARACTERS = 200


class Verdict(enum.IntEnum):
    """Numbers are those of core/check.pxi."""

    DOWN = 0
    UP = 1
    LOCAL = 2  # our own problem: neither up nor down, the next attempt is after delay_loop


class Outcome(NamedTuple):
    """One attempt."""

    verdict: Verdict
    detail: str  # for logs and status: printable, at most DETAIL_CHARACTERS
    latency_ns: int
    weight: int = 0  # FILE_CHECK: what it adds to the configured weight
    weight_is: int | None = None  # MISC_CHECK dynamic: the weight a real server is to have

    def adds(self, configured_weight: int) -> int:
        """What is added to the configured weight of a real server while this is the last UP.

        A failed attempt says nothing about weights: what the last UP added stays. The sources of
        one real server add up, so `weight_is` counts as its difference to the configured weight.
        """
        return self.weight if self.weight_is is None else self.weight_is - configured_weight


Done = Callable[[Outcome], None]


class Probe(Protocol):
    """One checker's attempts, one after the other. Belongs to the thread of its event loop."""

    steps: int  # HTTP_GET, SSL_GET: number of urls; others 1

    def start(self, step: int, done: Done) -> None:
        """Begin an attempt of step 0..steps-1; never while another one runs.

        `done` is called exactly once and never before `start` has returned, at the latest when
        the checker's timeouts are over. Raises nothing for what the network or the server does.
        """
        ...

    def cancel(self) -> None:
        """Forget the attempt: `done` is not called any more and nothing stays open.

        Does nothing when none runs.
        """
        ...


@runtime_checkable
class FollowingProbe(Probe, Protocol):
    """A probe that hears by itself that its outcome is another one now: FILE_CHECK.

    Whoever runs it starts an attempt at once then, whatever delay_loop and retry say.
    """

    def follow(self, changed: Callable[[], None] | None) -> None:
        """`changed` is called for every change until `follow(None)`, never within this call."""
        ...


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What probes need of the process; a reload makes a new one."""

    loop: asyncio.AbstractEventLoop
    runner: Runner | None = None  # MISC_CHECK
    tls: TlsContext = field(default_factory=TlsContext)  # SSL_GET
    script_account: Account | None = None  # of MISC_CHECKs without `user`
    files: TrackedFiles | None = None  # FILE_CHECK

    @cached_property
    def ssl_context(self) -> ssl.SSLContext:
        """What all SSL_GETs share. Raises tls.TlsError."""
        from fastvrrp.ipvs.checks.tls import client_context

        return client_context(self.tls)


def make_probe(check: Check, surroundings: Surroundings) -> Probe:
    """The probe of a checker. Raises TypeError for what is no checker."""
    # imported here: whoever checks with TCP alone need not load TLS
    match check:
        case TcpCheck():
            from fastvrrp.ipvs.checks.tcp import TcpProbe

            return TcpProbe(check, surroundings)
        case HttpCheck():
            from fastvrrp.ipvs.checks.http import HttpProbe

            return HttpProbe(check, surroundings)
        case SmtpCheck():
            from fastvrrp.ipvs.checks.smtp import SmtpProbe

            return SmtpProbe(check, surroundings)
        case DnsCheck():
            from fastvrrp.ipvs.checks.dns import DnsProbe

            return DnsProbe(check, surroundings)
        case MiscCheck():
            from fastvrrp.ipvs.checks.misc import MiscProbe

            return MiscProbe(check, surroundings)
        case UdpCheck():
            from fastvrrp.ipvs.checks.udp import UdpProbe

            return UdpProbe(check, surroundings)
        case PingCheck():
            from fastvrrp.ipvs.checks.ping import PingProbe

            return PingProbe(check, surroundings)
        case FileCheck():
            from fastvrrp.ipvs.checks.file import FileProbe

            return FileProbe(check, surroundings)
    raise TypeError(f"no probe for {type(check).__name__}")


def detail(text: str) -> str:
    """Text that a server may have had a hand in: printable, one line, bounded."""
    if len(text) <= DETAIL_CHARACTERS and text.isprintable():
        return text
    shown = "".join(c if c.isprintable() else "?" for c in text[: DETAIL_CHARACTERS + 1])
    return shown if len(shown) <= DETAIL_CHARACTERS else shown[: DETAIL_CHARACTERS - 3] + "..."
