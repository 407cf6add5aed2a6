"""Plain data as the text of a YAML file."""

from __future__ import annotations

import re
from typing import Any

import yaml

WIDTH = 100
_BREAKS_OF_OLD = re.compile("[\x85\u2028\u2029]")
_FLOW_MAX = 72  # characters of a list or mapping that stands in one line


class _Dumper(yaml.SafeDumper):
    """Short lists and mappings in one line, long ones with a line for each part."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        """Lists are indented, too."""
        super().increase_indent(flow, False)

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _is_short(data: Any) -> bool:
    if isinstance(data, dict):
        scalars = all(not isinstance(value, (dict, list)) for value in data.values())
    else:
        scalars = all(not isinstance(value, list) for value in data)
        scalars = scalars and all(not isinstance(v, dict) or _is_short(v) for v in data)
    return scalars and len(str(data)) <= _FLOW_MAX


class _Line(dict[str, Any]):
    """A mapping in one line."""


class _LineList(list[Any]):
    """A list in one line."""


def _styled(data: Any, depth: int) -> Any:
    if isinstance(data, dict):
        if data and depth > 2 and _is_short(data):
            return _Line(data)
        return {key: _styled(value, depth + 1) for key, value in data.items()}
    if isinstance(data, list):
        if _is_short(data) and not any(isinstance(v, dict) for v in data):
            return _LineList(data)
        return [_styled(value, depth + 2) for value in data]
    return data


def _mapping(dumper: yaml.SafeDumper, data: _Line) -> yaml.Node:
    return dumper.represent_mapping("tag:yaml.org,2002:map", data.items(), flow_style=True)


def _list(dumper: yaml.SafeDumper, data: _LineList) -> yaml.Node:
    return dumper.represent_sequence("tag:yaml.org,2002:seq", data, flow_style=True)


def _word(dumper: yaml.SafeDumper, data: str) -> yaml.Node:
    # The library would write these as the line breaks that they no longer are (`with_lines`).
    style = '"' if _BREAKS_OF_OLD.search(data) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", data, style=style)


_Dumper.add_representer(str, _word)
_Dumper.add_representer(_Line, _mapping)
_Dumper.add_representer(_LineList, _list)


def yaml_text(document: dict[str, Any]) -> str:
    """The file; a blank line between sections."""
    parts = [
        yaml.dump(
            {name: _styled(value, 1)},
            Dumper=_Dumper,
            sort_keys=False,
            width=WIDTH,
            allow_unicode=True,
            default_flow_style=False,
        )
        for name, value in document.items()
    ]
    return "\n".join(parts)
