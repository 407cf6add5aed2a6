"""Defects planted in the machine of a health check, compiled, and the search for each by its lives.

check.pxi alone is compiled, as a small module of its own, with all defects in it, each behind a
condition. Run as a program, with that module's directory as argument: a line of JSON per defect.
"""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "fastvrrp"
NAME = "mutated_check"
LAYOUT = re.compile(
    r"^(?:cdef enum:[^\n]*health check|ctypedef struct check_t:)[^\n]*\n(?:[^\n]+\n)+", re.MULTILINE
)
IN_RANGE = re.compile(r"^cdef u32 in_range[^\n]*\n(?:[^\n]+\n)+", re.MULTILINE)


class Place(NamedTuple):
    """`old` in check.pxi becomes `new`, in which {0} is true while the first of the defects is
    switched on, {1} while the second is, ..."""

    old: str
    new: str
    defects: tuple[str, ...]


PLACES = (
    Place(
        "    if k.state == CHECK_UP and k.failures < k.retry:\n",
        "    if (k.state == CHECK_UP or {0}) and k.failures < k.retry + <u32> {1}:\n",
        ("the first failure is retried", "one retry too many"),
    ),
    Place(
        "    k.failures = 0\n    k.stuck = 0\n",
        "    if not {0}:\n        k.failures = 0\n    k.stuck = 0\n",
        ("a success gives no retries back",),
    ),
    Place(
        "        return now + k.delay_before_retry_ns\n",
        "        return now + (k.delay_loop_ns if {0} else k.delay_before_retry_ns)\n",
        ("retries wait for delay_loop",),
    ),
    Place(
        "    k.failures = 0\n    k.stuck = 1\n",
        "    if not {0}:\n        k.failures = 0\n    k.stuck = not {1}\n"
        "    if {2}:\n        k.step = 0\n",
        (
            "failures that counted count again",
            "the url that failed brings the server up",
            "after a failure the first url is tried",
        ),
    ),
    Place(
        "    k.step = 0 if again else k.step + 1\n",
        "    k.step = 0 if again and not {0} else k.step + 1\n",
        ("the attempt that works again is part of the pass",),
    ),
    Place(
        "    cdef bint again = k.stuck and k.flags & CHECK_HTTP ",
        "    cdef bint again = k.stuck and ({0} or k.flags & CHECK_HTTP) ",
        ("any check needs two successes to recover",),
    ),
    Place(
        "    if k.step >= k.steps:\n",
        "    if k.step >= k.steps or {0}:\n",
        ("one url is enough",),
    ),
    Place(
        "    if k.flags & CHECK_FAST_RECOVERY and k.state != CHECK_UP:\n",
        "    if k.flags & CHECK_FAST_RECOVERY and not {0} and ({1} or k.state != CHECK_UP):\n",
        ("fast_recovery has pauses", "fast_recovery while up"),
    ),
    Place(
        "    if k.flags & CHECK_HTTP:\n",
        "    if (k.flags & CHECK_HTTP and not {0}) or {1}:\n",
        (
            "a failed http check does not wait for delay_before_retry",
            "any failed check waits for delay_before_retry",
        ),
    ),
    Place(
        "    if verdict == VERDICT_LOCAL:\n        return now + k.delay_loop_ns\n",
        "    if verdict == VERDICT_LOCAL and not {0}:\n"
        "        return now + (k.delay_before_retry_ns if {1} else k.delay_loop_ns)\n",
        ("local problems are failures", "local problems are retried early"),
    ),
    Place(
        "        change[0] = CHECK_DOWN\n",
        "        change[0] = 0 if {0} else CHECK_DOWN\n",
        ("a failure is not told",),
    ),
)
DEFECTS = tuple(defect for place in PLACES for defect in place.defects)


def planted(text: str, places: tuple[Place, ...] = PLACES) -> str:
    """check.pxi with every defect. Raises ValueError when it no longer has a place."""
    number = 0
    for place in places:
        if text.count(place.old) != 1:
            raise ValueError(f"{place.defects[0]}: {text.count(place.old)} places in check.pxi")
        conditions = [f"(mutant == {number + k})" for k in range(1, len(place.defects) + 1)]
        number += len(conditions)
        text = text.replace(place.old, place.new.format(*conditions))
    return text


def source() -> str:
    """The small module: layout, constants, the machine with its defects, its Python class."""
    core = PACKAGE / "core"
    layout = (PACKAGE / "_core.pxd").read_text()
    in_range = IN_RANGE.search((core / "pyapi.pxi").read_text())
    assert in_range is not None
    return "\n\n".join(
        (
            "# cython: language_level=3, cdivision=True",
            "from libc.string cimport memset",
            layout[layout.index("from libc.stdint") : layout.index("cdef enum:")],
            *LAYOUT.findall(layout),
            (core / "const.pxi").read_text(),
            "cdef int mutant = 0\n",
            planted((core / "check.pxi").read_text()),
            in_range[0],
            (core / "pycheck.pxi").read_text(),
            "def switch_defect(int number):\n    global mutant\n    mutant = number\n",
        )
    )


def build(directory: Path) -> None:
    """Compile the small module in a directory."""
    (directory / f"{NAME}.pyx").write_text(source())
    subprocess.run(
        [sys.executable, "-m", "Cython.Build.Cythonize", "-q", "-i", f"{NAME}.pyx"],
        cwd=directory,
        env={"PATH": "/usr/bin:/bin", "CFLAGS": "-O1"},
        check=True,
        capture_output=True,
        text=True,
        timeout=300,
    )


def loaded(directory: Path) -> Any:
    (file,) = directory.glob(f"{NAME}.*.so")
    spec = importlib.util.spec_from_file_location(NAME, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def found(module: Any, number: int) -> str:
    """The life that finds a defect, in words; empty when none does. 0 is no defect."""
    from check_lives import compare, longer_lives, short_lives

    module.switch_defect(number)
    for lives in (short_lives(), longer_lives()):
        for config, verdicts in lives:
            try:
                compare(config, verdicts, module.Check)
            except AssertionError as difference:
                return f"{config} {verdicts}: {difference}"
    return ""


def main() -> None:
    module = loaded(Path(sys.argv[1]))
    for number in range(len(DEFECTS) + 1):
        print(json.dumps(found(module, number)), flush=True)


if __name__ == "__main__":
    main()
