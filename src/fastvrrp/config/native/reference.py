"""The reference of the native format as Markdown, made of the keyword table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from fastvrrp.config.keywords import Keyword, int_range
from fastvrrp.config.native.kinds import Account, Command, Endpoint, ExtraInterfaces, Fifo, Weight
from fastvrrp.config.native.lower import argument_shape, is_list_section
from fastvrrp.config.native.names import GLOBAL, checks, global_keys, keys, sections
from fastvrrp.config.native.options import Entry, entry_of, is_bare
from fastvrrp.config.native.shapes import (
    Choice,
    Duration,
    Flag,
    Number,
    Optional,
    Shape,
    Words,
    unit_of,
)

HEAD = """\
# Reference of the native format

Every key of every section. [The native format](yaml.md) explains how they go together;
[fastvrrp.schema.json](fastvrrp.schema.json) tells editors the same. Both are made from
`src/fastvrrp/config/keywords.tsv` by `tools/keyword-effects`. Durations have a unit: us, ms, s,
min, h or d.
"""
_FORMS: dict[type[Shape], str] = {
    Flag: "true or false",
    Words: "list",
    Command: "program, list of words, or `{command, user, group}`",
    Account: "user, or `{user, group}`",
    Fifo: "path, or `{path, user, group}`",
    Endpoint: "`ADDRESS:PORT`",
    ExtraInterfaces: "duration, or `{interval, all}`",
    Weight: "number, or `{weight, reverse}`",
}


_FURTHER = {
    "virtual_servers": [
        "Each begins with `address: ADDRESS:PORT`, `fwmark: N` or `group: NAME`. Real servers",
        "have an `address: ADDRESS:PORT`, too; one that says nothing else can be written as that",
        "text alone. `checks` is a list of the [checks](#check-misc) below, of a real server or",
        "for all that have none, and `real_server_defaults` is what all real servers of this",
        "virtual server say.",
        "",
    ],
}


def form(shape: Shape) -> str:
    """What is written behind a key, in words."""
    row = shape.row
    if isinstance(shape, Optional):
        return f"true, or {form(shape.inner)}"
    if isinstance(shape, Number):
        low, high = int_range(row.range)
        return f"{low} to {high}"
    if isinstance(shape, Duration):
        low_text, _, high_text = row.range.partition("..")
        return f"duration, {low_text} to {high_text} {_unit_name(row)}"
    if isinstance(shape, Choice):
        return " or ".join(f"`{choice}`" for choice in shape.choices())
    if isinstance(shape, Entry):
        return "text, or `{" + ", ".join(shape.known) + "}`"
    for kind, text in _FORMS.items():
        if isinstance(shape, kind):
            return text
    return f"`{row.syntax.strip('{} .')}`" if row.syntax else "text"


def _unit_name(row: Keyword) -> str:
    return {1000: "us", 1_000_000: "ms"}.get(unit_of(row) or 0, "s")


def value_form(row: Keyword) -> str:
    """What is written behind a key, with what is around it."""
    kind = row.type.partition(":")[0]
    if kind == "lines":
        return f"list of: {form(entry_of(row))}"
    if kind == "block":
        return "mapping, see below"
    if kind == "blocks":
        return "mapping, or list of them, see below"
    if not row.type:
        return "true or false" if is_bare(row) else f"`{row.syntax}`"
    return form(argument_shape(row))


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _table(rows: Mapping[str, Keyword]) -> Iterator[str]:
    yield "| key | value | default | meaning |"
    yield "|---|---|---|---|"
    for key, row in rows.items():
        note = "" if row.effect == "done" else f" {row.no_effect().partition(' ')[2]}."
        meaning = row.meaning + (f" It{note}" if note else "")
        default = row.default if row.default != "required" else "**required**"
        cells = (f"`{key}`", value_form(row), default, meaning)
        yield "| " + " | ".join(map(_cell, cells)) + " |"
    yield ""


def _blocks(path: str, title: str) -> Iterator[str]:
    """The blocks within a block."""
    for key, row in keys(path).items():
        if row.type.partition(":")[0] in ("block", "blocks"):
            yield f"### {title}: {key}"
            yield ""
            yield from _table(keys(row.path))
            yield from _blocks(row.path, f"{title}: {key}")


def reference_text() -> str:
    """The whole document."""
    lines = [HEAD]
    for name, row in sections().items():
        lines += [f"## {name}", "", row.meaning, ""]
        if name == GLOBAL:
            lines += _table(global_keys())
        elif row.type.startswith("lines") or row.keyword == "virtual_server_group":
            what = "Names, each with a list of" if row.type == "block:name" else "A list of"
            lines += [f"{what}: {_cell(form(entry_of(row)))}.", ""]
        else:
            if is_list_section(row):
                lines += ["A list of:", ""]
            elif row.type == "block:name":
                lines += ["Names, each with:", ""]
            lines += _FURTHER.get(name, [])
            lines += _table(keys(row.path))
            lines += _blocks(row.path, name)
    for name, row in checks().items():
        lines += [f"## Check: {name}", "", row.meaning or "An entry of `checks`.", ""]
        lines += _table(keys(row.path))
        lines += _blocks(row.path, name)
    return "\n".join(lines)
