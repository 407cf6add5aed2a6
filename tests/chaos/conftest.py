"""Attacks on running routers, each in network namespaces of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.register_assert_rewrite("chaos_scene")
from chaos_scene import Chaos  # noqa: E402

from machine import Machine  # noqa: E402


@pytest.fixture
def lone(tmp_path: Path, machine: Machine) -> Iterator[Chaos]:
    """One router and the attacker, two LANs."""
    with Chaos(tmp_path, machine, lans=2) as made:
        yield made


@pytest.fixture
def pair(tmp_path: Path, machine: Machine) -> Iterator[Chaos]:
    """Two routers and the attacker."""
    with Chaos(tmp_path, machine, 2) as made:
        yield made
