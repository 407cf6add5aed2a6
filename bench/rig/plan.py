"""Which cases are run: everything, or the smoke of a minute."""

from __future__ import annotations

from .cases.base import Case
from .cases.flood import Flood
from .cases.floor import AddressFloor, PacketFloor, TimerFloor
from .cases.pressure import Pressure
from .cases.reload import Reload
from .cases.startup import Check, Startup
from .cases.steady import Steady
from .cases.takeover import Takeover


def full() -> list[Case]:
    """What docs/benchmarks shows; about two hours with three rounds."""
    cases: list[Case] = [TimerFloor(delay_us=100), TimerFloor(delay_us=1_000_000)]
    for count, interval_s in ((255, 0.1), (1024, 0.1), (4096, 0.1), (4096, 1.0)):
        cases += [
            PacketFloor(backend=backend, instances=count, interval_s=interval_s)
            for backend in ("raw", "packet")
        ]
    cases += [AddressFloor(instances=4096, batch=1), AddressFloor(instances=4096, batch=64)]
    cases += [
        Steady(instances=count, interval_s=interval_s)
        for count, interval_s in (
            (1, 1.0),
            (16, 1.0),
            (255, 1.0),
            (1024, 1.0),
            (4096, 1.0),
            (1, 0.1),
            (16, 0.1),
            (255, 0.1),
            (1024, 0.1),
            (4096, 0.1),
            (4096, 0.05),
            (4096, 0.02),
            (4096, 0.01),
        )
    ]
    cases += [Check(instances=count) for count in (1, 255, 4096)]
    cases += [Startup(instances=count) for count in (1, 255, 1024, 4096)]
    for how in ("kill", "stop"):
        cases += [
            Takeover(instances=count, interval_s=0.1, how=how) for count in (1, 255, 1024, 4096)
        ]
    cases += [Reload(instances=1024, interval_s=0.1), Reload(instances=4096, interval_s=0.1)]
    cases += [Pressure(instances=255, interval_s=0.01), Pressure(instances=255, interval_s=0.1)]
    cases += [Flood(fault=fault, rate=100_000) for fault in ("checksum", "ttl", "vrid")]
    cases += [
        Flood(fault=fault, rate=rate)
        for rate in (12, 50)
        for fault in ("checksum", "ttl", "version")
    ]
    return cases


def quick() -> list[Case]:
    """Every kind of case once, small: shows that the rig works, not how fast anything is."""
    daemons = ("fastvrrp",)
    return [
        TimerFloor(delay_us=1000),
        PacketFloor(backend="raw", instances=16, interval_s=0.1, seconds=0.5),
        PacketFloor(backend="packet", instances=16, interval_s=0.1, seconds=0.5),
        AddressFloor(instances=16),
        Steady(contenders=daemons, instances=16, interval_s=0.1, cpu_window_s=1.0, capture_s=1.0),
        Check(contenders=daemons, instances=16),
        Startup(contenders=daemons, instances=16, interval_s=0.1),
        Takeover(contenders=daemons, instances=16, interval_s=0.1, how="kill"),
        Takeover(contenders=daemons, instances=16, interval_s=0.1, how="stop"),
        Reload(contenders=daemons, instances=16, interval_s=0.1, observe_s=1.0),
        Pressure(contenders=daemons, instances=16, interval_s=0.1, loops=2, seconds=1.0),
        Flood(contenders=daemons, fault="ttl", rate=1000, instances=16, seconds=1.0),
    ]


KINDS: dict[str, type[Case]] = {
    case.kind: case
    for case in (
        Steady,
        Startup,
        Check,
        Takeover,
        Reload,
        Pressure,
        Flood,
        PacketFloor,
        AddressFloor,
        TimerFloor,
    )
}
