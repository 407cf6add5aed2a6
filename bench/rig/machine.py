"""On what was measured: figures mean nothing without it."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path

import fastvrrp

from .contender import KEEPALIVED


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
    if not KEEPALIVED.available():
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
