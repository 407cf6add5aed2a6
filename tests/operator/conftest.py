"""A router with a daemon for every test that asks for one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.register_assert_rewrite("operator_tools", "dump_readers")
from operator_tools import Router  # noqa: E402

from machine import Machine  # noqa: E402


@pytest.fixture
def router(tmp_path: Path, machine: Machine) -> Iterator[Router]:
    with Router(tmp_path, machine) as made:
        yield made
