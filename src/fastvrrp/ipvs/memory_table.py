"""An IPVS table without a kernel, for tests of what is built upon one.

It refuses what Linux 6.1 refuses, with the same errno; the contract tests run against this and
against the real thing. Not modelled: connections, counters, addresses that are a network's
broadcast address, memory that ends.
"""

from __future__ import annotations

import errno
import ipaddress
import os
from collections.abc import Callable, Collection, Iterable

from fastvrrp.config.servers import Timeouts
from fastvrrp.ipvs.objects import (
    Counters,
    Daemon,
    Destination,
    Destinations,
    DestinationStatistics,
    Entries,
    Entry,
    Method,
    Role,
    Service,
    ServiceKey,
    ServiceStatistics,
    Tunnel,
)
from fastvrrp.ipvs.table import Failure, Operation, Verb

_NO_SCHEDULER = "none"
SCHEDULERS = frozenset(
    ("rr", "wrr", "lc", "wlc", "lblc", "lblcr", "sh", "dh", "sed", "nq", "mh", "fo", "ovf")
)
ENGINES = frozenset(("", "sip"))
_WEIGHT_MAX = 2**31 - 1
_TIMEOUT_MAX = 2**31 - 1
_NO_STATISTICS = DestinationStatistics(0, 0, 0, Counters())
# Of a sync daemon that is not told otherwise, on an interface with an MTU of 1500
_GROUP = bytes((224, 0, 0, 81))
_PORT = 8848
_UDP_PAYLOAD = {4: 1500 - 28, 16: 1500 - 48}
_UDP_PAYLOAD_MAX = {4: 65535 - 28, 16: 65535 - 48}
_BACKUP_MAXLEN_MIN = 1024


