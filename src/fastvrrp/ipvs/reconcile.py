"""Desired against observed: what must be done so that the kernel's table is as we want it.

Pure. Nothing is deleted to be added again: an edit leaves connections alone, while a destination
that was deleted drops the packets of all it had. Additions come before removals, so that no
service is without a server in between.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from fastvrrp.ipvs.objects import Daemon, Destinations, Entry, Role, ServiceKey
from fastvrrp.ipvs.table import Operation, Verb

# What the kernel runs a sync daemon with when it is not told; maxlen follows the interface's MTU.
# ip_vs_sync.c since Linux 4.3.
_DAEMON_GROUP = bytes((224, 0, 0, 81))
_DAEMON_PORT = 8848
_DAEMON_TTL = 1
_BACKUP_MAXLEN_MIN = 1024
_MAXLEN_MAX = {4: 65535 - 28, 16: 65535 - 48}  # by size of the group's address


def reconcile(
    desired: Mapping[ServiceKey, Entry],
    observed: Mapping[ServiceKey, Entry],
    ours: Iterable[ServiceKey],
) -> list[Operation]:
    """All of `steps`."""
    return list(steps(desired, observed, ours))


def steps(
    desired: Mapping[ServiceKey, Entry],
    observed: Mapping[ServiceKey, Entry],
    ours: Iterable[ServiceKey],
) -> Iterator[Operation]:
    """Operations that turn observed into desired, for the services in `ours` alone.

    One of these that is not desired is removed, one that is not observed is added; what is not
    among them is nobody's business here, so the cost is that of `ours`. Order: services added or
    edited, each with its destinations added, edited, then removed; removed services last. They are
    made as they are asked for: at a start there are tens of thousands.
    """
    removed: list[Operation] = []
    for key in ours:
        want, have = desired.get(key), observed.get(key)
        if want is None:
            if have is not None:
                removed.append(Operation(Verb.DELETE_SERVICE, key))
            continue
        if have is None:
            yield Operation(Verb.ADD_SERVICE, key, want.service)
            yield from _destinations(key, want.destinations, {})
            continue
        if have.service != want.service:
            yield Operation(Verb.EDIT_SERVICE, key, want.service)
        if have.destinations != want.destinations:
            yield from _destinations(key, want.destinations, have.destinations)
    yield from removed


def _destinations(key: ServiceKey, want: Destinations, have: Destinations) -> list[Operation]:
    """In the order of `want`: schedulers that hash depend on the order of addition, and two
    balancers of one configuration should choose alike."""
    new = tuple.__new__  # what the class does itself: tens of thousands are added at a start
    if not have:
        add = Verb.ADD_DESTINATION
        return [new(Operation, (add, key, None, destination)) for destination in want.values()]
    operations = []
    for name, destination in want.items():
        old = have.get(name)
        if old is None:
            operations.append(Operation(Verb.ADD_DESTINATION, key, None, destination))
        elif old != destination:
            operations.append(Operation(Verb.EDIT_DESTINATION, key, None, destination))
    for name, destination in have.items():
        if name not in want:
            operations.append(Operation(Verb.DELETE_DESTINATION, key, None, destination))
    return operations


def reconcile_daemons(
    desired: Mapping[Role, Daemon],
    observed: Mapping[Role, Daemon],
    asked: Mapping[Role, Daemon],
) -> tuple[list[Role], list[Daemon]]:
    """Which sync daemons to stop, then which to start. The kernel cannot edit them.

    `asked` is what those that we started were started with: a default instead of a value is a
    change that cannot be seen in the kernel.
    """
    stop = []
    start = []
    for role in Role:
        want, have = desired.get(role), observed.get(role)
        if (
            want is not None
            and have is not None
            and asked.get(role, want) == want
            and daemon_matches(want, have)
        ):
            continue
        if have is not None:
            stop.append(role)
        if want is not None:
            start.append(want)
    return stop, start


def daemon_matches(want: Daemon, have: Daemon) -> bool:
    """Whether a running sync daemon is the one that is wanted; defaults match what they mean.

    A maxlen that is not asked for matches any: the kernel derives it from the MTU at the start.
    One that is asked for is kept within what the kernel does with it (ip_vs_sync.c).
    """
    group = want.group or _DAEMON_GROUP
    maxlen = want.maxlen
    if maxlen and want.role is Role.BACKUP:
        maxlen = max(maxlen, _BACKUP_MAXLEN_MIN)
    return have == want._replace(
        maxlen=min(maxlen, _MAXLEN_MAX[len(group)]) or have.maxlen,
        group=group,
        port=want.port or _DAEMON_PORT,
        ttl=want.ttl or _DAEMON_TTL,
    )
