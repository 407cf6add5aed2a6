"""Scheduling and memory of the IPVS process, as global_defs asks. A refusal is only logged."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import resource
import signal
from collections.abc import Iterator

from fastvrrp.config.servers import Ipvs

log = logging.getLogger(__name__)

_MCL_CURRENT, _MCL_FUTURE, _MCL_ONFAULT = 1, 2, 4  # mlockall(2)


def tune(ipvs: Ipvs) -> None:
    """Nice value, CPUs, real-time priority, locked memory. Threads started later inherit the
    first three; programs never do, because another process runs them."""
    if ipvs.priority:
        with _told(f"set checker_priority {ipvs.priority}"):
            os.setpriority(os.PRIO_PROCESS, 0, ipvs.priority)
    if ipvs.cpu_affinity:
        with _told("set checker_cpu_affinity"):
            os.sched_setaffinity(0, ipvs.cpu_affinity)
    if ipvs.no_swap:
        with _told("lock the memory (checker_no_swap)"):
            _lock_memory()
    if ipvs.rt_priority:
        with _told(f"set checker_rt_priority {ipvs.rt_priority}"):
            _realtime(ipvs)


def _lock_memory() -> None:
    unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    with contextlib.suppress(OSError, ValueError):  # perhaps the limit is enough as it is
        resource.setrlimit(resource.RLIMIT_MEMLOCK, unlimited)
    libc = ctypes.CDLL(None, use_errno=True)
    # the prober has room for 262,144 checks: only what is used of it takes memory
    if libc.mlockall(_MCL_CURRENT | _MCL_FUTURE | _MCL_ONFAULT) != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


def _realtime(ipvs: Ipvs) -> None:
    """SCHED_RR, with a limit of CPU time without sleep that only warns: a large reload may need
    more, and ending the checks for it would be worse than what the limit protects from."""
    signal.signal(signal.SIGXCPU, _exceeded)
    _, hard = resource.getrlimit(resource.RLIMIT_RTTIME)
    resource.setrlimit(resource.RLIMIT_RTTIME, (ipvs.rlimit_rttime_us, hard))
    os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(ipvs.rt_priority))


def _exceeded(number: int, frame: object) -> None:
    log.warning("the checkers used more CPU time at once than checker_rlimit_rttime")


@contextlib.contextmanager
def _told(what: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as exc:
        log.warning("cannot %s: %s", what, exc)
