"""Reads a configuration in a process of its own: `python -m fastvrrp.supervisor.reader`.

What it found goes to the descriptor `--out`, as MessagePack of an `Outcome`. `--last` holds what
the configuration in effect was made of (`Held.last`): its blocks are not parsed again.
"""

import gc
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from fastvrrp.config import model
from fastvrrp.config.memory import Last
from fastvrrp.light import msgspec
from fastvrrp.supervisor.given import Given
from fastvrrp.supervisor.held import Held, dropped


class Outcome(model.Struct):
    """What came of reading a file; `held` is None after errors. Of its `blocks` so many were
    parsed, the others are known."""

    messages: tuple[model.Message, ...]
    held: Held | None
    blocks: int = 0
    parsed: int = 0

    @property
    def errors(self) -> int:
        return sum(message.severity is model.Severity.ERROR for message in self.messages)


def main(argv: Sequence[str] | None = None) -> int:
    """Read one file; returns 0 whatever it says."""
    gc.disable()  # it ends before there would be anything worth collecting
    from fastvrrp.config.load import load_again

    given = Given(sys.argv[1:] if argv is None else argv)
    out_fd, known_fd, only = given.needed("out"), given.number("last"), given.text("only")
    config_id, net_namespace = given.text("config-id"), given.text("net-namespace")
    strict_includes, tolerant = given.flag("strict-includes"), given.flag("tolerant")
    is_reload = given.flag("reload")
    given.done()
    last = None
    if known_fd is not None:
        with open(known_fd, "rb") as known:  # noqa: PTH123 (a descriptor)
            last = Last.of(known.read())
    again = load_again(
        Path(*given.files),
        last,
        config_id=config_id,
        net_namespace=net_namespace,
        strict_includes=strict_includes,
        tolerant=tolerant,
        is_reload=is_reload,
    )
    loaded = again.loaded
    held, messages = None, loaded.messages
    if loaded.configuration is not None:
        messages = (*messages, *dropped(loaded.configuration, only))
        held = Held.of(loaded.configuration, only=only, memory=again.memory)
    parsed = sum(again.parsed.values())
    outcome = Outcome(messages=messages, held=held, blocks=again.blocks, parsed=parsed)
    data = msgspec.msgpack.encode(outcome)
    with open(out_fd, "wb") as out:  # noqa: PTH123 (a descriptor)
        out.write(data)
        out.flush()
        os._exit(0)  # nothing is left to be done, and a large model takes its time to be freed


if __name__ == "__main__":
    sys.exit(main())
