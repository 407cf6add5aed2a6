"""How the daemon behaves towards whoever starts it, where that is not a matter of VRRP.

The defaults are those of `fastvrrp run`; keepalived's command line (`compat`) has others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    import logging
    from pathlib import Path

NAMES = {"supervisor": "fastvrrp", "vrrp": "fastvrrp-vrrp", "ipvs": "fastvrrp-ipvs"}
"""What ps calls our processes, unless told otherwise."""


class PidFiles(Protocol):
    """Who writes down which process has which number (`compat.pidfiles`)."""

    def update(self, pids: Mapping[str, int | None]) -> None:
        """The children by role as they are now, None for one that does not run."""


def _nobody() -> None:
    """Waits to hear that the daemon is ready."""


class Manner(NamedTuple):
    """`names`: what ps calls the processes. The exit codes: the configuration has errors; its file
    is not there; another daemon runs already. `respawn`: a process that crashed is started again.
    `keep_services`: the IPVS table stays at a stop.
    `umask`: wins over the configuration's. `dump_dir`: where dumps go in place of the run
    directory. `early`: gets the log as well. `on_ready`: called when the start is over."""

    names: Mapping[str, str] = NAMES
    pid_files: PidFiles | None = None
    exit_configuration: int = 1
    exit_missing: int = 1
    exit_running: int = 1
    respawn: bool = True
    keep_services: bool = False
    ignore_sigint: bool = False
    umask: int | None = None
    dump_dir: Path | None = None
    early: logging.Handler | None = None
    on_ready: Callable[[], None] = _nobody
