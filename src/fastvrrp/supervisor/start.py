"""How `fastvrrp run` goes on: its processes are on their way before the supervisor is loaded.

Order: signals and the reader of the configuration (`early`), log, run directory and its lock, what
both the VRRP process and the supervisor have to import, the VRRP process, and only then what
is the supervisor's own (`main`). The VRRP process waits for its first configuration and does
nothing before; when there will be none it just ends. The IPVS process is started when a
configuration needs it, or in place of the VRRP process when it runs alone.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from fastvrrp.supervisor import destinations
from fastvrrp.supervisor.destinations import Destinations
from fastvrrp.supervisor.early import Early, one_processor
from fastvrrp.supervisor.housekeeping import UMASK, set_name
from fastvrrp.supervisor.manner import Manner
from fastvrrp.supervisor.reading import Wanted
from fastvrrp.supervisor.roles import ROLES, VRRP
from fastvrrp.supervisor.rundir import AlreadyRunning, RunDir, RunDirError, acquire
from fastvrrp.supervisor.sdnotify import Notifier
from fastvrrp.supervisor.spawn import Settings

log = logging.getLogger(__name__)


class Options(NamedTuple):
    """What the command line asked for."""

    wanted: Wanted
    run_dir: Path
    log: Destinations = Destinations()
    manner: Manner = Manner()
    children: Sequence[Settings] = ()  # tests run other programs, with other times


def run(options: Options, early: Early | None = None) -> int:
    """Run until stopped; returns the exit code. `early`: what has begun already.

    0 after an orderly stop; 1 when the configuration has errors or the daemon cannot start (or
    what `Manner` says); 2 when a process that everything depends on refuses the configuration;
    4 when it lacks a permission.
    """
    manner = options.manner
    with contextlib.closing(early or Early(ignore_sigint=manner.ignore_sigint)) as early:
        if not early.has_read and not one_processor():
            early.read(options.wanted)
        also = () if manner.early is None else (manner.early,)
        destinations.setup(options.log, "supervisor", also=also)
        set_name(manner.names["supervisor"])
        os.umask(UMASK if manner.umask is None else manner.umask)
        with contextlib.closing(Notifier(os.environ)) as notifier:
            try:
                with early.signals.stop_at_once():
                    run_dir = acquire(options.run_dir)
            except RunDirError as exc:
                log.error("%s", exc)
                return manner.exit_running if isinstance(exc, AlreadyRunning) else 1
            with contextlib.closing(run_dir):
                return _run(options, run_dir, notifier, early)


def _run(options: Options, run_dir: RunDir, notifier: Notifier, early: Early) -> int:
    children = [
        # A child holds the lock too: after a kill -9 of this process nobody may start anew
        # while the old child is still undoing its work.
        settings._replace(keep_fds=(run_dir.lock,))
        for settings in options.children or _children(options, run_dir)
    ]
    only = options.wanted.only
    first = next(one for one in children if only in (None, one.role.name))
    gc.disable()  # modules are made for good: nothing of them is worth looking at
    _import_common(first)
    if not early.has_read:  # one processor: what is touched behind each fork has to be copied
        import fastvrrp.supervisor.main  # noqa: F401

        early.read(options.wanted)
    early.signals.end_if_stopped()
    early.spawn(first)
    from fastvrrp.supervisor.main import supervise

    gc.enable()
    return supervise(options, children, run_dir, notifier, early)


def _import_common(first: Settings) -> None:
    """What the supervisor and its first child need, once for both of them."""
    import concurrent.futures.thread  # noqa: F401

    from fastvrrp import light

    if first.role.name == VRRP.name:  # the other one checks servers that speak TLS
        light.asyncio_without_tls()
    import fastvrrp.namelist
    import fastvrrp.net.namespace
    import fastvrrp.notify.fifo
    import fastvrrp.supervisor.dumpfile
    import fastvrrp.supervisor.link
    import fastvrrp.supervisor.process
    import fastvrrp.track.inotify
    import fastvrrp.track.runner  # noqa: F401


def _children(options: Options, run_dir: RunDir) -> Sequence[Settings]:
    manner = options.manner
    common = Settings(
        run_dir=run_dir.path,
        log=options.log,
        umask=manner.umask,
        respawn=manner.respawn,
        keep_services=manner.keep_services,
    )
    return [common._replace(role=role, name=manner.names[role.name]) for role in ROLES]
