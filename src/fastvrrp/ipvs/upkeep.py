"""Keeps the kernel's table as it is wanted, whoever changes it.

What virtual servers want is set with `want`; what differs from what was seen in the kernel is
brought there, together with everything else that was wanted in the same turn of the loop. The cost
of a change is that of its services, not of the table.

IPVS does not tell when somebody else changes it. So all of our services are looked at again and
again, a few at a time, spread over a round that takes 200 times as long as the looking, at least
5 s: what another program changed is put back within a round, for half a percent of a processor.
"""

from __future__ import annotations

import asyncio
import errno
import logging
from collections import Counter
from collections.abc import Iterable, Mapping

from fastvrrp.config.servers import Timeouts
from fastvrrp.ipvs.journal import Contents, Journal
from fastvrrp.ipvs.objects import (
    Daemon,
    DestinationKey,
    Destinations,
    Entries,
    Entry,
    Role,
    Service,
    ServiceKey,
)
from fastvrrp.ipvs.reconcile import steps
from fastvrrp.ipvs.settings import Settings
from fastvrrp.ipvs.table import Failure, Table, Verb

log = logging.getLogger(__name__)

ROUND_MIN_S = 5.0
ROUND_MAX_S = 120.0
SHARE = 200  # a round is so many times as long as the work in it
GUESS_S = 0.0002  # of work for each service, until it is known; the first look is the longest
PORTION = 64  # services looked at together
ATTEMPTS = 3  # to bring a service there before the next round has its turn
SHOWN = 5  # lines about one cause
RETRY_S = 1.0  # after the kernel could not be asked
RETRY_MAX_S = 30.0

# What says that the table is not as it was seen last
_STALE = {
    Verb.ADD_SERVICE: (errno.EEXIST,),
    Verb.EDIT_SERVICE: (errno.ESRCH,),
    Verb.DELETE_SERVICE: (errno.ESRCH,),
    Verb.ADD_DESTINATION: (errno.EEXIST, errno.ESRCH),
    Verb.EDIT_DESTINATION: (errno.ENOENT, errno.ESRCH),
    Verb.DELETE_DESTINATION: (errno.ENOENT, errno.ESRCH),
}


