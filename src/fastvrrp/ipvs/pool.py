"""The pool of one virtual server: who is up, quorum, sorry server, weights. Pure.

Results of checks go in, actions come out. Actions are there to be told (log, scripts, FIFOs, mail);
what the kernel's table must hold is asked with `desired`, at any time. Nothing here knows time.

* A real server is up while none of its checks is failed; one without checks always is.
* Live weight is the sum of the weights of the servers that are up. Quorum is gained at
  `quorum + hysteresis`, lost below `quorum - hysteresis` or at 0.
* Without quorum the sorry server takes the place of all real servers; without a sorry server
  those that are up go on.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from types import MappingProxyType
from typing import NamedTuple

from fastvrrp.config.servers import Check, Lot, RealServer, SorryServer, VirtualServer, parts
from fastvrrp.ipvs.identity import ServerKey, identity, key_of

WEIGHT_MAX = 2**31 - 1  # IPVS_DEST_ATTR_WEIGHT is signed
SORRY_WEIGHT = 1


class Why(enum.Enum):
    """What an action comes from."""

    START = "start"  # first state of a server or of the quorum
    CHECK = "check"  # results of checks, or a reload that changes what they mean
    REMOVED = "removed"  # by a reload
    STOP = "stop"  # the daemon stops


class CheckChanged(NamedTuple):
    """A check of a server is failed or not failed any more."""

    server: RealServer
    check: Check
    up: bool
    detail: str
    server_changed: bool  # a ServerChanged follows


class ServerChanged(NamedTuple):
    """A real server went up or down."""

    server: RealServer
    up: bool
    why: Why


class FirstFailed(NamedTuple):
    """The first result of a server that started down (alpha) is that it is."""

    server: RealServer


class QuorumChanged(NamedTuple):
    """Quorum was gained or lost: the virtual server is up or down."""

    up: bool
    weight: int  # live weight now
    threshold: int  # what it was compared with
    why: Why


class SorryChanged(NamedTuple):
    """The sorry server took over, or gave back."""

    server: SorryServer
    active: bool


class WeightChanged(NamedTuple):
    """The effective weight of a real server."""

    server: RealServer
    up: bool
    old: int
    new: int


Action = CheckChanged | ServerChanged | FirstFailed | QuorumChanged | SorryChanged | WeightChanged


class Wanted(NamedTuple):
    """A destination that the table should hold."""

    server: RealServer | SorryServer
    weight: int


class Source(NamedTuple):
    """What a check says about its server's weight, see `checks.base.Outcome`."""

    weight: int = 0  # added to the configured one
    weight_is: int | None = None  # what the weight is to be, however it is configured


NOTHING = Source()
# What most servers have, once for all of them.
NONE_FAILED: frozenset[int] = frozenset()
NO_SOURCES: Mapping[int, Source] = MappingProxyType({})


class _Member:
    """One real server."""

    __slots__ = ("failed", "known", "server", "sources", "weight")

    def __init__(self, server: RealServer, failed: Iterable[int]) -> None:
        self.server = server
        self.failed = frozenset(failed) or NONE_FAILED  # positions in server.checks
        self.known = not self.failed  # not down because of alpha alone
        self.sources: Mapping[int, Source] = NO_SOURCES  # by position; never changed in place
        self.weight = min(max(server.weight, 0), WEIGHT_MAX)

    @property
    def up(self) -> bool:
        return not self.failed

    def weigh(self) -> None:
        """The configured weight and what checks add to it, clamped when all is added."""
        configured = self.server.weight
        total = configured
        for added, absolute in self.sources.values():
            total += added if absolute is None else absolute - configured
        self.weight = min(max(total, 0), WEIGHT_MAX)


