"""The pool of a virtual server, rule by rule (keepalived's IPVS service semantics)."""

from __future__ import annotations

from typing import Any

import pytest
from pool_making import check, key, rs, sorry, vs

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


def table(pool: Pool) -> dict[str, int]:
    """Last byte of each address -> weight."""
    wanted = pool.desired()
    shown = {w.server.address.rpartition(".")[2]: w.weight for w in wanted}
    assert len(shown) == len(wanted)
    return shown


def only(actions: list[Any], kind: type[Any]) -> list[Any]:
    return [action for action in actions if isinstance(action, kind)]


# ---- alpha and the start ----


def test_without_alpha_servers_start_up() -> None:
    pool = Pool(vs(rs(1), rs(2, weight=5)))
    assert table(pool) == {"1": 1, "2": 5}
    assert pool.quorum_up


def test_with_alpha_servers_are_added_after_success_only() -> None:
    pool = Pool(vs(rs(1, check(alpha=True)), rs(2)))
    assert table(pool) == {"2": 1}
    actions = pool.result(key(1), 0, True, "connected")
    assert [type(a) for a in actions] == [CheckChanged, ServerChanged]
    assert table(pool) == {"1": 1, "2": 1}


def test_a_server_without_checks_is_always_up() -> None:
    pool = Pool(vs(rs(1, checks=(), alpha=True), alpha=True))
    assert table(pool) == {"1": 1}
    assert pool.up(key(1))


def test_the_start_tells_of_servers_that_are_up() -> None:
    server = rs(1)
    pool = Pool(vs(server, rs(2, check(alpha=True))))
    assert pool.start() == [
        ServerChanged(server, True, Why.START),
        QuorumChanged(True, 1, 1, Why.START),
    ]


def test_at_start_without_quorum_the_sorry_server_serves_at_once() -> None:
    pool = Pool(vs(rs(1, check(alpha=True)), sorry_server=sorry()))
    assert table(pool) == {"200": 1}
    actions = pool.start()
    assert only(actions, QuorumChanged) == [QuorumChanged(False, 0, 1, Why.START)]
    assert only(actions, SorryChanged) == [SorryChanged(sorry(), True)]


def test_at_start_without_quorum_and_sorry_server_nothing_is_told() -> None:
    pool = Pool(vs(rs(1, check(alpha=True))))
    assert pool.start() == []
    assert not pool.quorum_up


def test_the_first_failure_of_a_server_that_starts_down_is_told_once() -> None:
    server = rs(1, check(1, alpha=True), check(2, alpha=True))
    pool = Pool(vs(server))
    assert pool.result(key(1), 0, False) == [FirstFailed(server)]
    assert pool.result(key(1), 1, False) == []
    assert pool.result(key(1), 0, False) == []
    # also that of the second check, when the first one works
    pool = Pool(vs(server))
    assert not only(pool.result(key(1), 0, True), ServerChanged)
    assert pool.result(key(1), 1, False) == [FirstFailed(server)]


def test_a_check_without_alpha_may_be_the_first_to_fail() -> None:
    server = rs(1, check(1, alpha=True), check(2))
    pool = Pool(vs(server))
    assert [type(a) for a in pool.result(key(1), 1, False)] == [CheckChanged, FirstFailed]
    assert pool.result(key(1), 0, False) == []


def test_a_server_that_was_up_has_no_first_failure() -> None:
    pool = Pool(vs(rs(1, check(alpha=True))))
    pool.result(key(1), 0, True)
    assert not only(pool.result(key(1), 0, False), FirstFailed)
    pool = Pool(vs(rs(1, check(alpha=True))))
    pool.result(key(1), 0, False)
    pool.reload(vs(rs(1, check(7, alpha=True))))
    assert pool.result(key(1), 0, False) == []


def test_inhibited_servers_of_alpha_start_with_weight_0() -> None:
    pool = Pool(vs(rs(1, check(alpha=True), inhibit_on_failure=True)))
    assert table(pool) == {"1": 0}


# ---- up and down ----


