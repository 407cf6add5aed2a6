"""docs/dependencies.md: every dependency is there, and is used where the document says."""

from __future__ import annotations

import ast
import functools
import re
import sys
import tomllib
from pathlib import Path

import pytest
from documents import ROOT, table_rows

DOCUMENT = (ROOT / "docs/dependencies.md").read_text(encoding="utf-8")
ROWS = {row[0]: row[2] for row in table_rows(DOCUMENT)}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
MODULES = {"pyyaml": "yaml", "types-pyyaml": "yaml", "cython": "Cython"}
NOWHERE = ("nothing imports it", "nothing uses it")


def names(requirements: list[str]) -> set[str]:
    return {re.split(r"[><=!~ ;\[]", requirement)[0].lower() for requirement in requirements}


DECLARED = names(
    PROJECT["project"]["dependencies"]
    + PROJECT["dependency-groups"]["dev"]
    + PROJECT["build-system"]["requires"]
)


@functools.cache
def imports(file: Path) -> frozenset[str]:
    """Top-level names of the modules that a Python file imports."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found.add(node.module.partition(".")[0])
    return frozenset(found)


def sources() -> list[Path]:
    folders = ("src", "tests", "tools", "bench")
    return [ROOT / "setup.py", *(f for name in folders for f in (ROOT / name).rglob("*.py"))]


def test_exactly_what_is_declared_is_described() -> None:
    assert set(ROWS) == DECLARED


@pytest.mark.parametrize("package", sorted(ROWS))
def test_it_is_used_where_the_document_says(package: str) -> None:
    where, module = ROWS[package], MODULES.get(package, package.replace("-", "_"))
    if where in NOWHERE:
        users = [str(f.relative_to(ROOT)) for f in sources() if module in imports(f)]
        assert users == []
        return
    word = re.search(r"\(`([^`]+)`\)", where)
    paths = re.findall(r"`([\w/]+\.py|Makefile|pyproject\.toml|tools/[\w-]+)`", where)
    assert paths
    for path in paths:
        file = ROOT / path
        if word is not None:
            assert word[1] in file.read_text(encoding="utf-8")
        else:
            assert module in imports(file)


def test_the_product_imports_nothing_else() -> None:
    """Besides the standard library, only what is declared as needed at run time."""
    allowed = {MODULES.get(p, p) for p in names(PROJECT["project"]["dependencies"])}
    allowed |= set(sys.stdlib_module_names) | {"fastvrrp"}
    strangers = {
        f"{file.relative_to(ROOT)}: {name}"
        for file in (ROOT / "src").rglob("*.py")
        for name in imports(file) - allowed
    }
    assert strangers == set()
