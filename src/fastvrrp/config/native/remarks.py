"""The comments of a YAML file, which its parser leaves out."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from typing import Any

import yaml

from fastvrrp.config.comments import Comment, Layout
from fastvrrp.config.diagnostics import Diagnostics, TooManyErrors
from fastvrrp.config.native.document import Mapping, compose, with_lines
from fastvrrp.config.native.names import NODES

_Loader: Any = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
# What may stand between the last value of a line and a comment.
_BEHIND = re.compile(r"(?:[\s:,\]}?-]*\s)?#(.*)")
# What a text of several lines begins with, in the line above them.
_HEADER = re.compile(r"(?:[&!]\S*\s+)*[|>][-+0-9]*")
_BREAK = re.compile("\r\n?|\n")  # as the parser counts lines


def yaml_comments(text: str) -> Iterator[Comment]:
    """Those of a file that can be parsed; nothing of one that cannot."""
    ends: dict[int, int] = {}  # column behind the last value, by line
    inside: set[int] = set()  # lines in which a value goes on
    text = with_lines(text).removeprefix("\ufeff")  # which the parser does not count as a column
    lines = _BREAK.split(text)
    layout = Layout(lines, by_indentation=True)
    try:
        events: Any = yaml.parse(io.StringIO(text), Loader=_Loader)
        for event in events:
            if type(event) in (yaml.ScalarEvent, yaml.AliasEvent):
                start, end = event.start_mark, event.end_mark
                first = start.line
                if type(event) is yaml.ScalarEvent and event.style in ("|", ">"):
                    header = _HEADER.match(lines[first], start.column)
                    ends[first] = header.end() if header is not None else len(lines[first])
                    first += 1
                if end.line > first:
                    inside.update(range(first, end.line))
                ends[end.line] = max(ends.get(end.line, 0), end.column)
    except yaml.YAMLError:
        return
    for number, line in enumerate(lines):
        if number in inside:
            continue
        match = _BEHIND.fullmatch(line, ends.get(number, 0))
        if match is not None:
            yield layout.comment(number, line[: match.start(1) - 1], match[1])


def yaml_nodes(text: str) -> Iterator[str]:
    """The routers for which a file has a part of its own."""
    if NODES not in text:
        return
    try:
        root = compose(Diagnostics(), text, "")
    except TooManyErrors:
        return
    found = root.pairs.get(NODES) if isinstance(root, Mapping) else None
    if found is not None and isinstance(found.value, Mapping):
        yield from found.value.pairs
