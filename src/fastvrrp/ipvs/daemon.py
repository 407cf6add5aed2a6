"""The IPVS process: configured by the supervisor, it runs checks and keeps the kernel's table.

Start: table, what an earlier process left in it, pools, checks, READY. Reload: what is different.
Stop: what has to be told, then the services. A crash leaves the table as it is, and so does the
end of the supervisor: it goes on serving, and the next process takes it over.
"""

from __future__ import annotations

import asyncio
import errno
import gc
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fastvrrp.config import model
from fastvrrp.control.protocol import UNAVAILABLE, UNKNOWN_METHOD, ControlError
from fastvrrp.ipvs import dumps, status
from fastvrrp.ipvs.decoding import Decoder
from fastvrrp.ipvs.parts import Parts
from fastvrrp.net.namespace import NamespaceError
from fastvrrp.supervisor.link import Arguments, ConfigurationRefused, Link
from fastvrrp.supervisor.messages import InstanceState
from fastvrrp.supervisor.process import settle_memory
from fastvrrp.supervisor.roles import IPVS
from fastvrrp.supervisor.settling import Settling
from fastvrrp.track.runner import RunnerClient

log = logging.getLogger(__name__)

JOURNAL_NAME = "journal.ipvs"
SETTLE_S = 1.0  # from a reload to giving back its memory
EXIT_PERMISSION = 4
EXIT_INTERNAL = 70  # EX_SOFTWARE of sysexits.h, keepalived's code for a program error


class Daemon:
    """Handlers of the supervisor's requests (supervisor.link.Handlers), and what they act on."""

    def __init__(self, arguments: Arguments) -> None:
        self._loop = asyncio.get_running_loop()
        self._runner = RunnerClient(arguments.scripts)
        self._journal = arguments.run_dir / JOURNAL_NAME
        self._pulse = arguments.pulse
        self._parts: Parts | None = None
        self._changing = asyncio.Lock()  # held while a configuration is put into effect
        self._stopping = False
        self._keep_services = arguments.keep_services
        self._subscribed = False
        self._states: dict[str, str] = {}  # of instances we follow
        self._exit_code = 0
        # Once a reload has been answered.
        self._settling = Settling(settle_memory, SETTLE_S, is_changing=self._changing.locked)
        self._broken: asyncio.Future[None] = self._loop.create_future()
        self._link = Link(
            arguments,
            self,
            role=IPVS,
            on_states=self.instance_states,
            decode=Decoder().decode,
        )

    async def run(self) -> int:
        """Until stopped; returns the exit code."""
        self._loop.set_exception_handler(_log_exception)
        closed = self._loop.create_task(self._link.closed())
        await asyncio.wait({closed, self._broken}, return_when=asyncio.FIRST_COMPLETED)
        closed.cancel()
        return self._exit_code

    # ---------------------------------------------------------------- configure

    async def configure(self, configuration: model.Configuration, epoch: int) -> Sequence[str]:
        """Start with a configuration, or change to it; returns what changed.

        Raises ConfigurationRefused.
        """
        gc.disable()  # a large configuration is a million objects without a cycle
        try:
            async with self._changing:
                if self._stopping:
                    raise ConfigurationRefused("the process is stopping")
                if self._parts is not None:
                    try:
                        return await self._parts.reload(configuration)
                    finally:
                        self._settling.soon()  # also after a refusal: its model took as much
                return await self._start(configuration)
        except (ConfigurationRefused, asyncio.CancelledError):
            raise
        except PermissionError as exc:
            log.error("a permission is missing (NET_ADMIN): %s", exc)
            return await self._give_up(EXIT_PERMISSION)
        except Exception:
            # Whatever it was, it may have stopped half-way, and half a configuration must not
            # run: the next process starts with the last one that did.
            log.exception("putting a configuration into effect failed")
            return await self._give_up(EXIT_INTERNAL)
        finally:
            gc.enable()

    async def _start(self, configuration: model.Configuration) -> Sequence[str]:
        try:
            parts = await Parts.make(
                configuration, self._journal, self._runner, self._link, pulse=self._pulse
            )
        except PermissionError:
            raise
        except NamespaceError as exc:
            raise ConfigurationRefused(str(exc)) from exc
        except OSError as exc:
            missing = exc.errno in (errno.ENOENT, errno.EPROTONOSUPPORT)
            hint = " (is the module ip_vs there? modprobe ip_vs)" if missing else ""
            text = f"the kernel's IPVS table cannot be used: {exc.strerror}{hint}"
            raise ConfigurationRefused(text) from exc
        parts.reporter.subscribed = self._subscribed
        self._parts = parts
        changes = await parts.start(configuration, self._states)
        settle_memory()
        self._link.ready()
        return changes

    async def _give_up(self, code: int) -> Sequence[str]:
        """End without an answer: the exit code tells the supervisor what is of use now."""
        self._exit_code = code
        if not self._broken.done():
            self._broken.set_result(None)
        never: asyncio.Future[Sequence[str]] = self._loop.create_future()
        return await never

    # ---------------------------------------------------------------- requests

    def instance_states(self, states: Sequence[InstanceState]) -> None:
        """Instances that we follow are in other states now."""
        self._states |= {state.name: state.state for state in states}
        if self._parts is not None:
            self._parts.instances_changed(self._states)

    async def dump(self, kind: str, path: Path) -> None:
        """Write a dump file. Raises OSError."""
        if self._parts is not None:
            dumps.write(kind, path, await self._status({}))

    async def call(self, method: str, params: dict[str, Any]) -> Any:
        """A control request. Raises ControlError."""
        if self._parts is None:
            raise ControlError(UNAVAILABLE, "the IPVS process is starting or stopping")
        if method == "status":
            return await self._status(params)
        if method == "counters":
            return status.counters(self._parts.plane, await self._parts.statistics())
        raise ControlError(UNKNOWN_METHOD, f"the IPVS process has no method {method!r}")

    async def _status(self, params: dict[str, Any]) -> dict[str, Any]:
        parts = self._parts
        assert parts is not None
        return await status.status(parts.plane, await parts.statistics(), name=params.get("name"))

    def subscribe(self, on: bool) -> None:
        """Whether somebody listens to events now."""
        self._subscribed = on
        if self._parts is not None:
            self._parts.reporter.subscribed = on

    # ---------------------------------------------------------------- stop

    async def stop(self) -> None:
        """Tell who wants to know, then take the services away."""
        self._stopping = True
        async with self._changing:  # a change under way is completed
            self._settling.close()
            parts, self._parts = self._parts, None
            if parts is not None:
                keep = self._link.orphaned or self._keep_services
                if keep:
                    log.warning("the services stay: the next daemon takes them over")
                await parts.stop(keep_table=keep)
            self._runner.close()


def _log_exception(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """A mistake in one callback must not stop the others; it is never silent."""
    log.error("%s", context.get("message", "error"), exc_info=context.get("exception"))
