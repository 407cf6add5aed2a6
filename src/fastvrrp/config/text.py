"""Configuration files as texts: reading them, and what they are encoded in."""

from __future__ import annotations

from pathlib import Path

from fastvrrp.config.diagnostics import Diagnostics
from fastvrrp.config.model import Position, Severity

FILE_BYTES_MAX = 64 * 1024 * 1024


class Texts:
    """Reads files; what is wrong with them becomes messages."""

    def __init__(self, diagnostics: Diagnostics) -> None:
        self._diagnostics = diagnostics

    def content(self, path: Path) -> bytes | None:
        """Its bytes; None if it cannot be read."""
        try:
            with path.open("rb") as stream:
                return stream.read(FILE_BYTES_MAX + 1)
        except (OSError, ValueError):
            return None

    def read(self, path: Path, name: str, at: Position, severity: Severity) -> bytes | None:
        """Its bytes; None if it cannot be read, which is said at `at`."""
        add = self._diagnostics.add
        try:
            with path.open("rb") as stream:
                data = stream.read(FILE_BYTES_MAX + 1)
        except (OSError, ValueError) as error:  # ValueError: a NUL byte in the name
            reason = getattr(error, "strerror", None) or str(error)
            add(at, severity, f"cannot read {name}: {reason}", "give a readable file")
            return None
        if len(data) > FILE_BYTES_MAX:
            add(at, Severity.ERROR, f"{name} has more than {FILE_BYTES_MAX} bytes")
            return None
        return data

    def decoded(self, data: bytes, name: str) -> str:
        try:
            text = data.decode()
        except UnicodeDecodeError as error:
            before = data[: error.start]
            line = before.count(b"\n") + 1
            column = error.start - (before.rfind(b"\n") + 1) + 1
            position = Position(file=name, line=line, column=column)
            text = data.decode("latin-1")
            hint = "save the file as UTF-8"
            self._diagnostics.add(position, Severity.WARNING, "not UTF-8, read as Latin-1", hint)
        if "\0" in text:
            text = self._without_nul(text, name)
        return text.replace("\r\n", "\n") if "\r" in text else text

    def _without_nul(self, text: str, file: str) -> str:
        """What is left of a damaged file, to look for further mistakes."""
        lines = text.split("\n")
        for number, line in enumerate(lines, 1):
            if "\0" in line:
                at = Position(file=file, line=number, column=line.index("\0") + 1)
                hint = "correct or remove it"
                self._diagnostics.add(at, Severity.ERROR, "the line has a NUL byte", hint)
                lines[number - 1] = ""
        return "\n".join(lines)
