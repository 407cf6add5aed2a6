"""Reads a block by the keyword table: every statement is looked up, checked and collected.

The result of a block is a dict in the order of the file: keyword -> `Entry`. Blocks that have no
effect yet are read by the same code; only their values are dropped.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import msgspec

from fastvrrp.config.context import Context
from fastvrrp.config.keywords import SECRET_BLOCKS, TOP, WORKS_WITHOUT, Block, Keyword, table
from fastvrrp.config.lvsreaders import LVS_READERS
from fastvrrp.config.node import Node, Twins, fresh
from fastvrrp.config.readers import READERS, Reader
from fastvrrp.config.scripts import (
    account_reader,
    command_reader,
    fifo_reader,
    optional_command_reader,
    text_reader,
)
from fastvrrp.config.special import SPECIAL_READERS

GROUP = "vrrp_sync_group"
STRAY = "(stray)"  # statements of a GROUP that may be names of members, see `groups`
PLACES_SHOWN = 2  # blocks in which a misplaced keyword would be right
FIRST_WINS = frozenset(
    (
        "notify_master",
        "notify_backup",
        "notify_fault",
        "notify_stop",
        "notify_deleted",
        "notify",
        "notify_master_rx_lower_pri",
        "notify_up",
        "notify_down",
        "quorum_up",
        "quorum_down",
        "notify_fifo",
        "vrrp_notify_fifo",
        "lvs_notify_fifo",
        "notify_fifo_script",
        "vrrp_notify_fifo_script",
        "lvs_notify_fifo_script",
        "lvs_sync_daemon",
        "startup_script",
        "shutdown_script",
    )
)
ADDED_UP = frozenset(("status_code", "regex_options"))  # further lines add to the first


class Entry(msgspec.Struct, frozen=True, eq=False, gc=False):
    """A value and where it came from."""

    value: Any
    node: Node


Entries = dict[str, Entry]  # by keyword, in the order of the file
LineReader = Callable[[Context, Node], list[Entry]]

# Equal words always have the value that one of these gave them once.
_PURE_READERS: dict[str, Reader] = {
    **READERS,
    **SPECIAL_READERS,
    **LVS_READERS,
    "vmac": READERS["words?"],
    "ipvlan": READERS["words?"],
}
_OF_FORMAT = frozenset(("bool-quirk",))  # what the words mean depends on the file's format
_READERS: dict[str, Reader] = {
    **_PURE_READERS,
    "account": account_reader,
    "command": command_reader,
    "command?": optional_command_reader,
    "command-text": text_reader,
    "fifo": fifo_reader,
}


def get(entries: Entries, keyword: str, default: Any = None) -> Any:
    """The value of a keyword."""
    entry = entries.get(keyword)
    return default if entry is None else entry.value


def listed(entries: Entries, keyword: str) -> list[Entry]:
    """The lines of a block that is a list."""
    entry = entries.get(keyword)
    return [] if entry is None else entry.value


def listed_words(entries: Entries, keyword: str) -> Iterator[tuple[str, Node, int]]:
    """The words of a block that lists words, each with its statement and its number in it."""
    for _, line in itertools.groupby(listed(entries, keyword), lambda entry: id(entry.node)):
        for number, entry in enumerate(line):
            yield entry.value, entry.node, number


def listed_blocks(entries: Entries, keyword: str) -> list[Node]:
    """The statements of blocks that may be repeated, in the order of the file."""
    entry = entries.get(keyword)
    return [] if entry is None else entry.value


def has_body(context: Context, node: Node) -> bool:
    """A block without braces is an error."""
    if node.body is None:
        context.error(
            node,
            f"{node.words[0]} needs a block",
            f"write {' '.join(node.words[:1])} {{ ... }}",
            word=len(node.words) - 1,
        )
        return False
    return True


def block_name(context: Context, node: Node) -> str | None:
    """The name of a block that must have exactly one."""
    kind = node.words[0]
    if len(node.words) == 2 and node.words[1]:
        return node.words[1]
    if len(node.words) < 2 or not node.words[1]:
        context.error(node, f"{kind} needs a name", f"write {kind} NAME {{ ... }}")
    else:
        context.error(
            node,
            f"{kind} has more than one name",
            "write one word, or quote a name with blanks",
            word=2,
        )
    return None


def unknown_keyword(context: Context, node: Node, block: Block, path: str) -> None:
    """An error, with a guess; nothing of the line is shown where it may be a secret."""
    if path in SECRET_BLOCKS:
        context.error(node, f"unknown keyword in {path}", f"known: {', '.join(sorted(block))}")
    else:
        context.unknown(node, "keyword", block, hint=_elsewhere(node.words[0]))


def _elsewhere(word: str) -> str:
    """Where a keyword belongs that stands in the wrong place; "" for one that is none at all."""
    if word in table()[TOP]:
        return "it stands outside all blocks: is a '}' missing above?"
    places = [block for block, rows in table().items() if word in rows and block[0] != "("]
    outermost = min((place.count("/") for place in places), default=0)
    named = sorted(place for place in places if place.count("/") == outermost)
    return f"it belongs into {' or '.join(named[:PLACES_SHOWN])}" if named else ""


def warn_effect(context: Context, node: Node, keyword: Keyword, *, effective: bool = True) -> None:
    """Say once per statement what a keyword does not do, or that it is an old spelling."""
    if not effective:
        pass  # the block around it has been reported
    elif keyword.effect == "refused":
        context.error(node, f"{keyword.keyword} is refused: {keyword.reason}", "remove it")
    elif keyword.effect != "done":
        context.warning(node, keyword.no_effect(), WORKS_WITHOUT)
    if keyword.replacement:
        context.warning(
            node, f"{keyword.keyword} is an old spelling", f"write {keyword.replacement}"
        )


class _Plan(NamedTuple):
    """How to read a keyword: the name its value goes by, its row, its reader (None: a block),
    whether equal words always have that value, whether its mere presence is worth a message, and
    whether it opens one of several blocks that are read by whoever makes something of them."""

    name: str
    keyword: Keyword
    reader: Reader | None
    is_pure: bool
    is_marked: bool
    is_repeated: bool


@functools.cache
def _plans(path: str) -> dict[str, _Plan]:
    block = table().get(path, {})
    plans = {}
    for word, keyword in block.items():
        if word.startswith("("):
            continue
        name = keyword.canonical if keyword.canonical in block else word
        is_block = keyword.type.startswith(("block", "lines"))
        is_marked = keyword.effect != "done" or bool(keyword.replacement)
        reader = None if is_block else _READERS[keyword.type]
        is_repeated = keyword.type.startswith("blocks")
        is_pure = keyword.type in _PURE_READERS and keyword.type not in _OF_FORMAT
        plans[word] = _Plan(name, keyword, reader, is_pure, is_marked, is_repeated)
    return plans


def plain_lines(context: Context, node: Node) -> Iterator[Node]:
    """The lines of a block that is a list: one that opens a block of its own is an error."""
    for line in node.body or ():
        if line.body is None:
            yield line
        else:
            context.error(line, f"no block is possible in {node.words[0]}", "remove the braces")


def read_words(context: Context, node: Node) -> list[Entry]:
    """A block that lists words."""
    return [Entry(word, line) for line in plain_lines(context, node) for word in line.words]


def read_block(
    context: Context,
    node: Node,
    path: str,
    lines: Mapping[str, LineReader],
    *,
    effective: bool = True,
) -> Entries:
    """Read the statements of a block.

    `lines` has the readers of `lines:KIND` types. The value of a `blocks` type is the list of its
    statements, see `listed_blocks`. With `effective` false the block has been
    reported as without effect already, and its keywords are not reported again.

    Thousands of instances say the same things: words that were read without a message once have
    that value in every block of the kind.
    """
    entries: Entries = {}
    plans = _plans(path)
    diagnostics = context.diagnostics
    known = context.known.setdefault((path, effective), {})
    for statement in node.body or ():
        words = statement.words
        if statement.body is None:
            found = known.get(words)
            if found is not None and found[0] not in entries:
                entries[found[0]] = Entry(found[1], statement)
                continue
        elif type(statement) is Twins and words[0] in entries:
            entries[words[0]].value.append(statement)  # as the block they are like
            continue
        plan = plans.get(words[0])
        if plan is None:
            if path == GROUP and len(words) == 1 and statement.body is None:
                entries.setdefault(STRAY, Entry([], statement)).value.append(statement)
                continue
            unknown_keyword(context, statement, table().get(path, {}), path)
            continue
        word, keyword, reader, is_pure, is_marked, is_repeated = plan
        said = diagnostics.count
        if is_marked:
            warn_effect(context, statement, keyword, effective=effective)
        if reader is None:
            if not has_body(context, statement):
                continue
            if is_repeated:
                if len(words) > 1 and keyword.type == "blocks":
                    context.extra(statement, 1)
                entries.setdefault(word, Entry([], statement)).value.append(statement)
                continue
            value = _nested(context, statement, keyword, lines, effective)
            earlier = entries.get(word)
            if earlier is not None:  # a second block goes on where the first one ended
                if isinstance(value, list):
                    earlier.value.extend(value)
                else:
                    earlier.value.update(value)
                continue
        else:
            if statement.body is not None:
                context.error(statement, f"{words[0]} has no block", "remove the braces")
                continue
            value = reader(context, statement, keyword)
            if value is None:
                continue
            if type(value) is str:
                value = fresh(value)
            if is_pure and diagnostics.count == said:
                known[words] = word, value
        if word in entries:
            if word in FIRST_WINS:
                context.warning(
                    statement, f"{word} is set already, ignored", "keep one of the lines"
                )
                continue
            if word in ADDED_UP:
                value = (*entries[word].value, *value)
            del entries[word]  # a repeated keyword counts where it stands last
        entries[word] = Entry(value, statement)
    return entries


def _nested(
    context: Context,
    statement: Node,
    keyword: Keyword,
    lines: Mapping[str, LineReader],
    effective: bool,
) -> Any:
    kind, _, detail = keyword.type.partition(":")
    if kind == "lines":
        if len(statement.words) > 1:
            context.extra(statement, 1)
        reader = lines.get(detail, read_words)
        return reader(context, statement)
    if detail == "name":
        block_name(context, statement)
    elif detail == "words" and len(statement.words) < 2:
        context.missing(statement, keyword)
    elif not detail and len(statement.words) > 1:
        context.extra(statement, 1)
    inner = effective and keyword.effect == "done"
    return read_block(context, statement, keyword.path, lines, effective=inner)
