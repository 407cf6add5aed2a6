"""All children together: each is kept on its own, and what happens to one is not the other's.

Only two things bind them. At a stop the IPVS process goes last, because until the addresses have
moved packets still come for its services. And each may follow states of the other: a sync daemon
that of an instance, an instance the quorum of virtual servers.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from fastvrrp.config import model
from fastvrrp.control.protocol import NOT_FOUND, UNAVAILABLE, ControlError
from fastvrrp.supervisor.commands import Allowed, allowed_commands, allows
from fastvrrp.supervisor.held import Held, Part
from fastvrrp.supervisor.keeper import Hooks, Keeper, Refused, State
from fastvrrp.supervisor.messages import InstanceState
from fastvrrp.supervisor.roles import IPVS, VRRP, Role
from fastvrrp.supervisor.runner import Executor, RunnerService
from fastvrrp.supervisor.spawn import Settings, Spawned
from fastvrrp.words import counted

log = logging.getLogger(__name__)

EXIT_INTERNAL = 70  # EX_SOFTWARE of sysexits.h: a fault of the supervisor itself

# What each answers to `status`, with what stands there when it has nothing of the asked name.
_STATUS: Mapping[str, Mapping[str, Any]] = {
    VRRP.name: {"instances": [], "groups": [], "trackers": [], "engine": None, "lateness": None},
    IPVS.name: {"virtual_servers": [], "ipvs": None},
}
_IPVS_DUMPS = frozenset(("data", "json"))


class Outcome(NamedTuple):
    """What came of a new configuration."""

    changes: Sequence[str]
    refusals: Sequence[str]  # of those that keep what they had
    taken: bool  # anybody has changed to it


class Children:
    """The VRRP and the IPVS process. Create it inside the running loop."""

    def __init__(
        self,
        settings: Sequence[Settings],
        held: Held,
        epoch: int,
        executor: Executor,
        *,
        clean: Callable[[Part, Sequence[InstanceState]], Awaitable[None]],
        on_event: Callable[[dict[str, Any]], None],
        on_change: Callable[[], None],
        on_running: Callable[[], None],
        on_fatal: Callable[[int, str], None],
        spare: Callable[[Role], Spawned | None],
    ) -> None:
        """`settings`: one for each role. `clean`: after a VRRP process that did not undo its work
        (what an IPVS process left goes on serving, and its successor takes it over). `on_change`:
        a state or what a child says of itself is another one. `on_running`: one of them runs, at
        the start or again after it died. `on_fatal`: exit code and reason;
        everything has to end. `spare` gives a process that was started before it was needed, if
        there is one of the role."""
        self._executor = executor
        self._respawn = all(one.respawn for one in settings)
        self._on_change = on_change
        self._on_fatal = on_fatal
        self._allowed: dict[str, Sequence[Allowed]] = {}

        def keeper(one: Settings) -> Keeper:
            role = one.role
            hooks = Hooks(
                serve_scripts=lambda sock: self._serve_scripts(role, sock),
                clean=clean if role.name == VRRP.name else _leave,
                on_event=on_event,
                on_change=self._changed,
                on_running=on_running,
                on_fatal=lambda code, reason: self._fatal(role, code, reason),
            )
            part = held.parts[role.name]
            self._allow(role.name, held)
            return Keeper(one, hooks, part, epoch, spare=lambda: spare(role))

        self._keepers = {one.role.name: keeper(one) for one in settings}
        self._vrrp = self._keepers[VRRP.name]
        self._ipvs = self._keepers[IPVS.name]

    # ---------------------------------------------------------------- life

    def start(self) -> None:
        for keeper in self._keepers.values():
            keeper.start()

    async def stop(self, wait_s: float) -> None:
        """Stop those that run in good order; each gets `wait_s` before it is killed."""
        first = asyncio.create_task(self._vrrp.stop(wait_s))
        handed_over = asyncio.create_task(self._vrrp.handed_over.wait())
        await asyncio.wait({first, handed_over}, return_when=asyncio.FIRST_COMPLETED)
        handed_over.cancel()
        await self._ipvs.stop(wait_s)
        await first

    def look(self) -> None:
        """See whether they live (`Child.look`)."""
        for keeper in self._keepers.values():
            keeper.look()

    @property
    def pids(self) -> set[int]:
        return {keeper.pid for keeper in self._keepers.values() if keeper.pid is not None}

    @property
    def pids_by_role(self) -> dict[str, int | None]:
        """None for one that does not run."""
        return {name: keeper.pid for name, keeper in self._keepers.items()}

    @property
    def needed(self) -> bool:
        """Whether there is anything to do."""
        return any(keeper.configuration.needed for keeper in self._keepers.values())

    @property
    def healthy(self) -> bool:
        """Whether all are as they should be: alive, or rightly not there."""
        return all(keeper.healthy for keeper in self._keepers.values())

    @property
    def settled(self) -> bool:
        """Whether the start is over: all that has to run runs. An IPVS process that fails does
        not count while there are routers: they are not to wait for it, nor to be ended with a
        daemon that systemd thinks is never ready."""
        done = (State.RUNNING, State.DISABLED)
        failed = self._ipvs.restarts > 0 and self._vrrp.state is State.RUNNING
        return self._vrrp.state in done and (self._ipvs.state in done or failed)

    # ---------------------------------------------------------------- configuration

    async def configure(self, held: Held, epoch: int) -> Outcome:
        """Have everybody change to `held`; who refuses it keeps what he had."""
        keepers = list(self._keepers.values())
        had_work = [keeper.configuration.needed for keeper in keepers]
        answers = await asyncio.gather(*(self._configure(one, held, epoch) for one in keepers))
        changes: list[str] = []
        refusals: list[str] = []
        taken = False
        for keeper, had, answer in zip(keepers, had_work, answers, strict=True):
            if isinstance(answer, Refused):
                refusals.append(str(answer))
            else:
                changes += answer
                taken = taken or had or keeper.configuration.needed
        self._changed()  # perhaps other instances are followed now
        return Outcome(changes, refusals, taken or not refusals)

    async def _configure(self, keeper: Keeper, held: Held, epoch: int) -> Sequence[str] | Refused:
        name = keeper.role.name
        before = self._allowed[name]
        self._allow(name, held)
        try:
            return await keeper.configure(held.parts[name], epoch)
        except Refused as exc:
            self._allowed[name] = before
            return exc

    def _allow(self, name: str, held: Held) -> None:
        # The last configuration's commands too: what it removed may still have to be notified.
        commands = allowed_commands(held.parts[name].commands, held.global_defs.script_account)
        self._allowed[name] = (*self._allowed.get(name, ())[-1:], commands)

    def _serve_scripts(self, role: Role, sock: Any) -> RunnerService:
        def is_allowed(command: model.Command) -> bool:
            return any(allows(commands, command) for commands in self._allowed[role.name])

        return RunnerService(sock, self._executor, allowed=is_allowed)

    # ---------------------------------------------------------------- what they tell

    def _changed(self) -> None:
        for keeper, other in ((self._ipvs, self._vrrp), (self._vrrp, self._ipvs)):
            names = keeper.configuration.follows
            keeper.follow(other.state_of(name) or InstanceState(name, "STOPPED") for name in names)
        self._on_change()

    def _fatal(self, role: Role, code: int, reason: str) -> bool:
        runs_vrrp = self._vrrp.state is not State.DISABLED
        if role.name == IPVS.name and runs_vrrp and code != EXIT_INTERNAL and self._respawn:
            if self._ipvs.restarts == 0:
                log.warning("the VRRP process goes on without the %s", role.title)
            return False
        self._on_fatal(code, reason)
        return True

    def status_line(self) -> str:
        """For `systemctl status`: how many instances are in which state, how the servers are."""
        parts = []
        for keeper in self._keepers.values():
            if keeper.state is State.RUNNING:
                text = self._instances() if keeper is self._vrrp else keeper.summary
            elif keeper.state is State.DISABLED and (keeper is self._ipvs or self.needed):
                text = ""
            else:
                text = f"{keeper.role.title} {keeper.state.value}"
            parts.append(text)
        return "; ".join(part for part in parts if part)

    def _instances(self) -> str:
        states = self._vrrp.state_counts()
        parts = ", ".join(f"{n} {name}" for name, n in sorted(states.items()))
        count = counted(self._vrrp.configuration.count, "instance")
        return count + (f": {parts}" if parts else "")

    def pack(self) -> None:
        """Keep what they said in little memory."""
        for keeper in self._keepers.values():
            keeper.pack()

    # ---------------------------------------------------------------- requests

    def subscribe(self, on: bool) -> None:
        for keeper in self._keepers.values():
            keeper.subscribe(on)

    def dump(self, kind: str, place: Callable[[str], Path]) -> None:
        """Have dumps written, each process's where `place` says for its role."""
        self._vrrp.dump(kind, str(place(VRRP.name)))
        if kind in _IPVS_DUMPS:
            self._ipvs.dump(kind, str(place(IPVS.name)))

    def records(self) -> dict[str, Any]:
        """The objects of the processes in `daemon` of docs/control-socket.md."""
        return {name: keeper.record() for name, keeper in self._keepers.items()}

    async def status(self, params: dict[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
        """The lists of `status`, null for who does not answer, and why that is, by role.

        Raises ControlError.
        """
        parts = {key: None for keys in _STATUS.values() for key in keys}
        details = dict.fromkeys(self._keepers, "")
        missing: ControlError | None = None
        found = False
        for name, keeper in self._keepers.items():
            if keeper.state not in (State.RUNNING, State.STOPPING):
                found = found or keeper.configuration.needed  # who knows what it would say
                continue
            try:
                parts |= await keeper.call("status", params)
                found = True
            except ControlError as exc:
                if exc.code == NOT_FOUND:
                    parts |= _STATUS[name]
                    missing = missing or exc
                elif exc.code == UNAVAILABLE:
                    details[name] = str(exc)  # still worth an answer: the rest of it says why
                    found = True
                else:
                    raise
        if missing is not None and not found:
            raise missing
        return parts, details

    async def counters(self, params: dict[str, Any]) -> dict[str, Any]:
        """Everybody's counters. Raises ControlError when not all that should run answer."""
        answer: dict[str, Any] = {}
        asked = [keeper for keeper in self._keepers.values() if keeper.configuration.needed]
        for keeper in asked or [self._vrrp]:
            answer |= await keeper.call("counters", params)
        return answer


async def _leave(part: Part, states: Sequence[InstanceState]) -> None:
    """What an IPVS process left goes on serving."""
