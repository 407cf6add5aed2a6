"""The same file given to `keepalived -t` and to us."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
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


@contextmanager
def namespace_with_links(name: str) -> Iterator[str]:
    """keepalived -t looks no further where an interface is missing, so it gets lan0 and lan1."""
    ip("netns", "add", name)
    try:
        ip("-n", name, "link", "add", "lan0", "type", "veth", "peer", "name", "lan1")
        for link in ("lo", "lan0", "lan1"):
            ip("-n", name, "link", "set", link, "up")
        ip("-n", name, "addr", "add", "10.9.0.1/16", "dev", "lan0")
        yield name
    finally:
        ip("netns", "del", name)


HANGS = 124  # of timeout(1): keepalived 2.2.7 never ends with some files


def exit_statuses(directory: Path, namespace: str, texts: list[str]) -> list[int]:
    """What `keepalived -t` says of many files, one process after the other."""
    for number, text in enumerate(texts):
        (directory / f"{number}.conf").write_text(text)
    script = (
        "i=0; while [ $i -lt $1 ]; do timeout 3 keepalived -t -f $i.conf >/dev/null 2>&1; "
        "echo $?; i=$((i+1)); done"
    )
    run = subprocess.run(
        ["ip", "netns", "exec", namespace, "sh", "-c", script, "sh", str(len(texts))],
        capture_output=True,
        check=True,
        cwd=directory,
        env={**os.environ, "TMPDIR": str(directory)},
    )
    return [int(word) for word in run.stdout.split()]


def both(tmp_path: Path, namespace: str, text: str) -> tuple[int, list[str], Loaded]:
    path = tmp_path / "k.conf"
    path.write_text(text)
    code, complaints = keepalived(path, namespace)
    return code, complaints, load(path, config_id="r1", environ={}, host=Here())
