"""The JSON Schema of the native format, made of the keyword table and the shapes of its values.

It says what has the right form. Ranges of durations, addresses, names that must exist and what
goes together are found by `fastvrrp check` alone; what the schema refuses does not pass there.
"""

from __future__ import annotations

import json
from typing import Any

from fastvrrp.config.keywords import Keyword
from fastvrrp.config.native.expand import FOR, NAME, TEMPLATE
from fastvrrp.config.native.files import block_sections
from fastvrrp.config.native.lower import (
    CHECKS,
    REAL_SERVERS,
    SERVER_DEFAULTS,
    argument_shape,
    is_list_section,
)
from fastvrrp.config.native.names import (
    DEFAULTS,
    GLOBAL,
    INCLUDE,
    NODES,
    REAL_SERVER,
    TEMPLATES,
    VIRTUAL_SERVER,
    checks,
    global_keys,
    keys,
    sections,
)
from fastvrrp.config.native.options import entry_of
from fastvrrp.config.native.shapes import TEXT, VARIABLE, Schema
from fastvrrp.config.native.units import DURATION

DRAFT = "http://json-schema.org/draft-07/schema#"
_NAMES: Schema = {"anyOf": [TEXT, {"type": "array", "items": TEXT}]}
_ENDPOINT: Schema = {"type": "string", "description": "ADDRESS, ADDRESS:PORT or [IPV6]:PORT"}


def ref(name: str) -> Schema:
    return {"$ref": f"#/definitions/{name}"}


def one_or_more(item: Schema) -> Schema:
    """A list, or one entry without brackets."""
    return {"anyOf": [item, {"type": "array", "items": item}]}


def documented(schema: Schema, row: Keyword) -> Schema:
    """With what an editor shows; beside a $ref draft 7 reads nothing."""
    text = row.meaning
    if row.default and not row.type.startswith(("block", "lines", "flag")):
        text += f" Default: {row.default}."
    if row.effect != "done":
        text += f" {row.no_effect().removeprefix(row.keyword).strip().capitalize()}."
    inner = {"allOf": [schema]} if "$ref" in schema else schema
    return {**inner, "description": text}


def value_schema(row: Keyword) -> Schema:
    """What may stand behind a key."""
    kind = row.type.partition(":")[0]
    if kind == "lines":
        return one_or_more(entry_of(row).schema())
    if kind == "block":
        return ref(_definition(row.path))
    if kind == "blocks":
        return one_or_more(ref(_definition(row.path)))
    return argument_shape(row).schema()


def _definition(path: str) -> str:
    return path.replace("/", ".")


class _Definitions:
    """The definitions of the schema, each made when it is first referred to."""

    def __init__(self) -> None:
        self.made: dict[str, Schema] = {}

    def block(self, path: str, **further: Schema) -> None:
        """The definition of a block and those in it."""
        name = _definition(path)
        if name in self.made:
            return
        self.made[name] = {}
        properties: dict[str, Schema] = {}
        for key, row in keys(path).items():
            properties[key] = documented(value_schema(row), row)
            if row.type.partition(":")[0] in ("block", "blocks"):
                self.block(row.path)
        self.made[name] = _object({**properties, **further})


def _object(properties: dict[str, Schema], **more: Any) -> Schema:
    return {"type": "object", "properties": properties, "additionalProperties": False, **more}


def _loop() -> Schema:
    values = {
        "anyOf": [
            {"type": "string", "pattern": r"^-?[0-9]{1,9}\.\.-?[0-9]{1,9}$"},
            {"type": "array", "items": {"type": ["string", "number", "boolean"]}, "minItems": 1},
        ]
    }
    return {
        "type": "object",
        "patternProperties": {f"^{NAME}$": values},
        "additionalProperties": False,
        "minProperties": 1,
        "description": "Makes a block for each value; <n> and <n+1> in it are replaced.",
    }


