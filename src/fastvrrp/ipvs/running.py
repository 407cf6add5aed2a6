"""One virtual server that runs: its pool, what it wants of the table, since when it is as it is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from fastvrrp.config.servers import FileCheck, MiscCheck, RealServer, VirtualServer
from fastvrrp.ipvs.identity import ServerKey, key_of
from fastvrrp.ipvs.objects import Entries, Entry, ServiceKey, pack_address
from fastvrrp.ipvs.pool import Action, Pool, QuorumChanged, ServerChanged, Source
from fastvrrp.ipvs.runner import Subscription
from fastvrrp.ipvs.services import destination_key, entries, service_keys


class Subscriber(NamedTuple):
    """Who wants to know of a check: a real server of a virtual server, by the check's position."""

    owner: str  # Running.key
    server: ServerKey
    check: int


def suspending_address(virtual_server: VirtualServer) -> bytes | None:
    """The virtual address on which its checks depend (ha_suspend), packed; of groups and firewall
    marks there is none."""
    address = virtual_server.services[0].address
    if not virtual_server.ha_suspend or virtual_server.group is not None or address is None:
        return None
    return pack_address(address)


def keys_of(virtual_servers: Iterable[VirtualServer]) -> dict[str, VirtualServer]:
    """By what makes one the same through a reload: its address, port and protocol, its firewall
    mark, or the name of its group."""
    found: dict[str, VirtualServer] = {}
    for virtual_server in virtual_servers:
        families = sorted({service.family for service in virtual_server.services})
        words = (virtual_server.name, virtual_server.protocol, *map(str, families))
        key = " ".join(words)
        while key in found:
            key += "'"
        found[key] = virtual_server
    return found


class Running:
    """See the module. Times are CLOCK_MONOTONIC, ns."""

    __slots__ = ("_changed_ns", "entries", "key", "pool", "since_ns", "suspended")

    def __init__(self, key: str, virtual_server: VirtualServer, now_ns: int) -> None:
        self.key = key
        self.pool = Pool(virtual_server)
        self.suspended = False
        self.since_ns = now_ns  # of its quorum
        self.entries: Entries = {}
        self._changed_ns: dict[ServerKey, int] = {}  # of those that are not as they were first

    @property
    def virtual_server(self) -> VirtualServer:
        return self.pool.virtual_server

    @property
    def servers(self) -> dict[ServerKey, RealServer]:
        return self.pool.servers

    def reload(self, virtual_server: VirtualServer) -> list[Action]:
        """Another configuration of it."""
        actions = self.pool.reload(virtual_server)
        kept = self.servers.keys() & self._changed_ns.keys()
        self._changed_ns = {key: self._changed_ns[key] for key in kept}
        return actions

    def server_since_ns(self, key: ServerKey, started_ns: int) -> int:
        return self._changed_ns.get(key, started_ns)

    def subscriptions(self) -> dict[Subscriber, Subscription]:
        """Every check of every server."""
        return {
            Subscriber(self.key, key, position): Subscription(check, self.suspended)
            for key, server in self.servers.items()
            for position, check in enumerate(server.checks)
        }

    def subscribers(self) -> Iterator[Subscriber]:
        for key, server in self.servers.items():
            for position in range(len(server.checks)):
                yield Subscriber(self.key, key, position)

    def note(self, actions: Iterable[Action], now_ns: int) -> None:
        """Keep since when everybody is as he is."""
        for action in actions:
            if isinstance(action, ServerChanged):
                self._changed_ns[key_of(action.server)] = now_ns
            elif isinstance(action, QuorumChanged):
                self.since_ns = now_ns

    def want(self) -> Entries:
        """What it wants of the table now."""
        self.entries = entries(self.virtual_server, self.pool.desired_lots())
        return self.entries

    def resume(self, left: frozenset[ServiceKey], observed: Mapping[ServiceKey, Entry]) -> None:
        """Go on where a process that ended without removing its services (`left`) stopped.

        A server that is not served in the kernel's table had failed, and must not come back
        unchecked. A weight that a check gave stays until that check says another one: of a server
        that is being emptied, weight 0, connections go on.
        """
        keys = [key for key in service_keys(self.virtual_server) if key in left and key in observed]
        if not keys:
            return
        for key, server in self.servers.items():
            found = [
                observed[service].destinations.get(destination_key(server, service.port))
                for service in keys
            ]
            weight = min(0 if one is None else one.weight for one in found)
            giver = _weight_giver(server)
            if (
                giver is not None
                and None not in found
                and (weight or not server.inhibit_on_failure)
            ):
                if weight != server.weight:
                    self.pool.weigh(key, giver, Source(weight_is=weight))
            elif None in found or (server.weight and not weight):
                for position in range(len(server.checks)):
                    self.pool.result(key, position, False)


def _weight_giver(server: RealServer) -> int | None:
    """Position of the first check that has a say in the weight."""
    for position, check in enumerate(server.checks):
        if isinstance(check, MiscCheck) and check.dynamic:
            return position
        if isinstance(check, FileCheck) and check.weight:
            return position
    return None
