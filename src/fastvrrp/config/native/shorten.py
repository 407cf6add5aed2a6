"""What many blocks say alike, written once: defaults and templates for `fastvrrp convert`."""

from __future__ import annotations

import json
from typing import Any

Data = dict[str, Any]
ALIKE_MIN = 3  # blocks that are worth a template
KEYS_MIN = 2  # keys that are
# What a block says of itself alone, whoever else says the same.
_OWN = frozenset(("virtual_router_id", "addresses", "address", "fwmark", "group"))
_SECTIONS = ("instances", "sync_groups", "track_scripts", "track_files", "track_processes")


def shortened(document: Data) -> Data:
    """The document with defaults and templates in front of the sections."""
    defaults: Data = {}
    templates: Data = {}
    made = dict(document)
    for section in _SECTIONS:
        blocks = document.get(section)
        if not blocks or len(blocks) < ALIKE_MIN:
            continue
        common = _common(list(blocks.values()))
        if common:
            defaults[section] = common
        left = {name: _without(block, common) for name, block in blocks.items()}
        found = _templates(left)
        if found:
            templates[section] = found
        made[section] = left
    servers = document.get("virtual_servers")
    if servers and len(servers) >= ALIKE_MIN:
        common = _common(servers)
        if common:
            defaults["virtual_servers"] = common
        made["virtual_servers"] = [_without(server, common) for server in servers]
    ordered: Data = {}
    for name, value in made.items():
        if name not in ("global", "tls"):
            _put(ordered, defaults, templates)
        ordered[name] = value
    return ordered


def _put(document: Data, defaults: Data, templates: Data) -> None:
    for name, value in (("defaults", defaults), ("templates", templates)):
        if value and name not in document:
            document[name] = value


def _identity(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def _common(blocks: list[Data]) -> Data:
    """What all blocks say."""
    first = {key: _identity(value) for key, value in blocks[0].items() if key not in _OWN}
    for block in blocks[1:]:
        for key in [k for k in first if k not in block or _identity(block[k]) != first[k]]:
            del first[key]
        if not first:
            return {}
    return {key: blocks[0][key] for key in first}


def _without(block: Data, common: Data) -> Data:
    return {key: value for key, value in block.items() if key not in common}


def _templates(blocks: dict[str, Data]) -> Data:
    """Templates of what several blocks say; the blocks then name theirs."""
    counts: dict[tuple[str, str], int] = {}
    for block in blocks.values():
        for key, value in block.items():
            if key not in _OWN:
                pair = key, _identity(value)
                counts[pair] = counts.get(pair, 0) + 1
    alike: dict[tuple[tuple[str, str], ...], list[str]] = {}
    for name, block in blocks.items():
        pairs = ((key, _identity(value)) for key, value in block.items() if key not in _OWN)
        shared = tuple(sorted(pair for pair in pairs if counts[pair] >= ALIKE_MIN))
        alike.setdefault(shared, []).append(name)
    found: Data = {}
    for shared, names in alike.items():
        if len(names) < ALIKE_MIN or len(shared) < KEYS_MIN:
            continue
        keys = {key for key, _ in shared}
        template = f"like-{names[0]}"
        found[template] = {key: v for key, v in blocks[names[0]].items() if key in keys}
        for name in names:
            block = blocks[name]
            own = {key: value for key, value in block.items() if key not in keys}
            blocks[name] = {"template": template, **own}
    return found
