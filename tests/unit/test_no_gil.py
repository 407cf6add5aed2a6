"""Proof on the generated C that the core and the engine never need Python.

Every function that comes from core/*.pxi, apart from the Python surface (SURFACE), must
contain no GIL acquisition, no reference counting, no exception helper and no call of the Python
API; the pure parts call nothing of libc but memcpy, memset and memcmp. The checker itself is shown
to find what it looks for. Nor does anything that the engine thread does allocate memory or give any
back: both may wait for locks that the threads of Python hold.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "fastvrrp"
SURFACE = {
    *("pyapi.pxi", "pyengine.pxi", "pynet.pxi", "pycheck.pxi", "pyitem.pxi"),
    *("pyalike.pxi", "pyapart.pxi", "pymirror.pxi", "pytable.pxi"),
    *("pyhttp.pxi", "pyprobe.pxi", "pyrings.pxi", "pyipvs.pxi"),
}
PURE = {
    *("const.pxi", "wire.pxi", "block.pxi", "wheel.pxi", "fsm.pxi", "group.pxi", "check.pxi"),
    *("receive.pxi", "step.pxi", "transfer.pxi", "md5.pxi", "http.pxi"),
}
PURE_LIBC = {"memcpy", "memset", "memcmp"}
# inline helpers of shim.h that compute and nothing else
PURE_SHIM = {
    *("fv_get16", "fv_put16", "fv_same", "fv_clz64", "fv_ctz64", "fv_prefetch", "fv_rotate"),
}
MEMORY = {
    *("malloc", "calloc", "realloc", "free", "mmap", "munmap", "mremap", "madvise", "mprotect"),
    *("mlock", "mlockall", "munlock", "brk", "sbrk"),
}
# what the engine does itself only when the applier's ring is full
RING_FULL = {
    ("give_up_memory", "free"),
    ("give_up_ring", "free_ring"),
    ("link_define", "rejoin_groups"),
}
PREFIX = "__pyx_f_8fastvrrp_5_core_"
WORDS_OF_C = {"if", "for", "while", "switch", "sizeof", "return", "likely", "unlikely"}

FUNCTION = re.compile(
    r"^(?:static|CYTHON_INLINE)[^\n;{}]*?\b(__pyx_f_\w+)\(([^;{}]*)\)\s*\{\n(.*?)^\}",
    re.MULTILINE | re.DOTALL,
)
ORIGIN = re.compile(r'/\* "[^"\n]*?([\w.]+\.px[id]|[\w.]+\.pyx)":\d+')
COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
CALL = re.compile(r"\b([A-Za-z_]\w*)\s*\(")
PYTHON = re.compile(
    r"\b(?:(?!Py_ssize_t\b)Py[A-Z_]\w*|_Py\w+|__Pyx_\w+|__PYX_ERR|__pyx_mstate\w*|__pyx_d"
    r"|__pyx_lineno|goto __pyx_L\d+_error)\b"
)


class Function(NamedTuple):
    name: str
    origin: str  # the .pxi it was written in
    text: str  # without comments


def functions(source: str) -> Iterator[Function]:
    for match in FUNCTION.finditer(source):
        name, arguments, body = match.groups()
        origins = Counter(ORIGIN.findall(body))
        origin = origins.most_common(1)[0][0] if origins else ""
        yield Function(name, origin, COMMENT.sub("", arguments + body))


def complaints(source: str) -> list[str]:
    """Everything in `source` that would need Python, or more of libc than a pure part may use."""
    found = list(functions(source))
    surface = {f.name for f in found if f.origin in SURFACE}
    bad = []
    for function in found:
        if function.origin in SURFACE:
            continue
        where = f"{function.origin}: {function.name}"
        if not function.origin:
            bad.append(f"{where}: origin unknown")
        bad += [f"{where}: {word}" for word in sorted(set(PYTHON.findall(function.text)))]
        calls = set(CALL.findall(function.text)) - WORDS_OF_C
        bad += [f"{where}: calls {name}" for name in sorted(calls & surface)]
        if function.origin in PURE:
            foreign = {c for c in calls if not c.startswith("__pyx_")} - PURE_LIBC - PURE_SHIM
            bad += [f"{where}: calls {name}" for name in sorted(foreign)]
    return bad


def calls_from(source: str, first: str) -> set[tuple[str, str]]:
    """All calls (who, whom) that lead on from a function of ours, but for those of RING_FULL."""
    text = {f.name.removeprefix(PREFIX): f.text for f in functions(source)}
    found: set[tuple[str, str]] = set()
    waiting, seen = [first], {first}
    while waiting:
        caller = waiting.pop()
        called = {c.removeprefix(PREFIX) for c in CALL.findall(text[caller])} - WORDS_OF_C
        found |= {(caller, c) for c in called}
        onward = {c for c in called if c in text and (caller, c) not in RING_FULL} - seen
        seen |= onward
        waiting += sorted(onward)
    return found


def directives() -> list[str]:
    """The release build's compiler directives, as setup.py gives them."""
    tree = ast.parse((ROOT / "setup.py").read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword) and node.arg == "compiler_directives":
            assert isinstance(node.value, ast.Dict)
            pairs = zip(node.value.keys, node.value.values, strict=True)
            values = {
                ast.literal_eval(key): ast.literal_eval(value)
                if isinstance(value, ast.Constant)
                else False  # `debug`
                for key, value in pairs
                if key is not None
            }
            return [f"{name}={value}" for name, value in values.items()]
    raise AssertionError("setup.py names no compiler_directives")


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The C of the module: the build's own when it is newer than every source, else made anew."""
    built = PACKAGE / "_core.c"
    sources = [PACKAGE / "_core.pyx", PACKAGE / "_core.pxd", *(PACKAGE / "core").iterdir()]
    newest = max(path.stat().st_mtime for path in sources)
    if not built.exists() or built.stat().st_mtime < newest:
        built = tmp_path_factory.mktemp("c") / "_core.c"
        options = [word for pair in directives() for word in ("-X", pair)]
        subprocess.run(
            [sys.executable, "-m", "cython", "-3", *options, "-o", built, PACKAGE / "_core.pyx"],
            check=True,
            capture_output=True,
            timeout=100,
        )
    return built.read_text()


