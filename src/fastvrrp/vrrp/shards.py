"""Several engine threads that look like one engine (vrrp_engine_threads).

Slots of instances, links and groups mean the same in all of them, each thread just has some of them
only (sharding.py says which). So what a thread tells is passed on as it is, but for what one engine
would have told once: a commit, the end, an interface that several threads look at.
"""

from __future__ import annotations

import logging
import select
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from typing import Any

from fastvrrp import _core
from fastvrrp.vrrp.draft import BusyError
from fastvrrp.vrrp.sharding import Move, Placement

log = logging.getLogger(__name__)

_LARGEST = ("lateness_ns_max",)  # counters that do not add up


class Shards:
    """The surface of _core.Engine over several engines of one size, and where everything is."""

    def __init__(self, engines: Sequence[_core.Engine]) -> None:
        self._engines = tuple(engines)
        self._instances: dict[int, int] = {}  # number of the engine by slot
        self._links: dict[int, int] = {}  # the same: that which has the sockets
        # Engines that are told of a link. None is ever taken out: somebody there may depend on it
        # until the next commit, and who was told once must hear when the interface goes.
        self._watchers: dict[int, set[int]] = {}
        self._ifindex: dict[int, int] = {}  # of links, as told last
        self._how: dict[int, dict[str, Any]] = {}  # what else every engine is told of a link
        self._commits: deque[tuple[int, set[int]]] = deque()  # epoch, and who has not confirmed it
        self._going: set[int] = set()  # engines that have not confirmed the end
        self._givers: list[int] = []  # whose events are older than those of who has their links now
        self._first = 0
        self._shares = ""  # as logged last
        self._bells = select.epoll()
        for engine in engines:
            self._bells.register(engine.fileno(), select.EPOLLIN)

    def __len__(self) -> int:
        return len(self._engines)

    # ---------------------------------------------------------------- life

    @property
    def rt_errno(self) -> int:
        """Errno of the first refusal of real-time scheduling, 0 when all got it."""
        return next((e.rt_errno for e in self._engines if e.rt_errno), 0)

    def start(self) -> None:
        """Raises OSError; none runs then."""
        started: list[_core.Engine] = []
        try:
            for engine in self._engines:
                engine.start()
                started.append(engine)
        except OSError:
            for engine in started:
                engine.stop()
                engine.join()
            raise

    def stop_instances(self) -> None:
        self._going = set(range(len(self._engines)))
        for engine in self._engines:
            engine.stop_instances()

    def stop(self) -> None:
        for engine in self._engines:
            engine.stop()

    def join(self, timeout_s: float | None = None) -> bool:
        """`timeout_s` is for each of them."""
        ended = [engine.join(timeout_s) for engine in self._engines]
        return all(ended)

    # ---------------------------------------------------------------- where things are

    def thread(self, slot: int) -> int:
        """Number of the engine that has an instance."""
        return self._instances[slot]

    def place(self, placement: Placement) -> None:
        """Distribute as said from now on; what runs moves without being noticed.

        Raises BusyError when an engine cannot give something away now.
        """
        for move in placement.moves:
            self._move(move)
        self._instances.update(placement.instances)
        self._links.update(placement.links)
        for link, owner in placement.links.items():
            for thread in sorted(placement.watchers.get(link, set()) | {owner}):
                self._make_known(link, thread)
        counts = Counter(placement.instances.values())
        shares = ", ".join(str(counts[thread]) for thread in range(len(self._engines)))
        if shares != self._shares:
            log.info("instances by engine thread: %s", shares)
            self._shares = shares

    def _move(self, move: Move) -> None:
        for link in move.tracked:
            self._make_known(link, move.receiver)
        giver, receiver = self._engines[move.giver], self._engines[move.receiver]
        if not giver.hand_over(receiver, links=move.links, instances=move.instances):
            raise BusyError(
                "the kernel is too busy with addresses for virtual routers to change threads: "
                "try again"
            )
        self._instances.update(dict.fromkeys(move.instances, move.receiver))
        for link in move.links:
            self._links[link] = move.receiver
            self._watchers.setdefault(link, set()).add(move.receiver)
        if move.giver not in self._givers:
            self._givers.append(move.giver)

    def _make_known(self, link: int, thread: int) -> None:
        """Have an engine follow whether a link is up."""
        watchers = self._watchers.setdefault(link, set())
        if thread not in watchers:
            watchers.add(thread)
            if self._ifindex.get(link):
                how = self._how[link]
                self._engines[thread].link(link, ifindex=self._ifindex[link], families=0, **how)

    # ---------------------------------------------------------------- links

    def link(self, slot: int, *, ifindex: int, **spec: Any) -> None:
        """Sockets are its owner's; the others that depend on it are told of the interface only.

        Raises OSError; nobody was told then.
        """
        owner = self._links[slot]
        self._engines[owner].link(slot, ifindex=ifindex, **spec)
        delays = ("down_delay_ns", "up_delay_ns")
        how: dict[str, Any] = {name: spec[name] for name in delays if name in spec}
        for thread in sorted(self._watchers[slot] - {owner}):
            self._engines[thread].link(slot, ifindex=ifindex, families=0, **how)
        self._ifindex[slot] = ifindex
        self._how[slot] = how

    def accept(self, slot: int, **filters: Any) -> None:
        self._engines[self._links[slot]].accept(slot, **filters)

    def link_up(self, slot: int) -> bool:
        return self._engines[self._links[slot]].link_up(slot)

    # ---------------------------------------------------------------- instances

    def commit(
        self, instances: list[_core.Instance], *, remove: list[int] | None = None, epoch: int
    ) -> None:
        """One change; atomic for whatever belongs together. An empty one is confirmed by all."""
        parts: dict[int, tuple[list[_core.Instance], list[int]]] = {}
        for instance in instances:
            parts.setdefault(self._instances[instance.slot], ([], []))[0].append(instance)
        for slot in remove or ():
            parts.setdefault(self._instances[slot], ([], []))[1].append(slot)
        if not parts:
            parts = {thread: ([], []) for thread in range(len(self._engines))}
        self._commits.append((epoch, set(parts)))
        for thread, (new, gone) in parts.items():
            self._engines[thread].commit(new, remove=gone, epoch=epoch)

    def _owner(self, slot: int) -> _core.Engine:
        return self._engines[self._instances[slot]]

    def fault(self, slot: int, *, set: int = 0, clear: int = 0) -> None:
        self._owner(slot).fault(slot, set=set, clear=clear)

    def adjust(self, slot: int, total: int) -> None:
        self._owner(slot).adjust(slot, total)

    def replay(self, slot: int) -> None:
        self._owner(slot).replay(slot)

    def status(self, slot: int) -> _core.Status:
        """Raises KeyError for an empty slot."""
        return self._owner(slot).status(slot)

    def sequence(self, slot: int) -> int:
        return self._owner(slot).sequence(slot)

    def group_state(self, slot: int) -> int:
        """Members of a group are in one engine; it is INIT in all others."""
        return max(engine.group_state(slot) for engine in self._engines)

    # ---------------------------------------------------------------- events

    def fileno(self) -> int:
        return self._bells.fileno()

    def events(self, limit: int = 512) -> list[_core.Event]:
        """Of all engines, as far as possible in the order of their times."""
        found: list[_core.Event] = []
        sources = 0
        for thread in self._order():
            before = len(found)
            while (room := limit - len(found)) > 0:
                batch = self._engines[thread].events(room)
                found += [told for event in batch for told in self._told(thread, event)]
                if len(batch) < room:
                    self._exhausted(thread)
                    break
            sources += len(found) > before
        if sources > 1:
            found.sort(key=lambda event: event.now_ns)
        return found

    def _order(self) -> list[int]:
        """A giver is read to its end before who has its links now; the others take turns."""
        count = len(self._engines)
        self._first = (self._first + 1) % count
        turns = [(self._first + k) % count for k in range(count)]
        return [*self._givers, *(thread for thread in turns if thread not in self._givers)]

    def _exhausted(self, thread: int) -> None:
        if thread in self._givers:
            self._givers.remove(thread)

    def _told(self, thread: int, event: _core.Event) -> Iterator[_core.Event]:
        """What one engine would have told."""
        if event.kind == _core.EV_LINK:
            if self._links.get(event.slot) == thread:
                yield event
        elif event.kind == _core.EV_COMMITTED:
            epoch = self._confirm(thread, event.a)
            if epoch:
                yield event._replace(a=epoch)
        elif event.kind == _core.EV_STOPPED:
            self._going.discard(thread)
            if not self._going:
                yield event
        else:
            yield event

    def _confirm(self, thread: int, epoch: int) -> int:
        """An engine has committed `epoch`, and all of its own before. Returns the last epoch that
        all have confirmed by this, 0 if there is none."""
        for asked, waiting in self._commits:
            if asked <= epoch:
                waiting.discard(thread)
        confirmed = 0
        while self._commits and not self._commits[0][1]:
            confirmed, _ = self._commits.popleft()
        return confirmed

    def overflowed(self) -> bool:
        lost = [engine.overflowed() for engine in self._engines]
        return any(lost)

    # ---------------------------------------------------------------- counters

    def counters(self) -> dict[str, int]:
        """Sums; of what is a maximum, the largest."""
        each = [engine.counters() for engine in self._engines]
        return {
            name: (max if name in _LARGEST else sum)(counters[name] for counters in each)
            for name in each[0]
        }

    def lateness(self) -> list[int]:
        """Histogram of all together: see _core.Engine.lateness."""
        return [sum(counts) for counts in zip(*self.lateness_of_each(), strict=True)]

    def lateness_of_each(self) -> list[list[int]]:
        return [engine.lateness() for engine in self._engines]


Engine = _core.Engine | Shards
