"""From what runs and what is wanted to a distribution over engine threads (sharding.py)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from fastvrrp.config import model
from fastvrrp.net.observed import Observed
from fastvrrp.vrrp import sharding
from fastvrrp.vrrp.draft import Draft, Running
from fastvrrp.vrrp.links import link_key, own_link
from fastvrrp.vrrp.reload import Pair
from fastvrrp.vrrp.shards import Shards

RATE = 1000 * model.NS_PER_S  # adverts in so many nanoseconds are the weight of an instance


class Placer:
    """Decides for one reload. Nothing may change between the two steps."""

    def __init__(
        self, shards: Shards, running: Mapping[str, Running], old: model.Configuration
    ) -> None:
        """`running` and `old`: what is in effect."""
        self._shards = shards
        self._running = running
        self._old = old
        self._places: dict[int, int] = {}
        self._links: dict[str, int] = {}  # own link slots of the wanted instances, by name

    def assign(self, draft: Draft, observed: Observed) -> Sequence[Pair]:
        """Choose a thread for every link; returns the instances in the order in which they should
        get their slots: those of a thread are neighbours, so that no page of memory is needed by
        two of them."""
        pairs, slots = draft.plan.pairs, draft.links
        self._links = {pair.new.name: slots[own_link(pair.new, observed)] for pair in pairs}
        weights: dict[int, int] = {}
        for pair in pairs:
            link = self._links[pair.new.name]
            weights[link] = weights.get(link, 0) + RATE // pair.new.advert_int_ns
        self._places = sharding.assign(
            len(self._shards), weights, self._residents(), self._ties(draft, observed)
        )
        return sorted(pairs, key=lambda pair: self._places[self._links[pair.new.name]])

    def _residents(self) -> Iterator[sharding.Resident]:
        for running in self._running.values():
            record = running.record
            yield sharding.Resident(
                running.slot,
                self._shards.thread(running.slot),
                record.link,
                frozenset(link for link, _, _ in record.tracks),
            )

    def _ties(self, draft: Draft, observed: Observed) -> Iterator[list[int]]:
        """What belongs together in the wanted configuration, and what cannot be torn apart before
        it is in effect."""
        configuration = draft.configuration
        for group in configuration.sync_groups:
            yield _known(self._links, group.members)
        for garp_group in configuration.garp_groups:
            keys = [link_key(name, observed) for name in garp_group.interfaces]
            yield _known(draft.links.slots, keys)
        before = {name: running.record.link for name, running in self._running.items()}
        for group in self._old.sync_groups:
            yield _known(before, group.members)
        for pair in draft.plan.pairs:
            if pair.old is not None:  # it may find its interface under another name now
                yield [before[pair.old.name], self._links[pair.new.name]]

    def placement(self, draft: Draft) -> sharding.Placement:
        """The distribution of a draft whose entries are complete."""
        watchers: dict[int, set[int]] = {}
        instances: dict[int, int] = {}
        for entry in draft.entries:
            record, thread = entry.running.record, self._places[entry.running.record.link]
            instances[entry.running.slot] = thread
            for link in (record.link, *(link for link, _, _ in record.tracks)):
                watchers.setdefault(link, set()).add(thread)
        # Links that are only looked at are told of by one of those who do.
        links = {link: min(watchers.get(link, {0})) for link in draft.links.slots.values()}
        moves = sharding.moves(self._residents(), self._places)
        return sharding.Placement(links | self._places, instances, watchers, moves)


def _known(slots: Mapping[str, int], names: Iterable[str]) -> list[int]:
    return [slots[name] for name in names if name in slots]
