"""A world with one router under test, a host beside it, and observers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.register_assert_rewrite("netns_tools")
from netns_tools import World  # noqa: E402

from machine import Machine  # noqa: E402


@pytest.fixture
def world(tmp_path: Path, machine: Machine) -> Iterator[World]:
    with World(tmp_path, machine) as made:
        yield made
