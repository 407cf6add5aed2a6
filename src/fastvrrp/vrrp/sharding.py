"""Which engine thread has which links (vrrp_engine_threads). Pure.

A link is never shared: its sockets, its pacing and all its instances belong to one thread. The
links of a sync group's members and those of a garp_group belong together, too. What runs stays
where it is; only when something new ties links of two threads together does the smaller part
follow the larger one. New links go where the least is to be sent.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import msgspec


class Resident(NamedTuple):
    """An instance that runs."""

    slot: int
    thread: int
    link: int  # slot of its own link
    tracked: frozenset[int]  # slots of the links it tracks


class Move(msgspec.Struct):
    """Links, with everything that runs on them, that go from one thread to another."""

    giver: int
    receiver: int
    links: list[int] = []
    instances: list[int] = []  # slots
    tracked: set[int] = set()  # links that these instances depend on besides


class Placement(msgspec.Struct):
    """A distribution: threads by number from 0, links and instances by slot."""

    links: dict[int, int] = {}  # the thread that has their sockets, if they have any
    instances: dict[int, int] = {}
    watchers: dict[int, set[int]] = {}  # by link: threads in which somebody depends on it
    moves: list[Move] = []  # to be done before anything of the new configuration


def assign(
    threads: int,
    weights: Mapping[int, int],
    residents: Iterable[Resident],
    ties: Iterable[Iterable[int]],
) -> dict[int, int]:
    """The thread of each link that has instances now or will have some.

    `weights` are the links that will, each with what is to be sent there; `ties` are sets of links
    that belong together now or will. Links without instances in them are ignored.
    """
    running: dict[int, Counter[int]] = {link: Counter() for link in weights}
    for resident in residents:
        running.setdefault(resident.link, Counter())[resident.thread] += 1
    loads = [0] * threads
    found: dict[int, int] = {}
    fresh: list[tuple[int, list[int]]] = []
    for links in _components(running, ties):
        weight = sum(weights.get(link, 0) for link in links)
        votes = sum((running[link] for link in links), Counter[int]())
        if not votes:
            fresh.append((weight, links))
            continue
        thread = min(votes, key=lambda thread: (-votes[thread], thread))
        loads[thread] += weight
        found.update(dict.fromkeys(links, thread))
    for weight, links in sorted(fresh, key=lambda part: (-part[0], part[1])):
        thread = loads.index(min(loads))
        loads[thread] += weight
        found.update(dict.fromkeys(links, thread))
    return found


def _components(links: Iterable[int], ties: Iterable[Iterable[int]]) -> list[list[int]]:
    """The links, those together that a chain of ties leads to; in order."""
    leader = {link: link for link in links}

    def find(link: int) -> int:
        while leader[link] != link:
            leader[link] = link = leader[leader[link]]
        return link

    for tie in ties:
        tied = [find(link) for link in tie if link in leader]
        for link in tied:
            leader[find(link)] = find(tied[0])
    parts: dict[int, list[int]] = {}
    for link in sorted(leader):
        parts.setdefault(find(link), []).append(link)
    return list(parts.values())


def moves(residents: Iterable[Resident], places: Mapping[int, int]) -> list[Move]:
    """What has to move so that everything that runs is where `places` has its link."""
    found: dict[tuple[int, int], Move] = {}
    for resident in residents:
        way = (resident.thread, places[resident.link])
        if way[0] == way[1]:
            continue
        move = found.setdefault(way, Move(*way))
        move.instances.append(resident.slot)
        move.tracked |= resident.tracked
        if resident.link not in move.links:
            move.links.append(resident.link)
    for move in found.values():
        move.tracked.difference_update(move.links)
    return list(found.values())
