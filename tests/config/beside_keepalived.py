"""The same file given to `keepalived -t` and to us."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from fastvrrp.config.host import SystemHost
from fastvrrp.config.load import load
from fastvrrp.config.model import Loaded


class Here(SystemHost):
    """This machine; the interfaces are in a namespace of their own."""

    def interfaces(self) -> frozenset[str] | None:
        return None


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, timeout=20)


def keepalived(path: Path, namespace: str) -> tuple[int, list[str]]:
    """Exit code and complaints."""
    run = subprocess.run(
        ["ip", "netns", "exec", namespace, "keepalived", "-t", "-f", str(path)],
        capture_output=True,
        check=False,
        timeout=20,
        env={**os.environ, "TMPDIR": str(path.parent)},
    )
    lines = (run.stdout + run.stderr).decode(errors="replace").splitlines()
    return run.returncode, [line for line in lines if line.strip()]


def both(tmp_path: Path, namespace: str, text: str) -> tuple[int, list[str], Loaded]:
    path = tmp_path / "k.conf"
    path.write_text(text)
    code, complaints = keepalived(path, namespace)
    return code, complaints, load(path, config_id="r1", environ={}, host=Here())
