"""Which commands a VRRP child may ask the supervisor to run: those of the configuration."""

from __future__ import annotations

from collections.abc import Collection

from fastvrrp.config import model
from fastvrrp.track.runner import resolve


def configured_commands(
    configuration: model.Configuration,
) -> frozenset[tuple[tuple[str, ...], model.Account | None]]:
    """Every command a VRRP child may ask for under this configuration, for `allows`."""
    defs = configuration.global_defs
    commands: list[model.Command | None] = [s.command for s in configuration.track_scripts]
    notifies = [i.notify for i in configuration.vrrp_instances]
    notifies += [g.notify for g in configuration.sync_groups]
    for notify in notifies:
        commands += [
            notify.notify,
            notify.notify_master,
            notify.notify_backup,
            notify.notify_fault,
            notify.notify_stop,
            notify.notify_deleted,
            notify.notify_master_rx_lower_pri,
        ]
    for fifo in (defs.notify_fifo, defs.vrrp_notify_fifo):
        commands.append(fifo.script if fifo is not None else None)
    resolved = (resolve(c, defs.script_account) for c in commands if c is not None)
    return frozenset((c.argv, c.account) for c in resolved)


def allows(
    commands: Collection[tuple[tuple[str, ...], model.Account | None]], command: model.Command
) -> bool:
    """Whether `command` is one of `commands`, with or without arguments appended to it."""
    argv, account = command.argv, command.account
    return any((argv[:count], account) in commands for count in range(1, len(argv) + 1))
