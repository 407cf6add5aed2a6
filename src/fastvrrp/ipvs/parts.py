"""The parts of the IPVS process, put together and changed together."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from fastvrrp import _core
from fastvrrp.config import model, servers
from fastvrrp.ipvs.checks.base import Surroundings, make_probe
from fastvrrp.ipvs.descriptors import prober_sockets
from fastvrrp.ipvs.files import TrackedFiles
from fastvrrp.ipvs.journal import Journal
from fastvrrp.ipvs.netlink_table import NetlinkTable, open_socket
from fastvrrp.ipvs.notify import ServerNotifier
from fastvrrp.ipvs.objects import ServiceKey, ServiceStatistics
from fastvrrp.ipvs.ping_range import PingRange
from fastvrrp.ipvs.plane import Plane
from fastvrrp.ipvs.presence import Presence
from fastvrrp.ipvs.quorums import Quorums
from fastvrrp.ipvs.report import Reporter, Supervisor
from fastvrrp.ipvs.runner import Checks
from fastvrrp.ipvs.running import suspending_address
from fastvrrp.ipvs.table import Table
from fastvrrp.ipvs.tuning import tune
from fastvrrp.ipvs.upkeep import Upkeep
from fastvrrp.supervisor.link import ConfigurationRefused
from fastvrrp.supervisor.pulse import Ends
from fastvrrp.track.runner import Runner

log = logging.getLogger(__name__)

PING_RANGE_NAME = "ping_group_range"
JOIN_LIMIT_S = 1.0

Stamp = tuple[servers.TlsContext, tuple[tuple[int, int] | None, ...]]


@dataclass(frozen=True)
class Count:
    """See report.Count."""

    virtual_servers: tuple[int, int]
    real_servers: tuple[int, int]


class Parts:
    """What lives from the first configuration to the end, wired to each other."""

    def __init__(
        self,
        configuration: model.Configuration,
        table: Table,
        journal: Journal,
        runner: Runner,
        supervisor: Supervisor,
        prober: _core.Prober,
    ) -> None:
        self.upkeep = Upkeep(table, journal)
        self.reporter = Reporter(supervisor, self.count)
        self._quorums = Quorums(supervisor.states)
        self._table = table
        self._journal = journal
        self._runner = runner
        self._prober = prober
        self._notifier = ServerNotifier(configuration, runner)
        self._presence = Presence(self._address_changed)
        self._files = TrackedFiles(tracked_files(configuration))
        self._ping_range = PingRange(journal.path.with_name(PING_RANGE_NAME))
        self._surroundings = self._surround(configuration)
        self._stamp = tls_stamp(configuration)
        self._states: dict[str, str] = {}
        self._following: asyncio.Task[None] | None = None
        self._telling: asyncio.Handle | None = None
        self.plane = Plane(
            self.upkeep,
            lambda listener: Checks(
                loop=asyncio.get_running_loop(),
                make_probe=lambda check: make_probe(check, self._surroundings),
                listener=listener,
                prober=prober,
            ),
            (self._notifier, self.reporter),
            on_quorum=self._quorum_changed,
            is_here=self._presence.is_here,
        )

    @classmethod
    async def make(
        cls,
        configuration: model.Configuration,
        journal: Path,
        runner: Runner,
        supervisor: Supervisor,
        *,
        pulse: Ends,
        table: Table | None = None,
    ) -> Parts:
        """Everything for this first configuration; nothing of it is in effect yet.

        `pulse`: with which the prober shows that it lives.

        Raises OSError when the kernel has no IPVS or a permission is missing, NamespaceError,
        ConfigurationRefused.
        """
        tune(configuration.ipvs)
        if table is None:
            table = NetlinkTable(open_socket(configuration.ipvs.net_namespace))
        with ExitStack() as undo:
            undo.callback(table.close)
            await table.services()  # whether there is IPVS at all
            prober = _core.Prober(sockets=prober_sockets(), pulse=pulse.page, alarm=pulse.alarm)
            prober.start()
            undo.callback(prober.stop)
            parts = cls(configuration, table, Journal(journal), runner, supervisor, prober)
            undo.pop_all()
            return parts

    async def start(
        self, configuration: model.Configuration, states: Mapping[str, str]
    ) -> Sequence[str]:
        """Put the first configuration into effect; `states` are those of instances by now.

        Raises OSError.
        """
        journal = self._journal.read()
        observed = await self.upkeep.start(flush=configuration.ipvs.flush)
        if found := observed.keys() & journal.services:
            log.info("taking over %d services of an earlier process", len(found))
        await self._notifier.start()
        self._files.start()
        self._ping_range.set(pings(configuration))
        await self._presence.want(suspending(configuration))
        self._states |= states
        changes = await self.plane.start(configuration, journal.complete, observed, self._states)
        self._tell_all()
        return changes

    async def reload(self, configuration: model.Configuration) -> Sequence[str]:
        """Change to another configuration. Raises ConfigurationRefused; nothing is changed then."""
        old = self.plane.configuration
        if old.ipvs.net_namespace != configuration.ipvs.net_namespace:
            raise ConfigurationRefused("net_namespace_ipvs cannot change while running")
        surroundings, stamp = self._surround(configuration), tls_stamp(configuration)
        try:
            await self._presence.want(suspending(configuration))
        except OSError as exc:
            raise ConfigurationRefused(f"addresses cannot be followed: {exc.strerror}") from exc
        renewed = self._renewed(surroundings, stamp)
        self._surroundings, self._stamp = surroundings, stamp
        if scheduling(old.ipvs) != scheduling(configuration.ipvs):
            tune(configuration.ipvs)
        await self._files.redefine(tracked_files(configuration))
        await self._notifier.reload(configuration)
        pinging = pings(configuration)
        if pinging:
            self._ping_range.set(True)
        changes = await self.plane.reload(configuration, renewed)
        self._ping_range.set(pinging)  # restored when the last one has ended
        self._tell_all()
        return changes

    async def stop(self, *, keep_table: bool) -> None:
        """Tell the end and give everything up; the table is cleared unless it is to stay.

        It does not wait for who is told: slow scripts and a mail server that is away may take
        longer than this process has until it is killed, and the services would stay for good.
        """
        if self._following is not None:
            self._following.cancel()
        if self._telling is not None:
            self._telling.cancel()
        flush = self.plane.ipvs.flush_on_stop
        last = self.plane.stop()
        self._prober.stop()
        self.reporter.close()
        self._presence.close()
        await self._files.stop()
        if keep_table:
            await self._notifier.stop()
        else:
            self._ping_range.set(False)
            telling = self._notifier.stop(last)
            await asyncio.gather(self.upkeep.clear(flush=flush == "all"), telling)
        await self.upkeep.close()
        if not await asyncio.to_thread(self._prober.join, JOIN_LIMIT_S):
            log.error("the prober does not end")

    # ---------------------------------------------------------------- what happens

    def instances_changed(self, states: Mapping[str, str]) -> None:
        """Instances that the sync daemon follows are in other states now."""
        self._states |= states
        if self._following is None or self._following.done():
            loop = asyncio.get_running_loop()
            self._following = loop.create_task(self._follow())

    async def _follow(self) -> None:
        told: dict[str, str] = {}
        while told != self._states:  # it may change while the kernel is at it
            told = dict(self._states)
            await self.plane.instance_states(told)

    def _tell_all(self) -> None:
        self._quorums.update(self.plane.running.values())
        self.reporter.summarise()

    def _quorum_changed(self) -> None:
        if self._telling is None:  # many may change in one turn of the loop
            self._telling = asyncio.get_running_loop().call_soon(self._tell_quorums)

    def _tell_quorums(self) -> None:
        self._telling = None
        self._quorums.update(self.plane.running.values())

    def _address_changed(self, address: bytes) -> None:
        self.plane.address_changed(address)

    def count(self) -> Count:
        """How many there are, for one line."""
        running = self.plane.running.values()
        return Count(
            virtual_servers=(sum(one.pool.quorum_up for one in running), len(running)),
            real_servers=(self.plane.servers_up, sum(one.pool.size for one in running)),
        )

    async def statistics(self) -> Mapping[ServiceKey, ServiceStatistics]:
        """The kernel's counters; none when it does not answer, which is logged."""
        try:
            return await self._table.statistics()
        except OSError as exc:
            log.error("the kernel's counters cannot be read: %s", exc.strerror)
            return {}

    # ---------------------------------------------------------------- what probes need

    def _surround(self, configuration: model.Configuration) -> Surroundings:
        return Surroundings(
            loop=asyncio.get_running_loop(),
            runner=self._runner,
            tls=configuration.ipvs.tls,
            script_account=configuration.global_defs.script_account,
            files=self._files,
        )

    def _renewed(self, new: Surroundings, stamp: Stamp) -> Callable[[servers.Check], bool] | None:
        """Which checks must not go on with what they were made with; None: all may."""
        tls, account = stamp != self._stamp, new.script_account != self._surroundings.script_account
        if not (tls or account):
            return None

        def renewed(check: servers.Check) -> bool:
            if isinstance(check, servers.MiscCheck):
                return account and check.command.account is None
            return tls and isinstance(check, servers.HttpCheck) and check.tls

        return renewed


