"""Telling what happens to servers: log, scripts, FIFOs, mail, the event stream.

Actions of pools come in, in the order they happened. All scripts of one virtual server and its real
servers run one after the other in that order, whatever other virtual servers do; see
`notify.scripts` for what happens when they are slow. The rules of keepalived: that a server starts
up is told only with `rs_init_notifies`, that one with alpha starts down when its first result says
so; at the end only virtual servers with `omega` are told of, their real servers first.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import msgspec

from fastvrrp.config import model
from fastvrrp.config.servers import Ipvs, VirtualServer
from fastvrrp.ipvs.lines import action_lines, check_name, quorum_terms, server_name
from fastvrrp.ipvs.pool import (
    Action,
    CheckChanged,
    FirstFailed,
    QuorumChanged,
    ServerChanged,
    Why,
)
from fastvrrp.notify.fifo import FifoWriter
from fastvrrp.notify.mail import Mailer
from fastvrrp.notify.scripts import STOP_LIMIT_S, Call, ScriptQueue
from fastvrrp.track.runner import Runner, resolve

log = logging.getLogger(__name__)

Events = Callable[[dict[str, Any]], None]

STOP_SCRIPTS = 32  # run side by side at the end
STOP_TOTAL_S = 4.0  # for all scripts of the end together


class _Told(NamedTuple):
    """One thing to be told, worked out."""

    kind: str  # REAL_SERVER, VIRTUAL_SERVER
    name: str
    up: bool
    line: str  # of the FIFOs
    script: model.Command | None
    mail: str  # why, for a mail; empty: none


def _settings(config: model.Configuration) -> model.Configuration:
    """Without the virtual servers: thousands of them would be kept for a few options."""
    ipvs = msgspec.structs.replace(config.ipvs, virtual_servers=())
    return msgspec.structs.replace(config, ipvs=ipvs)


class ServerNotifier:
    """See the module. Belongs to the thread of the event loop that runs in `start`."""

    def __init__(
        self,
        config: model.Configuration,
        runner: Runner,
        *,
        fifos: Sequence[model.Fifo] | None = None,
        events: Events | None = None,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        """`fifos`: None for the configuration's own, notify_fifo and lvs_notify_fifo."""
        self._config = _settings(config)
        self._runner = runner
        self._events = events
        self._clock = clock
        defs = config.global_defs
        self._mailer = Mailer(defs.mail, defs.router_id)
        self._fifos = self._writers(config, fifos)
        self._queues: dict[str, ScriptQueue] = {}
        self._stopped = False
        self._started = False

    async def start(self) -> None:
        """Open the FIFOs. What is told before waits for it."""
        self._started = True
        await asyncio.gather(*(fifo.open() for fifo in self._fifos))

    def tell(self, virtual_server: VirtualServer, actions: Iterable[Action]) -> None:
        """What happened to a virtual server, in its order. The actions of a stop go to `stop`."""
        if self._stopped:
            return
        quiet = not self._ipvs.rs_init_notifies
        for action in actions:
            if quiet and isinstance(action, ServerChanged) and action.why is Why.START:
                continue  # tens of thousands, of which nobody hears
            self._log(virtual_server, action)
            self._mail_check(virtual_server, action)
            told = self._told(virtual_server, action)
            if told is not None:
                self._emit(virtual_server, told)
                if told.script is not None:
                    queue = self._queue(virtual_server)
                    queue.put("UP" if told.up else "DOWN", (self._call(told.script),), told.name)

    async def reload(
        self, config: model.Configuration, *, fifos: Sequence[model.Fifo] | None = None
    ) -> None:
        """Use another configuration from now on. Scripts that wait still run."""
        self._config = _settings(config)
        defs = config.global_defs
        self._mailer.configure(defs.mail, defs.router_id)
        kept: list[FifoWriter] = []
        opening: list[FifoWriter] = []
        unused = list(self._fifos)
        for fifo in self._writers(config, fifos):
            same = next((o for o in unused if o.is_open and o.same_as(fifo)), None)
            if same is not None:
                unused.remove(same)
            else:
                opening.append(fifo)
            kept.append(same or fifo)
        self._fifos = kept
        await asyncio.gather(*(fifo.close() for fifo in unused))
        if self._started:
            await asyncio.gather(*(fifo.open() for fifo in opening))
        live = {_key(vs) for vs in config.ipvs.virtual_servers}
        for key in [k for k, queue in self._queues.items() if k not in live and queue.idle]:
            del self._queues[key]

    async def stop(self, last: Iterable[tuple[VirtualServer, Sequence[Action]]] = ()) -> None:
        """Tell the end, `last` being what the pools' `stop` returned; then close everything.

        Scripts that run get a second to end. Then those of all real servers are run, then those
        of all virtual servers, some side by side, a second each and STOP_TOTAL_S altogether.
        """
        if self._stopped:
            return
        self._stopped = True
        servers: list[model.Command] = []
        quorums: list[model.Command] = []
        for virtual_server, actions in last:
            for action in actions:
                self._log(virtual_server, action)
                told = self._told(virtual_server, action)
                if told is None:
                    continue
                self._emit(virtual_server, told)
                if told.script is not None:
                    (quorums if told.kind == "VIRTUAL_SERVER" else servers).append(told.script)
        await asyncio.gather(*(queue.stop(()) for queue in self._queues.values()))
        try:
            async with asyncio.timeout(STOP_TOTAL_S):
                await self._run_all(servers)
                await self._run_all(quorums)
        except TimeoutError:
            log.warning("scripts at the end: there was no time for all of them")
        await asyncio.gather(self._mailer.close(), *(fifo.close() for fifo in self._fifos))

    def status(self) -> dict[str, Any]:
        """For the control socket."""
        return {
            "fifos": [
                {"path": f.fifo.path, "open": f.is_open, "dropped": f.dropped} for f in self._fifos
            ],
            "queues": [
                {"name": key, "idle": queue.idle, "skipped": queue.skipped}
                for key, queue in self._queues.items()
            ],
        }

    # ------------------------------------------------------------------ what is told

    @property
    def _ipvs(self) -> Ipvs:
        return self._config.ipvs

    def _told(self, vs: VirtualServer, action: Action) -> _Told | None:
        """What scripts, FIFOs and mail say of an action; None: nothing."""
        if isinstance(action, FirstFailed):
            action = ServerChanged(action.server, False, Why.CHECK)
        if isinstance(action, ServerChanged):
            if action.why is Why.START and not self._ipvs.rs_init_notifies:
                return None
            if action.why is Why.STOP and not vs.omega:
                return None
            server = action.server
            name = server_name(vs, server)
            script = server.notify_up if action.up else server.notify_down
            ending = {Why.STOP: "Shutting down", Why.REMOVED: "Removing"}.get(action.why, "")
            return _Told(
                "REAL_SERVER",
                name,
                action.up,
                f"RS {name} {vs.name} {_word(action.up)}",
                script,
                ending if server.smtp_alert else "",
            )
        if isinstance(action, QuorumChanged):
            if action.why is Why.STOP and not vs.omega:
                return None
            script = vs.quorum_up if action.up else vs.quorum_down
            return _Told(
                "VIRTUAL_SERVER",
                vs.name,
                action.up,
                f"VS {vs.name} {_word(action.up)}",
                script,
                _quorum_reason(vs, action) if vs.smtp_alert else "",
            )
        return None

    def _emit(self, vs: VirtualServer, told: _Told) -> None:
        """Everything but the script."""
        for fifo in self._fifos:
            fifo.write(f"{told.kind} {told.name} {_key(vs)}", told.line, final=True)
        if self._events is not None:
            event = {
                "event": "server",
                "kind": told.kind,
                "name": told.name,
                "virtual_server": vs.name,
                "state": _word(told.up),
            }
            self._events(event)
        if told.mail:
            if told.kind == "VIRTUAL_SERVER":
                what = f"Virtualserver {vs.name} - {_word(told.up)}"
            else:
                what = _server_subject(vs, told.name, told.up)
            self._mailer.post(what, [f"=> {told.mail} <="])

    def _mail_check(self, vs: VirtualServer, action: Action) -> None:
        """The mail of a check whose state changed: it can say why."""
        if not isinstance(action, CheckChanged) or not action.server.smtp_alert:
            return
        if not action.server_changed and self._ipvs.no_checker_emails:
            return
        # when only one of several checks changed the server is down as before
        name = server_name(vs, action.server)
        verdict = "succeeded" if action.up else "failed"
        lines = [f"=> {check_name(action.check)} {verdict} on service <="]
        if action.detail:
            lines.append(f"Reason: {action.detail}")
        self._mailer.post(_server_subject(vs, name, action.up and action.server_changed), lines)

    def _log(self, vs: VirtualServer, action: Action) -> None:
        for line in action_lines(vs, action):
            log.info("%s", line)

    # ------------------------------------------------------------------ details

    def _call(self, script: model.Command) -> Call:
        return Call(resolve(script, self._config.global_defs.script_account))

    def _queue(self, virtual_server: VirtualServer) -> ScriptQueue:
        key = _key(virtual_server)
        queue = self._queues.get(key)
        if queue is None:
            label = f"virtual server {virtual_server.name}"
            queue = self._queues[key] = ScriptQueue(label, self._runner, clock=self._clock)
        return queue

    def _writers(
        self, config: model.Configuration, fifos: Sequence[model.Fifo] | None
    ) -> list[FifoWriter]:
        defs = config.global_defs
        if fifos is None:
            fifos = [f for f in (defs.notify_fifo, defs.lvs_notify_fifo) if f is not None]
        return [FifoWriter(f, self._runner, script_account=defs.script_account) for f in fifos]

    async def _run_all(self, scripts: Sequence[model.Command]) -> None:
        places = asyncio.Semaphore(STOP_SCRIPTS)

        async def run(script: model.Command) -> None:
            command = self._call(script).command
            async with places:
                result = await self._runner.run(
                    command, timeout_ns=int(STOP_LIMIT_S * model.NS_PER_S)
                )
            if not result.ok:
                log.warning("script %s %s", command.argv[0], result)

        await asyncio.gather(*(run(script) for script in scripts))


def _key(vs: VirtualServer) -> str:
    """The name, which a firewall mark has once in each family."""
    return f"{vs.name} inet6" if vs.services[0].family == 6 else vs.name


def _word(up: bool) -> str:
    return "UP" if up else "DOWN"


def _server_subject(vs: VirtualServer, name: str, up: bool) -> str:
    return f"Realserver {name} of virtual server {vs.name} - {_word(up)}"


def _quorum_reason(vs: VirtualServer, action: QuorumChanged) -> str:
    if action.why is Why.STOP:
        return "Shutting down"
    if action.why is Why.REMOVED:
        return "Removing"
    terms = quorum_terms(vs, action)
    if action.why is Why.START:
        return f"Starting with quorum {'up' if action.up else 'down'} {terms}"
    return f"{'Gained' if action.up else 'Lost'} quorum {terms}"
