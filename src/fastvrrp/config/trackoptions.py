"""The words behind a name in a track_... block."""

from __future__ import annotations

from fastvrrp.config.context import Context
from fastvrrp.config.diagnostics import shown
from fastvrrp.config.node import Node
from fastvrrp.config.values import integer

# else 254
WEIGHT_MAX = {
    "track_interface": 253,
    "track_script": 253,
    "track_bfd": 253,
    "track_virtual_server": 253,
}
WEIGHT_WRITTEN_MAX = 254  # keepalived takes 254 as 253 for interfaces and scripts


def read_options(
    context: Context, line: Node, kind: str, start: int = 1
) -> tuple[int | None, bool | None]:
    """`[weight N] [reverse|noreverse]` from word `start` on; None: not written."""
    weight: int | None = None
    reverse: bool | None = None
    words = line.words
    index = start
    while index < len(words):
        word = words[index]
        if word in ("reverse", "noreverse", "no_reverse"):
            reverse = word == "reverse"
        elif word == "weight":
            index += 1
            if index >= len(words):
                context.error(line, "weight needs a value", "write weight N", word=index - 1)
                break
            weight = _weight(context, line, kind, index)
        else:
            context.unknown(line, "option", ("weight", "reverse", "noreverse"), word=index)
        index += 1
    return weight, reverse


def _weight(context: Context, line: Node, kind: str, index: int) -> int | None:
    most = WEIGHT_MAX.get(kind, WEIGHT_WRITTEN_MAX)
    value = integer(line.words[index])
    if value is None or abs(value) > WEIGHT_WRITTEN_MAX:
        context.warning(
            line,
            f"weight is not a number from -{most} to {most}: {shown(line.words[index])}, ignored",
            f"write -{most} to {most}",
            word=index,
        )
        return None
    if abs(value) > most:
        bounded = most if value > 0 else -most
        context.warning(
            line, f"weight {value}: using {bounded}", f"write -{most} to {most}", word=index
        )
        return bounded
    return value
