"""A systemd of its own, in a guest kernel, with the unit of packaging/ installed.

`tell` boots it, runs a story (story.py) as one of its services and returns the facts that the story
has written down.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
sys.path.append(str(ROOT / "tests" / "ipvs" / "kernel"))
from guest import Guest, missing  # noqa: E402

SITE = sysconfig.get_path("purelib")
# What a package would install; the interpreter is this one, without its virtual environment.
PROGRAM = """\
#!/bin/sh
PYTHONPATH=/opt/fastvrrp/src:/opt/site exec {python} -m fastvrrp "$@"
"""
TARGET = """\
[Unit]
Description=Nothing but the story
Wants=story.service
"""
STORY = """\
[Unit]
DefaultDependencies=no
SuccessAction=poweroff-force
FailureAction=poweroff-force

[Service]
Type=oneshot
TimeoutStartSec=240
ExecStart={python} /opt/box/story.py /opt/box/facts
StandardOutput=file:/opt/box/said
StandardError=file:/opt/box/said
"""
LAST_LINES = 120  # of what is told when something is not as it should be


@dataclass
class Told:
    """What the story wrote down, by name, and what it and the guest said."""

    facts: dict[str, Any]
    said: str


def tell(box: Path) -> Told:
    """Boot, run the story, end. `box` is an empty directory. Raises RuntimeError where there is
    no guest kernel."""
    if lacking := missing():
        raise RuntimeError(f"this needs {lacking}; `make test` sees to it")
    names = {"python": sys._base_executable}  # type: ignore[attr-defined]
    root = box / "root"
    units = root / "etc" / "systemd" / "system"
    program = root / "usr" / "bin" / "fastvrrp"
    for directory in (units, program.parent):
        directory.mkdir(parents=True)
    program.write_text(PROGRAM.format(**names))
    program.chmod(0o755)
    (units / "default.target").write_text(TARGET)
    (units / "story.service").write_text(STORY.format(**names))
    shutil.copy(HERE / "story.py", box)
    # fmt: off
    boot = [str(HERE / "boot"), str(ROOT), SITE, str(box)]
    command = ["unshare", "--pid", "--mount", "--fork", *boot]
    # fmt: on
    with Guest(command, output=subprocess.PIPE) as guest:
        output, _ = guest.process.communicate()
    lines = output.decode(errors="replace").splitlines()
    said = box / "said"
    if said.exists():
        lines += said.read_text(errors="replace").splitlines()
    facts = box / "facts"
    return Told(
        json.loads(facts.read_text()) if facts.exists() else {}, "\n".join(lines[-LAST_LINES:])
    )