def test_a_server_is_up_while_none_of_its_checks_is_failed() -> None:
    pool = Pool(vs(rs(1, check(1), check(2)), rs(2)))
    assert only(pool.result(key(1), 0, False), ServerChanged)
    assert not only(pool.result(key(1), 1, False), ServerChanged)
    assert not only(pool.result(key(1), 0, True), ServerChanged)
    assert table(pool) == {"2": 1}
    assert pool.failed(key(1)) == {1}
    assert only(pool.result(key(1), 1, True), ServerChanged)
    assert table(pool) == {"1": 1, "2": 1}


def test_results_that_change_nothing_say_nothing() -> None:
    pool = Pool(vs(rs(1), rs(2)))
    assert pool.result(key(1), 0, True) == []
    assert pool.result(key(1), 0, False) != []
    assert pool.result(key(1), 0, False) == []


def test_a_check_says_why_and_whether_it_decided() -> None:
    first, second = check(1), check(2)
    server = rs(1, first, second)
    pool = Pool(vs(server, rs(2)))
    actions = pool.result(key(1), 0, False, "connection refused")
    assert actions[0] == CheckChanged(server, first, False, "connection refused", True)
    assert pool.result(key(1), 1, False, "status 503") == [
        CheckChanged(server, second, False, "status 503", False)
    ]


def test_a_failed_server_leaves_the_table() -> None:
    pool = Pool(vs(rs(1), rs(2)))
    pool.result(key(1), 0, False)
    assert table(pool) == {"2": 1}


def test_inhibit_on_failure_keeps_it_at_weight_0() -> None:
    pool = Pool(vs(rs(1, inhibit_on_failure=True, weight=7), rs(2)))
    pool.result(key(1), 0, False)
    assert table(pool) == {"1": 0, "2": 1}
    pool.result(key(1), 0, True)
    assert table(pool) == {"1": 7, "2": 1}


@pytest.mark.parametrize(("number", "position"), [(9, 0), (1, 1), (1, -1)])
def test_unknown_servers_and_checks_are_refused(number: int, position: int) -> None:
    pool = Pool(vs(rs(1)))
    with pytest.raises((KeyError, IndexError)):
        pool.result(key(number), position, False)
    with pytest.raises((KeyError, IndexError)):
        pool.weigh(key(number), position, Source(1))


# ---- quorum ----


def failing(pool: Pool, *numbers: int) -> list[Any]:
    return [a for n in numbers for a in pool.result(key(n), 0, False)]


def working(pool: Pool, *numbers: int) -> list[Any]:
    return [a for n in numbers for a in pool.result(key(n), 0, True)]


def test_quorum_is_lost_when_live_weight_is_below_it() -> None:
    pool = Pool(vs(rs(1), rs(2), rs(3), quorum=2))
    assert not only(failing(pool, 1), QuorumChanged)
    assert only(failing(pool, 2), QuorumChanged) == [QuorumChanged(False, 1, 2, Why.CHECK)]
    assert only(failing(pool, 3), QuorumChanged) == []


def test_without_a_sorry_server_the_remaining_servers_stay() -> None:
    pool = Pool(vs(rs(1), rs(2), quorum=2))
    failing(pool, 1)
    assert not pool.quorum_up
    assert table(pool) == {"2": 1}


def test_hysteresis_is_counted_both_ways() -> None:
    pool = Pool(vs(*(rs(n) for n in range(1, 8)), quorum=4, hysteresis=2))
    assert not only(failing(pool, 1, 2, 3, 4, 5), QuorumChanged)  # 2 = 4 - 2: still there
    assert only(failing(pool, 6), QuorumChanged) == [QuorumChanged(False, 1, 2, Why.CHECK)]
    assert not only(working(pool, 1, 2, 3, 4), QuorumChanged)  # 5 < 4 + 2: not yet
    assert only(working(pool, 5), QuorumChanged) == [QuorumChanged(True, 6, 6, Why.CHECK)]