class MemoryTable:
    """A `Table`. `interfaces` are those a sync daemon may use; `log` is every operation that was
    asked for, those of `apply` as they are, others by their method's name."""

    def __init__(self, interfaces: Collection[str] = ("eth0", "eth1")) -> None:
        self.changes = 0
        self.log: list[Operation | str] = []
        self._interfaces = frozenset(interfaces)
        self._services: dict[ServiceKey, Service] = {}
        self._destinations: dict[ServiceKey, Destinations] = {}
        self._daemons: dict[Role, Daemon] = {}
        self._timeouts = Timeouts(tcp_s=900, tcpfin_s=120, udp_s=300)

    def close(self) -> None:
        """Nothing was opened."""

    async def services(self) -> dict[ServiceKey, Service]:
        return dict(self._services)

    async def destinations(self, keys: Iterable[ServiceKey]) -> dict[ServiceKey, Destinations]:
        return {key: self._newest_first(key) for key in keys}

    async def dump(self) -> Entries:
        return {
            key: Entry(service, self._newest_first(key)) for key, service in self._services.items()
        }

    def _newest_first(self, key: ServiceKey) -> Destinations:
        return dict(reversed(self._destinations.get(key, {}).items()))

    async def apply(self, operations: Iterable[Operation]) -> list[Failure]:
        failures = []
        for operation in operations:
            self.changes += 1
            self.log.append(operation)
            if code := _DO[operation.verb](self, operation):
                failures.append(Failure(operation, code))
        return failures

    async def flush(self) -> None:
        self.log.append("flush")
        self._services.clear()
        self._destinations.clear()

    async def statistics(self) -> dict[ServiceKey, ServiceStatistics]:
        return {
            key: ServiceStatistics(
                Counters(), dict.fromkeys(self._newest_first(key), _NO_STATISTICS)
            )
            for key in self._services
        }

    async def timeouts(self) -> Timeouts:
        return self._timeouts

    async def set_timeouts(self, timeouts: Timeouts) -> None:
        self.log.append("set_timeouts")
        wanted = (timeouts.tcp_s, timeouts.tcpfin_s, timeouts.udp_s)
        if any(value > _TIMEOUT_MAX for value in wanted):
            raise _error(errno.EINVAL)
        old = self._timeouts
        self._timeouts = Timeouts(
            tcp_s=timeouts.tcp_s or old.tcp_s,
            tcpfin_s=timeouts.tcpfin_s or old.tcpfin_s,
            udp_s=timeouts.udp_s or old.udp_s,
        )

    async def daemons(self) -> dict[Role, Daemon]:
        return dict(self._daemons)

    async def start_daemon(self, daemon: Daemon) -> None:
        self.log.append("start_daemon")
        group = daemon.group or _GROUP
        if not ipaddress.ip_address(group).is_multicast:
            raise _error(errno.EINVAL)
        if any(
            destination.key.family != key.family
            for key, destinations in self._destinations.items()
            for destination in destinations.values()
        ):
            raise _error(errno.EINVAL)
        if daemon.interface not in self._interfaces:
            raise _error(errno.ENODEV)
        if daemon.role in self._daemons:
            raise _error(errno.EEXIST)
        maxlen = daemon.maxlen or _UDP_PAYLOAD[len(group)]
        if daemon.role is Role.BACKUP:
            maxlen = max(maxlen, _BACKUP_MAXLEN_MIN)
        self._daemons[daemon.role] = daemon._replace(
            group=group,
            maxlen=min(maxlen, _UDP_PAYLOAD_MAX[len(group)]),
            port=daemon.port or _PORT,
            ttl=daemon.ttl or 1,
        )

    async def stop_daemon(self, role: Role) -> None:
        self.log.append("stop_daemon")
        if self._daemons.pop(role, None) is None:
            raise _error(errno.ESRCH)

    # -- one operation each; the errno, 0 for success

    def _add_service(self, operation: Operation) -> int:
        service = operation.service
        assert service is not None
        if operation.key in self._services:
            return errno.EEXIST
        if code := _service_error(service):
            return code
        self._services[operation.key] = service
        self._destinations[operation.key] = {}
        return 0

    def _edit_service(self, operation: Operation) -> int:
        service = operation.service
        assert service is not None
        if operation.key not in self._services:
            return errno.ESRCH
        if code := _service_error(service):
            return code
        self._services[operation.key] = service
        return 0

    def _delete_service(self, operation: Operation) -> int:
        if self._services.pop(operation.key, None) is None:
            return errno.ESRCH
        del self._destinations[operation.key]
        return 0

    def _add_destination(self, operation: Operation) -> int:
        destination = operation.destination
        assert destination is not None
        found = self._destinations.get(operation.key)
        if found is None:
            return errno.ESRCH
        if code := self._destination_error(operation.key, destination):
            return code
        if destination.key in found:
            return errno.EEXIST
        if not _may_be_destination(destination.key.address):
            return errno.EINVAL
        found[destination.key] = destination
        return 0

    def _edit_destination(self, operation: Operation) -> int:
        destination = operation.destination
        assert destination is not None
        found = self._destinations.get(operation.key)
        if found is None:
            return errno.ESRCH
        if code := self._destination_error(operation.key, destination):
            return code
        if destination.key not in found:
            return errno.ENOENT
        found[destination.key] = destination
        return 0

    def _delete_destination(self, operation: Operation) -> int:
        assert operation.destination is not None
        found = self._destinations.get(operation.key)
        if found is None:
            return errno.ESRCH
        return 0 if found.pop(operation.destination.key, None) is not None else errno.ENOENT

    def _destination_error(self, key: ServiceKey, destination: Destination) -> int:
        is_mixed = destination.key.family != key.family
        if is_mixed and (self._daemons or destination.method != Method.TUNNEL):
            return errno.EINVAL
        if not 0 <= destination.weight <= _WEIGHT_MAX:
            return errno.ERANGE
        if destination.lthreshold > destination.uthreshold:
            return errno.ERANGE
        if destination.tunnel == Tunnel.GUE and not destination.tunnel_port:
            return errno.EINVAL
        return 0


_DO: dict[Verb, Callable[[MemoryTable, Operation], int]] = {
    Verb.ADD_SERVICE: MemoryTable._add_service,
    Verb.EDIT_SERVICE: MemoryTable._edit_service,
    Verb.DELETE_SERVICE: MemoryTable._delete_service,
    Verb.ADD_DESTINATION: MemoryTable._add_destination,
    Verb.EDIT_DESTINATION: MemoryTable._edit_destination,
    Verb.DELETE_DESTINATION: MemoryTable._delete_destination,
}


def _error(code: int) -> OSError:
    return OSError(code, os.strerror(code))


def _service_error(service: Service) -> int:
    if service.scheduler not in SCHEDULERS and service.scheduler != _NO_SCHEDULER:
        return errno.ENOENT
    if service.engine not in ENGINES:
        return errno.ENOENT
    if service.key.family == 6 and not 1 <= service.netmask <= 128:
        return errno.EINVAL
    return 0


def _may_be_destination(address: bytes) -> bool:
    """Unicast; of IPv6 also not link-local, and nothing that stands for an IPv4 address."""
    if len(address) == 4:
        return not (address == bytes(4) or 224 <= address[0] < 240 or address == b"\xff" * 4)
    parsed = ipaddress.IPv6Address(address)
    return not (
        parsed.is_multicast or parsed.is_link_local or parsed.is_unspecified or parsed.ipv4_mapped
    )
