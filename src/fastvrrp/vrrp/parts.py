"""The parts of the VRRP process, put together."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path

import msgspec

from fastvrrp.config import model
from fastvrrp.net.journal import Journal
from fastvrrp.net.monitor import Monitor
from fastvrrp.notify.queue import Notifier
from fastvrrp.supervisor.pulse import Ends
from fastvrrp.track.manager import Trackers
from fastvrrp.track.runner import Runner
from fastvrrp.vrrp import tuning
from fastvrrp.vrrp.cpu_latency import CpuLatency
from fastvrrp.vrrp.devices import Devices
from fastvrrp.vrrp.engine_client import EngineClient
from fastvrrp.vrrp.plane import Plane
from fastvrrp.vrrp.report import Reporter, Supervisor
from fastvrrp.vrrp.shards import Engine
from fastvrrp.vrrp.surroundings import Surroundings
from fastvrrp.vrrp.upkeep import Upkeep

log = logging.getLogger(__name__)

IPV6_FORWARDING = "/proc/sys/net/ipv6/conf/{}/forwarding"
UNSETTLED_S = 1.0  # before looking after a removal that failed


def forwards_ipv6(interface: str) -> bool:
    """Whether the kernel forwards IPv6 packets that come in by an interface."""
    try:
        return Path(IPV6_FORWARDING.format(interface)).read_text("ascii").strip() != "0"
    except OSError:
        return False


async def start_monitor() -> Monitor:
    """One that follows the kernel already. Raises OSError."""
    monitor = Monitor()
    try:
        await monitor.start()
    except BaseException:
        monitor.close()
        raise
    return monitor


class Parts(msgspec.Struct, frozen=True, eq=False):
    """What lives from the first configuration to the end, wired to each other."""

    monitor: Monitor
    cpu_latency: CpuLatency
    engine: Engine
    client: EngineClient
    plane: Plane
    surroundings: Surroundings
    upkeep: Upkeep
    reporter: Reporter
    trackers: Trackers
    notifier: Notifier

    @classmethod
    async def make(
        cls,
        configuration: model.Configuration,
        monitor: Monitor,
        journal: Journal,
        runner: Runner,
        supervisor: Supervisor,
        *,
        servers: Mapping[str, bool],
        statics: Mapping[str, bool],
        pulse: Ends,
        on_tracked: Callable[[str, int, int], None],
        on_left_out: Callable[[], None],
        on_burst: Callable[[], None],
        on_calm: Callable[[], None],
        on_static: Callable[[set[str]], None],
    ) -> Parts:
        """Everything for this first configuration; nothing of it is in effect yet. `monitor` runs,
        and is closed when this fails.

        `servers`, `statics`: see Trackers; `on_static`: see Upkeep; `pulse`: see
        tuning.start_engine; `on_left_out`: the reporter has something to settle;
        `on_burst`, `on_calm`: see EngineClient.

        Raises OSError, PermissionError when a capability is missing.
        """
        with ExitStack() as undo:  # of what is there already, should the rest fail
            undo.callback(monitor.close)
            await monitor.up_to_date()
            tuning.tune_process(configuration.global_defs)
            cpu_latency = CpuLatency()
            undo.callback(cpu_latency.close)
            cpu_latency.ask(configuration.global_defs.vrrp_cpu_dma_latency_us)
            engine = tuning.start_engine(configuration, pulse)
            undo.callback(engine.stop)
            client = EngineClient(engine, on_burst=on_burst, on_calm=on_calm)
            undo.callback(client.detach)
            trackers = Trackers(configuration, runner, on_tracked, servers=servers, statics=statics)
            notifier = Notifier(configuration, runner)
            plane = Plane(
                client,
                lambda: monitor.observed,
                tuning.capacity(configuration),
                tracker_state=trackers.initial,
                hold_until_ns=tuning.hold_until_ns(configuration.global_defs),
                forwarding=forwards_ipv6,
            )
            surroundings = Surroundings(
                journal,
                lambda: monitor.observed,
                is_native=plane.natives.is_certain,
                devices=Devices(monitor),
            )
            upkeep = Upkeep(
                plane,
                monitor,
                before_refresh=lambda: surroundings.interfaces_changed(plane.configuration),
                on_static=on_static,
            )
            reporter = Reporter(
                plane,
                supervisor,
                on_committed=plane.confirmed,
                on_unsettled=lambda: upkeep.schedule(UNSETTLED_S),
                on_refused=upkeep.refused,
                on_outdated=lambda name: upkeep.touch((name,), instances=True),
                on_left_out=on_left_out,
            )
            reporter.notifier = notifier
            client.listen(reporter)
            client.attach(asyncio.get_running_loop())
            monitor.on_link = upkeep.on_link
            monitor.on_address = upkeep.on_address
            monitor.on_marked = upkeep.on_marked
            monitor.on_route = upkeep.on_route
            monitor.on_rule = upkeep.on_rule
            monitor.on_resync = upkeep.on_resync
            undo.pop_all()
            return cls(
                monitor,
                cpu_latency,
                engine,
                client,
                plane,
                surroundings,
                upkeep,
                reporter,
                trackers,
                notifier,
            )

    def priorities(self) -> dict[str, int]:
        """Effective priorities by instance name."""
        return {
            name: mirror.priority
            for name, running in self.plane.running.items()
            if (mirror := self.client.mirror(running.slot)) is not None
        }

    async def end(self, limit_s: float) -> bool:
        """End the engine and stop watching; whether the engine ended in time."""
        self.client.detach()
        self.engine.stop()
        ended = await asyncio.to_thread(self.engine.join, limit_s)
        if not ended:
            log.error("the engine does not end")
        self.cpu_latency.close()
        self.monitor.close()
        return ended