def test_quorum_counts_weights() -> None:
    pool = Pool(vs(rs(1, weight=10), rs(2, weight=3), quorum=5))
    assert only(failing(pool, 1), QuorumChanged) == [QuorumChanged(False, 3, 5, Why.CHECK)]
    assert only(working(pool, 1), QuorumChanged) == [QuorumChanged(True, 13, 5, Why.CHECK)]


def test_no_live_weight_is_no_quorum_whatever_hysteresis_says() -> None:
    pool = Pool(vs(rs(1), rs(2), quorum=2, hysteresis=0))
    failing(pool, 1, 2)
    assert not pool.quorum_up
    pool = Pool(vs(rs(1, weight=0), quorum=1))
    assert not pool.quorum_up


def test_the_server_that_decides_is_told_before_the_quorum() -> None:
    pool = Pool(vs(rs(1), sorry_server=sorry()))
    down = [CheckChanged, ServerChanged, QuorumChanged, SorryChanged]
    assert [type(a) for a in failing(pool, 1)] == down
    assert [type(a) for a in working(pool, 1)] == down


# ---- sorry server ----


def test_the_sorry_server_takes_the_place_of_all() -> None:
    pool = Pool(vs(rs(1), rs(2), quorum=2, sorry_server=sorry()))
    assert only(failing(pool, 1), SorryChanged) == [SorryChanged(sorry(), True)]
    assert table(pool) == {"200": 1}
    assert not only(failing(pool, 2), SorryChanged)
    assert table(pool) == {"200": 1}
    working(pool, 2)
    assert table(pool) == {"200": 1}
    assert only(working(pool, 1), SorryChanged) == [SorryChanged(sorry(), False)]
    assert table(pool) == {"1": 1, "2": 1}


def test_an_inhibited_sorry_server_waits_with_weight_0() -> None:
    pool = Pool(vs(rs(1), sorry_server=sorry(inhibit=True)))
    assert table(pool) == {"1": 1, "200": 0}
    failing(pool, 1)
    assert table(pool) == {"200": 1}


def test_inhibited_servers_stay_at_weight_0_while_the_sorry_server_serves() -> None:
    pool = Pool(
        vs(
            rs(1, inhibit_on_failure=True),
            rs(2, inhibit_on_failure=True),
            quorum=2,
            sorry_server=sorry(),
        )
    )
    failing(pool, 1)
    assert table(pool) == {"1": 0, "2": 0, "200": 1}


def test_a_real_server_may_also_be_the_sorry_server() -> None:
    last = sorry(address="10.0.0.2")
    pool = Pool(vs(rs(1), rs(2), quorum=2, sorry_server=last))
    failing(pool, 1)
    assert table(pool) == {"2": 1}
    pool = Pool(
        vs(
            rs(1),
            rs(2, inhibit_on_failure=True),
            sorry_server=sorry(address="10.0.0.2", inhibit=True),
        )
    )
    failing(pool, 2)
    assert table(pool) == {"1": 1, "2": 0}
    failing(pool, 1)
    assert table(pool) == {"2": 1}


# ---- weights ----


def test_what_a_check_says_is_added_to_the_configured_weight() -> None:
    server = rs(1, weight=10)
    pool = Pool(vs(server))
    assert pool.weigh(key(1), 0, Source(5)) == [WeightChanged(server, True, 10, 15)]
    assert table(pool) == {"1": 15}
    assert pool.weigh(key(1), 0, Source(-3)) == [WeightChanged(server, True, 15, 7)]
    assert pool.weigh(key(1), 0, Source(-3)) == []
    assert pool.weigh(key(1), 0, Source()) == [WeightChanged(server, True, 7, 10)]


def test_a_check_may_say_the_weight_itself() -> None:
    pool = Pool(vs(rs(1, weight=10)))
    pool.weigh(key(1), 0, Source(weight_is=253))
    assert table(pool) == {"1": 253}
    pool.weigh(key(1), 0, Source(weight_is=0))
    assert table(pool) == {"1": 0}


