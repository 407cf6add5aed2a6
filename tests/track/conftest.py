"""Loops, accounts and scripts for the tests of trackers and of the script runner."""

from __future__ import annotations

import asyncio
import pwd
import tempfile
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvloop
from track_helpers import MakeScript, Run

from fastvrrp.config import model

LIMIT_S = 20.0


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    """Run a coroutine to its end on either event loop, with an overall limit."""
    factory = uvloop.new_event_loop if request.param == "uvloop" else asyncio.new_event_loop

    def run_it(coroutine: Coroutine[Any, Any, None]) -> None:
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(asyncio.wait_for(coroutine, LIMIT_S))

    return run_it


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
