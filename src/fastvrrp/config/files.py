"""Which files a configuration is made of, and who reads which."""

from __future__ import annotations

from pathlib import Path

from fastvrrp.config.build import Builder
from fastvrrp.config.diagnostics import Diagnostics
from fastvrrp.config.include import matching
from fastvrrp.config.model import Position, Severity
from fastvrrp.config.source import Source

YAML_SUFFIXES = frozenset((".yaml", ".yml"))
SUFFIXES = YAML_SUFFIXES | {".conf"}


def read_files(
    path: Path, source: Source, builder: Builder, diagnostics: Diagnostics, config_id: str
) -> None:
    """Read a file, or those of a directory or pattern in the order of their names, into
    `builder`."""
    files = _of_directory(path, diagnostics) if _is_directory(path) else matching(path)
    native = None
    for file in files:
        if file.suffix not in YAML_SUFFIXES:
            source.read(file)
            continue
        if native is None:
            # most configurations need no YAML
            from fastvrrp.config.native.files import NativeFiles

            native = NativeFiles(diagnostics, source, source.known, config_id)
        native.read(file)
    if native is not None:
        native.finish(builder.root)


def _is_directory(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # a name that cannot be one, of which reading the file tells
        return False


def _of_directory(path: Path, diagnostics: Diagnostics) -> list[Path]:
    """Hidden files are not among them, nor what editors leave behind."""
    try:
        found = sorted(path.iterdir())
    except OSError as error:
        text = f"cannot read {path}: {error.strerror}"
        diagnostics.add(Position(file=str(path), line=1), Severity.ERROR, text)
        return []
    files = [f for f in found if f.suffix in SUFFIXES and f.name[0] != "." and f.is_file()]
    if not files:
        diagnostics.add(
            Position(file=str(path), line=1),
            Severity.ERROR,
            "the directory has no configuration",
            "put files ending in .yaml, .yml or .conf into it",
        )
    return files