class Pool:
    """See the module. Create, `start`, feed, `stop`."""

    def __init__(self, virtual_server: VirtualServer) -> None:
        self.virtual_server = virtual_server
        self._stopped = False
        # What is wanted first: of tens of thousands, the table at a start needs no more.
        self._first: list[tuple[RealServer | Lot, int]] | None = _first(virtual_server)
        self.live_weight = sum(
            weight * len(one.addresses) if isinstance(one, Lot) else weight
            for one, weight in self._first
        )
        self.quorum_up = self.live_weight >= virtual_server.quorum + virtual_server.hysteresis

    @cached_property
    def _members(self) -> dict[ServerKey, _Member]:
        """Made when one of them is asked for; nothing has changed until then."""
        self._first = None
        return {key_of(rs): _Member(rs, _alpha(rs)) for rs in self.virtual_server.real_servers}

    # ------------------------------------------------------------------ what is the case

    @property
    def sorry(self) -> SorryServer | None:
        """The sorry server while it serves."""
        return None if self.quorum_up else self.virtual_server.sorry_server

    @property
    def servers(self) -> dict[ServerKey, RealServer]:
        """By the keys under which it has them, in the order of the file."""
        return {key: member.server for key, member in self._members.items()}

    @property
    def size(self) -> int:
        """How many real servers there are."""
        return len(self._members)

    def server(self, key: ServerKey) -> RealServer | None:
        member = self._members.get(key)
        return None if member is None else member.server

    def up(self, server: ServerKey) -> bool:
        """Raises KeyError for an unknown server."""
        return self._members[server].up

    def weight(self, server: ServerKey) -> int:
        """Effective weight, whether or not the server is up. Raises KeyError."""
        return self._members[server].weight

    def failed(self, server: ServerKey) -> frozenset[int]:
        """Positions of its failed checks. Raises KeyError."""
        return self._members[server].failed

    def desired_lots(self) -> Sequence[tuple[RealServer | SorryServer | Lot, int]]:
        """As `desired`, and what stands in one lot together, as long as it is all the same."""
        if self._first is not None and self.virtual_server.sorry_server is None:
            return [] if self._stopped else self._first
        return self.desired()

    def desired(self) -> list[Wanted]:
        """The destinations the table should hold now, each address and port once."""
        if self._stopped:
            return []
        sorry = self.virtual_server.sorry_server
        serving = self.sorry is None
        wanted: dict[ServerKey, Wanted] = {}
        for key, member in self._members.items():
            if member.up and serving:
                wanted[key] = Wanted(member.server, member.weight)
            elif member.server.inhibit_on_failure:
                wanted[key] = Wanted(member.server, 0)
        if sorry is not None:
            key = _place(sorry)
            if not serving:
                wanted[key] = Wanted(sorry, SORRY_WEIGHT)
            elif sorry.inhibit and key not in wanted:
                wanted[key] = Wanted(sorry, 0)
        return list(wanted.values())

    # ------------------------------------------------------------------ what happens

    def start(self) -> list[Action]:
        """The first states: servers that start up, a quorum that is there or is missed."""
        actions: list[Action] = [
            ServerChanged(member.server, True, Why.START)
            for member in self._members.values()
            if member.up
        ]
        if self.quorum_up or self.sorry is not None:
            actions.append(self._quorum_action(Why.START))
        if self.sorry is not None:
            actions.append(SorryChanged(self.sorry, True))
        return actions

    def result(self, server: ServerKey, check: int, up: bool, detail: str = "") -> list[Action]:
        """A check of a server, named by its position, came to a result.

        Results that change nothing may be given or left out. Raises KeyError for an unknown
        server, IndexError for an unknown check.
        """
        member = self._members[server]
        which = _check(member, check)
        if self._stopped:
            return []
        actions: list[Action] = []
        if up != (check not in member.failed):
            was_up = member.up
            if up:
                member.failed = member.failed - {check} or NONE_FAILED
            else:
                member.failed |= {check}
            changed = member.up != was_up
            actions.append(CheckChanged(member.server, which, up, detail, changed))
            if changed:
                member.known = True
                actions.append(ServerChanged(member.server, up, Why.CHECK))
                self.live_weight += member.weight if up else -member.weight
                self._evaluate(self.sorry, actions)
        if not up and not member.known:
            member.known = True
            actions.append(FirstFailed(member.server))
        return actions

    def weigh(self, server: ServerKey, check: int, source: Source) -> list[Action]:
        """What a check of a server says about its weight from now on.

        Raises KeyError for an unknown server, IndexError for an unknown check.
        """
        member = self._members[server]
        _check(member, check)
        if self._stopped or member.sources.get(check, NOTHING) == source:
            return []
        before = member.weight
        member.sources = {**member.sources, check: source}
        member.weigh()
        if member.weight == before:
            return []
        actions: list[Action] = [WeightChanged(member.server, member.up, before, member.weight)]
        if member.up:
            self.live_weight += member.weight - before
            self._evaluate(self.sorry, actions)
        return actions

    def reload(self, new: VirtualServer) -> list[Action]:
        """Another configuration of the same virtual server.

        Servers of the same address and port keep their state, checks of the same identity theirs.
        A check that is new to a server that stays has no result yet; it never takes a server that
        is up out of service, and brings one that is down back only with a success, unless other
        checks that stay still hold that server down.
        """
        old = self._members
        sorry = self.sorry
        self.virtual_server = new
        self._members = {}
        actions: list[Action] = []
        kept = {key_of(rs) for rs in new.real_servers}
        for key, member in old.items():
            if key not in kept and member.up:
                actions.append(ServerChanged(member.server, False, Why.REMOVED))
        for rs in new.real_servers:
            key = key_of(rs)
            self._members[key] = self._succeed(old.get(key), rs, actions)
        self._sum()
        self._evaluate(sorry, actions)
        return actions

    def stop(self, why: Why = Why.STOP) -> list[Action]:
        """Everything goes down: `desired` is empty from now on. `why` is STOP or REMOVED.

        With STOP a quorum that was lost already is told once more, as keepalived does.
        """
        if self._stopped:
            return []
        self._stopped = True
        actions: list[Action] = [
            ServerChanged(member.server, False, why)
            for member in self._members.values()
            if member.up
        ]
        self.live_weight = 0
        if self.quorum_up or why is Why.STOP:
            self.quorum_up = False
            actions.append(self._quorum_action(why))
        return actions

    # ------------------------------------------------------------------ details

    def _sum(self) -> None:
        self.live_weight = sum(member.weight for member in self._members.values() if member.up)

    def _quorum_action(self, why: Why) -> QuorumChanged:
        vs = self.virtual_server
        threshold = vs.quorum + (vs.hysteresis if self.quorum_up else -vs.hysteresis)
        return QuorumChanged(self.quorum_up, self.live_weight, threshold, why)

    def _evaluate(self, sorry: SorryServer | None, actions: list[Action]) -> None:
        """Whether quorum was gained or lost; `sorry` is the sorry server that served until now."""
        vs = self.virtual_server
        if self.quorum_up:
            changed = self.live_weight == 0 or self.live_weight < vs.quorum - vs.hysteresis
        else:
            changed = self.live_weight >= vs.quorum + vs.hysteresis
        if changed:
            self.quorum_up = not self.quorum_up
            actions.append(self._quorum_action(Why.CHECK))
        now = self.sorry
        if sorry is not None and (now is None or _place(now) != _place(sorry)):
            actions.append(SorryChanged(sorry, False))
        if now is not None and (sorry is None or _place(now) != _place(sorry)):
            actions.append(SorryChanged(now, True))

    def _succeed(self, old: _Member | None, rs: RealServer, actions: list[Action]) -> _Member:
        """The member that takes the place of `old` after a reload."""
        if old is None:
            member = _Member(rs, _alpha(rs))
            if member.up:
                actions.append(ServerChanged(rs, True, Why.START))
            return member
        before: dict[Check, list[int]] = {}
        for position, check in enumerate(old.server.checks):
            before.setdefault(identity(check), []).append(position)
        failed: set[int] = set()
        fresh: list[int] = []
        sources: dict[int, Source] = {}
        for position, check in enumerate(rs.checks):
            same = before.get(identity(check))
            if not same:
                fresh.append(position)
                continue
            origin = same.pop(0)
            if origin in old.failed:
                failed.add(position)
            if origin in old.sources:
                sources[position] = old.sources[origin]
        if not old.up:
            held_down = bool(failed)
            failed.update(p for p in fresh if rs.checks[p].schedule.alpha or not held_down)
        member = _Member(rs, failed)
        member.known = old.known or member.up
        member.sources = sources or NO_SOURCES
        member.weigh()
        if member.weight != old.weight:
            actions.append(WeightChanged(rs, old.up, old.weight, member.weight))
        if member.up != old.up:
            actions.append(ServerChanged(rs, member.up, Why.CHECK))
        return member


def _first(virtual_server: VirtualServer) -> list[tuple[RealServer | Lot, int]]:
    """The destinations before any check has said a word, the sorry server apart."""
    found: list[tuple[RealServer | Lot, int]] = []
    for part, server in parts(virtual_server.real_servers):
        if not _alpha(server):
            found.append((part, min(max(server.weight, 0), WEIGHT_MAX)))
        elif server.inhibit_on_failure:
            found.append((part, 0))
    return found


def _check(member: _Member, position: int) -> Check:
    checks = member.server.checks
    if not 0 <= position < len(checks):
        raise IndexError(f"real server {member.server.address} has no check {position}")
    return checks[position]


def _alpha(server: RealServer) -> list[int]:
    """Checks that count as failed until they succeed."""
    return [k for k, check in enumerate(server.checks) if check.schedule.alpha]


def _place(server: SorryServer) -> ServerKey:
    return ServerKey(server.address, server.port)
