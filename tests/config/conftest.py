"""The `read` fixture: configuration texts as if on a machine that the test describes."""

from __future__ import annotations

from pathlib import Path

import pytest
from config_reading import Reader


@pytest.fixture
def read(tmp_path: Path) -> Reader:
    return Reader(tmp_path)
