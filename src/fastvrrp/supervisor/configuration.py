"""The configuration the daemon runs on: reading it, refusing it, remembering what came of it."""

from __future__ import annotations

import asyncio
import datetime
import logging
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from fastvrrp.config import model

log = logging.getLogger(__name__)

# A running daemon cannot change these: other namespace, other identity, other firewall table
# (keepalived refuses the same ones).
_FIXED = ("net_namespace", "instance", "nftables")

SETTLE_NS = 50_000_000
"""A file that was written to more recently may be half of what it is going to be."""
SETTLE_LIMIT_S = 2.0


def wall_clock() -> str:
    """Now, UTC, RFC 3339 with milliseconds: the form of every time on the control socket."""
    now = datetime.datetime.now(datetime.UTC)
    return now.strftime("%Y-%m-%dT%H:%M:%S.") + f"{now.microsecond // 1000:03d}Z"


def message_record(message: model.Message) -> dict[str, Any]:
    """A diagnostic as on the control socket."""
    return {
        "file": message.position.file,
        "line": message.position.line,
        "column": message.position.column,
        "severity": message.severity.value,
        "text": message.text,
        "hint": message.hint,
    }


class Source:
    """A file and what was read from it. `read` never raises for what the file says."""

    def __init__(self, path: Path, config_id: str | None) -> None:
        self.path = path
        self.config_id = config_id
        self.configuration = model.Configuration()
        self.epoch = 0
        self.loaded: str | None = None
        self.last_reload: dict[str, Any] | None = None

    def read(self) -> model.Loaded:
        """Parse and check, logging every message. Blocks."""
        loaded = self._load()
        _log(loaded)
        return loaded

    async def read_again(self) -> model.Loaded:
        """`read` for a reload, in a thread: scripts' deadlines go on meanwhile.

        Editors and tools empty a file before they write it. So files that have just been written
        to are given a moment, and are read again if that happened while they were read; and a
        file without any statement is an error, because nobody reloads to have nothing left.
        """
        limit = time.monotonic() + SETTLE_LIMIT_S
        files: Iterable[str] = (str(self.path),)
        while True:
            if _written_since(files, time.time_ns() - SETTLE_NS):
                await asyncio.sleep(SETTLE_NS / model.NS_PER_S)
            began_ns = time.time_ns()
            loaded = await asyncio.to_thread(self._load)
            files = _files(self.path, loaded)
            if not _written_since(files, began_ns - SETTLE_NS) or time.monotonic() > limit:
                break
        if loaded.configuration is not None and _is_blank(self.path):
            message = model.Message(
                position=model.Position(file=str(self.path), line=1),
                severity=model.Severity.ERROR,
                text="the file is empty: nothing would be left running",
                hint="write `global_defs { }` if that is meant",
            )
            loaded = model.Loaded(configuration=None, messages=(message,))
        _log(loaded)
        return loaded

    def _load(self) -> model.Loaded:
        from fastvrrp.config.load import load

        return load(self.path, config_id=self.config_id)

    def accept(self, configuration: model.Configuration) -> None:
        """This is in effect now."""
        self.configuration = configuration
        self.epoch += 1
        self.loaded = wall_clock()

    def obstacle(self, configuration: model.Configuration) -> str:
        """Why a reload cannot lead to `configuration`, or ""."""
        for name in _FIXED:
            old = getattr(self.configuration.global_defs, name)
            new = getattr(configuration.global_defs, name)
            if old != new:
                return (
                    f"{name} cannot change from {old or 'unset'} to {new or 'unset'} "
                    "while running: restart the daemon"
                )
        return ""

    def report(
        self,
        *,
        ok: bool,
        messages: Sequence[model.Message],
        changes: Sequence[str] = (),
        error: str = "",
    ) -> dict[str, Any]:
        """The result of a reload as on the control socket; remembered for `status`."""
        records = [message_record(message) for message in messages]
        self.last_reload = {
            "time": wall_clock(),
            "ok": ok,
            "messages": records,
            "error": error,
        }
        return {
            "ok": ok,
            "epoch": self.epoch,
            "changes": list(changes),
            "messages": records,
            "error": error,
        }

    def record(self) -> dict[str, Any]:
        """The `daemon.configuration` object of docs/control-socket.md."""
        return {
            "file": str(self.path),
            "files": list(self.configuration.source_files),
            "loaded": self.loaded,
            "epoch": self.epoch,
        }


def _log(loaded: model.Loaded) -> None:
    for message in loaded.messages:
        is_error = message.severity is model.Severity.ERROR
        log.log(logging.ERROR if is_error else logging.WARNING, "%s", message)


def _files(path: Path, loaded: model.Loaded) -> set[str]:
    """What was read, as far as that is known after errors."""
    files = {str(path), *(message.position.file for message in loaded.messages)}
    return files if loaded.configuration is None else files | {*loaded.configuration.source_files}


def _written_since(files: Iterable[str], since_ns: int) -> bool:
    """Whether one of these files was changed after a time (and not in the future, which is what
    it looks like when a clock was set back)."""
    until_ns = time.time_ns() + SETTLE_NS
    for file in files:
        try:
            changed_ns = Path(file).stat().st_mtime_ns
        except OSError:
            continue  # reading it says more about that
        if since_ns < changed_ns < until_ns:
            return True
    return False


def _is_blank(path: Path) -> bool:
    """Whether there is nothing but comments and blanks in a file."""
    try:
        lines = path.read_bytes().splitlines()
    except OSError:
        return True
    return all(line.lstrip()[:1] in (b"", b"#", b"!") for line in lines)
