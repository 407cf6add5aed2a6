"""The ledger docs/conformance.md: complete, and every test it names exists.

Also the proof of two rules that belong to no other test's subject.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from documents import ROOT, table_rows

from fastvrrp.config.host import SystemHost
from fastvrrp.config.load import load

LEDGER = ROOT / "docs/conformance.md"
BEHAVIOURS = 103
REFERENCE = re.compile(r"`([\w/]+\.py)::(\w+)`")
EXCUSES = ("not built: ", "not tested: ")


def rows() -> list[list[str]]:
    return [r for r in table_rows(LEDGER.read_text(encoding="utf-8")) if r[0].isdecimal()]


def test_every_behaviour_has_a_row() -> None:
    assert [int(row[0]) for row in rows()] == list(range(1, BEHAVIOURS + 1))
    assert {len(row) for row in rows()} == {4}
    assert all(all(row) for row in rows())


def test_every_row_has_a_proof_or_a_reason() -> None:
    without = [
        row[0] for row in rows() if not REFERENCE.search(row[3]) and not row[3].startswith(EXCUSES)
    ]
    assert without == []


def test_the_tests_exist() -> None:
    """A test that is renamed takes its row along."""
    functions: dict[str, set[str]] = {}
    missing = []
    for path, name in REFERENCE.findall(LEDGER.read_text(encoding="utf-8")):
        file = ROOT / "tests" / path
        if path not in functions:
            tree = ast.parse(file.read_text(encoding="utf-8")) if file.exists() else ast.parse("")
            functions[path] = {n.name for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)}
        if name not in functions[path]:
            missing.append(f"{path}::{name}")
    assert missing == []


def test_numbered_tests_are_in_their_row() -> None:
    """A test whose name begins with the number of a behaviour is named in that row."""
    proofs = {int(row[0]): row[3] for row in rows()}
    absent = []
    for file in (ROOT / "tests").rglob("test_*.py"):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        for function in ast.walk(tree):
            if not isinstance(function, ast.FunctionDef):
                continue
            number = re.match(r"test_(\d{2,3})_", function.name)
            if number and f"::{function.name}`" not in proofs.get(int(number[1]), ""):
                absent.append(f"{number[1]}: {file.relative_to(ROOT)}::{function.name}")
    assert sorted(absent) == []


class SmallMtu(SystemHost):
    """A machine whose eth0 takes packets of 576 bytes."""

    def interfaces(self) -> frozenset[str]:
        return frozenset(("eth0",))

    def mtu(self, interface: str) -> int:
        return 576


@pytest.mark.parametrize(
    ("address", "size", "header"), [("192.0.2.{}", 4, 20), ("2001:db8::{:x}", 16, 40)], ids=str
)
def test_18_adverts_fit_the_mtu(address: str, size: int, header: int, tmp_path: Path) -> None:
    """What does not fit is held but not advertised, so that no advert is ever fragmented."""
    lines = "\n".join(address.format(n) for n in range(1, 201))
    file = tmp_path / "keepalived.conf"
    file.write_text(
        f"vrrp_instance A {{\n interface eth0\n virtual_router_id 1\n version 3\n"
        f" virtual_ipaddress {{\n{lines}\n }}\n}}\n"
    )
    loaded = load(file, config_id="x", host=SmallMtu())
    assert loaded.configuration is not None
    (instance,) = loaded.configuration.vrrp_instances
    advertised = len(instance.virtual_ipaddress)
    assert header + 8 + advertised * size <= 576
    assert advertised > 30
    assert advertised + len(instance.virtual_ipaddress_excluded) == 200
    assert any("do not fit" in message.text for message in loaded.messages)


def test_97_no_wall_clock_in_the_core() -> None:
    """A step of the wall clock cannot matter where only the monotonic clock is read. The kernel's
    stamps of packets are in the other one: they are read in one place, and bounded."""
    clocks = set()
    named = 0
    for file in (ROOT / "src/fastvrrp/core").iterdir():
        text = file.read_text(encoding="utf-8")
        clocks |= set(re.findall(r"\bCLOCK_[A-Z_]+", text)) - {"CLOCK_REALTIME"}
        named += len(re.findall(r"\(CLOCK_REALTIME| fv_realtime_offset_ns\(\)\n", text))
        assert not re.search(r"\b(gettimeofday|time|ftime)\s*\(\s*(NULL|&)", text), file
    assert clocks == {"CLOCK_MONOTONIC"}
    assert named == 3, "declared, defined, and asked in one place, for arrival()"
