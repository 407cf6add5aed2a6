"""reload_time_file: a file that says when the next reload is.

Its first line is `HH:MM:SS`, `YY-MM-DD HH:MM:SS` or `YYYY-MM-DD HH:MM:SS`, local time or, with a Z
behind it, UTC; nothing around it. A time without a date is its next occurrence; one with a date
that is over is ignored. The file is watched: who changes it plans anew, who removes it cancels.
"""

from __future__ import annotations

import asyncio
import datetime
import logging
import re
import time
from collections.abc import Callable
from pathlib import Path

from fastvrrp.track.inotify import Inotify

log = logging.getLogger(__name__)

LOOK_AGAIN_S = 60.0
"""The clock may be set while we wait for it."""
LINE_MAX = 64  # bytes of the file that are read
_LINE = re.compile(r"(?:(\d\d|\d{4})-(\d\d)-(\d\d) )?(\d\d):(\d\d):(\d\d)(Z?)", re.ASCII)


def due(line: str, now: datetime.datetime) -> datetime.datetime | None:
    """When a line means, None for a date that is over. `now` is aware; so is the result.

    Raises ValueError for a line that is none, or a time that does not exist.
    """
    match = _LINE.fullmatch(line)
    if match is None:
        raise ValueError("it has none of the forms")
    year, month, day, hour, minute, second, utc = match.groups()
    # The host's zone is taken at the moment that is meant: summer time may begin before.
    zone = datetime.UTC if utc else None
    clock = datetime.time(int(hour), int(minute), int(second))
    if year is None:
        today = now.astimezone(zone).date()
        for days in (0, 1):
            day_of = today + datetime.timedelta(days=days)
            moment = datetime.datetime.combine(day_of, clock, zone).astimezone()
            if moment > now:
                return moment
        return None
    full = int(year) if len(year) == 4 else 2000 + int(year)
    date = datetime.date(full, int(month), int(day))
    moment = datetime.datetime.combine(date, clock, zone).astimezone()
    return moment if moment > now else None


class PlannedReload:
    """Watches the file of the configuration in effect. Belongs to the running loop."""

    def __init__(self, reload: Callable[[], object]) -> None:
        """`reload` is called when it is time."""
        self._reload = reload
        self._loop = asyncio.get_running_loop()
        self._file: Path | None = None
        self._repeat = False
        self._inotify: Inotify | None = None
        self._handle: asyncio.TimerHandle | None = None
        self.at: datetime.datetime | None = None

    def configure(self, file: str | None, *, repeat: bool) -> None:
        """A configuration is in effect: plan what it says. Also after every reload, because the
        directory of the file may be another one now."""
        self.close()
        self._repeat = repeat
        if file is None:
            self._file = None
            return
        self._file = Path(file)
        try:
            self._inotify = Inotify()
            self._inotify.watch_directory(str(self._file.parent))
        except OSError as exc:
            log.warning("reload_time_file %s cannot be watched: %s", file, exc)
            self.close()
            return
        self._loop.add_reader(self._inotify, self._changed)
        self._plan()

    def close(self) -> None:
        """Nothing is planned any more."""
        self._cancel()
        if self._inotify is not None:
            self._loop.remove_reader(self._inotify)
            self._inotify.close()
            self._inotify = None

    def _changed(self) -> None:
        assert self._inotify is not None
        assert self._file is not None
        names = {change.name for change in self._inotify.read()}
        if self._file.name in names:
            self._plan()

    def _plan(self) -> None:
        assert self._file is not None
        before = self.at
        self._cancel()
        try:
            with self._file.open("rb") as stream:
                text = stream.read(LINE_MAX).decode("ascii", "replace")
            self.at = due(text.split("\n", 1)[0], _now())
        except FileNotFoundError:
            pass
        except (OSError, ValueError) as exc:
            log.warning("reload_time_file %s: %s", self._file, exc)
        if self.at is not None:
            log.info("A reload is planned for %s", self.at.isoformat(sep=" "))
            self._wait()
        elif before is not None:
            log.info("No reload is planned any more")

    def _wait(self) -> None:
        assert self.at is not None
        wait_s = (self.at - _now()).total_seconds()
        if wait_s > 0:
            self._handle = self._loop.call_later(min(wait_s, LOOK_AGAIN_S), self._wait)
            return
        log.info("It is time for the planned reload")
        self._cancel()
        if not self._repeat and self._file is not None:
            try:
                self._file.unlink(missing_ok=True)
            except OSError as exc:
                log.warning("cannot remove reload_time_file: %s", exc)
        # With reload_repeat the file is read again when the reload is over (`configure`).
        self._reload()

    def _cancel(self) -> None:
        self.at = None
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None


def _now() -> datetime.datetime:
    return datetime.datetime.fromtimestamp(time.time(), datetime.UTC)
