"""What the load balancer runs: pools, their checks, and the table they want; and its changes.

Results of checks go to pools, what these say of it to whoever tells it on, what they want of the
table to its upkeep. A reload touches only what it makes different: a virtual server that stays as
it is keeps its checks, its states and its connections, and costs a comparison.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple, Protocol

import msgspec

from fastvrrp.config import model, servers
from fastvrrp.ipvs.differences import differences
from fastvrrp.ipvs.lines import report_line, suspension_line
from fastvrrp.ipvs.objects import Daemon, Entry, Role, ServiceKey
from fastvrrp.ipvs.pool import Action, QuorumChanged, ServerChanged, Source, Why
from fastvrrp.ipvs.runner import Checks, Kind, Report, Subscription
from fastvrrp.ipvs.running import Running, Subscriber, keys_of, suspending_address
from fastvrrp.ipvs.services import sync_daemon
from fastvrrp.ipvs.upkeep import Upkeep

log = logging.getLogger(__name__)

MASTER = "MASTER"
FOLLOWING = (MASTER, "BACKUP", "FAULT", "INIT")  # states of an instance that runs


class Teller(Protocol):
    """Who tells on what happened to a virtual server (notify.ServerNotifier, report.Reporter)."""

    def tell(self, virtual_server: servers.VirtualServer, actions: Sequence[Action]) -> None: ...


class Plan(NamedTuple):
    """What a new configuration makes different, by `Running.key`."""

    added: list[str]
    changed: list[str]
    removed: list[str]
    old: dict[str, servers.VirtualServer]
    new: dict[str, servers.VirtualServer]


class Plane:
    """See the module. Belongs to the event loop."""

    def __init__(
        self,
        upkeep: Upkeep,
        make_checks: Callable[[Callable[[Subscriber, Report], None]], Checks[Subscriber]],
        tellers: Sequence[Teller],
        *,
        on_quorum: Callable[[], None] = lambda: None,
        is_here: Callable[[bytes], bool] = lambda address: True,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        """`make_checks` gets the listener of the checks. `on_quorum`: some virtual server gained or
        lost its quorum. `is_here`: whether this host has a
        virtual address on which ha_suspend depends."""
        self.upkeep = upkeep
        self.checks = make_checks(self._reported)
        self.configuration = model.Configuration()
        self.running: dict[str, Running] = {}
        self.servers_up = 0
        self.reload_changes: int | None = None  # of the kernel's table, by the last reload
        self.started_ns = clock()
        self._tellers = tellers
        self._on_quorum = on_quorum
        self._is_here = is_here
        self._clock = clock
        self._states: dict[str, str] = {}  # of instances, for the sync daemon
        self._wanting: dict[str, None] = {}  # want another table since the last turn of the loop
        self._asking: asyncio.Handle | None = None
        self._by_address: dict[bytes, list[Running]] = {}  # those with ha_suspend

    @property
    def ipvs(self) -> servers.Ipvs:
        return self.configuration.ipvs

    # ---------------------------------------------------------------- a new configuration

    async def start(
        self,
        configuration: model.Configuration,
        left: frozenset[ServiceKey] = frozenset(),
        observed: Mapping[ServiceKey, Entry] = MappingProxyType({}),
        states: Mapping[str, str] = MappingProxyType({}),
    ) -> Sequence[str]:
        """The first one. `left` are services that a process which ended without removing them
        had completed, `observed` is what the table holds: there the states go on. `states` are
        those of instances."""
        new = keys_of(configuration.ipvs.virtual_servers)
        self.configuration = configuration
        self._states |= states
        for key, virtual_server in new.items():
            running = self.running[key] = self._made(key, virtual_server)
            running.resume(left, observed)
        self._index_addresses()
        self.upkeep.want_all({key: running.want() for key, running in self.running.items()})
        await self.settle_daemons()
        await self.upkeep.settled()
        # Clients are served; now who looks after the servers, and who wants to know of them.
        for running in self.running.values():
            self._tell(running, running.pool.start())
        self.checks.change(self._subscriptions())
        return differences({}, new)

    async def reload(
        self,
        configuration: model.Configuration,
        renewed: Callable[[servers.Check], bool] | None = None,
    ) -> Sequence[str]:
        """Change to another one; returns what changed when it is in effect. Checks that are
        `renewed` begin anew, because what they are made with is another one."""
        before = self.upkeep.changes
        plan = self._plan(configuration)
        changes = differences(plan.old, plan.new)
        self.configuration = configuration
        gone: list[Subscriber] = []
        fresh: dict[Subscriber, Subscription] = {}
        for key in plan.removed:
            running = self.running.pop(key)
            gone += running.subscribers()
            self._act(running, running.pool.stop(Why.REMOVED))
        for key in plan.changed:
            running = self.running[key]
            gone += running.subscribers()
            self._act(running, running.reload(plan.new[key]))
            running.suspended = self._is_suspended(running)
            running.want()
            fresh |= running.subscriptions()
        for key in plan.added:
            running = self._made(key, plan.new[key])
            self._act(running, running.pool.start())
            running.want()
            fresh |= running.subscriptions()
            self.running[key] = running
        # In the order of the file, which is that of the table's listing.
        self.running = {key: self.running[key] for key in plan.new}
        self._index_addresses()
        # Those that stayed the same are the old objects: the new ones need no memory.
        kept = tuple(running.virtual_server for running in self.running.values())
        ipvs = msgspec.structs.replace(configuration.ipvs, virtual_servers=kept)
        self.configuration = msgspec.structs.replace(configuration, ipvs=ipvs)
        if renewed is not None:
            again = {one: it for one, it in self._subscriptions().items() if renewed(it.check)}
            self.checks.change({}, again)
            fresh |= again
        self._ask()
        self.upkeep.want_all({key: running.entries for key, running in self.running.items()})
        self.checks.change(fresh, gone)
        self._ask()  # who shares a check heard of it at once
        await self.settle_daemons()
        await self.upkeep.settled()
        self.reload_changes = self.upkeep.changes - before
        return changes

    def _subscriptions(self) -> dict[Subscriber, Subscription]:
        found: dict[Subscriber, Subscription] = {}
        for running in self.running.values():
            found |= running.subscriptions()
        return found

    def _plan(self, configuration: model.Configuration) -> Plan:
        """Those that stayed the same are the old objects: comparing them took long enough."""
        old = {key: running.virtual_server for key, running in self.running.items()}
        new = keys_of(configuration.ipvs.virtual_servers)
        changed = []
        for key, virtual_server in new.items():
            before = old.get(key)
            if before is None:
                continue
            if before is virtual_server or before == virtual_server:
                new[key] = before
            else:
                changed.append(key)
        return Plan(
            added=[key for key in new if key not in old],
            changed=changed,
            removed=[key for key in old if key not in new],
            old=old,
            new=new,
        )

    def _made(self, key: str, virtual_server: servers.VirtualServer) -> Running:
        running = Running(key, virtual_server, self._clock())
        running.suspended = self._is_suspended(running)
        return running

    # ---------------------------------------------------------------- results

    def _reported(self, subscriber: Subscriber, report: Report) -> None:
        running = self.running.get(subscriber.owner)
        if running is None:
            return
        pool, position = running.pool, subscriber.check
        server = pool.server(subscriber.server)
        if server is None or position >= len(server.checks):
            return  # of the configuration before this one
        check = server.checks[position]
        log.log(
            logging.INFO if report.up else logging.WARNING,
            "%s",
            report_line(running.virtual_server, server, check, report),
        )
        actions: list[Action] = []
        if report.kind in (Kind.STATE, Kind.WEIGHT):
            if report.up:
                said = Source(report.outcome.weight, report.outcome.weight_is)
                actions += pool.weigh(subscriber.server, position, said)
            actions += pool.result(subscriber.server, position, report.up, report.outcome.detail)
        if actions:
            self._act(running, actions)
            self._wanting[running.key] = None
            if self._asking is None:
                self._asking = asyncio.get_running_loop().call_soon(self._ask)

    def _ask(self) -> None:
        """What those want of the table of whom there was news: once for all news of a turn, because
        what one with thousands of servers wants takes milliseconds to say."""
        if self._asking is not None:
            self._asking.cancel()
            self._asking = None
        wanting, self._wanting = self._wanting, {}
        for key in wanting:
            running = self.running.get(key)
            if running is not None:
                self.upkeep.want(key, running.want())

    def _act(self, running: Running, actions: Sequence[Action]) -> None:
        if actions:
            running.note(actions, self._clock())
            self._tell(running, actions)

    def _tell(self, running: Running, actions: Sequence[Action]) -> None:
        for action in actions:
            if isinstance(action, ServerChanged):
                self.servers_up += 1 if action.up else -1
            elif isinstance(action, QuorumChanged):
                self._on_quorum()
        for teller in self._tellers:
            teller.tell(running.virtual_server, actions)

    # ---------------------------------------------------------------- addresses and instances

    def address_changed(self, address: bytes) -> None:
        """A virtual address came to this host or left it."""
        for running in self._by_address.get(address, ()):
            suspended = self._is_suspended(running)
            if suspended != running.suspended:
                running.suspended = suspended
                self._log_suspension(running)
                self.checks.suspend(list(running.subscribers()), suspended)

    def _index_addresses(self) -> None:
        self._by_address = {}
        for running in self.running.values():
            address = suspending_address(running.virtual_server)
            if address is not None:
                self._by_address.setdefault(address, []).append(running)

    def _log_suspension(self, running: Running) -> None:
        for server in running.servers.values():
            if server.checks:
                line = suspension_line(running.virtual_server, server, running.suspended)
                log.info("%s", line)

    def _is_suspended(self, running: Running) -> bool:
        address = suspending_address(running.virtual_server)
        return address is not None and not self._is_here(address)

    async def instance_states(self, states: Mapping[str, str]) -> None:
        """Instances are in other states now; for the sync daemon that follows one."""
        self._states |= states
        await self.settle_daemons()

    async def settle_daemons(self) -> None:
        """Timeouts, and the sync daemons that are to run now."""
        await self.upkeep.want_settings(self.ipvs.timeouts, self._daemons())

    def _daemons(self) -> dict[Role, Daemon]:
        configured = self.ipvs.sync_daemon
        if configured is None:
            return {}
        roles = tuple(Role)
        if configured.instance is not None:
            state = self._states.get(configured.instance)
            if state not in FOLLOWING:
                roles = ()
            else:
                roles = (Role.MASTER if state == MASTER else Role.BACKUP,)
        return {role: sync_daemon(configured, role) for role in roles}

    # ---------------------------------------------------------------- stop

    def stop(self) -> list[tuple[servers.VirtualServer, Sequence[Action]]]:
        """End the checks and the pools; returns what is to be told of that. The table is not
        touched."""
        self.checks.stop()
        self._ask()
        return [(r.virtual_server, r.pool.stop()) for r in self.running.values()]
