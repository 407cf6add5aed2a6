"""How `fastvrrp run` begins: its processes are on their way before the supervisor is loaded.

Order: log, run directory and its lock, the reader of the configuration, what both the VRRP process
and the supervisor have to import, the VRRP process, and only then what is the supervisor's own
(`main`). The VRRP process waits for its first configuration and does nothing before; when there
will be none it just ends. The IPVS process is started when a configuration needs it, or in place of
the VRRP process when it runs alone.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from fastvrrp.supervisor import logs, process
from fastvrrp.supervisor.early import Early, EarlySignals
from fastvrrp.supervisor.rundir import RunDir, RunDirError, acquire
from fastvrrp.supervisor.sdnotify import Notifier
from fastvrrp.supervisor.spawn import ROLES, Settings

log = logging.getLogger(__name__)


class Options(NamedTuple):
    """What `fastvrrp run` was asked for."""

    file: Path
    run_dir: Path
    log_level: str = "info"
    log_format: str = "text"
    config_id: str | None = None
    only: str | None = None  # name of the one role that is run
    children: Sequence[Settings] = ()  # tests run other programs, with other times


def run(options: Options) -> int:
    """Run until stopped; returns the exit code.

    0 after an orderly stop; 1 when the configuration has errors or the daemon cannot start;
    2 when a process that everything depends on refuses the configuration; 4 when it lacks a
    permission.
    """
    signals = EarlySignals()
    logs.setup(level=options.log_level, form=options.log_format, process="supervisor")
    process.set_name("fastvrrp")
    os.umask(0o027)  # nothing that any of our processes writes is for everybody
    with contextlib.closing(Notifier(os.environ)) as notifier:
        try:
            run_dir = acquire(options.run_dir)
        except RunDirError as exc:
            log.error("%s", exc)
            return 1
        with contextlib.closing(run_dir):
            return _run(options, run_dir, notifier, signals)


def _run(options: Options, run_dir: RunDir, notifier: Notifier, signals: EarlySignals) -> int:
    children = [
        # A child holds the lock too: after a kill -9 of this process nobody may start anew
        # while the old child is still undoing its work.
        settings._replace(keep_fds=(run_dir.lock,))
        for settings in options.children or _children(options, run_dir)
    ]
    first = next(one for one in children if options.only in (None, one.role.name))
    with contextlib.closing(Early()) as early:
        with signals.stop_deferred():
            early.read(options.file, options.config_id, options.only)
        import fastvrrp.supervisor.link  # noqa: F401 (once, and for both)

        with signals.stop_deferred():
            early.spawn(first)
        from fastvrrp.supervisor.main import supervise

        return supervise(options, children, run_dir, notifier, early, signals)


def _children(options: Options, run_dir: RunDir) -> Sequence[Settings]:
    common = Settings(
        run_dir=run_dir.path, log_level=options.log_level, log_format=options.log_format
    )
    return [common._replace(role=role) for role in ROLES]