class Upkeep:
    """All methods belong to the event loop. The table is owned.

    Order of calls: `start`, `want_all`, then `want`, `want_all` and `want_settings` at any time,
    `clear` (to take everything away) or not (to leave it serving), `close`. A service is wanted
    by one virtual server at most; of two the last that said so counts.
    """

    def __init__(
        self,
        table: Table,
        journal: Journal,
        *,
        round_s: float = ROUND_MIN_S,
        retry_s: float = RETRY_S,
    ) -> None:
        """`round_s` is the shortest round of looks; `retry_s` the pause after the kernel could not
        be asked, twice as long each time."""
        self.settings = Settings(table, self._note)
        self.mended = 0  # services found changed by others
        # What the kernel does not take, by service and destination (None: the service itself)
        self.refused: dict[ServiceKey, dict[DestinationKey | None, Failure]] = {}
        self._table = table
        self._journal = journal
        self._wanted: dict[str, Entries] = {}
        self._desired: Entries = {}
        self._observed: Entries = {}  # as last seen, or as the kernel said it made it
        self._mine: dict[ServiceKey, None] = {}  # what we may have in the kernel
        self._left: dict[ServiceKey, None] = {}  # by an earlier process; for `want_all`
        self._filling: dict[ServiceKey, None] = {}  # being made, or left by who made them
        self._dirty: dict[ServiceKey, None] = {}
        self._doubtful: dict[ServiceKey, None] = {}  # `_observed` may be wrong
        self._lock = asyncio.Lock()  # between what changes and what looks
        self._work: asyncio.Task[None] | None = None
        self._watch: asyncio.Task[None] | None = None
        self._retry: asyncio.TimerHandle | None = None
        self._retry_first_s = self._retry_s = retry_s
        self._round_min_s = round_s
        self._complaint = ""

    @property
    def changes(self) -> int:
        """Changes of services and destinations that the kernel was asked for so far."""
        return self._table.changes

    # -- life

    async def start(self, *, flush: bool = False) -> Entries:
        """Look at the table and take over what an earlier process left; returns all of it.

        With `flush` (lvs_flush) every service counts as left behind: those that `want_all` does
        not name are removed, the others go on with their connections. Raises OSError.
        """
        observed = await self._table.dump()
        journal = self._journal.read()
        self._observed = dict(observed)
        left = observed if flush else (key for key in journal.services if key in observed)
        self._left = dict.fromkeys(left)
        self._mine = dict(self._left)
        self._filling = dict.fromkeys(key for key in journal.filling if key in observed)
        self.settings.start(journal.daemons, journal.timeouts)
        self._note()  # what is gone is not ours if somebody makes it again
        self._watch = asyncio.create_task(self._look_again_and_again())
        return observed

    def want_all(self, wanted: Mapping[str, Entries]) -> None:
        """Everything that is wanted, by virtual server. What no one wants any more is removed."""
        for owner in self._wanted.keys() - wanted.keys():
            self.want(owner, {})
            del self._wanted[owner]
        for owner, entries in wanted.items():
            self.want(owner, entries)
        self._dirty.update(self._left)
        self._left = {}
        self._go()

    def want(self, owner: str, entries: Entries) -> None:
        """Replace what one virtual server wants. Not to be changed afterwards."""
        old = self._wanted.get(owner, {})
        self._wanted[owner] = entries
        for key, entry in entries.items():
            if old.get(key) is entry:
                continue
            if self._desired.get(key) != entry:
                self._dirty[key] = None
            self._desired[key] = entry
        for key in old.keys() - entries.keys():
            if self._desired.get(key) is old[key]:  # else another's by now
                del self._desired[key]
                self._dirty[key] = None
        self._go()

    async def want_settings(self, timeouts: Timeouts, daemons: Mapping[Role, Daemon]) -> None:
        """Connection timeouts and sync daemons; returns when they are set, or could not be."""
        self.settings.want(timeouts, daemons)
        self._note()
        await self.settings.look()
        self._note()

    async def settled(self) -> None:
        """Return once all that is wanted is in the kernel, or the kernel has refused it or could
        not be asked."""
        while self._work is not None:
            await asyncio.wait((self._work,))

    async def clear(self, *, flush: bool = False) -> None:
        """Take away all that is ours, with `flush` (lvs_flush_on_stop) all that there is."""
        await _end(self._watch)
        self.want_all({})
        if flush:
            try:
                await self._table.flush()
            except OSError as error:
                log.error("cannot flush the IPVS table: %s", error.strerror)
            else:
                self._observed.clear()
        await self.want_settings(Timeouts(), {})
        await self.settled()
        if not self._mine and not self.settings.roles and self.settings.found == Timeouts():
            self._journal.remove()

    async def close(self) -> None:
        """Stop; the table stays as it is."""
        if self._retry is not None:
            self._retry.cancel()
        await _end(self._watch)
        await _end(self._work)
        self._table.close()

    # -- bringing it there

    def _go(self) -> None:
        """Everything that becomes dirty in this turn of the loop goes together."""
        if self._dirty and self._work is None:
            self._work = asyncio.create_task(self._bring_all())
            self._work.add_done_callback(self._worked)

    def _worked(self, task: asyncio.Task[None]) -> None:
        self._work = None
        if not task.cancelled() and task.exception() is None and self._retry is None:
            self._go()  # what came after its last look

    async def _bring_all(self) -> None:
        attempts: Counter[ServiceKey] = Counter()
        while self._dirty:
            keys, self._dirty = self._dirty, {}
            try:
                async with self._lock:
                    again = await self._bring(keys)
            except OSError as error:
                self._dirty = keys | self._dirty
                self._doubtful.update(keys)
                self._cannot_ask(error)
                return
            self._asked()
            for key in again:
                attempts[key] += 1
                if attempts[key] < ATTEMPTS:
                    self._dirty[key] = None

    async def _bring(self, keys: dict[ServiceKey, None]) -> set[ServiceKey]:
        """Make the kernel have what is wanted of these services; returns those that turned out to
        be different from what was known. Raises OSError."""
        if doubtful := [key for key in keys if key in self._doubtful]:
            await self._see(doubtful)
        desired = {key: self._desired[key] for key in keys if key in self._desired}
        self._mine.update(dict.fromkeys(desired))
        self._filling.update(dict.fromkeys(key for key in desired if key not in self._observed))
        self._note()
        failures = await self._table.apply(steps(desired, self._observed, keys))
        stale, refused = _judged(failures)
        for key in keys:
            if key not in stale:
                self._filling.pop(key, None)
            if key in stale or key in refused:
                continue
            if key in desired:
                self._observed[key] = desired[key]
            else:
                self._observed.pop(key, None)
                self._mine.pop(key, None)
        if stale or refused:
            await self._see(stale | refused.keys())
        self._tell_refusals(keys, refused)
        self._note()
        return stale

    async def _see(self, keys: Iterable[ServiceKey]) -> None:
        """Learn what the kernel has of these services. Raises OSError."""
        services = await self._table.services()
        there = [key for key in keys if key in services]
        destinations = await self._table.destinations(there)
        for key in keys:
            if key in services:
                self._observed[key] = Entry(services[key], destinations[key])
            else:
                self._observed.pop(key, None)
            self._doubtful.pop(key, None)

    def _note(self) -> None:
        settings = self.settings
        self._journal.write(
            Contents(
                services=tuple(self._mine),
                filling=tuple(self._filling),
                daemons=settings.roles,
                timeouts=settings.found,
            )
        )

    def _tell_refusals(
        self,
        keys: Iterable[ServiceKey],
        refused: Mapping[ServiceKey, dict[DestinationKey | None, Failure]],
    ) -> None:
        """Remember what is refused now; log what was not before."""
        fresh = []
        for key in keys:
            before = self.refused.pop(key, {})
            if key in refused:
                self.refused[key] = refused[key]
                fresh += [
                    failure for name, failure in refused[key].items() if before.get(name) != failure
                ]
        for failure in fresh[:SHOWN]:
            log.error("the kernel refused: %s", failure)
        if len(fresh) > SHOWN:
            log.error("the kernel refused: %d more changes of its table", len(fresh) - SHOWN)

    # -- looking

    async def look(self, round_s: float = 0.0) -> float:
        """Compare everything of ours with the kernel, in portions spread over this time; returns
        the seconds it took without the pauses. What differs is put right. Raises OSError."""
        loop = asyncio.get_running_loop()
        keys = list(self._mine)
        pause_s = round_s / (1 + -(-len(keys) // PORTION))
        await asyncio.sleep(pause_s)
        begin = loop.time()
        await self.settings.look()
        if keys:
            async with self._lock:
                self._compare_services(await self._table.services())
        spent_s = loop.time() - begin
        for first in range(0, len(keys), PORTION):
            await asyncio.sleep(pause_s)
            begin = loop.time()
            async with self._lock:
                there = [key for key in keys[first : first + PORTION] if key in self._observed]
                self._compare_destinations(await self._table.destinations(there))
            spent_s += loop.time() - begin
        # Once more each round, and last: with what others did beside it, which was seen by now
        self._dirty.update(dict.fromkeys(self.refused))
        self._go()
        self._asked()
        return spent_s

    def _compare_services(self, seen: Mapping[ServiceKey, Service]) -> None:
        changed = []
        for key in self._mine:
            have, known = seen.get(key), self._observed.get(key)
            if have == (known.service if known is not None else None):
                continue
            changed.append(key)
            if known is not None and have is not None:
                self._observed[key] = Entry(have, known.destinations)
            else:
                self._doubtful[key] = None
        self._found_changed(changed)

    def _compare_destinations(self, seen: Mapping[ServiceKey, Destinations]) -> None:
        changed = []
        for key, destinations in seen.items():
            known = self._observed[key]
            if known.destinations != destinations:
                self._observed[key] = Entry(known.service, destinations)
                changed.append(key)
        self._found_changed(changed)

    def _found_changed(self, keys: list[ServiceKey]) -> None:
        for key in keys[:SHOWN]:
            log.warning("another program changed %s; it is put right", key)
        if len(keys) > SHOWN:
            log.warning(
                "another program changed %d more services; they are put right", len(keys) - SHOWN
            )
        self.mended += len(keys)
        self._dirty.update(dict.fromkeys(keys))
        self._go()

    async def _look_again_and_again(self) -> None:
        spent_s = 0.0
        while True:
            work_s = max(spent_s, GUESS_S * len(self._mine))
            try:
                spent_s = await self.look(min(max(self._round_min_s, SHARE * work_s), ROUND_MAX_S))
            except OSError as error:
                self._complain(error)

    # -- a kernel that cannot be asked

    def _cannot_ask(self, error: OSError) -> None:
        self._complain(error)
        if self._retry is not None:
            self._retry.cancel()
        loop = asyncio.get_running_loop()
        self._retry = loop.call_later(self._retry_s, self._retry_now)
        self._retry_s = min(2 * self._retry_s, RETRY_MAX_S)

    def _retry_now(self) -> None:
        self._retry = None
        self._go()

    def _complain(self, error: OSError) -> None:
        if self._complaint != str(error):
            self._complaint = str(error)
            log.error("cannot ask the kernel for its IPVS table: %s", error.strerror)

    def _asked(self) -> None:
        self._complaint = ""
        self._retry_s = self._retry_first_s


async def _end(task: asyncio.Task[None] | None) -> None:
    if task is not None:
        task.cancel()
        await asyncio.wait((task,))


def _judged(
    failures: Iterable[Failure],
) -> tuple[set[ServiceKey], dict[ServiceKey, dict[DestinationKey | None, Failure]]]:
    """Which services are not as they were known, and what the kernel refuses to do at all."""
    stale: set[ServiceKey] = set()
    refused: dict[ServiceKey, dict[DestinationKey | None, Failure]] = {}
    for failure in failures:
        operation = failure.operation
        if None in refused.get(operation.key, ()):
            continue  # a destination of a service that was refused
        if failure.errno in _STALE[operation.verb]:
            stale.add(operation.key)
        else:
            name = operation.destination.key if operation.destination is not None else None
            refused.setdefault(operation.key, {})[name] = failure
    return stale, refused
