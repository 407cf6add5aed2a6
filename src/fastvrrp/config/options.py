"""What reading an entry of virtual_routes and one of virtual_rules have in common."""

from __future__ import annotations

from typing import Any

from fastvrrp.config import lookups
from fastvrrp.config.context import Context
from fastvrrp.config.node import Node


class Options:
    """One entry being read: words, the place in them, and the fields found so far."""

    kind = ""  # what the entry is called

    def __init__(self, context: Context, node: Node, is_static: bool) -> None:
        self.context = context
        self.node = node
        self.words = node.words
        self.index = 0
        self.is_static = is_static
        self.family = 0  # 0: not known yet
        self.fields: dict[str, Any] = {}
        self.good = True

    def error(self, text: str, hint: str, index: int | None = None) -> None:
        """The entry cannot be used, because of this word or the one at `index`."""
        self.good = False
        self.context.error(self.node, text, hint, word=self.index if index is None else index)

    def is_family(self, family: int, index: int | None = None) -> bool:
        """Note the family of an address; all must agree."""
        if family and self.family and family != self.family:
            text = f"IPv4 and IPv6 are mixed in one {self.kind}"
            self.error(text, f"write IPv{self.family} addresses", index)
            return False
        self.family = self.family or family
        return True

    def put(self, field: str, value: object) -> None:
        """Keep what was found; nothing was found after an error."""
        if value is None:
            self.good = False
        else:
            self.fields[field] = value

    def named(self, field: str, table: str, what: str, highest: int) -> None:
        """A name of an iproute2 file, or a number."""
        self.put(field, lookups.named(self.context, self.node, self.index, table, what, highest))

    def interface(self, field: str) -> None:
        self.put(field, lookups.interface(self.context, self.node, self.index))
