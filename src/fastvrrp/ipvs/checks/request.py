"""HTTP_GET and SSL_GET without I/O: what is sent, how long it may take, and words for its end.

Small, because whoever has the prober check needs nothing else of them in Python.
"""

from __future__ import annotations

from fastvrrp import _core
from fastvrrp.config.servers import Connection, HttpCheck

USER_AGENT = "KeepAliveClient"  # servers leave it out of their logs by this name
EXCHANGE_WAITS = 12  # a minute with the default connect_timeout; WEB_WAITS of core/webprobe.pxi

WORDS = {
    _core.WHY_NO_ANSWER: "no answer",
    _core.WHY_NO_HEADER: "no complete header",
    _core.WHY_NO_STATUS: "no status",
    _core.WHY_LONG_HEADER: f"header longer than {_core.HTTP_HEADER_BYTES_MAX >> 10} KiB",
    _core.WHY_LONG_ANSWER: f"answer longer than {_core.HTTP_ANSWER_BYTES_MAX >> 20} MiB",
}


def whole_wait(timeout_ns: int) -> str:
    """How long an exchange may take, in words."""
    return f"{EXCHANGE_WAITS * timeout_ns / 1e9:g} s"


def make_request(
    path: str, connection: Connection, *, virtualhost: str | None, http_protocol: str
) -> bytes:
    """The request as keepalived sends it; `http_protocol` is 1.0, 1.0C or 1.1."""
    version = "1.1" if http_protocol == "1.1" else "1.0"
    close = "" if http_protocol == "1.0" else "Connection: close\r\n"
    host = virtualhost
    if host is None:
        address = f"[{connection.address}]" if ":" in connection.address else connection.address
        host = f"{address}:{connection.port}"
    text = f"GET {path} HTTP/{version}\r\nUser-Agent: {USER_AGENT}\r\n{close}Host: {host}\r\n\r\n"
    return text.encode("utf-8", "surrogateescape")


def requests(check: HttpCheck) -> list[bytes]:
    """What is sent for each of its urls."""
    return [
        make_request(
            url.path,
            check.connection,
            virtualhost=url.virtualhost,
            http_protocol=check.http_protocol,
        )
        for url in check.urls
    ]
