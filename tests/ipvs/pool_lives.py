"""Lives of a virtual server told by the pool and by its model, which must agree."""

from __future__ import annotations

import random
from typing import Any

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
    told_anew = model.over or after.quorum != before.quorum
    assert [a.up for a in quorum] == ([after.quorum] if told_anew else [])
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


def begin(conf: VirtualServer, kind: Any = Pool) -> tuple[Any, Model]:
    """Both, started; `kind` is the class to be judged."""
    pool, model = kind(conf), Model(conf)
    actions = pool.start()
    up = [a for a in actions if isinstance(a, ServerChanged)]
    assert all(a.up and a.why is Why.START for a in up)
    assert {tuple(key_of(a.server)) for a in up} == {p for p in model.known if model.up(p)}
    quorum = [a.up for a in actions if isinstance(a, QuorumChanged)]
    assert quorum == ([model.quorum] if model.quorum or model.sorry() else [])
    served = [a.active for a in actions if isinstance(a, SorryChanged)]
    assert served == ([True] if model.sorry() else [])
    return pool, model


def checks_of(model: Model) -> list[tuple[RealServer, int]]:
    servers = model.conf.real_servers
    return [(server, n) for server in servers for n in range(len(server.checks))]


def result(pool: Any, model: Model, server: RealServer, position: int, up: bool) -> None:
    before = Seen(model)
    actions = pool.result(key_of(server), position, up, "because")
    model.result(tuple(key_of(server)), same_check(server.checks[position]), up)
    compare(pool, model, before, actions, reload=False)


def weigh(pool: Any, model: Model, server: RealServer, position: int, source: Source) -> None:
    before = Seen(model)
    actions = pool.weigh(key_of(server), position, source)
    model.weigh(tuple(key_of(server)), same_check(server.checks[position]), *source)
    compare(pool, model, before, actions, reload=False)


def reload(pool: Any, model: Model, conf: VirtualServer) -> None:
    before = Seen(model)
    actions = pool.reload(conf)
    model.reload(conf)
    compare(pool, model, before, actions, reload=True)


def stop(pool: Any, model: Model) -> None:
    before = Seen(model)
    actions = pool.stop()
    model.stop()
    compare(pool, model, before, actions, reload=False)


WEIGHTS = (0, 1, 1, 1, 2, 5, 2**31 - 1)
ADDITIONS = (0, 0, 1, 3, -1, -5, 2**31 - 1, -(2**31))
EXACT = (None, None, 0, 1, 4, 253)
SORRY = (1, 2, 200, 201)  # last bytes of the address: sometimes also a real server


def random_server(dice: random.Random, number: int) -> RealServer:
    numbers = dice.sample(range(1, 5), dice.randrange(4))
    return rs(
        number,
        checks=tuple(check(n, alpha=dice.random() < 0.5) for n in numbers),
        weight=dice.choice(WEIGHTS),
        inhibit_on_failure=dice.random() < 0.5,
    )


def random_virtual_server(dice: random.Random) -> VirtualServer:
    quorum = dice.randint(1, 6)
    last = sorry(address=f"10.0.0.{dice.choice(SORRY)}", inhibit=dice.random() < 0.5)
    return vs(
        *(random_server(dice, n) for n in dice.sample(range(1, 6), dice.randint(1, 5))),
        quorum=quorum,
        hysteresis=dice.randrange(quorum),
        sorry_server=last if dice.random() < 0.5 else None,
    )


def random_life(seed: int, kind: Any = Pool) -> None:
    """Thirty events. Raises AssertionError where both part."""
    dice = random.Random(seed)
    pool, model = begin(random_virtual_server(dice), kind)
    for _ in range(30):
        choice = dice.random()
        checks = checks_of(model)
        if choice < 0.1:
            reload(pool, model, random_virtual_server(dice))
        elif choice < 0.12:
            stop(pool, model)
            return
        elif checks and choice < 0.3:
            source = Source(dice.choice(ADDITIONS), dice.choice(EXACT))
            weigh(pool, model, *dice.choice(checks), source)
        elif checks:
            result(pool, model, *dice.choice(checks), dice.random() < 0.5)
