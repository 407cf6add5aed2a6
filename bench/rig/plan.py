"""Which cases are run: everything, or the smoke of a minute."""

from __future__ import annotations

from itertools import product
from typing import Literal

from .cases.base import Case
from .cases.flood import Flood, Trickle
from .cases.floor import AddressFloor, PacketFloor, TimerFloor
from .cases.ipvs import Checks, Probes, Reading, Table
from .cases.pressure import Pressure
from .cases.reload import Growth, Reload
from .cases.startup import Check, Startup
from .cases.steady import Saturation, Steady
from .cases.takeover import Takeover

RAW = ("fastvrrp", "keepalived")
EVERY_SOCKET = ("fastvrrp", "fastvrrp-packet", "keepalived")
QUIET = "fastvrrp-packet-quiet"
AWAKE = ("fastvrrp-awake", "fastvrrp-packet-awake", "keepalived-awake")
REAL_TIME = ("fastvrrp-rt", "keepalived-rt", "keepalived-rt-unlimited")
LARGEST_LOADS: tuple[tuple[Literal["raw", "packet"], float], ...] = (
    ("raw", 0.02),
    ("packet", 0.01),
)
BACKENDS: tuple[Literal["raw", "packet"], ...] = ("raw", "packet")


def floors() -> list[Case]:
    loads = ((255, 0.1), (1024, 0.1), (4096, 1.0))
    return [
        TimerFloor(delay_us=100),
        TimerFloor(delay_us=1_000_000),
        *(
            PacketFloor(backend=backend, instances=count, interval_s=interval_s)
            for (count, interval_s), backend in product(loads, BACKENDS)
        ),
        *(
            PacketFloor(
                backend=backend,
                instances=4096,
                interval_s=0.1,
                capture_s=4.0,
                contenders=("floor", "floor-awake"),
            )
            for backend in BACKENDS
        ),
        *(
            PacketFloor(
                backend=backend, instances=4096, interval_s=interval_s, seconds=10.0, capture_s=10.0
            )
            for backend, interval_s in LARGEST_LOADS
        ),
        AddressFloor(instances=4096, batch=1),
        AddressFloor(instances=4096, batch=64),
    ]


def steady() -> list[Case]:
    """Few instances cost so little that a window of seconds would not show it.

    keepalived 2.2.7 has not become master of 32768 after 220 s, so it is left out there.
    """
    return [
        Steady(instances=1, interval_s=1.0, cpu_window_s=60.0, contenders=RAW),
        Steady(instances=16, interval_s=1.0, cpu_window_s=10.0, contenders=RAW),
        Steady(instances=255, interval_s=1.0, contenders=RAW),
        Steady(instances=4096, interval_s=1.0, contenders=EVERY_SOCKET),
        Steady(instances=255, interval_s=0.1, contenders=EVERY_SOCKET),
        Steady(instances=1024, interval_s=0.1, contenders=RAW),
        Steady(instances=4096, interval_s=0.1, contenders=(*EVERY_SOCKET, QUIET, *AWAKE)),
        Steady(instances=32768, interval_s=1.0, contenders=("fastvrrp",)),
    ]


def saturation() -> list[Case]:
    """Every daemon for a third of a minute; for a whole one those that should carry the load."""
    return [
        Saturation(instances=4096, interval_s=0.05, seconds=10.0, contenders=EVERY_SOCKET),
        Saturation(
            instances=4096,
            interval_s=0.02,
            contenders=(*EVERY_SOCKET, "fastvrrp-threads"),
        ),
        Saturation(
            instances=4096,
            interval_s=0.01,
            contenders=(*EVERY_SOCKET, QUIET, f"{QUIET}-threads"),
        ),
        Saturation(
            instances=4096,
            interval_s=0.02,
            seconds=60.0,
            contenders=("fastvrrp", "fastvrrp-awake"),
            rounds=1,
        ),
        Saturation(
            instances=4096,
            interval_s=0.01,
            seconds=60.0,
            contenders=(QUIET, f"{QUIET}-threads"),
            rounds=1,
        ),
    ]


def balancer() -> list[Case]:
    """In a guest, which has a slower processor: shares and ratios are what counts."""
    return [
        Checks(checker="tcp", servers=10_000),
        Checks(checker="http", servers=2000),
        Probes(checker="tcp", servers=10_000),
        Probes(checker="http", servers=2000),
        Table(services=1, servers=1, idle_s=20.0, rounds=1),
        Table(),
        Reading(),
    ]


def full() -> list[Case]:
    """What docs/benchmarks shows; `--list` says how long it takes."""
    takeovers = (("kill", 255), ("kill", 1024), ("kill", 4096), ("stop", 1024), ("stop", 4096))
    return [
        *floors(),
        *steady(),
        *saturation(),
        *(Check(instances=count) for count in (1, 255, 4096)),
        *(Startup(instances=count, interval_s=1.0) for count in (1, 255, 4096)),
        *(Takeover(instances=count, interval_s=0.1, how=how) for how, count in takeovers),
        Reload(instances=1024, interval_s=0.1),
        Reload(instances=4096, interval_s=0.1),
        Growth(),
        Pressure(instances=255, interval_s=0.01),
        Pressure(instances=255, interval_s=0.01, seconds=20.0, contenders=REAL_TIME, rounds=1),
        *(Flood(fault=fault, rate=100_000) for fault in ("checksum", "ttl", "vrid")),
        Trickle(rate=12),
        Trickle(rate=50),
        *balancer(),
    ]


def quick() -> list[Case]:
    """Every kind of case once, small: shows that the rig works, not how fast anything is."""
    few, daemons = {"instances": 16, "interval_s": 0.1}, ("fastvrrp",)
    return [
        TimerFloor(delay_us=1000),
        PacketFloor(backend="raw", seconds=0.5, **few),
        PacketFloor(backend="packet", seconds=0.5, **few),
        AddressFloor(instances=16),
        Steady(contenders=daemons, cpu_window_s=1.0, capture_s=1.0, **few),
        Saturation(contenders=daemons, seconds=1.0, **few),
        Check(contenders=daemons, instances=16),
        Startup(contenders=daemons, **few),
        Takeover(contenders=daemons, how="kill", **few),
        Takeover(contenders=daemons, how="stop", **few),
        Reload(contenders=daemons, observe_s=1.0, **few),
        Growth(contenders=daemons, reloads=8, warm_up=4, sample_every=2, **few),
        Pressure(contenders=daemons, loops=2, seconds=1.0, **few),
        Flood(contenders=daemons, fault="ttl", rate=1000, seconds=1.0, **few),
        Trickle(contenders=daemons, rate=20, seconds=0.6, **few),
        Checks(contenders=daemons, checker="http", servers=8, window_s=1.0),
        Probes(checker="http", servers=8, window_s=1.0),
        Table(contenders=daemons, services=2, servers=8, idle_s=1.0),
        Reading(contenders=daemons, services=2, servers=8),
    ]


KINDS: dict[str, type[Case]] = {
    case.kind: case
    for case in (
        Steady,
        Saturation,
        Startup,
        Check,
        Takeover,
        Reload,
        Growth,
        Pressure,
        Flood,
        Trickle,
        PacketFloor,
        AddressFloor,
        TimerFloor,
        Checks,
        Probes,
        Table,
        Reading,
    )
}
