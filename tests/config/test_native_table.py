"""The native format and the keyword table: every keyword is in it, and the published documents are
made of it."""

from __future__ import annotations

from pathlib import Path

from fastvrrp.config.keywords import LANGUAGE, TOP, Keyword, table
from fastvrrp.config.native.lower import argument_shape
from fastvrrp.config.native.names import key_of, keys, sections
from fastvrrp.config.native.options import entry_of
from fastvrrp.config.native.reference import reference_text
from fastvrrp.config.native.schema import schema_text
from fastvrrp.config.native.wording import HINTS, WORDS

ROOT = Path(__file__).parents[2]
ROWS = [row for path, block in table().items() if path != LANGUAGE for row in block.values()]


def test_every_keyword_has_a_form_in_yaml() -> None:
    """A new type of argument needs a shape (native/shapes.py); this names the keyword."""
    without = []
    for path in table():
        for key, row in keys(path).items() if path != LANGUAGE else ():
            kind = row.type.partition(":")[0]
            try:
                if kind == "lines":
                    entry_of(row).schema()
                elif kind not in ("block", "blocks", "") and not _is_option(row):
                    argument_shape(row).schema()
            except KeyError:
                without.append(f"{path}/{key}: {row.type}")
    assert without == []


def _is_option(row: Keyword) -> bool:
    """Whether it is a word within an entry, which native/options.py reads."""
    opener = [r for r in ROWS if r.path == row.block]
    return bool(opener) and not any(r.type.startswith("block") for r in opener)


def test_no_two_keywords_have_one_key() -> None:
    for path, block in table().items():
        if path == LANGUAGE:
            continue
        named = [key_of(row) for word, row in block.items() if word in _spoken(path)]
        assert len(named) == len(set(named)), path


def _spoken(path: str) -> set[str]:
    return {row.keyword for row in keys(path).values()}


def test_every_block_outside_all_others_has_a_section() -> None:
    rows = [row for row in table()[TOP].values() if row.type.startswith(("block", "lines"))]
    spoken = {row.keyword for row in sections().values()}
    assert {row.keyword for row in rows if not row.replacement} == spoken


def test_the_published_schema_and_reference_are_those_of_the_table() -> None:
    for name, text in (
        ("fastvrrp.schema.json", schema_text()),
        ("yaml-reference.md", reference_text()),
    ):
        assert (ROOT / "docs" / name).read_text() == text, f"{name}: run tools/keyword-effects"


def test_hints_that_are_said_otherwise_in_yaml_are_still_said() -> None:
    sources = [file.read_text() for file in (ROOT / "src/fastvrrp/config").glob("*.py")]
    assert [hint for hint in HINTS if not any(f'"{hint}"' in text for text in sources)] == []
    words = {row.keyword for row in ROWS}
    assert [word for word in WORDS if word not in words] == []
