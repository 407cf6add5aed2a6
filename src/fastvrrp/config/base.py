"""What every part of the configuration model is made of.

Modules of types that are decoded at a start have no `from __future__ import annotations`: msgspec
would have to compile each annotation again, which takes longer than a router's whole configuration.
"""

import enum
from typing import dataclass_transform

import msgspec

NS_PER_S = 1_000_000_000


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(msgspec.field,))
class Struct(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """Base of every model type: immutable, compared by value, keyword-only.

    Frozen values cannot form circles, so the garbage collector need not know of them.
    """


class Position(Struct):
    """Where something was written. Line and column count from 1."""

    file: str
    line: int
    column: int = 1


class Severity(enum.Enum):
    ERROR = "error"
    WARNING = "warning"


class Message(Struct):
    """One diagnostic. `hint` says what would be right."""

    position: Position
    severity: Severity
    text: str
    hint: str = ""

    def __str__(self) -> str:
        p = self.position
        tail = f"; {self.hint}" if self.hint else ""
        return f"{p.file}:{p.line}:{p.column}: {self.severity.value}: {self.text}{tail}"


class Account(Struct):
    """The user and group a script runs as, resolved to numbers when configuration is read."""

    user: str
    uid: int
    gid: int
    groups: tuple[int, ...] = ()  # supplementary ones, sorted; asked for with ':' or globally


class Command(Struct):
    """A program with its arguments; never a shell line."""

    argv: tuple[str, ...]
    account: Account | None = None  # None: the default script account
    position: Position | None = None
