"""What the tests of this directory share: a reader of texts, and a place for keepalived."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from beside_keepalived import namespace_with_links
from config_reading import Reader


@pytest.fixture
def read(tmp_path: Path) -> Reader:
    """Configuration texts as if on a machine that the test describes."""
    return Reader(tmp_path)


@pytest.fixture(scope="module")
def namespace() -> Iterator[str]:
    """A network namespace for `keepalived -t`."""
    with namespace_with_links(f"cfg-{os.getpid()}") as name:
        yield name
