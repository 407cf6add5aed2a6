"""The keyword table: complete, consistent, and what the reader does is what it says."""

from __future__ import annotations

import pytest
from config_reading import Reader, instance, texts

from fastvrrp.config.blocks import _READERS
from fastvrrp.config.keywords import (
    COLUMNS,
    LANGUAGE,
    TOP,
    Keyword,
    int_range,
    read_table,
    table,
)

ROWS = [row for block in table().values() for row in block.values()]
READ_BLOCKS = (  # entries of these are words of one line, read by a reader of their own
    "vrrp_instance/virtual_",
    "vrrp_instance/track_",
    "vrrp_sync_group/track_",
    "vrrp_instance/unicast_peer",
    "vrrp_instance/use_",
    "global_defs/lvs_",
    "virtual_server/lvs_method",
    "virtual_server_group",
    "interface_up_down_delays",
    "linkbeat_interfaces",
)


def test_size() -> None:
    assert len(ROWS) == 737
    assert len(table()) == 54


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.block}/{row.keyword}")
def test_row(row: Keyword) -> None:
    assert row.effect in ("done", "warn", "accepted", "refused")
    assert row.tier in ("A", "B", "C")
    assert row.meaning.endswith(".")
    assert row.reason or row.effect in ("done", "warn")
    if row.block == LANGUAGE or row.block.startswith(READ_BLOCKS):
        return
    kind = row.type.partition(":")[0]
    if kind in ("block", "blocks", "lines"):
        assert row.path in table() or kind == "lines"
    else:
        assert row.type in _READERS
    if row.type.rstrip("!?+") in ("int", "clamp"):
        low, high = int_range(row.range)
        assert low < high
    if row.type.startswith("choice"):
        assert row.range


def test_blocks_are_opened_by_a_keyword() -> None:
    paths = {row.path for row in ROWS}
    orphans = [path for path in table() if path not in paths and path not in (TOP, LANGUAGE)]
    # The words of lvs_sync_daemon and of use_ipvlan are documented as if they were blocks.
    assert orphans == []


def test_a_broken_table_is_noticed() -> None:
    with pytest.raises(ValueError, match="3 columns"):
        read_table("\t".join(["x"] * COLUMNS) + "\na\tb\tc\n")


@pytest.mark.parametrize(
    "row",
    [r for r in ROWS if r.effect != "done" and r.block in (TOP, "global_defs", "vrrp_instance")],
    ids=lambda row: f"{row.block}/{row.keyword}",
)
def test_what_has_no_effect_is_said_with_its_position(read: Reader, row: Keyword) -> None:
    examples = {
        "int": "7",
        "int?": "7",
        "time": "7",
        "clamp": "7",
        "cpus": "0",
        "choice": "monotonic",
        "mcast4": "224.0.0.9",
        "command": "/bin/true",
        "fifo": "/run/x",
        "extra-if": "7",
        "address": "10.0.0.1",
        "account": "root",
    }
    if row.type.startswith(("block", "lines")):
        name = " name" if ":name" in row.type or ":words" in row.type else ""
        line = f"{row.keyword}{name} {{\n}}"
    else:
        kind = row.type.rstrip("?")
        argument = "" if kind in ("flag", "bool", "choice?") else examples.get(kind, "word")
        if row.type == "choice?":
            argument = ""
        if row.keyword in ("json_version",):
            argument = "2"
        line = f"{row.keyword} {argument}".rstrip()
    if row.block == TOP:
        text, number = f"  {line}\n", 1
    elif row.block == "global_defs":
        text, number = f"global_defs {{\n  {line}\n}}\n", 2
    else:
        text, number = instance(f"  {line}"), 7
    said = texts(read(text))
    wanted = (
        f"{number}:3: warning: {row.no_effect()}; the rest of the configuration works without it"
    )
    assert wanted in said, said


def test_one_warning_for_a_whole_block_without_effect(read: Reader) -> None:
    loaded = read("bfd_instance B {\n neighbor_ip 10.0.0.2\n min_rx 5\n min_tx\n}\n")
    assert texts(loaded) == [
        "1:1: warning: bfd_instance has no effect yet: BFD is not built yet; the rest of the "
        "configuration works without it",
        "4:2: error: min_tx needs a value; write min_tx MS",
    ]


def test_refused_keywords_are_errors(read: Reader) -> None:
    from fastvrrp.config.blocks import warn_effect
    from fastvrrp.config.context import Context
    from fastvrrp.config.diagnostics import Diagnostics
    from fastvrrp.config.node import Node

    row = ROWS[0]._replace(keyword="frob", effect="refused", reason="it is harmful")
    diagnostics = Diagnostics()
    warn_effect(Context(diagnostics, read.host), Node(("frob",), "f", 3, " frob"), row)
    (message,) = diagnostics.messages
    assert str(message) == "f:3:2: error: frob is refused: it is harmful; remove it"
