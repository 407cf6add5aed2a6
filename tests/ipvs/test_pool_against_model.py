"""The pool beside its model, in every order of events: results, weights, reloads, the end.

After each event the table, every server's state and weight, and the quorum must agree, and the
actions must be exactly what changed.
"""

from __future__ import annotations

import itertools
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from pool_making import check, key, rs, sorry, vs
from pool_model import Model, same_check

from fastvrrp.config.servers import RealServer, VirtualServer
from fastvrrp.ipvs.identity import key_of
from fastvrrp.ipvs.pool import (
    CheckChanged,
    FirstFailed,
    Pool,
    QuorumChanged,
    ServerChanged,
    SorryChanged,
    Source,
    WeightChanged,
    Why,
)

CHECKS = st.lists(
    st.tuples(st.integers(1, 4), st.booleans()), max_size=3, unique_by=lambda pair: pair[0]
).map(lambda pairs: tuple(check(number, alpha=alpha) for number, alpha in pairs))


@st.composite
def real_servers(draw: st.DrawFn, number: int) -> RealServer:
    return rs(
        number,
        checks=draw(CHECKS),
        weight=draw(st.sampled_from([0, 1, 1, 1, 2, 5, 2**31 - 1])),
        inhibit_on_failure=draw(st.booleans()),
    )


@st.composite
def virtual_servers(draw: st.DrawFn) -> VirtualServer:
    numbers = draw(st.lists(st.integers(1, 5), min_size=1, max_size=5, unique=True))
    quorum = draw(st.integers(1, 6))
    sorry_server = None
    if draw(st.booleans()):
        # sometimes also a real server
        address = f"10.0.0.{draw(st.sampled_from([1, 2, 200, 201]))}"
        sorry_server = sorry(address=address, inhibit=draw(st.booleans()))
    return vs(
        *(draw(real_servers(number)) for number in numbers),
        quorum=quorum,
        hysteresis=draw(st.integers(0, quorum - 1)),
        sorry_server=sorry_server,
    )


class Seen:
    """What the model says, to be compared with what it said before."""

    def __init__(self, model: Model) -> None:
        self.up = {p: model.up(p) and not model.over for p in model.known}
        self.weight = {p: model.weight(p) for p in model.known}
        self.quorum = model.quorum
        self.sorry = model.conf.sorry_server if model.sorry() else None
        self.proven = set(model.proven)
        self.bad = {(p, c): k.bad for p, known in model.known.items() for c, k in known.items()}


def sorry_place(server: Any) -> Any:
    return None if server is None else (server.address, server.port)


def compare(pool: Pool, model: Model, before: Seen, actions: list[Any], *, reload: bool) -> None:
    """Raises AssertionError when pool and model part, or an action is missing or too many."""
    after = Seen(model)
    assert {(w.server.address, w.server.port): w.weight for w in pool.desired()} == model.desired()
    assert pool.quorum_up == model.quorum
    for place, up in after.up.items():
        server = key(int(place[0].rpartition(".")[2]))
        assert model.over or pool.up(server) == up
        assert pool.weight(server) == after.weight[place]
    if not model.over:
        assert pool.live_weight == model.live()

    told = {}
    for action in actions:
        if isinstance(action, ServerChanged):
            place = tuple(key_of(action.server))
            assert place not in told
            told[place] = action.up
    gone = {p for p, up in before.up.items() if up and p not in after.up}
    new = {p for p, up in after.up.items() if up and p not in before.up}
    changed = {p for p in after.up if p in before.up and after.up[p] != before.up[p]}
    assert set(told) == gone | new | changed
    assert all(told[p] == after.up.get(p, False) for p in told)

    quorum = [a for a in actions if isinstance(a, QuorumChanged)]
    assert [a.up for a in quorum] == ([after.quorum] if after.quorum != before.quorum else [])
    sorries = [(sorry_place(a.server), a.active) for a in actions if isinstance(a, SorryChanged)]
    expected = []
    if not model.over and sorry_place(before.sorry) != sorry_place(after.sorry):
        expected += [(sorry_place(before.sorry), False)] if before.sorry else []
        expected += [(sorry_place(after.sorry), True)] if after.sorry else []
    assert sorries == expected

    weights = {
        tuple(key_of(a.server)): (a.old, a.new) for a in actions if isinstance(a, WeightChanged)
    }
    assert weights == {
        p: (before.weight[p], after.weight[p])
        for p in after.weight
        if p in before.weight and before.weight[p] != after.weight[p]
    }
    first = [tuple(key_of(a.server)) for a in actions if isinstance(a, FirstFailed)]
    assert set(first) == {p for p in after.up if p in model.proven - before.proven}
    checks = [a for a in actions if isinstance(a, CheckChanged)]
    assert not reload or not checks
    if not reload and not model.over:
        assert {(tuple(key_of(a.server)), same_check(a.check)): not a.up for a in checks} == {
            name: bad for name, bad in after.bad.items() if bad != before.bad[name]
        }
        assert all(a.server_changed == (tuple(key_of(a.server)) in told) for a in checks)


