"""Every state, every event, every combination of flags: against the exported legality matrix.

The matrix is the diagram: what it forbids never happens (the core counts attempts), what it allows
is reached by some event, and each event leads where RFC 9568 6.4 and keepalived say.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import pytest

from fastvrrp import _core
from fastvrrp._core import BACKUP, INIT, MASTER, STATE_NAMES, Core
from model.driver import SECOND, Driver, events, instance, own

START = 1_000_000_000_000
FLAGS = (
    _core.F_NOPREEMPT,
    _core.F_WANT_MASTER,
    _core.F_LOWER_PRIO_NO_ADVERT,
    _core.F_HIGHER_PRIO_SEND_ADVERT,
    _core.F_OWNER_IGNORE_ADVERTS,
    _core.F_SKIP_CHECK_ADV_ADDR,
    _core.F_CHECKSUM_AS_V2,
    _core.F_DONT_TRACK_PRIMARY,
)
PRIORITIES = (100, 255)
STOPPED = "stopped"
STATES = ("INIT", "BACKUP", "MASTER", "FAULT", STOPPED)


def hear(priority: int, source: bytes) -> Callable[[Driver], None]:
    def act(made: Driver) -> None:
        made.hear_code(priority, source=source)

    return act


def oversleep(made: Driver) -> None:
    made.sleep(60 * SECOND)
    made.tick()


EVENTS: dict[str, Callable[[Driver], object]] = {
    "priority 0": hear(0, own(1)),
    "lower": hear(1, own(1)),
    "equal, lower address": hear(100, own(1)),
    "equal, higher address": hear(100, own(9)),
    "higher": hear(254, own(1)),
    "owner": hear(255, own(9)),
    "garbage": lambda made: made.feed(b"\x31\x0a\xff"),
    "due": lambda made: made.advance(4 * SECOND),
    "late": lambda made: oversleep(made),
    "link down": lambda made: made.link(up=False),
    "link up": lambda made: made.link(up=True),
    "fault": lambda made: made.fault(set=_core.FAULT_SCRIPT),
    "faults gone": lambda made: made.fault(clear=0xFFFF),
    "awaits": lambda made: made.fault(set=_core.FAULT_AWAIT),
    "weight": lambda made: made.adjust(-60),
    "played": lambda made: made.played(0, 2),
    "played, failed": lambda made: made.played(0, 2, error=1, failed=1),
    "replay": lambda made: made.replay(),
    "commit": lambda made: made.add(instance(priority=120)),
    "commit, no source": lambda made: made.add(instance(source=b"")),
    "stop": lambda made: made.stop(),
    "remove": lambda made: made.add(remove=[0]),
}


def at(state: str, flags: int, priority: int) -> Driver:
    """A driver whose instance is in `state`."""
    made = Driver(now=START)
    fault = {"INIT": _core.FAULT_AWAIT, "FAULT": _core.FAULT_SCRIPT}.get(state, 0)
    made.add(instance(flags=flags, priority=priority, fault=fault))
    if state in ("MASTER", STOPPED):
        made.become_master()
    if state == STOPPED:
        made.stop()
    assert made.state() == ("INIT" if state == STOPPED else state)
    return made


def combinations() -> Iterator[int]:
    for bits in itertools.product((False, True), repeat=len(FLAGS)):
        yield sum(flag for flag, on in zip(FLAGS, bits, strict=True) if on)


def transitions(made: Driver) -> list[tuple[int, int]]:
    return [(e.a, e.b) for e in events(made.log, _core.EV_STATE)]


@pytest.mark.parametrize("state", STATES)
def test_every_event_in_every_state_with_every_flag(state: str) -> None:
    matrix = Core.legality_matrix()
    for flags, priority in itertools.product(combinations(), PRIORITIES):
        for name, act in EVENTS.items():
            made = at(state, flags, priority)
            act(made)
            context = (state, name, flags, priority)
            assert made.core.illegal_transitions() == 0, context
            chain = [INIT]
            for old, new in transitions(made):
                assert old == chain[-1], context
                assert matrix[old][new], context
                chain.append(new)
            if name != "remove":
                assert made.status().state == chain[-1], context
            if state == STOPPED:
                assert chain[-1] == INIT, context


# (state, event) -> state afterwards, for flags 0 and priority 100; everything else stays
MOVES = {
    ("INIT", "faults gone"): "BACKUP",
    ("INIT", "commit"): "BACKUP",
    ("INIT", "link down"): "FAULT",
    ("INIT", "fault"): "FAULT",
    ("INIT", "commit, no source"): "FAULT",
    ("BACKUP", "due"): "MASTER",
    ("BACKUP", "link down"): "FAULT",
    ("BACKUP", "fault"): "FAULT",
    ("BACKUP", "commit, no source"): "FAULT",
    ("BACKUP", "stop"): "INIT",
    ("MASTER", "equal, higher address"): "BACKUP",
    ("MASTER", "higher"): "BACKUP",
    ("MASTER", "owner"): "BACKUP",
    ("MASTER", "link down"): "FAULT",
    ("MASTER", "fault"): "FAULT",
    ("MASTER", "commit, no source"): "FAULT",
    ("MASTER", "stop"): "INIT",
    ("FAULT", "faults gone"): "BACKUP",
    ("FAULT", "commit"): "BACKUP",
    ("FAULT", "stop"): "INIT",
}


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("event", [name for name in EVENTS if name != "remove"])
def test_where_each_event_leads(state: str, event: str) -> None:
    """The table of RFC 9568 6.4.1-6.4.3 with FAULT; complete, because the rest stays."""
    made = at(state, 0, 100)
    EVENTS[event](made)
    expected = MOVES.get((state, event), "INIT" if state == STOPPED else state)
    assert made.state() == expected


def test_the_matrix_is_the_diagram() -> None:
    """No way into MASTER but from BACKUP; no transition into itself."""
    matrix = Core.legality_matrix()
    assert [old for old in range(4) if matrix[old][MASTER]] == [BACKUP]
    assert not any(matrix[s][s] for s in range(4))
    allowed = {(STATE_NAMES[a], STATE_NAMES[b]) for a in range(4) for b in range(4) if matrix[a][b]}
    reached = {(old, new) for (old, _), new in MOVES.items()}
    assert reached == allowed


def test_every_transition_has_its_duties() -> None:
    """Up on entering MASTER, down on leaving it, nothing else plays; sequence counts each."""
    for state, event in MOVES:
        made = at(state, 0, 100)
        before = made.status().sequence
        mark = len(made.log)
        EVENTS[event](made)
        plays = [a.detail[0] for a in made.log[mark:] if a.name == "play"]
        new = MOVES[state, event]
        wanted = [_core.P_UP] * (new == "MASTER") + [_core.P_DOWN] * (state == "MASTER")
        assert plays == wanted, (state, event)
        assert made.status().sequence == before + 1, (state, event)
