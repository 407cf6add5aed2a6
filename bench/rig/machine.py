"""On what was measured: figures mean nothing without it."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from pathlib import Path

import fastvrrp

from .contender import KEEPALIVED

SAMPLE_S = 0.5


def _cpu_info() -> tuple[str, bool]:
    model, virtual = "unknown", False
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            model = value.strip()
        elif name.strip() == "flags":
            virtual = "hypervisor" in value.split()
    return model, virtual


def _keepalived_version() -> str:
    if KEEPALIVED.absence():
        return "not installed"
    done = subprocess.run([KEEPALIVED.command[0], "-v"], capture_output=True, text=True, check=True)
    return (done.stderr or done.stdout).split()[1]


def describe() -> dict[str, str]:
    """Names and values, as text."""
    model, virtual = _cpu_info()
    return {
        "cpu": model,
        "cpus": str(os.cpu_count()),
        "virtual machine": "yes" if virtual else "no",
        "kernel": platform.release(),
        "python": platform.python_version(),
        "fastvrrp": fastvrrp.__version__,
        "keepalived": _keepalived_version(),
    }


def _times() -> tuple[int, int]:
    """(busy, all) clock ticks of all processors since boot."""
    fields = [int(word) for word in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    idle = fields[3] + fields[4]
    return sum(fields) - idle, sum(fields)


def busy() -> float:
    """Share of the processors that is in use now, 0 to 1, stolen time included."""
    before = _times()
    time.sleep(SAMPLE_S)
    after = _times()
    return (after[0] - before[0]) / max(1, after[1] - before[1])