class PoolMachine(RuleBasedStateMachine):
    @initialize(conf=virtual_servers())
    def begin(self, conf: VirtualServer) -> None:
        self.pool = Pool(conf)
        self.model = Model(conf)
        actions = self.pool.start()
        up = [a for a in actions if isinstance(a, ServerChanged)]
        assert all(a.up and a.why is Why.START for a in up)
        assert {tuple(key_of(a.server)) for a in up} == {
            p for p in self.model.known if self.model.up(p)
        }
        told = [a.up for a in actions if isinstance(a, QuorumChanged)]
        assert told == ([self.model.quorum] if self.model.quorum or self.model.sorry() else [])
        told = [a.active for a in actions if isinstance(a, SorryChanged)]
        assert told == ([True] if self.model.sorry() else [])

    def _checks(self) -> list[tuple[RealServer, int]]:
        servers = self.model.conf.real_servers
        return [(server, n) for server in servers for n in range(len(server.checks))]

    @precondition(lambda self: self._checks())
    @rule(data=st.data(), up=st.booleans())
    def result(self, data: st.DataObject, up: bool) -> None:
        server, position = data.draw(st.sampled_from(self._checks()))
        before = Seen(self.model)
        actions = self.pool.result(key_of(server), position, up, "because")
        self.model.result(tuple(key_of(server)), same_check(server.checks[position]), up)
        compare(self.pool, self.model, before, actions, reload=False)

    @precondition(lambda self: self._checks())
    @rule(
        data=st.data(),
        add=st.sampled_from([0, 0, 1, 3, -1, -5, 2**31 - 1, -(2**31)]),
        exact=st.sampled_from([None, None, 0, 1, 4, 253]),
    )
    def weigh(self, data: st.DataObject, add: int, exact: int | None) -> None:
        server, position = data.draw(st.sampled_from(self._checks()))
        before = Seen(self.model)
        actions = self.pool.weigh(key_of(server), position, Source(add, exact))
        self.model.weigh(tuple(key_of(server)), same_check(server.checks[position]), add, exact)
        compare(self.pool, self.model, before, actions, reload=False)

    @rule(conf=virtual_servers())
    def reload(self, conf: VirtualServer) -> None:
        before = Seen(self.model)
        actions = self.pool.reload(conf)
        self.model.reload(conf)
        compare(self.pool, self.model, before, actions, reload=True)

    @rule()
    def reload_of_the_same(self) -> None:
        assert self.pool.reload(self.model.conf) == []

    @rule(conf=virtual_servers())
    def stop_and_begin_another_life(self, conf: VirtualServer) -> None:
        before = Seen(self.model)
        actions = self.pool.stop()
        self.model.stop()
        compare(self.pool, self.model, before, actions, reload=False)
        self.begin(conf)

    @invariant()
    def the_table_has_each_place_once(self) -> None:
        places = [(w.server.address, w.server.port) for w in self.pool.desired()]
        assert len(places) == len(set(places))


PoolMachine.TestCase.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
TestPoolAgainstModel = PoolMachine.TestCase


def test_every_order_of_a_few_events() -> None:
    """Two servers, one of two checks, quorum 2 of weight 3: all lives of four results."""
    events = list(itertools.product([(1, 0), (1, 1), (2, 0)], [True, False]))
    for hysteresis, alpha, inhibit in itertools.product((0, 1), (False, True), (False, True)):
        conf = vs(
            rs(1, check(1, alpha=alpha), check(2), weight=2, inhibit_on_failure=inhibit),
            rs(2, check(3)),
            quorum=2,
            hysteresis=hysteresis,
            sorry_server=sorry(inhibit=inhibit),
        )
        for life in itertools.product(events, repeat=4):
            pool, model = Pool(conf), Model(conf)
            for (number, position), up in life:
                before = Seen(model)
                actions = pool.result(key(number), position, up)
                name = same_check(conf.real_servers[number - 1].checks[position])
                model.result(tuple(key(number)), name, up)
                compare(pool, model, before, actions, reload=False)
