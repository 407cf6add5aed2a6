"""A virtual server the slow way: everything is worked out anew from what is known of each check.

The model of ipvs/pool.py. It knows no positions, no running totals and no order of events but one:
the quorum remembers whether it was there.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from fastvrrp.config.servers import RealServer, VirtualServer

Place = tuple[str, int]
TOP = 2**31 - 1


def same_check(check: object) -> str:
    """Names what a check does; the tests' checks differ in their port."""
    return str(check.connection.port)  # type: ignore[attr-defined]


@dataclass
class Known:
    """What is known of one check of one server."""

    bad: bool
    add: int = 0
    exact: int | None = None


@dataclass
class Model:
    conf: VirtualServer
    known: dict[Place, dict[str, Known]] = field(default_factory=dict)
    quorum: bool = False
    over: bool = False
    proven: set[Place] = field(default_factory=set)  # servers whose first word was a failure
    been_up: set[Place] = field(default_factory=set)

    def __post_init__(self) -> None:
        for rs in self.conf.real_servers:
            self.known[rs.address, rs.port] = self._fresh(rs)
        self.quorum = self.live() >= self.conf.quorum + self.conf.hysteresis
        self.settle()

    @staticmethod
    def _fresh(rs: RealServer) -> dict[str, Known]:
        return {same_check(c): Known(bad=c.schedule.alpha) for c in rs.checks}

    # ---- what is the case

    def servers(self) -> dict[Place, RealServer]:
        return {(rs.address, rs.port): rs for rs in self.conf.real_servers}

    def up(self, place: Place) -> bool:
        return not any(k.bad for k in self.known[place].values())

    def weight(self, place: Place) -> int:
        base = self.servers()[place].weight
        total = base
        for k in self.known[place].values():
            total += k.add if k.exact is None else k.exact - base
        return max(0, min(TOP, total))

    def live(self) -> int:
        return sum(self.weight(place) for place in self.known if self.up(place))

    def sorry(self) -> bool:
        return not self.over and self.conf.sorry_server is not None and not self.quorum

    def desired(self) -> dict[Place, int]:
        if self.over:
            return {}
        table = {}
        for place, rs in self.servers().items():
            if rs.inhibit_on_failure:
                table[place] = 0
            if self.up(place) and not self.sorry():
                table[place] = self.weight(place)
        sorry = self.conf.sorry_server
        if sorry is not None:
            place = (sorry.address, sorry.port)
            if self.sorry():
                table[place] = 1
            elif sorry.inhibit:
                table.setdefault(place, 0)
        return table

    # ---- what happens

    def result(self, place: Place, check: str, up: bool) -> None:
        if not up and not self.up(place) and place not in self.been_up:
            self.proven.add(place)
        self.known[place][check].bad = not up
        self.settle()

    def weigh(self, place: Place, check: str, add: int, exact: int | None) -> None:
        self.known[place][check].add = add
        self.known[place][check].exact = exact
        self.settle()

    def reload(self, conf: VirtualServer) -> None:
        old, was_up = self.known, {place: self.up(place) for place in self.known}
        self.conf = conf
        self.known = {}
        for rs in conf.real_servers:
            place = (rs.address, rs.port)
            if place not in old:
                self.known[place] = self._fresh(rs)
                continue
            stays = {c: k for c, k in old[place].items() if c in map(same_check, rs.checks)}
            blamed = any(k.bad for k in stays.values())
            self.known[place] = {}
            for check in rs.checks:
                name = same_check(check)
                # a guess never changes a server: good while it is up, and while it is down bad,
                # unless somebody else is to blame and nothing asks for proof
                guess = not was_up[place] and (check.schedule.alpha or not blamed)
                self.known[place][name] = stays.get(name) or Known(bad=guess)
        for remembered in (self.proven, self.been_up):
            remembered.intersection_update(self.known)
        self.settle()

    def stop(self) -> None:
        self.over = True
        self.quorum = False

    def settle(self) -> None:
        """What has a memory: the quorum, and who was ever up."""
        live, conf = self.live(), self.conf
        self.been_up |= {place for place in self.known if self.up(place)}
        if live >= conf.quorum + conf.hysteresis:
            self.quorum = True
        elif live == 0 or live < conf.quorum - conf.hysteresis:
            self.quorum = False
