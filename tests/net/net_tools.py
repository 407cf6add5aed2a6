"""Commands the namespace tests of this area run and read."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from typing import Any


def run(*argv: str) -> str:
    """Run a command that must succeed."""
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(argv)}: {done.stderr}"
    return done.stdout


def ip(line: str) -> str:
    return run("ip", *line.split())


def ip_json(line: str) -> list[dict[str, Any]]:
    text = run("ip", "-d", "-j", *line.split())
    found: list[dict[str, Any]] = json.loads(text) if text.strip() else []
    return found


def wait_until(condition: Callable[[], object], limit_s: float = 3.0) -> None:
    """Return as soon as the condition holds; fail when it does not within the limit."""
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.01)
