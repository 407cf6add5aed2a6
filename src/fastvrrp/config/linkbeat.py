"""linkbeat_interfaces: read and checked; the kernel tells of links by itself."""

from __future__ import annotations

from fastvrrp.config.blocks import Entry, plain_lines
from fastvrrp.config.context import Context
from fastvrrp.config.diagnostics import shown
from fastvrrp.config.node import Node
from fastvrrp.config.values import interface_name

METHODS = ("MII", "ETHTOOL", "IOCTL")


def read_linkbeat(context: Context, node: Node) -> list[Entry]:
    """Lines IF [METHOD]; nothing is made of them."""
    for line in plain_lines(context, node):
        if not interface_name(context, line, line.words[0], word=0):
            continue
        context.check_interface(line, line.words[0], word=0)
        if len(line.words) > 1 and line.words[1] not in METHODS:
            text = f"there is no way to poll called {shown(line.words[1])}, ignored"
            context.warning(line, text, f"write {' or '.join(METHODS)}", word=1)
        if len(line.words) > 2:
            context.extra(line, 2)
    return []
