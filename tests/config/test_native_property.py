"""For arbitrary text: YAML never makes the loader raise, and positions are inside the file."""

from __future__ import annotations

from pathlib import Path

import pytest
from config_reading import FakeHost
from hypothesis import example, given, settings
from hypothesis import strategies as st
from native_documents import Data, documents
from test_config_property import check

from fastvrrp.config.load import load
from fastvrrp.config.native.files import block_sections
from fastvrrp.config.native.names import checks, global_keys, keys, sections
from fastvrrp.config.native.text import yaml_text

pytestmark = pytest.mark.computing

KEYS = sorted(
    {
        *sections(),
        *block_sections(),
        *checks(),
        *global_keys(),
        *keys("vrrp_instance"),
        *keys("virtual_server"),
        *("defaults", "templates", "template", "for", "nodes", "include", "checks", "<n>", "r1"),
        *("address", "group", "fwmark", "real_servers", "real_server_defaults"),
    }
)
SCALARS = st.one_of(
    st.sampled_from(KEYS),
    st.sampled_from([None, True, 1, -1, 2.5, "", "1s", "10.0.0.1/24", "[::1]:80", "1..3", "<n+1>"]),
    st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), max_size=5),
)
TREES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(KEYS), inner, max_size=4)
    ),
    max_leaves=12,
)
PIECES = st.one_of(
    st.sampled_from([f"{key}: " for key in KEYS]),
    st.sampled_from(["\n", "\n  ", "- ", "{", "}", "[", "]", ", ", "&a ", "*a", "!x "]),
    st.sampled_from(["|\n", ">\n", "---\n", "<<: ", "? ", "\t", "%x", "\\x", "1..9", "<n>"]),
    st.sampled_from(["#", "'", '"', "\x01"]),
    st.text(max_size=4),
)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("native") / "f.yaml"


def look(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    check(load(path, config_id="r1", environ={}, host=FakeHost()), path, behind=1)


@settings(max_examples=80, deadline=None)
@given(pieces=st.lists(PIECES, max_size=25))
@example(pieces=["a: \ud800"])
@example(pieces=["- " * 5000])
@example(pieces=["? [a]\n: b"])
@example(pieces=["?"])
@example(pieces=["instances:"])
@example(pieces=["\r", "<n>: "])
@example(pieces=["\x85", "<n>: "])
@example(pieces=["\u2028", "<n>: "])
@example(pieces=["#\u2029", "<n>: "])
def test_any_text(path: Path, pieces: list[str]) -> None:
    look(path, "".join(pieces).encode(errors="surrogatepass"))


@settings(max_examples=50, deadline=None)
@given(
    tree=st.dictionaries(st.sampled_from([*sections(), "defaults", "nodes", "templates"]), TREES)
)
def test_any_tree(path: Path, tree: Data) -> None:
    look(path, yaml_text(tree).encode(errors="replace"))


@settings(max_examples=20, deadline=None)
@given(document=documents(), data=st.data())
def test_documents_with_a_part_replaced(path: Path, document: Data, data: st.DataObject) -> None:
    section = data.draw(st.sampled_from(sorted(document)))
    block = document[section]
    while isinstance(block, dict) and block and data.draw(st.booleans()):
        name = data.draw(st.sampled_from(sorted(block)))
        if not isinstance(block[name], dict):
            block[name] = data.draw(TREES)
        block = block[name]
    look(path, yaml_text(document).encode())