def test_several_sources_add_up_as_differences() -> None:
    pool = Pool(vs(rs(1, check(1), check(2), weight=10)))
    pool.weigh(key(1), 0, Source(weight_is=12))
    pool.weigh(key(1), 1, Source(5))
    assert table(pool) == {"1": 17}


def test_the_sum_is_clamped_not_its_parts() -> None:
    pool = Pool(vs(rs(1, check(1), check(2), weight=10)))
    pool.weigh(key(1), 0, Source(-(2**31)))
    assert table(pool) == {"1": 0}
    pool.weigh(key(1), 1, Source(2**31 - 5))
    assert table(pool) == {"1": 5}
    pool.weigh(key(1), 0, Source(2**31 - 1))
    assert table(pool) == {"1": 2**31 - 1}


def test_weights_move_the_quorum() -> None:
    pool = Pool(vs(rs(1, weight=10), quorum=5))
    actions = pool.weigh(key(1), 0, Source(-6))
    assert only(actions, QuorumChanged) == [QuorumChanged(False, 4, 5, Why.CHECK)]
    actions = pool.weigh(key(1), 0, Source(-5))
    assert only(actions, QuorumChanged) == [QuorumChanged(True, 5, 5, Why.CHECK)]


def test_the_weight_of_a_failed_server_moves_nothing() -> None:
    server = rs(1, weight=10)
    pool = Pool(vs(server, rs(2)))
    failing(pool, 1)
    assert pool.weigh(key(1), 0, Source(90)) == [WeightChanged(server, False, 10, 100)]
    assert pool.live_weight == 1
    working(pool, 1)
    assert table(pool) == {"1": 100, "2": 1}


# ---- reload ----


def test_a_reload_keeps_the_state_of_what_stays() -> None:
    pool = Pool(vs(rs(1), rs(2), rs(3)))
    failing(pool, 1)
    assert pool.reload(vs(rs(3), rs(2, weight=4), rs(1))) == [
        WeightChanged(rs(2, weight=4), True, 1, 4)
    ]
    assert table(pool) == {"3": 1, "2": 4}


def test_positions_alpha_and_logging_make_no_other_check() -> None:
    pool = Pool(vs(rs(1), rs(2)))
    failing(pool, 1)
    assert pool.reload(vs(rs(1, check(alpha=True, log_all_failures=True)), rs(2))) == []
    assert table(pool) == {"2": 1}


def test_a_removed_server_is_told_down() -> None:
    server = rs(1)
    pool = Pool(vs(server, rs(2), rs(3)))
    failing(pool, 3)
    actions = pool.reload(vs(rs(2)))
    assert actions == [ServerChanged(server, False, Why.REMOVED)]


def test_new_servers_start_as_at_the_start() -> None:
    new, slow = rs(2), rs(3, check(alpha=True))
    pool = Pool(vs(rs(1)))
    assert pool.reload(vs(rs(1), new, slow)) == [ServerChanged(new, True, Why.START)]
    assert table(pool) == {"1": 1, "2": 1}


def test_a_new_check_takes_no_working_server_out() -> None:
    pool = Pool(vs(rs(1)))
    assert pool.reload(vs(rs(1, check(1), check(2, alpha=True)))) == []
    assert table(pool) == {"1": 1}


def test_a_changed_check_does_not_bring_a_failed_server_back_by_itself() -> None:
    pool = Pool(vs(rs(1), rs(2)))
    failing(pool, 1)
    assert pool.reload(vs(rs(1, check(7)), rs(2))) == []
    assert table(pool) == {"2": 1}
    working(pool, 1)
    assert table(pool) == {"1": 1, "2": 1}


def test_a_new_check_beside_the_failing_one_waits_for_nothing() -> None:
    pool = Pool(vs(rs(1, check(1)), rs(2)))
    failing(pool, 1)
    pool.reload(vs(rs(1, check(1), check(2)), rs(2)))
    working(pool, 1)
    assert table(pool) == {"1": 1, "2": 1}