def test_core_and_engine_take_no_gil(generated: str) -> None:
    assert complaints(generated) == []


def test_nothing_was_overlooked(generated: str) -> None:
    """Every C function of every part was seen: the proof is about all of them."""
    seen = Counter(f.origin for f in functions(generated))
    for path in (PACKAGE / "core").glob("*.pxi"):
        written = re.findall(r"^cdef (?!class|enum|extern)[^\n]*\)[^\n]*:", path.read_text(), re.M)
        nogil = [line for line in written if "nogil" in line]
        if path.name in SURFACE:
            continue
        assert len(nogil) == len(written), f"{path.name}: a function without nogil"
        assert all("noexcept" in line or "inline" in line for line in written), path.name
        # inline functions nobody calls may be dropped; sys.pxi declares, it defines nothing
        assert seen[path.name] >= len([w for w in written if "inline" not in w]), path.name


def test_the_engine_threads_are_plain_c(generated: str) -> None:
    """The thread entry points are themselves among the functions examined."""
    names = {f.name for f in functions(generated) if f.origin not in SURFACE}
    for wanted in ("core_tick", "core_packet", "core_commit", "vr_transition", "wheel_pop_due"):
        assert f"__pyx_f_8fastvrrp_5_core_{wanted}" in names
    origins = {f.origin for f in functions(generated)}
    wanted = {"engine.pxi", "move.pxi", "netio.pxi", "apply.pxi", "ring.pxi"}
    assert wanted | {"probe.pxi", "webprobe.pxi"} <= origins


def test_the_engine_thread_leaves_memory_to_others(generated: str) -> None:
    calls = calls_from(generated, "engine_loop")
    called = {name for _, name in calls}
    assert called > {"core_tick", "announce_run", "run_commit", "serve_move"}
    assert calls > RING_FULL, "an exception that is none any more"
    assert sorted(call for call in calls - RING_FULL if call[1] in MEMORY) == []


def test_what_others_do_with_memory_is_seen(generated: str) -> None:
    calls = calls_from(generated, "applier_loop")
    assert calls > {("burst_clean", "madvise"), ("give_back", "madvise"), ("applier_loop", "free")}


def test_shim_knows_nothing_of_python() -> None:
    text = COMMENT.sub("", (PACKAGE / "core" / "shim.h").read_text())
    assert PYTHON.findall(text) == []
    assert "Python.h" not in text


PLANT = """
static void __pyx_f_8fastvrrp_5_core_planted(int __pyx_v_i) {{
  /* "src/fastvrrp/core/{origin}":12
 * cdef void planted(int i) noexcept nogil:  PyGILState_Ensure in a comment is harmless
 */
  {statement}
}}
"""


@pytest.mark.parametrize(
    ("origin", "statement"),
    [
        ("engine.pxi", "PyGILState_STATE s = __Pyx_PyGILState_Ensure();"),
        ("fsm.pxi", "PyGILState_Ensure();"),
        ("fsm.pxi", "__Pyx_INCREF(x);"),
        ("wire.pxi", "Py_XDECREF(x);"),
        ("group.pxi", "__Pyx_WriteUnraisable(__pyx_k_a, 0, 0, 0, 0, 1, 1);"),
        ("step.pxi", "__PYX_ERR(0, 5, __pyx_L1_error)"),
        ("netio.pxi", "PyErr_SetString(x, y);"),
        ("wheel.pxi", "malloc(7);"),
        ("receive.pxi", "clock_gettime(CLOCK_MONOTONIC, &t);"),
        ("fsm.pxi", "fv_now_ns();"),
        ("step.pxi", "printf(x);"),
    ],
)
def test_the_checker_finds_what_it_looks_for(origin: str, statement: str) -> None:
    assert complaints(PLANT.format(origin=origin, statement=statement))


@pytest.mark.parametrize(
    ("origin", "statement"),
    [
        ("fsm.pxi", "if (unlikely(__pyx_v_i)) memcpy(a, b, sizeof(int));"),
        ("engine.pxi", "close(3);"),
        ("pyapi.pxi", "PyErr_SetString(x, y);"),
        ("wire.pxi", "__pyx_f_8fastvrrp_5_core_sum_bytes(a, 1, 0);"),
    ],
)
def test_the_checker_lets_harmless_code_pass(origin: str, statement: str) -> None:
    assert complaints(PLANT.format(origin=origin, statement=statement)) == []


def test_the_checker_follows_calls_into_the_python_surface() -> None:
    surface = PLANT.format(origin="pyapi.pxi", statement="return;").replace("planted", "helper")
    caller = PLANT.format(
        origin="engine.pxi", statement="__pyx_f_8fastvrrp_5_core_helper(__pyx_v_i);"
    )
    assert complaints(surface + caller)
