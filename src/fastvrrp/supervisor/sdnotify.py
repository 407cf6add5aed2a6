"""Readiness, reload, watchdog and status towards systemd: sd_notify(3) as one datagram each.

Without NOTIFY_SOCKET everything here does nothing, so containers and terminals need no care.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import MutableMapping

log = logging.getLogger(__name__)


class Notifier:
    """Sends to the socket named in NOTIFY_SOCKET, once taken from `environ`.

    The variables are removed from `environ`, so that no child believes it speaks for the service.
    """

    def __init__(self, environ: MutableMapping[str, str]) -> None:
        self._address = environ.pop("NOTIFY_SOCKET", "")
        watchdog_us = environ.pop("WATCHDOG_USEC", "")
        watchdog_pid = environ.pop("WATCHDOG_PID", "")
        self._sock: socket.socket | None = None
        self._last_status = ""
        self.watchdog_s: float | None = None
        """Half of the time within which systemd wants to hear from us, in seconds."""
        if self._address[:1] not in ("/", "@"):
            self._address = ""
            return
        self._sock = socket.socket(
            socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
        )
        ours = not watchdog_pid or watchdog_pid == str(os.getpid())
        if ours and watchdog_us.isdigit() and int(watchdog_us) > 0:
            self.watchdog_s = int(watchdog_us) / 2 / 1_000_000

    @property
    def active(self) -> bool:
        return self._sock is not None

    def ready(self, status: str = "") -> None:
        """Start or reload is complete."""
        self._send("READY=1", *self._status(status))

    def reloading(self) -> None:
        """A reload begins; MONOTONIC_USEC is what Type=notify-reload asks for."""
        now_us = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._send("RELOADING=1", f"MONOTONIC_USEC={now_us}")

    def stopping(self, status: str = "") -> None:
        self._send("STOPPING=1", *self._status(status))

    def status(self, text: str) -> None:
        """One line for `systemctl status`; sent only when it changed."""
        lines = self._status(text)
        if lines:
            self._send(*lines)

    def watchdog(self) -> None:
        self._send("WATCHDOG=1")

    def error(self, errno: int) -> None:
        """The reason of a failure, as errno."""
        self._send(f"ERRNO={errno}")

    def close(self) -> None:
        if self._sock is not None:
            self._sock.close()
            self._sock = None

    def _status(self, text: str) -> tuple[str, ...]:
        text = " ".join(text.split())
        if not text or text == self._last_status:
            return ()
        self._last_status = text
        return (f"STATUS={text}",)

    def _send(self, *lines: str) -> None:
        if self._sock is None:
            return
        address = self._address
        if address.startswith("@"):
            address = "\0" + address[1:]
        try:
            self._sock.sendto("\n".join(lines).encode(), address)
        except OSError as exc:
            # systemd being restarted must not hurt the routers; it is told again next time.
            log.debug("sd_notify %s: %s", lines[0], exc)
