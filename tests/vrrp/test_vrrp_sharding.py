"""Which engine thread has which links: together what belongs together, sticky, balanced."""

from __future__ import annotations

from collections import Counter

from hypothesis import assume, given
from hypothesis import strategies as st

from fastvrrp.vrrp.sharding import Move, Resident, assign, moves

THREADS = st.integers(2, 5)
LINKS = st.integers(0, 15)
WEIGHTS = st.dictionaries(LINKS, st.integers(1, 1000), max_size=16)
TIES = st.lists(st.lists(LINKS, max_size=4), max_size=5)


def loads(places: dict[int, int], weights: dict[int, int], threads: int) -> list[int]:
    total = [0] * threads
    for link, weight in weights.items():
        total[places[link]] += weight
    return total


def residents(places: dict[int, int], counts: dict[int, int]) -> list[Resident]:
    """So many instances on each link, each tracking the next link."""
    found: list[Resident] = []
    for link, thread in places.items():
        for _ in range(counts.get(link, 1)):
            found.append(Resident(len(found), thread, link, frozenset({(link + 1) % 16})))
    return found


def components(links: set[int], ties: list[list[int]]) -> list[set[int]]:
    """By brute force."""
    parts = [{link} for link in links]
    for tie in ties:
        touched = [part for part in parts if part & set(tie)]
        parts = [part for part in parts if part not in touched]
        parts += [set().union(*touched)] if touched else []
    return parts


@given(THREADS, WEIGHTS, TIES)
def test_what_is_tied_is_together(
    threads: int, weights: dict[int, int], ties: list[list[int]]
) -> None:
    places = assign(threads, weights, [], ties)
    assert places.keys() == weights.keys()
    assert set(places.values()) <= set(range(threads))
    for tie in ties:
        assert len({places[link] for link in tie if link in weights}) <= 1


@given(THREADS, WEIGHTS, TIES)
def test_a_start_is_balanced(threads: int, weights: dict[int, int], ties: list[list[int]]) -> None:
    """As well as any order of filling allows: the fullest thread without its last part is no
    fuller than the average."""
    places = assign(threads, weights, [], ties)
    parts = components(set(weights), ties)
    largest = max((sum(weights[link] for link in part) for part in parts), default=0)
    fullest = max(loads(places, weights, threads))
    assert fullest <= sum(weights.values()) / threads + largest
    if len(parts) >= threads:
        assert min(loads(places, weights, threads)) > 0


@given(THREADS, WEIGHTS, TIES, WEIGHTS, st.data())
def test_what_runs_stays(
    threads: int,
    weights: dict[int, int],
    ties: list[list[int]],
    other: dict[int, int],
    data: st.DataObject,
) -> None:
    """A reload that ties nothing new together moves nothing, whatever comes and goes."""
    linked = components(weights.keys() | other.keys(), ties)
    # a new link may be what connects two others
    assume(
        all(
            part & weights.keys() in components(set(weights), ties)
            for part in linked
            if part & weights.keys()
        )
    )
    before = assign(threads, weights, [], ties)
    running = residents(before, {})
    fewer = [tie for tie in ties if data.draw(st.booleans())]
    after = assign(threads, other, running, [*fewer, *ties])
    assert moves(running, after) == []
    assert {link: after[link] for link in before} == before
    assert after.keys() == weights.keys() | other.keys()


@given(THREADS, WEIGHTS, TIES, TIES, st.dictionaries(LINKS, st.integers(1, 9)))
def test_the_smaller_part_follows_the_larger(
    threads: int,
    weights: dict[int, int],
    old: list[list[int]],
    new: list[list[int]],
    counts: dict[int, int],
) -> None:
    before = assign(threads, weights, [], old)
    running = residents(before, counts)
    after = assign(threads, weights, running, [*old, *new])
    for part in components(set(weights), [*old, *new]):
        assert len({after[link] for link in part}) == 1
        sizes: Counter[int] = Counter()
        for resident in running:
            if resident.link in part:
                sizes[resident.thread] += 1
        there = after[next(iter(part))]
        assert sizes[there] == max(sizes.values())
        if len(sizes) == 1:
            assert set(sizes) == {there}
    moved = moves(running, after)
    assert {(m.giver, m.receiver) for m in moved} == {
        (r.thread, after[r.link]) for r in running if r.thread != after[r.link]
    }
    for move in moved:
        leaving = [r for r in running if (r.thread, after[r.link]) == (move.giver, move.receiver)]
        assert move.instances == [r.slot for r in leaving]
        assert set(move.links) == {r.link for r in leaving}
        assert move.tracked == set().union(*(r.tracked for r in leaving)) - set(move.links)


@given(THREADS, WEIGHTS, TIES)
def test_the_same_question_has_the_same_answer(
    threads: int, weights: dict[int, int], ties: list[list[int]]
) -> None:
    mirrored = dict(reversed(weights.items()))
    assert assign(threads, weights, [], ties) == assign(threads, mirrored, [], ties[::-1])


def test_the_busiest_links_are_spread_first() -> None:
    weights = {0: 1, 1: 1, 2: 1, 3: 10, 4: 9, 5: 1}
    places = assign(2, weights, [], [])
    assert loads(places, weights, 2) == [12, 11]
    assert places[3] != places[4]


def test_a_new_link_goes_where_least_is_sent() -> None:
    """However many instances are there already."""
    running = [Resident(slot, 0, 0, frozenset()) for slot in range(9)]
    running.append(Resident(9, 1, 1, frozenset()))
    assert assign(2, {0: 9, 1: 100, 2: 5}, running, []) == {0: 0, 1: 1, 2: 0}


def test_a_new_link_may_tie_two_that_run() -> None:
    running = [Resident(0, 0, 0, frozenset()), Resident(1, 1, 1, frozenset())]
    places = assign(2, {0: 1, 1: 1, 11: 1}, running, [[0, 11], [1, 11]])
    assert places == {0: 0, 1: 0, 11: 0}
    assert moves(running, places) == [Move(1, 0, [1], [1], set())]


def test_a_chain_of_ties_is_one_part() -> None:
    running = [Resident(link, link % 2, link, frozenset({9})) for link in range(3)]
    places = assign(2, dict.fromkeys(range(4), 1), running, [[0, 1], [1, 2], [2, 3]])
    assert places == dict.fromkeys(range(4), 0)
    assert moves(running, places) == [Move(1, 0, [1], [1], {9})]
