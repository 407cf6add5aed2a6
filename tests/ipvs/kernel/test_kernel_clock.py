"""Steps of the wall clock while routers run: here, because a step is the whole machine's."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fastvrrp.control.client import Client
from fastvrrp.lab.daemons import Fastvrrp
from fastvrrp.lab.network import Network, wait_for
from fastvrrp.lab.sniffer import Sniffer
from keepalived_text import VIP, config, instance

MS = 1_000_000
MINUTE_NS = 60 * 1000 * MS
INTERVAL_NS = 300 * MS
DOWN_NS = 3 * INTERVAL_NS  # at least, of the backup
# of hours and of a year, both ways; a test takes less than a minute, so a stamp of the observer's
# says in which of these times it was made
FAR_NS = tuple(minutes * MINUTE_NS for minutes in (60, -120, 525_600, -525_660, 2, 118))
# about as long as a packet waits, as an interval, as a detection
NEAR_NS = (2 * MS, -2 * MS, 20 * MS, -20 * MS, 310 * MS, -310 * MS, 1200 * MS, -1200 * MS)


def offset_ns() -> int:
    """How much the wall clock is ahead of the monotonic one."""
    return time.clock_gettime_ns(time.CLOCK_REALTIME) - time.monotonic_ns()


@pytest.fixture
def clock() -> Iterator[None]:
    """Is right again afterwards: other tests of this machine come behind."""
    right = offset_ns()
    yield
    step(right - offset_ns())


def step(by_ns: int) -> None:
    time.clock_settime_ns(time.CLOCK_REALTIME, time.clock_gettime_ns(time.CLOCK_REALTIME) + by_ns)


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize("backend", ["raw", "packet"])
def test_97_nobody_notices(backend: str, tmp_path: Path) -> None:
    """Master and backup stay what they are, no advert is missed, none is sent too much."""
    with (
        Network(routers=2, clients=0) as network,
        Sniffer(network["switch"], ports=network.ports()) as sniffer,
    ):
        daemons = {name: Fastvrrp(network[name], tmp_path / name) for name in ("r1", "r2")}

        def status(name: str) -> tuple[str, int]:
            """The state, and how often it became master."""
            with Client(daemons[name].run_dir) as client:
                (found,) = client.request("status")["instances"]
            return found["state"], found["counters"]["become_master"]

        try:
            for name, priority in (("r1", 150), ("r2", 100)):
                one = instance(priority=priority, advert_int=INTERVAL_NS / 1e9)
                daemons[name].start(config(one, defs=(f"vrrp_socket_backend {backend}",)))
                wait_for(lambda: "Ready: " in daemons[name].log(), 30, f"{name} is ready")  # noqa: B023
                if name == "r1":
                    network.wait_holder(VIP, "r1", timeout_s=10)
            begin, offsets = time.monotonic_ns(), {offset_ns()}
            for by_ns in FAR_NS:
                time.sleep(1.5 * INTERVAL_NS / 1e9)
                step(by_ns)
                offsets.add(offset_ns())
            time.sleep(2 * INTERVAL_NS / 1e9)
            end = time.monotonic_ns()
            for by_ns in NEAR_NS:
                time.sleep(1.5 * INTERVAL_NS / 1e9)
                step(by_ns)
            time.sleep(2 * DOWN_NS / 1e9)
            assert status("r1") == ("MASTER", 1)
            assert status("r2") == ("BACKUP", 0)
        finally:
            for daemon in daemons.values():
                daemon.close()
                print(daemon.log())

        def heard(stamp: int) -> list[int]:
            """When that was on the monotonic clock, if between begin and end."""
            return [stamp - o for o in offsets if begin <= stamp - o <= end][:1]

        times = [moment for advert in sniffer.adverts() for moment in heard(advert.time_ns)]
        gaps = [b - a for a, b in itertools.pairwise(times)]
        print(f"{len(FAR_NS)} steps: adverts at most {(max(gaps) - INTERVAL_NS) / MS:.2f} ms late")
        assert min(gaps) >= 0
        assert max(gaps) < DOWN_NS
        assert len(times) <= (end - begin) // INTERVAL_NS + 1
