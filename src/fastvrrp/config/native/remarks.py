"""The comments of a YAML file, which its parser leaves out."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from typing import Any

import yaml

from fastvrrp.config.comments import Comment, shape_of

_Loader: Any = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
# What may stand between the last value of a line and a comment.
_BEHIND = re.compile(r"(?:[\s:,\]}?-]*\s)?#(.*)")


def yaml_comments(text: str) -> Iterator[Comment]:
    """Those of a file that can be parsed; nothing of one that cannot."""
    ends: dict[int, int] = {}  # column behind the last value, by line
    inside: set[int] = set()  # lines in which a value goes on
    try:
        events: Any = yaml.parse(io.StringIO(text), Loader=_Loader)
        for event in events:
            if type(event) in (yaml.ScalarEvent, yaml.AliasEvent):
                first, end = event.start_mark.line, event.end_mark
                if end.line > first:
                    inside.update(range(first, end.line))
                ends[end.line] = max(ends.get(end.line, 0), end.column)
    except yaml.YAMLError:
        return
    lines = text.split("\n")
    for number, line in enumerate(lines):
        if number in inside:
            continue
        match = _BEHIND.fullmatch(line, ends.get(number, 0))
        if match is not None:
            yield shape_of(lines, number, line[: match.start(1) - 1], match[1], by_indentation=True)