def test_with_alpha_it_waits_for_its_own_success() -> None:
    pool = Pool(vs(rs(1, check(1)), rs(2)))
    failing(pool, 1)
    pool.reload(vs(rs(1, check(1), check(2, alpha=True)), rs(2)))
    working(pool, 1)
    assert table(pool) == {"2": 1}
    pool.result(key(1), 1, True)
    assert table(pool) == {"1": 1, "2": 1}


def test_without_its_failing_check_a_server_is_up() -> None:
    server = rs(1, check(1))
    pool = Pool(vs(rs(1, check(1), check(2)), rs(2)))
    pool.result(key(1), 1, False)
    assert pool.reload(vs(server, rs(2))) == [ServerChanged(server, True, Why.CHECK)]


def test_checks_are_found_again_at_other_positions() -> None:
    pool = Pool(vs(rs(1, check(1), check(2), check(3), weight=10)))
    pool.result(key(1), 2, False)
    pool.weigh(key(1), 1, Source(5))
    pool.reload(vs(rs(1, check(3), check(1), check(2), weight=10)))
    assert pool.failed(key(1)) == {0}
    assert pool.weight(key(1)) == 15


def test_equal_checks_of_a_server_are_kept_apart() -> None:
    pool = Pool(vs(rs(1, check(1), check(1))))
    pool.result(key(1), 1, False)
    pool.reload(vs(rs(1, check(1), check(1))))
    assert pool.failed(key(1)) == {1}


def test_a_said_weight_stays_when_the_configured_one_changes() -> None:
    pool = Pool(vs(rs(1, weight=10), rs(2, weight=10)))
    pool.weigh(key(1), 0, Source(weight_is=3))
    pool.weigh(key(2), 0, Source(3))
    pool.reload(vs(rs(1, weight=50), rs(2, weight=50)))
    assert table(pool) == {"1": 3, "2": 53}


def test_another_quorum_counts_at_once() -> None:
    pool = Pool(vs(rs(1), rs(2), quorum=1))
    failing(pool, 1)
    actions = pool.reload(vs(rs(1), rs(2), quorum=2, sorry_server=sorry()))
    assert actions == [QuorumChanged(False, 1, 2, Why.CHECK), SorryChanged(sorry(), True)]
    actions = pool.reload(vs(rs(1), rs(2), quorum=1, sorry_server=sorry()))
    assert actions == [QuorumChanged(True, 1, 1, Why.CHECK), SorryChanged(sorry(), False)]


def test_a_sorry_server_that_comes_late_serves_without_the_quorum_being_told_again() -> None:
    pool = Pool(vs(rs(1)))
    failing(pool, 1)
    assert pool.reload(vs(rs(1), sorry_server=sorry())) == [SorryChanged(sorry(), True)]
    assert table(pool) == {"200": 1}


def test_another_sorry_server_takes_over() -> None:
    new = sorry(address="10.0.0.201")
    pool = Pool(vs(rs(1), sorry_server=sorry()))
    failing(pool, 1)
    assert pool.reload(vs(rs(1), sorry_server=new)) == [
        SorryChanged(sorry(), False),
        SorryChanged(new, True),
    ]
    assert table(pool) == {"201": 1}


# ---- the end ----


def test_the_end_takes_everything_down_servers_first() -> None:
    up, down = rs(1), rs(2)
    pool = Pool(vs(up, down))
    failing(pool, 2)
    assert pool.stop() == [
        ServerChanged(up, False, Why.STOP),
        QuorumChanged(False, 0, 1, Why.STOP),
    ]
    assert pool.desired() == []
    assert pool.stop() == []
    assert pool.result(key(2), 0, True) == []
    assert pool.weigh(key(1), 0, Source(9)) == []


def test_a_missing_quorum_is_told_again_at_the_end_but_not_by_a_reload() -> None:
    for why, told in ((Why.REMOVED, []), (Why.STOP, [QuorumChanged(False, 0, 1, Why.STOP)])):
        pool = Pool(vs(rs(1), sorry_server=sorry()))
        failing(pool, 1)
        assert pool.stop(why) == told
