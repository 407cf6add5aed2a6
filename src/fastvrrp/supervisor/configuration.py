"""The configuration the daemon runs on: reading it, refusing it, remembering what came of it."""

from __future__ import annotations

import asyncio
import datetime
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fastvrrp.config import model

log = logging.getLogger(__name__)

# A running daemon cannot change these: other namespace, other identity, other firewall table
# (keepalived refuses the same ones).
_FIXED = ("net_namespace", "instance", "nftables")


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
        """Parse and check, logging every message. Blocks; safe in a thread."""
        from fastvrrp.config.load import load

        loaded = load(self.path, config_id=self.config_id)
        for message in loaded.messages:
            is_error = message.severity is model.Severity.ERROR
            log.log(logging.ERROR if is_error else logging.WARNING, "%s", message)
        return loaded

    async def read_again(self) -> model.Loaded:
        """`read` for a reload, in a thread: scripts' deadlines and beats go on meanwhile."""
        return await asyncio.to_thread(self.read)

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
