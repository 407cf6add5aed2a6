"""Where the log of every process goes: stderr, syslog(3), a file; and how a child is told of it.

`fastvrrp run` logs to stderr alone. keepalived's command line asks for the others.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from fastvrrp.supervisor import logs
from fastvrrp.supervisor.given import Given

# What syslog calls our processes, as keepalived's are called: filters of logs go by it.
IDENTS = {
    "supervisor": "Keepalived",
    "vrrp": "Keepalived_vrrp",
    "ipvs": "Keepalived_healthcheckers",
}
FACILITIES = {"daemon": 3, "user": 1, **{f"local{n}": 16 + n for n in range(8)}}
"""RFC 3164 4.1.1."""


class Destinations(NamedTuple):
    """How and where to. `facility`: of syslog, None: not there. `suffix`: of its idents, as
    several daemons of one host need it. `file`: the name of each process is put into it."""

    level: str = "info"
    form: str = "text"
    console: bool = True
    facility: str | None = None
    suffix: str = ""
    file: Path | None = None

    def arguments(self) -> list[str]:
        """Options of a child (`of`)."""
        words = [f"--log-level={self.level}", f"--log-format={self.form}"]
        if not self.console:
            words.append("--no-console")
        if self.facility is not None:
            words += [f"--syslog={self.facility}", f"--syslog-suffix={self.suffix}"]
        if self.file is not None:
            words.append(f"--log-file={self.file}")
        return words


def of(given: Given) -> Destinations:
    """What a child was told (`Destinations.arguments`)."""
    file = given.text("log-file")
    return Destinations(
        level=given.text("log-level") or "info",
        form=given.text("log-format") or "text",
        console=not given.flag("no-console"),
        facility=given.text("syslog"),
        suffix=given.text("syslog-suffix") or "",
        file=None if file is None else Path(file),
    )


def setup(to: Destinations, process: str, *, also: Sequence[logging.Handler] = ()) -> None:
    """Send the log of this process there. Replaces an earlier setup."""
    handlers = list(also)
    if to.facility is not None:
        handlers.append(SyslogHandler(f"{IDENTS[process]}{to.suffix}", to.facility))
    unusable = None
    if to.file is not None:
        try:
            handlers.append(_file_handler(to.file, process))
        except OSError as exc:
            unusable = exc
    logs.setup(level=to.level, form=to.form, process=process, console=to.console, also=handlers)
    if unusable is not None:
        logging.getLogger(__name__).warning("no log is written to %s: %s", to.file, unusable)


def _file_handler(file: Path, process: str) -> logging.Handler:
    from logging.handlers import WatchedFileHandler  # goes on in a new file after logrotate(8)

    if process != "supervisor":
        ident = IDENTS[process].partition("_")[2]
        file = file.with_name(f"{file.stem}_{ident}{file.suffix}")
    handler = WatchedFileHandler(file, encoding="utf-8", errors="backslashreplace")
    handler.setFormatter(logs.TextFormatter(process, journal=False))
    return handler


class SyslogHandler(logging.Handler):
    """Messages to syslogd's socket in the form of RFC 3164, as syslog(3) writes them.

    Unlike syslog(3) it never waits: while syslogd reads nothing messages are lost, and how many
    that were is the next one's beginning.
    """

    def __init__(self, ident: str, facility: str, *, address: str = "/dev/log") -> None:
        """`facility`: one of FACILITIES."""
        super().__init__()
        self._tag = f"{ident}[{os.getpid()}]"
        self._facility = FACILITIES[facility]
        self._address = address
        self._sock: socket.socket | None = None
        self._lost = 0

    def emit(self, record: logging.LogRecord) -> None:
        priority = self._facility * 8 + logs.PRIORITY.get(record.levelno, 6)
        stamp = time.strftime("%b %e %H:%M:%S", time.localtime(record.created))
        for line in logs.plain_lines(record):
            if self._lost:
                line = f"({self._lost} messages lost) {line}"
            sent = self._send(f"<{priority}>{stamp} {self._tag}: {line}".encode(errors="replace"))
            self._lost = 0 if sent else self._lost + 1

    def _send(self, message: bytes) -> bool:
        for _ in range(2):  # syslogd may have been started again: another socket of that name
            try:
                if self._sock is None:
                    self._sock = self._connect()
                self._sock.send(message)
            except BlockingIOError:
                return False
            except OSError:
                self._disconnect()
            else:
                return True
        return False

    def _connect(self) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        sock.setblocking(False)
        try:
            sock.connect(self._address)
        except OSError:
            sock.close()
            raise
        return sock

    def _disconnect(self) -> None:
        if self._sock is not None:
            self._sock.close()
            self._sock = None

    def close(self) -> None:
        self._disconnect()
        super().close()
