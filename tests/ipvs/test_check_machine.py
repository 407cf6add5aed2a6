"""The schedule of a health check (keepalived's checker framework): rule by rule, every short life,
and random ones beside the model."""

from __future__ import annotations

import pytest
from check_lives import LOOP, RETRY, VERDICTS, S, compare, longer_lives, made, short_lives
from check_model import Config
from hypothesis import given, settings
from hypothesis import strategies as st

from fastvrrp import _core
from fastvrrp._core import CHECK_DOWN, CHECK_START_NS, CHECK_UNKNOWN, CHECK_UP, NEVER, Check
from fastvrrp.ipvs.checks.base import Verdict

pytestmark = pytest.mark.computing


def check(*, retry: int = 1, steps: int = 0, fast: bool = False) -> Check:
    """With `steps` HTTP_GET, else any other."""
    machine: Check = made(Config(LOOP, RETRY, retry, steps or 1, fast, http=bool(steps)))
    return machine


def attempts(machine: Check, verdicts: str) -> list[tuple[int, int]]:
    """(delay, change) of each letter: u up, d down, l local. Time stands at 100 s."""
    now = 100 * S
    words = {"u": Verdict.UP, "d": Verdict.DOWN, "l": Verdict.LOCAL}
    got = []
    for letter in verdicts:
        due, change = machine.result(words[letter], now)
        got.append((due - now, change))
    return got


def test_verdicts_have_the_numbers_of_the_core() -> None:
    assert (_core.VERDICT_DOWN, _core.VERDICT_UP, _core.VERDICT_LOCAL) == (
        Verdict.DOWN,
        Verdict.UP,
        Verdict.LOCAL,
    )


@pytest.mark.parametrize(
    ("random", "share"), [(0, 0), (1 << 31, 0.5), (0xFFFFFFFF, 1.0), (0x40000000, 0.25)]
)
def test_first_attempt_is_after_a_second_and_a_random_part_of_warmup(
    random: int, share: float
) -> None:
    machine = made(Config(LOOP, RETRY, 1), warmup=40 * S)
    assert CHECK_START_NS == S
    assert machine.first(7 * S, random) == pytest.approx(8 * S + share * 40 * S, abs=S // 1000)


def test_warmup_of_0_disables_the_random_part() -> None:
    assert made(Config(LOOP, RETRY, 1)).first(0, 0xFFFFFFFF) == S


def test_the_random_part_of_the_longest_warmup_does_not_overflow() -> None:
    longest = 1 << 58
    first = made(Config(LOOP, RETRY, 1), warmup=longest).first(0, 0xFFFFFFFF)
    assert longest * 0.9999 < first <= longest + S


def test_first_success_makes_it_up() -> None:
    machine = check()
    assert machine.state == CHECK_UNKNOWN
    assert attempts(machine, "u") == [(LOOP, CHECK_UP)]
    assert machine.state == CHECK_UP


def test_before_it_has_run_once_a_single_failure_is_enough() -> None:
    machine = check(retry=5)
    assert attempts(machine, "d") == [(LOOP, CHECK_DOWN)]


def test_an_up_check_is_retried_before_it_fails() -> None:
    machine = check(retry=2)
    assert attempts(machine, "uddd") == [
        (LOOP, CHECK_UP),
        (RETRY, 0),
        (RETRY, 0),
        (LOOP, CHECK_DOWN),
    ]


def test_without_retries_the_first_failure_counts() -> None:
    assert attempts(check(retry=0), "ud") == [(LOOP, CHECK_UP), (LOOP, CHECK_DOWN)]


def test_a_success_gives_all_retries_back() -> None:
    machine = check(retry=1)
    assert attempts(machine, "udududd")[-2:] == [(RETRY, 0), (LOOP, CHECK_DOWN)]


def test_a_failed_check_needs_one_success() -> None:
    machine = check(retry=3)
    assert attempts(machine, "dddu") == [
        (LOOP, CHECK_DOWN),
        (LOOP, 0),
        (LOOP, 0),
        (LOOP, CHECK_UP),
    ]


def test_a_failed_check_waits_for_delay_loop_whatever_delay_before_retry_says() -> None:
    machine = made(Config(LOOP, 10 * S, 1))
    assert attempts(machine, "dd") == [(LOOP, CHECK_DOWN), (LOOP, 0)]


def test_a_failed_http_check_waits_for_the_longer_of_both_delays() -> None:
    machine = made(Config(LOOP, 10 * S, 1, http=True))
    assert attempts(machine, "dd") == [(10 * S, CHECK_DOWN), (10 * S, 0)]
    machine = made(Config(LOOP, RETRY, 1, http=True))
    assert attempts(machine, "dd") == [(LOOP, CHECK_DOWN), (LOOP, 0)]


@pytest.mark.parametrize("before", ["", "u", "ud", "d", "uddd"])
def test_local_problems_are_neither_success_nor_failure(before: str) -> None:
    machine = check(retry=2)
    attempts(machine, before)
    state = (machine.state, machine.failures, machine.step)
    assert attempts(machine, "lll") == [(LOOP, 0)] * 3
    assert (machine.state, machine.failures, machine.step) == state


def test_urls_are_done_one_per_delay_loop() -> None:
    machine = check(steps=3)
    steps = []
    for _ in range(7):
        steps.append(machine.step)
        attempts(machine, "u")
    assert steps == [0, 1, 2, 0, 1, 2, 0]


def test_a_complete_pass_makes_it_up() -> None:
    machine = check(steps=3)
    assert attempts(machine, "uuu") == [(LOOP, 0), (LOOP, 0), (LOOP, CHECK_UP)]


def test_in_the_first_pass_a_single_failure_of_any_url_is_enough() -> None:
    machine = check(steps=3, retry=5)
    assert attempts(machine, "uud")[-1] == (LOOP, CHECK_DOWN)


def test_only_the_failed_url_is_tried_then_all_of_them() -> None:
    machine = check(steps=3, retry=1)
    attempts(machine, "uuuu")
    assert machine.step == 1
    assert attempts(machine, "ddd") == [(RETRY, 0), (LOOP, CHECK_DOWN), (LOOP, 0)]
    assert machine.step == 1
    assert attempts(machine, "u") == [(LOOP, 0)]
    assert machine.step == 0
    assert attempts(machine, "uuu") == [(LOOP, 0), (LOOP, 0), (LOOP, CHECK_UP)]


def test_a_single_url_is_checked_again_too() -> None:
    machine = check(steps=1, retry=0)
    assert attempts(machine, "u") == [(LOOP, CHECK_UP)]
    assert attempts(machine, "duu") == [(LOOP, CHECK_DOWN), (LOOP, 0), (LOOP, CHECK_UP)]


def test_a_failure_on_the_way_up_begins_again_there() -> None:
    machine = check(steps=3)
    attempts(machine, "d")
    attempts(machine, "uud")
    assert machine.step == 1
    assert attempts(machine, "uuuu")[-1] == (LOOP, CHECK_UP)


def test_fast_recovery_has_no_pauses_on_the_way_up() -> None:
    machine = check(steps=3, fast=True)
    assert attempts(machine, "uuu") == [(0, 0), (0, 0), (LOOP, CHECK_UP)]
    assert attempts(machine, "uu") == [(LOOP, 0), (LOOP, 0)]
    assert attempts(machine, "dd")[-1] == (LOOP, CHECK_DOWN)
    assert attempts(machine, "uuuu") == [(0, 0), (0, 0), (0, 0), (LOOP, CHECK_UP)]


def test_a_suspended_check_counts_nothing_and_keeps_its_state() -> None:
    machine = check(retry=1)
    attempts(machine, "ud")
    machine.suspend()
    assert machine.suspended
    assert machine.result(Verdict.DOWN, 100 * S) == (NEVER, 0)
    assert machine.result(Verdict.UP, 100 * S) == (NEVER, 0)
    assert (machine.state, machine.failures) == (CHECK_UP, 1)
    machine.resume(200 * S, 0)
    assert not machine.suspended
    assert attempts(machine, "d") == [(LOOP, CHECK_DOWN)]


def test_a_resumed_check_is_due_within_a_second() -> None:
    machine = made(Config(LOOP, RETRY, 1), warmup=60 * S)
    machine.suspend()
    assert machine.resume(50 * S, 0) == 50 * S
    assert 50.9 * S < machine.resume(50 * S, 0xFFFFFFFF) <= 51 * S
    machine = made(Config(LOOP, RETRY, 1), warmup=0)
    assert machine.resume(50 * S, 0xFFFFFFFF) == 50 * S


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("retry", -1),
        ("steps", 0),
        ("steps", 2),  # without http
        ("delay_loop_ns", -1),
        ("delay_before_retry_ns", (1 << 58) + 1),
        ("warmup_ns", 1 << 63),
    ],
)
def test_values_out_of_range_are_refused(name: str, value: int) -> None:
    values = {"delay_loop_ns": S, "delay_before_retry_ns": S, name: value}
    with pytest.raises(ValueError, match=name):
        Check(**values)


