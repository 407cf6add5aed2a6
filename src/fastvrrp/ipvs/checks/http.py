"""HTTP_GET and SSL_GET in the event loop: every url answers as it should.

Without TLS and patterns the prober does it (core/webprobe.pxi), with the same requests.
"""

from __future__ import annotations

import asyncio
import time

from fastvrrp.config.servers import HttpCheck, Url
from fastvrrp.ipvs.checks.answer import Answer, takes_interim
from fastvrrp.ipvs.checks.base import Done, Outcome, Surroundings, Verdict, detail
from fastvrrp.ipvs.checks.exchange import Exchange, Tls
from fastvrrp.ipvs.checks.pattern import Pattern, PatternError
from fastvrrp.ipvs.checks.request import requests
from fastvrrp.ipvs.checks.tls import TlsError, check_server_name


class HttpProbe:
    """See Probe. A step is a url."""

    def __init__(self, check: HttpCheck, surroundings: Surroundings) -> None:
        self.steps = len(check.urls)
        self._check = check
        self._loop = surroundings.loop
        self._requests = requests(check)
        self._problem = ""
        self._patterns: list[Pattern | None] = []
        self._tls: list[Tls | None] = []
        try:
            self._patterns = [Pattern(url.regex) if url.regex else None for url in check.urls]
            self._tls = [
                Tls(surroundings.ssl_context, self._server_name(url), url.tls_compliant)
                if check.tls
                else None
                for url in check.urls
            ]
        except (PatternError, TlsError) as e:
            self._problem = detail(str(e))
        self._exchange: Exchange | None = None
        self._answer: Answer | None = None
        self._url: Url | None = None
        self._soon: asyncio.Handle | None = None
        self._done: Done | None = None
        self._began_ns = 0

    def _server_name(self, url: Url) -> str | None:
        """What is sent as SNI; an empty name is none. Raises TlsError when that cannot be."""
        name = self._check.sni_name
        if name is None and self._check.enable_sni:
            name = url.virtualhost
        if not name:
            return None
        check_server_name(name)
        return name

    def start(self, step: int, done: Done) -> None:
        """See Probe."""
        url = self._check.urls[step]
        self._done = done
        self._began_ns = time.monotonic_ns()
        if self._problem:
            self._soon = self._loop.call_soon(self._ended, Verdict.LOCAL, self._problem)
            return
        self._url = url
        self._answer = Answer(
            digest=url.digest is not None,
            pattern=self._patterns[step],
            takes_interim=takes_interim(url.status_codes),
        )
        self._exchange = Exchange(
            self._loop,
            self._check.connection,
            self._requests[step],
            feed=self._answer.feed,
            ended=self._ended,
            tls=self._tls[step],
        )

    def cancel(self) -> None:
        """See Probe."""
        if self._exchange is not None:
            self._exchange.cancel()
            self._exchange = self._answer = None
        if self._soon is not None:
            self._soon.cancel()
            self._soon = None

    def _ended(self, verdict: Verdict, text: str) -> None:
        answer, self._exchange, self._answer = self._answer, None, None
        if verdict is Verdict.UP:
            assert answer is not None
            assert self._url is not None
            verdict, text = answer.judge(self._url)
        assert self._done is not None
        self._done(Outcome(verdict, text, time.monotonic_ns() - self._began_ns))
