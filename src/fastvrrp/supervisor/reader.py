"""Reads a configuration in a process of its own: `python -m fastvrrp.supervisor.reader`.

What it found goes to the descriptor `--out`, as MessagePack of an `Outcome`. `--last` holds what
the configuration in effect was made of (`Held.last`): its blocks are not parsed again.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from fastvrrp.config import model
from fastvrrp.config.memory import Last
from fastvrrp.light import msgspec
from fastvrrp.supervisor.held import Held, dropped


class Outcome(model.Struct):
    """What came of reading a file; `held` is None after errors."""

    messages: tuple[model.Message, ...]
    held: Held | None

    @property
    def errors(self) -> int:
        return sum(message.severity is model.Severity.ERROR for message in self.messages)


def main(argv: Sequence[str] | None = None) -> int:
    """Read one file; returns 0 whatever it says."""
    gc.disable()  # it ends before there would be anything worth collecting
    from fastvrrp.config.load import load_again

    parser = argparse.ArgumentParser(description="Started by `fastvrrp run` only.")
    parser.add_argument("file", type=Path)
    parser.add_argument("--config-id")
    parser.add_argument("--only")
    parser.add_argument("--net-namespace")
    parser.add_argument("--strict-includes", action="store_true")
    parser.add_argument("--tolerant", action="store_true")
    parser.add_argument("--reload", action="store_true")
    parser.add_argument("--out", type=int, required=True)
    parser.add_argument("--last", type=int)
    args = parser.parse_args(argv)
    last = None
    if args.last is not None:
        with open(args.last, "rb") as known:  # noqa: PTH123 (a descriptor)
            last = Last.of(known.read())
    again = load_again(
        args.file,
        last,
        config_id=args.config_id,
        net_namespace=args.net_namespace,
        strict_includes=args.strict_includes,
        tolerant=args.tolerant,
        is_reload=args.reload,
    )
    loaded = again.loaded
    held, messages = None, loaded.messages
    if loaded.configuration is not None:
        messages = (*messages, *dropped(loaded.configuration, args.only))
        held = Held.of(loaded.configuration, only=args.only, memory=again.memory)
    data = msgspec.msgpack.encode(Outcome(messages=messages, held=held))
    with open(args.out, "wb") as out:  # noqa: PTH123 (a descriptor)
        out.write(data)
        out.flush()
        os._exit(0)  # nothing is left to be done, and a large model takes its time to be freed


if __name__ == "__main__":
    sys.exit(main())
