"""The configuration the daemon runs on: having it read, refusing it, remembering what came of it.

A process of its own reads it (`reader`); here it stays what that process made of it.
"""

from __future__ import annotations

import asyncio
import datetime
import itertools
import logging
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from fastvrrp.config import model
from fastvrrp.packets import ProtocolError
from fastvrrp.supervisor.channel import read_all
from fastvrrp.supervisor.held import Held
from fastvrrp.supervisor.process import describe_code
from fastvrrp.supervisor.reader import Outcome
from fastvrrp.supervisor.reading import Reading, Wanted, start_reading
from fastvrrp.supervisor.roles import IPVS

log = logging.getLogger(__name__)

# A running daemon cannot change these: other namespace, other identity, other firewall table
# (keepalived refuses the same ones).
_FIXED = ("net_namespace", "instance", "nftables")

SETTLE_NS = 50_000_000
"""A file that was written to more recently may be half of what it is going to be."""
SETTLE_LIMIT_S = 2.0
LOGGED_PER_TURN = 16  # messages, half a millisecond


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


class ReadError(Exception):
    """The process that reads the configuration failed; the text says how."""


class Source:
    """A file and what was read from it. What the file says is never an exception."""

    def __init__(self, wanted: Wanted) -> None:
        self.path = wanted.file
        self._wanted = wanted
        self.held = Held.of(model.Configuration())
        self.epoch = 0
        self.loaded: str | None = None
        self.last_reload: dict[str, Any] | None = None
        self._read_s: float | None = None  # that reading took the last time
        self._blocks: dict[str, int | None] = {"blocks": None, "parsed": None}  # that were read

    async def read(self, reading: Reading | None = None) -> Outcome:
        """Parse and check; the messages are for `log_messages`. `reading`: it has been started
        already.

        Raises ReadError, OSError.
        """
        return await self._read(reading)

    async def read_again(self) -> Outcome:
        """`read` for a reload, and all messages are logged. Raises ReadError, OSError.

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
            began = time.monotonic()
            self._read_s = None
            self._blocks = dict.fromkeys(self._blocks)
            outcome = await self._read()
            self._read_s = time.monotonic() - began
            self._blocks = {"blocks": outcome.blocks, "parsed": outcome.parsed}
            files = _files(self.path, outcome)
            if not _written_since(files, began_ns - SETTLE_NS) or time.monotonic() > limit:
                break
        if outcome.held is not None and all(map(_is_blank, outcome.held.source_files)):
            message = model.Message(
                position=model.Position(file=str(self.path), line=1),
                severity=model.Severity.ERROR,
                text="the file is empty: nothing would be left running",
                hint="write `global_defs { }` if that is meant",
            )
            outcome = Outcome(messages=(message,), held=None)
        _log(outcome.messages)
        return outcome

    async def _read(self, reading: Reading | None = None) -> Outcome:
        if reading is None:
            wanted = self._wanted._replace(is_reload=self.epoch > 0)
            reading = start_reading(wanted, last=self.held.last())
        loop = asyncio.get_running_loop()
        ended = loop.create_future()
        loop.add_reader(reading.pidfd, ended.set_result, None)
        decoder = msgspec.msgpack.Decoder(Outcome)  # which takes longer than it takes to decode
        try:
            await ended
            code = reading.process.wait()
            if code != 0:
                raise ReadError(f"its reader ended: {describe_code(code)}")
            return decoder.decode(read_all(reading.out))
        except (msgspec.MsgspecError, ProtocolError) as exc:
            raise ReadError(f"its reader left nothing readable: {exc}") from exc
        finally:
            loop.remove_reader(reading.pidfd)
            reading.close()

    def accept(self, held: Held) -> None:
        """This is in effect now."""
        self.held = held
        self.epoch += 1
        self.loaded = wall_clock()

    def obstacle(self, held: Held) -> str:
        """Why a reload cannot lead to `held`, or ""."""
        before, after = self.held, held
        values = [
            (name, getattr(before.global_defs, name), getattr(after.global_defs, name))
            for name in _FIXED
        ]
        if before.parts[IPVS.name].needed and after.parts[IPVS.name].needed:
            values.append(("net_namespace_ipvs", before.namespace_ipvs, after.namespace_ipvs))
        for name, old, new in values:
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
        apply_s: float | None = None,
    ) -> dict[str, Any]:
        """The result of a reload as on the control socket; remembered for `status`. `apply_s`:
        from when it was read until it was in effect, unless it came to nothing before."""
        took = {"read_s": self._read_s, **self._blocks, "apply_s": apply_s}
        records = [message_record(message) for message in messages]
        self.last_reload = {
            "time": wall_clock(),
            "ok": ok,
            "messages": records,
            "error": error,
            **took,
        }
        return {
            "ok": ok,
            "epoch": self.epoch,
            "changes": list(changes),
            "messages": records,
            "error": error,
            **took,
        }

    def record(self) -> dict[str, Any]:
        """The `daemon.configuration` object of docs/control-socket.md."""
        return {
            "file": str(self.path),
            "files": list(self.held.source_files),
            "loaded": self.loaded,
            "epoch": self.epoch,
        }


async def log_messages(messages: Iterable[model.Message]) -> None:
    """Log them a few at a time: a thousand warnings take as long as it takes to start as many
    routers, for which they must not wait. Whoever cancels this has the rest logged at once."""
    rest = iter(messages)
    try:
        while some := tuple(itertools.islice(rest, LOGGED_PER_TURN)):
            _log(some)
            await asyncio.sleep(0)
    finally:
        _log(rest)


def _log(messages: Iterable[model.Message]) -> None:
    for message in messages:
        is_error = message.severity is model.Severity.ERROR
        log.log(logging.ERROR if is_error else logging.WARNING, "%s", message)


def _files(path: Path, outcome: Outcome) -> set[str]:
    """What was read, as far as that is known after errors."""
    files = {str(path), *(message.position.file for message in outcome.messages)}
    return files if outcome.held is None else files | {*outcome.held.source_files}


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


def _is_blank(file: str) -> bool:
    """Whether there is nothing but comments and blanks in a file."""
    try:
        with Path(file).open("rb") as lines:
            return all(line.lstrip()[:1] in (b"", b"#", b"!") for line in lines)
    except OSError:
        return True
