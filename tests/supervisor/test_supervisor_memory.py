"""Where large blocks of memory come from."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import ctypes
from pathlib import Path
from fastvrrp.supervisor.process import LARGE, keep_large_apart

keep_large_apart()
for size in (16 * LARGE, 4 * LARGE, 2 * LARGE):
    block = bytearray(size)
    at = ctypes.addressof(ctypes.c_char.from_buffer(block))
    for line in Path("/proc/self/maps").read_text("ascii").splitlines():
        begin, end = (int(text, 16) for text in line.split()[0].split("-"))
        if begin <= at < end:
            print("heap" if line.endswith("[heap]") else "apart")
    del block
"""


def test_large_blocks_do_not_come_from_the_heap() -> None:
    """Not even after larger ones were freed."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.split() == ["apart"] * 3
