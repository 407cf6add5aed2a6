"""What the supervisor remembers of its children's instances, packed and not."""

from __future__ import annotations

import random
import tracemalloc
from collections import Counter

from fastvrrp.supervisor.messages import InstanceState
from fastvrrp.supervisor.states import States


def test_says_what_was_last_said() -> None:
    draw = random.Random(7)
    states = States()
    known: dict[str, InstanceState] = {}
    for turn in range(6):
        for _ in range(1500):
            name = f"V{draw.randrange(900 + 100 * turn)}"
            if draw.random() < 0.2:
                states.forget(name)
                known.pop(name, None)
            else:
                source = f"192.0.2.{draw.randrange(4)}"
                known[name] = InstanceState(name, draw.choice(("MASTER", "BACKUP")), source)
                states.put(known[name])
        for name in (f"V{n}" for n in range(1600)):
            assert states.get(name) == known.get(name)
        assert {state.name: state for state in states} == known
        assert len(list(states)) == len(known)
        assert states.counted() == Counter(state.state for state in known.values())
        states = states.packed()
        assert {state.name: state for state in states} == known


def test_packed_ones_take_little_memory() -> None:
    """A name, where it ends, its place in the index, and the number of its state."""
    count = 20000
    tracemalloc.start()
    try:
        states = States()
        for n in range(count):
            states.put(InstanceState(f"V{n}", "MASTER", f"192.0.2.{n % 16}"))
        states = states.packed()
        assert tracemalloc.get_traced_memory()[0] < 28 * count
        assert states.counted() == {"MASTER": count}
    finally:
        tracemalloc.stop()
