"""What the subcommands share: the run directory, errors, JSON, durations."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import argparse

DEFAULT_RUN_DIR = Path("/run/fastvrrp")


def add_run_dir(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--run-dir",
        type=Path,
        default=DEFAULT_RUN_DIR,
        metavar="DIR",
        help="run directory of the daemon (default: %(default)s)",
    )


def fail(text: str, code: int = 1) -> int:
    """Say what went wrong on stderr; returns the exit code."""
    print(f"fastvrrp: {text}", file=sys.stderr)
    return code


def print_json(record: Any) -> None:
    """One JSON document for programs and people."""
    import msgspec

    sys.stdout.write(msgspec.json.format(msgspec.json.encode(record), indent=2).decode() + "\n")


def duration(seconds: float) -> str:
    """An age in two units at most: `0.25s`, `12s`, `3m05s`, `2h07m`, `4d03h`."""
    if seconds < 10:
        return f"{seconds:.2f}s"
    whole = int(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
    return f"{whole // 86400}d{whole % 86400 // 3600:02d}h"


def milliseconds(value: float) -> str:
    """An interval: `1000 ms`, `10 ms`, `3414.06 ms`."""
    return f"{value:.2f}".rstrip("0").rstrip(".") + " ms"
