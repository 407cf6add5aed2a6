"""The pool beside its model, in every order of events: results, weights, reloads, the end.

After each event the table, every server's state and weight, and the quorum must agree, and the
actions must be exactly what changed.
"""

from __future__ import annotations

import itertools

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from pool_lives import (
    ADDITIONS,
    EXACT,
    SORRY,
    WEIGHTS,
    begin,
    checks_of,
    random_life,
    reload,
    result,
    stop,
    weigh,
)
from pool_making import check, rs, sorry, vs

from fastvrrp.config.servers import RealServer, VirtualServer
from fastvrrp.ipvs.pool import Source

pytestmark = pytest.mark.computing

CHECKS = st.lists(
    st.tuples(st.integers(1, 4), st.booleans()), max_size=3, unique_by=lambda pair: pair[0]
).map(lambda pairs: tuple(check(number, alpha=alpha) for number, alpha in pairs))


@st.composite
def real_servers(draw: st.DrawFn, number: int) -> RealServer:
    return rs(
        number,
        checks=draw(CHECKS),
        weight=draw(st.sampled_from(WEIGHTS)),
        inhibit_on_failure=draw(st.booleans()),
    )


@st.composite
def virtual_servers(draw: st.DrawFn) -> VirtualServer:
    numbers = draw(st.lists(st.integers(1, 5), min_size=1, max_size=5, unique=True))
    quorum = draw(st.integers(1, 6))
    sorry_server = None
    if draw(st.booleans()):
        address = f"10.0.0.{draw(st.sampled_from(SORRY))}"
        sorry_server = sorry(address=address, inhibit=draw(st.booleans()))
    return vs(
        *(draw(real_servers(number)) for number in numbers),
        quorum=quorum,
        hysteresis=draw(st.integers(0, quorum - 1)),
        sorry_server=sorry_server,
    )


class PoolMachine(RuleBasedStateMachine):
    @initialize(conf=virtual_servers())
    def begin(self, conf: VirtualServer) -> None:
        self.pool, self.model = begin(conf)

    @precondition(lambda self: checks_of(self.model))
    @rule(data=st.data(), up=st.booleans())
    def result(self, data: st.DataObject, up: bool) -> None:
        result(self.pool, self.model, *data.draw(st.sampled_from(checks_of(self.model))), up)

    @precondition(lambda self: checks_of(self.model))
    @rule(data=st.data(), add=st.sampled_from(ADDITIONS), exact=st.sampled_from(EXACT))
    def weigh(self, data: st.DataObject, add: int, exact: int | None) -> None:
        chosen = data.draw(st.sampled_from(checks_of(self.model)))
        weigh(self.pool, self.model, *chosen, Source(add, exact))

    @rule(conf=virtual_servers())
    def reload(self, conf: VirtualServer) -> None:
        reload(self.pool, self.model, conf)

    @rule()
    def reload_of_the_same(self) -> None:
        assert self.pool.reload(self.model.conf) == []

    @rule(conf=virtual_servers())
    def stop_and_begin_another_life(self, conf: VirtualServer) -> None:
        stop(self.pool, self.model)
        self.begin(conf)

    @invariant()
    def the_table_has_each_place_once(self) -> None:
        places = [(w.server.address, w.server.port) for w in self.pool.desired()]
        assert len(places) == len(set(places))


PoolMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestPoolAgainstModel = PoolMachine.TestCase


def test_every_order_of_a_few_events() -> None:
    """Two servers, one of two checks, quorum 2 of weight 3: all lives of four results."""
    events = list(itertools.product([(0, 0), (0, 1), (1, 0)], [True, False]))
    for hysteresis, alpha, inhibit in itertools.product((0, 1), (False, True), (False, True)):
        conf = vs(
            rs(1, check(1, alpha=alpha), check(2), weight=2, inhibit_on_failure=inhibit),
            rs(2, check(3)),
            quorum=2,
            hysteresis=hysteresis,
            sorry_server=sorry(inhibit=inhibit),
        )
        for life in itertools.product(events, repeat=4):
            pool, model = begin(conf)
            for (number, position), up in life:
                result(pool, model, conf.real_servers[number], position, up)


def test_seeded_lives() -> None:
    for seed in range(300):
        random_life(seed)
