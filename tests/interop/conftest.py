"""Each scenario runs with fastvrrp on both routers and against keepalived in both places.

INTEROP_PAIRS chooses others: a comma list of two letters each, f for fastvrrp, k for keepalived.
`INTEROP_PAIRS=kk` checks the scenarios themselves, keepalived with keepalived.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytest.register_assert_rewrite("interop_scene")
from interop_scene import Scene  # noqa: E402

from machine import Machine  # noqa: E402

LETTERS = {"f": "fastvrrp", "k": "keepalived"}
PAIRS = os.environ.get("INTEROP_PAIRS", "ff,fk,kf").split(",")

MakeScene = Callable[..., Scene]


@pytest.fixture(params=PAIRS)
def pair(request: pytest.FixtureRequest) -> tuple[str, str]:
    first, second = (LETTERS[letter] for letter in request.param)
    return first, second


@pytest.fixture
def make_scene(pair: tuple[str, str], tmp_path: Path, machine: Machine) -> Iterator[MakeScene]:
    """A function that builds the Scene (clients=, lans=); it is taken down after the test."""
    scenes: list[Scene] = []

    def make(**shape: int) -> Scene:
        scenes.append(Scene(pair, tmp_path, machine, **shape))
        return scenes[-1]

    yield make
    for scene in scenes:
        scene.close()
