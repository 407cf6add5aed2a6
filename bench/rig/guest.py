"""Measurements inside a kernel of their own that has IPVS, also where the machine's has not.

The guest is the tests' (tests/ipvs/kernel/guest.py): user-mode Linux on the machine's own files,
with one CPU. `measure` boots one for each measurement; what happens there is in `balancer`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from .native import program

ROOT = Path(__file__).parents[2]
RUNNER = ROOT / "tests" / "ipvs" / "kernel" / "guest.py"
BOOT_S = 6.0  # with what the rig imports there
MEMORY = "1500M"
RESULT = "values.json"
SHOWN = 3000  # characters of its console, when something went wrong


def measure(kind: str, contender: str, parameters: dict[str, Any], scratch: Path) -> dict[str, Any]:
    """Values of one measurement. Raises RuntimeError when it fails, with what the guest said."""
    task = {"kind": kind, "contender": contender, "parameters": parameters}
    task["server"] = program("serve")  # compiled here, where there is more of a machine
    (scratch / "task.json").write_text(json.dumps(task))
    done = subprocess.run(
        # a guest does not go on without who measures it
        [
            "setpriv",
            "--pdeathsig",
            "KILL",
            sys.executable,
            RUNNER,
            sys.executable,
            "-m",
            "bench.rig.balancer",
            scratch,
        ],
        cwd=ROOT,
        env={**os.environ, "GUEST_MEMORY": MEMORY},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    if done.returncode != 0:
        text = done.stdout.decode(errors="replace")[-SHOWN:]
        raise RuntimeError(f"in the guest: exit code {done.returncode}\n{text}")
    values: dict[str, Any] = json.loads((scratch / RESULT).read_text())
    return values
