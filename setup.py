"""Builds the one extension module, fastvrrp._core, from src/fastvrrp/_core.pyx and core/*.pxi.

FASTVRRP_SANITIZE=address|undefined|thread builds with that sanitizer; FASTVRRP_DEBUG=1 turns
bounds checks and C assertions on; FASTVRRP_WERROR=1 makes every compiler warning an error.
"""

import os
from pathlib import Path

from Cython.Build import cythonize
from Cython.Compiler import Options
from setuptools import Extension, setup

HERE = Path(__file__).parent
CORE = HERE / "src" / "fastvrrp"
debug = os.environ.get("FASTVRRP_DEBUG") == "1"
sanitize = os.environ.get("FASTVRRP_SANITIZE", "")

compile_args = ["-O2", "-fno-strict-aliasing", "-fvisibility=hidden", "-Wall", "-Wextra"]
# Cython's own generated helpers trip these two; nothing of ours does.
compile_args += ["-Wno-unused-parameter", "-Wno-missing-field-initializers"]
link_args: list[str] = []
if os.environ.get("FASTVRRP_WERROR") == "1":
    compile_args.append("-Werror")
    Options.warning_errors = True
if debug:
    compile_args += ["-O0", "-g"]
if sanitize:
    # -O1 and -g1: half the time to build, and reports that still name the line
    compile_args += [f"-fsanitize={sanitize}", "-fno-omit-frame-pointer", "-g1", "-O1"]
    if "undefined" in sanitize:
        # Checks of every single pointer: four times the time to build, for what the address
        # sanitizer beside them sees at the access.
        compile_args += ["-fno-sanitize=null,object-size,pointer-overflow"]
    link_args += [f"-fsanitize={sanitize}"]

extension = Extension(
    "fastvrrp._core",
    sources=["src/fastvrrp/_core.pyx"],
    depends=[str(p.relative_to(HERE)) for p in (CORE / "core").glob("*")]
    + ["src/fastvrrp/_core.pxd"],
    include_dirs=["src/fastvrrp/core"],
    extra_compile_args=compile_args,
    extra_link_args=link_args,
    libraries=["pthread"],
)

setup(
    ext_modules=cythonize(
        [extension],
        compiler_directives={
            "language_level": 3,
            "boundscheck": debug,
            "wraparound": False,
            "initializedcheck": False,
            "nonecheck": False,
            "cdivision": True,
            "legacy_implicit_noexcept": False,
            "embedsignature": True,
            "warn.multiple_declarators": True,
        },
    )
)
