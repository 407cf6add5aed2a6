"""Log lines of a batch of events, gathered and logged together.

A takeover of thousands of instances is thousands of lines at once. A log record for each, with
its look for the caller and its write, would cost more than everything else done about it.
"""

from __future__ import annotations

import itertools
import logging
import operator

INFO = logging.INFO


class Lines:
    """Has the part of a Logger's surface that its users need; nothing is seen before `flush`."""

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        self._held: list[tuple[int, str]] = []

    def log(self, level: int, text: str, *args: object) -> None:
        if self._logger.isEnabledFor(level):
            self._held.append((level, text % args if args else text))

    def info(self, text: str, *args: object) -> None:
        if self._logger.isEnabledFor(INFO):
            self._held.append((INFO, text % args if args else text))

    def warning(self, text: str, *args: object) -> None:
        self.log(logging.WARNING, text, *args)

    def flush(self) -> None:
        """Log what is held, in its order: a record for all neighbours of one level, whose
        `lines` tell a formatter that they are lines of their own."""
        held, self._held = self._held, []
        for level, group in itertools.groupby(held, key=operator.itemgetter(0)):
            lines = [text for _, text in group]
            self._logger.log(level, "%s", "\n".join(lines), extra={"lines": lines})
