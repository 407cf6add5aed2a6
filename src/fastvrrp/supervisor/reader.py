"""Reads a configuration in a process of its own: `python -m fastvrrp.supervisor.reader`.

What it found goes to the descriptor `--out`, as MessagePack of an `Outcome`. The supervisor keeps
a configuration in that form, a hundredth of the parser's memory and a twentieth of the model's.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

from fastvrrp.config import model


class Held(model.Struct):
    """A valid configuration as the supervisor keeps it: what it needs itself, and the whole."""

    global_defs: model.GlobalDefs
    source_files: tuple[str, ...]
    commands: tuple[model.Command, ...]  # that a VRRP process may have run
    instances: int
    needed: bool  # there is work for a VRRP process
    data: bytes  # model.Configuration, MessagePack

    @classmethod
    def of(cls, configuration: model.Configuration) -> Held:
        return cls(
            global_defs=configuration.global_defs,
            source_files=configuration.source_files,
            commands=commands_of(configuration),
            instances=len(configuration.vrrp_instances),
            needed=bool(
                configuration.vrrp_instances
                or configuration.static_addresses
                or configuration.static_routes
                or configuration.static_rules
            ),
            data=msgspec.msgpack.encode(configuration),
        )

    def decode(self) -> model.Configuration:
        return msgspec.msgpack.decode(self.data, type=model.Configuration)


class Outcome(model.Struct):
    """What came of reading a file; `held` is None after errors."""

    messages: tuple[model.Message, ...]
    held: Held | None

    @property
    def errors(self) -> int:
        return sum(message.severity is model.Severity.ERROR for message in self.messages)


def commands_of(configuration: model.Configuration) -> tuple[model.Command, ...]:
    """Every command of a configuration that a VRRP process may ask for, each once."""
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
    return tuple({(c.argv, c.account): c for c in commands if c is not None}.values())


def main(argv: Sequence[str] | None = None) -> int:
    """Read one file; returns 0 whatever it says."""
    from fastvrrp.config.load import load

    parser = argparse.ArgumentParser(description="Started by `fastvrrp run` only.")
    parser.add_argument("file", type=Path)
    parser.add_argument("--config-id")
    parser.add_argument("--out", type=int, required=True)
    args = parser.parse_args(argv)
    loaded = load(args.file, config_id=args.config_id)
    held = None if loaded.configuration is None else Held.of(loaded.configuration)
    data = msgspec.msgpack.encode(Outcome(messages=loaded.messages, held=held))
    with open(args.out, "wb") as out:  # noqa: PTH123 (a descriptor)
        out.write(data)
        out.flush()
        os._exit(0)  # nothing is left to be done, and a large model takes its time to be freed


if __name__ == "__main__":
    sys.exit(main())