def checks_of(configuration: model.Configuration) -> Iterator[servers.Check]:
    """Of each lot of real servers those of one, which differ in addresses alone."""
    for virtual_server in configuration.ipvs.virtual_servers:
        for _, server in servers.parts(virtual_server.real_servers):
            yield from server.checks


def pings(configuration: model.Configuration) -> bool:
    """Whether there is a PING_CHECK."""
    return any(isinstance(check, servers.PingCheck) for check in checks_of(configuration))


def tracked_files(configuration: model.Configuration) -> list[model.TrackFile]:
    """Those that a FILE_CHECK names."""
    if not configuration.track_files:
        return []
    checks = checks_of(configuration)
    names = {check.track_file for check in checks if isinstance(check, servers.FileCheck)}
    return [one for one in configuration.track_files if one.name in names]


def suspending(configuration: model.Configuration) -> set[bytes]:
    """The virtual addresses on which checks depend (ha_suspend), packed."""
    found = (suspending_address(one) for one in configuration.ipvs.virtual_servers)
    return {address for address in found if address is not None}


def tls_stamp(configuration: model.Configuration) -> Stamp:
    """The SSL block and what its files are by now: a renewed certificate has the same name."""
    tls = configuration.ipvs.tls
    return tls, tuple(_file_stamp(name) for name in (tls.ca, tls.certificate, tls.key))


def _file_stamp(name: str | None) -> tuple[int, int] | None:
    if name is None:
        return None
    try:
        status = Path(name).stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ino


def scheduling(ipvs: servers.Ipvs) -> tuple[object, ...]:
    """What `tune` sets."""
    return ipvs.priority, ipvs.rt_priority, ipvs.rlimit_rttime_us, ipvs.cpu_affinity, ipvs.no_swap
