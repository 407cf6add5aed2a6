"""The entries of a YAML text, found by indentation before any parser has seen it.

An entry is a key with its value, or an item of a list, at a depth at which a reload can tell what
has changed: a block of a section, a template, what one section has in the part of one node, and
where a section has no blocks the whole of it. Whether there is such an entry at all is for the
parser to say: brackets, quotes or texts may be open.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator

from fastvrrp.config.native.names import DEFAULTS, NODES, TEMPLATES, sections
from fastvrrp.config.taken import Entry

Path = tuple[str, ...]

_ODD = re.compile("[\t\r\x85\u2028\u2029\ufeff]")
# Where a line outside everything may begin; a list may be indented no deeper than its key.
_OUTERMOST = re.compile(r"(?:\A|\n)(?=[^ #\n-]|-[^ \n])")
_NAMED = re.compile(r" *([A-Za-z0-9_<][A-Za-z0-9_.<>+-]*):(?=[ \n]|\Z)")
_LISTED = re.compile(r" *- +[a-z_]+:(?=[ \n]|\Z)")
_NOTHING = re.compile(r" *(?:#[^\n]*)?(?=\n|\Z)")
_OPEN_END = re.compile(r"[|>][-+0-9]* *(?:#.*)?\Z")
_BLANK = r"(?:\n *(?:#[^\n]*)?(?=\n|\Z))*"
_WITHOUT_ENTRIES = frozenset(("global", "tls"))


def entries(text: str) -> list[Entry]:
    """All of them, in their order. None of a text that says a section twice, which is an error."""
    found: list[Entry] = []
    names: set[str] = set()
    line, last = 1, 0
    for start in _OUTERMOST.finditer(text):
        at = start.end()
        line, last = line + text.count("\n", last, at), at
        named = _NAMED.match(text, at)
        if named is None:
            continue
        if named[1] in names:
            return []
        names.add(named[1])
        nothing = _NOTHING.match(text, named.end())
        if nothing is not None and _has_entries((named[1],)):
            found += _within(text, nothing.end(), line, (named[1],), 0)
        else:
            whole = _pattern(0, is_named=True).match(text, at)
            assert whole is not None
            if _is_plain(whole[0]):
                found.append(Entry((), named[1], whole[0], at, line, 1))
    return found


def _has_entries(path: Path) -> bool:
    """Whether what stands there is made of entries."""
    if path[0] == NODES and len(path) > 2:
        return _has_entries(path[2:])
    if path[0] in (NODES, TEMPLATES):
        return len(path) <= 2
    row = sections().get(path[0])
    if row is None:
        return path == (DEFAULTS,)
    is_plain = path[0] in _WITHOUT_ENTRIES or row.type.startswith("lines")
    return len(path) == 1 and not is_plain


def _within(text: str, end: int, line: int, path: Path, above: int) -> Iterator[Entry]:
    """The entries below a key that is indented so far `above`, in a line that ends there."""
    indent = -1
    has_inner = path[0] in (NODES, TEMPLATES)
    while end < len(text):
        at, line = end + 1, line + 1
        end = text.find("\n", at)
        if end < 0:
            end = len(text)
        head = text[at:end]
        content = head.lstrip(" ")
        if not content or content[0] == "#":
            continue
        width = len(head) - len(content)
        if width < above or (width == above and content[:2] != "- "):
            return
        if indent < 0:
            indent = width
            of_key, of_item = _pattern(width, is_named=True), _pattern(width, is_named=False)
        if width < indent:
            return
        if width > indent:
            continue
        named = _NAMED.match(head)
        name = named[1] if named is not None else ""
        whole = (of_item if named is None else of_key).match(text, at)
        assert whole is not None
        if (
            has_inner
            and named is not None
            and _NOTHING.match(head, named.end())
            and _has_entries((*path, name))
        ):
            yield from _within(text, end, line, (*path, name), width)
        elif (named is not None or _LISTED.match(head)) and _is_plain(whole[0]):
            yield Entry(path, name, whole[0], at, line, width + 1)
        line += whole[0].count("\n")
        end = whole.end()


def _is_plain(text: str) -> bool:
    """Whether an entry has nothing odd in it, and is all that there is of it: behind the | or > of
    a text, even an empty one, deeper lines are no comments."""
    return not _ODD.search(text) and not _OPEN_END.search(text, text.rfind("\n") + 1)


@functools.cache
def _pattern(indent: int, *, is_named: bool) -> re.Pattern[str]:
    """A line, and all deeper ones behind it but comments and blank lines at the end. A key may have
    a list that is indented no deeper."""
    deeper = r" +[^ #\n]" + r"|-(?=[ \n]|\Z)" * is_named
    return re.compile(rf"[^\n]*(?:{_BLANK}\n {{{indent}}}(?:{deeper})[^\n]*)*")
