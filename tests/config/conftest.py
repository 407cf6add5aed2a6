"""What the tests of this directory share: a reader of texts, and a place for keepalived."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from beside_keepalived import ip
from config_reading import Reader


@pytest.fixture
def read(tmp_path: Path) -> Reader:
    """Configuration texts as if on a machine that the test describes."""
    return Reader(tmp_path)


@pytest.fixture(scope="module")
def namespace() -> Iterator[str]:
    """keepalived -t looks no further where an interface is missing, so it gets lan0 and lan1."""
    name = f"cfg-{os.getpid()}"
    ip("netns", "add", name)
    try:
        ip("-n", name, "link", "add", "lan0", "type", "veth", "peer", "name", "lan1")
        for link in ("lo", "lan0", "lan1"):
            ip("-n", name, "link", "set", link, "up")
        ip("-n", name, "addr", "add", "10.9.0.1/16", "dev", "lan0")
        yield name
    finally:
        ip("netns", "del", name)
