"""notify_fifo, which is everybody's: the supervisor makes it, runs its reader, and removes it.

Each child writes its own lines into it. None may own it: the one that is not there, has crashed or
stops first must not take the FIFO or its reader from the other.
"""

from __future__ import annotations

from fastvrrp.notify.fifo import FifoWriter
from fastvrrp.supervisor.held import Held
from fastvrrp.track.runner import Runner


class CommonFifo:
    """Held open from before the first child is configured until after the last has ended."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._fifos: list[FifoWriter] = []

    async def prepare(self, held: Held) -> None:
        """Open what `held` wants as well: children that change to it find it there.

        One that is there with another account is given up, because nobody could open both.
        """
        wanted = self._wanted(held)
        if wanted is None or any(one.is_open and one.same_as(wanted) for one in self._fifos):
            return
        path, account = wanted.fifo.path, wanted.fifo.account
        there = [one for one in self._fifos if one.fifo.path == path]
        for one in there:
            if one.fifo.account != account or not one.is_open:
                self._fifos.remove(one)
                await one.close()
        self._fifos.append(wanted)
        await wanted.open()
        for one in there:
            wanted.inherit(one)

    async def settle(self, held: Held) -> None:
        """`held` is in effect: have its FIFO alone."""
        wanted = self._wanted(held)
        if wanted is not None and not any(one.same_as(wanted) for one in self._fifos):
            await self.prepare(held)
        for one in list(self._fifos):
            if wanted is None or not one.same_as(wanted):
                self._fifos.remove(one)
                await one.close()

    async def close(self) -> None:
        """Let the reader have what is written; end it."""
        for one in self._fifos:
            await one.close()
        self._fifos.clear()

    def _wanted(self, held: Held) -> FifoWriter | None:
        fifo = held.global_defs.notify_fifo
        if fifo is None or not any(part.needed for part in held.parts.values()):
            return None
        return FifoWriter(fifo, self._runner, script_account=held.global_defs.script_account)