@pytest.mark.parametrize("verdict", [3, 2**32 - 1])
def test_there_are_three_verdicts(verdict: int) -> None:
    with pytest.raises(ValueError, match="verdict"):
        check().result(verdict, 0)


# ---- beside the model ----


def test_every_short_life() -> None:
    for config, verdicts in short_lives():
        compare(config, verdicts)


def test_every_longer_life_without_local_problems() -> None:
    for config, verdicts in longer_lives():
        compare(config, verdicts)


DELAYS = {"delay_loop": st.integers(0, 100 * S), "delay_before_retry": st.integers(0, 100 * S)}
RETRIES = st.integers(0, 6)
CONFIGS = st.one_of(
    st.builds(Config, **DELAYS, retry=RETRIES),
    st.builds(
        Config,
        **DELAYS,
        retry=RETRIES,
        steps=st.integers(1, 6),
        fast=st.booleans(),
        http=st.just(True),
    ),
)
LIVES = st.lists(st.sampled_from(["up", "up", "up", "down", "down", "local"]), max_size=80)


@settings(max_examples=500, deadline=None)
@given(CONFIGS, LIVES.map(tuple))
def test_long_lives(config: Config, verdicts: tuple[str, ...]) -> None:
    compare(config, verdicts)


@settings(max_examples=200, deadline=None)
@given(CONFIGS, LIVES, st.data())
def test_suspension_is_as_if_time_had_stood(
    config: Config, verdicts: list[str], data: st.DataObject
) -> None:
    plain, suspended = made(config), made(config)
    for verdict in verdicts:
        if data.draw(st.booleans()):
            suspended.suspend()
            suspended.result(VERDICTS[data.draw(st.sampled_from(["up", "down", "local"]))], 0)
            suspended.resume(0, 0)
        assert suspended.result(VERDICTS[verdict], 5) == plain.result(VERDICTS[verdict], 5)
        for field in ("state", "step", "failures"):
            assert getattr(suspended, field) == getattr(plain, field)
