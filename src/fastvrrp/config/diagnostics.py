"""Collects what is wrong with a configuration, with positions, up to a limit."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from fastvrrp.config.model import Message, Position, Severity
from fastvrrp.config.node import Node

ERRORS_MAX = 200
WARNINGS_MAX = 1000
SHOWN_MAX = 60


class TooManyErrors(Exception):
    """Raised to give up on a file that is not a configuration at all."""


def shown(word: str) -> str:
    """A word from the file as it may appear in a message: quoted, printable, not too long."""
    if len(word) > SHOWN_MAX:
        word = word[: SHOWN_MAX - 3] + "..."
    return "'" + "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in word) + "'"


def suggestion(word: str, known: Iterable[str]) -> str:
    """`did you mean ...?` for a misspelt word, or ""."""
    import difflib  # only needed for mistakes, and slow to load

    lower = {k.lower(): k for k in known if not k.startswith("(")}
    close = difflib.get_close_matches(word.lower()[:SHOWN_MAX], lower, n=1, cutoff=0.6)
    return f"did you mean {lower[close[0]]}?" if close else ""


def in_order(messages: Iterable[Message], files: Sequence[str]) -> list[Message]:
    """Messages as somebody reads the files: file by file, each from its top to its end."""
    rank = {file: number for number, file in enumerate(files)}

    def place(message: Message) -> tuple[int, int, int]:
        at = message.position
        return rank.get(at.file, len(rank)), at.line, at.column

    return sorted(messages, key=place)


class Diagnostics:
    """The messages of one load, in the order in which they were found."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.errors = 0
        self.warnings = 0
        self._said: set[tuple[Position, str]] = set()  # about values that stand for many
        # Where a message belongs whose position names no file, see remembered.Blocks.
        self.placed: Callable[[Position, str, str], tuple[Position, str]] | None = None

    @property
    def count(self) -> int:
        """How many messages there were so far, kept or not."""
        return self.errors + self.warnings

    def passes(self) -> bool:
        """Whether one more warning would not be kept; it counts nevertheless. Asked by rules that
        thousands of instances may break in the same way, before they make the words."""
        if self.warnings < WARNINGS_MAX:
            return False
        self.warnings += 1
        return True

    def add(
        self, position: Position, severity: Severity, text: str, hint: str = "", via: str = ""
    ) -> None:
        """Keep a message. Raises TooManyErrors with the last error that is kept."""
        if not position.file and self.placed is not None:
            position, hint = self.placed(position, text, hint)
        if via:
            text += f" (in the template used at {via})"
        if severity is Severity.ERROR:
            self.errors += 1
        else:
            self.warnings += 1
            if self.warnings > WARNINGS_MAX:
                return
            if self.warnings == WARNINGS_MAX:
                text, hint = f"{WARNINGS_MAX} warnings, no more are shown", ""
        self.messages.append(Message(position=position, severity=severity, text=text, hint=hint))
        if self.errors == ERRORS_MAX:
            raise TooManyErrors

    def error(self, node: Node, text: str, hint: str = "", *, word: int = 0) -> None:
        """The configuration cannot be used."""
        self._about(node, Severity.ERROR, text, hint, word)

    def warning(self, node: Node, text: str, hint: str = "", *, word: int = 0) -> None:
        """The configuration can be used, but perhaps not as meant."""
        self._about(node, Severity.WARNING, text, hint, word)

    def _about(self, node: Node, severity: Severity, text: str, hint: str, word: int) -> None:
        if node.is_veiled:
            text = "a mistake behind a secret on the same line, of which nothing is shown"
            hint = "put the secret in quotes, and what follows on a line of its own"
        if node.is_native:
            text, hint = node.worded(text), node.worded(hint)
            said = node.position(word), text
            if said in self._said:  # of a template, about another block
                self.errors += severity is Severity.ERROR
                return
            self._said.add(said)
        self.add(node.position(word), severity, text, hint, node.via)