def _checks(made: _Definitions) -> Schema:
    kinds: dict[str, Schema] = {}
    for name, row in checks().items():
        made.block(row.path)
        kinds[name] = documented({"anyOf": [ref(_definition(row.path)), {"type": "null"}]}, row)
    return one_or_more({"anyOf": [{"enum": list(kinds)}, _object(kinds)]})


def schema() -> Schema:
    """The whole schema."""
    made = _Definitions()
    common: dict[str, Schema] = {
        TEMPLATE: {**_NAMES, "description": "Templates whose keys apply where it has none."},
        FOR: _loop(),
    }
    check = {**_checks(made), "description": "How real servers are checked."}
    made.block(REAL_SERVER, address=_ENDPOINT, checks=check, **common)
    servers = {"anyOf": [{"type": "string"}, ref(_definition(REAL_SERVER))]}
    properties: dict[str, Schema] = {}
    for name, row in sections().items():
        if row.keyword == VIRTUAL_SERVER:
            further = {
                "address": _ENDPOINT,
                "fwmark": {"anyOf": [{"type": "integer"}, VARIABLE]},
                "group": {**TEXT, "description": "Name of a virtual_server_group."},
                CHECKS: check,
                SERVER_DEFAULTS: ref(_definition(REAL_SERVER)),
                REAL_SERVERS: one_or_more(servers),
            }
            made.block(row.path, **further, **common)
            properties[name] = documented(one_or_more(ref(row.path)), row)
        elif row.keyword == "virtual_server_group":
            entries = one_or_more(entry_of(row).schema())
            named: Schema = {"type": "object", "additionalProperties": entries}
            properties[name] = documented(named, row)
        elif row.type.startswith("lines"):
            properties[name] = documented(value_schema(row), row)
        elif row.keyword == "global_defs":
            for inner in keys(row.path).values():
                if inner.type == "block":
                    made.block(inner.path)
            rows = global_keys().items()
            body = {key: documented(value_schema(inner), inner) for key, inner in rows}
            properties[GLOBAL] = documented(_object(body), row)
        elif row.type == "block" and not is_list_section(row):
            made.block(row.path)
            properties[name] = documented(ref(_definition(row.path)), row)
        else:
            made.block(row.path, **common)
            blocks: Schema = {"type": "object", "additionalProperties": ref(row.path)}
            if is_list_section(row):
                blocks = one_or_more(ref(row.path))
            properties[name] = documented(blocks, row)
    with_blocks = {name: ref(_path_of(name)) for name in block_sections()}
    templates = {
        name: {"type": "object", "additionalProperties": block}
        for name, block in with_blocks.items()
    }
    properties[DEFAULTS] = {
        **_object(with_blocks),
        "description": "By section: what applies to every block that says nothing else.",
    }
    properties[TEMPLATES] = {
        **_object(templates),
        "description": "By section and name: what applies to blocks that name it.",
    }
    properties[INCLUDE] = {**_NAMES, "description": "Files and patterns to read, too."}
    properties[NODES] = {
        "type": "object",
        "additionalProperties": ref("document"),
        "description": "By config id (usually the host name): what applies to that node only.",
    }
    return {
        "$schema": DRAFT,
        "title": "fastvrrp",
        "description": "Native configuration of fastvrrp. Made of its keyword table.",
        "allOf": [ref("document")],
        "definitions": {
            "variable": {
                "type": "string",
                "pattern": f"<{NAME}([+-][0-9]{{1,9}})?>",
                "description": "A variable of `for`.",
            },
            "duration": {
                "anyOf": [
                    {"type": "string", "pattern": DURATION},
                    {"const": 0},
                    VARIABLE,
                ],
                "description": "A number with us, ms, s, min, h or d.",
            },
            "document": _object(properties),
            **made.made,
        },
    }


def _path_of(name: str) -> str:
    return _definition(REAL_SERVER if name == REAL_SERVERS else sections()[name].path)


def schema_text() -> str:
    """The schema as it is published."""
    return json.dumps(schema(), indent=1, ensure_ascii=False) + "\n"
