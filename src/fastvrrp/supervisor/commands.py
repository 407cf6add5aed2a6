"""Which commands a VRRP child may ask the supervisor to run: those of the configuration."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from fastvrrp.config import model
from fastvrrp.track.runner import resolve

Allowed = frozenset[tuple[tuple[str, ...], model.Account | None]]


def allowed_commands(commands: Iterable[model.Command], default: model.Account | None) -> Allowed:
    """Commands (`reader.commands_of`) with the accounts they run under, for `allows`."""
    resolved = (resolve(command, default) for command in commands)
    return frozenset((command.argv, command.account) for command in resolved)


def allows(
    commands: Collection[tuple[tuple[str, ...], model.Account | None]], command: model.Command
) -> bool:
    """Whether `command` is one of `commands`, with or without arguments appended to it."""
    argv, account = command.argv, command.account
    return any((argv[:count], account) in commands for count in range(1, len(argv) + 1))
