"""Accounts and scripts for the tests of trackers and of the script runner."""

from __future__ import annotations

import pwd
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from track_helpers import MakeScript

from fastvrrp.config import model
from looping import run as run


@pytest.fixture
def public_path() -> Iterator[Path]:
    """A directory that every account can enter, unlike pytest's own."""
    with tempfile.TemporaryDirectory(prefix="trk-") as name:
        path = Path(name)
        path.chmod(0o755)
        yield path


@pytest.fixture
def make_script(public_path: Path) -> MakeScript:
    """Write an executable shell script that every account can run; returns its path."""

    def make(body: str) -> str:
        path = public_path / f"script{len(list(public_path.glob('script*')))}"
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)
        return str(path)

    return make


@pytest.fixture
def nobody() -> model.Account:
    entry = pwd.getpwnam("nobody")
    return model.Account(user="nobody", uid=entry.pw_uid, gid=entry.pw_gid)
