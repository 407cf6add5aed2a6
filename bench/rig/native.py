"""The measuring programs in C, compiled with the system's compiler when they are needed."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

SOURCE = Path(__file__).with_name("native")
BUILD = Path(__file__).parents[2] / "build" / "bench"
FLAGS = ("-O2", "-Wall", "-Wextra", "-Wno-unused-function")


class CompilerMissing(Exception):
    """There is no C compiler; the text says what to install."""


def program(name: str) -> str:
    """Path of the compiled program, built anew when a source is newer.

    Raises CompilerMissing without a compiler, subprocess.CalledProcessError when it refuses.
    """
    target = BUILD / name
    sources = [SOURCE / f"{name}.c", *SOURCE.glob("*.h")]
    newest = max(source.stat().st_mtime for source in sources)
    if target.exists() and target.stat().st_mtime >= newest:
        return str(target)
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if compiler is None:
        raise CompilerMissing("no C compiler: install one (apt install gcc libc6-dev)")
    BUILD.mkdir(parents=True, exist_ok=True)
    # Built beside its place and moved there: two runs at once do not see half a program.
    fresh = target.with_suffix(f".{os.getpid()}")
    subprocess.run(
        [compiler, *FLAGS, "-o", str(fresh), str(SOURCE / f"{name}.c"), "-lm"], check=True
    )
    fresh.replace(target)
    return str(target)
