"""Scheduling and memory of the process, as global_defs asks for. A refusal is only logged."""

from __future__ import annotations

import logging
import os
import resource
import time

from fastvrrp import _core
from fastvrrp.config import model
from fastvrrp.supervisor.pulse import Ends
from fastvrrp.vrrp.plane import Capacity
from fastvrrp.vrrp.shards import Engine, Shards

log = logging.getLogger(__name__)

# The engine thread is a real-time thread unless the kernel refuses: ordinary load must not make an
# advert late. The applier runs one below it, so 2 is the lowest; vrrp_rt_priority chooses another.
REALTIME_PRIORITY = 2
DEFAULT = Capacity(instances=8192, links=1024, groups=1024)
ROOM = 4  # times what the first configuration needs, so that a reload can grow
_AT_THE_START = (
    "vrrp_engine_threads",
    "vrrp_rt_priority",
    "vrrp_priority",
    "vrrp_cpu_affinity",
    "vrrp_no_swap",
)


def capacity(configuration: model.Configuration) -> Capacity:
    """How large the engine is made: it cannot grow while it runs."""
    instances = len(configuration.vrrp_instances)
    return Capacity(
        instances=max(DEFAULT.instances, ROOM * instances),
        links=max(DEFAULT.links, instances),
        groups=max(DEFAULT.groups, ROOM * len(configuration.sync_groups)),
    )


def hold_until_ns(defs: model.GlobalDefs) -> int:
    """Monotonic time before which no instance speaks or listens: the longer one of
    vrrp_startup_delay and vrrp_delay_after_boot applies. 0: no delay."""
    boot_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    wait_ns = max(defs.startup_delay_ns, defs.delay_after_boot_ns - boot_ns)
    return time.monotonic_ns() + wait_ns if wait_ns > 0 else 0


def tune_process(defs: model.GlobalDefs) -> None:
    """Nice value and CPUs; threads started later inherit both."""
    if defs.vrrp_priority:
        try:
            os.setpriority(os.PRIO_PROCESS, 0, defs.vrrp_priority)
        except OSError as exc:
            log.warning("cannot set vrrp_priority %d: %s", defs.vrrp_priority, exc.strerror)
    if defs.vrrp_cpu_affinity:
        try:
            os.sched_setaffinity(0, defs.vrrp_cpu_affinity)
        except OSError as exc:
            log.warning("cannot set vrrp_cpu_affinity: %s", exc.strerror)


def start_engine(configuration: model.Configuration, pulse: Ends) -> Engine:
    """An engine that runs, of as many threads as vrrp_engine_threads says. Each says that it lives
    by `pulse`.

    Raises OSError when its sockets cannot be made.
    """
    defs = configuration.global_defs
    size = capacity(configuration)
    cpus = len(os.sched_getaffinity(0))
    if defs.vrrp_engine_threads > cpus:
        text = "vrrp_engine_threads %d: the VRRP process has fewer CPUs, %d"
        log.warning(text, defs.vrrp_engine_threads, cpus)
    lock = defs.vrrp_no_swap
    if lock:
        unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
        try:
            resource.setrlimit(resource.RLIMIT_MEMLOCK, unlimited)
        except (OSError, ValueError) as exc:
            log.warning("cannot raise the limit of locked memory: %s", exc)
    engine = _make(size, defs, pulse, lock)
    try:
        engine.start()
    except OSError as exc:
        if not lock:
            raise
        log.warning("cannot lock the memory (vrrp_no_swap): %s", exc.strerror)
        engine = _make(size, defs, pulse, False)
        engine.start()
    if engine.rt_errno:
        log.log(
            logging.WARNING if defs.vrrp_rt_priority else logging.INFO,
            "no real-time scheduling for adverts (%s): a busy machine can make them late",
            os.strerror(engine.rt_errno),
        )
    return engine


def _make(size: Capacity, defs: model.GlobalDefs, pulse: Ends, lock: bool) -> Engine:
    engines = [
        _core.Engine(
            instances=size.instances,
            links=size.links,
            groups=size.groups,
            rt_priority=defs.vrrp_rt_priority or REALTIME_PRIORITY,
            lock_memory=lock,
            pulse=pulse.page,
            alarm=pulse.alarm,
            thread=thread,
        )
        for thread in range(defs.vrrp_engine_threads)
    ]
    return engines[0] if len(engines) == 1 else Shards(engines)


def warn_of_changes(old: model.GlobalDefs, new: model.GlobalDefs) -> None:
    """Say which settings of this file a reload cannot put into effect."""
    for name in _AT_THE_START:
        if getattr(old, name) != getattr(new, name):
            log.warning("a change of %s takes effect when the daemon is started again", name)
