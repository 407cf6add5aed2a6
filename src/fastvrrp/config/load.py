"""Reads a configuration: the one entrance. `load` never raises for what a file says."""

from __future__ import annotations

import contextlib
import gc
import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from fastvrrp.config.build import Builder
from fastvrrp.config.diagnostics import Diagnostics
from fastvrrp.config.expand import Definitions
from fastvrrp.config.files import read_files
from fastvrrp.config.host import HostInfo, SystemHost
from fastvrrp.config.include import Checks
from fastvrrp.config.loading import Loader
from fastvrrp.config.memory import Last
from fastvrrp.config.model import Loaded
from fastvrrp.config.node import Node
from fastvrrp.config.remembered import Blocks
from fastvrrp.config.source import Source
from fastvrrp.config.taken import Unread
from fastvrrp.config.tolerance import Omissions, tolerated


def load(
    path: str | Path,
    *,
    config_id: str | None = None,
    environ: Mapping[str, str] | None = None,
    host: HostInfo | None = None,
    net_namespace: str | None = None,
    strict_includes: bool = False,
    tolerant: bool = False,
) -> Loaded:
    """Read and check the configuration in `path`: a keepalived.conf, a .yaml or .yml file, a
    directory with such files, or a pattern that matches some.

    `config_id` decides about `@` lines (default: the host name up to its first dot), `environ`
    answers ${_ENV NAME} (default: the process's environment), `host` everything about the
    machine (default: this one). `net_namespace` is used in place of what the file says.
    `strict_includes`: as if the file began with `include_check`. `tolerant`: statements that are
    wrong are left out, as keepalived does (`tolerance`). Every problem is a Message;
    `configuration` is None after any error.
    """
    how = _How(config_id, environ, host or SystemHost(), net_namespace, strict_includes, tolerant)
    return _load(path, how, Blocks()).loaded


class Again(NamedTuple):
    """What `load_again` found. `memory` is for the next time, with the bytes of the configuration
    (`memory.Last`); `parsed` says how many of the `blocks` were parsed, by keyword."""

    loaded: Loaded
    memory: bytes
    blocks: int
    parsed: dict[str, int]


def load_again(
    path: str | Path,
    last: Last | None,
    *,
    config_id: str | None = None,
    environ: Mapping[str, str] | None = None,
    host: HostInfo | None = None,
    net_namespace: str | None = None,
    strict_includes: bool = False,
    tolerant: bool = False,
    is_reload: bool = False,
) -> Again:
    """`load`, but blocks that are written as in the `last` configuration are not parsed.

    A virtual server of such a block is a `taken.TakenServer`: nobody but the encoder
    (`taken.in_bytes`) sees its real servers. `is_reload`: of what is wrong less is tolerated.
    """
    machine = host or SystemHost()
    how = _How(
        config_id, environ, machine, net_namespace, strict_includes, tolerant, is_reload=is_reload
    )
    if last is not None:
        with contextlib.suppress(Unread):
            return _load(path, how, Blocks(last, keeps=True))
    return _load(path, how, Blocks(keeps=True))


class _How(NamedTuple):
    """The arguments of `load` but its file."""

    config_id: str | None
    environ: Mapping[str, str] | None
    host: HostInfo
    net_namespace: str | None
    strict_includes: bool
    tolerant: bool
    is_reload: bool = False


def _load(path: str | Path, how: _How, blocks: Blocks) -> Again:
    """Raises Unread, never without anything to be taken over."""
    again = _read(path, how, blocks)
    if not how.tolerant or not again.loaded.errors:
        return again

    def read(omissions: Omissions) -> Loaded:
        return _read(path, how, Blocks(), omissions).loaded

    loaded = tolerated(again.loaded, read, is_reload=how.is_reload)
    return again._replace(loaded=loaded, memory=b"")


def _read(path: str | Path, how: _How, blocks: Blocks, omissions: Omissions | None = None) -> Again:
    config_id, definitions = _settings(how.config_id, how.environ, how.host)
    was_enabled = gc.isenabled()
    gc.disable()  # nothing here is cyclic, and a large file is a million objects
    loader = Loader(how.host, how.net_namespace, blocks)
    try:
        checks = Checks(True, True, True, True) if how.strict_includes else Checks()
        loaded = loader.load(Path(path), config_id, definitions, checks, omissions)
        return Again(loaded, loader.memory(config_id), loader.count, loader.parsed)
    finally:
        loader.diagnostics.placed = None  # no circle is left
        if was_enabled:
            gc.enable()


def statements(
    path: str | Path,
    diagnostics: Diagnostics,
    *,
    host: HostInfo,
    config_id: str | None = None,
    environ: Mapping[str, str] | None = None,
) -> list[Node]:
    """What the files say before anything is made of it: includes and templates are resolved.

    Problems become messages. Raises TooManyErrors.
    """
    config_id, definitions = _settings(config_id, environ, host)
    builder = Builder(diagnostics)
    source = Source(diagnostics, builder, definitions, config_id)
    read_files(Path(path), source, builder, diagnostics, config_id)
    return builder.root


def _settings(
    config_id: str | None, environ: Mapping[str, str] | None, host: HostInfo
) -> tuple[str, Definitions]:
    if config_id is None:
        config_id = host.hostname().split(".", 1)[0]
    return config_id, Definitions(config_id, os.environ if environ is None else environ)
