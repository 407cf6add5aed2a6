"""A router with a daemon for every test that asks for one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.register_assert_rewrite("operator_tools")
from operator_tools import Router  # noqa: E402


@pytest.fixture
def router(tmp_path: Path) -> Iterator[Router]:
    with Router(tmp_path) as made:
        yield made
