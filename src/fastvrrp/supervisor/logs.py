"""Logging of every process of the daemon: stderr, as text or JSON, with journald priorities.

`setup` once per process, or `destinations.setup` where more than stderr may be asked for.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Sequence
from typing import TextIO

LEVELS = ("debug", "info", "warning", "error")
FORMATS = ("text", "json")

# syslog(3) priorities, as sd-daemon(3) prefixes.
PRIORITY = {
    logging.DEBUG: 7,
    logging.INFO: 6,
    logging.WARNING: 4,
    logging.ERROR: 3,
    logging.CRITICAL: 2,
}


def under_journal(stream: TextIO | None = None) -> bool:
    """Whether `stream` (default stderr) leads to journald.

    JOURNAL_STREAM names device and inode of the socket (systemd.exec(5)); comparing them keeps
    a shell started from a service from getting prefixes into its terminal.
    """
    value = os.environ.get("JOURNAL_STREAM", "")
    device, _, inode = value.partition(":")
    try:
        status = os.fstat((stream or sys.stderr).fileno())
        return (status.st_dev, status.st_ino) == (int(device), int(inode))
    except (ValueError, OSError):
        return False


class TextFormatter(logging.Formatter):
    """`PROCESS: message`, with `<N>` in front for journald and the time in front otherwise."""

    def __init__(self, process: str, *, journal: bool) -> None:
        super().__init__()
        self._process = process
        self._journal = journal

    def format(self, record: logging.LogRecord) -> str:
        text = record.getMessage()
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info)
        lines = _lines(record)
        if self._journal:
            prefix = f"<{PRIORITY.get(record.levelno, 6)}>"
            # journald takes each line as an entry of its own: each needs the priority.
            return "\n".join(f"{prefix}{self._process}: {line}" for line in text.splitlines())
        stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record.created))
        level = record.levelname.lower()
        head = f"{stamp}.{int(record.msecs):03d} {self._process} {level}: "
        if lines is not None:
            return head + f"\n{head}".join(lines)
        return head + text


class JsonFormatter(logging.Formatter):
    """One JSON object per line: time (UTC, RFC 3339), level, process, logger, message."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        entry = {
            "time": f"{stamp}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "process": self._process,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        import json  # which only this form needs

        entries = [{**entry, "message": line} for line in _lines(record) or (entry["message"],)]
        return "\n".join(json.dumps(entry, ensure_ascii=False) for entry in entries)


def _lines(record: logging.LogRecord) -> list[str] | None:
    """Lines of a record that is many in one (see vrrp.lines)."""
    return getattr(record, "lines", None)


def plain_lines(record: logging.LogRecord) -> list[str]:
    """The lines of a record without anything around them, those of an exception included."""
    lines = _lines(record) or record.getMessage().splitlines()
    if record.exc_info:
        lines = [*lines, *logging.Formatter().formatException(record.exc_info).splitlines()]
    return lines


def setup(
    *,
    level: str = "info",
    form: str = "text",
    process: str = "vrrp",
    stream: TextIO | None = None,
    console: bool = True,
    also: Sequence[logging.Handler] = (),
) -> None:
    """Send everything at or above `level` to stderr as `form`, unless `console` is off, and to
    `also`. Replaces an earlier setup."""
    if level not in LEVELS or form not in FORMATS:
        raise ValueError(f"unknown log level or format: {level}, {form}")
    handlers = list(also)
    if console:
        target = stream or sys.stderr
        handler = logging.StreamHandler(target)
        if form == "json":
            handler.setFormatter(JsonFormatter(process))
        else:
            handler.setFormatter(TextFormatter(process, journal=under_journal(target)))
        handlers.append(handler)
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
    for new in handlers or (logging.NullHandler(),):  # else Python sends warnings to stderr
        root.addHandler(new)
    root.setLevel(getattr(logging, level.upper()))
    # asyncio's debug lines are about the loop, not about VRRP.
    logging.getLogger("asyncio").setLevel(logging.WARNING)
    # Asked of the system for every record, shown nowhere.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    # A reader of stderr that went away must not become an exception inside the daemon.
    logging.raiseExceptions = False
