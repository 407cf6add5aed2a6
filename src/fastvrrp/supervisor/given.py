"""Command lines that our processes give each other: `--name=value`, `--flag`, words behind `--`.

People never write them, so that they need no help and no abbreviations; what argparse takes to be
loaded and set up is a tenth of a start.
"""

from __future__ import annotations

from collections.abc import Sequence


class Given:
    """The words of such a command line. Each option is asked for once, `done` comes last."""

    def __init__(self, words: Sequence[str]) -> None:
        self._options: dict[str, str | None] = {}
        rest = iter(words)
        for word in rest:
            if word == "--":
                break
            name, equals, value = word.partition("=")
            self._options[name.removeprefix("--")] = value if equals else None
        self.files = tuple(rest)

    def flag(self, name: str) -> bool:
        """Whether it is there."""
        return self._options.pop(name, "") is None

    def text(self, name: str) -> str | None:
        """Its value; None if it is not there."""
        return self._options.pop(name, None)

    def number(self, name: str) -> int | None:
        """As `text`. Raises SystemExit if it is none."""
        value = self._options.pop(name, None)
        if value is None:
            return None
        try:
            return int(value)
        except ValueError:
            raise SystemExit(f"--{name}: {value!r} is no number") from None

    def needed(self, name: str) -> int:
        """A number that must be there. Raises SystemExit."""
        number = self.number(name)
        if number is None:
            raise SystemExit(f"--{name} is missing: only `fastvrrp run` starts this")
        return number

    def done(self) -> None:
        """Raises SystemExit if there is anything that nobody asked for."""
        if self._options:
            raise SystemExit(f"unknown option --{next(iter(self._options))}")
