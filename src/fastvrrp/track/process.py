"""vrrp_track_process: which processes match, and what their number means.

keepalived follows the kernel's process connector, which is silent outside the initial network
and pid namespaces. This works everywhere: new processes are found by looking at /proc four times
a second (one small read while nothing has been started), deaths of matching processes are told
at once by their pidfds. A process may match later than it was started, by execve(2) or by
renaming itself: young ones are looked at again at every turn, all others within ten seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable, Iterable

import msgspec

from fastvrrp.config import model
from fastvrrp.track import procfs

log = logging.getLogger(__name__)

PERIOD_NS = 250_000_000
LIST_EVERY = 8  # turns after which /proc is listed even if no pid was given out
YOUNG_NS = 3_000_000_000  # how long a new process is looked at in every turn
REVISIT_TURNS = 40  # every known process is looked at again once in so many turns
COMM_BYTES = 15  # TASK_COMM_LEN - 1, include/linux/sched.h


class Pattern:
    """What a definition looks for; pure but for the two lookups it is given."""

    def __init__(self, definition: model.TrackProcess) -> None:
        self.process = definition.process
        self.parameters = definition.parameters
        self.match = definition.param_match
        if self.parameters and self.match == "none":
            self.match = "exact"
        self.by_command_line = definition.full_command or self.match != "none"
        self.by_path = not self.by_command_line and "/" in self.process
        encoded = self.process.encode(errors="surrogateescape")[:COMM_BYTES]
        self._comm = encoded.decode(errors="surrogateescape")

    def matches(
        self, comm: str, argv: Callable[[], tuple[str, ...]], executable: Callable[[], str]
    ) -> bool:
        """Whether a process matches.

        A plain name is compared with the kernel's name of the process, of which only 15 bytes
        exist; a path with the program or the first word of the command line. With parameters,
        `param_match` or `full_command` the whole command line counts and the first word must be
        exactly the configured process.
        """
        if self.by_command_line:
            words = argv()
            return bool(words) and words[0] == self.process and self._parameters(words[1:])
        if self.by_path:
            words = argv()
            if not words:
                return False
            return words[0] == self.process or executable() == self.process
        return comm == self._comm

    def _parameters(self, actual: tuple[str, ...]) -> bool:
        wanted = self.parameters
        leading = actual[: len(wanted)]
        match self.match:
            case "none":
                return True
            case "exact":
                return actual == wanted
            case "partial":
                return leading == wanted
            case "initial":
                if not wanted:
                    return True
                return (
                    len(leading) == len(wanted)
                    and leading[:-1] == wanted[:-1]
                    and leading[-1].startswith(wanted[-1])
                )
            case _:
                raise ValueError(f"param_match {self.match!r}")


class Quorum:
    """Up while quorum <= matches <= quorum_max, with a delay for either direction; pure.

    A change that more processes brought about is reported after `fork_delay`, one that fewer
    brought about after `terminate_delay`, unless it has gone back meanwhile. So a fork that
    exceeds quorum_max for an instant is ridden out by fork_delay.
    """

    def __init__(self, definition: model.TrackProcess, count: int) -> None:
        self._definition = definition
        self.count = count
        self.up = self._enough(count)
        self.due_ns: int | None = None  # when the opposite of `up` is to be reported

    @property
    def definition(self) -> model.TrackProcess:
        return self._definition

    def observe(self, count: int, now_ns: int) -> bool:
        """Take a new number of matches; returns whether `up` changed."""
        more = count > self.count
        self.count = count
        if self._enough(count) == self.up:
            self.due_ns = None
        elif self.due_ns is None:
            definition = self._definition
            delay_ns = definition.fork_delay_ns if more else definition.terminate_delay_ns
            self.due_ns = now_ns + delay_ns
        return self.expire(now_ns)

    def expire(self, now_ns: int) -> bool:
        """Report what is due; returns whether `up` changed."""
        if self.due_ns is None or now_ns < self.due_ns:
            return False
        self.due_ns = None
        self.up = not self.up
        return True

    def _enough(self, count: int) -> bool:
        highest = self._definition.quorum_max
        if highest == 0:
            return count == 0
        return count >= self._definition.quorum and (highest is None or count <= highest)


class _Seen(msgspec.Struct):
    start: int
    young_until_ns: int
    names: frozenset[str] = frozenset()
    pidfd: int = -1


class ProcessWatcher:
    """Counts the matching processes of every definition; `changed(name)` tells of ups and downs.

    The counts are right after construction; deaths and births are followed after `start`.
    """

    def __init__(
        self,
        definitions: Iterable[model.TrackProcess],
        changed: Callable[[str], None],
        *,
        clock: Callable[[], int],
    ) -> None:
        self._changed = changed
        self._clock = clock
        self._seen: dict[int, _Seen] = {}
        self._matching: dict[int, _Seen] = {}
        self._revisit: list[int] = []
        self._turn = 0
        self._last_pid: int | None = None
        self._blind = False  # /proc cannot be read; said once
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._definitions = {d.name: d for d in definitions}
        self._patterns = {name: Pattern(d) for name, d in self._definitions.items()}
        if self._definitions:
            self._scan()
        counts = self._counts()
        self._quorums = {name: Quorum(d, counts[name]) for name, d in self._definitions.items()}

    @property
    def definitions(self) -> list[model.TrackProcess]:
        return list(self._definitions.values())

    def up(self, name: str) -> bool:
        return self._quorums[name].up

    def start(self) -> None:
        """Follow changes in the running loop."""
        self._loop = asyncio.get_running_loop()
        for pid, seen in list(self._matching.items()):
            self._open_pidfd(pid, seen)
        if self._definitions and self._task is None:
            self._task = self._loop.create_task(self._follow(), name="track_process")

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        for seen in self._matching.values():
            self._close_pidfd(seen)
        self._loop = None

    async def redefine(self, definitions: Iterable[model.TrackProcess]) -> None:
        """Follow other definitions from now on. Unchanged ones keep their state and a running
        delay; others have the state their count now means, without delay."""
        loop = self._loop
        await self.stop()
        self._definitions = {d.name: d for d in definitions}
        self._patterns = {name: Pattern(d) for name, d in self._definitions.items()}
        self._seen.clear()
        self._matching.clear()
        self._last_pid = None
        if self._definitions:
            self._scan()
        counts = self._counts()
        quorums = {}
        for name, definition in self._definitions.items():
            quorum = self._quorums.get(name)
            if quorum is None or quorum.definition != definition:
                quorum = Quorum(definition, counts[name])
            quorums[name] = quorum
        self._quorums = quorums
        if loop is not None:
            self.start()
            self._evaluate()

    def status(self) -> list[dict[str, object]]:
        """For the control socket."""
        return [
            {
                "kind": "process",
                "name": name,
                "state": "up" if quorum.up else "down",
                "process": definition.process,
                "parameters": list(definition.parameters),
                "param_match": definition.param_match,
                "full_command": definition.full_command,
                "weight": definition.weight,
                "reverse": definition.reverse,
                "quorum": definition.quorum,
                "quorum_max": definition.quorum_max,
                "matches": quorum.count,
                "fork_delay_ns": definition.fork_delay_ns,
                "terminate_delay_ns": definition.terminate_delay_ns,
                "delayed": quorum.due_ns is not None,
            }
            for name, definition in self._definitions.items()
            for quorum in (self._quorums[name],)
        ]

    # ------------------------------------------------------------------ looking

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(PERIOD_NS / model.NS_PER_S)
            self._scan()
            self._evaluate()

    def _scan(self) -> None:
        now_ns = self._clock()
        self._turn += 1
        last_pid = procfs.last_pid()
        quiet = last_pid is not None and last_pid == self._last_pid
        self._last_pid = last_pid
        again = {pid for pid, seen in self._seen.items() if seen.young_until_ns > now_ns}
        again.update(self._matching)
        if not quiet or self._turn % LIST_EVERY == 0:
            try:
                present = set(procfs.pids())
            except OSError as error:
                if not self._blind:
                    log.error("cannot read /proc: %s", error)
                self._blind = True
                return
            self._blind = False
            for pid in self._seen.keys() - present:
                self._forget(pid)
            again.update(present - self._seen.keys())
        if not self._revisit:
            self._revisit = list(self._seen)
        share = len(self._seen) // REVISIT_TURNS + 1
        again.update(self._revisit[-share:])
        del self._revisit[-share:]
        for pid in again:
            self._examine(pid, now_ns)

    def _examine(self, pid: int, now_ns: int) -> None:
        process = procfs.look(pid)
        seen = self._seen.get(pid)
        if process is None or (seen is not None and seen.start != process.start):
            self._forget(pid)
            seen = None
        if process is None:
            return
        if seen is None:
            seen = _Seen(process.start, now_ns + YOUNG_NS)
            self._seen[pid] = seen
        names = frozenset() if process.zombie else self._names(pid, process.comm)
        if names == seen.names:
            return
        seen.names = names
        if names:
            self._matching[pid] = seen
            self._open_pidfd(pid, seen)
        else:
            self._matching.pop(pid, None)
            self._close_pidfd(seen)

    def _names(self, pid: int, comm: str) -> frozenset[str]:
        words: list[tuple[str, ...]] = []

        def argv() -> tuple[str, ...]:
            if not words:
                words.append(procfs.argv(pid))
            return words[0]

        return frozenset(
            name
            for name, pattern in self._patterns.items()
            if pattern.matches(comm, argv, lambda: procfs.executable(pid))
        )

    def _forget(self, pid: int) -> None:
        self._matching.pop(pid, None)
        seen = self._seen.pop(pid, None)
        if seen is not None:
            self._close_pidfd(seen)

    # ------------------------------------------------------------------ deaths

    def _open_pidfd(self, pid: int, seen: _Seen) -> None:
        if self._loop is None or seen.pidfd >= 0:
            return
        try:
            pidfd = os.pidfd_open(pid)
        except OSError:
            # Gone already, or /proc is another namespace's: the next turn will see it.
            return
        process = procfs.look(pid)
        if process is None or process.start != seen.start:
            os.close(pidfd)
            return
        seen.pidfd = pidfd
        self._loop.add_reader(pidfd, self._died, pid)

    def _close_pidfd(self, seen: _Seen) -> None:
        if seen.pidfd >= 0 and self._loop is not None:
            self._loop.remove_reader(seen.pidfd)
            os.close(seen.pidfd)
            seen.pidfd = -1

    def _died(self, pid: int) -> None:
        self._forget(pid)
        self._evaluate()

    # ------------------------------------------------------------------ counting

    def _counts(self) -> dict[str, int]:
        counts = dict.fromkeys(self._definitions, 0)
        for seen in self._matching.values():
            for name in seen.names:
                counts[name] += 1
        return counts

    def _evaluate(self) -> None:
        now_ns = self._clock()
        for name, count in self._counts().items():
            quorum = self._quorums[name]
            self._report(name, quorum, quorum.observe(count, now_ns))

    def _report(self, name: str, quorum: Quorum, changed: bool) -> None:
        if changed:
            log.info(
                "track_process %s: quorum %s, %d processes",
                name,
                "gained" if quorum.up else "lost",
                quorum.count,
            )
            self._changed(name)
        timer = self._timers.pop(name, None)
        if timer is not None:
            timer.cancel()
        if quorum.due_ns is not None and self._loop is not None:
            delay_s = max(quorum.due_ns - self._clock(), 0) / model.NS_PER_S
            self._timers[name] = self._loop.call_later(delay_s, self._expired, name)

    def _expired(self, name: str) -> None:
        quorum = self._quorums[name]
        self._timers.pop(name, None)
        self._report(name, quorum, quorum.expire(self._clock()))
