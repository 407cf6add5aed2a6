"""Contributions, fault reasons and rise/fall counting against plain models."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastvrrp import _core
from fastvrrp.config import model
from fastvrrp.track import weights
from fastvrrp.track.weights import Binding, Effect, Kind, RiseFall

SMALL = st.integers(1, 6)


@pytest.mark.parametrize(
    ("weight", "reverse", "when_up", "when_down"),
    [(20, False, 20, 0), (-20, False, 0, -20), (20, True, -20, 0), (-20, True, 0, 20)],
)
def test_weight_table(weight: int, reverse: bool, when_up: int, when_down: int) -> None:
    assert weights.contribution(True, weight, reverse) == when_up
    assert weights.contribution(False, weight, reverse) == when_down
    assert not weights.is_fault(True, weight, reverse)
    assert not weights.is_fault(False, weight, reverse)


def test_weight_zero_is_fault_when_down_or_up_with_reverse() -> None:
    assert weights.is_fault(False, 0, False)
    assert not weights.is_fault(True, 0, False)
    assert weights.is_fault(True, 0, True)
    assert not weights.is_fault(False, 0, True)
    assert weights.contribution(True, 0, False) == weights.contribution(False, 0, True) == 0


@given(st.integers(-254, 254), st.booleans(), st.booleans())
def test_contribution_sizes(weight: int, reverse: bool, up: bool) -> None:
    value = weights.contribution(up, weight, reverse)
    assert value in (0, weight, -weight)
    # Exactly one of the two states counts.
    assert abs(value) + abs(weights.contribution(not up, weight, reverse)) == abs(weight)
    assert weights.contribution(up, weight, not reverse) == -value


@pytest.mark.parametrize(
    ("value", "weight", "reverse", "expected"),
    [
        (7, 1, False, Effect(7, 0)),
        (7, -3, False, Effect(-21, 0)),
        (7, 3, True, Effect(-21, 0)),
        (300, 1, False, Effect(253, 0)),
        (-253, 1, False, Effect(-253, 0)),
        (-254, 1, False, Effect(0, weights.FAULT_FILE)),
        (127, 2, True, Effect(0, weights.FAULT_FILE)),
        (2**31 - 1, -254, False, Effect(0, weights.FAULT_FILE)),
        (0, 5, False, Effect(0, 0)),
        (0, 0, False, Effect(0, 0)),
        (3, 0, False, Effect(0, weights.FAULT_FILE)),
        (0, 0, True, Effect(0, weights.FAULT_FILE)),
        (3, 0, True, Effect(0, 0)),
    ],
)
def test_file_effect(value: int, weight: int, reverse: bool, expected: Effect) -> None:
    assert weights.file_effect(value, weight, reverse) == expected


def test_total_sums_and_joins() -> None:
    states: dict[str, bool | int | None] = {"s": False, "p": True, "f": 4, "new": None, "w": None}
    bindings = [
        Binding(Kind.SCRIPT, "s", 0, False),
        Binding(Kind.PROCESS, "p", 10, False),
        Binding(Kind.FILE, "f", -2, False),
        Binding(Kind.SCRIPT, "new", 0, True),
        Binding(Kind.SCRIPT, "w", -50, False),
    ]
    effect = weights.total(bindings, lambda kind, name: states[name])
    assert effect == Effect(2, weights.FAULT_SCRIPT | weights.FAULT_AWAIT)


def test_awaiting_weighted_script_changes_nothing() -> None:
    for weight in (50, -50):
        binding = Binding(Kind.SCRIPT, "s", weight, False)
        assert weights.effect(binding, None) == weights.NO_EFFECT


def test_fault_bits_are_those_of_the_core() -> None:
    for name in (
        "FAULT_SCRIPT",
        "FAULT_FILE",
        "FAULT_PROCESS",
        "FAULT_SERVER",
        "FAULT_STATIC",
        "FAULT_AWAIT",
    ):
        assert getattr(weights, name) == getattr(_core, name)


# ---------------------------------------------------------------------- rise and fall


class Model:
    """The rule in words: `fall` failures in a row while up make it down, `rise` successes in a
    row while down make it up; the very first result decides alone."""

    def __init__(self, rise: int, fall: int, up: bool | None) -> None:
        self.rise, self.fall, self.up, self.streak = rise, fall, up, 0

    def after(self, success: bool) -> None:
        if self.up is None:
            self.up = success
        elif success == self.up:
            self.streak = 0
        else:
            self.streak += 1
            if self.streak == (self.rise if success else self.fall):
                self.up, self.streak = success, 0


@given(SMALL, SMALL, st.booleans(), st.lists(st.booleans(), max_size=40))
def test_rise_fall_follows_the_rule(
    rise: int, fall: int, init_fail: bool, results: list[bool]
) -> None:
    counter = RiseFall.initial(rise, fall, init_fail=init_fail)
    rule = Model(rise, fall, False if init_fail else None)
    assert counter.up is rule.up
    for success in results:
        counter = counter.after(success)
        rule.after(success)
        assert counter.up is rule.up
        assert counter.result is not None
        assert 0 <= counter.result <= rise + fall - 1


@given(SMALL, SMALL, SMALL, SMALL, st.data())
def test_rescaling_keeps_the_state(
    rise: int, fall: int, new_rise: int, new_fall: int, data: st.DataObject
) -> None:
    result = data.draw(st.none() | st.integers(0, rise + fall - 1))
    counter = RiseFall(rise, fall, result)
    scaled = counter.rescaled(new_rise, new_fall)
    assert scaled.up is counter.up
    assert (scaled.rise, scaled.fall) == (new_rise, new_fall)
    if result is not None:
        assert scaled.result is not None
        assert 0 <= scaled.result <= scaled.top
        assert (scaled.result == scaled.top) or result != counter.top
    if (rise, fall) == (new_rise, new_fall):
        assert scaled == counter


# ---------------------------------------------------------------------- bindings


def instance(**changes: object) -> model.VrrpInstance:
    values: dict[str, object] = {"name": "A", "virtual_router_id": 1, "family": 4, "version": 2}
    return model.VrrpInstance(**{**values, **changes})  # type: ignore[arg-type]


def tracked(name: str, weight: int, reverse: bool = False) -> model.Tracked:
    return model.Tracked(name=name, weight=weight, reverse=reverse)


def test_group_trackers_apply_to_members_and_win_unless_the_instance_says_zero() -> None:
    group = model.SyncGroup(
        name="G",
        members=("A", "B"),
        sync_group_tracking_weight=True,
        track_script=(tracked("s", 5), tracked("z", 5, True), tracked("g", 7)),
    )
    member = instance(track_script=(tracked("s", 9), tracked("z", 0), tracked("own", 1)))
    assert set(weights.bindings_of(member, group)) == {
        Binding(Kind.SCRIPT, "s", 5, False),
        Binding(Kind.SCRIPT, "z", 0, False),
        Binding(Kind.SCRIPT, "g", 7, False),
        Binding(Kind.SCRIPT, "own", 1, False),
    }


def test_weights_of_members_without_sync_group_tracking_weight() -> None:
    group = model.SyncGroup(name="G", members=("A",), track_file=(tracked("gf", 3),))
    member = instance(
        track_script=(tracked("weighted", 9), tracked("plain", 0)),
        track_file=(tracked("one", 1), tracked("two", 2)),
        track_process=(tracked("p", 4),),
    )
    assert set(weights.bindings_of(member, group)) == {
        Binding(Kind.SCRIPT, "plain", 0, False),
        Binding(Kind.FILE, "one", 0, False),
        Binding(Kind.PROCESS, "p", 4, False),
        Binding(Kind.FILE, "gf", 3, False),
    }


def test_owner_ignores_weights() -> None:
    owner = instance(
        priority=255, track_script=(tracked("s", 9), tracked("z", 0)), track_file=(tracked("f", 2),)
    )
    assert weights.bindings_of(owner, None) == (Binding(Kind.SCRIPT, "z", 0, False),)
