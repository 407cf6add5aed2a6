"""The keyword table: what every keepalived keyword is called, how it is written, what it does here.

The table is data, `keywords.tsv`. The parser, `fastvrrp check` and the reference page are driven
by it. Columns:

block      path of the block the keyword stands in, e.g. vrrp_instance/authentication
keyword    the word; in parentheses where an entry starts with a value instead
type       how its arguments are read, see blocks.py; empty: documentation
syntax     arguments as one writes them
default    as text
range      MIN..MAX, or choices separated by /
effect     done, warn (nothing yet), accepted (nothing, on purpose), refused
reason     why it has no effect
since      release of keepalived, empty: 2.2.7 or earlier; fastvrrp: not a keyword of keepalived's
tier       A most deployments, B common, C rare
aliases    other spellings; `use NAME` marks an old spelling of NAME, `as NAME` one that is as good
meaning    one sentence
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

TOP = "(top level)"
LANGUAGE = "(language)"
COLUMNS = 12
# Blocks in which any word may be a secret, and keywords whose arguments are: never shown.
SECRET_BLOCKS = frozenset(("vrrp_instance/authentication", "vrrp_instance/auth_hmac", "SSL"))
SECRET_OPENERS = frozenset(path.rpartition("/")[2] for path in SECRET_BLOCKS)
SECRET_WORDS = frozenset(("auth_pass", "password", "key"))
WORKS_WITHOUT = "the rest of the configuration works without it"


class Keyword(NamedTuple):
    """One row of the table."""

    block: str
    keyword: str
    type: str
    syntax: str
    default: str
    range: str
    effect: str
    reason: str
    since: str
    tier: str
    aliases: str
    meaning: str

    @property
    def path(self) -> str:
        """The block this keyword opens."""
        return self.keyword if self.block == TOP else f"{self.block}/{self.keyword}"

    @property
    def replacement(self) -> str:
        """The current spelling of an old one, else ""."""
        return self.aliases[4:] if self.aliases.startswith("use ") else ""

    @property
    def canonical(self) -> str:
        """The spelling its value goes by where that is another one, else ""."""
        return self.aliases[3:] if self.aliases.startswith("as ") else self.replacement

    def no_effect(self) -> str:
        """What to say about a keyword that does nothing."""
        when = "has no effect" if self.effect == "accepted" else "has no effect yet"
        return f"{self.keyword} {when}" + (f": {self.reason}" if self.reason else "")


Block = Mapping[str, Keyword]


def read_table(text: str) -> dict[str, dict[str, Keyword]]:
    """Block path -> keyword -> row. Raises ValueError for a line that is not a row."""
    blocks: dict[str, dict[str, Keyword]] = {}
    for line in text.splitlines()[1:]:
        fields = line.split("\t")
        if len(fields) != COLUMNS:
            raise ValueError(f"keyword table: {len(fields)} columns in {line!r}")
        row = Keyword(*fields)
        blocks.setdefault(row.block, {})[row.keyword] = row
    return blocks


@functools.cache
def table() -> Mapping[str, Block]:
    """The table that comes with fastvrrp, read once."""
    return read_table(Path(__file__).with_name("keywords.tsv").read_text("utf-8"))


@functools.cache
def int_range(text: str) -> tuple[int, int]:
    """MIN..MAX of a `range` column."""
    low, _, high = text.partition("..")
    return int(low), int(high)
